package tx

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func newCounting(t *testing.T) *lab {
	return newLabWith(t, Config{InitialTSN: 1, Streams: 10, PeerWindow: 1 << 20, CountMissing: true})
}

// RFC 9260 section 7.2.4: the third report makes a chunk lost, however much time passes and however many came before it at once.
func TestMissingReports(t *testing.T) {
	l := newCounting(t)
	l.at(1000).send(0, 8)
	for i, lost := range []int{0, 0, 100, 0} {
		res := l.at(1500+500*i).sack(0, []int{2, 3, 4, 5}[:i+1]...)
		require.Equal(t, lost, res.Paths[0].Lost, "report %d", i+1)
		_, armed := l.s.RackDeadline()
		require.False(t, armed)
	}
	l.flight(300)
	require.Equal(t, []int{1}, l.resend(0))
	for top := 6; top <= 8; top++ { // found lost once, it is T3's from now on
		require.Zero(t, l.sack(0, []int{2, 3, 4, 5, 6, 7, 8}[:top-1]...).Paths[0].Lost)
	}
	l.flight(100)
	l.sack(8)
	l.flight(0)
}

// A SACK counts against what lies below the highest TSN it is the first to acknowledge, and a repeated one not at all.
func TestMissingReportsByHTNA(t *testing.T) {
	l := newCounting(t)
	l.send(0, 9)
	for range 5 {
		require.Zero(t, l.sack(0, 2, 9).Paths[0].Lost, "nothing new")
	}
	require.Zero(t, l.sack(0, 2, 4, 9).Paths[0].Lost, "the second report for 1, the first for 3 was that of 9")
	res := l.sack(0, 2, 4, 6, 9)
	require.Equal(t, 300-100, res.Paths[0].Lost, "the third for 1 and 3, the second for 5")
	require.Equal(t, []int{1, 3}, l.resend(0))
	require.Equal(t, 100, l.sack(2, 4, 6, 9).Paths[0].Lost, "in Fast Recovery, forward: 5 for the third time, 7 and 8 for the second")
	require.Equal(t, 200, l.sack(3+1, 6, 9).Paths[0].Lost)
	require.Equal(t, []int{5, 7, 8}, l.resend(0))
	l.sack(9)
	l.send(0, 3)
	require.Zero(t, l.sack(10, 12).Paths[0].Lost, "the recovery is over, the counts begin anew")
	require.Zero(t, l.sack(10, 12).Paths[0].Lost)
}

// What a timeout sends again counts from the beginning, on whatever path.
func TestMissingReportsAfterTimeout(t *testing.T) {
	l := newCounting(t)
	l.send(0, 6)
	l.sack(0, 2)
	l.sack(0, 2, 3)
	l.s.Timeout(0)
	require.Equal(t, []int{1, 4, 5, 6}, l.resend(1))
	for i, lost := range []int{0, 0, 100} {
		require.Equal(t, lost, l.sack(0, []int{2, 3, 4, 5, 6}[:3+i]...).Paths[1].Lost)
	}
	l.flight(0, 0)
	require.Equal(t, []int{1}, l.resend(0))
	l.sack(6)
}

// Counts follow their chunks when the window grows.
func TestMissingReportsInAGrowingWindow(t *testing.T) {
	l := newCounting(t)
	l.send(0, 10)
	l.sack(7, 9)
	l.sack(7, 9, 10)
	l.send(0, 100)
	require.Equal(t, 100, l.sack(7, 9, 10, 11).Paths[0].Lost)
	require.Equal(t, []int{8}, l.resend(0))
	l.s.Trim()
	l.sack(110)
	l.s.Trim()
	l.send(0, 4)
	require.Zero(t, l.sack(110, 112).Paths[0].Lost)
}
