package script

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/simnet"
)

// TestBulk bounds how long a transfer takes in virtual time. That finds what no correctness test does: a window that does not
// open, a timer that waits where an acknowledgement should have told, a queue that is filled until it spills.
func TestBulk(t *testing.T) {
	cases := []struct {
		name  string
		words string // of the link
		size  int
		atMin time.Duration // what the rate alone would take: less is a fault of the simulation
		most  time.Duration
	}{
		{"10 Mbit/s, RTT 20", "rate=10mbit delay=10ms queue=50KB", 5_000_000, 4 * time.Second, 4800 * time.Millisecond},
		{"100 Mbit/s, RTT 20", "rate=100mbit delay=10ms queue=250KB", 20_000_000, 1600 * time.Millisecond, 2200 * time.Millisecond},
		{"100 Mbit/s, RTT 100", "rate=100mbit delay=50ms queue=1250KB", 20_000_000, 1600 * time.Millisecond, 6 * time.Second},
		{"1 Mbit/s, RTT 200, short queue", "rate=1mbit delay=100ms queue=10KB", 250_000, 2 * time.Second, 4 * time.Second},
		{"20 Mbit/s, RTT 20, 0.1% loss", "rate=20mbit delay=10ms queue=100KB loss=0.1%", 10_000_000, 4 * time.Second, 7 * time.Second},
		{"10 Mbit/s, RTT 20, 1% loss", "rate=10mbit delay=10ms queue=50KB loss=1%", 2_000_000, 1600 * time.Millisecond, 6 * time.Second},
		{"10 Mbit/s, RTT 20, reordering", "rate=10mbit delay=10ms queue=50KB reorder=2%", 5_000_000, 4 * time.Second, 6 * time.Second},
		{"20 Mbit/s, jitter", "rate=20mbit delay=10ms jitter=5ms queue=100KB", 5_000_000, 2 * time.Second, 3500 * time.Millisecond},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			took, stats := bulk(t, c.words, c.size)
			t.Logf("%v, %.1f Mbit/s; %s", took.Round(time.Millisecond), float64(c.size)*8e-6/took.Seconds(), stats)
			require.Greater(t, took, c.atMin)
			require.Less(t, took, c.most)
		})
	}
}

// bulk sends size bytes over one path and returns how long that took.
func bulk(t *testing.T, words string, size int) (took time.Duration, stats string) {
	before := pktbuf.Live()
	w := NewWorld(simnet.Seed(1))
	w.Quiet = true
	for _, word := range strings.Fields("mtu=1500 " + words) {
		require.NoError(t, w.Net.Default.Set(word))
	}
	a := w.AddHost("a", netip.MustParseAddr("10.0.0.1"))
	b := w.AddHost("b", netip.MustParseAddr("10.0.0.2"))
	a.Cfg.Window, b.Cfg.Window = 16<<20, 16<<20
	a.Boot()
	require.NoError(t, b.Listen())
	ca, err := a.Dial(b, nil, b.Sim.Addrs, 0)
	require.NoError(t, err)
	require.True(t, w.Until(time.Minute, func() bool { return ca.Up && len(b.Conns) > 0 }))
	ca.Limit = 16 << 20
	start := w.Now
	ca.Send(0, size, 16<<10, 0, false)
	require.True(t, w.Until(10*time.Minute, func() bool { return ca.Idle() && len(ca.pending) == 0 }), "%v", w.Err)
	took = w.Now.Sub(start)
	require.Equal(t, uint64(size), b.Conns[0].in[0].offset)
	p := ca.A.Paths(nil)[0]
	stats = fmt.Sprintf("resent %d bytes, %d timeouts, %d queue overflows, cwnd %d", p.Stats.DataResent, p.Stats.Timeouts,
		w.Net.Link("a1>b1").Count.QueueFull, p.Window)
	w.Close()
	require.Equal(t, before, pktbuf.Live(), "buffers leaked")
	return took, stats
}
