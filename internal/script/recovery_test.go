package script

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// steady lets a write a record at regular times, or as a busy machine lets it if late is not nil, and returns what b's user
// saw of them once all have been read.
func steady(t *testing.T, w *World, size int, every, length time.Duration, late func() time.Duration) *gauge {
	t.Helper()
	ca := w.Hosts[0].Conns[0]
	g := new(gauge)
	w.gauges[streamKey{"a", 0}] = g
	var end uint64
	var woken time.Duration
	for at := time.Duration(0); at < length; at += every {
		if late != nil && at >= woken {
			woken = at + late()
		}
		w.Net.At(w.Now.Add(max(at, woken)), func() {
			end += uint64(size)
			g.marks = append(g.marks, mark{end, w.Now})
			ca.Send(0, size, size, 0, false)
		})
	}
	all := func() bool { return g.records == int(length/every) }
	require.True(t, w.Until(length+time.Minute, all), "%d records, %v", g.records, w.Err)
	return g
}

// TestLossNearby: where a round trip is much shorter than the time between two records, recovery goes on with a packet or two
// under way. A lone one is answered when the receiver's patience with its SACK is over, 200 ms with other stacks; so the
// window must always let a second one follow.
func TestLossNearby(t *testing.T) {
	var worst time.Duration
	for seed := range uint64(60) {
		w, _, _ := twoPathsTo(t, 400+seed, "delay=50us mtu=1500", plainPeer)
		require.NoError(t, w.Net.Set("a*-b*", "loss=3%"))
		rng := rand.New(rand.NewPCG(400+seed, 0))
		g := steady(t, w, 1024, time.Millisecond, 5*time.Second, func() time.Duration {
			if rng.IntN(20) > 0 {
				return 0
			}
			return time.Duration(rng.IntN(8)) * time.Millisecond
		})
		worst = max(worst, g.delay)
		require.Less(t, g.delay, 20*time.Millisecond, "seed %d, longest delay", 400+seed)
		w.Close()
	}
	t.Logf("longest delay %v", worst)
}

// TestOnePathThroughLoss: the accepting end sends 100 kB over the only path, which loses one packet in five each way. There is
// no other path to probe, and what remains are the timers of the RFC: nothing stands still for longer than RTO.Min and, where
// what T3-rtx sends is lost as well, its double.
func TestOnePathThroughLoss(t *testing.T) {
	for _, c := range []struct {
		words string
		most  time.Duration // without an arrival, in nine of ten transfers; and thrice that in any
	}{{"delay=50us", 250 * time.Millisecond}, {"delay=10ms", 300 * time.Millisecond}, {"delay=50ms", 500 * time.Millisecond}} {
		var gaps []time.Duration
		for seed := range uint64(100) {
			w := NewWorld(600 + seed)
			w.Quiet = true
			require.NoError(t, w.Net.Default.Set(c.words))
			require.NoError(t, w.Net.Default.Set("loss=20%"))
			a := w.AddHost("a", netip.MustParseAddr("192.0.2.1"))
			b := w.AddHost("b", netip.MustParseAddr("192.0.2.2"))
			a.Boot()
			require.NoError(t, b.Listen())
			ca, err := a.Dial(b, nil, b.Sim.Addrs, 0)
			require.NoError(t, err)
			require.True(t, w.Until(5*time.Minute, func() bool { return ca.Up && len(b.Conns) > 0 && b.Conns[0].Up }))
			const size = 100_000
			b.Conns[0].Send(0, size, 1000, 0, false)
			var gap time.Duration
			var got uint64
			last := w.Now
			require.True(t, w.Until(5*time.Minute, func() bool {
				if s := ca.in[0]; s != nil && s.offset > got {
					gap, last, got = max(gap, w.Now.Sub(last)), w.Now, s.offset
				}
				return got == size
			}), "%s, seed %d: %d bytes", c.words, 600+seed, got)
			gaps = append(gaps, gap)
			w.Close()
		}
		slices.Sort(gaps)
		t.Logf("%s: without an arrival for %v (median), %v (90 of 100), %v (worst)", c.words, gaps[50], gaps[90], gaps[99])
		require.LessOrEqual(t, gaps[90], c.most, c.words)
		require.LessOrEqual(t, gaps[99], 3*c.most, c.words)
	}
}
