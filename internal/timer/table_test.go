package timer

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/needs"
)

const start = mono.Time(1_000_000)

func TestTable(t *testing.T) {
	var tab Table
	_, armed := tab.Next()
	require.False(t, armed, "the zero table has nothing armed")
	for i := range N {
		require.False(t, tab.Fired(i, start+1<<60), "and nothing fires, however late")
	}

	tab.Set(3, start.Add(3*time.Second))
	tab.Set(2, start.Add(2*time.Second))
	next, armed := tab.Next()
	require.True(t, armed)
	require.Equal(t, start.Add(2*time.Second), next)

	require.False(t, tab.Fired(2, start.Add(2*time.Second-1)), "not a moment too early")
	require.True(t, tab.Fired(2, start.Add(2*time.Second)), "at its instant")
	require.False(t, tab.Fired(2, start.Add(9*time.Second)), "and only once")
	next, _ = tab.Next()
	require.Equal(t, start.Add(3*time.Second), next)

	tab.Set(3, start.Add(9*time.Second))
	at, armed := tab.At(3)
	require.True(t, armed)
	require.Equal(t, start.Add(9*time.Second), at, "Set may move a deadline away")

	tab.Stop(3)
	_, armed = tab.At(3)
	require.False(t, armed)
	_, armed = tab.Next()
	require.False(t, armed)
}

func TestSetEarlier(t *testing.T) {
	tests := []struct{ first, second, want mono.Time }{
		{0, 5, 5},
		{5, 9, 5},
		{9, 5, 5},
		{5, 5, 5},
		{5, 0, 5}, // an unset instant means never
	}
	for _, tt := range tests {
		var tab Table
		tab.SetEarlier(1, tt.first)
		tab.SetEarlier(1, tt.second)
		at, _ := tab.At(1)
		require.Equal(t, tt.want, at, "%d then %d", tt.first, tt.second)
	}
}

func TestStopAll(t *testing.T) {
	var tab Table
	for i := range N {
		tab.Set(i, start+mono.Time(i))
	}
	tab.StopAll()
	require.Equal(t, Table{}, tab)
}

// TestAgainstMap drives a table and a map with the same random commands.
func TestAgainstMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(needs.Seed(t), 0))
	var tab Table
	model := map[int]mono.Time{}
	now := start
	for range 10_000 {
		i, at := rnd.IntN(N), now+mono.Time(rnd.Int64N(100))+1
		switch rnd.IntN(6) {
		case 0:
			tab.Set(i, at)
			model[i] = at
		case 1:
			tab.SetEarlier(i, at)
			if old, armed := model[i]; !armed || at < old {
				model[i] = at
			}
		case 2:
			tab.Stop(i)
			delete(model, i)
		default:
			now += mono.Time(rnd.Int64N(10))
			old, armed := model[i]
			due := armed && old <= now
			require.Equal(t, due, tab.Fired(i, now))
			if due {
				delete(model, i)
			}
		}
		var want mono.Time
		for _, at := range model {
			if want == 0 || at < want {
				want = at
			}
		}
		got, armed := tab.Next()
		require.Equal(t, len(model) > 0, armed)
		require.Equal(t, want, got)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	var tab Table
	require.Zero(t, testing.AllocsPerRun(100, func() {
		tab.Set(1, start)
		tab.SetEarlier(2, start)
		tab.Next()
		tab.Fired(1, start)
		tab.Stop(2)
	}))
}
