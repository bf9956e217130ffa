package gate

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// waiter starts a WaitAndLock and delivers its error; a waiter that passed unlocks with the bit still set or not.
func waiter(g *Gate, set bool) <-chan error {
	done := make(chan error, 1)
	go func() {
		err := g.WaitAndLock()
		if err == nil {
			g.Unlock(set)
		}
		done <- err
	}()
	return done
}

func requireBlocked(t *testing.T, done <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-done:
		t.Fatalf("returned %v, want still waiting", err)
	default:
	}
}

func requireDone(t *testing.T, done <-chan error, want error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-done:
		require.Equal(t, want, err)
	default:
		t.Fatal("still waiting")
	}
}

func TestSize(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(Gate{}), uintptr(64), "idle associations hold several gates")
}

func TestLock(t *testing.T) {
	var g Gate
	require.False(t, g.Lock())
	g.Unlock(true)
	require.True(t, g.Lock())
	g.Unlock(true)
	require.True(t, g.LockIfSet())
	g.Unlock(false)
	require.False(t, g.LockIfSet())
	require.False(t, g.Lock(), "LockIfSet left it unlocked")
	g.Unlock(true)
	require.NoError(t, g.WaitAndLock())
	g.Unlock(false)
	require.Nil(t, g.room, "nobody waited, nothing was made")
}

func TestWaiterPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Gate
		done := waiter(&g, false)
		requireBlocked(t, done)
		g.Lock()
		g.Unlock(false)
		requireBlocked(t, done)
		g.Lock()
		g.Unlock(true)
		requireDone(t, done, nil)
		require.False(t, g.Lock())
		g.Unlock(false)
	})
}

// One Unlock(true) lets one waiter pass when that one clears the bit, and all of them, in order, when they leave it.
func TestSeveralWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 5
		var g Gate
		var passed atomic.Int32
		for range n {
			go func() {
				if g.WaitAndLock() == nil {
					passed.Add(1)
					g.Unlock(false)
				}
			}()
		}
		synctest.Wait()
		for want := int32(1); want <= n; want++ {
			g.Lock()
			g.Unlock(true)
			synctest.Wait()
			require.Equal(t, want, passed.Load())
		}
		var closed []<-chan error
		for range n {
			closed = append(closed, waiter(&g, true))
		}
		synctest.Wait()
		g.Lock()
		g.Unlock(true)
		for _, done := range closed {
			requireDone(t, done, nil)
		}
		require.Zero(t, g.room.waiters)
	})
}

func TestPastDeadlineWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Gate
		g.Lock()
		g.Unlock(true)
		g.SetDeadline(time.Now())
		require.Equal(t, os.ErrDeadlineExceeded, g.WaitAndLock())
		require.True(t, g.LockIfSet(), "the failed wait left it unlocked and set")
		g.Unlock(true)
		g.SetDeadline(time.Unix(1, 0)) // without monotonic reading, as net/http and nettest use it
		require.Equal(t, os.ErrDeadlineExceeded, g.WaitAndLock())
		require.Equal(t, time.Unix(1, 0), g.Deadline())
		g.SetDeadline(time.Time{})
		require.NoError(t, g.WaitAndLock())
		g.Unlock(false)
		require.Nil(t, g.room, "no timer and no waiting room for deadlines nobody waits with")
	})
}

func TestDeadlinePassesWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Gate
		start := time.Now()
		g.SetDeadline(start.Add(time.Second))
		a, b := waiter(&g, false), waiter(&g, false)
		requireBlocked(t, a)
		time.Sleep(time.Second - 1)
		requireBlocked(t, a)
		time.Sleep(time.Nanosecond)
		requireDone(t, a, os.ErrDeadlineExceeded)
		requireDone(t, b, os.ErrDeadlineExceeded)
		require.Equal(t, time.Second, time.Since(start))
		require.False(t, g.room.armed)
	})
}

func TestDeadlineChangesWhileWaiting(t *testing.T) {
	now := func(d time.Duration) time.Time { return time.Now().Add(d) }
	for _, tc := range []struct {
		name        string
		first, then time.Duration // 0: none
		wait        time.Duration
	}{
		{"none to past", 0, -time.Hour, 0},
		{"none to soon", 0, time.Second, time.Second},
		{"later to sooner", time.Hour, time.Second, time.Second},
		{"sooner to later", time.Second, time.Hour, time.Hour},
		{"some to past", time.Hour, -1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var g Gate
				if tc.first != 0 {
					g.SetDeadline(now(tc.first))
				}
				a, b := waiter(&g, false), waiter(&g, false)
				requireBlocked(t, a)
				requireBlocked(t, b)
				g.SetDeadline(now(tc.then))
				if tc.wait > 0 {
					time.Sleep(tc.wait - 1)
					requireBlocked(t, a)
					requireBlocked(t, b)
					time.Sleep(time.Nanosecond)
				}
				requireDone(t, a, os.ErrDeadlineExceeded)
				requireDone(t, b, os.ErrDeadlineExceeded)
			})
		})
	}
	t.Run("soon to none", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var g Gate
			g.SetDeadline(now(time.Second))
			a := waiter(&g, false)
			requireBlocked(t, a)
			g.SetDeadline(time.Time{})
			time.Sleep(time.Hour)
			requireBlocked(t, a)
			require.False(t, g.room.armed)
			g.Lock()
			g.Unlock(true)
			requireDone(t, a, nil)
		})
	})
}

// The timer runs only while somebody waits with a deadline, so an idle gate costs the runtime nothing.
func TestTimerStopsWithLastWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Gate
		g.SetDeadline(time.Now().Add(time.Hour))
		a := waiter(&g, false)
		requireBlocked(t, a)
		require.True(t, g.room.armed)
		g.Lock()
		g.Unlock(true)
		requireDone(t, a, nil)
		require.False(t, g.room.armed)
		require.False(t, g.room.timer.Stop(), "not running")
		b := waiter(&g, false)
		requireBlocked(t, b)
		time.Sleep(time.Hour)
		requireDone(t, b, os.ErrDeadlineExceeded)
	})
}

func TestWaitContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Gate
		wait := func(ctx context.Context) <-chan error {
			done := make(chan error, 1)
			go func() {
				err := g.WaitContext(ctx)
				if err == nil {
					g.Unlock(false)
				}
				done <- err
			}()
			return done
		}
		ctx, cancel := context.WithCancel(context.Background())
		a, b := wait(ctx), wait(context.Background())
		requireBlocked(t, a)
		cancel()
		requireDone(t, a, context.Canceled)
		requireBlocked(t, b)
		g.Lock()
		g.Unlock(true)
		requireDone(t, b, nil)

		g.Lock()
		g.Unlock(true)
		require.Equal(t, context.Canceled, g.WaitContext(ctx), "an ended context wins over the condition")
		g.SetDeadline(time.Now())
		live, cancel := context.WithCancel(context.Background())
		defer cancel()
		require.Equal(t, os.ErrDeadlineExceeded, g.WaitContext(live))
	})
}

// A waiter woken for the condition that leaves because its context ended must not swallow the wake-up.
func TestContextPassesConditionOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 50 {
			var g Gate
			ctx, cancel := context.WithCancel(context.Background())
			first := make(chan error, 1)
			go func() {
				err := g.WaitContext(ctx)
				if err == nil {
					g.Unlock(true)
				}
				first <- err
			}()
			synctest.Wait()
			second := waiter(&g, true)
			synctest.Wait()
			g.Lock()
			go cancel()
			g.Unlock(true)
			synctest.Wait()
			<-first
			requireDone(t, second, nil)
		}
	})
}

// Producers and consumers over one counter: nothing is lost, nobody sleeps for ever, the race detector watches.
func TestManyHands(t *testing.T) {
	const hands, each = 4, 2000
	var g Gate
	var stock, taken int
	var wg sync.WaitGroup
	for range hands {
		wg.Go(func() {
			for range each {
				g.Lock()
				stock++
				g.Unlock(true)
			}
		})
		wg.Go(func() {
			for range each {
				if g.WaitAndLock() != nil {
					return
				}
				stock--
				taken++
				g.Unlock(stock > 0)
			}
		})
		wg.Go(func() {
			for i := range each {
				g.SetDeadline(time.Now().Add(time.Hour + time.Duration(i)))
			}
		})
	}
	wg.Wait()
	require.Equal(t, hands*each, taken)
	require.Zero(t, stock)
}

func TestAllocs(t *testing.T) {
	var g Gate
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		g.Lock()
		g.Unlock(true)
		if g.WaitAndLock() == nil {
			g.Unlock(false)
		}
	}))
	// Waiting with a deadline uses the same room and timer again.
	turn := make(chan struct{})
	defer close(turn)
	go func() {
		for range turn {
			g.Lock()
			g.Unlock(true)
		}
	}()
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		g.SetDeadline(time.Now().Add(time.Hour))
		turn <- struct{}{}
		if g.WaitAndLock() == nil {
			g.Unlock(false)
		}
	}))
}

func BenchmarkUncontended(b *testing.B) {
	var g Gate
	g.Lock()
	g.Unlock(true)
	b.ReportAllocs()
	for b.Loop() {
		if g.WaitAndLock() == nil {
			g.Unlock(true)
		}
	}
}
