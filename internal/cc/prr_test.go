package cc

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
)

// TestProportionalReduction plays the two examples of RFC 6937 section 3.1: 20 packets in flight, the threshold is 10. What
// SACKs reveal before the loss is declared lets new data go one by one (limited transmit), which is not the controller's.
func TestProportionalReduction(t *testing.T) {
	c := NewReno(Config{MTU: mtu, InitialPackets: 20})
	// One loss: packets 1 to 3 have arrived and let two new ones go; with the third the first one is lost.
	now := 100 * ms
	flight := 18 * mtu // 4 to 19, and two new ones
	c.OnAck(Ack{Now: now, Sent: now - 10*ms, Bytes: mtu, Flight: 10 * mtu})
	c.OnLoss(Loss{Now: now, Sent: now - 11*ms, Bytes: mtu, Flight: flight})
	require.Equal(t, 10*mtu, c.Threshold())

	var sent []int
	send := func() {
		n := 0
		for c.Budget(flight) > 0 {
			c.OnSent(mtu)
			flight += mtu
			n++
		}
		sent = append(sent, n)
	}
	send()
	for i := range 16 {
		now += ms
		c.OnAck(Ack{Now: now, Sent: now - 26*ms + mono.Time(i), Bytes: mtu, Flight: flight})
		flight -= mtu
		send()
	}
	require.Equal(t, []int{1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0}, sent, "a packet for each second one that arrives")
	require.Equal(t, 10*mtu, flight, "the target, reached after one round trip")

	// What was sent in recovery is acknowledged: it has ended.
	c.OnAck(Ack{Now: now + ms, Sent: now, Bytes: mtu, Flight: flight})
	require.NotEqual(t, "recovery", c.State())
}

// TestManyLosses: 15 of 20 packets are lost at once; what is in flight is less than the target.
func TestManyLosses(t *testing.T) {
	c := NewReno(Config{MTU: mtu, InitialPackets: 20})
	now := 100 * ms
	flight := 4 * mtu
	c.OnAck(Ack{Now: now, Sent: now - 10*ms, Bytes: mtu, Flight: 10 * mtu})
	c.OnLoss(Loss{Now: now, Sent: now - 11*ms, Bytes: 15 * mtu, Flight: flight})
	for i := range 3 {
		n := 0
		for c.Budget(flight) > 0 {
			c.OnSent(mtu)
			flight += mtu
			n++
		}
		require.Equal(t, 2, n, "what arrived and a packet more, SACK %d", i)
		now += ms
		c.OnAck(Ack{Now: now, Sent: now - 20*ms, Bytes: mtu, Flight: flight})
		flight -= mtu
	}
}

func TestRecoveryNeverStandsStill(t *testing.T) {
	for plain, first := range map[bool]int{false: 1, true: mtu} {
		c := NewCubic(Config{MTU: mtu, InitialPackets: 100, Plain: plain})
		c.OnLoss(Loss{Now: 100 * ms, Sent: 90 * ms, Bytes: mtu, Flight: 99 * mtu})
		require.Equal(t, first, c.Budget(99*mtu), "the first packet ignores the window")
		c.OnSent(mtu)
		require.LessOrEqual(t, c.Budget(100*mtu), 0)
		for range 50 {
			c.OnSent(mtu)
		}
		require.Positive(t, c.Budget(0), "all of it was moved to another path")
	}
}

// TestPlainRecovery: without proportional reduction nothing leaves until the flight has fallen to the new window.
func TestPlainRecovery(t *testing.T) {
	c := NewReno(Config{MTU: mtu, InitialPackets: 20, Plain: true})
	c.OnLoss(Loss{Now: 100 * ms, Sent: 90 * ms, Bytes: mtu, Flight: 19 * mtu})
	c.OnSent(mtu)
	require.Equal(t, -9*mtu, c.Budget(19*mtu))
	require.Equal(t, mtu, c.Budget(9*mtu))
}

// TestRecoveryLetsTwoGo: with nothing else under way, the first resend fills a packet and the budget with it. A second packet
// may follow all the same, since a lone one is answered late (RFC 9260 section 6.2); a third may not.
func TestRecoveryLetsTwoGo(t *testing.T) {
	c := NewCubic(Config{MTU: mtu, InitialPackets: 10})
	c.OnLoss(Loss{Now: 100 * ms, Sent: 90 * ms, Bytes: mtu, Flight: 0})
	require.Positive(t, c.Budget(0))
	c.OnSent(mtu)
	require.Equal(t, mtu, c.Budget(mtu))
	c.OnSent(mtu)
	require.LessOrEqual(t, c.Budget(2*mtu), 0)
	// The same when SACKs bring little: what leaves after each of them is more than one packet.
	c.OnAck(Ack{Now: 110 * ms, Sent: 95 * ms, Bytes: mtu / 8, Flight: 2 * mtu})
	require.Positive(t, c.Budget(mtu/2))
}
