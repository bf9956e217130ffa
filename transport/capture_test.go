package transport_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/transport"
)

// memory is a capture that remembers.
type memory struct {
	mu             sync.Mutex
	sent, received []seenPacket
}

type seenPacket struct {
	at          time.Time
	local, peer netip.AddrPort
	data        string
}

func (m *memory) Datagram(at time.Time, sent bool, local, peer netip.AddrPort, payload []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := seenPacket{at, local, peer, string(payload)}
	if sent {
		m.sent = append(m.sent, p)
	} else {
		m.received = append(m.received, p)
	}
}

// count counts packets by where they came from, where they went, and what was in them.
func (m *memory) count(ps []seenPacket, sent bool) map[[2]netip.AddrPort]map[string]int {
	out := make(map[[2]netip.AddrPort]map[string]int)
	for _, p := range ps {
		way := [2]netip.AddrPort{p.local, p.peer}
		if !sent {
			way[0], way[1] = way[1], way[0]
		}
		if out[way] == nil {
			out[way] = make(map[string]int)
		}
		out[way][p.data]++
	}
	return out
}

// TestCapture compares what one end says it sent with what the other says it received: all of it, from the first INIT.
func TestCapture(t *testing.T) {
	start := time.Now()
	var atA, atB memory
	l, err := transport.Listen("127.0.0.1:0", &transport.Config{Capture: &atB})
	require.NoError(t, err)
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	a, err := transport.Dial(ctx, l.Addr().String(), &transport.Config{Capture: &atA, Local: "127.0.0.1"})
	require.NoError(t, err)
	b, err := l.AcceptAssociation(ctx)
	require.NoError(t, err)
	const n = 200 << 10
	got := make(chan error, 1)
	go func() {
		k, err := io.Copy(io.Discard, b)
		if err == nil && k != n {
			err = io.ErrShortBuffer
		}
		got <- err
	}()
	_, err = a.Write(make([]byte, n))
	require.NoError(t, err)
	require.NoError(t, a.Close())
	require.NoError(t, <-got)
	require.NoError(t, b.Close())

	// The last packet may still be on its way up.
	same := func() bool {
		atA.mu.Lock()
		defer atA.mu.Unlock()
		atB.mu.Lock()
		defer atB.mu.Unlock()
		return len(atA.sent) == len(atB.received) && len(atB.sent) == len(atA.received)
	}
	require.Eventually(t, same, 10*time.Second, time.Millisecond)
	atA.mu.Lock()
	defer atA.mu.Unlock()
	atB.mu.Lock()
	defer atB.mu.Unlock()
	require.Equal(t, atA.count(atA.sent, true), atB.count(atB.received, false))
	require.Equal(t, atB.count(atB.sent, true), atA.count(atA.received, false))
	require.Greater(t, len(atA.sent), 100)
	it := wire.Chunks([]byte(atA.sent[0].data))
	first, ok := it.Next()
	require.True(t, ok)
	require.Equal(t, wire.TypeInit, first.Type)
	require.False(t, atA.sent[0].at.After(atA.received[0].at), "a question comes before its answer")
	for _, p := range atA.sent {
		require.True(t, wire.ChecksumOK([]byte(p.data)))
		require.False(t, p.at.Before(start.Add(-time.Second)))
	}
}

// TestCaptureOfItsOwn makes sure that dials with different captures do not share sockets: each sees only its own.
func TestCaptureOfItsOwn(t *testing.T) {
	l, err := transport.Listen("127.0.0.1:0", nil)
	require.NoError(t, err)
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var ms [2]memory
	ports := make(map[string]bool)
	for i := range ms {
		a, err := transport.Dial(ctx, l.Addr().String(), &transport.Config{Capture: &ms[i]})
		require.NoError(t, err)
		defer a.Close()
		b, err := l.AcceptAssociation(ctx)
		require.NoError(t, err)
		defer b.Close()
		ms[i].mu.Lock()
		_, port, err := net.SplitHostPort(ms[i].sent[0].local.String())
		ms[i].mu.Unlock()
		require.NoError(t, err)
		require.False(t, ports[port])
		ports[port] = true
	}
}
