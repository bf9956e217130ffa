package transport_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/transport"
)

const loop = "127.0.0.1:0"

func TestConnIPv6(t *testing.T) {
	needs.Address(t, netip.IPv6Loopback())
	c, s, l := pair(t, "[::1]:0", nil)
	_, err := c.Write([]byte("six"))
	require.NoError(t, err)
	buf := make([]byte, 3)
	_, err = io.ReadFull(s, buf)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, s.Close())
	require.NoError(t, l.Close())
}

// Streams pass the same exam as associations, and end by themselves.
func TestStreamConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		a, b, l := pair(t, loop, nil)
		s1, err := a.OpenStream()
		require.NoError(t, err)
		s2, err := b.Stream(s1.ID())
		require.NoError(t, err)
		return s1, s2, func() { s1.Close(); s2.Close(); closeAll(a, b); l.Close() }, nil
	})
}

// A program that writes, closes and exits loses nothing, and the peer reads the end behind the last byte.
func TestCloseDeliversEverything(t *testing.T) {
	a, b, l := pair(t, loop, nil)
	defer l.Close()
	want := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	go func() {
		a.Write(want)
		a.Close()
	}()
	got, err := io.ReadAll(b)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
	n, err := b.Read(make([]byte, 1))
	require.Zero(t, n)
	require.Equal(t, io.EOF, err)
	_, err = b.Write([]byte("too late"))
	require.ErrorIs(t, err, transport.ErrPeerClosed)
	_, err = b.AcceptStream(context.Background())
	require.Equal(t, io.EOF, err)
	_, err = b.OpenStream()
	require.Error(t, err)
	require.NoError(t, b.Close())
	require.NoError(t, b.Err())
	_, err = b.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = b.Write([]byte("x"))
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorIs(t, b.Close(), net.ErrClosed)
	require.ErrorIs(t, b.SetDeadline(time.Now()), net.ErrClosed)
	require.ErrorIs(t, b.Abort(""), net.ErrClosed)
}

// Close frees calls that wait.
func TestCloseWakesWaiters(t *testing.T) {
	a, b, l := pair(t, loop, &transport.Config{Linger: 100 * time.Millisecond})
	defer l.Close()
	defer b.Abort("")
	s, err := a.OpenStream()
	require.NoError(t, err)
	var wg sync.WaitGroup
	for _, call := range []func() error{
		func() error { _, err := a.Read(make([]byte, 1)); return err },
		func() error { _, err := a.Write(make([]byte, 64<<20)); return err },
		func() error { _, err := s.Read(make([]byte, 1)); return err },
		func() error { _, err := a.AcceptStream(context.Background()); return err },
	} {
		wg.Go(func() {
			if err := call(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("got %v, want net.ErrClosed", err)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	a.Close()
	wg.Wait()
}

func TestAbort(t *testing.T) {
	a, b, l := pair(t, loop, nil)
	defer l.Close()
	_, err := a.Write([]byte("first"))
	require.NoError(t, err)
	buf := make([]byte, 10)
	_, err = io.ReadFull(b, buf[:5])
	require.NoError(t, err)
	require.NoError(t, a.Abort("the disk is full"))
	_, err = b.Read(buf)
	var e *transport.AssociationError
	require.ErrorAs(t, err, &e)
	require.Equal(t, transport.EndAborted, e.Kind)
	require.EqualValues(t, 12, e.Cause)
	require.ErrorIs(t, err, syscall.ECONNRESET)
	require.Contains(t, err.Error(), "the disk is full")
	_, err = b.Write(buf)
	require.ErrorAs(t, err, &e)
	require.NoError(t, b.Close())
	_, err = a.Read(buf)
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorAs(t, a.Err(), &e)
	require.Equal(t, transport.EndLocalAbort, e.Kind)
}

func TestShutdownReadsOn(t *testing.T) {
	a, b, l := pair(t, loop, nil)
	defer l.Close()
	_, err := b.Write([]byte("from b"))
	require.NoError(t, err)
	_, err = a.Write([]byte("from a"))
	require.NoError(t, err)
	require.NoError(t, a.Shutdown(context.Background()))
	_, err = a.Write([]byte("more"))
	require.Error(t, err)
	got, err := io.ReadAll(a)
	require.NoError(t, err)
	require.Equal(t, "from b", string(got))
	got, err = io.ReadAll(b)
	require.NoError(t, err)
	require.Equal(t, "from a", string(got))
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	require.ErrorIs(t, a.Shutdown(context.Background()), net.ErrClosed)
}

func TestDeadlines(t *testing.T) {
	a, b, l := pair(t, loop, nil)
	defer l.Close()
	defer b.Abort("")
	defer a.Abort("")
	require.NoError(t, a.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, err := a.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	var ne net.Error
	require.ErrorAs(t, err, &ne)
	require.True(t, ne.Timeout())
	// A past deadline wins over data that is there, and over room to write.
	_, err = b.Write([]byte("x"))
	require.NoError(t, err)
	_, err = a.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, a.SetReadDeadline(time.Time{}))
	_, err = a.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, a.SetWriteDeadline(time.Now().Add(-time.Second)))
	n, err := a.Write([]byte("x"))
	require.Zero(t, n)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	// Only part of a large write fits the buffers. It waits for the rest when the deadline is set.
	require.NoError(t, a.SetWriteDeadline(time.Time{}))
	under := make(chan struct{})
	go func() {
		defer close(under)
		n, err = a.Write(make([]byte, 32<<20))
	}()
	require.Eventually(t, func() bool { return a.Stats().SendBuffered > 0 }, 10*time.Second, time.Millisecond)
	require.NoError(t, a.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
	<-under
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Positive(t, n)
	require.Less(t, n, 8<<20)

	require.NoError(t, l.SetDeadline(time.Now().Add(10*time.Millisecond)))
	_, err = l.Accept()
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = l.AcceptAssociation(ctx)
	require.ErrorIs(t, err, context.Canceled)
	_, err = a.AcceptStream(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestEmptyReadsAndWrites(t *testing.T) {
	a, b, l := pair(t, loop, nil)
	defer l.Close()
	n, err := a.Write(nil)
	require.Zero(t, n)
	require.NoError(t, err)
	go b.Write([]byte("x"))
	_, err = io.ReadFull(a, make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	_, err = a.Write(nil)
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestStreams(t *testing.T) {
	a, b, l := pair(t, loop, nil)
	defer l.Close()
	ids := func(x *transport.Association) (out []uint16) {
		for range 3 {
			s, err := x.OpenStream()
			require.NoError(t, err)
			_, err = fmt.Fprintf(s, "stream %d", s.ID())
			require.NoError(t, err)
			require.Equal(t, x, s.Association())
			out = append(out, s.ID())
		}
		return out
	}
	require.Equal(t, []uint16{2, 4, 6}, ids(a), "the dialler's are even")
	require.Equal(t, []uint16{1, 3, 5}, ids(b), "the acceptor's are odd")
	for _, x := range []*transport.Association{a, b} {
		for range 3 {
			s, err := x.AcceptStream(context.Background())
			require.NoError(t, err)
			buf := make([]byte, 100)
			n, err := s.Read(buf)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("stream %d", s.ID()), string(buf[:n]))
			require.NoError(t, s.CloseWrite())
		}
	}
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}

// What arrives on a stream that was closed here is discarded and its window returned, so the peer can go on.
func TestClosedStreamDiscards(t *testing.T) {
	a, b, l := pair(t, loop, &transport.Config{ReceiveWindow: 64 << 10})
	defer l.Close()
	s, err := a.OpenStream()
	require.NoError(t, err)
	_, err = s.Write(make([]byte, 50_000))
	require.NoError(t, err)
	r, err := b.AcceptStream(context.Background())
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.ErrorIs(t, r.Close(), net.ErrClosed)
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = r.Write(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
	require.NoError(t, s.SetWriteDeadline(time.Now().Add(20*time.Second)))
	_, err = s.Write(make([]byte, 4<<20))
	require.NoError(t, err)
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}

func TestNoStreamsLeft(t *testing.T) {
	a, b, l := pair(t, loop, &transport.Config{OutStreams: 4, InStreams: 4, NoStreamReset: true})
	defer l.Close()
	s, err := a.OpenStream()
	require.NoError(t, err)
	require.EqualValues(t, 2, s.ID())
	_, err = a.OpenStream()
	require.ErrorIs(t, err, transport.ErrNoStreams)
	require.Equal(t, 4, a.Stats().OutStreams)
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}

// Accepted associations and their sockets outlive the listener; the address is free once they are gone.
func TestListenerClose(t *testing.T) {
	a, b, l := pair(t, loop, nil)
	addr := l.Addr().String()
	_, err := transport.Dial(context.Background(), addr, nil)
	require.NoError(t, err, "waits for Accept and is aborted by Close")
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.Close(), net.ErrClosed)
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = a.Write([]byte("still here"))
	require.NoError(t, err)
	_, err = io.ReadFull(b, make([]byte, 10))
	require.NoError(t, err)
	_, err = transport.Dial(context.Background(), addr, nil)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	again, err := transport.Listen(addr, nil)
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

func TestBacklog(t *testing.T) {
	l, err := transport.Listen(loop, &transport.Config{Backlog: 2})
	require.NoError(t, err)
	dial := func() *transport.Association {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		a, err := transport.Dial(ctx, l.Addr().String(), nil)
		require.NoError(t, err)
		return a
	}
	for range 2 {
		defer dial().Abort("")
	}
	ctx, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	refused := make(chan error, 1)
	go func() {
		_, err := transport.Dial(ctx, l.Addr().String(), nil)
		refused <- err
	}()
	reached := func(what string, count func(s transport.SocketStats) uint64) {
		t.Helper()
		require.Eventually(t, func() bool { return count(l.SocketStats()) > 0 }, 10*time.Second, time.Millisecond, what)
	}
	reached("put off", func(s transport.SocketStats) uint64 { return s.BacklogFull })
	giveUp()
	require.ErrorIs(t, <-refused, context.Canceled)
	// The end of that attempt finds nothing to end. Before, another COOKIE ECHO of it might still take the place that is made now.
	reached("gone", func(s transport.SocketStats) uint64 { return s.OutOfTheBlue })
	c, err := l.Accept()
	require.NoError(t, err)
	defer c.Close()
	defer dial().Abort("")
	require.NoError(t, l.Close())
}

// Many associations share the dialler's one socket, and none has a goroutine.
func TestManyAssociations(t *testing.T) {
	const n = 300
	l, err := transport.Listen(loop, nil)
	require.NoError(t, err)
	first, err := transport.Dial(context.Background(), l.Addr().String(), nil)
	require.NoError(t, err)
	before := runtime.NumGoroutine()
	var all []*transport.Association
	all = append(all, first)
	ports := map[uint16]bool{}
	udp := first.LocalAddr().(*transport.Addr).Current()
	for range n {
		a, err := transport.Dial(context.Background(), l.Addr().String(), nil)
		require.NoError(t, err)
		all = append(all, a)
		local := a.LocalAddr().(*transport.Addr)
		require.Equal(t, udp, local.Current(), "one UDP port for all")
		require.GreaterOrEqual(t, local.Port, uint16(49152))
		ports[local.Port] = true
		b, err := l.AcceptAssociation(context.Background())
		require.NoError(t, err)
		all = append(all, b)
	}
	require.Len(t, ports, n)
	// Timers run on goroutines of their own, of which a busy machine has some at any time; none stays.
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+2 }, 10*time.Second, time.Millisecond)
	require.Equal(t, n+1, l.SocketStats().Associations)
	closeAll(all...)
	require.NoError(t, l.Close())
	require.Zero(t, l.SocketStats().Associations)
	require.Zero(t, l.SocketStats().MemoryUsed)
}

func TestListenEverywhere(t *testing.T) {
	l, err := transport.Listen(":0", nil)
	require.NoError(t, err)
	defer l.Close()
	addr := l.Addr().(*transport.Addr)
	for _, x := range addr.Locators {
		require.Equal(t, addr.Port, x.Port)
		require.False(t, x.Addr.IsUnspecified())
	}
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = c.Close()
		}
		done <- err
	}()
	c, err := transport.Dial(context.Background(), fmt.Sprintf("127.0.0.1:%d", addr.Port), nil)
	require.NoError(t, err)
	require.NoError(t, <-done)
	_, err = c.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	require.NoError(t, c.Close())
}

func TestDifferentUDPPorts(t *testing.T) {
	free := func() uint16 {
		c, err := net.ListenPacket("udp4", loop)
		require.NoError(t, err)
		defer c.Close()
		return c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	}
	ours, theirs := free(), free()
	l, err := transport.Listen("127.0.0.1:5000", &transport.Config{LocalUDPPort: theirs})
	require.NoError(t, err)
	defer l.Close()
	require.Equal(t, "127.0.0.1:5000", l.Addr().String())
	a, err := transport.Dial(context.Background(), "localhost:5000",
		&transport.Config{Local: "127.0.0.1:6000", LocalUDPPort: ours, RemoteUDPPort: theirs})
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:6000", a.LocalAddr().String())
	require.Equal(t, ours, a.LocalAddr().(*transport.Addr).Current().Port)
	b, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}

func TestDialErrors(t *testing.T) {
	for _, tc := range []struct {
		addr string
		cfg  *transport.Config
		want error
		text string
	}{
		{"127.0.0.1", nil, transport.ErrAddress, "port is missing"},
		{"127.0.0.1:0", nil, transport.ErrAddress, "port 0"},
		{"127.0.0.1:1,127.0.0.2:2", nil, transport.ErrAddress, "differs"},
		{"0.0.0.0:5000", nil, transport.ErrAddress, "every address"},
		{"127.0.0.1:5000", &transport.Config{DSCP: 64}, transport.ErrConfig, "DSCP"},
		{"127.0.0.1:5000", &transport.Config{SackDelay: time.Second}, transport.ErrConfig, "SackDelay"},
		{"127.0.0.1:5000", &transport.Config{PathPayload: 100}, transport.ErrConfig, "PathPayload"},
		{"127.0.0.1:5000", &transport.Config{PacketConns: []net.PacketConn{}}, transport.ErrConfig, "PacketConns"},
		{"127.0.0.1:5000", &transport.Config{Local: "nonsense:x"}, transport.ErrAddress, "port"},
	} {
		_, err := transport.Dial(context.Background(), tc.addr, tc.cfg)
		require.ErrorIs(t, err, tc.want, tc.addr)
		require.ErrorContains(t, err, tc.text)
		var op *net.OpError
		require.ErrorAs(t, err, &op)
		require.Equal(t, "dial", op.Op)
	}
	d := transport.Dialer{}
	c, err := d.Dial("udp", "127.0.0.1:5000")
	require.Nil(t, c)
	require.ErrorAs(t, err, new(net.UnknownNetworkError))
	_, err = d.Dial("sctp6", "127.0.0.1:5000")
	require.ErrorIs(t, err, transport.ErrAddress)
	_, err = transport.Listen("127.0.0.1", nil)
	require.ErrorIs(t, err, transport.ErrAddress)
	_, err = transport.Listen("127.0.0.1:0", &transport.Config{Backlog: -1})
	require.ErrorIs(t, err, transport.ErrConfig)
	require.NoError(t, (*transport.Config)(nil).Check())
	require.NoError(t, transport.RFC9260().Check())
}

// A socket is there, but nobody listens on the SCTP port.
func TestDialRefused(t *testing.T) {
	l, err := transport.Listen(loop, nil)
	require.NoError(t, err)
	defer l.Close()
	udp := l.Addr().(*transport.Addr).Port
	_, err = transport.Dial(context.Background(), "127.0.0.1:7", &transport.Config{RemoteUDPPort: udp})
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.ErrorContains(t, err, fmt.Sprintf("127.0.0.1:%d", udp))
}

func TestRFC9260Profile(t *testing.T) {
	inLab(t, []string{"delay=10ms"}, func(t *testing.T, x *lab) { // on a busy machine a round trip may take a second
		a, b := x.dial(*transport.RFC9260())
		_, err := a.Write([]byte("x"))
		require.NoError(t, err)
		_, err = io.ReadFull(b, make([]byte, 1))
		require.NoError(t, err)
		require.Equal(t, time.Second, a.Paths()[0].RTO)
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

func TestErrorTexts(t *testing.T) {
	for k := transport.EndSetup; k <= transport.EndRestart; k++ {
		e := &transport.AssociationError{Kind: k, Detail: "seen", Unsent: 5}
		require.Equal(t, k.String()+": seen; 5 bytes not acknowledged", e.Error())
		require.NotEqual(t, transport.EndKind(0).String(), k.String())
		require.False(t, errors.Is(e, io.EOF))
		require.Equal(t, e.Timeout(), errors.Is(e, syscall.ETIMEDOUT))
	}
	require.ErrorIs(t, &transport.AssociationError{Kind: transport.EndViolation}, syscall.ECONNABORTED)
	u := &transport.UnsentError{Bytes: 7, Err: transport.ErrLinger}
	require.Equal(t, "linger time is over (7 bytes not delivered)", u.Error())
	require.ErrorIs(t, u, transport.ErrLinger)
	for k := transport.EventPathState; k <= transport.EventClosed; k++ {
		require.NotEqual(t, transport.EventKind(0).String(), k.String())
		require.Contains(t, transport.Event{Kind: k, Reason: "because", Err: io.EOF}.String(), "(because): EOF")
	}
}

// Sockets that cannot be used are closed all the same: they were handed over.
func TestBadPacketConns(t *testing.T) {
	good, err := net.ListenPacket("udp4", loop)
	require.NoError(t, err)
	bad, err := net.ListenPacket("udp4", "0.0.0.0:0")
	require.NoError(t, err)
	_, err = transport.Listen(loop, &transport.Config{PacketConns: []net.PacketConn{good, bad}})
	require.ErrorIs(t, err, transport.ErrConfig)
	require.ErrorContains(t, err, "PacketConns[1]")
	for _, c := range []net.PacketConn{good, bad} {
		require.ErrorIs(t, c.SetDeadline(time.Time{}), net.ErrClosed)
	}
}

// A program's own sockets on both sides.
func TestPacketConns(t *testing.T) {
	open := func() []net.PacketConn {
		c, err := net.ListenPacket("udp4", loop)
		require.NoError(t, err)
		return []net.PacketConn{c}
	}
	l, err := transport.Listen(":0", &transport.Config{PacketConns: open()})
	require.NoError(t, err)
	d := transport.Dialer{Config: &transport.Config{PacketConns: open(), Local: ":4000"}, Timeout: 10 * time.Second}
	a, err := d.DialAssociation(context.Background(), "sctp4", l.Addr().String())
	require.NoError(t, err)
	require.EqualValues(t, 4000, a.LocalAddr().(*transport.Addr).Port)
	b, err := l.AcceptAssociation(context.Background())
	require.NoError(t, err)
	require.NoError(t, a.CloseWrite())
	_, err = b.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	closeAll(a, b)
	require.NoError(t, l.Close())
}
