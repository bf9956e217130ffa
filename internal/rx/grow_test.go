package rx

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
)

// reading has a user read rate bytes per round trip for some of them, in steps of a tenth.
func reading(r *Receiver, now mono.Time, rtt time.Duration, rate, rounds int) mono.Time {
	for range 10 * rounds {
		now = now.Add(rtt / 10)
		r.Measure(now, rate/10, rtt)
	}
	return now
}

func TestWindowFollowsTheNeed(t *testing.T) {
	const rtt = 100 * time.Millisecond
	r := newReceiver(t, Config{})
	require.Zero(t, r.Wanted())
	now := reading(r, mono.Time(time.Second), rtt, 1<<20, 1)
	now = reading(r, now, rtt, 1<<20, 1)
	require.InDelta(t, 4<<20, r.Wanted(), 1<<20, "twice, and twice the growth since nothing was known")
	for rate := 2 << 20; rate <= 16<<20; rate *= 2 {
		now = reading(r, now, rtt, rate, 2)
		require.GreaterOrEqual(t, r.Wanted(), 5*rate/2, "ahead of a sender that doubles")
	}
	most := r.Wanted()
	reading(r, now, rtt, 100<<10, 10)
	require.Equal(t, most, r.Wanted(), "never shrinks")
}

func TestSteadyFlowWantsTwice(t *testing.T) {
	const rtt = 50 * time.Millisecond
	r := newReceiver(t, Config{})
	now := mono.Time(time.Second)
	for range 20 { // a slow growth
		now = reading(r, now, rtt, 1<<20, 1)
	}
	first := r.Wanted()
	for range 20 {
		now = reading(r, now, rtt, 1<<20, 1)
	}
	require.Equal(t, first, r.Wanted())
}

func TestWindowDoesNotGrow(t *testing.T) {
	t.Run("round trip unknown", func(t *testing.T) {
		r := newReceiver(t, Config{})
		now := mono.Time(time.Second)
		for range 100 {
			now = now.Add(10 * time.Millisecond)
			r.Measure(now, 1<<20, 0)
		}
		require.Zero(t, r.Wanted())
	})
	t.Run("short round trip", func(t *testing.T) { // 1 GB/s over 50 µs needs 50 KB
		r := newReceiver(t, Config{})
		now := mono.Time(time.Second)
		for range 10000 {
			now = now.Add(64 * time.Microsecond)
			r.Measure(now, 64<<10, 50*time.Microsecond)
		}
		require.Less(t, r.Wanted(), 256<<10)
	})
	t.Run("a pause between two reads", func(t *testing.T) {
		r := newReceiver(t, Config{})
		now := reading(r, mono.Time(time.Second), 20*time.Millisecond, 10<<10, 10)
		now = now.Add(time.Hour)
		r.Measure(now, 1<<20, 20*time.Millisecond)
		require.Less(t, r.Wanted(), 64<<10)
	})
}

func TestLargerWindowHoldsMoreOutOfOrder(t *testing.T) {
	r := newReceiver(t, Config{Window: 1 << 20})
	require.EqualValues(t, 2048, r.span)
	r.SetWindow(16 << 20)
	require.EqualValues(t, 32768, r.span)
	r.SetWindow(1 << 20)
	require.EqualValues(t, 32768, r.span, "what was taken stays")
	r.SetWindow(1 << 30)
	require.EqualValues(t, MaxOutOfOrder, r.span)
}
