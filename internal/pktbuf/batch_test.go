package pktbuf

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBatch(t *testing.T) {
	b := NewBatch()
	require.Zero(t, b.Len())

	buf := b.Open(100)
	require.Empty(t, buf)
	require.Equal(t, 100, cap(buf), "exactly the room asked for, so that no packet grows into the next")
	buf = append(buf, "abandoned"...)
	_ = buf
	require.Zero(t, b.Len())

	first := append(b.Open(100), "first"...)
	b.Commit(Packet{Buf: first, Socket: 1, Path: 2})
	second := append(b.Open(100), "second"...)
	b.Commit(Packet{Buf: second, Path: NoPath})
	require.Equal(t, 2, b.Len())
	require.Equal(t, "first", string(b.Packets()[0].Buf))
	require.Equal(t, 1, b.Packets()[0].Socket)
	require.Equal(t, "second", string(b.Packets()[1].Buf))

	require.Same(t, &b.slab[len("first")], &second[0], "packets lie side by side")

	b.Reset()
	require.Zero(t, b.Len())
	require.Empty(t, b.Packets())
	require.Same(t, &b.slab[0], &append(b.Open(10), 'x')[0], "and the slab is used again")
}

func TestBatchIsFull(t *testing.T) {
	t.Run("of packets", func(t *testing.T) {
		b := NewBatch()
		for range BatchPackets {
			b.Commit(Packet{Buf: append(b.Open(10), 1)})
		}
		require.Nil(t, b.Open(1))
		require.Equal(t, BatchPackets, b.Len())
		b.Reset()
		require.NotNil(t, b.Open(1))
	})
	t.Run("of bytes", func(t *testing.T) {
		b := NewBatch()
		big := bytes.Repeat([]byte{7}, MaxBuf-1)
		b.Commit(Packet{Buf: append(b.Open(len(big)), big...)})
		left := BatchBytes - len(big)
		require.Nil(t, b.Open(left+1))
		last := b.Open(left)
		require.Equal(t, left, cap(last), "up to the last byte")
		b.Commit(Packet{Buf: last[:left]})
		require.Nil(t, b.Open(1))
		require.True(t, bytes.Equal(big, b.Packets()[0].Buf), "the neighbour is whole")
	})
}

func TestBatchAllocatesNothing(t *testing.T) {
	b := NewBatch()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for buf := b.Open(1200); buf != nil; buf = b.Open(1200) {
			b.Commit(Packet{Buf: append(buf, 1, 2, 3)})
		}
		b.Reset()
	}))
}
