package tx

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

func TestPathAck(t *testing.T) {
	l := newLab(t)
	l.at(1000).send(0, 2)
	l.at(1001).send(1, 1)
	l.at(1002).send(0, 1)
	l.flight(300, 100)
	at, ok := l.s.Oldest(0)
	require.True(t, ok)
	require.Equal(t, ms(1000), at)

	res := l.at(1030).sack(1, 3)
	require.Equal(t, PathAck{
		Bytes: 100, Flight: 300, AckSent: ms(1000), RTT: 30 * time.Millisecond, Sole: true, OldestAcked: true, sample: ms(1000),
	}, res.Paths[0])
	require.Equal(t, PathAck{
		Bytes: 100, Flight: 100, AckSent: ms(1001), RTT: 29 * time.Millisecond, Sole: true, OldestAcked: true, sample: ms(1001),
	}, res.Paths[1])
	require.Equal(t, []int{200, 2, 100}, []int{res.Acked, res.Chunks, res.Freed})
	require.True(t, res.CumAdvanced)
	require.EqualValues(t, 3, res.Touched)
	l.flight(200, 0)
	_, ok = l.s.Oldest(1)
	require.False(t, ok)

	res = l.at(1031).sack(1, 3, 4)
	require.False(t, res.CumAdvanced)
	require.False(t, res.Paths[0].OldestAcked, "TSN 2 is the oldest")
	require.Equal(t, 29*time.Millisecond, res.Paths[0].RTT)
	require.Zero(t, res.Paths[1], "nothing about path 1 any more")

	res = l.at(1032).sack(4)
	require.True(t, res.Paths[0].OldestAcked)
	require.Equal(t, 32*time.Millisecond, res.Paths[0].RTT, "only TSN 2 is news")
	require.Equal(t, 1, res.Chunks)
	require.Equal(t, 300, res.Freed)
}

func TestSackErrors(t *testing.T) {
	l := newLab(t)
	l.send(0, 4)
	l.sack(2)
	for _, c := range []struct {
		name string
		k    mSack
		want error
	}{
		{"older", mSack{cum: 1}, ErrStale},
		{"much older", mSack{cum: 1<<32 - 5000}, ErrStale},
		{"beyond", mSack{cum: 5}, ErrAckUnsent},
		{"far beyond", mSack{cum: 1 << 30}, ErrAckUnsent},
		{"a block beyond", mSack{cum: 2, gaps: [][2]uint16{{2, 3}}}, ErrAckUnsent},
		{"a second block beyond", mSack{cum: 2, gaps: [][2]uint16{{2, 2}, {900, 9}, {65535, 65535}}}, ErrAckUnsent},
		{"the same", mSack{cum: 2}, nil},
		{"backwards", mSack{cum: 2, gaps: [][2]uint16{{2, 1}, {0, 0}}}, nil},
	} {
		err := l.s.Sack(l.now, c.k.encode(t), &l.rtt, &l.res)
		require.Equal(t, c.want, err, c.name)
		require.Zero(t, l.res.Chunks, c.name)
		l.flight(200)
	}
}

func TestKarn(t *testing.T) {
	l := newLab(t)
	l.at(1000).send(0, 1)
	l.at(2000).s.Timeout(0)
	l.resend(0)
	res := l.at(2050).sack(1)
	require.Zero(t, res.Paths[0].RTT, "sent twice")
	require.Equal(t, ms(2000), res.Paths[0].AckSent)
	require.True(t, res.Paths[0].Sole, "both on this path")

	l.at(3000).send(0, 1)
	require.EqualValues(t, 1, l.sack(2).Paths[0].RTT, "a sample of nothing is still a sample")
}

// A chunk sent again and acknowledged sooner than any round trip: the first transmission arrived, which says nothing
// about what was sent after the second.
func TestAnswerTooEarlyForTheResend(t *testing.T) {
	l := newLab(t)
	l.at(1000).send(0, 1)
	l.at(2000).s.Timeout(0)
	l.send(0, 1)
	l.at(2001).resend(0)
	res := l.at(2005).sack(1)
	require.Zero(t, res.Paths[0].AckSent)
	require.Equal(t, 100, res.Paths[0].Bytes)
	_, armed := l.s.RackDeadline()
	require.False(t, armed, "TSN 2 was not overtaken")
}

func TestRack(t *testing.T) {
	t.Run("overtaken by more than the window", func(t *testing.T) {
		l := newLab(t)
		l.at(1000).send(0, 1)
		l.at(1006).send(0, 1)
		res := l.at(1026).sack(0, 2)
		require.Equal(t, 100, res.Paths[0].Lost)
		require.Equal(t, ms(1000), res.Paths[0].LostSent)
		require.Equal(t, 200, res.Paths[0].Flight, "before the SACK")
		l.flight(0)
		require.Equal(t, 116, l.s.LostSize())
		require.Equal(t, []int{1}, l.resend(0))
		require.Zero(t, l.s.LostSize())
	})
	t.Run("within the window: when the timer fires", func(t *testing.T) {
		l := newLab(t)
		l.at(1000).send(0, 1)
		l.at(1003).send(0, 1)
		require.Zero(t, l.at(1023).sack(0, 2).Paths[0].Lost)
		at, ok := l.s.RackDeadline()
		require.True(t, ok)
		require.Equal(t, ms(1025), at)
		l.s.RackTimeout(ms(1024), &l.rtt, &l.res)
		require.Zero(t, l.res.Touched)
		l.s.RackTimeout(ms(1025), &l.rtt, &l.res)
		require.Equal(t, 100, l.res.Paths[0].Lost)
		require.Equal(t, 100, l.res.Paths[0].Flight)
		require.EqualValues(t, 1, l.res.Touched)
		_, ok = l.s.RackDeadline()
		require.False(t, ok)
	})
	t.Run("reordered: arrives before the timer", func(t *testing.T) {
		l := newLab(t)
		l.at(1000).send(0, 3)
		l.at(1022).sack(0, 3)
		l.at(1023).sack(3)
		_, ok := l.s.RackDeadline()
		require.False(t, ok)
	})
	t.Run("sent at the same instant: the TSN tells", func(t *testing.T) {
		l := newLab(t)
		l.at(1000).send(0, 4)
		l.at(1020).sack(0, 2)
		l.s.RackTimeout(ms(1100), &l.rtt, &l.res)
		require.Equal(t, 100, l.res.Paths[0].Lost, "1 was overtaken, 3 and 4 were not")
		require.Equal(t, []int{1}, l.resend(0))
	})
	t.Run("paths do not overtake each other", func(t *testing.T) {
		l := newLab(t)
		l.at(1000).send(0, 2)
		l.at(1100).send(1, 1)
		require.Zero(t, l.at(1200).sack(0, 3).Paths[0])
		l.flight(200, 0)
		require.False(t, l.s.Resends())
	})
	t.Run("a resend is lost like any other", func(t *testing.T) {
		l := newLab(t)
		l.at(1000).send(0, 1)
		l.at(1010).send(0, 1)
		l.at(1030).sack(0, 2)
		require.Equal(t, []int{1}, l.resend(0))
		l.at(1040).send(0, 1)
		require.Equal(t, 100, l.at(1060).sack(0, 2, 3).Paths[0].Lost)
		require.Equal(t, []int{1}, l.resend(0))
	})
	t.Run("no sample yet: a quarter of the round trip seen", func(t *testing.T) {
		l := newLab(t)
		l.rtt[0] = RTT{}
		l.at(1000).send(0, 1)
		l.at(1001).send(0, 1)
		l.at(1041).sack(0, 2)
		at, _ := l.s.RackDeadline()
		require.Equal(t, ms(1050), at)
	})
}

// RFC 8985 section 6.2 step 4: needless resends widen the window, quiet recoveries narrow it again.
func TestReorderingWindowAdapts(t *testing.T) {
	l := newLab(t)
	rack := func() *rack { return &l.s.tracks[0].rack }
	w := func() time.Duration { return rack().window(&l.rtt[0]) }
	l.at(1000).send(0, 1)
	l.at(1010).send(0, 1)
	l.at(1030).sack(0, 2)
	require.Equal(t, 5*time.Millisecond, w())
	l.resend(0)
	l.at(1031).sack(2) // the original came after all
	res := l.sackOf(&mSack{cum: 2, arwnd: 1 << 20, dups: []uint64{1}})
	require.Equal(t, []int{1, 1}, []int{res.DupTSNs, res.Spurious})
	require.Equal(t, 10*time.Millisecond, w())
	require.Zero(t, l.sackOf(&mSack{cum: 2, arwnd: 1 << 20, dups: []uint64{1, 2}}).Spurious, "counted once; 2 was sent once")

	// Marked lost, and here before it was sent again: the same lesson, without the waste.
	l.at(2000).send(0, 1)
	l.at(2020).send(0, 1)
	l.at(2040).sack(2, 4)
	require.True(t, l.s.Resends())
	l.sack(4)
	require.False(t, l.s.Resends())
	require.Equal(t, 15*time.Millisecond, w())

	for range 100 {
		rack().round = 0
		rack().spurious(5, 5)
	}
	require.Equal(t, 20*time.Millisecond, w(), "never above SRTT")
	now := ms(3000)
	for range persistence - 1 {
		rack().recovering(now, now.Add(1))
		rack().recovering(now, now.Add(1)) // the same recovery
		now = now.Add(time.Millisecond)
	}
	require.Equal(t, 20*time.Millisecond, w())
	rack().recovering(now, now)
	require.Equal(t, 5*time.Millisecond, w())
	require.Equal(t, time.Millisecond, (&rackState).window(&RTT{Min: time.Microsecond, SRTT: time.Microsecond}))
}

var rackState rack

func TestProbe(t *testing.T) {
	l := newLab(t)
	l.at(1000).send(0, 5)
	l.at(1049).send(1, 1)
	require.False(t, l.s.HasProbe())
	require.Zero(t, l.s.ProbeSize())
	require.Equal(t, 5, l.s.StartProbe(0))
	require.Equal(t, 116, l.s.ProbeSize())
	require.Equal(t, []int{1, 5, 2, 3, 4}, l.at(1050).probe(1), "lowest, tail, rest")
	require.False(t, l.s.HasProbe())
	l.flight(500, 600)
	require.Equal(t, 600, l.s.Outstanding())
	require.Zero(t, l.s.StartProbe(0), "nothing lives on path 0 alone")

	res := l.at(1080).sack(2)
	l.flight(300, 400)
	require.Equal(t, 200, res.Paths[1].Bytes, "credited where it was sent last")
	require.Zero(t, res.Paths[0].Bytes)
	require.True(t, res.Paths[0].OldestAcked)
	require.False(t, res.Paths[0].Sole || res.Paths[1].Sole)
	require.Zero(t, res.Paths[0].RTT+res.Paths[1].RTT)
}

func TestProbeBudget(t *testing.T) {
	l := newLab(t)
	l.send(0, 6)
	l.s.StartProbe(0)
	var got []int
	for range 6 {
		g := l.grant(2)
		g.Budget = 1
		got = append(got, tsns(l.packet(1200, g, l.s.AppendProbe))...)
	}
	require.Equal(t, []int{1, 6, 2, 3, 4, 5}, got)
	l.flight(600, 0, 600)
	require.Empty(t, l.packet(1200, l.grant(2), l.s.AppendProbe))
}

func TestProbeThatDoesNotFit(t *testing.T) {
	l := newLab(t)
	l.push(0, 900)
	l.packet(1200, l.grant(0), l.s.AppendNew)
	l.s.StartProbe(0)
	require.Empty(t, l.packet(500, l.grant(1), l.s.AppendProbe))
	require.Equal(t, 916, l.s.ProbeSize())
	l.s.Retarget(0)
	require.Empty(t, l.packet(500, l.grant(1), l.s.AppendResend))
	require.Equal(t, 916, l.s.LostSize())
	require.Equal(t, []int{1}, l.resend(1))
}

func TestStopProbe(t *testing.T) {
	l := newLab(t)
	l.send(0, 3)
	l.send(1, 3)
	l.s.StartProbe(0)
	l.s.StartProbe(1)
	l.sack(1, 5)
	l.s.StopProbe(0)
	require.Equal(t, []int{4, 6}, l.probe(2))
	l.s.StopProbe(0)
	l.s.StopProbe(7)
	require.Zero(t, l.s.StartProbe(7))
}

// A probe on the silent path itself takes the place of the original there.
func TestProbeOnTheSamePath(t *testing.T) {
	l := newLab(t)
	l.at(1000).send(0, 3)
	l.s.StartProbe(0)
	l.at(1100).probe(0)
	l.flight(300)
	at, _ := l.s.Oldest(0)
	require.Equal(t, ms(1100), at)
	require.Equal(t, 300, l.s.Timeout(0))
	l.flight(0)
}

// A transmission lost on one path leaves the chunk outstanding as long as another lives.
func TestLostOnOnePathOnly(t *testing.T) {
	l := newLab(t)
	l.at(1000).send(0, 2)
	l.s.StartProbe(0)
	g := l.grant(1)
	g.Budget = 1
	l.packet(1200, g, l.s.AppendProbe) // TSN 1 lives on 0 and 1
	l.at(1010).send(0, 1)
	res := l.at(1030).sack(0, 3)
	require.Equal(t, 200, res.Paths[0].Lost, "both were lost on path 0")
	l.flight(0, 100)
	require.Equal(t, []int{2}, l.resend(0), "1 is still under way on path 1")
	l.at(1040).send(1, 1)
	require.Equal(t, 100, l.at(1060).sack(0, 3, 4).Paths[1].Lost)
	require.Equal(t, []int{1}, l.resend(0))
}

func TestRetarget(t *testing.T) {
	l := newLab(t)
	l.at(1000).send(0, 4)
	l.send(1, 1)
	l.s.StartProbe(0)
	g := l.grant(1)
	g.Budget = 1
	l.packet(1200, g, l.s.AppendProbe) // TSN 1 lives on 0 and 1
	require.Equal(t, 3, l.s.Retarget(0))
	l.flight(0, 200)
	require.False(t, l.s.HasProbe())
	require.Equal(t, 300+200, l.s.Outstanding())
	require.Zero(t, l.s.Retarget(0))
	require.Zero(t, l.s.Retarget(9), "a path never used")

	// A late SACK for an original that was not sent again yet.
	res := l.at(1020).sack(0, 3)
	require.True(t, res.Paths[0].Sole, "it travelled on path 0 alone")
	require.Equal(t, 20*time.Millisecond, res.Paths[0].RTT)
	require.Equal(t, 100, res.Paths[0].Bytes)
	require.Zero(t, res.Paths[0].Flight)

	require.Equal(t, []int{2, 4}, l.resend(1))
	l.flight(0, 400)
	res = l.at(1025).sack(4)
	require.True(t, res.Paths[0].Sole, "the resend is younger than any round trip on path 1")
	require.False(t, res.Paths[1].Sole)
	require.Equal(t, 300, res.Paths[1].Bytes)
	l.flight(0, 100)
	require.EqualValues(t, 3, res.Touched)

	res = l.sackOf(&mSack{cum: 4, arwnd: 1000, dups: []uint64{2, 4, 4, 5}})
	require.Equal(t, []int{4, 2}, []int{res.DupTSNs, res.Spurious})
}

// The latest of what a local fault has caught is lost at once, the rest stays in flight.
func TestRetargetSince(t *testing.T) {
	l := newLab(t)
	for i := range 6 {
		l.at(1000+i).send(0, 1)
	}
	l.sack(0, 5)
	require.Zero(t, l.s.RetargetSince(9, 0, 1000), "a path never used")
	require.Zero(t, l.s.RetargetSince(0, ms(1006), 1000), "nothing is that young")
	require.Zero(t, l.s.RetargetSince(0, 0, 0), "nothing is that little")
	require.Equal(t, 2, l.s.RetargetSince(0, ms(1003), 1000), "TSN 5 has arrived")
	l.flight(300)
	require.Equal(t, 1, l.s.RetargetSince(0, 0, 1), "bytes are counted before, not after")
	l.flight(200)
	require.Equal(t, []int{3, 4, 6}, l.resend(1))
	at, ok := l.s.Oldest(0)
	require.True(t, ok)
	require.Equal(t, ms(1000), at)
	require.Equal(t, 2, l.s.RetargetSince(0, 0, 1000))
	l.flight(0, 300)
	require.Equal(t, []int{1, 2}, l.resend(1))
	require.Equal(t, 600, l.at(1030).sack(6).Freed)
}

func TestTimeout(t *testing.T) {
	l := newLab(t)
	l.at(1000).send(0, 3)
	l.send(1, 2)
	l.sack(0, 2)
	require.Equal(t, 200, l.s.Timeout(0))
	l.flight(0, 200)
	require.Equal(t, 200, l.s.Timeout(1))
	require.Equal(t, []int{1, 3, 4, 5}, l.resend(0))
	l.flight(400, 0)
	require.False(t, l.s.Resends())
	l.sack(5)
	require.True(t, l.s.Done())
	require.Zero(t, l.s.Timeout(0))
}

// RFC 9260 section 6.2.1 D iii.
func TestReneging(t *testing.T) {
	l := newLab(t)
	l.at(1000).send(0, 1)
	l.send(1, 2)
	l.at(1020).sack(0, 2, 3)
	l.flight(100, 0)
	res := l.at(1021).sack(0, 2)
	require.Equal(t, 1, res.Reneged)
	l.flight(100, 100)
	at, ok := l.s.Oldest(1)
	require.True(t, ok, "T3 runs where it was sent")
	require.Equal(t, ms(1021), at)
	require.False(t, l.s.Resends(), "perhaps only an old SACK that came late")

	res = l.at(1022).sack(0, 2, 3)
	require.Zero(t, res.Acked, "counted the first time")
	require.Zero(t, res.Paths[1].RTT)
	l.flight(100, 0)

	l.at(1023).sack(0) // both taken back, for good
	require.Equal(t, 200, l.s.Timeout(1))
	require.Equal(t, []int{2, 3}, l.resend(0))
	l.flight(300)
	require.Equal(t, 100, l.at(1050).sack(3).Acked)
	require.True(t, l.s.Done())
}

// A list of gap blocks that was cut short for want of room is not reneging.
func TestGapListCutShort(t *testing.T) {
	l := newLab(t)
	l.at(1000).send(0, 80)
	var odd []int
	for tsn := 2; tsn <= 80; tsn += 2 {
		odd = append(odd, tsn)
	}
	l.sack(0, odd...) // 40 blocks
	l.flight(4000)
	res := l.sack(2, odd[1:]...)
	require.Zero(t, res.Reneged)
	res = l.sack(2, odd[1:20]...)
	require.Equal(t, 20, res.Reneged, "fewer than the peer can list: it means it")

	m := newLab(t)
	m.at(1000).send(0, 80)
	m.sack(0, odd[20:40]...) // a peer that lists twenty: 42 to 80
	res = m.sack(0, odd[:20]...)
	require.Zero(t, res.Reneged)
	require.Equal(t, 20, res.Chunks)
	m.flight(4000)
	res = m.sack(41)
	require.Equal(t, 20, res.Reneged, "no list at all is not a short one")
}

// RFC 9260 section 9.2: SHUTDOWN carries a cumulative TSN and no gap blocks, which is no reneging.
func TestCumAck(t *testing.T) {
	l := newLab(t)
	l.at(1000).send(0, 5)
	l.sackOf(&mSack{cum: 0, arwnd: 5000}, 3, 5)
	require.NoError(t, l.s.CumAck(l.now, 1, &l.rtt, &l.res))
	require.Equal(t, []int{1, 100, 0}, []int{l.res.Chunks, l.res.Freed, l.res.Reneged})
	l.flight(200)
	require.Equal(t, 5000-200, l.s.PeerWindow())
	require.Equal(t, ErrStale, l.s.CumAck(l.now, 0, &l.rtt, &l.res))
	require.Equal(t, ErrAckUnsent, l.s.CumAck(l.now, 6, &l.rtt, &l.res))
	l.sack(1, 3, 5)
	require.Zero(t, l.res.Chunks)
	require.NoError(t, l.s.CumAck(l.now, 5, &l.rtt, &l.res))
	require.True(t, l.s.Done())
}

// A path whose oldest transmission stays unanswered keeps records of what is in flight, not of all that passed by.
func TestRecordsAreBounded(t *testing.T) {
	l := newLab(t)
	l.send(0, 1)
	for i := 2; i < 5000; i++ {
		l.send(0, 1)
		k := &mSack{cum: 0, arwnd: 1 << 20, gaps: [][2]uint16{{2, uint16(i)}}}
		require.Zero(t, l.sackOf(k).Paths[0].Lost) // no time passes: still within the reordering window
	}
	require.LessOrEqual(t, len(l.s.tracks[0].recs), 32)
	l.flight(100)
}

// Marks survive the growth of the ring they count in.
func TestMarksMoveWithTheRing(t *testing.T) {
	l := newLab(t)
	l.send(0, 3)
	l.s.Timeout(0)
	l.send(1, 5)
	require.Equal(t, 5, l.s.StartProbe(1))
	l.send(2, 100)
	require.Equal(t, []int{4, 8, 5, 6, 7}, l.probe(2))
	require.Equal(t, []int{1, 2, 3}, l.resend(2))
	require.Equal(t, 100+3, l.s.StartProbe(2))
	got := l.probe(0)
	require.Equal(t, []int{1, 108}, got[:2], "every probe begins with the lowest and the tail")
}

func TestDropAndTrim(t *testing.T) {
	l := newLab(t)
	l.push(0, 2500)
	l.push(1, 300)
	l.send(0, 3)
	l.push(5, 50000)
	l.s.Trim()
	require.Len(t, l.s.ring, 8, "not while something is outstanding")
	l.sack(2)
	require.Equal(t, l.s.Held(), l.s.Drop())
	require.True(t, l.s.Done())
	require.Zero(t, l.s.Drop())

	l.s.Init(&Config{InitialTSN: 9, Streams: 2, PeerWindow: 1000})
	require.Equal(t, []int{9}, l.send(0, 1))
	l.sack(9)
	l.s.Trim()
	require.Nil(t, l.s.ring)
	require.Equal(t, []int{10, 11}, l.send(0, 2))
	l.sack(11)
}

func TestZeroSender(t *testing.T) {
	var s Sender
	var b wire.Builder
	var rtt [locator.MaxPaths]RTT
	var res AckResult
	b.Open(make([]byte, 0, 1200), wire.Header{})
	g := &Grant{Now: 1, Budget: 1000, MaxChunk: 1000}
	require.Zero(t, s.AppendNew(&b, g)+s.AppendResend(&b, g)+s.AppendProbe(&b, g))
	require.False(t, s.HasNew() || s.Resends() || s.HasProbe() || s.WindowClosed() || s.WindowProbe())
	require.Zero(t, s.Timeout(0)+s.Retarget(1)+s.StartProbe(2)+s.Held()+s.Drop())
	require.Error(t, s.Sack(1, (&mSack{cum: 5}).encode(t), &rtt, &res))
	s.RackTimeout(1, &rtt, &res)
	s.StopProbe(0)
	s.Trim()
	require.Equal(t, ErrStream, s.Push(&Message{}))
}

func TestFates(t *testing.T) {
	names := [fates]string{"none", "outstanding", "lost", "abandoned", "acked"}
	legal := map[[2]string]bool{
		{"none", "outstanding"}: true, {"outstanding", "lost"}: true, {"outstanding", "acked"}: true,
		{"lost", "outstanding"}: true, {"lost", "acked"}: true, {"acked", "none"}: true, {"acked", "outstanding"}: true,
		{"outstanding", "abandoned"}: true, {"lost", "abandoned"}: true, {"acked", "abandoned"}: true, {"abandoned", "none"}: true,
	}
	for from := range fates {
		for to := range fates {
			require.Equal(t, legal[[2]string{names[from], names[to]}], from.canMove(to), "%s to %s", names[from], names[to])
		}
	}
}

func TestBitring(t *testing.T) {
	s := seed(1)
	t.Logf("seed %d", s)
	r := rand.New(rand.NewPCG(s, 3))
	for _, n := range []int{16, 64, 128, 4096, 8192, 65536} {
		var b bitring
		b.size(n)
		marks := map[int]bool{}
		for range 2000 {
			i := r.IntN(n)
			if marks[i] {
				delete(marks, i)
				b.clear(uint32(i))
			} else if len(marks) < 6 {
				marks[i] = true
				b.set(uint32(i))
			}
			require.Equal(t, marks[i], b.has(uint32(i)))
			require.Equal(t, len(marks), b.n)
			if len(marks) == 0 {
				continue
			}
			from := r.IntN(n)
			first, last := n, 0
			for i := range marks {
				first = min(first, (i-from+n)%n)
				last = max(last, (i-from+n)%n)
			}
			require.EqualValues(t, (from+first)%n, b.first(uint32(from)))
			require.EqualValues(t, (from+last)%n, b.last(uint32(from)))
		}
	}
}

// One path, in order, two percent of the packets lost: what is sent again is what was lost, and nothing else.
func TestResendsAreExact(t *testing.T) {
	s := seed(4)
	t.Logf("seed %d", s)
	r := rand.New(rand.NewPCG(s, 4))
	const delay = 10 * time.Millisecond
	l := newLabWith(t, Config{InitialTSN: 1<<32 - 500, Streams: 1, PeerWindow: 1 << 24})
	type packet struct {
		arrives mono.Time
		idx     uint64
	}
	var link []packet
	have := map[uint64]bool{}
	cum, high := uint64(1<<32|(1<<32-501)), uint64(0)
	dropped, resent := 0, 0
	put := func(chunks []wire.Data, tail bool) {
		for _, d := range chunks {
			if !tail && r.IntN(50) == 0 {
				dropped++
				continue
			}
			link = append(link, packet{l.now.Add(2 * delay), serial.Unwrap(cum, uint32(d.TSN))})
		}
	}
	for i := 0; i < 5000 || !l.s.Done(); i++ {
		require.Less(t, i, 20000)
		l.now = l.now.Add(time.Millisecond)
		for len(link) > 0 && link[0].arrives <= l.now { // the answer is instant once it arrived
			have[link[0].idx] = true
			high = max(high, link[0].idx)
			link = link[1:]
			for have[cum+1] {
				cum++
			}
			k := &mSack{cum: cum, arwnd: 1 << 24}
			for idx := cum + 2; idx <= high; idx++ {
				if have[idx] {
					k.gaps = append(k.gaps, [2]uint16{uint16(idx - cum), uint16(idx - cum)})
				}
			}
			l.sackOf(k)
		}
		if at, ok := l.s.RackDeadline(); ok && at <= l.now {
			l.s.RackTimeout(l.now, &l.rtt, &l.res)
		}
		again := l.packet(60000, l.grant(0), l.s.AppendResend)
		resent += len(again)
		put(again, i >= 5000)
		if i < 5100 { // the last hundred are not lost, so the tail needs no timer
			l.push(0, 100)
			put(l.packet(1200, l.grant(0), l.s.AppendNew), i >= 5000)
		}
	}
	require.Greater(t, dropped, 50)
	require.Equal(t, dropped, resent)
}
