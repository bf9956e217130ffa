package transport_test

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/transport"
)

// only waits for the next packet and requires its chunks to be of these types, in order.
func (r *raw) only(types ...wire.ChunkType) []wire.Chunk {
	r.t.Helper()
	chunks := r.packet(5 * time.Second)
	var got []wire.ChunkType
	for _, c := range chunks {
		got = append(got, c.Type)
	}
	require.Equal(r.t, types, got)
	return chunks
}

// silent requires that nothing comes for a while.
func (r *raw) silent(why string) {
	r.t.Helper()
	require.Empty(r.t, r.packet(60*time.Millisecond), why)
}

func (r *raw) chunk(kind wire.ChunkType, value ...byte) {
	r.send(func(b *wire.Builder) { require.True(r.t, b.Chunk(kind, 0, value)) })
}

// shutdown sends a SHUTDOWN that acknowledges up to their TSN n after the first.
func (r *raw) shutdown(n int) {
	r.send(func(b *wire.Builder) { require.True(r.t, b.Shutdown(r.theirs+serial.TSN(n))) })
}

func (r *raw) cum(c wire.Chunk) int {
	r.t.Helper()
	require.Equal(r.t, wire.TypeShutdown, c.Type)
	return int(serial.TSN(binary.BigEndian.Uint32(c.Value)) - r.tsn)
}

func quiet(cfg *transport.Config) *transport.Config {
	cfg.RTOInitial, cfg.RTOMin = 300*time.Millisecond, 300*time.Millisecond
	cfg.NoProbeTimeout = true
	return cfg
}

// RFC 9260 section 9.2: our shutdown waits for what is outstanding, says up to where the peer's data arrived, follows data that still
// comes with another SHUTDOWN, with a SACK as well if there is a gap or a duplicate, is repeated at growing intervals, and ends with
// SHUTDOWN COMPLETE. Heartbeats are answered all the while.
func TestRaw9_2Shutdown(t *testing.T) {
	profiles(t, func(t *testing.T, x *lab, cfg *transport.Config) {
		r := newRaw(t, x, *quiet(cfg))
		r.data(0, 0, 0, false, true, true, "early")
		r.acked(0)
		require.NoError(t, r.b.WriteMessage([]byte("outstanding"), nil))
		require.Equal(t, []int{0}, r.sent(5*time.Second))
		done := make(chan error, 1)
		go func() { done <- r.b.Shutdown(context.Background()) }()
		r.silent("TSN 0 is not acknowledged")
		require.Error(t, r.b.WriteMessage([]byte("late"), nil))
		r.data(1, 0, 1, false, true, true, "still taken")
		r.data(2, 0, 2, false, true, true, "still taken")
		r.acked(2)
		r.reply(0, 1<<20)
		require.Equal(t, 2, r.cum(r.only(wire.TypeShutdown)[0]))

		r.data(3, 0, 3, false, true, true, "after it")
		for {
			chunks := r.packet(5 * time.Second)
			require.NotEmpty(t, chunks)
			if last := chunks[len(chunks)-1]; last.Type == wire.TypeShutdown && r.cum(last) == 3 {
				break
			}
		}
		r.data(5, 0, 5, false, true, true, "a gap")
		chunks := r.only(wire.TypeSack, wire.TypeShutdown)
		k, err := wire.ParseSack(chunks[0])
		require.NoError(t, err)
		require.Equal(t, 1, k.Gaps())
		require.Equal(t, 3, r.cum(chunks[1]))
		r.data(5, 0, 5, false, true, true, "a gap")
		chunks = r.only(wire.TypeSack, wire.TypeShutdown)
		k, err = wire.ParseSack(chunks[0])
		require.NoError(t, err)
		require.Equal(t, 1, k.Dups())

		r.chunk(wire.TypeHeartbeat, 0, 1, 0, 8, 1, 2, 3, 4)
		r.only(wire.TypeHeartbeatAck)
		start := time.Now()
		r.only(wire.TypeShutdown)
		first := time.Since(start)
		r.only(wire.TypeShutdown)
		require.Greater(t, time.Since(start)-first, first*3/2, "T2 doubles")
		r.chunk(wire.TypeShutdownComplete)
		r.silent("of no meaning here")
		r.chunk(wire.TypeShutdownAck)
		r.only(wire.TypeShutdownComplete)
		require.NoError(t, <-done)
		r.chunk(wire.TypeShutdownAck)
		c := r.only(wire.TypeShutdownComplete)[0]
		require.EqualValues(t, 1, c.Flags&1, "out of the blue: reflected")
	})
}

// RFC 9260 section 9.2: the peer's SHUTDOWN acknowledges, what is outstanding is still delivered, with the timers of data, new data is
// refused, and SHUTDOWN ACK follows the last acknowledgement and is repeated for each SHUTDOWN and by T2.
func TestRaw9_2PeerShutsDown(t *testing.T) {
	profiles(t, func(t *testing.T, x *lab, cfg *transport.Config) {
		r := newRaw(t, x, *quiet(cfg))
		for _, text := range []string{"one", "two", "three"} {
			require.NoError(t, r.b.WriteMessage([]byte(text), nil))
		}
		for seen := 0; seen < 3; {
			seen += len(r.sent(5 * time.Second))
		}
		r.shutdown(0)
		require.Equal(t, []int{1, 2}, r.sent(5*time.Second), "T3")
		require.Error(t, r.b.WriteMessage([]byte("late"), nil))
		r.chunk(wire.TypeHeartbeat, 0, 1, 0, 8, 1, 2, 3, 4)
		r.only(wire.TypeHeartbeatAck)
		r.data(0, 0, 0, false, true, true, "no more of this")
		r.silent("DATA in SHUTDOWN-RECEIVED is dropped")
		r.shutdown(1)
		r.reply(2, 1<<20)
		r.only(wire.TypeShutdownAck)
		r.shutdown(2)
		r.only(wire.TypeShutdownAck)
		start := time.Now()
		r.only(wire.TypeShutdownAck)
		require.Greater(t, time.Since(start), 150*time.Millisecond, "T2")
		r.chunk(wire.TypeShutdownComplete)
		require.NoError(t, r.b.Close())
		r.chunk(wire.TypeHeartbeat, 0, 1, 0, 4)
		c := r.only(wire.TypeAbort)[0]
		require.EqualValues(t, 1, c.Flags&1, "nothing is known any more")
	})
}

// RFC 9260 section 9.2: both shut down at once; SHUTDOWN ACK in SHUTDOWN-ACK-SENT is answered by SHUTDOWN COMPLETE.
func TestRaw9_2BothShutDown(t *testing.T) {
	inTime(t, func(t *testing.T, x *lab) {
		r := newRaw(t, x, *quiet(transport.RFC9260()))
		done := make(chan error, 1)
		go func() { done <- r.b.Shutdown(context.Background()) }()
		r.only(wire.TypeShutdown)
		r.shutdown(-1)
		r.only(wire.TypeShutdownAck)
		r.chunk(wire.TypeShutdownAck)
		r.only(wire.TypeShutdownComplete)
		require.NoError(t, <-done)
	})
}

// RFC 9260 sections 6.2, 6.5 and 9.1: an invalid stream is acknowledged and reported, DATA without data ends the association, and so does
// the user with a reason; nothing answers an ABORT.
func TestRaw9_1Aborts(t *testing.T) {
	inTime(t, func(t *testing.T, x *lab) {
		r := newRaw(t, x, *transport.RFC9260())
		r.data(0, 5000, 0, false, true, true, "nowhere")
		chunks := r.packet(5 * time.Second)
		chunks = append(chunks, r.packet(5*time.Second)...)
		require.Len(t, chunks, 2)
		for _, c := range chunks {
			if c.Type == wire.TypeError {
				require.Equal(t, []byte{0, 1, 0, 8, 5000 >> 8, 5000 & 255, 0, 0}, c.Value)
				continue
			}
			require.Equal(t, wire.TypeSack, c.Type)
			require.EqualValues(t, r.tsn, binary.BigEndian.Uint32(c.Value))
		}
		value := binary.BigEndian.AppendUint32(nil, uint32(r.tsn)+1)
		r.send(func(b *wire.Builder) { b.Chunk(wire.TypeData, 3, append(value, make([]byte, 8)...)) })
		c := r.only(wire.TypeAbort)[0]
		require.Equal(t, append([]byte{0, 9, 0, 8}, value...), c.Value)
		require.Zero(t, c.Flags)
	})
	inTime(t, func(t *testing.T, x *lab) {
		r := newRaw(t, x, *transport.RFC9260())
		require.NoError(t, r.b.Abort("enough"))
		require.Equal(t, append([]byte{0, 12, 0, 10}, "enough"...), r.only(wire.TypeAbort)[0].Value)
		r.chunk(wire.TypeAbort)
		r.silent("an ABORT is not answered")
	})
}
