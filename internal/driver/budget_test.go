package driver

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBudgetShares(t *testing.T) {
	b := budget{limit: 1 << 20}
	require.Equal(t, 100_000, b.window(100_000), "plenty is free")
	require.Equal(t, 1<<17, b.window(1<<20), "an eighth of what is free at most")
	b.charge(1<<20 - 1000)
	require.Equal(t, leastShare, b.window(1<<20))
	require.Equal(t, leastSend, b.send(1<<20))
	b.charge(1000)
	require.Zero(t, b.window(1<<20), "used up")
	require.Equal(t, leastSend, b.send(1<<20), "writers live from their own acknowledgements")
	b.charge(-(1 << 20))
	require.Zero(t, b.used.Load())
	require.Equal(t, 5000, b.send(5000))
}

// However many associations fill their windows, they get equal shares and stay within the budget.
func TestBudgetIsFair(t *testing.T) {
	for _, n := range []int{1, 2, 5, 50} {
		b := budget{limit: 64 << 20}
		held := make([]int, n)
		for range 1000 { // each fills its window a little more in turn
			for i := range held {
				if w := b.window(32 << 20); held[i] < w {
					step := min(100_000, w-held[i])
					held[i] += step
					b.charge(step)
				} else if held[i] > w {
					b.charge(-(held[i] - w) / 2) // what is read is not filled again
					held[i] -= (held[i] - w) / 2
				}
			}
		}
		require.LessOrEqual(t, b.used.Load(), b.limit)
		for _, h := range held {
			require.InEpsilon(t, held[0], h, 0.1, "%d associations: %v", n, held)
		}
		require.GreaterOrEqual(t, b.used.Load(), b.limit/10, "%d associations", n)
	}
}

func TestRandom(t *testing.T) {
	var r random
	seen := map[uint64]bool{}
	for range 1000 {
		seen[r.Uint64()] = true
	}
	require.Len(t, seen, 1000)
	require.Zero(t, testing.AllocsPerRun(1000, func() { r.Uint64() }))
}
