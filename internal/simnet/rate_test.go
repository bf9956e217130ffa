package simnet_test

import (
	"io"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/simnet"
	"github.com/go-multihome/multihome/transport"
)

// flow is what a bulk transfer over one path comes to.
type flow struct {
	start, steady float64 // Mbit/s of user data: in the first ten seconds, and behind them
	overflows     int     // packets for which the queue had no room, in all
	lost          float64 // share of the packets that the link lost
	packet        float64 // user bytes in a packet
	rtt           time.Duration
}

// bulk writes for as long as asked, with the default settings, and counts what the peer reads.
func bulk(t *testing.T, seed uint64, words string, lasts time.Duration) (f flow) {
	const warm = 10 * time.Second
	inBubble(t, seed, 1, "mtu=1500 "+words, func(s *site) {
		a, b, stop := s.pair(transport.Config{})
		defer stop()
		begun := time.Now()
		go func() {
			buf := make([]byte, 64<<10)
			for time.Since(begun) < lasts {
				if _, err := a.Write(buf); err != nil {
					t.Error(err)
					return
				}
			}
			f.rtt = a.Paths()[0].RTT
			if err := a.CloseWrite(); err != nil {
				t.Error(err)
			}
		}()
		var early, late int
		buf := make([]byte, 256<<10)
		for {
			n, err := b.Read(buf)
			switch at := time.Since(begun); {
			case at < warm:
				early += n
			case at < lasts:
				late += n
			}
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
		}
		f.start = float64(early) * 8e-6 / warm.Seconds()
		f.steady = float64(late) * 8e-6 / (lasts - warm).Seconds()
		st := a.Stats()
		f.packet = float64(early+late) / float64(st.PacketsSent)
		s.lab.Do(func(n *simnet.Network) {
			c := n.Link("a1>b1").Count
			f.overflows, f.lost = c.QueueFull, float64(c.Lost)/float64(c.Sent)
		})
	})
	return f
}

// TestRate is the long path that a window of any fixed size leaves empty: 100 Mbit/s and 100 ms. From the tenth second on
// the user's bytes take all of it but the headers, which are 3.7 % of the packets there.
func TestRate(t *testing.T) {
	lasts := 20 * time.Second
	if raceEnabled {
		lasts = 12 * time.Second
	}
	f := bulk(t, 1, "rate=100mbit delay=50ms queue=1250KB", lasts)
	t.Logf("%+v", f)
	require.GreaterOrEqual(t, f.steady, 95.0)
}

// TestRateThroughLoss loses one packet in a thousand on the same path. RFC 8312 says what CUBIC makes of that: section 5.1
// has the average window of the cubic, section 4.2 the window of the flow it must not fall behind, which is what NewReno
// would have.
func TestRateThroughLoss(t *testing.T) {
	seeds := uint64(5)
	if raceEnabled {
		seeds = 1
	}
	for seed := range seeds {
		f := bulk(t, 10+seed, "rate=100mbit delay=50ms queue=1250KB loss=0.1%", 130*time.Second)
		rtt := 0.1
		cubic := math.Pow(0.4*(3+0.7)/(4*(1-0.7)), 0.25) * math.Pow(rtt, 0.75) / math.Pow(f.lost, 0.75)
		friendly := math.Sqrt(1.5 / f.lost)
		expected := max(cubic, friendly) * f.packet * 8e-6 / rtt
		t.Logf("%+v; RFC 8312: cubic %.1f packets, friendly %.1f packets, %.2f Mbit/s", f, cubic, friendly, expected)
		require.GreaterOrEqual(t, f.steady, expected)
	}
}
