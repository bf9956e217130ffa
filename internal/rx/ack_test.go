package rx

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/wire"
)

// arrive feeds one packet of several chunks at now.
func arrive(r *Receiver, now mono.Time, chunks ...string) {
	immediate := false
	for _, c := range chunks {
		d := chunk(c)
		immediate = immediate || d.Immediate
		r.Data(now, d)
	}
	r.PacketDone(now, immediate)
}

func TestWhenToAcknowledge(t *testing.T) {
	now := mono.Time(time.Second)
	type packets [][]string
	for _, c := range []struct {
		name    string
		packets packets
		want    ackState // after the last one; a SACK goes out after each other one that is due
	}{
		{"no data", packets{{}}, ackNone},
		{"first packet waits", packets{{"1000 s0 n0 BE"}}, ackDelayed},
		{"second packet", packets{{"1000 s0 n0 BE"}, {"1001 s0 n1 BE"}}, ackNow},
		{"packets count, not chunks", packets{{"1000 s0 n0 BE", "1001 s0 n1 BE", "1002 s0 n2 BE"}}, ackDelayed},
		{"third packet waits again", packets{{"1000 s0 n0 BE"}, {"1001 s0 n1 BE"}, {"1002 s0 n2 BE"}}, ackDelayed},
		{"I bit", packets{{"1000 s0 n0 BEI"}}, ackNow},
		{"gap", packets{{"1001 s0 n1 BE"}}, ackNow},
		{"while the gap lasts", packets{{"1001 s0 n1 BE"}, {"1002 s0 n2 BE"}}, ackNow},
		{"one of two gaps closes", packets{{"1001 s0 n1 BE"}, {"1003 s0 n3 BE"}, {"1000 s0 n0 BE"}}, ackNow},
		{"the gap closes", packets{{"1001 s0 n1 BE"}, {"1000 s0 n0 BE"}}, ackNow},
		{"after the gap", packets{{"1001 s0 n1 BE"}, {"1000 s0 n0 BE"}, {"1002 s0 n2 BE"}}, ackDelayed},
		{"a gap opened and closed by one packet", packets{{"1001 s0 n1 BE", "1000 s0 n0 BE"}}, ackNow},
		{"duplicate alone", packets{{"1000 s0 n0 BE"}, {"1001 s0 n1 BE"}, {"1001 s0 n1 BE"}}, ackNow},
		{"duplicate with new data", packets{{"1000 s0 n0 BE"}, {"1001 s0 n1 BE"}, {"1001 s0 n1 BE", "1002 s0 n2 BE"}}, ackNow},
		{"dropped", packets{{"100000 s0 n0 BE"}}, ackNow},
		{"bad stream", packets{{"1000 s99 n0 BE"}}, ackDelayed},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiver(t, Config{})
			for i, p := range c.packets {
				if _, must := r.AckWanted(now); must {
					sack(t, r)
				}
				require.Zero(t, r.pkt)
				arrive(r, now.Add(time.Duration(i)*time.Millisecond), p...)
			}
			require.Equal(t, c.want, r.ack)
			want, must := r.AckWanted(now)
			require.Equal(t, c.want != ackNone, want)
			require.Equal(t, c.want == ackNow, must)
			_, waiting := r.AckDeadline()
			require.Equal(t, c.want == ackDelayed, waiting)
		})
	}
}

func TestAckDelay(t *testing.T) {
	for _, c := range []struct {
		set, want time.Duration
	}{{0, DefaultSackDelay}, {50 * time.Millisecond, 50 * time.Millisecond}, {time.Minute, MaxSackDelay}} {
		r := newReceiver(t, Config{SackDelay: c.set})
		now := mono.Time(time.Second)
		arrive(r, now, "1000 s0 n0 BE")
		at, ok := r.AckDeadline()
		require.True(t, ok)
		require.Equal(t, now.Add(c.want), at)
		_, must := r.AckWanted(at - 1)
		require.False(t, must)
		_, must = r.AckWanted(at)
		require.True(t, must)
		require.Equal(t, "1000", sack(t, r))
		want, must := r.AckWanted(at)
		require.False(t, want || must)
		_, ok = r.AckDeadline()
		require.False(t, ok)
	}
	r := newReceiver(t, Config{SackDelay: -1})
	arrive(r, 1, "1000 s0 n0 BE")
	_, must := r.AckWanted(1)
	require.True(t, must, "no delay")
}

func TestAckEvery(t *testing.T) {
	r := newReceiver(t, Config{SackEvery: 4})
	for i := range 4 {
		_, must := r.AckWanted(1)
		require.False(t, must, i)
		d := chunk("1000 s0 UBE")
		d.TSN += tsn(i)
		r.Data(1, d)
		r.PacketDone(1, false)
	}
	_, must := r.AckWanted(1)
	require.True(t, must)
}

func TestAckDeadlineDoesNotMove(t *testing.T) {
	r := newReceiver(t, Config{SackEvery: 10})
	arrive(r, 100, "1000 s0 n0 BE")
	first, _ := r.AckDeadline()
	arrive(r, 200, "1001 s0 n1 BE")
	second, _ := r.AckDeadline()
	require.Equal(t, first, second, "the delay runs from the first unacknowledged chunk")
}

func TestSackContents(t *testing.T) {
	r := newReceiver(t, Config{MaxDups: 3, MaxGaps: 4})
	arrive(r, 1, "1002 s0 n2 BE", "1003 s0 n3 BE", "1006 s0 n6 BE", "1002 s0 n2 BE", "1003 s0 n3 BE")
	require.Equal(t, "999 1002-1003 1006-1006 dup1002 dup1003", sack(t, r))
	require.Equal(t, "999 1002-1003 1006-1006", sack(t, r), "duplicates are told once")
	arrive(r, 1, "1000 s0 n0 BE", "1000 s0 n0 BE", "1000 s0 n0 BE", "1000 s0 n0 BE", "1000 s0 n0 BE")
	require.Equal(t, "1000 1002-1003 1006-1006 dup1000 dup1000 dup1000", sack(t, r), "three at most")
	arrive(r, 1, "1001 s0 n1 BE", "1008 s0 n8 BE", "1010 s0 n10 BE", "1012 s0 n12 BE", "1014 s0 n14 BE")
	require.Equal(t, "1003 1006-1006 1008-1008 1010-1010 1012-1012", sack(t, r), "four gaps at most")
	require.Equal(t, uint64(6), r.Stats().Duplicates)
	require.Equal(t, uint64(4), r.Stats().Sacks)
}

func TestSackRoom(t *testing.T) {
	r := newReceiver(t, Config{})
	arrive(r, 1, "1001 s0 n1 BE", "1003 s0 n3 BE", "1005 s0 n5 BE", "1005 s0 n5 BE")
	var b wire.Builder
	b.Open(make([]byte, 0, wire.HeaderLen+wire.SackLen-1), wire.Header{})
	require.False(t, r.AppendSack(&b))
	_, must := r.AckWanted(1)
	require.True(t, must, "still due")
	s := parseSack(t, r, wire.HeaderLen+wire.SackLen+8)
	require.Equal(t, 2, s.Gaps(), "the lowest two")
	require.Zero(t, s.Dups())
	lo, hi := s.Gap(1)
	require.Equal(t, []uint16{4, 4}, []uint16{lo, hi})
}

func TestAcked(t *testing.T) {
	r := newReceiver(t, Config{})
	arrive(r, 1, "1000 s0 n0 BE")
	r.Acked()
	want, _ := r.AckWanted(1)
	require.False(t, want)
	arrive(r, 1, "1002 s0 n2 BE")
	r.Acked()
	want, _ = r.AckWanted(1)
	require.True(t, want, "a SHUTDOWN cannot tell gaps")
}
