package cc

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
)

func kinds(t *testing.T, f func(t *testing.T, k Kind)) {
	t.Helper()
	for _, k := range []Kind{KindCubic, KindReno} {
		t.Run([]string{"cubic", "reno"}[k], func(t *testing.T) { f(t, k) })
	}
}

// TestNoSequenceBreaksTheBounds drives the controllers with random events; whatever comes, the window stays at or above
// one packet, never grows by more than the limit per SACK, and never grows by a loss, a timeout or idling; and with nothing
// in flight something may leave.
func TestNoSequenceBreaksTheBounds(t *testing.T) {
	seed := uint64(20260911)
	if s := os.Getenv("MULTIHOME_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("MULTIHOME_SEED=%d", seed)
	kinds(t, func(t *testing.T, k Kind) {
		for variant := range 4 {
			rnd := rand.New(rand.NewPCG(seed, uint64(variant)))
			r := New(k, Config{MTU: mtu, InitialPackets: 10, DelayExit: variant&1 != 0, Plain: variant&2 != 0})
			now := mono.Time(1000)
			for range 20000 {
				now += mono.Time(rnd.IntN(int(ms)))
				sent := now - mono.Time(rnd.IntN(1000))
				before, slow, flight := r.Window(), r.InSlowStart(), rnd.IntN(2*r.Window())
				switch rnd.IntN(24) {
				case 0:
					r.OnLoss(Loss{Now: now, Sent: sent, Bytes: mtu, Flight: flight})
					require.True(t, r.Window() <= before)
					require.True(t, r.Threshold() >= 4*mtu)
				case 1:
					r.OnTimeout(now, flight)
					require.Equal(t, mtu, r.Window())
				case 2:
					r.OnIdle(now, time.Duration(rnd.IntN(1000))*time.Millisecond, 100*time.Millisecond)
					require.True(t, r.Window() <= before)
				case 3:
					r.OnSpurious(now)
				case 4, 5:
					r.OnSent(rnd.IntN(3 * mtu))
				case 6:
					r.OnHeld(now, flight)
				default:
					r.OnAck(Ack{Now: now, Sent: sent, Bytes: rnd.IntN(5 * mtu), Flight: flight,
						RTT: time.Duration(rnd.IntN(int(ms))), SRTT: time.Millisecond})
					require.GreaterOrEqual(t, r.Window(), before)
					if k == KindReno || slow {
						require.LessOrEqual(t, r.Window(), before+2*mtu)
					} else {
						require.LessOrEqual(t, r.Window(), max(before*3/2+1, before+2*mtu))
					}
				}
				require.GreaterOrEqual(t, r.Window(), mtu)
				require.Positive(t, r.Budget(0), "a path with nothing under way must not stand still")
			}
		}
	})
}

func TestAllocations(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		c := New(k, Config{MTU: mtu, DelayExit: true})
		now := mono.Time(ms)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			now += ms
			c.OnAck(Ack{Now: now, Sent: now - ms/2, Bytes: mtu, Flight: 1 << 20, RTT: time.Millisecond, SRTT: time.Millisecond})
			c.OnSent(mtu)
			c.OnLoss(Loss{Now: now, Sent: now - ms/4, Bytes: mtu, Flight: 3 * mtu})
			c.OnTimeout(now, mtu)
			c.OnSpurious(now)
		}))
	})
}

// TestSpuriousRestores checks that a wrong reduction leaves no trace: the window goes on as if it had not been.
func TestSpuriousRestores(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		c := New(k, Config{MTU: mtu, InitialPackets: 100})
		now := 100 * ms
		c.OnLoss(Loss{Now: now, Sent: now - ms, Bytes: mtu, Flight: 90 * mtu})
		for range 200 { // reach avoidance, beyond the first epoch's beginning
			now += ms
			c.OnAck(Ack{Now: now, Sent: now, Bytes: mtu, Flight: c.Window(), SRTT: 50 * time.Millisecond})
		}
		w, th := c.Window(), c.Threshold()
		c.OnLoss(Loss{Now: now, Sent: now, Bytes: mtu, Flight: w})
		require.Less(t, c.Window(), w)
		require.Equal(t, "recovery", c.State())
		c.OnSpurious(now + ms)
		require.Equal(t, w, c.Window())
		require.Equal(t, th, c.Threshold())
		require.Equal(t, "avoidance", c.State())
		for range 1000 {
			now += ms
			c.OnAck(Ack{Now: now, Sent: now, Bytes: mtu, Flight: c.Window(), SRTT: 50 * time.Millisecond})
		}
		require.Greater(t, c.Window(), w)
	})
}

// TestHeldCountsAsUse: a window that is spread over the round trip is never full, yet it is what limits the flow.
func TestHeldCountsAsUse(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		c := New(k, Config{MTU: mtu, InitialPackets: 10})
		c.OnHeld(5*ms, 4000)
		c.OnAck(ack(10, 4, 1000, 5000))
		require.Equal(t, 10000, c.Window(), "a small part of the window that came in one go is no use of it")
		c.OnHeld(11*ms, 5000)
		c.OnAck(ack(20, 11, 1000, 5000))
		require.Equal(t, 11000, c.Window())
		c.OnAck(ack(21, 12, 1000, 5000))
		require.Equal(t, 11000, c.Window(), "sent after that")
	})
}

// flow is a bulk transfer in rounds of an ideal path: the round trip is fixed, the window always full, a SACK comes for
// each second packet, and every n-th packet is lost.
type flow struct {
	c      Controller
	now    mono.Time
	rtt    time.Duration
	packet int
	toLoss float64
}

// run goes on for a number of packets and returns the average window in packets. gap says how many packets lie between
// two losses.
func (f *flow) run(packets int, gap func() float64) float64 {
	if f.toLoss == 0 {
		f.toLoss = gap()
	}
	var sum, weight float64
	for n := 0; n < packets; n += 2 {
		w := f.c.Window()
		step := time.Duration(float64(f.rtt) * 2 * float64(f.packet) / float64(w))
		f.now = f.now.Add(step)
		sent := f.now.Add(-f.rtt)
		f.c.OnAck(Ack{Now: f.now, Sent: sent, Bytes: 2 * f.packet, Flight: w, RTT: f.rtt, SRTT: f.rtt})
		if f.toLoss -= 2; f.toLoss <= 0 {
			f.c.OnLoss(Loss{Now: f.now, Sent: sent, Bytes: f.packet, Flight: w})
			f.toLoss += gap()
		}
		sum += float64(w) / float64(f.packet) * step.Seconds()
		weight += step.Seconds()
	}
	return sum / weight
}

// TestResponseFunction compares the average window under regular loss with tables 1 and 2 of RFC 8312 section 5.1, whose
// columns for CUBIC (C = 0.4) are the larger of Eq. 7 and the window of standard TCP, 1.2/sqrt(p).
func TestResponseFunction(t *testing.T) {
	cases := []struct {
		rtt        time.Duration
		loss       float64
		tcp, cubic float64
		losses     int
	}{
		{rtt: 100 * time.Millisecond, loss: 1e-2, tcp: 12, cubic: 12, losses: 2000},
		{rtt: 100 * time.Millisecond, loss: 1e-3, tcp: 38, cubic: 38, losses: 500},
		{rtt: 100 * time.Millisecond, loss: 1e-4, tcp: 120, cubic: 187, losses: 200},
		{rtt: 100 * time.Millisecond, loss: 1e-5, tcp: 379, cubic: 1054, losses: 60},
		{rtt: 10 * time.Millisecond, loss: 1e-2, tcp: 12, cubic: 12, losses: 2000},
		{rtt: 10 * time.Millisecond, loss: 1e-3, tcp: 38, cubic: 38, losses: 500},
		{rtt: 10 * time.Millisecond, loss: 1e-4, tcp: 120, cubic: 120, losses: 200},
		{rtt: 10 * time.Millisecond, loss: 1e-5, tcp: 379, cubic: 379, losses: 60},
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("rtt %v loss %g", c.rtt, c.loss), func(t *testing.T) {
			for k, want := range []float64{KindCubic: c.cubic, KindReno: c.tcp} {
				f := flow{c: New(Kind(k), Config{MTU: 1000, InitialPackets: 10}), now: ms, rtt: c.rtt, packet: 1000}
				regular := func() float64 { return 1 / c.loss }
				f.run(int(10/c.loss), regular)
				got := f.run(int(float64(c.losses)/c.loss), regular)
				t.Logf("%T: %.1f packets, RFC 8312 has %v", f.c, got, want)
				require.InEpsilon(t, want, got, 0.15)
			}
		})
	}
}

// RFC 9260 section 7.2.1: after a timeout one packet is in flight, however small, until what was sent then is acknowledged.
func TestLonePacketAfterTimeout(t *testing.T) {
	for name, c := range map[string]Controller{"reno": NewReno(Config{MTU: 1000}), "cubic": NewCubic(Config{MTU: 1000})} {
		at := mono.Time(time.Second)
		c.OnTimeout(at, 3000)
		require.Equal(t, 1000, c.Budget(0), name)
		require.Zero(t, c.Budget(1), name)
		c.OnAck(Ack{Now: at + 5, Bytes: 1000, Flight: 1, Sent: at - 1})
		require.Zero(t, c.Budget(1), "%s: of what was sent before", name)
		c.OnAck(Ack{Now: at + 10, Bytes: 1, Flight: 1, Sent: at})
		require.Positive(t, c.Budget(1), name)
		c.OnTimeout(at+20, 1)
		require.Zero(t, c.Budget(1), name)
		c.OnSpurious(at + 30)
		require.Positive(t, c.Budget(1), name)
	}
}
