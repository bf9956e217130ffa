package script

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/assoc"
)

// TestFailoverFigures pins what a failover costs in exact virtual time: a record of 1 KiB each millisecond, and something
// happens to the path it takes. The fault comes at five instants between two records and their acknowledgements, and
// the worst of the five counts. Each figure is the longest gap between arrivals and the longest delay of a record in milliseconds.
// The bounds are what was promised for peers with default settings on real machines; a plain peer sends its SACKs by the
// values of RFC 9260 and knows no extension.
func TestFailoverFigures(t *testing.T) {
	ours := func(*assoc.Config) {}
	for _, c := range []struct {
		what, link string
		rtt        time.Duration
		peer       func(*assoc.Config)
		want       string
		gap, delay time.Duration // promised, in milliseconds; zero: nothing
	}{
		{"cut", "a1-b1", 0, ours, "8.000/9.150", 40, 60},
		{"cut", "a1-b1", 20, ours, "32.000/41.000", 80, 100},
		{"cut", "a1-b1", 100, ours, "167.016/347.016", 300, 450},
		{"data direction", "a1>b1", 0, ours, "8.000/9.150", 40, 60},
		{"data direction", "a1>b1", 20, ours, "32.500/47.500", 80, 100},
		{"data direction", "a1>b1", 100, ours, "173.525/431.525", 300, 450},
		{"return direction", "b1>a1", 0, ours, "1.000/0.050", 40, 100},
		{"return direction", "b1>a1", 20, ours, "9.000/18.000", 40, 100},
		{"return direction", "b1>a1", 100, ours, "100.033/270.000", 300, 450},
		{"local fault", "", 0, ours, "1.000/0.050", 20, 45},
		{"local fault", "", 20, ours, "11.000/20.000", 20, 45},
		{"local fault", "", 100, ours, "92.000/273.000", 300, 450},
		{"cut, plain peer", "a1-b1", 0, plainPeer, "8.000/9.150", 40, 60},
		{"cut, plain peer", "a1-b1", 20, plainPeer, "32.000/41.000", 80, 100},
		{"cut, plain peer", "a1-b1", 100, plainPeer, "167.016/347.016", 300, 450},
		{"data direction, plain peer", "a1>b1", 20, plainPeer, "32.500/47.500", 80, 100},
		{"return direction, plain peer", "b1>a1", 20, plainPeer, "9.000/18.000", 0, 0},
	} {
		t.Run(fmt.Sprintf("%s, RTT %d", c.what, c.rtt), func(t *testing.T) {
			var gap, delay time.Duration
			for phase := range time.Duration(5) {
				g := oneFailover(t, c.link, max(c.rtt*time.Millisecond/2, 50*time.Microsecond), 422*time.Microsecond*phase, c.peer)
				gap, delay = max(gap, g.gap), max(delay, g.delay)
			}
			got := fmt.Sprintf("%s/%s", stamp(gap), stamp(delay))
			t.Log(got)
			if c.gap > 0 {
				require.LessOrEqual(t, gap, c.gap*time.Millisecond)
				require.LessOrEqual(t, delay, c.delay*time.Millisecond)
			}
			require.Equal(t, c.want, got)
		})
	}
}

// oneFailover cuts the link, or takes the sender's first address away, some time after the load began.
func oneFailover(t *testing.T, link string, oneWay, phase time.Duration, peer func(*assoc.Config)) *gauge {
	t.Helper()
	w, _, _ := twoPathsTo(t, 1, fmt.Sprintf("delay=%v", oneWay), peer)
	defer w.Close()
	w.Advance(2 * time.Second)
	w.Net.At(w.Now.Add(700*time.Millisecond+phase), func() {
		text := "link " + link + " down"
		if link == "" {
			text = "interface a1 down"
		}
		cmd, err := ParseCommand(text)
		require.NoError(t, err)
		require.NoError(t, w.Run(cmd))
	})
	g := steady(t, w, 1024, time.Millisecond, 1500*time.Millisecond, nil)
	require.False(t, strings.Contains(w.Out.String(), "closed"), w.Out.String())
	return g
}
