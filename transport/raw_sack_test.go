package transport_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/transport"
)

// packet waits for one packet and returns its chunks, for at most wait: none when nothing came.
func (r *raw) packet(wait time.Duration) (chunks []wire.Chunk) {
	r.t.Helper()
	buf := make([]byte, 70000)
	require.NoError(r.t, r.c.SetReadDeadline(time.Now().Add(wait)))
	n, err := r.c.Read(buf)
	if err != nil {
		return nil
	}
	it := wire.Chunks(buf[:n])
	for c, ok := it.Next(); ok; c, ok = it.Next() {
		chunks = append(chunks, c)
	}
	return chunks
}

// sack waits for the next packet, which must hold a SACK, and returns that.
func (r *raw) sack() wire.Sack {
	r.t.Helper()
	k, err := wire.ParseSack(r.expect(wire.TypeSack))
	require.NoError(r.t, err)
	return k
}

// reply sends a SACK: the TSNs from their first one on that are acknowledged up to and above it.
func (r *raw) reply(cum int, arwnd uint32, gaps ...int) {
	r.send(func(b *wire.Builder) {
		require.True(r.t, b.Sack(r.theirs+serial.TSN(cum), arwnd))
		for _, n := range gaps {
			require.True(r.t, b.SackGap(uint16(n-cum), uint16(n-cum)))
		}
	})
}

// sent waits for a packet with DATA and returns the numbers of its TSNs, from their first one on; nothing when none came.
func (r *raw) sent(wait time.Duration) (tsns []int) {
	r.t.Helper()
	for end := time.Now().Add(wait); ; {
		chunks := r.packet(max(time.Until(end), time.Millisecond))
		if chunks == nil {
			return nil
		}
		for _, c := range chunks {
			if c.Type == wire.TypeData {
				var d wire.Data
				require.NoError(r.t, wire.ParseData(c, &d))
				tsns = append(tsns, int(d.TSN-r.theirs))
			}
		}
		if tsns != nil {
			return tsns
		}
	}
}

// profiles runs a test in virtual time against the default and against the profile of RFC 9260.
func profiles(t *testing.T, test func(t *testing.T, x *lab, cfg *transport.Config)) {
	for name, cfg := range map[string]*transport.Config{"default": {}, "rfc9260": transport.RFC9260()} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, x *lab) { test(t, x, cfg) })
		})
	}
}

// RFC 9260 section 6.2: the first DATA is acknowledged at once, a lone packet within SACK.Delay and the second one at once; and so
// are gaps, duplicates, which are reported, and the I bit. The window told does not fall for what the program has read.
func TestRaw6_2Acknowledges(t *testing.T) {
	profiles(t, func(t *testing.T, x *lab, cfg *transport.Config) {
		cfg.SackDelay = 150 * time.Millisecond
		r := newRaw(t, x, *cfg)
		at := func(n int) serial.TSN { return r.tsn + serial.TSN(n) }
		quick := func(why string) wire.Sack {
			t.Helper()
			start := time.Now()
			k := r.sack()
			require.Less(t, time.Since(start), 100*time.Millisecond, why)
			return k
		}
		r.data(0, 0, 0, false, true, true, "first")
		require.Equal(t, at(0), quick("the first").CumTSN)
		r.data(1, 0, 1, false, true, true, "lone")
		start := time.Now()
		require.Equal(t, at(1), r.sack().CumTSN)
		require.Greater(t, time.Since(start), 100*time.Millisecond, "a lone packet waits for company")
		require.Less(t, time.Since(start), 500*time.Millisecond)
		r.data(2, 0, 2, false, true, true, "two")
		r.data(3, 0, 3, false, true, true, "packets")
		require.Equal(t, at(3), quick("every second packet").CumTSN)

		r.data(6, 0, 6, false, true, true, "gap")
		k := quick("a gap")
		require.Equal(t, at(3), k.CumTSN)
		require.Equal(t, 1, k.Gaps())
		lo, hi := k.Gap(0)
		require.Equal(t, [2]uint16{3, 3}, [2]uint16{lo, hi})
		r.data(6, 0, 6, false, true, true, "gap")
		k = quick("a duplicate")
		require.Equal(t, []int{1, 1}, []int{k.Gaps(), k.Dups()})
		require.Equal(t, at(6), k.Dup(0))
		r.data(5, 0, 5, false, true, true, "fill")
		k = quick("while there is a gap")
		require.Equal(t, []int{1, 0}, []int{k.Gaps(), k.Dups()}, "told once")
		r.data(4, 0, 4, false, true, true, "all")
		k = quick("the gap is closed")
		require.Equal(t, at(6), k.CumTSN)
		require.Zero(t, k.Gaps())
		r.data(2, 0, 2, false, true, true, "two")
		k = quick("an old duplicate")
		require.Equal(t, 1, k.Dups())
		require.Equal(t, at(2), k.Dup(0))

		r.send(func(b *wire.Builder) {
			b.Data(&wire.Data{TSN: at(7), SSN: 7, Begin: true, End: true, Immediate: true, Payload: []byte("now")})
		})
		require.Equal(t, at(7), quick("the I bit").CumTSN)
		r.send(func(b *wire.Builder) {
			for n := 8; n < 10; n++ {
				b.Data(&wire.Data{TSN: at(n), SSN: serial.SSN(n), Begin: true, End: true, Payload: []byte("one packet")})
			}
		})
		start = time.Now()
		require.Equal(t, at(9), r.sack().CumTSN)
		require.Greater(t, time.Since(start), 100*time.Millisecond, "two chunks are not two packets")
	})
}

// RFC 9260 section 7.2.4: under the profile three reports send a chunk again, not two; and the one packet is all that goes.
func TestRaw7_2_4FastRetransmit(t *testing.T) {
	inTime(t, func(t *testing.T, x *lab) {
		r := newRaw(t, x, *transport.RFC9260())
		for range 6 {
			require.NoError(t, r.b.WriteMessage(make([]byte, 100), nil))
		}
		seen := 0
		for seen < 6 {
			got := r.sent(5 * time.Second)
			require.NotEmpty(t, got)
			seen += len(got)
		}
		r.reply(-1, 1<<20, 1)
		require.Empty(t, r.sent(100*time.Millisecond))
		r.reply(-1, 1<<20, 1)
		r.reply(-1, 1<<20, 1)
		require.Empty(t, r.sent(100*time.Millisecond), "repeated reports are none")
		r.reply(-1, 1<<20, 1, 2)
		require.Empty(t, r.sent(100*time.Millisecond))
		r.reply(-1, 1<<20, 1, 2, 3)
		require.Equal(t, []int{0}, r.sent(500*time.Millisecond), "before the timer")
		r.reply(-1, 1<<20, 1, 2, 3, 4)
		require.Empty(t, r.sent(100*time.Millisecond), "once")
		r.reply(5, 1<<20)
	})
}

// RFC 9260 section 6.3.3: T3-rtx sends the earliest chunk again after RTO.Initial, or RTO.Min once there is a round trip, then after
// twice that; what was acknowledged in between is not.
func TestRaw6_3_3Timeout(t *testing.T) {
	profiles(t, func(t *testing.T, x *lab, cfg *transport.Config) {
		cfg.RTOInitial, cfg.RTOMin = 200*time.Millisecond, 200*time.Millisecond
		cfg.NoProbeTimeout = true
		r := newRaw(t, x, *cfg)
		require.NoError(t, r.b.WriteMessage([]byte("again"), nil))
		require.Equal(t, []int{0}, r.sent(5*time.Second))
		start := time.Now()
		for _, rto := range []time.Duration{200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond} {
			require.Equal(t, []int{0}, r.sent(5*time.Second))
			took := time.Since(start)
			start = start.Add(took)
			require.Greater(t, took, rto*9/10)
			require.Less(t, took, rto*19/10)
		}
		r.reply(0, 1<<20)
		require.Empty(t, r.sent(300*time.Millisecond))
	})
}

// RFC 9260 sections 6.1 A and 6.2.1: nothing new goes into a closed window but one probe; when it opens what waits goes.
func TestRaw6_1Window(t *testing.T) {
	profiles(t, func(t *testing.T, x *lab, cfg *transport.Config) {
		cfg.RTOInitial, cfg.RTOMin = 200*time.Millisecond, 200*time.Millisecond
		r := newRaw(t, x, *cfg)
		write := func() {
			t.Helper()
			require.NoError(t, r.b.WriteMessage(make([]byte, 500), nil))
		}
		write()
		require.Equal(t, []int{0}, r.sent(5*time.Second))
		r.reply(0, 0)
		time.Sleep(20 * time.Millisecond) // the SACK must be there before the next write
		write()
		write()
		write()
		start := time.Now()
		require.Equal(t, []int{1}, r.sent(5*time.Second), "one probe")
		require.Greater(t, time.Since(start), 150*time.Millisecond, "after an RTO")
		r.reply(0, 0)
		require.Equal(t, []int{1}, r.sent(5*time.Second), "again")
		r.reply(1, 0)
		require.Equal(t, []int{2}, r.sent(5*time.Second), "the next")
		r.reply(2, 1<<20)
		require.Equal(t, []int{3}, r.sent(5*time.Second))
		r.reply(3, 1<<20)
		require.NoError(t, r.b.Flush(context.Background()))
	})
}
