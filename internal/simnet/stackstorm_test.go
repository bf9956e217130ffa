package simnet_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/simnet"
	"github.com/go-multihome/multihome/transport"
)

// TestStackStorm runs whole stacks, from Write to Read, over networks that lose, reorder, duplicate and corrupt packets
// while paths come and go. MULTIHOME_STACK_STORMS sets how many; MULTIHOME_SEED takes the network of a single one, or of the
// first where both are set, though the order of goroutines is not replayed with it.
func TestStackStorm(t *testing.T) {
	first, count := simnet.Seed(1), uint64(30)
	if testing.Short() {
		count = 8
	}
	if os.Getenv("MULTIHOME_SEED") != "" {
		count = 1
	}
	if n, err := strconv.ParseUint(os.Getenv("MULTIHOME_STACK_STORMS"), 10, 32); err == nil {
		count = n
	}
	var total simnet.Counters
	deaths := 0
	for seed := first; seed < first+count; seed++ {
		before := pktbuf.Live()
		ok := t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			inBubble(t, seed, 1+int(seed%2), "", func(s *site) {
				st := newStackStorm(s, seed)
				st.run()
				s.lab.Do(func(n *simnet.Network) {
					c := n.Total()
					total.Add(&c)
				})
				if st.dies {
					deaths++
				}
			})
		})
		if !ok {
			return
		}
		if n := pktbuf.Live() - before; n != 0 {
			t.Errorf("seed %d: %d buffers leaked", seed, n)
		}
	}
	t.Logf("network: %+v; in %d runs every path died", total, deaths)
	if count < 8 {
		return
	}
	for name, n := range map[string]int{"lost": total.Lost, "down": total.Down, "reordered": total.Reordered,
		"duplicated": total.Duplicated, "corrupted": total.Corrupted, "deaths": deaths} {
		require.NotZero(t, n, "%s: never happened", name)
	}
}

type stackStorm struct {
	s    *site
	rng  *rand.Rand
	dies bool
	stop chan struct{}
}

func newStackStorm(s *site, seed uint64) *stackStorm {
	st := &stackStorm{s: s, rng: rand.New(rand.NewPCG(seed, 0x57ac)), stop: make(chan struct{})}
	st.dies = st.rng.IntN(5) == 0
	s.lab.Do(func(n *simnet.Network) {
		for _, l := range n.Links("*") {
			l.Shape = simnet.Shape{
				Delay:     time.Duration(1+st.rng.IntN(50)) * time.Millisecond,
				Jitter:    time.Duration(st.rng.IntN(8)) * time.Millisecond,
				Loss:      0.2 * st.rng.Float64() * float64(st.rng.IntN(2)),
				Reorder:   0.2 * st.rng.Float64() * float64(st.rng.IntN(2)),
				Duplicate: 0.1 * st.rng.Float64() * float64(st.rng.IntN(2)),
				Corrupt:   0.04 * st.rng.Float64() * float64(st.rng.IntN(2)),
			}
		}
	})
	return st
}

// flap takes one path at a time down and up until stop is closed; or, at a moment in the middle, all for good.
func (st *stackStorm) flap() {
	pause := func(d time.Duration) bool {
		select {
		case <-st.stop:
			return false
		case <-time.After(d):
			return true
		}
	}
	if st.dies {
		if pause(time.Duration(st.rng.IntN(1500)) * time.Millisecond) {
			st.s.lab.Set("*", "down")
		}
		return
	}
	for len(st.s.addrs["a"]) > 1 {
		dark := fmt.Sprintf([]string{"a%d", "a%d>b*", "b*>a%d"}[st.rng.IntN(3)], 1+st.rng.IntN(2))
		if !pause(time.Duration(100+st.rng.IntN(3000)) * time.Millisecond) {
			return
		}
		st.s.lab.Set(dark, "down")
		on := pause(time.Duration(50+st.rng.IntN(3000)) * time.Millisecond)
		st.s.lab.Set(dark, "up")
		if !on {
			return
		}
	}
}

// fill is what every stream of a side carries: its length, then bytes that differ by offset and stream.
func fill(id uint16, n int) []byte {
	b := make([]byte, n)
	binary.BigEndian.PutUint32(b, uint32(n))
	for i := 4; i < n; i++ {
		b[i] = byte((uint32(i) * 0x9e3779b1) >> 24 * (uint32(id) | 1))
	}
	return b
}

// speak writes on new streams while it listens to the peer's, and returns the first error.
func (st *stackStorm) speak(a *transport.Association, lengths []int, peers int) error {
	errs := make(chan error, len(lengths)+peers)
	for _, n := range lengths {
		go func() {
			s, err := a.OpenStream()
			if err == nil {
				_, err = s.Write(fill(s.ID(), n))
			}
			errs <- err
		}()
	}
	go func() {
		for range peers {
			s, err := a.AcceptStream(context.Background())
			if err != nil {
				errs <- err
				continue
			}
			go func() { errs <- hear(s) }()
		}
	}()
	var first error
	for range cap(errs) {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// hear reads one stream and checks it.
func hear(s *transport.Stream) error {
	var head [4]byte
	if _, err := io.ReadFull(s, head[:]); err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n < 4 || n > 1<<20 {
		return fmt.Errorf("stream %d begins with %x", s.ID(), head)
	}
	got := make([]byte, n-4)
	if _, err := io.ReadFull(s, got); err != nil {
		return err
	}
	for i, want := range fill(s.ID(), n)[4:] {
		if got[i] != want {
			return errCorrupt{fmt.Errorf("stream %d: byte %d is %#x and should be %#x", s.ID(), i, got[i], want)}
		}
	}
	return nil
}

// errCorrupt is what must never happen, whatever the network does.
type errCorrupt struct{ error }

func (st *stackStorm) run() {
	t := st.s.t
	cfg := transport.Config{Linger: -1}
	a, b, stop := st.s.pair(cfg)
	var lengths [2][]int
	for side := range lengths {
		for range 1 + st.rng.IntN(6) {
			lengths[side] = append(lengths[side], 4+st.rng.IntN(150_000))
		}
	}
	flapped := make(chan struct{})
	go func() {
		st.flap()
		close(flapped)
	}()
	start := time.Now()
	var both sync.WaitGroup
	var errA, errB error
	both.Go(func() { errA = st.speak(a, lengths[0], len(lengths[1])) })
	both.Go(func() { errB = st.speak(b, lengths[1], len(lengths[0])) })
	both.Wait()
	close(st.stop)
	<-flapped
	for _, err := range []error{errA, errB} {
		var c errCorrupt
		require.False(t, errors.As(err, &c), "%v", err)
		if !st.dies {
			require.NoError(t, err)
		}
	}
	if st.dies {
		require.Less(t, time.Since(start), 15*time.Minute)
		stop()
		return
	}
	// The listening side ends it: its sockets stay open with the listener, so the peer is answered whatever is lost.
	both.Go(func() { require.NoError(t, b.Close()) })
	_, err := a.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, a.Close())
	both.Wait()
	stop()
}
