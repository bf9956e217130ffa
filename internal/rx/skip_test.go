package rx

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

// forward gives r a FORWARD-TSN or I-FORWARD-TSN, through the codec.
func forward(t *testing.T, r *Receiver, want Outcome, cum serial.TSN, skips ...wire.Skip) {
	t.Helper()
	var b wire.Builder
	b.Open(make([]byte, 0, 1500), wire.Header{})
	if r.interleaving {
		require.True(t, b.IForwardTSN(cum))
	} else {
		require.True(t, b.ForwardTSN(cum))
	}
	for _, s := range skips {
		require.True(t, b.Skip(s))
	}
	it := wire.Chunks(b.Seal())
	c, ok := it.Next()
	require.True(t, ok)
	f, err := wire.ParseForwardTSN(c)
	require.NoError(t, err)
	require.Equal(t, want, r.ForwardTSN(1, &f))
	r.PacketDone(1, false)
	check(t, r)
}

func TestForwardTSN(t *testing.T) {
	r := newReceiver(t, Config{})
	// The example of RFC 3758 section 3.6: 3 missing, 4 and 5 there, 6 missing, 7 there.
	feed(t, r, Accepted, "1000 s0 n0 BE", "1001 s0 n1 BE", "1002 s0 n2 BE", "1004 s0 n4 BE", "1005 s0 n5 BE", "1007 s0 n7 BE")
	require.Equal(t, "s0:1000 s0:1001 s0:1002", parts(t, r))
	forward(t, r, Accepted, 1003, wire.Skip{SID: 0, SSN: 3})
	require.Equal(t, "1005 1007-1007", sack(t, r))
	require.Equal(t, "s0:1004 s0:1005", parts(t, r))
	feed(t, r, Duplicate, "1003 s0 n3 BE")
	forward(t, r, Duplicate, 1005)
	_, must := r.AckWanted(1)
	require.True(t, must)
	forward(t, r, Accepted, 1006, wire.Skip{SID: 0, SSN: 6}, wire.Skip{SID: 77, SSN: 1})
	require.Equal(t, "s0:1007", parts(t, r))
	require.Equal(t, "1007 dup1003", sack(t, r))
	feed(t, r, Accepted, "1008 s0 n8 BE")
	require.Equal(t, "s0:1008", parts(t, r))
}

func TestForwardBeyondEverything(t *testing.T) {
	r := newReceiver(t, Config{})
	feed(t, r, Accepted, "1002 s0 n2 BE", "1004 s0 n4 B", "1007 s1 n1 E")
	forward(t, r, Accepted, 2_000_000, wire.Skip{SID: 0, SSN: 100}, wire.Skip{SID: 1, SSN: 3})
	require.Equal(t, "2000000", sack(t, r))
	require.Equal(t, "s0:1002", parts(t, r))
	require.Zero(t, r.Held())
	feed(t, r, Accepted, "2000001 s0 n101 BE", "2000002 s1 n4 BE")
	require.Equal(t, "s0:2000001 s1:2000002", parts(t, r))
}

func TestForwardOverFragments(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []string
		cum   serial.TSN
		skips []wire.Skip
		after []string
	}{
		{"message handed out in part",
			[]string{"1000 s0 n0 B a", "= s0:a...", "1003 s0 n1 BE z"}, 1002, []wire.Skip{{SID: 0, SSN: 0}},
			[]string{"= s0:x s0:z"}},
		{"part not yet taken",
			[]string{"1000 s0 n0 B a", "1003 s0 n1 BE z"}, 1002, []wire.Skip{{SID: 0, SSN: 0}},
			[]string{"= s0:a... s0:x s0:z"}},
		{"the rest comes late",
			[]string{"1000 s0 n0 B a", "1003 s0 n0 - d", "= s0:a..."}, 1002, []wire.Skip{{SID: 0, SSN: 0}},
			[]string{"= s0:x", "1004 s0 n0 - e", "1006 s0 n1 BE z", "1005 s0 n0 E f", "= s0:z"}},
		{"fragments behind the new cumulative TSN, in front of a gap",
			[]string{"1000 s0 n0 B a", "1005 s0 n0 E f", "= s0:a..."}, 1002, []wire.Skip{{SID: 0, SSN: 0}},
			[]string{"= s0:x", "1003 s0 n0 - d", "1004 s0 n0 - e", "1006 s0 n1 BE z", "= s0:z"}},
		{"message waiting for its turn",
			[]string{"1001 s0 n1 B b", "1003 s0 n2 BE z"}, 1002, []wire.Skip{{SID: 0, SSN: 1}}, []string{"= s0:z"}},
		{"message complete around the new cumulative TSN is kept",
			[]string{"1001 s0 n1 B b", "1002 s0 n1 - c", "1003 s0 n1 E d"}, 1000, []wire.Skip{{SID: 0, SSN: 0}},
			[]string{"= s0:bcd"}},
		{"message begun before the new cumulative TSN and not yet complete is kept",
			[]string{"1001 s0 n1 B b", "1002 s0 n1 - c"}, 1001, []wire.Skip{{SID: 0, SSN: 0}},
			[]string{"= s0:bc...", "1003 s0 n1 E d", "= s0:...d"}},
		{"stream not listed waits on",
			[]string{"1001 s0 n0 BE y", "1003 s1 n1 BE z"}, 1000, nil, []string{"= s0:y", "1002 s1 n0 BE x", "= s1:x s1:z"}},
		{"unordered in part", []string{"1000 s0 UB a", "1003 s0 UE d", "1004 s0 n0 BE z"}, 1002, nil, []string{"= s0:z"}},
		{"old skip", []string{"1000 s0 n0 BE a", "1001 s0 n1 BE b", "1003 s0 n2 BE z"}, 1002,
			[]wire.Skip{{SID: 0, SSN: 0}, {SID: 0, SSN: 65535}}, []string{"= s0:a s0:b s0:z"}},
		{"message begun above is listed although nothing of it is missing below",
			[]string{"1001 s0 n0 B a", "1002 s0 n0 - b"}, 1000, []wire.Skip{{SID: 0, SSN: 0}},
			[]string{"=", "1003 s0 n0 E c", "1004 s0 n1 BE z", "= s0:z"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiver(t, Config{})
			play(t, r, c.steps...)
			forward(t, r, Accepted, c.cum, c.skips...)
			play(t, r, c.after...)
			require.Zero(t, r.Held())
		})
	}
}

// TestForwardWhileUnorderedStreams skips over an unordered message that holds the stream, and an ordered one that waits for it.
func TestForwardWhileUnorderedStreams(t *testing.T) {
	r := newReceiver(t, Config{Window: 400})
	r.limit = 1 << 20
	play(t, r, "1000 s0 UB "+strings.Repeat("u", 300), "= u0:"+strings.Repeat("u", 300)+"...", "1002 s0 n0 B a")
	r.window = 1 << 20
	play(t, r, "1004 s0 n1 BE b", "1005 s0 n2 BE c", "=")
	forward(t, r, Accepted, 1003, wire.Skip{SID: 0, SSN: 0})
	require.Equal(t, "u0:x s0:b s0:c", parts(t, r))
	play(t, r, "1006 s0 n3 BE d", "= s0:d")
}

func TestForwardWrongKind(t *testing.T) {
	for _, inter := range []bool{false, true} {
		r := newReceiver(t, Config{Interleaving: inter})
		f := wire.ForwardTSN{CumTSN: 2000, Interleaved: !inter}
		require.Equal(t, BadChunk, r.ForwardTSN(1, &f))
	}
}

func TestIForwardTSN(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []string
		cum   serial.TSN
		skips []wire.Skip
		after []string
	}{
		{"whole messages set free",
			[]string{"1001 s0 n1 i BE b", "1003 s0 n3 i BE d"}, 1000, []wire.Skip{{SID: 0, MID: 0}},
			[]string{"= s0:b", "1002 s0 n2 i BE c", "= s0:c s0:d"}},
		{"handed out in part",
			[]string{"1000 s0 n0 f0 B a", "= s0:a..."}, 1001, []wire.Skip{{SID: 0, MID: 0}},
			[]string{"= s0:x", "1002 s0 n0 f2 E c", "1003 s0 n1 i BE z", "= s0:z"}},
		{"fragments without a beginning",
			[]string{"1001 s0 n0 f1 - b", "1002 s0 n1 f1 E y"}, 1000, []wire.Skip{{SID: 0, MID: 1}},
			[]string{"=", "1003 s0 n2 i BE z", "= s0:z"}},
		{"unordered in part",
			[]string{"1000 s0 n0 f0 UB a", "1001 s0 n1 f1 UE y", "1002 s0 n2 f0 UB p"}, 1005, []wire.Skip{{SID: 0, MID: 1, Unordered: true}},
			[]string{"=", "1006 s0 n1 f2 U c", "1007 s0 n2 f1 UE q", "= u0:pq"}},
		{"ordered and unordered count apart",
			[]string{"1001 s0 n0 f0 B a", "1002 s0 n0 f0 UB u"}, 1000, []wire.Skip{{SID: 0, MID: 0, Unordered: true}},
			[]string{"= s0:a...", "1003 s0 n0 f1 E b", "= s0:...b"}},
		{"old skip",
			[]string{"1000 s0 n0 i BE a", "1001 s0 n1 i BE b"}, 1003, []wire.Skip{{SID: 0, MID: 0}, {SID: 0, MID: 1<<32 - 1}},
			[]string{"= s0:a s0:b", "1004 s0 n2 i BE c", "= s0:c"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiver(t, Config{Interleaving: true})
			play(t, r, c.steps...)
			forward(t, r, Accepted, c.cum, c.skips...)
			play(t, r, c.after...)
			require.Zero(t, r.Held())
		})
	}
}

func TestResetStream(t *testing.T) {
	for _, inter := range []bool{false, true} {
		r := newReceiver(t, Config{Interleaving: inter})
		i, f := "", ""
		if inter {
			i, f = " i", " f0"
		}
		r.ResetStream(3) // not in use
		feed(t, r, Accepted, "1000 s0 n0 BE"+i, "1001 s1 n0 BE"+i, "1002 s1 n1 B"+f)
		require.Equal(t, "s0:1000 s1:1001 s1:1002...", parts(t, r))
		r.ResetStream(0)
		if !inter { // the message under way ends before the next chunk can be anything else
			feed(t, r, Accepted, "1003 s1 n1 E", "1004 s0 n0 BE", "1005 s1 n2 BE")
			require.Equal(t, "s1:...1003 s0:1004 s1:1005", parts(t, r))
			r.ResetStream(1)
			feed(t, r, Accepted, "1006 s1 n0 BE")
			require.Equal(t, "s1:1006", parts(t, r))
		} else {
			feed(t, r, Accepted, "1003 s2 n0 BE"+i)
			r.ResetStream(1)
			require.Equal(t, "s2:1003 s1:x", parts(t, r))
			feed(t, r, Accepted, "1004 s1 n0 BE"+i, "1005 s0 n0 BE"+i, "1006 s0 n1 BE"+i, "1007 s1 n0 f0 UB", "1008 s1 n0 f1 UE")
			require.Equal(t, "s1:1004 s0:1005 s0:1006 u1:10071008", parts(t, r))
		}
		r.Drop()
	}
}

func TestResetAllAndTSN(t *testing.T) {
	for _, inter := range []bool{false, true} {
		r := newReceiver(t, Config{Interleaving: inter})
		i, f0, f1 := "", "", ""
		if inter {
			i, f0, f1 = " i", " f0", " f1"
		}
		feed(t, r, Accepted, "1000 s0 n0 BE"+i, "1001 s1 n0 B"+f0, "1003 s2 n1 BE"+i, "1005 s2 n2 E"+f1, "1007 s3 n0 UB"+f0)
		require.Equal(t, "s0:1000 s1:1001...", parts(t, r))
		r.ResetTSN(5)
		check(t, r)
		require.Equal(t, "s1:x", parts(t, r))
		require.Equal(t, "4", sack(t, r))
		require.Zero(t, r.Held())
		feed(t, r, Accepted, "6 s2 n0 BE"+i, "5 s0 n0 BE"+i, "7 s1 n0 BE"+i)
		require.Equal(t, "s2:6 s0:5 s1:7", parts(t, r))
	}
}
