package cc

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
)

// afterLoss returns a controller that has lost at a window of w packets and left recovery, at instant one second.
func afterLoss(w int) (*Cubic, *flow) {
	c := NewCubic(Config{MTU: mtu, InitialPackets: w})
	now := mono.Time(time.Second)
	c.OnLoss(Loss{Now: now, Sent: now - ms, Bytes: mtu, Flight: w * mtu})
	return c, &flow{c: c, now: now, rtt: 100 * time.Millisecond, packet: mtu}
}

// until runs a flow without losses for a time.
func (f *flow) until(d time.Duration) {
	end := f.now.Add(d)
	for f.now.Before(end) {
		f.run(2, func() float64 { return math.Inf(1) })
	}
}

func TestCubicReduction(t *testing.T) {
	c, _ := afterLoss(1000)
	require.Equal(t, 700*mtu, c.Window())
	require.Equal(t, 700*mtu, c.Threshold())
	require.Equal(t, "recovery", c.State())
}

// TestCubicCurve: from 700 packets back to the plateau at 1000 takes K = cbrt(300/0.4) = 9.09 s (RFC 8312 Eq. 2), flat
// around it, then ever steeper.
func TestCubicCurve(t *testing.T) {
	c, f := afterLoss(1000)
	f.until(110 * time.Millisecond) // the recovery
	curve := func(s float64) float64 { return 0.4*math.Pow(s-9.086, 3) + 1000 }
	begin := f.now
	for _, s := range []float64{1, 3, 6, 9, 12, 15, 18} {
		f.until(begin.Add(time.Duration(s * 1e9)).Sub(f.now))
		require.InEpsilon(t, curve(s), float64(c.Window())/mtu, 0.02, "after %v s", s)
	}
}

// TestCubicGrowsLikeRenoOnShortPaths: where the cubic curve is slower than NewReno, the window follows W_est (Eq. 4):
// 0.53 packets per round trip from the reduced window.
func TestCubicGrowsLikeRenoOnShortPaths(t *testing.T) {
	c, f := afterLoss(100)
	f.rtt = 2 * time.Millisecond
	f.until(2 * time.Millisecond)
	f.until(100 * time.Millisecond) // 50 round trips
	require.InDelta(t, 70+50*0.529, float64(c.Window())/mtu, 2)
}

func TestCubicFastConvergence(t *testing.T) {
	c, _ := afterLoss(1000)
	require.EqualValues(t, 1000*mtu, c.wMax)
	now := mono.Time(3 * time.Second)
	c.OnLoss(Loss{Now: now, Sent: now, Bytes: mtu, Flight: 700 * mtu})
	require.InDelta(t, 700*mtu*0.85, c.wMax, 1, "the window was smaller than at the last loss: leave room")
	require.Equal(t, 490*mtu, c.Window())
}

// TestCubicAfterTimeout: slow start to the threshold, then growth from the window there is, the old plateau forgotten.
func TestCubicAfterTimeout(t *testing.T) {
	c, f := afterLoss(1000)
	f.until(5 * time.Second)
	w := c.Window()
	c.OnTimeout(f.now, w)
	require.Equal(t, mtu, c.Window())
	require.InDelta(t, float64(w)*0.7, c.Threshold(), 1)
	for c.InSlowStart() {
		f.until(f.rtt)
	}
	f.until(f.rtt)
	require.Zero(t, c.k)
	require.InDelta(t, float64(w)*0.7, c.origin, 3*mtu)
}

// TestCubicWithoutUse: time in which the application does not use the window does not count (RFC 8312 section 5.8).
func TestCubicWithoutUse(t *testing.T) {
	c, f := afterLoss(1000)
	f.until(3 * time.Second)
	w := c.Window()
	for range 600 { // a minute of little use
		f.now = f.now.Add(100 * time.Millisecond)
		c.OnAck(Ack{Now: f.now, Sent: f.now - ms, Bytes: mtu, Flight: 3 * mtu, SRTT: f.rtt})
	}
	require.Equal(t, w, c.Window())
	f.now = f.now.Add(time.Minute)
	c.OnIdle(f.now, 150*time.Millisecond, 200*time.Millisecond)
	f.until(time.Second)
	require.InEpsilon(t, 0.4*math.Pow(4-9.086, 3)+1000, float64(c.Window())/mtu, 0.03)
}

func TestCubicIdle(t *testing.T) {
	c, f := afterLoss(100)
	f.until(20 * time.Second)
	w := c.Window()
	require.Greater(t, w, 400*mtu)
	c.OnIdle(f.now, 450*time.Millisecond, 200*time.Millisecond)
	require.Equal(t, w/4, c.Window())
	require.Equal(t, w, c.Threshold())
	require.Zero(t, c.epoch)
}

// TestResponseToRandomLoss is TestResponseFunction with losses as they come, which the formulas do not describe: geometric
// gaps between them. It holds CUBIC between the windows of both models with a margin.
func TestResponseToRandomLoss(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 5))
	f := flow{c: NewCubic(Config{MTU: mtu, InitialPackets: 10}), now: ms, rtt: 100 * time.Millisecond, packet: mtu}
	gap := func() float64 { return math.Ceil(math.Log(1-rnd.Float64()) / math.Log(1-1e-3)) }
	f.run(100_000, gap)
	got := f.run(2_000_000, gap)
	t.Logf("%.1f packets; RFC 8312 has 38 for regular loss", got)
	require.InEpsilon(t, 38, got, 0.25)
}

// BenchmarkCubic is the cost per SACK in congestion avoidance.
func BenchmarkCubic(b *testing.B) {
	c, _ := afterLoss(1000)
	now := mono.Time(2 * time.Second)
	for b.Loop() {
		now += 20000
		c.OnAck(Ack{Now: now, Sent: now, Bytes: 2 * mtu, Flight: c.Window(), RTT: 1e8, SRTT: 1e8})
	}
}
