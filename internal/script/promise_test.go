package script

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/simnet"
)

// twoPaths is a world with two disjoint paths of the given words and an association over them.
func twoPaths(t *testing.T, seed uint64, words string) (w *World, ca, cb *Conn) {
	return twoPathsTo(t, seed, words, func(*assoc.Config) {})
}

// plainPeer makes a host answer as other stacks do: a SACK for every second packet or after 200 ms (RFC 9260 section 16), and
// no extension known.
func plainPeer(c *assoc.Config) {
	c.SackDelay = 200 * time.Millisecond
	c.NoPartial, c.NoReconfig = true, true
}

// twoPathsTo is twoPaths with a peer of its own kind.
func twoPathsTo(t *testing.T, seed uint64, words string, peer func(*assoc.Config)) (w *World, ca, cb *Conn) {
	return twoPathsWith(t, seed, words, peer, func(*assoc.Config) {})
}

// twoPathsWith is twoPathsTo with settings of our own.
func twoPathsWith(t *testing.T, seed uint64, words string, peer, own func(*assoc.Config)) (w *World, ca, cb *Conn) {
	w = NewWorld(seed)
	w.Quiet = true
	for _, word := range strings.Fields(words) {
		require.NoError(t, w.Net.Default.Set(word))
	}
	a := w.AddHost("a", netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"))
	b := w.AddHost("b", netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2"))
	peer(&b.Cfg)
	own(&a.Cfg)
	a.Boot()
	require.NoError(t, b.Listen())
	ca, err := a.Dial(b, []int{0, 1}, b.Sim.Addrs, 0)
	require.NoError(t, err)
	require.True(t, w.Until(time.Minute, func() bool { return ca.Up && len(b.Conns) > 0 }))
	return w, ca, b.Conns[0]
}

func (c *Conn) state(id int) heartbeat.State { return c.A.Paths(nil)[id].State }

// TestLossCostsLittle: one packet in a hundred is lost on the primary path for a minute. The association comes back to the
// path whenever it left it, and less than one byte in twenty travels twice.
func TestLossCostsLittle(t *testing.T) {
	seeds := uint64(30)
	if raceEnabled {
		seeds = 5
	}
	worst := 0.0
	for seed := range seeds {
		w, ca, cb := twoPaths(t, 100+seed, "delay=10ms")
		require.NoError(t, w.Net.Set("a1-b1", "loss=1%"))
		const records, size = 15_000, 1024
		for i := range records { // 2 Mbit/s for a minute
			w.Net.At(w.Now.Add(time.Duration(i)*4*time.Millisecond), func() { ca.Send(0, size, size, 0, false) })
		}
		w.Advance(62 * time.Second)
		require.NoError(t, w.Net.Set("a1-b1", "loss=0"))
		require.True(t, w.Until(time.Minute, func() bool { return ca.Idle() && ca.state(0) == heartbeat.Active }), "seed %d: the path was left for good", seed)
		require.Equal(t, uint64(records*size), cb.in[0].offset)
		var twice, once uint64
		for _, p := range ca.A.Paths(nil) {
			twice += p.Stats.DataResent
			once += p.Stats.DataSent
		}
		share := float64(twice) / float64(once)
		worst = max(worst, share)
		require.Less(t, share, 0.05, "seed %d", 100+seed)
		w.Close()
	}
	t.Logf("at most %.2f %% of the bytes travelled twice, of %d seeds", 100*worst, seeds)
}

// TestHeartbeatsCostLittle: in IP bytes, path and direction, at most 1.5 kbit/s in the first minute after the last data, and
// 0.1 once the association has been idle for long.
func TestHeartbeatsCostLittle(t *testing.T) {
	for seed := range uint64(10) {
		w, ca, _ := twoPaths(t, 200+seed, "delay=10ms")
		ca.Send(0, 1000, 1000, 0, false)
		w.Advance(5 * time.Second)
		require.True(t, ca.Idle())
		cost := func(d time.Duration) map[string]float64 {
			before := map[string]simnet.Counters{}
			for _, l := range w.Net.Links("*") {
				before[l.Name] = l.Count
			}
			w.Advance(d)
			rates := map[string]float64{}
			for _, l := range w.Net.Links("*") {
				rates[l.Name] = float64((l.Count.Bytes-before[l.Name].Bytes)*8) / d.Seconds() // IP headers included
			}
			return rates
		}
		for name, rate := range cost(55 * time.Second) {
			require.LessOrEqual(t, rate, 1500.0, "%s, first minute, bit/s", name)
		}
		w.Advance(10 * time.Minute)
		for name, rate := range cost(10 * time.Minute) {
			require.LessOrEqual(t, rate, 100.0, "%s, idle, bit/s", name)
		}
		w.Close()
	}
}

// TestIdleDeathIsSeen: in the first minute after the last data a path that dies is PotentiallyFailed within 2.5 seconds, on
// both ends.
func TestIdleDeathIsSeen(t *testing.T) {
	for seed := range uint64(40) {
		w, ca, cb := twoPaths(t, 300+seed, "delay=10ms")
		ca.Send(0, 1000, 1000, 0, false)
		w.Advance(time.Duration(2+seed) * 1370 * time.Millisecond)
		require.Equal(t, heartbeat.Active, ca.state(1))
		require.NoError(t, w.Net.Set("a2-b2", "down"))
		cut := w.Now
		require.True(t, w.Until(5*time.Second, func() bool { return ca.state(1) != heartbeat.Active && cb.state(1) != heartbeat.Active }))
		require.LessOrEqual(t, w.Now.Sub(cut), 2500*time.Millisecond, "seed %d", 300+seed)
		w.Close()
	}
}

// TestStallsCountNothing: machines that are not scheduled for 200 ms, at any instant of a flow in either direction, cost no
// path and no error, neither at their own end nor at the other.
func TestStallsCountNothing(t *testing.T) {
	for seed := range uint64(20) {
		rtt := []string{"50us", "10ms", "50ms"}[seed%3]
		w, ca, cb := twoPaths(t, 500+seed, "delay="+rtt)
		w.Advance(2 * time.Second)
		w.Quiet = false
		w.Out.Reset()
		for i := range 6 {
			at := time.Duration(i)*time.Second + time.Duration(seed*7919%300)*time.Millisecond
			h := w.Hosts[(i+int(seed))%2]
			w.Net.At(w.Now.Add(at), func() { h.Stall(200 * time.Millisecond) })
			w.Net.At(w.Now.Add(at+100*time.Millisecond), func() {
				for _, c := range []*Conn{ca, cb} {
					for id := range 2 {
						require.Zero(t, c.A.Paths(nil)[id].Errors, "seed %d, %s, path %d", 500+seed, c.Name, id)
					}
				}
			})
		}
		g := steady(t, w, 1024, time.Millisecond, 6500*time.Millisecond, nil)
		require.NotContains(t, w.Out.String(), "timeouts", "seed %d", 500+seed)
		require.NotContains(t, w.Out.String(), "Inactive", "seed %d", 500+seed)
		require.Less(t, g.delay, 500*time.Millisecond, "seed %d", 500+seed)
		w.Close()
	}
}

// TestWhenNothingAnswers: all paths die with data outstanding. The association ends after Association.Max.Retrans errors in a
// row, one for each timeout, which doubles from RTO.Min to RTO.Max (RFC 9260 section 8.1): docs/FAILOVER.md has the table.
func TestWhenNothingAnswers(t *testing.T) {
	for _, c := range []struct {
		errors int
		rtoMax time.Duration
		ends   time.Duration
	}{{10, 30 * time.Second, 171 * time.Second}, {10, 5 * time.Second, 41 * time.Second}, {6, 30 * time.Second, 51 * time.Second}, {4, 30 * time.Second, 12 * time.Second}} {
		w, ca, _ := twoPathsWith(t, 1, "delay=10ms", func(*assoc.Config) {}, func(own *assoc.Config) {
			own.Fill()
			own.AssocMaxRetrans, own.RTO.Max = c.errors, c.rtoMax
		})
		w.Advance(2 * time.Second)
		require.NoError(t, w.Net.Set("*", "down"))
		cut := w.Now
		ca.Send(0, 10_000, 1000, 0, false)
		require.True(t, w.Until(20*time.Minute, func() bool { return ca.Closed }))
		require.InDelta(t, c.ends.Seconds(), w.Now.Sub(cut).Seconds(), 0.5)
		require.ErrorContains(t, ca.Err, "192.0.2.1:9899>192.0.2.2:9899 ")
		require.ErrorContains(t, ca.Err, "[2001:db8::1]:9899>[2001:db8::2]:9899 ")
		w.Close()
	}
}
