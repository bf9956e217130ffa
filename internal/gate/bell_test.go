package gate

import (
	"context"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// held waits until somebody waits at the gate, with a bell or without one where there are none.
func held(t *testing.T, g *Gate, bell bool) {
	require.Eventually(t, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.room != nil && g.room.waiters > 0 && (g.room.bell != nil) == bell
	}, 10*time.Second, 100*time.Microsecond)
}

func quietGate(after uint8) *Gate {
	g := new(Gate)
	g.AllowQuiet(after)
	return g
}

// haveBells reports whether the system has any.
func haveBells() bool {
	b := takeBell()
	if b != nil {
		giveBell(b)
	}
	return b != nil
}

// Whatever wakes a waiter does so when it waits for a bell, too.
func TestQuietWakes(t *testing.T) {
	have := haveBells()
	require.Equal(t, runtime.GOOS == "linux", have)
	ctx, cancel := context.WithCancel(context.Background())
	for _, c := range []struct {
		name string
		wake func(g *Gate)
		want error
	}{
		{"quietly", func(g *Gate) { g.Lock(); g.UnlockFor(true, true) }, nil},
		{"loudly", func(g *Gate) { g.Lock(); g.Unlock(true) }, nil},
		{"quietly and loudly", func(g *Gate) { g.Lock(); g.UnlockFor(true, true); g.Lock(); g.Unlock(true) }, nil},
		{"by a deadline of the past", func(g *Gate) { g.SetDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
		{"by a deadline that comes", func(g *Gate) { g.SetDeadline(time.Now().Add(time.Millisecond)) }, os.ErrDeadlineExceeded},
		{"by its context", func(*Gate) { cancel() }, context.Canceled},
	} {
		for round := range 3 * mostBells { // each bell is as good as new
			if round > 0 && c.want == context.Canceled {
				break
			}
			g := quietGate(0)
			done := make(chan error, 1)
			go func() {
				err := g.WaitContext(ctx)
				if err == nil {
					g.Unlock(false)
				}
				done <- err
			}()
			held(t, g, have)
			c.wake(g)
			require.Equal(t, c.want, <-done, c.name)
			require.Nil(t, g.room.bell)
		}
	}
	require.NotZero(t, Rings(), "rings are counted")
}

// One who leaves something behind shows that what comes does not come one by one.
func TestQuietWhenCalm(t *testing.T) {
	have := haveBells()
	g := quietGate(2)
	turn := func(bell, rest bool) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			if g.WaitAndLock() == nil {
				g.Unlock(rest)
			}
		}()
		held(t, g, bell)
		g.Lock()
		g.UnlockFor(true, true)
		<-done
		if rest {
			g.Lock()
			g.Unlock(false)
		}
	}
	turn(false, false)
	turn(false, false)
	turn(have, false)
	turn(have, true)
	turn(false, false)
	turn(false, false)
	turn(have, false)
	turn(have, false)
}

// When many wait, bells go to those who wait now. Nobody is forgotten.
func TestBellsAreFew(t *testing.T) {
	if !haveBells() {
		require.NotEqual(t, "linux", runtime.GOOS)
		return
	}
	var wg sync.WaitGroup
	var all []*Gate
	for range 3 * mostBells {
		g := quietGate(0)
		all = append(all, g)
		wg.Go(func() {
			if g.WaitAndLock() == nil {
				g.Unlock(true)
			}
		})
		held(t, g, len(all) <= mostBells)
	}
	g := quietGate(1)
	bell := false
	for turns := 0; !bell; turns++ {
		require.Less(t, turns, 4*longAgo)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if g.WaitAndLock() == nil {
				g.Unlock(false)
			}
		}()
		require.Eventually(t, func() bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.room == nil || g.room.waiters == 0 {
				return false
			}
			bell = g.room.bell != nil
			return true
		}, 10*time.Second, 10*time.Microsecond)
		g.Lock()
		g.UnlockFor(true, true)
		<-done
	}
	for _, g := range all {
		g.Lock()
		g.UnlockFor(true, true)
	}
	wg.Wait()
}

// Many who wait and wake, in every way at once: no wake-up is lost.
func TestQuietStorm(t *testing.T) {
	seed := rand.Uint64()
	if s := os.Getenv("MULTIHOME_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("MULTIHOME_SEED=%d", seed)
	var wg sync.WaitGroup
	for i := range uint64(2 * mostBells) {
		g, ready, rounds := quietGate(1), 0, 500
		wg.Go(func() {
			for got := 0; got < rounds; {
				if g.WaitAndLock() != nil { // a deadline that somebody set
					g.SetDeadline(time.Time{})
					continue
				}
				ready--
				got++
				g.Unlock(ready > 0)
			}
		})
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, i))
			for range rounds {
				if rng.IntN(20) == 0 {
					g.SetDeadline(time.Now().Add(time.Duration(rng.IntN(50)) * time.Microsecond))
				}
				g.Lock()
				ready++
				g.UnlockFor(true, rng.IntN(2) == 0)
				if rng.IntN(4) == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	wg.Wait()
}
