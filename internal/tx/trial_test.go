package tx

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/locator"
)

// trial puts a copy of the newest chunk on path p.
func (l *lab) trial(p int) []int { return tsns(l.packet(1200, l.grant(p), l.s.AppendTrial)) }

func TestTrial(t *testing.T) {
	l := newLab(t)
	require.Empty(t, l.trial(1), "nothing is outstanding")
	l.send(0, 3)
	require.Equal(t, []int{3}, l.trial(1))
	l.flight(300, 0)
	require.Empty(t, l.trial(0), "it travels there already")

	// The original is answered first: nobody knows by which path it came, but the sample is good.
	res := l.at(1020).sack(3)
	require.True(t, res.Paths[0].Sole, "1 and 2")
	require.False(t, res.Tried)
	require.NotZero(t, res.Paths[0].RTT)
	res = l.at(1025).sackOf(&mSack{cum: 3, arwnd: 1 << 20, dups: []uint64{3}})
	require.True(t, res.Tried)
	require.Equal(t, locator.PathID(1), res.TriedOn)
	require.Zero(t, res.Spurious, "no resend was wasted")
	require.False(t, l.sackOf(&mSack{cum: 3, arwnd: 1 << 20, dups: []uint64{3}}).Tried, "told once")

	l.at(1030).send(0, 1)
	require.Equal(t, []int{4}, l.trial(1))
	require.False(t, l.at(1050).sack(4).Paths[0].Sole, "the trial's copy may be the one that arrived")
}

// TestTrialLost: the copy is lost, the original too; what is sent again makes the duplicate, and proves nothing.
func TestTrialLost(t *testing.T) {
	l := newLab(t)
	l.send(0, 1)
	require.Equal(t, []int{1}, l.trial(1))
	l.s.Timeout(0)
	require.Equal(t, []int{1}, l.at(1400).resend(0))
	require.False(t, l.at(1420).sackOf(&mSack{cum: 1, arwnd: 1 << 20, dups: []uint64{1}}).Tried)
	require.Empty(t, l.trial(1), "all is acknowledged")

	l.send(0, 1)
	l.s.Timeout(0)
	l.resend(0)
	require.Empty(t, l.trial(1), "sent more than once: a duplicate may be its own")
}
