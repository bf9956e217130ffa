package cc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
)

const (
	mtu = 1000
	ms  = mono.Time(time.Millisecond)
)

func ack(at, sent mono.Time, bytes, flight int) Ack {
	return Ack{Now: at * ms, Sent: sent * ms, Bytes: bytes, Flight: flight, CumAdvanced: true}
}

func loss(at, sent mono.Time, flight int) Loss {
	return Loss{Now: at * ms, Sent: sent * ms, Bytes: mtu, Flight: flight}
}

func TestInitialWindow(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want int
	}{
		{Config{MTU: mtu, InitialPackets: 10}, 10000},
		{Config{MTU: 1172, InitialPackets: 10}, 11720},
		{Config{MTU: 500}, 2000},              // 4 PMDCS
		{Config{MTU: 1452}, 4404},             // IPv4
		{Config{MTU: 1432, IPv6: true}, 4344}, // IPv6
		{Config{MTU: 8900}, 17800},            // 2 PMDCS
		{Config{InitialPackets: 1}, 1172},     // default packet
	} {
		require.Equal(t, c.want, NewReno(c.cfg).Window(), "%+v", c.cfg)
	}
}

func TestSlowStartCountsBytesUpToTheLimit(t *testing.T) {
	r := NewReno(Config{MTU: mtu, InitialPackets: 10})
	r.OnAck(ack(10, 1, 1000, 10000))
	require.Equal(t, 11000, r.Window())
	r.OnAck(ack(11, 2, 9000, 11000))
	require.Equal(t, 13000, r.Window(), "L = 2")
	require.True(t, r.InSlowStart())
	require.Equal(t, "slow-start", r.State())
}

func TestNoGrowthUnlessTheWindowWasUsed(t *testing.T) {
	r := NewReno(Config{MTU: mtu, InitialPackets: 10})
	r.OnAck(ack(10, 1, 1000, 5000))
	require.Equal(t, 10000, r.Window())
	r.OnAck(ack(11, 2, 1000, 9000))
	require.Equal(t, 10000, r.Window(), "a packet would still have fitted")
	r.OnAck(ack(12, 3, 1000, 9001))
	require.Equal(t, 11000, r.Window(), "no further packet would have fitted")
	r.OnAck(ack(12, 4, 1000, 8001))
	require.Equal(t, 12000, r.Window(), "sent while the window was full, acknowledged in the same batch")
	r.OnAck(ack(30, 20, 1000, 5000))
	require.Equal(t, 12000, r.Window(), "sent after that")
}

func TestAvoidance(t *testing.T) {
	r := NewReno(Config{MTU: mtu, InitialPackets: 20, Plain: true})
	r.OnLoss(loss(5, 4, 20000))
	require.Equal(t, 10000, r.Window())
	require.Equal(t, 10000, r.Threshold())
	r.OnAck(ack(10, 6, 2000, 10000)) // leaves recovery, still at the threshold: slow start by one step
	require.Equal(t, 11000, r.Window())
	require.Equal(t, "avoidance", r.State())

	for i := range mono.Time(5) {
		r.OnAck(ack(20+i, 10+i, 2000, 11000))
		require.Equal(t, 11000, r.Window())
	}
	r.OnAck(ack(25, 15, 2000, 11000))
	require.Equal(t, 12000, r.Window(), "one packet per window")
	r.OnAck(ack(26, 16, 100000, 12000))
	require.Equal(t, 13000, r.Window(), "one packet, however much is acknowledged")
	r.OnAck(ack(27, 17, 1000, 13000))
	require.Equal(t, 13000, r.Window(), "all was acknowledged before: counting began anew")
	r.OnAck(ack(60, 50, 12000, 10000))
	require.Equal(t, 13000, r.Window(), "not fully used")
}

func TestRecovery(t *testing.T) {
	r := NewReno(Config{MTU: mtu, InitialPackets: 40})
	r.OnLoss(loss(100, 50, 40000))
	require.Equal(t, 20000, r.Window())
	require.Equal(t, "recovery", r.State())
	require.False(t, r.InSlowStart())
	r.OnLoss(loss(110, 100, 30000))
	require.Equal(t, 20000, r.Window(), "sent before the reduction")
	r.OnAck(ack(120, 90, 5000, 30000))
	require.Equal(t, 20000, r.Window(), "no growth in recovery")
	r.OnLoss(loss(130, 101, 20000))
	require.Equal(t, 10000, r.Window(), "sent after the reduction")
	r.OnAck(ack(140, 131, 1000, 10000))
	require.NotEqual(t, "recovery", r.State())
	for now := mono.Time(200); now < 210; now++ {
		r.OnLoss(loss(now, now, 4000))
	}
	require.Equal(t, 4*mtu, r.Window(), "the floor")
}

func TestTimeout(t *testing.T) {
	r := NewReno(Config{MTU: mtu, InitialPackets: 20})
	r.OnTimeout(100*ms, 20000)
	require.Equal(t, mtu, r.Window())
	require.Equal(t, 10*mtu, r.Threshold())
	require.True(t, r.InSlowStart())
	r.OnLoss(loss(101, 99, 0))
	require.Equal(t, mtu, r.Window())
	require.Equal(t, 10*mtu, r.Threshold(), "losses from before the timeout belong to it")
	r.OnAck(ack(150, 110, 3000, 1000))
	require.Equal(t, 2*mtu, r.Window(), "L = 1 after a timeout")
	now := mono.Time(160)
	for r.InSlowStart() {
		r.OnAck(ack(now, now-10, 2*mtu, r.Window()))
		now++
	}
	require.Equal(t, 11*mtu, r.Window())
	r.OnTimeout(300*ms, 11000)
	r.OnTimeout(600*ms, 1000)
	require.Equal(t, mtu, r.Window())
	require.Equal(t, 11*mtu/2, r.Threshold(), "one outage, one reduction")

	r = NewReno(Config{MTU: mtu, InitialPackets: 20, Plain: true})
	r.OnTimeout(300*ms, 11000)
	r.OnTimeout(600*ms, 1000)
	require.Equal(t, 4*mtu, r.Threshold())
}

func TestSpurious(t *testing.T) {
	r := NewReno(Config{MTU: mtu, InitialPackets: 20})
	r.OnSpurious(ms)
	require.Equal(t, 20000, r.Window(), "nothing to undo")

	r.OnTimeout(100*ms, 20000)
	r.OnTimeout(200*ms, 1000)
	r.OnSpurious(250 * ms)
	require.Equal(t, 20000, r.Window(), "both timeouts had one cause")
	require.True(t, r.InSlowStart())

	r.OnLoss(loss(300, 290, 20000))
	r.OnAck(ack(350, 320, 1000, 10000))
	grown := r.Window()
	r.OnLoss(loss(400, 390, 20000))
	r.OnSpurious(410 * ms)
	require.Equal(t, grown, r.Window(), "only the last of two separate reductions is undone")
	r.OnSpurious(411 * ms)
	require.Equal(t, grown, r.Window())
}

func TestIdle(t *testing.T) {
	r := NewReno(Config{MTU: mtu, InitialPackets: 10})
	r.OnIdle(0, time.Hour, time.Second)
	require.Equal(t, 10*mtu, r.Window())
	require.Equal(t, maxWindow, r.Threshold(), "nothing adjusted, nothing remembered")
	for now := mono.Time(1); r.Window() < 64*mtu; now++ {
		r.OnAck(ack(now+10, now, 2*mtu, r.Window()))
	}
	w := r.Window()
	r.OnIdle(0, 999*time.Millisecond, time.Second)
	require.Equal(t, w, r.Window())
	r.OnIdle(0, 1999*time.Millisecond, time.Second)
	require.Equal(t, w/2, r.Window())
	require.Equal(t, w, r.Threshold())
	r.OnIdle(0, time.Hour, time.Second)
	require.Equal(t, 10*mtu, r.Window())
	r.OnTimeout(1, 1)
	r.OnIdle(0, time.Hour, time.Second)
	require.Equal(t, mtu, r.Window(), "never raised")
}

func TestRestartAndMTU(t *testing.T) {
	r := NewReno(Config{MTU: mtu, InitialPackets: 10})
	r.OnTimeout(1, 1)
	r.SetMTU(1400)
	require.Equal(t, 1400, r.Window())
	r.SetMTU(0)
	r.SetMTU(-5)
	r.Restart(2)
	require.Equal(t, 14000, r.Window())
	require.Equal(t, "slow-start", r.State())
}
