package cc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
)

// round plays one round trip of slow start: SACKs for two packets each until what the round began with is acknowledged.
// rtt gives the round trip of the i-th SACK.
func round(c Controller, now mono.Time, rtt func(i int) time.Duration) mono.Time {
	w := c.Window()
	for i := range max(w/(2*mtu), searchSamples+1) {
		r := rtt(i)
		c.OnAck(Ack{Now: now + mono.Time(i*1000), Sent: now.Add(-r) + mono.Time(i), Bytes: 2 * mtu, Flight: w, RTT: r, SRTT: r})
		w = c.Window()
	}
	return now
}

func TestSlowStartEndsWhenDelayGrows(t *testing.T) {
	const base = 40 * time.Millisecond
	steady := func(int) time.Duration { return base }
	slow := func(int) time.Duration { return base + 5*time.Millisecond } // a threshold of base/8
	kinds(t, func(t *testing.T, k Kind) {
		c := New(k, Config{MTU: mtu, InitialPackets: 20, Limit: 64, DelayExit: true})
		now := mono.Time(time.Second)
		step := func(rtt func(int) time.Duration) {
			now = round(c, now, rtt).Add(rtt(0))
		}
		for range 3 {
			w := c.Window()
			step(steady)
			require.InDelta(t, 2*w, c.Window(), float64(2*mtu), "doubling")
			require.True(t, c.Doubling())
		}
		step(slow)
		require.False(t, c.Doubling())
		require.True(t, c.InSlowStart(), "conservative slow start")
		w := c.Window()
		step(slow)
		require.InDelta(t, w+w/16, c.Window(), float64(w/50), "a sixteenth of the growth, the whole round being slow")

		step(steady)
		require.True(t, c.Doubling(), "the delay has gone: it was a passing one")

		step(slow)
		for i := range searchRounds {
			require.True(t, c.InSlowStart(), "round %d", i)
			step(slow)
		}
		w = c.Window()
		step(slow)
		require.False(t, c.InSlowStart())
		require.Less(t, c.Window(), w+w/16, "congestion avoidance")
		require.InDelta(t, w, c.Threshold(), float64(w/16))
	})
}

func TestSmallOrShortDelayIsNotEnough(t *testing.T) {
	for _, c := range []struct {
		name string
		rtt  func(i int) time.Duration
	}{
		{"below the least threshold", func(i int) time.Duration { return time.Millisecond + 3900*time.Microsecond }},
		{"one short round trip among eight", func(i int) time.Duration {
			if i%4 == 0 {
				return time.Millisecond
			}
			return 50 * time.Millisecond
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cc := NewCubic(Config{MTU: mtu, InitialPackets: 20, Limit: 64, DelayExit: true})
			now := mono.Time(time.Second)
			now = round(cc, now, func(int) time.Duration { return time.Millisecond }).Add(time.Millisecond)
			for range 3 {
				now = round(cc, now, c.rtt).Add(time.Millisecond)
				require.True(t, cc.Doubling())
			}
		})
	}
}

// TestSlowFlowsAreNotMeasured: a flow that does not use its window gets its SACKs late, for want of company.
func TestSlowFlowsAreNotMeasured(t *testing.T) {
	c := NewCubic(Config{MTU: mtu, InitialPackets: 20, DelayExit: true})
	now := mono.Time(time.Second)
	for i := range 1000 {
		now = now.Add(10 * time.Millisecond)
		r := 20*time.Millisecond + time.Duration(i)*time.Millisecond
		c.OnAck(Ack{Now: now, Sent: now.Add(-r), Bytes: mtu, Flight: mtu, RTT: r, SRTT: r})
	}
	require.True(t, c.Doubling())
	require.Equal(t, maxWindow, c.Threshold())
}
