package mono

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestArithmetic(t *testing.T) {
	const at = Time(1_700_000_000_000_000_000)
	require.Equal(t, at+Time(3*time.Second), at.Add(3*time.Second))
	require.Equal(t, at-Time(3*time.Second), at.Add(-3*time.Second))
	require.Equal(t, 3*time.Second, at.Add(3*time.Second).Sub(at))
	require.Equal(t, -3*time.Second, at.Sub(at.Add(3*time.Second)))
	require.Zero(t, at.Sub(at))
}

func TestOrder(t *testing.T) {
	tests := []struct {
		a, b          Time
		before, after bool
	}{
		{1, 2, true, false},
		{2, 1, false, true},
		{2, 2, false, false},
		{math.MaxInt64 - 1, math.MaxInt64, true, false},
	}
	for _, tt := range tests {
		require.Equal(t, tt.before, tt.a.Before(tt.b), "%d before %d", tt.a, tt.b)
		require.Equal(t, tt.after, tt.a.After(tt.b), "%d after %d", tt.a, tt.b)
	}
}

func TestMin(t *testing.T) {
	tests := []struct{ a, b, want Time }{
		{0, 0, 0},
		{0, 7, 7},
		{7, 0, 7},
		{7, 9, 7},
		{9, 7, 7},
		{7, 7, 7},
		{math.MaxInt64, 0, math.MaxInt64},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, Min(tt.a, tt.b), "%d and %d", tt.a, tt.b)
	}
}

// TestStd walks to package time and back, where the unset instant must stay unset.
func TestStd(t *testing.T) {
	require.True(t, Time(0).IsZero())
	require.True(t, Time(0).Std().IsZero())
	require.Zero(t, FromStd(time.Time{}))
	for _, at := range []Time{1, 999_999_999, 1_700_000_000_123_456_789, math.MaxInt64} {
		require.False(t, at.IsZero())
		require.False(t, at.Std().IsZero())
		require.Equal(t, at, FromStd(at.Std()))
	}
	a, b := Time(5_000_000_001), Time(7_000_000_000)
	require.Equal(t, b.Sub(a), b.Std().Sub(a.Std()), "distances agree")
	require.True(t, a.Std().Before(b.Std()))
	require.Equal(t, a, FromStd(a.Std().In(time.FixedZone("east", 7200))), "a zone changes nothing")
}
