package rx

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/wire"
)

// sized returns an ordered whole message of n bytes on stream 0; i counts from the first.
func sized(i, n int) *wire.Data {
	d := chunk("1000 s0 n0 BE")
	d.TSN += tsn(i)
	d.SSN = ssn(i)
	d.Payload = make([]byte, n)
	return d
}

func take(t testing.TB, r *Receiver) (held int) {
	p, ok := r.NextPart()
	require.True(t, ok)
	held = p.Data.Held
	p.Data.Free()
	return held
}

func TestWindowClosesAndOpens(t *testing.T) {
	const mem = 1536 + pktbuf.Overhead
	r := newReceiver(t, Config{Window: 10 * mem})
	require.EqualValues(t, 10*mem, r.Window())
	n := 0
	for ; r.Data(1, sized(n, 1200)) == Accepted; n++ {
		r.PacketDone(1, false)
		sack(t, r)
	}
	require.Equal(t, 10, n, "exactly the memory of the window")
	require.Zero(t, r.Window())
	r.PacketDone(1, false)
	_, must := r.AckWanted(1)
	require.True(t, must, "a dropped chunk is answered at once")
	require.Equal(t, "1009", sack(t, r), "and not acknowledged")
	require.Equal(t, uint64(1), r.Stats().NoRoom)

	// A probe of the closed window is dropped as long as the user has something to read.
	require.Equal(t, NoRoom, r.Data(1, sized(n, 1)))
	r.PacketDone(1, false)
	sack(t, r)
	r.Consumed(take(t, r))
	held := take(t, r)
	require.True(t, r.Consumed(held), "open again")
	_, must = r.AckWanted(1)
	require.True(t, must)
	require.Equal(t, Accepted, r.Data(1, sized(n, 1200)))
	r.PacketDone(1, false)
	for r.deliver().ready.n > 0 {
		r.Consumed(take(t, r))
	}
	require.Zero(t, r.Held())
}

// TestWindowOfTinyMessages: a window that is empty is open, whatever it holds little of.
func TestWindowOfTinyMessages(t *testing.T) {
	for _, window := range []int{1500, 32 << 10, 128 << 10} {
		r := newReceiver(t, Config{Window: window})
		for i := range 1000 {
			require.Equal(t, Accepted, r.Data(1, sized(i, 1)))
			r.PacketDone(1, false)
			sack(t, r)
			r.Consumed(take(t, r))
			require.NotZero(t, r.Window(), "%d, message %d", window, i)
		}
		// And it closes before its memory is used up.
		n := 1000
		for r.Window() > 0 {
			require.Equal(t, Accepted, r.Data(1, sized(n, 1)))
			n++
		}
		require.LessOrEqual(t, r.Held(), window)
		r.PacketDone(1, false)
		sack(t, r)
		told := false // so that the peer learns when it opens
		for r.ready.n > 0 {
			told = r.Consumed(take(t, r)) || told
		}
		require.True(t, told)
		require.NotZero(t, r.Window())
	}
}

// TestWindowSteps counts the SACKs that a slow reader causes: a few per window, not one per read.
func TestWindowSteps(t *testing.T) {
	r := newReceiver(t, Config{Window: 1 << 20})
	n := 0
	for r.Data(1, sized(n, 1200)) == Accepted {
		n++
	}
	r.PacketDone(1, false)
	sack(t, r)
	steps := 0
	for r.deliver().ready.n > 0 {
		if r.Consumed(take(t, r)) {
			steps++
			sack(t, r)
		}
	}
	require.LessOrEqual(t, steps, 5)
	require.GreaterOrEqual(t, steps, 4)
}

// TestWindowToldIsKept lets a peer send exactly what it was told, whatever the size of its messages: nothing is dropped.
func TestWindowToldIsKept(t *testing.T) {
	for _, size := range []int{1, 20, 100, 129, 500, 1200, 1452, 4000, 30000} {
		r := newReceiver(t, Config{Window: 1 << 20})
		n := 0
		for range 200 { // the share of payload in memory becomes known
			require.Equal(t, Accepted, r.Data(1, sized(n, size)))
			n++
			r.Consumed(take(t, r))
		}
		told := int(r.Window())
		for sent := size; sent <= told; sent += size {
			require.Equal(t, Accepted, r.Data(1, sized(n, size)), "size %d", size)
			n++
		}
		require.Less(t, r.window-r.used(), 1<<20/8+1600, "the memory is put to use, size %d", size)
		r.Drop()
	}
}

func TestGapsAreFilledBeyondTheWindow(t *testing.T) {
	r := newReceiver(t, Config{Window: 64 << 10})
	mem := 4096 + pktbuf.Overhead
	for i := 1; i < 64; i++ {
		if i%2 == 1 && r.Data(1, sized(i, 4000)) != Accepted {
			break
		}
	}
	require.Zero(t, r.Window())
	n := 0
	for i := 2; i < 32; i += 2 {
		if r.Data(1, sized(i, 4000)) != Accepted {
			break
		}
		n++
		require.LessOrEqual(t, r.Held(), r.limit+mem)
	}
	require.Positive(t, n)
	require.Equal(t, NoRoom, r.Data(1, sized(1000, 10)), "above everything: the window is closed")
	require.Equal(t, Accepted, r.Data(1, sized(0, 4000)), "the front always, with nothing to read")
	require.NotZero(t, r.deliver().ready.n)
	for r.deliver().ready.n > 0 {
		r.Consumed(take(t, r))
	}
}

// TestHardLimit plays a peer that never sends what would let anything go to the user.
func TestHardLimit(t *testing.T) {
	for _, inter := range []bool{false, true} {
		r := newReceiver(t, Config{Window: 256 << 10, Interleaving: inter})
		d := sized(0, 1000)
		d.Interleaved = inter
		most := 0
		for i := range 100000 {
			d.TSN++ // the first TSN never comes
			if i == 0 {
				d.TSN += 60000
				d.Begin = true
			}
			if i == 1 {
				d.TSN -= 60000
			}
			d.SSN++
			d.MID++
			r.Data(1, d)
			most = max(most, r.Held())
		}
		require.LessOrEqual(t, most, r.limit+reserve)
		check(t, r)
	}
}

func TestSetWindow(t *testing.T) {
	r := newReceiver(t, Config{Window: 64 << 10})
	for i := 1; i < 12; i++ {
		require.Equal(t, Accepted, r.Data(1, sized(i, 4000)))
	}
	r.SetWindow(4 << 10)
	require.Zero(t, r.Window())
	require.Equal(t, NoRoom, r.Data(1, sized(20, 10)))
	require.Equal(t, Accepted, r.Data(1, sized(0, 4000)), "what was held already does not block the front")
	for r.deliver().ready.n > 0 {
		r.Consumed(take(t, r))
	}
	require.Equal(t, 8<<10, r.limit)
	sack(t, r)
	r.SetWindow(1 << 20)
	_, must := r.AckWanted(1)
	require.True(t, must, "the peer learns of the larger window")
	require.Greater(t, r.Window(), uint32(800_000))
	r.SetWindow(-5)
	require.Zero(t, r.Window())
}

func TestLargeUnorderedMessage(t *testing.T) {
	r := newReceiver(t, Config{Window: 64 << 10})
	d := sized(0, 4000)
	d.Unordered, d.End = true, false
	for i := range 100 { // 400 kB through 64 KiB
		d.End = i == 99
		require.Equal(t, Accepted, r.Data(1, d), i)
		d.TSN++
		d.Begin = false
		for r.deliver().ready.n > 0 {
			r.Consumed(take(t, r))
		}
	}
	require.Equal(t, uint64(1), r.Stats().Messages)
	require.Zero(t, r.Held())
}

// TestInterleavedUnorderedMessages fills the window with messages none of which is large by itself.
func TestInterleavedUnorderedMessages(t *testing.T) {
	r := newReceiver(t, Config{Window: 64 << 10, Interleaving: true})
	d := sized(0, 1000)
	d.Unordered, d.Interleaved = true, true
	for f := range 50 {
		for s := range 16 {
			d.SID, d.FSN = uint16(s), fsn(f)
			d.Begin, d.End = f == 0, f == 49
			require.Equal(t, Accepted, r.Data(1, d), "stream %d fragment %d", s, f)
			d.TSN++
			for r.deliver().ready.n > 0 {
				r.Consumed(take(t, r))
			}
		}
	}
	require.Equal(t, uint64(16), r.Stats().Messages)
	require.Zero(t, r.Held())
}

func TestConsumedTooMuch(t *testing.T) {
	r := newReceiver(t, Config{})
	feed(t, r, Accepted, "1000 s0 n0 BE", "1002 s0 n2 BE")
	p, _ := r.NextPart()
	p.Data.Free()
	r.Consumed(1 << 30)
	r.Consumed(-1 << 30)
	check(t, r)
	require.Positive(t, r.Held(), "what reassembly holds is not the user's to give back")
}
