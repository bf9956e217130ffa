package rx

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/serial"
)

func TestSizes(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(Receiver{})-unsafe.Sizeof(Stats{}), uintptr(224))
	require.LessOrEqual(t, unsafe.Sizeof(Receiver{}), uintptr(304))
	require.LessOrEqual(t, unsafe.Sizeof(item{}), uintptr(itemCost))
}

// step is a chunk to feed, or a check when it has no blank: "= text" wants parts, "! chunk" wants BadChunk.
func play(t *testing.T, r *Receiver, steps ...string) {
	t.Helper()
	for _, s := range steps {
		switch s[0] {
		case '=':
			want := ""
			if len(s) > 2 {
				want = s[2:]
			}
			require.Equal(t, want, parts(t, r), "after %q", steps)
		case '!':
			feed(t, r, BadChunk, s[2:])
		case 'd':
			feed(t, r, Duplicate, s[2:])
		default:
			feed(t, r, Accepted, s)
		}
	}
}

func TestPlain(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []string
	}{
		{"in order", []string{"1000 s0 n0 BE", "= s0:1000", "1001 s0 n1 BE", "= s0:1001"}},
		{"two streams", []string{"1000 s0 n0 BE", "1001 s1 n0 BE", "= s0:1000 s1:1001"}},
		{"swapped on one stream", []string{"1001 s0 n1 BE", "=", "1000 s0 n0 BE", "= s0:1000 s0:1001"}},
		{"swapped on two streams", []string{"1001 s1 n0 BE", "= s1:1001", "1000 s0 n0 BE", "= s0:1000"}},
		{"unordered passes a gap", []string{"1001 s0 n9 UBE", "= u0:1001"}},
		{"duplicates", []string{"1000 s0 n0 BE", "d 1000 s0 n0 BE", "1002 s0 n2 BE", "d 1002 s0 n2 BE", "= s0:1000"}},
		{"fragments as they come", []string{
			"1000 s0 n0 B a", "= s0:a...", "1001 s0 n0 - b", "= s0:...b...", "1002 s0 n0 E c", "= s0:...c"}},
		{"fragments joined until they are taken", []string{
			"1000 s0 n0 B a", "1001 s0 n0 - b", "1002 s0 n0 E c", "1003 s0 n1 BE d", "= s0:abc s0:d"}},
		{"fragments backwards", []string{
			"1002 s0 n0 E c", "1001 s0 n0 - b", "=", "1000 s0 n0 B a", "= s0:abc"}},
		{"hole filled last", []string{
			"1000 s0 n0 B a", "1004 s0 n0 E e", "1002 s0 n0 - c", "= s0:a...", "1003 s0 n0 - d", "1001 s0 n0 - b", "= s0:...bcde"}},
		{"next in order waits above a gap until it is whole", []string{
			"1002 s1 n0 B c", "=", "1003 s1 n0 E d", "= s1:cd"}},
		{"next in order starts once the gap is closed", []string{
			"1001 s1 n0 B c", "=", "1000 s0 n0 BE b", "= s0:b s1:c...", "1002 s1 n0 - d", "= s1:...d...", "1003 s1 n0 E e", "= s1:...e"}},
		{"a large unordered message before one that was begun", []string{ // what fills the gap must not have to wait for it
			"1000 s0 UB a", "1003 s0 n0 B x", "=", "1001 s0 U b", "1002 s0 UE c", "= u0:abc s0:x...", "1004 s0 n0 E y", "= s0:...y"}},
		{"second message waits whole", []string{
			"1002 s0 n1 B c", "1003 s0 n1 E d", "1000 s0 n0 B a", "= s0:a...", "1001 s0 n0 E b", "= s0:...b s0:cd"}},
		{"second message waits begun", []string{
			"1002 s0 n1 B c", "1001 s0 n0 E b", "=", "1000 s0 n0 B a", "= s0:ab s0:c...", "1003 s0 n1 E d", "= s0:...d"}},
		{"unordered waits for its end", []string{
			"1000 s0 UB a", "1001 s0 U b", "=", "1002 s0 UE c", "= u0:abc"}},
		{"unordered waits for the message being streamed", []string{
			"1000 s0 n0 B a", "= s0:a...", "1002 s0 UBE c", "1003 s0 UB d", "1004 s0 UE e", "1005 s1 UBE f",
			"= u1:f", "1001 s0 n0 E b", "= s0:...b u0:c u0:de"}},
		{"PPID of the first fragment", []string{"1001 s0 n0 p9 E b", "1000 s0 n0 p7 B a", "= s0:ab"}},

		{"first chunk without B", []string{"! 1000 s0 n0 E"}},
		{"B within a message", []string{"1000 s0 n0 B", "! 1001 s0 n0 B"}},
		{"whole message within a message", []string{"1000 s0 n0 B", "! 1001 s0 n1 BE"}},
		{"no B after an E", []string{"1000 s0 n0 BE", "! 1001 s0 n1 E"}},
		{"no B after an E out of order", []string{"1002 s0 n1 E", "! 1003 s0 n1 -"}},
		{"E before a fragment without B", []string{"1002 s0 n1 E", "! 1001 s0 n0 E"}},
		{"no E before a B", []string{"1002 s0 n1 B", "! 1001 s0 n0 -"}},
		{"other stream within a message", []string{"1000 s0 n0 B", "! 1001 s1 n0 E"}},
		{"other stream within a message, from behind", []string{"1002 s1 n0 E", "! 1001 s0 n0 B"}},
		{"other SSN within a message", []string{"1000 s0 n0 B", "! 1001 s0 n1 E"}},
		{"U changes within a message", []string{"1000 s0 n0 B", "! 1001 s0 n0 UE"}},
		{"both neighbours fit but not each other", []string{"1000 s0 n0 B", "1002 s1 n0 E", "! 1001 s0 n0 -"}},
		{"SSN repeated", []string{"1000 s0 n0 BE", "! 1001 s0 n0 BE"}},
		{"SSN ahead of its TSN", []string{"1000 s0 n1 BE", "=", "1001 s0 n0 BE", "= s0:1001 s0:1000"}},
		{"SSN far ahead", []string{"1000 s0 n0 BE", "= s0:1000", "1001 s0 n9 BE", "1002 s0 n32767 BE", "="}},
		{"SSN behind", []string{"1000 s0 n0 BE", "= s0:1000", "! 1001 s0 n32769 BE"}},
		{"SSN as far ahead as the gap allows", []string{"1002 s0 n2 BE", "1003 s0 n3 BE", "1004 s0 n9 BE"}},
		{"I-DATA not negotiated", []string{"! 1000 s0 n0 i BE"}},
		{"SSN twice ahead", []string{"1001 s0 n1 BE", "1002 s0 n1 BE", "1000 s0 n0 BE", "= s0:1000 s0:1001"}},
	} {
		t.Run(c.name, func(t *testing.T) { play(t, newReceiver(t, Config{}), c.steps...) })
	}
}

func TestInter(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []string
	}{
		{"in order", []string{"1000 s0 n0 i BE", "= s0:1000", "1001 s0 n1 i BE", "= s0:1001"}},
		{"swapped", []string{"1001 s0 n1 i BE", "=", "1000 s0 n0 i BE", "= s0:1000 s0:1001"}},
		{"fragments as they come", []string{
			"1000 s0 n0 f0 B a", "= s0:a...", "1001 s0 n0 f1 - b", "= s0:...b...", "1002 s0 n0 f2 E c", "= s0:...c"}},
		{"two streams interleaved", []string{
			"1000 s0 n0 f0 B a", "1001 s1 n0 f0 B x", "1002 s0 n0 f1 E b", "1003 s1 n0 f1 E y",
			"= s0:a... s1:x... s0:...b s1:...y"}},
		{"ordered and unordered of one stream", []string{
			"1000 s0 n0 f0 B a", "1001 s0 n0 f0 UB x", "1002 s0 n0 f1 UE y", "= s0:a...", "1003 s0 n0 f1 E b", "= s0:...b u0:xy"}},
		{"several messages of one stream at once", []string{
			"1000 s0 n0 f0 B a", "1001 s0 n1 f0 B c", "1002 s0 n2 f0 B e", "1003 s0 n1 f1 E d", "1004 s0 n2 f1 E f",
			"= s0:a...", "1005 s0 n0 f1 E b", "= s0:...b s0:cd s0:ef"}},
		{"fragments backwards", []string{
			"1000 s0 n0 f3 E d", "1001 s0 n0 f1 - b", "1002 s0 n0 f2 - c", "=", "1003 s0 n0 f0 B a", "= s0:abcd"}},
		{"hole", []string{
			"1000 s0 n0 f0 B a", "1001 s0 n0 f2 - c", "1002 s0 n0 f3 E d", "= s0:a...", "1003 s0 n0 f1 - b", "= s0:...bcd"}},
		{"TSNs against the order of fragments", []string{
			"1001 s0 n0 f0 B a", "= s0:a...", "1000 s0 n0 f1 E b", "= s0:...b"}},
		{"MID far ahead", []string{"1000 s0 n4 i BE", "="}},

		{"DATA although I-DATA was negotiated", []string{"! 1000 s0 n0 BE"}},
		{"FSN 0 without B", []string{"! 1000 s0 n0 f0 -"}},
		{"two B", []string{"1000 s0 n0 f0 B", "! 1001 s0 n0 f0 B"}},
		{"two B not in turn", []string{"1000 s0 n1 f0 B", "! 1001 s0 n1 f0 B"}},
		{"two E", []string{"1000 s0 n0 f3 E", "! 1001 s0 n0 f4 E"}},
		{"E twice", []string{"1000 s0 n0 f3 E", "! 1001 s0 n0 f3 E"}},
		{"fragment behind E", []string{"1000 s0 n0 f3 E", "! 1001 s0 n0 f4 -"}},
		{"E before a fragment", []string{"1000 s0 n0 f3 -", "! 1001 s0 n0 f2 E"}},
		{"FSN again after it was used", []string{"1000 s0 n0 f0 B", "1001 s0 n0 f1 -", "! 1002 s0 n0 f1 -"}},
		{"FSN again while held", []string{"1000 s0 n0 f2 -", "1001 s0 n0 f2 -", "1002 s0 n0 f0 B", "! 1003 s0 n0 f1 -"}},
		{"whole message with the MID of fragments", []string{"1000 s0 n1 f0 B", "! 1001 s0 n1 i BE"}},
		{"old MID", []string{"1000 s0 n0 i BE", "! 1001 s0 n0 i BE"}},
	} {
		t.Run(c.name, func(t *testing.T) { play(t, newReceiver(t, Config{Interleaving: true}), c.steps...) })
	}
}

func TestPPID(t *testing.T) {
	r := newReceiver(t, Config{})
	feed(t, r, Accepted, "1001 s0 n0 p9 E b", "1000 s0 n0 p7 B a")
	p, ok := r.NextPart()
	require.True(t, ok)
	require.Equal(t, uint32(7), p.PPID)
	p.Data.Free()
}

func TestBadStream(t *testing.T) {
	r := newReceiver(t, Config{Streams: 2})
	feed(t, r, BadStream, "1000 s2 n0 BE")
	require.Equal(t, "1000", sack(t, r))
	feed(t, r, BadStream, "1003 s9 n0 BE")
	require.Equal(t, "1000 1003-1003", sack(t, r))
	// A fragmented message on it goes by as a whole, in any order.
	feed(t, r, BadStream, "1002 s2 n1 E", "1001 s2 n1 B")
	feed(t, r, Accepted, "1004 s0 n0 BE")
	require.Equal(t, "s0:1004", parts(t, r))
	require.Equal(t, uint64(4), r.Stats().BadStream)
	r.SetStreams(3)
	feed(t, r, Accepted, "1005 s2 n0 BE")
	require.Equal(t, "s2:1005", parts(t, r))
	require.Equal(t, 3, r.Streams())
	// A message does not change its stream.
	feed(t, r, Accepted, "1006 s0 n1 B")
	feed(t, r, BadChunk, "1007 s7 n1 -")
}

func TestWrapAround(t *testing.T) {
	for _, inter := range []bool{false, true} {
		r := newReceiver(t, Config{InitialTSN: 1<<32 - 3, Interleaving: inter})
		i := ""
		if inter {
			i = " i"
		}
		feed(t, r, Accepted, "4294967295 s0 n2 BE"+i, "0 s0 n3 BE"+i, "4294967293 s0 n0 BE"+i)
		require.Equal(t, "4294967293 4294967295-0", sack(t, r))
		feed(t, r, Accepted, "4294967294 s0 n1 BE"+i)
		require.Equal(t, "0", sack(t, r))
		feed(t, r, Duplicate, "4294967294 s0 n1 BE"+i)
		require.Equal(t, "s0:4294967293 s0:4294967294 s0:4294967295 s0:0", parts(t, r))
	}
}

func TestSSNWrapAround(t *testing.T) {
	r := newReceiver(t, Config{InitialTSN: 1})
	d := chunk("0 s0 n0 BE x")
	for i := range 3 << 16 {
		d.TSN++
		d.SSN = serial.SSN(i)
		if i%1000 == 500 { // swap two now and then
			d.TSN, d.SSN = d.TSN+1, d.SSN+1
			require.Equal(t, Accepted, r.Data(1, d))
			d.TSN, d.SSN = d.TSN-1, d.SSN-1
		} else if i%1000 == 501 {
			continue
		}
		require.Equal(t, Accepted, r.Data(1, d))
		for {
			p, ok := r.NextPart()
			if !ok {
				break
			}
			r.Consumed(p.Data.Held)
			p.Data.Free()
		}
	}
	require.Equal(t, uint64(3<<16), r.Stats().Messages)
	require.Zero(t, r.Held())
}

func TestFarTSN(t *testing.T) {
	r := newReceiver(t, Config{MaxOutOfOrder: 100})
	feed(t, r, NoRoom, "1100 s0 n0 BE", "999 s0 n0 BE", "3000000000 s0 n0 BE", "2147484647 s0 n0 BE")
	feed(t, r, Accepted, "1099 s0 n99 BE")
	require.Equal(t, uint64(4), r.Stats().Far)
	require.Equal(t, "999 1099-1099", sack(t, r))
	require.Zero(t, r.Stats().NoRoom)
}

func TestRangesAreBounded(t *testing.T) {
	r := newReceiver(t, Config{Window: 64 << 20})
	d := chunk("0 s0 UBE x")
	for i := range maxRanges {
		d.TSN = 1001 + serial.TSN(2*i)
		require.Equal(t, Accepted, r.Data(1, d))
	}
	d.TSN += 2
	require.Equal(t, NoRoom, r.Data(1, d), "a range too many")
	d.TSN -= 1
	require.Equal(t, Accepted, r.Data(1, d), "joins a range")
	d.TSN = 1000
	require.Equal(t, Accepted, r.Data(1, d))
	check(t, r)
}

func TestEmptyPayload(t *testing.T) {
	r := newReceiver(t, Config{})
	d := chunk("1000 s0 n0 BE")
	d.Payload = nil
	require.Equal(t, BadChunk, r.Data(1, d))
}

func TestDrop(t *testing.T) {
	for _, inter := range []bool{false, true} {
		r := newReceiver(t, Config{Interleaving: inter})
		i, f := "", ""
		if inter {
			i, f = " i", " f3"
		}
		feed(t, r, Accepted, "1000 s0 n0 BE"+i, "1003 s0 n1 B"+i, "1007 s1 n0 -"+f, "1009 s2 UB"+i, "1011 s0 n2 BE"+i)
		p, ok := r.NextPart()
		require.True(t, ok)
		r.Drop()
		require.Equal(t, p.Data.Held, r.Held())
		r.Returned(p.Data.Held) // the user finishes later
		p.Data.Free()
		require.Zero(t, r.Held())
		_, ok = r.NextPart()
		require.False(t, ok)
		check(t, r)
	}
}

func TestOutcomeString(t *testing.T) {
	require.Equal(t, "no room", NoRoom.String())
	require.Equal(t, "unknown outcome", Outcome(99).String())
}

func TestManyStreams(t *testing.T) {
	live := pktbuf.Live()
	r := newReceiver(t, Config{Streams: 1 << 16, Window: 64 << 20})
	d := chunk("999 s0 n0 BE x")
	for i := range 1 << 16 {
		d.TSN++
		d.SID = uint16(i * 7)
		require.Equal(t, Accepted, r.Data(1, d))
	}
	require.Equal(t, live+1<<16, pktbuf.Live())
	for range 1 << 16 {
		p, ok := r.NextPart()
		require.True(t, ok)
		r.Consumed(p.Data.Held)
		p.Data.Free()
	}
	require.Zero(t, r.Held())
}
