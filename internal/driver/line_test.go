package driver

import (
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/simnet"
)

// TestLineWakesFew: of many who wait, those are woken for whom there is room, in the order they came.
func TestLineWakesFew(t *testing.T) {
	var l line
	all := make([]*Stream, 10_000)
	for i := range all {
		all[i] = &Stream{}
		l.add(all[i], 10_000, false)
	}
	promised := func() (n int) {
		for n < len(all) && all[n].place.promised {
			n++
		}
		for _, s := range all[n:] {
			require.False(t, s.place.promised)
		}
		return n
	}
	l.promise(256<<10, 64<<10)
	require.Equal(t, 4, promised())
	l.promise(256<<10, 64<<10)
	require.Equal(t, 8, promised(), "their turns may stay unused, their promises not")
	require.Equal(t, 80_000, l.promised)
	l.promise(80_000, 64<<10)
	require.Equal(t, 8, promised(), "promised already")
	require.True(t, l.arrived(all[3]))
	require.Equal(t, 64<<10, all[3].place.turn)
	l.promise(80_001, 1)
	require.Equal(t, 70_000+20_000, l.promised, "one more than fits, as for one message")
	require.False(t, l.arrived(all[5000]))
	require.False(t, l.arrived(all[5000]), "it is not in the line any more")
}

// TestLineModel holds the line against a slice.
func TestLineModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(needs.Seed(t), 0))
	for range 200 {
		var l line
		all := make([]*Stream, 1+rng.IntN(12))
		for i := range all {
			all[i] = &Stream{}
		}
		var waits []*Stream
		given := map[*Stream]int{}
		for range 200 {
			s := all[rng.IntN(len(all))]
			_, has := given[s]
			switch at := slices.Index(waits, s); {
			case rng.IntN(3) == 0:
				room, turn := rng.IntN(200), rng.IntN(60)
				left := room - l.promised
				l.promise(room, turn)
				for left > 0 && len(waits) > 0 {
					s := waits[0]
					waits = waits[1:]
					given[s] = s.place.wants
					left -= max(turn, given[s])
				}
			case at >= 0 || has:
				require.Equal(t, has, l.arrived(s))
				delete(given, s)
				if at >= 0 {
					waits = slices.Delete(waits, at, at+1)
				}
			default:
				front := rng.IntN(4) == 0
				l.add(s, rng.IntN(100), front)
				if front {
					waits = slices.Insert(waits, 0, s)
				} else {
					waits = append(waits, s)
				}
			}
			sum := 0
			for s, n := range given {
				require.True(t, s.place.promised)
				sum += n
			}
			require.Equal(t, sum, l.promised)
			i := 0
			var last *Stream
			for s := l.first; s != nil; s = s.place.next {
				require.Less(t, i, len(waits))
				require.Same(t, waits[i], s)
				require.Same(t, last, s.place.prev)
				require.False(t, s.place.promised)
				last, i = s, i+1
			}
			require.Len(t, waits, i)
			require.Same(t, last, l.last)
		}
	}
}

// TestWritersTakeTurns: of many streams that always have something to write each has its turn, which is a message at least
// and a turn at most, before any of them has the next.
func TestWritersTakeTurns(t *testing.T) {
	const streams, size, rounds, turn = 200, 4 << 10, 160, 256 << 10 >> turnShare
	bubble(t, Config{SendBuffer: 256 << 10}, func(t *testing.T, lab *simnet.Lab, a, b *Node, l *Listener) {
		c, s := connect(t, a, l)
		var all sync.WaitGroup
		written := make([]int, streams)
		var mu sync.Mutex
		for i := range streams {
			all.Go(func() {
				w := opened(t, c, uint16(i+1))
				for range rounds {
					_, err := w.Write(make([]byte, size), size, nil)
					require.NoError(t, err)
					mu.Lock()
					written[i] += size
					mu.Unlock()
				}
			})
			all.Go(func() {
				_, err := io.CopyN(io.Discard, opened(t, s, uint16(i+1)), rounds*size)
				require.NoError(t, err)
			})
		}
		synctest.Wait() // those who came before there was a line have filled the buffer
		begin := slices.Clone(written)
		for range 50 {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			mu.Lock()
			low, high := 1<<30, 0
			for i, n := range written {
				low, high = min(low, n-begin[i]), max(high, n-begin[i])
			}
			mu.Unlock()
			if most := turn/size*low + 2*turn; high > most {
				t.Errorf("one stream has written %d bytes while another has written %d, want at most %d", high, low, most)
			}
		}
		all.Wait()
		c.Abort("")
		s.Abort("")
	})
}

// TestWritersGiveUp: room that was promised to writers whose deadline passes goes to those behind them, and a stream whose
// write was given up can be written again.
func TestWritersGiveUp(t *testing.T) {
	const streams, size = 100, 8 << 10
	bubble(t, Config{SendBuffer: 64 << 10}, func(t *testing.T, lab *simnet.Lab, a, b *Node, l *Listener) {
		rng := rand.New(rand.NewPCG(needs.Seed(t), 0))
		c, s := connect(t, a, l)
		var all sync.WaitGroup
		var sent [streams]int
		for i := range streams {
			w := opened(t, c, uint16(i+1))
			waits := make([]time.Duration, 100)
			for k := range waits {
				waits[k] = time.Duration(rng.IntN(20_000)) * time.Microsecond
			}
			all.Go(func() {
				for k := range waits {
					if i%2 == 0 {
						require.NoError(t, w.SetWriteDeadline(time.Now().Add(waits[k])))
					}
					n, err := w.Write(make([]byte, size), size, nil)
					if err != nil {
						require.ErrorIs(t, err, os.ErrDeadlineExceeded)
						require.Zero(t, i%2)
					}
					sent[i] += n
				}
				require.NoError(t, w.SetWriteDeadline(time.Time{}))
				n, err := w.Write(make([]byte, size), size, nil)
				require.NoError(t, err)
				sent[i] += n
			})
		}
		var readers sync.WaitGroup
		var got [streams]int
		for i := range streams {
			readers.Go(func() {
				n, err := io.Copy(io.Discard, opened(t, s, uint16(i+1)))
				require.NoError(t, err)
				got[i] = int(n)
			})
		}
		all.Wait()
		c.mu.Lock()
		require.Nil(t, c.mux.line.first)
		require.Zero(t, c.mux.line.promised)
		c.mu.Unlock()
		require.NoError(t, c.Close(time.Minute))
		readers.Wait()
		require.Equal(t, sent, got)
		for i := 1; i < streams; i += 2 {
			require.Equal(t, 101*size, sent[i])
		}
		s.Close(time.Minute)
	})
}

// TestPromiseIsPassedOn: whoever does not take the room it was promised leaves it to the next at once. Nothing is under way
// here, so no acknowledgement would wake it later.
func TestPromiseIsPassedOn(t *testing.T) {
	bubble(t, Config{SendBuffer: 64 << 10}, func(t *testing.T, lab *simnet.Lab, a, b *Node, l *Listener) {
		c, s := connect(t, a, l)
		first, second, third := opened(t, c, 1), opened(t, c, 2), opened(t, c, 3)
		stand := func() {
			c.enter()
			for _, x := range []*Stream{first, second, third} {
				c.mux.line.arrived(x)
				c.mux.line.add(x, 64<<10, false)
			}
			c.wakeWriters()
			require.True(t, first.place.promised)
			require.False(t, second.place.promised)
			c.unlock()
		}
		stand()
		require.ErrorIs(t, first.giveUp(os.ErrDeadlineExceeded), os.ErrDeadlineExceeded)
		require.True(t, second.place.promised, "its deadline has passed")
		require.Same(t, third, c.mux.line.first)

		stand()
		require.ErrorIs(t, third.giveUp(os.ErrDeadlineExceeded), os.ErrDeadlineExceeded)
		require.Same(t, second, c.mux.line.first)
		require.Nil(t, second.place.next, "out of the line")
		require.Equal(t, 64<<10, c.mux.line.promised)

		stand()
		c.enter()
		first.noWrite = true
		c.unlock()
		_, err := first.Write(make([]byte, 10), 10, nil)
		require.ErrorIs(t, err, ErrWriteEnded)
		require.True(t, second.place.promised, "it may not be written any more")

		c.enter()
		c.shutdown = true
		c.wakeWriters()
		require.Equal(t, line{}, line{first: c.mux.line.first, last: c.mux.line.last}, "all are woken at the end")
		c.unlock()
		c.Abort("")
		s.Abort("")
	})
}
