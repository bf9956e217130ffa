package serial

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/needs"
)

// TestLess32 walks the places where a bare comparison would be wrong (RFC 1982 section 3.2).
func TestLess32(t *testing.T) {
	tests := []struct {
		a, b          uint32
		less, greater bool
	}{
		{0, 0, false, false},
		{0, 1, true, false},
		{math.MaxUint32, 0, true, false},
		{math.MaxUint32, 1, true, false},
		{math.MaxUint32 - 5, 5, true, false},
		{1<<31 - 1, 1 << 31, true, false},
		{0, 1<<31 - 1, true, false},
		{0, 1<<31 + 1, false, true},
		{0, 1 << 31, false, false}, // exactly half the space: unordered
		{1 << 31, 0, false, false},
		{5, 1<<31 + 5, false, false},
	}
	for _, tt := range tests {
		a, b := tt.a, tt.b
		for name, got := range map[string][2]bool{
			"TSN": {TSN(a).Less(TSN(b)), TSN(b).Less(TSN(a))},
			"MID": {MID(a).Less(MID(b)), MID(b).Less(MID(a))},
			"FSN": {FSN(a).Less(FSN(b)), FSN(b).Less(FSN(a))},
			"RSN": {RSN(a).Less(RSN(b)), RSN(b).Less(RSN(a))},
		} {
			require.Equal(t, [2]bool{tt.less, tt.greater}, got, "%s %#x and %#x", name, a, b)
		}
		require.Equal(t, tt.less || a == b, TSN(a).LessEq(TSN(b)), "%#x and %#x", a, b)
		require.Equal(t, tt.less || a == b, MID(a).LessEq(MID(b)), "%#x and %#x", a, b)
	}
}

// TestLess16 tries every distance from every place near the ends of the 16-bit space.
func TestLess16(t *testing.T) {
	for _, a := range []uint16{0, 1, 0x7ffe, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff} {
		for d := range 1 << 16 {
			b := a + uint16(d)
			if SSN(a).Less(SSN(b)) != (d > 0 && d < 1<<15) || SSN(a).LessEq(SSN(b)) != (d < 1<<15) {
				t.Fatalf("%#x and %#x", a, b)
			}
		}
	}
}

func TestSub(t *testing.T) {
	tests := []struct {
		a, b uint32
		want int32
	}{
		{7, 5, 2},
		{5, 7, -2},
		{2, math.MaxUint32, 3},
		{math.MaxUint32, 2, -3},
		{1<<31 - 1, 0, math.MaxInt32},
		{1 << 31, 0, math.MinInt32},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, TSN(tt.a).Sub(TSN(tt.b)), "%#x and %#x", tt.a, tt.b)
	}
}

// TestOrderProperties holds the order against what it is made for: a walk of less than half the space is ascending.
func TestOrderProperties(t *testing.T) {
	rnd := rand.New(rand.NewPCG(needs.Seed(t), 0))
	for range 100_000 {
		a, step := rnd.Uint32(), rnd.Uint32N(1<<31-1)+1
		b := a + step
		if !TSN(a).Less(TSN(b)) || TSN(b).LessEq(TSN(a)) || TSN(b).Sub(TSN(a)) != int32(step) {
			t.Fatalf("%#x + %#x", a, step)
		}
	}
}

func TestUnwrap(t *testing.T) {
	const wrap = uint64(1) << 32
	tests := []struct {
		ref  uint64
		n    uint32
		want uint64
	}{
		{wrap, 0, wrap},
		{wrap, 1, wrap + 1},
		{wrap, math.MaxUint32, wrap - 1},
		{wrap + 5, 4, wrap + 4},
		{2*wrap - 1, 0, 2 * wrap},
		{2*wrap - 1, math.MaxUint32, 2*wrap - 1},
		{2 * wrap, math.MaxUint32 - 1, 2*wrap - 2},
		{wrap, 1<<31 - 1, wrap + 1<<31 - 1},
		{wrap, 1<<31 + 1, wrap - 1<<31 + 1},
		{5*wrap + 1<<31, 0, 5 * wrap}, // half the space away: the lower one
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, Unwrap(tt.ref, tt.n), "%#x near %#x", tt.n, tt.ref)
	}
}

// TestUnwrapFollows lets a reference follow a long, jumping walk and expects no number to be lost.
func TestUnwrapFollows(t *testing.T) {
	rnd := rand.New(rand.NewPCG(needs.Seed(t), 1))
	at := uint64(1) << 33
	ref := at
	for range 100_000 {
		at += rnd.Uint64N(1<<31) - rnd.Uint64N(1<<30)
		got := Unwrap(ref, uint32(at))
		if got != at {
			t.Fatalf("%#x, want %#x, near %#x", got, at, ref)
		}
		ref = got
	}
	require.Greater(t, ref, uint64(1)<<40, "the walk wrapped many times")
}
