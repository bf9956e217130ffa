package driver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/endpoint"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/simnet"
	"github.com/go-multihome/multihome/internal/udp"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	hostA = netip.MustParseAddr("10.0.0.1")
	hostB = netip.MustParseAddr("10.0.0.2")
)

// two nodes on a simulated link, in virtual time: b listens on port 5000.
func bubble(t *testing.T, cfg Config, f func(t *testing.T, lab *simnet.Lab, a, b *Node, l *Listener)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(simnet.Seed(1))
		require.NoError(t, n.Default.Set("delay=10ms"))
		n.AddHost("a", hostA)
		n.AddHost("b", hostB)
		lab := simnet.NewLab(n)
		defer lab.Close()
		open := func(a netip.Addr) *Node {
			s, err := lab.Listen(netip.AddrPortFrom(a, 5000))
			require.NoError(t, err)
			return NewNode([]udp.Socket{s}, cfg)
		}
		a, b := open(hostA), open(hostB)
		l, err := b.Listen(5000, 16)
		require.NoError(t, err)
		b.Release()
		f(t, lab, a, b, l)
		l.Close()
		a.Release()
		a.readers.Wait()
		b.readers.Wait()
		require.Zero(t, a.budget.used.Load())
		require.Zero(t, b.budget.used.Load())
	})
}

func connect(t *testing.T, a *Node, l *Listener) (dialled, accepted *Conn) {
	t.Helper()
	dialled, err := a.Dial(context.Background(), endpoint.DialParams{Remote: l.Node().Locals(), RemotePort: l.Port()})
	require.NoError(t, err)
	accepted, err = l.Accept(context.Background())
	require.NoError(t, err)
	return dialled, accepted
}

func opened(t *testing.T, c *Conn, id uint16) *Stream {
	t.Helper()
	s, err := c.Stream(id)
	require.NoError(t, err)
	return s
}

// One association that nobody reads may not take everything, and what it holds shrinks the others' windows.
func TestMemoryBudget(t *testing.T) {
	cfg := Config{Assoc: assoc.Config{Window: 4 << 20}, Memory: 2 << 20, SendBuffer: 4 << 20}
	bubble(t, cfg, func(t *testing.T, lab *simnet.Lab, a, b *Node, l *Listener) {
		const n = 6
		var conns []*Conn
		for range n {
			c, s := connect(t, a, l)
			conns = append(conns, c, s)
			go c.Zero().Write(make([]byte, 3<<20), 16<<10, nil)
		}
		time.Sleep(20 * time.Second)
		require.LessOrEqual(t, b.budget.used.Load(), b.budget.limit)
		require.LessOrEqual(t, a.budget.used.Load(), a.budget.limit)
		least, most := 1<<30, 0
		for _, s := range conns {
			if i := s.Info(); !s.Client() {
				least, most = min(least, i.RecvHeld), max(most, i.RecvHeld)
				require.Less(t, i.Window, 1<<20)
			}
		}
		require.LessOrEqual(t, most, 1<<20+100_000, "whoever came first has half at most")
		require.Greater(t, least, 32<<10, "and the last still got something")
		// Once it is read, everything arrives.
		var wg sync.WaitGroup
		for _, s := range conns {
			if !s.Client() {
				wg.Go(func() {
					_, err := io.CopyN(io.Discard, s.Zero(), 3<<20)
					require.NoError(t, err)
				})
			}
		}
		wg.Wait()
		for _, c := range conns {
			c.Abort("")
		}
	})
}

// The window returned by one stream's reader is not kept back while another stream's messages wait unread.
func TestCreditWithUnreadStream(t *testing.T) {
	bubble(t, Config{Assoc: assoc.Config{Window: 128 << 10}}, func(t *testing.T, lab *simnet.Lab, a, b *Node, l *Listener) {
		c, s := connect(t, a, l)
		unread := opened(t, c, 2)
		_, err := unread.Write(make([]byte, 50_000), 16<<10, nil)
		require.NoError(t, err)
		time.Sleep(time.Second)
		go opened(t, c, 4).Write(make([]byte, 1<<20), 16<<10, nil)
		start := time.Now()
		_, err = io.CopyN(io.Discard, opened(t, s, 4), 1<<20)
		require.NoError(t, err)
		require.Less(t, time.Since(start), 5*time.Second, "no retransmission timer was needed to go on")
		c.Abort("")
		s.Abort("")
	})
}

// The node lives as long as its last user, and not longer.
func TestNodeLife(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, lab *simnet.Lab, a, b *Node, l *Listener) {
		c, s := connect(t, a, l)
		require.NoError(t, l.Close())
		require.True(t, b.Retain(), "the association keeps it")
		b.Release()
		done := make(chan error)
		go func() { done <- s.Close(time.Second) }()
		require.NoError(t, c.Close(time.Second))
		require.NoError(t, <-done)
		require.False(t, b.Retain())
		b.readers.Wait()
		_, err := b.Listen(1, 1)
		require.ErrorIs(t, err, ErrNodeClosed)
		_, err = b.Dial(context.Background(), endpoint.DialParams{})
		require.ErrorIs(t, err, ErrNodeClosed)
		require.True(t, a.Retain())
		a.Release()
	})
}

func TestKeepIdle(t *testing.T) {
	bubble(t, Config{KeepIdle: time.Second}, func(t *testing.T, lab *simnet.Lab, a, b *Node, l *Listener) {
		a.Release()
		time.Sleep(500 * time.Millisecond)
		require.True(t, a.Retain(), "still open")
		time.Sleep(5 * time.Second)
		c, s := connect(t, a, l)
		c.Abort("")
		s.Abort("")
	})
}

// Shared opens one node for equal keys, and a new one after the first has closed.
func TestShared(t *testing.T) {
	opened := 0
	open := func(onClose func()) (*Node, error) {
		opened++
		s, err := udp.Listen(context.Background(), netip.MustParseAddrPort("127.0.0.1:0"), udp.Options{})
		if err != nil {
			return nil, err
		}
		return NewNode([]udp.Socket{s}, Config{OnClose: onClose}), nil
	}
	n1, err := Shared("x", open)
	require.NoError(t, err)
	n2, err := Shared("x", open)
	require.NoError(t, err)
	require.Same(t, n1, n2)
	n3, err := Shared("y", open)
	require.NoError(t, err)
	require.NotSame(t, n1, n3)
	n1.Release()
	n2.Release()
	n1.readers.Wait()
	n4, err := Shared("x", open)
	require.NoError(t, err)
	require.NotSame(t, n1, n4)
	n3.Release()
	n4.Release()
	require.Equal(t, 3, opened)
	_, err = Shared("z", func(func()) (*Node, error) { return nil, errors.New("no socket") })
	require.Error(t, err)
	require.Empty(t, shared.nodes)
}

// A peer's packets in one batch, COOKIE ECHO and the first data behind it, all find the association just born.
func TestDataBehindCookie(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, lab *simnet.Lab, a, b *Node, l *Listener) {
		lab.Set("a1>b1", "rate=1mbit")
		c, s := connect(t, a, l)
		_, err := c.Zero().Write([]byte("hello"), 100, nil)
		require.NoError(t, err)
		buf := make([]byte, 5)
		_, err = io.ReadFull(s.Zero(), buf)
		require.NoError(t, err)
		c.Abort("")
		s.Abort("")
	})
}

// fakeSocket takes what its script says.
type fakeSocket struct {
	local  netip.AddrPort
	script []error // per packet; nil: taken
	taken  atomic.Int32
	done   chan struct{}
	once   sync.Once
}

func (s *fakeSocket) ReadBatch(*udp.Batch) error { <-s.done; return net.ErrClosed }
func (s *fakeSocket) Local() netip.AddrPort      { return s.local }
func (s *fakeSocket) Close() error               { s.once.Do(func() { close(s.done) }); return nil }
func (s *fakeSocket) WriteBatch(pkts []pktbuf.Packet) (int, error) {
	for i := range pkts {
		err := s.script[0]
		s.script = s.script[1:]
		if err != nil {
			return i, err
		}
		s.taken.Add(1)
	}
	return len(pkts), nil
}

// A full socket ends its own run only, a send error costs one packet, and only errors about this host or the packet's size
// concern the path.
func TestWriteFaults(t *testing.T) {
	full := &fakeSocket{local: netip.MustParseAddrPort("10.0.0.1:1"), script: []error{nil, udp.ErrBlocked}, done: make(chan struct{})}
	odd := &fakeSocket{local: netip.MustParseAddrPort("10.1.0.1:1"), done: make(chan struct{}),
		script: []error{syscall.ENETUNREACH, nil, syscall.ECONNREFUSED, nil, syscall.EMSGSIZE}}
	n := NewNode([]udp.Socket{full, odd}, Config{})
	defer n.settle()
	defer n.Release()
	pkts := make([]pktbuf.Packet, 8)
	for i := range pkts {
		pkts[i].Socket = min(i/3, 1)
		pkts[i].Path = uint8(i)
	}
	pkts[0].Path = pktbuf.NoPath
	pkts[7].Buf = make([]byte, 1300)
	var f faults
	n.write(0, pkts, &f)
	require.Equal(t, []fault{{1, true, 0}, {2, true, 0}, {3, false, 0}, {7, false, 1300}}, f.take())
	require.Empty(t, f.take())
	require.EqualValues(t, 1, full.taken.Load())
	require.EqualValues(t, 2, odd.taken.Load())
	s := n.Stats()
	require.EqualValues(t, 2, s.Blocked)
	require.EqualValues(t, 3, s.SendErrors)
	require.EqualValues(t, 3, s.PacketsOut)
	require.Equal(t, []locator.Locator{locator.FromAddrPort(full.local), locator.FromAddrPort(odd.local)}, n.Locals())
}

// Rubbish from the network is counted and changes nothing.
func TestRubbish(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, lab *simnet.Lab, a, b *Node, l *Listener) {
		c, s := connect(t, a, l)
		x, err := lab.Listen(netip.AddrPortFrom(hostA, 6000))
		require.NoError(t, err)
		sealed := make([]byte, 32)
		sealed[1], sealed[3], sealed[12] = 9, 9, 0x7f
		wire.SetChecksum(sealed)
		for _, p := range [][]byte{{}, {1}, make([]byte, 12), make([]byte, 2000), sealed} {
			_, err := x.WriteBatch([]pktbuf.Packet{{Buf: p, Peer: netip.AddrPortFrom(hostB, 5000)}})
			require.NoError(t, err)
		}
		time.Sleep(time.Second)
		require.GreaterOrEqual(t, b.Stats().Dropped, uint64(3))
		require.NoError(t, x.Close())
		_, err = c.Zero().Write([]byte("still well"), 100, nil)
		require.NoError(t, err)
		_, err = io.ReadFull(s.Zero(), make([]byte, 10))
		require.NoError(t, err)
		c.Abort("")
		s.Abort("")
	})
}

// A flusher hands over after a few batches, so that neither a reader nor a writing user is held by others' work.
func TestFlushHandsOver(t *testing.T) {
	bubble(t, Config{Assoc: assoc.Config{Window: 16 << 20, InitialPackets: 4000}, SendBuffer: 16 << 20}, func(t *testing.T, lab *simnet.Lab, a, b *Node, l *Listener) {
		c, s := connect(t, a, l)
		done := make(chan error, 1)
		go func() {
			_, err := io.CopyN(io.Discard, s.Zero(), 2<<20)
			done <- err
		}()
		_, err := c.Zero().Write(make([]byte, 2<<20), 1<<20, nil)
		require.NoError(t, err)
		require.NoError(t, <-done)
		c.Abort("")
		s.Abort("")
	})
}
