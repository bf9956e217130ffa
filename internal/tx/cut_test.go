package tx

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

func TestCutting(t *testing.T) {
	// MaxChunk 1000: 984 bytes of payload in DATA.
	for _, c := range []struct {
		name string
		msgs []int
		room int
		want [][]int // payload sizes per packet
	}{
		{"one that fits exactly", []int{984}, 1200, [][]int{{984}}},
		{"one byte more", []int{985}, 1200, [][]int{{984, 1}}},
		{"the rest waits for the next packet", []int{2000}, 1200, [][]int{{984}, {984, 32}}},
		{"no small pieces to fill a packet", []int{500, 984}, 1200, [][]int{{500}, {984}}},
		{"bundled", []int{100, 200, 300}, 1200, [][]int{{100, 200, 300}}},
		{"a packet smaller than MaxChunk", []int{1000}, 500, [][]int{{484}, {484}, {32}}},
		{"and one whose size is odd", []int{600}, 503, [][]int{{484}, {116}}},
		{"a large packet takes several", []int{3000}, 4000, [][]int{{984, 984, 984, 48}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			for _, n := range c.msgs {
				l.push(0, n)
			}
			for _, want := range c.want {
				require.Equal(t, want, sizes(l.packet(c.room, l.grant(0), l.s.AppendNew)))
			}
			require.Zero(t, l.s.Queued())
			require.False(t, l.s.HasNew())
		})
	}
}

func TestOddMaxChunkIsRoundedDown(t *testing.T) {
	l := newLab(t)
	l.push(0, 2000)
	g := l.grant(0)
	g.MaxChunk = 1003
	require.Equal(t, []int{984}, sizes(l.packet(1003, g, l.s.AppendNew)))
}

func TestNothingFitsAnAbsurdGrant(t *testing.T) {
	l := newLab(t)
	l.push(0, 2000)
	for _, max := range []int{-5, 0, 16, 19} {
		g := l.grant(0)
		g.MaxChunk = max
		require.Empty(t, l.packet(1200, g, l.s.AppendNew))
	}
	g := l.grant(0)
	g.MaxChunk = 1 << 20
	require.Equal(t, []int{2000}, sizes(l.packet(1<<16, g, l.s.AppendNew)))
}

func TestFlagsAndNumbers(t *testing.T) {
	l := newLab(t)
	l.push(3, 2000)
	l.push(3, 10)
	m := NewMessage()
	m.SID, m.PPID, m.Unordered, m.Immediate = 3, 77, true, true
	m.Data.Write(make([]byte, 1000))
	require.NoError(t, l.s.Push(m))
	l.push(3, 10)
	type row struct {
		b, e, u, i bool
		ssn        serial.SSN
		ppid       uint32
	}
	var got []row
	for _, d := range l.packet(9000, l.grant(0), l.s.AppendNew) {
		got = append(got, row{d.Begin, d.End, d.Unordered, d.Immediate, d.SSN, d.PPID})
	}
	require.Equal(t, []row{
		{b: true}, {}, {e: true},
		{b: true, e: true, ssn: 1},
		{b: true, u: true, ppid: 77}, {e: true, u: true, i: true, ppid: 77},
		{b: true, e: true, ssn: 2},
	}, got)
}

func TestInterleavedNumbers(t *testing.T) {
	l := newLabWith(t, Config{InitialTSN: 1, Streams: 4, PeerWindow: 1 << 20, Interleaving: true})
	l.push(0, 1500)
	l.push(1, 1500)
	m := NewMessage()
	m.Unordered = true
	m.Data.Write(make([]byte, 5))
	require.NoError(t, l.s.Push(m))
	l.push(0, 5)
	type row struct {
		sid uint16
		mid serial.MID
		fsn serial.FSN
		u   bool
	}
	var got []row
	for _, d := range l.packet(9000, l.grant(0), l.s.AppendNew) {
		require.True(t, d.Interleaved)
		got = append(got, row{d.SID, d.MID, d.FSN, d.Unordered})
	}
	require.Equal(t, []row{
		{0, 0, 0, false}, {1, 0, 0, false}, {0, 0, 1, false}, {1, 0, 1, false},
		{0, 0, 0, true}, // unordered messages count apart
		{0, 1, 0, false},
	}, got)
}

func TestRoundRobin(t *testing.T) {
	for _, c := range []struct {
		name         string
		interleaving bool
		want         []uint16
	}{
		{"by message, fragments stay together", false, []uint16{2, 2, 5, 7, 2, 7, 2}},
		{"by chunk with I-DATA", true, []uint16{2, 5, 7, 2, 7, 2, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLabWith(t, Config{InitialTSN: 1, Streams: 10, PeerWindow: 1 << 20, Interleaving: c.interleaving})
			l.push(2, 1500)
			l.push(2, 10)
			l.push(2, 11)
			l.push(5, 12)
			l.push(7, 13)
			l.push(7, 14)
			var got []uint16
			for range 20 { // one chunk per call: turns do not depend on packets
				g := l.grant(0)
				g.Budget = 1
				for _, d := range l.packet(1200, g, l.s.AppendNew) {
					got = append(got, d.SID)
				}
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestPushErrors(t *testing.T) {
	l := newLab(t)
	m := NewMessage()
	require.Equal(t, ErrEmpty, l.s.Push(m))
	m.SID = 10
	m.Data.Write([]byte("x"))
	require.Equal(t, ErrStream, l.s.Push(m))
	m.Free()
	require.Zero(t, l.s.Held())
	require.Zero(t, l.s.StreamHeld(10))
	require.True(t, l.s.Done())
}

func TestHeldFollowsTheCumulativeTSN(t *testing.T) {
	l := newLab(t)
	l.push(1, 1500)
	l.push(9, 70)
	require.Equal(t, []int{1570, 1500, 70, 0}, []int{l.s.Held(), l.s.StreamHeld(1), l.s.StreamHeld(9), l.s.StreamHeld(8)})
	l.packet(9000, l.grant(0), l.s.AppendNew)
	require.Equal(t, 984, l.sack(1).Freed)
	require.Equal(t, []int{586, 516, 70}, []int{l.s.Held(), l.s.StreamHeld(1), l.s.StreamHeld(9)})
	l.sack(1, 3)
	require.Equal(t, []int{586, 70}, []int{l.s.Held(), l.s.StreamHeld(9)}, "a gap block frees nothing")
	require.Equal(t, 516, l.s.Outstanding())
	l.sack(3)
	require.Zero(t, l.s.Held())
	require.True(t, l.s.Done())
}

func TestLongMessageFreesAsItGoes(t *testing.T) {
	l := newLab(t)
	start := pktbuf.Live()
	m := NewMessage()
	for range 50 {
		m.Data.Push(pktbuf.Copy(make([]byte, 984))) // a chunk each
	}
	require.NoError(t, l.s.Push(m))
	for i := 1; !l.s.Done(); i++ {
		l.packet(1200, l.grant(0), l.s.AppendNew)
		l.sack(i)
		require.EqualValues(t, 50-i, pktbuf.Live()-start)
	}
	require.Equal(t, start, pktbuf.Live())
}

func TestBudget(t *testing.T) {
	for _, c := range []struct{ budget, chunks int }{{-1, 0}, {0, 0}, {1, 1}, {100, 1}, {101, 2}, {1000, 5}} {
		l := newLab(t)
		for range 5 {
			l.push(0, 100)
		}
		g := l.grant(0)
		g.Budget = c.budget
		require.Len(t, l.packet(1200, g, l.s.AppendNew), c.chunks, "new, budget %d", c.budget)
		l.packet(1200, l.grant(0), l.s.AppendNew)
		l.s.Timeout(0)
		require.Len(t, l.packet(1200, g, l.s.AppendResend), c.chunks, "again, budget %d", c.budget)
	}
}

func TestImmediate(t *testing.T) {
	l := newLab(t)
	l.push(0, 100)
	g := l.grant(0)
	g.Immediate = true
	require.True(t, l.packet(1200, g, l.s.AppendNew)[0].Immediate)
	l.s.Timeout(0)
	require.False(t, l.packet(1200, l.grant(0), l.s.AppendResend)[0].Immediate, "the bit belongs to the grant")
	l.s.Timeout(0)
	require.True(t, l.packet(1200, g, l.s.AppendResend)[0].Immediate)
}

// RFC 9260 section 6.2.1: what the peer's window is after each step.
func TestPeerWindow(t *testing.T) {
	l := newLabWith(t, Config{InitialTSN: 1, Streams: 1, PeerWindow: 1000})
	l.send(0, 4)
	require.Equal(t, 600, l.s.PeerWindow(), "B: sent")
	l.sackOf(&mSack{cum: 1, arwnd: 1000})
	require.Equal(t, 700, l.s.PeerWindow(), "D ii")
	l.sackOf(&mSack{cum: 1, arwnd: 900}, 3)
	require.Equal(t, 700, l.s.PeerWindow(), "D ii, a gap block is not outstanding")
	l.s.Timeout(0)
	require.Equal(t, 900, l.s.PeerWindow(), "C: marked for retransmission")
	require.Equal(t, []int{2, 4}, l.resend(0))
	require.Equal(t, 700, l.s.PeerWindow(), "B: sent again")
	l.sackOf(&mSack{cum: 1, arwnd: 900})
	require.Equal(t, 600, l.s.PeerWindow(), "D iii: reneged, outstanding again")
	l.sackOf(&mSack{cum: 4, arwnd: 50})
	require.Equal(t, 50, l.s.PeerWindow())
	l.sackOf(&mSack{cum: 4, arwnd: 1<<32 - 1})
	require.Equal(t, 1<<32-1, l.s.PeerWindow())
}

func TestPeerWindowStopsNewDataOnly(t *testing.T) {
	l := newLabWith(t, Config{InitialTSN: 1, Streams: 1, PeerWindow: 250})
	require.Equal(t, []int{1, 2}, l.send(0, 4), "the third is larger than what is left")
	require.True(t, l.s.HasNew())
	l.sackOf(&mSack{cum: 0, arwnd: 0})
	require.False(t, l.s.HasNew())
	l.s.Timeout(0)
	require.Equal(t, []int{1, 2}, l.resend(0))
	l.sackOf(&mSack{cum: 1, arwnd: 300})
	require.Equal(t, []int{3, 4}, tsns(l.packet(1200, l.grant(0), l.s.AppendNew)))
}

func TestZeroWindowProbe(t *testing.T) {
	l := newLab(t)
	l.send(0, 1)
	l.sackOf(&mSack{cum: 1, arwnd: 0})
	require.False(t, l.s.WindowClosed(), "nothing to send")
	for range 3 {
		l.push(0, 100)
	}
	require.True(t, l.s.WindowClosed())
	require.Equal(t, []int{2}, tsns(l.packet(1200, l.grant(0), l.s.AppendNew)), "one probe")
	require.True(t, l.s.WindowProbe())
	require.False(t, l.s.WindowClosed())
	require.False(t, l.s.HasNew())
	require.Empty(t, l.packet(1200, l.grant(0), l.s.AppendNew))

	l.sackOf(&mSack{cum: 1, arwnd: 0})
	require.True(t, l.s.WindowProbe(), "dropped, or not there yet")
	l.s.Timeout(0)
	require.Equal(t, []int{2}, l.resend(0))
	require.True(t, l.s.WindowProbe())

	res := l.sackOf(&mSack{cum: 1, arwnd: 5000})
	require.False(t, l.s.WindowProbe())
	require.True(t, l.s.Resends(), "it was dropped for want of room: again, without waiting")
	require.Zero(t, res.Paths[0].Lost, "no sign of congestion")
	l.flight(0)
	require.Equal(t, []int{2}, l.resend(0))
	require.Equal(t, []int{3, 4}, tsns(l.packet(1200, l.grant(0), l.s.AppendNew)))
}

func TestWindowSmallerThanTheChunk(t *testing.T) {
	l := newLab(t)
	l.send(0, 1)
	l.push(0, 984)
	l.sackOf(&mSack{cum: 1, arwnd: 983})
	require.True(t, l.s.WindowClosed())
	require.Equal(t, []int{984}, sizes(l.packet(1200, l.grant(0), l.s.AppendNew)))
	require.True(t, l.s.WindowProbe())
	l.sackOf(&mSack{cum: 2, arwnd: 0})
	require.False(t, l.s.WindowProbe())
	require.False(t, l.s.Resends())
}

func TestWindowSpanIsWhatGapBlocksReach(t *testing.T) {
	l := newLabWith(t, Config{InitialTSN: 1, Streams: 1, PeerWindow: 1 << 30})
	for range 70000 {
		l.push(0, 1)
	}
	var b wire.Builder
	buf, n := make([]byte, 0, 1200), 0
	for {
		b.Open(buf, wire.Header{})
		k := l.s.AppendNew(&b, l.grant(0))
		if k == 0 {
			break
		}
		n += k
	}
	require.Equal(t, 1<<16-1, n)
	require.False(t, l.s.HasNew())
	require.Equal(t, 1<<16-2, l.sackOf(&mSack{cum: 0, arwnd: 1 << 20, gaps: [][2]uint16{{2, 1<<16 - 1}}}).Chunks)
	l.sack(1<<16 - 1)
	require.True(t, l.s.HasNew())
}
