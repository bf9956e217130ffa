package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/sctp"
	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/transport"
)

// pionPort is the only SCTP port, on both sides, that pion/sctp uses.
const pionPort = "5000"

// patience bounds every wait. It says nothing about how fast things are.
const patience = 30 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// pionSocket makes a connection out of a UDP socket, as pion/sctp wants one under it: to one peer, or to the last one
// that has sent something.
type pionSocket struct {
	*net.UDPConn
	loss atomic.Pointer[loss]
	mu   sync.Mutex
	peer netip.AddrPort
}

// loss drops packets of both directions at random.
type loss struct {
	mu   sync.Mutex
	rnd  *rand.Rand
	rate float64
}

func (l *loss) hits() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rnd.Float64() < l.rate
}

// lose loses a share of the packets from now on.
func (s *pionSocket) lose(t testing.TB, rate float64) {
	s.loss.Store(&loss{rnd: rand.New(rand.NewPCG(needs.Seed(t), 0)), rate: rate})
}

func newPionSocket(t testing.TB, peer netip.AddrPort) *pionSocket {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	require.NoError(t, c.SetReadBuffer(1<<20))
	t.Cleanup(func() { c.Close() })
	return &pionSocket{UDPConn: c, peer: peer}
}

func (s *pionSocket) Read(p []byte) (int, error) {
	n, from, err := s.ReadFromUDPAddrPort(p)
	for err == nil && s.loss.Load().hits() {
		n, from, err = s.ReadFromUDPAddrPort(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.peer != from {
		s.peer = from
	}
	return n, err
}

func (s *pionSocket) Write(p []byte) (int, error) {
	s.mu.Lock()
	peer := s.peer
	s.mu.Unlock()
	if s.loss.Load().hits() {
		return len(p), nil
	}
	return s.WriteToUDPAddrPort(p, peer)
}

// pionOptions are options of pion/sctp without logging, over a socket.
func pionOptions(c net.Conn) []sctp.AssociationOption {
	l := logging.NewDefaultLoggerFactory()
	l.DefaultLogLevel = logging.LogLevelDisabled
	return []sctp.AssociationOption{sctp.WithNetConn(c), sctp.WithLoggerFactory(l), sctp.WithMTU(1191), sctp.WithRTOMax(1000)}
}

func pionServer(c net.Conn) (*sctp.Association, error) {
	var opts []sctp.ServerOption
	for _, o := range pionOptions(c) {
		opts = append(opts, o)
	}
	return sctp.ServerWithOptions(opts...)
}

func pionClient(c net.Conn) (*sctp.Association, error) {
	var opts []sctp.ClientOption
	for _, o := range pionOptions(c) {
		opts = append(opts, o)
	}
	return sctp.ClientWithOptions(opts...)
}

type pionResult struct {
	a   *sctp.Association
	err error
}

// pionPair is an association between us and pion/sctp.
type pionPair struct {
	ours   *transport.Association
	pion   *sctp.Association
	socket *pionSocket
}

// dialPion has us dial pion/sctp, from the addresses named, or from 127.0.0.1.
func dialPion(t testing.TB, local string, cfg transport.Config) *pionPair {
	t.Helper()
	cfg.Capture = record(t, emptyHeartbeat)
	s := newPionSocket(t, netip.AddrPort{})
	ch := make(chan pionResult, 1)
	go func() {
		a, err := pionServer(s)
		ch <- pionResult{a, err}
	}()
	cfg.Local = local
	cfg.RemoteUDPPort = s.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	a, err := transport.Dial(within(t), "127.0.0.1:"+pionPort, &cfg)
	require.NoError(t, err)
	t.Cleanup(func() { a.Abort("the test is over") })
	return &pionPair{a, (<-ch).take(t), s}
}

// dialledByPion has pion/sctp dial us at the first of our addresses.
func dialledByPion(t testing.TB, cfg transport.Config, addrs ...string) *pionPair {
	t.Helper()
	cfg.Capture = record(t, emptyHeartbeat)
	port := uint16(0)
	for i, a := range addrs {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(a), port)))
		require.NoError(t, err)
		cfg.PacketConns = append(cfg.PacketConns, c)
		if i == 0 {
			port = c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		}
	}
	l, err := transport.Listen(addrs[0]+":"+pionPort, &cfg)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	s := newPionSocket(t, netip.AddrPortFrom(netip.MustParseAddr(addrs[0]), port))
	ch := make(chan pionResult, 1)
	go func() {
		a, err := pionClient(s)
		ch <- pionResult{a, err}
	}()
	a, err := l.AcceptAssociation(within(t))
	require.NoError(t, err)
	t.Cleanup(func() { a.Abort("the test is over") })
	return &pionPair{a, (<-ch).take(t), s}
}

func (r pionResult) take(t testing.TB) *sctp.Association {
	t.Helper()
	require.NoError(t, r.err)
	t.Cleanup(func() { r.a.Close() })
	return r.a
}

// bothRoles runs a test with us as the one who dials and as the one who listens, side by side.
func bothRoles(t *testing.T, f func(t *testing.T, pair func() *pionPair)) {
	bothRolesWith(t, transport.Config{}, f)
}

func bothRolesWith(t *testing.T, cfg transport.Config, f func(t *testing.T, pair func() *pionPair)) {
	t.Run("we dial", func(t *testing.T) {
		t.Parallel()
		f(t, func() *pionPair { return dialPion(t, "127.0.0.1", cfg) })
	})
	t.Run("we listen", func(t *testing.T) {
		t.Parallel()
		f(t, func() *pionPair { return dialledByPion(t, cfg, "127.0.0.1") })
	})
}

// pionStream makes a byte stream of a pion stream: its Read wants room for a whole message.
type pionStream struct {
	*sctp.Stream
	rest []byte
	buf  []byte
}

func (s *pionStream) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		if s.buf == nil {
			s.buf = make([]byte, 1<<16)
		}
		n, err := s.Stream.Read(s.buf)
		if err != nil {
			return 0, err
		}
		s.rest = s.buf[:n]
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// Write waits while much is buffered, which pion's does not.
func (s *pionStream) Write(p []byte) (int, error) {
	for s.BufferedAmount() > 1<<20 {
		time.Sleep(time.Millisecond)
	}
	return s.Stream.Write(p)
}

// duplex moves n bytes each way on one stream and compares them.
func duplex(a, b io.ReadWriter, stream int, n int64) error {
	errs := make(chan error, 4)
	go func() { errs <- send(a, 1, stream, n, 5000) }()
	go func() { errs <- send(b, 2, stream, n, 5000) }()
	go func() { errs <- receive(b, 1, stream, n, nil) }()
	go func() { errs <- receive(a, 2, stream, n, nil) }()
	var all error
	for range 4 {
		select {
		case err := <-errs:
			all = errors.Join(all, err)
		case <-time.After(patience):
			return errors.Join(all, fmt.Errorf("stream %d stands still", stream))
		}
	}
	return all
}

func TestPionStreams(t *testing.T) {
	n := int64(2 << 20)
	if needs.Race {
		n = 128 << 10
	}
	bothRoles(t, func(t *testing.T, pair func() *pionPair) {
		p := pair()
		const count = 8
		errs := make(chan error, count)
		for i := range count {
			go func() {
				errs <- func() error {
					if i%2 == 0 { // opened here
						s, err := p.ours.OpenStream()
						if err != nil {
							return err
						}
						b, err := p.pion.OpenStream(s.ID(), sctp.PayloadTypeWebRTCBinary)
						if err != nil {
							return err
						}
						return duplex(s, &pionStream{Stream: b}, int(s.ID()), n)
					}
					// Opened there: ours learn of it by its first message.
					b, err := p.pion.OpenStream(uint16(1000+i), sctp.PayloadTypeWebRTCBinary)
					if err != nil {
						return err
					}
					if _, err := b.Write([]byte{0}); err != nil {
						return err
					}
					s, err := p.ours.AcceptStream(within(t))
					if err != nil {
						return err
					}
					if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
						return err
					}
					if b, err = p.pion.OpenStream(s.ID(), sctp.PayloadTypeWebRTCBinary); err != nil && b == nil {
						return err
					}
					return duplex(s, &pionStream{Stream: b}, int(s.ID()), n)
				}()
			}()
		}
		for range count {
			require.NoError(t, <-errs)
		}
		require.NoError(t, p.ours.Close())
	})
}

// TestPionUnordered has pion/sctp send numbered records out of order, as far as it likes.
func TestPionUnordered(t *testing.T) {
	bothRoles(t, func(t *testing.T, pair func() *pionPair) {
		p := pair()
		b, err := p.pion.OpenStream(9, sctp.PayloadTypeWebRTCBinary)
		require.NoError(t, err)
		b.SetReliabilityParams(true, sctp.ReliabilityTypeReliable, 0)
		const count, size = 300, 3000 // several fragments each
		go func() {
			for i := range count {
				rec := make([]byte, size)
				rec[0], rec[1] = byte(i>>8), byte(i)
				newContent(3, i).Read(rec[2:])
				if _, err := b.Write(rec); err != nil {
					return
				}
			}
		}()
		s, err := p.ours.AcceptStream(within(t))
		require.NoError(t, err)
		require.NoError(t, s.SetReadDeadline(time.Now().Add(patience)))
		seen := make(map[int]bool)
		rec := make([]byte, size)
		for range count {
			_, err := io.ReadFull(s, rec)
			require.NoError(t, err)
			i := int(rec[0])<<8 | int(rec[1])
			require.False(t, seen[i], "record %d comes twice", i)
			seen[i] = true
			require.NoError(t, newContent(3, i).check(rec[2:]), "record %d", i)
		}
		require.Len(t, seen, count)
	})
}

// TestPionShutdown ends associations in order, from either side, with data still under way.
func TestPionShutdown(t *testing.T) {
	const n = 300 << 10
	t.Run("by us", func(t *testing.T) {
		bothRoles(t, func(t *testing.T, pair func() *pionPair) {
			p := pair()
			b, err := p.pion.OpenStream(0, sctp.PayloadTypeWebRTCBinary)
			require.NoError(t, err)
			got := make(chan error, 1)
			go func() { got <- receive(&pionStream{Stream: b}, 1, 0, n, nil) }()
			require.NoError(t, send(p.ours, 1, 0, n, 5000))
			require.NoError(t, p.ours.Close(), "the peer has everything")
			require.NoError(t, <-got)
			_, err = b.Read(make([]byte, 1<<16))
			require.Error(t, err)
			require.NoError(t, p.ours.Err())
		})
	})
	t.Run("by pion", func(t *testing.T) {
		bothRoles(t, func(t *testing.T, pair func() *pionPair) {
			p := pair()
			b, err := p.pion.OpenStream(0, sctp.PayloadTypeWebRTCBinary)
			require.NoError(t, err)
			go func() {
				if send(&pionStream{Stream: b}, 2, 0, n, 5000) == nil {
					p.pion.Shutdown(context.Background())
				}
			}()
			require.NoError(t, p.ours.SetReadDeadline(time.Now().Add(patience)))
			require.NoError(t, receive(p.ours, 2, 0, n, nil))
			_, err = p.ours.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
			require.NoError(t, p.ours.Close())
		})
	})
}

// TestPionAbort ends associations at once, from either side.
func TestPionAbort(t *testing.T) {
	t.Run("by us", func(t *testing.T) {
		bothRoles(t, func(t *testing.T, pair func() *pionPair) {
			p := pair()
			b, err := p.pion.OpenStream(0, sctp.PayloadTypeWebRTCBinary)
			require.NoError(t, err)
			require.NoError(t, duplex(p.ours, &pionStream{Stream: b}, 0, 1000))
			require.NoError(t, p.ours.Abort("enough"))
			_, err = b.Read(make([]byte, 1<<16))
			require.ErrorContains(t, err, "enough")
		})
	})
	t.Run("by pion", func(t *testing.T) {
		bothRoles(t, func(t *testing.T, pair func() *pionPair) {
			p := pair()
			b, err := p.pion.OpenStream(0, sctp.PayloadTypeWebRTCBinary)
			require.NoError(t, err)
			require.NoError(t, duplex(p.ours, &pionStream{Stream: b}, 0, 1000))
			p.pion.Abort("bye")
			require.NoError(t, p.ours.SetReadDeadline(time.Now().Add(patience)))
			_, err = p.ours.Read(make([]byte, 1))
			var end *transport.AssociationError
			require.ErrorAs(t, err, &end)
			require.ErrorIs(t, err, syscall.ECONNRESET)
			require.EqualValues(t, 12, end.Cause, "RFC 9260 section 3.3.10.12")
			require.ErrorContains(t, err, "bye")
		})
	})
}

// TestPionAddresses meets pion's silence about an INIT with parameters it does not know: from several addresses the plain
// INIT must do. In the other role our list of addresses stands in the INIT ACK, where it skips them.
func TestPionAddresses(t *testing.T) {
	second := netip.MustParseAddr("127.0.0.2")
	needs.Address(t, second)
	t.Run("we dial", func(t *testing.T) {
		start := time.Now()
		p := dialPion(t, "127.0.0.1,"+second.String(), transport.Config{})
		t.Logf("established after %v", time.Since(start).Round(time.Millisecond))
		b, err := p.pion.OpenStream(0, sctp.PayloadTypeWebRTCBinary)
		require.NoError(t, err)
		require.NoError(t, duplex(p.ours, &pionStream{Stream: b}, 0, 100<<10))
		local := p.ours.LocalAddr().(*transport.Addr).Locators
		require.Len(t, local, 1, "the peer knows one address of ours")
		require.NoError(t, p.ours.Close())
	})
	t.Run("we dial without the plain INIT", func(t *testing.T) {
		s := newPionSocket(t, netip.AddrPort{})
		go pionServer(s)
		ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
		defer cancel()
		_, err := transport.Dial(ctx, "127.0.0.1:"+pionPort, &transport.Config{Local: "127.0.0.1,127.0.0.2", NoPlainInit: true,
			RemoteUDPPort: s.LocalAddr().(*net.UDPAddr).AddrPort().Port(), Capture: record(t, emptyHeartbeat)})
		require.ErrorIs(t, err, context.DeadlineExceeded, "if this works, pion has learned and the plain INIT may go")
	})
	t.Run("we listen", func(t *testing.T) {
		p := dialledByPion(t, transport.Config{}, "127.0.0.1", second.String())
		b, err := p.pion.OpenStream(0, sctp.PayloadTypeWebRTCBinary)
		require.NoError(t, err)
		require.NoError(t, duplex(p.ours, &pionStream{Stream: b}, 0, 100<<10))
		require.NoError(t, p.ours.Close())
	})
}
