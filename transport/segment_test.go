package transport_test

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/transport"
)

// largestChunk is a Capture that keeps how many user bytes the largest DATA chunk that was sent had.
type largestChunk struct{ atomic.Int64 }

func (l *largestChunk) Datagram(_ time.Time, sent bool, _, _ netip.AddrPort, pkt []byte) {
	it := wire.Chunks(pkt)
	for c, ok := it.Next(); ok && sent; c, ok = it.Next() {
		var d wire.Data
		if c.Type == wire.TypeData && wire.ParseData(c, &d) == nil {
			for n := int64(len(d.Payload)); ; {
				if was := l.Load(); was >= n || l.CompareAndSwap(was, n) {
					break
				}
			}
		}
	}
}

// TestMaxSegmentSmall writes small messages that are larger still than MaxSegment, many at a time, so that they wait for each other.
func TestMaxSegmentSmall(t *testing.T) {
	const most, size, count = 64, 100, 5000
	var largest largestChunk
	l, err := transport.Listen("127.0.0.1:0", nil)
	require.NoError(t, err)
	defer l.Close()
	a, err := transport.Dial(t.Context(), l.Addr().String(), &transport.Config{MaxSegment: most, Capture: &largest})
	require.NoError(t, err)
	b, err := l.AcceptAssociation(t.Context())
	require.NoError(t, err)
	defer b.Close()
	wrote := make(chan error, 1)
	go func() {
		p := make([]byte, size)
		for range count {
			if _, err := a.Write(p); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	buf := make([]byte, size)
	for range count {
		n, info, err := b.ReadMessage(buf)
		require.NoError(t, err)
		require.Equal(t, size, n)
		require.False(t, info.More)
	}
	require.NoError(t, <-wrote)
	require.NoError(t, a.Close())
	require.EqualValues(t, most, largest.Load())
}
