package script

import (
	"math/rand/v2"
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
