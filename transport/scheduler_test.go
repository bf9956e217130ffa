package transport_test

import (
	"bytes"
	"context"
	"io"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/transport"
)

// Fragmentation can be switched off (RFC 9260 section 6.9, RFC 6458 section 8.1.11): what does not fit a chunk is refused at
// once, even with a full send buffer, and a byte stream is cut into messages that fit.
func TestLabFragmentation(t *testing.T) {
	inLab(t, []string{"delay=10ms"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{Fragmentation: transport.RefuseMessages, MaxPayload: -1})
		time.Sleep(time.Second)
		size := a.Stats().FragmentSize
		require.Equal(t, transport.RefuseMessages, a.Parameters().Fragmentation)
		require.NoError(t, a.WriteMessage(make([]byte, size), nil))
		for _, o := range []*transport.MessageOptions{nil, {Unordered: true}, {Lifetime: time.Second}} {
			err := a.WriteMessage(make([]byte, size+1), o)
			require.ErrorIs(t, err, transport.ErrMessageSize)
			require.ErrorIs(t, err, syscall.EMSGSIZE)
			require.ErrorContains(t, err, "1173 bytes where a chunk holds 1172")
		}
		buf := make([]byte, 100_000)
		n, info, err := b.ReadMessage(buf)
		require.NoError(t, err)
		require.False(t, info.More)
		require.Equal(t, size, n, "the only one that was sent")

		large := text(50_000, 1)
		n, err = a.Write(large)
		require.NoError(t, err)
		require.Equal(t, len(large), n)
		var got []byte
		for len(got) < len(large) {
			n, _, err := b.ReadMessage(buf)
			require.NoError(t, err)
			require.LessOrEqual(t, n, size)
			got = append(got, buf[:n]...)
		}
		require.True(t, bytes.Equal(large, got))

		require.NoError(t, a.SetParameters(transport.Parameters{Fragmentation: transport.FragmentMessages}))
		require.NoError(t, a.WriteMessage(large, nil))
		n, _, err = b.ReadMessage(buf)
		require.NoError(t, err)
		require.Equal(t, len(large), n)
		require.NoError(t, a.SetParameters(transport.Parameters{Fragmentation: transport.RefuseMessages, MaxSegment: 500}))
		require.ErrorIs(t, a.WriteMessage(make([]byte, 501), nil), transport.ErrMessageSize)
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

// The priority policy (RFC 7496 section 3.2): where the send buffer is full a message of higher priority takes the place of
// lower ones without waiting, and reliable ones are above all. Each loss is told, and counted.
func TestLabPriority(t *testing.T) {
	inLab(t, []string{"delay=10ms"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{SendBuffer: 16 << 10, ReceiveWindow: 8 << 10, KeepUndelivered: true})
		events := a.Subscribe(transport.EventSendFailed)
		s, err := a.Stream(3)
		require.NoError(t, err)
		require.NoError(t, s.SetWriteDeadline(time.Now().Add(time.Second)))
		fill := func(pri uint32) (n int) {
			for ; s.WriteMessage(bytes.Repeat([]byte{byte(n)}, 1000), &transport.MessageOptions{Priority: pri, Context: uint32(n)}) == nil; n++ {
				time.Sleep(10 * time.Millisecond)
			}
			return n
		}
		low := fill(9) // until the window and the buffer are full
		require.Greater(t, low, 16)
		require.Empty(t, events, "equals give no way")
		require.NoError(t, s.SetWriteDeadline(time.Time{}))
		before := time.Now()
		require.NoError(t, s.WriteMessage([]byte("higher"), &transport.MessageOptions{Priority: 2}))
		require.NoError(t, s.WriteMessage(make([]byte, 1000), nil))
		require.NoError(t, a.WriteMessage([]byte("reliable"), nil))
		require.Zero(t, time.Since(before), "nobody waited")
		failed := a.Undelivered()
		require.NotEmpty(t, failed)
		for i, f := range failed {
			require.Equal(t, "it gave way to others", f.Reason)
			require.Equal(t, failed[0].Context+uint32(i), f.Context, "the oldest first, of those not begun")
			require.False(t, f.Sent)
			require.EqualValues(t, 3, f.Stream)
			require.Len(t, f.Data, 1000)
		}
		require.Len(t, events, len(failed))
		count := transport.GivenUpCount{Unsent: uint64(len(failed))}
		require.Equal(t, transport.GivenUp{Priority: count}, s.GivenUp())
		require.Equal(t, count, a.Stats().GivenUp.All())
		zero, err := a.Stream(0)
		require.NoError(t, err)
		require.Zero(t, zero.GivenUp())

		go func() {
			_, _ = io.Copy(io.Discard, b)
		}()
		in, err := b.Stream(3)
		require.NoError(t, err)
		buf := make([]byte, 2000)
		var got []int
		for range low - len(failed) + 2 {
			n, _, err := in.ReadMessage(buf)
			require.NoError(t, err)
			got = append(got, n)
		}
		require.Equal(t, []int{6, 1000}, got[len(got)-2:])
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

// A peer without partial reliability is given everything: then a priority means nothing.
func TestLabPriorityNotNegotiated(t *testing.T) {
	inLab(t, []string{"delay=10ms"}, func(t *testing.T, x *lab) {
		x.listen(transport.Config{NoPartialReliability: true})
		a, b := x.dial(transport.Config{SendBuffer: 16 << 10})
		x.Set("a1-b1", "down")
		x.Set("a2-b2", "down")
		require.NoError(t, a.WriteMessage(make([]byte, 16<<10), &transport.MessageOptions{Priority: 1}))
		require.NoError(t, a.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
		require.Error(t, a.WriteMessage([]byte("important"), nil))
		require.Zero(t, a.Stats().GivenUp)
		a.Abort("")
		b.Abort("")
	})
}

// What a stream scheduler is told of a stream, and what it makes of it, through the public API (RFC 8260 section 3).
func TestLabScheduler(t *testing.T) {
	inLab(t, []string{"delay=10ms", "rate=1mbit"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{Scheduler: transport.ByPriority, AllStreams: true})
		time.Sleep(time.Second)
		require.Equal(t, transport.ByPriority, a.Parameters().Scheduler)
		write := func(id uint16, n int) {
			s, err := a.Stream(id)
			require.NoError(t, err)
			for range n {
				require.NoError(t, s.WriteMessage(make([]byte, 1000), nil))
			}
		}
		read := func(n int) (ids []uint16) {
			buf := make([]byte, 2000)
			for range n {
				_, info, err := b.ReadMessage(buf)
				require.NoError(t, err)
				ids = append(ids, info.Stream)
			}
			return ids
		}
		for id, v := range map[uint16]uint16{4: 2, 5: 1} {
			s, err := a.Stream(id)
			require.NoError(t, err)
			require.NoError(t, s.SetSchedulerValue(v))
			require.Equal(t, v, s.SchedulerValue())
		}
		write(4, 100)
		write(5, 20)
		write(6, 20)
		got := read(140)
		first := slices.Index(got, 6)
		require.Less(t, first, 60, "what had left before")
		require.Equal(t, slices.Repeat([]uint16{6}, 20), got[first:first+20])
		require.Equal(t, slices.Repeat([]uint16{5}, 20), got[first+20:first+40])

		require.NoError(t, a.SetParameters(transport.Parameters{Scheduler: transport.FirstCome}))
		require.Equal(t, transport.FirstCome, a.Parameters().Scheduler)
		write(4, 20)
		write(5, 5)
		write(6, 5)
		want := append(slices.Repeat([]uint16{4}, 20), 5, 5, 5, 5, 5, 6, 6, 6, 6, 6)
		require.Equal(t, want, read(30))

		far, err := a.Stream(60_000)
		require.NoError(t, err)
		require.ErrorIs(t, far.SetSchedulerValue(1), transport.ErrStreamID)
		require.NoError(t, a.Flush(context.Background()))
		require.NoError(t, a.Close())
		require.Error(t, far.SetSchedulerValue(1))
		require.NoError(t, b.Close())
	})
}

func TestNamesOfChoices(t *testing.T) {
	for s := transport.SchedulerDefault; s <= transport.WeightedFair; s++ {
		require.NotContains(t, s.String(), "unknown")
	}
	require.Equal(t, "unknown scheduler", transport.Scheduler(7).String())
	for f := transport.FragmentationDefault; f <= transport.RefuseMessages; f++ {
		require.NotContains(t, f.String(), "unknown")
	}
	require.Equal(t, "unknown fragmentation", transport.Fragmentation(3).String())
}
