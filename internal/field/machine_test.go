package field

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/transport"
)

// mostRecords is more than a test sends.
const mostRecords = 1 << 16

// stream is records under way from A to B, each millisecond until it is stopped.
type stream struct {
	*pair
	start time.Duration
	stop  chan struct{}
	sent  chan error
	count int
	got   chan error
	as    []arrival

	shutdown time.Duration // how long the orderly end took
}

// records starts them.
func (p *pair) records() *stream {
	s := &stream{pair: p, start: time.Since(epoch), stop: make(chan struct{}), sent: make(chan error, 1), got: make(chan error, 1)}
	go func() {
		s.sent <- sendWhile(p.a, func() bool {
			select {
			case <-s.stop:
				return false
			default:
				s.count++
				return true
			}
		})
	}()
	go func() {
		as, err := receiveRecords(p.b, mostRecords)
		s.as = as
		s.got <- err
	}()
	return s
}

// finish stops the records, ends the association in order, and requires that all of them have arrived.
func (s *stream) finish(t testing.TB) {
	t.Helper()
	wait := func(ch chan error) (err error) {
		t.Helper()
		select {
		case err = <-ch:
		case <-time.After(patience):
			s.tell(t)
			require.FailNow(t, "records do not arrive")
		}
		return err
	}
	close(s.stop)
	require.NoError(t, wait(s.sent))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		start := time.Now()
		err := s.a.Shutdown(ctx)
		s.shutdown = time.Since(start)
		ended <- err
	}()
	if err := wait(s.got); !errors.Is(err, io.EOF) {
		s.tell(t)
		require.ErrorIs(t, err, io.EOF)
	}
	require.NoError(t, <-ended)
	require.Len(t, s.as, s.count, "every record arrives")
}

// moved waits until data of A takes another path than one, or that one again.
func (s *stream) moved(t testing.TB, path int, back bool) {
	t.Helper()
	for limit := time.Now().Add(patience); (s.current(s.a) == path) != back; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			s.tell(t)
			require.FailNow(t, "data does not move")
		}
	}
}

// between measures the arrivals of a span of time.
func (s *stream) between(from, fault, to time.Duration) figures {
	var as []arrival
	for _, a := range s.as {
		if a.read < to {
			as = append(as, a)
		}
	}
	return measure(as, from, fault)
}

// localFaults are what may happen to a host's own end of a path, and what the kernel is to tell of it.
var localFaults = []struct {
	name       string
	down, back func(h *netlab.Host, path int) error
	cause      string
}{
	{"carrier", (*netlab.Host).CarrierDown, (*netlab.Host).CarrierUp, "carrier lost"},
	{"link", (*netlab.Host).LinkDown, (*netlab.Host).LinkUp, "link down"},
	{"address", (*netlab.Host).AddrDel, (*netlab.Host).AddrAdd, "address removed"},
	{"link and address", func(h *netlab.Host, path int) error {
		return errors.Join(h.LinkDown(path), h.AddrDel(path))
	}, (*netlab.Host).LinkUp, ""},
}

// TestLocalEndGoesAndComes takes the sender's own end of the path in use away while records flow at a round trip of 20 ms:
// nothing is lost, the association lives, the data moves, and moves back when the end is there again.
func TestLocalEndGoesAndComes(t *testing.T) {
	for _, f := range localFaults {
		for _, six := range [][]int{nil, {0, 1}} {
			name := f.name + ", IPv4"
			if six != nil {
				name = f.name + ", IPv6"
			}
			t.Run(name, func(t *testing.T) {
				l := lab(t, netlab.Options{Delay: 10 * time.Millisecond})
				p := connect(t, l, transport.Config{}, six...)
				time.Sleep(time.Second) // the kernel tells of lost carriers at once only when nothing else changed for so long
				s := p.records()
				time.Sleep(time.Second)
				path := p.current(p.a)
				fault := time.Since(epoch)
				require.NoError(t, f.down(l.A, path))
				s.moved(t, path, false)
				left := time.Since(epoch)
				time.Sleep(time.Second)
				restored := time.Since(epoch)
				require.NoError(t, f.back(l.A, path))
				s.moved(t, path, true)
				back := time.Since(epoch)
				time.Sleep(500 * time.Millisecond)
				s.finish(t)
				t.Logf("left after %.1f ms: %v", ms(left-fault), s.between(s.start+300*time.Millisecond, fault, restored))
				t.Logf("back after %.1f ms: %v", ms(back-restored), s.between(left+300*time.Millisecond, restored, time.Hour))
				if late := l.Lateness(); late > 5*time.Millisecond {
					t.Logf("the emulated delay was late by up to %v", late.Round(time.Millisecond))
				}
				ev, told := p.atA.find(func(e *transport.Event) bool {
					return e.Kind == transport.EventPathState && p.index(e.Path.Local.Addr) == path && e.To == heartbeat.Inactive
				})
				if !told {
					p.tell(t)
				}
				require.True(t, told, "the path's own end is known to be gone")
				require.Contains(t, ev.Reason, "local fault: "+f.cause)
				require.NotZero(t, p.a.SocketStats().LocalFaults)
				require.Zero(t, p.b.SocketStats().LocalFaults, "another network namespace")
			})
		}
	}
}

// TestOnlyLinkGoesAndComes has no other path to move to. The association waits, and goes on at once.
func TestOnlyLinkGoesAndComes(t *testing.T) {
	l := lab(t, netlab.Options{Paths: 1, Delay: 10 * time.Millisecond})
	p := connect(t, l, transport.Config{})
	s := p.records()
	time.Sleep(300 * time.Millisecond)
	fault := time.Since(epoch)
	require.NoError(t, l.A.LinkDown(0))
	time.Sleep(3 * time.Second)
	restored := time.Since(epoch)
	require.NoError(t, l.A.LinkUp(0))
	time.Sleep(time.Second)
	s.finish(t)
	t.Logf("for %.1f ms there was no link; %v", ms(restored-fault), s.between(s.start+200*time.Millisecond, fault, time.Hour))
}

// dialError dials what cannot be reached and returns how long that took and the error.
func dialError(t *testing.T, h *netlab.Host, local, remote string) (time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	start := time.Now()
	err := h.Do(func() error {
		a, err := transport.Dial(ctx, remote, own(transport.Config{Local: local}))
		if err == nil {
			a.Abort("not meant to succeed")
		}
		return err
	})
	took := time.Since(start)
	require.Error(t, err)
	require.NoError(t, ctx.Err(), "long before the deadline")
	return took, err
}

// TestDialClosedPort dials hosts on which nobody has the UDP port. Their kernels say so, and the error comes at once and
// tells of each locator.
func TestDialClosedPort(t *testing.T) {
	for _, six := range [][]int{nil, {0, 1}, {1}} {
		l := lab(t, netlab.Options{Delay: 10 * time.Millisecond})
		took, err := dialError(t, l.A, pool(l.A, 2, "", six...), pool(l.B, 2, port, six...))
		t.Logf("%v: %v", took.Round(time.Millisecond), err)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		for i := range 2 {
			ad := addr(l.B, i, six...).String()
			require.ErrorContains(t, err, ad)
			require.ErrorContains(t, err, "port unreachable from "+ad)
		}
		var op *net.OpError
		require.ErrorAs(t, err, &op)
		require.False(t, op.Timeout())
	}
}

// TestDialWithoutRoute dials an address that nobody knows a way to: the routers say so, or our own kernel.
func TestDialWithoutRoute(t *testing.T) {
	l := lab(t, netlab.Options{})
	took, err := dialError(t, l.A, pool(l.A, 2, ""), "10.77.0.1:5000")
	t.Logf("%v: %v", took.Round(time.Millisecond), err)
	require.ErrorContains(t, err, "10.77.0.1")
	require.ErrorContains(t, err, "unreachable")

	require.NoError(t, l.A.LinkDown(0))
	require.NoError(t, l.A.LinkDown(1))
	took, err = dialError(t, l.A, pool(l.A, 2, ""), pool(l.B, 2, port))
	t.Logf("%v: %v", took.Round(time.Millisecond), err)
	require.ErrorContains(t, err, "network is unreachable")
}

// TestDialOneDead dials two locators of which the first is dead in one way or the other.
func TestDialOneDead(t *testing.T) {
	tests := []struct {
		name string
		kill func(l *netlab.Lab) error
		last string // what the listener listens on; empty: everything
	}{
		{"closed port", func(*netlab.Lab) error { return nil }, "path 1"},
		{"refused by a filter", func(l *netlab.Lab) error { return l.Filter(0, "udp dport 5000 reject") }, ""},
		{"host unreachable", func(l *netlab.Lab) error {
			return l.Filter(0, "udp dport 5000 reject with icmp type host-unreachable")
		}, ""},
		{"link down here", func(l *netlab.Lab) error { return l.A.LinkDown(0) }, ""},
		{"carrier lost here", func(l *netlab.Lab) error { return l.A.CarrierDown(0) }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := lab(t, netlab.Options{Delay: 10 * time.Millisecond})
			at := pool(l.B, 2, port)
			if tt.last != "" {
				at = strings.Split(at, ",")[1]
			}
			ln := listen(t, l.B, at, transport.Config{})
			require.NoError(t, tt.kill(l))
			start := time.Now()
			a := dial(t, l.A, pool(l.A, 2, ""), pool(l.B, 2, port), transport.Config{})
			t.Logf("dialled in %v", time.Since(start).Round(time.Millisecond))
			b := accept(t, ln)
			_, err := a.Write([]byte("hello"))
			require.NoError(t, err)
			buf := make([]byte, 5)
			_, err = io.ReadFull(b, buf)
			require.NoError(t, err)
		})
	}
}

// TestPeerVanishes closes the peer's sockets behind its back, as a process that is killed does: its kernel answers for it.
func TestPeerVanishes(t *testing.T) {
	l := lab(t, netlab.Options{Delay: 10 * time.Millisecond})
	var conns []net.PacketConn
	require.NoError(t, l.InB(func() error {
		for i := range 2 {
			c, err := net.ListenUDP("udp", &net.UDPAddr{IP: l.B.Addr4(i).AsSlice(), Port: 5000})
			if err != nil {
				return err
			}
			conns = append(conns, c)
		}
		return nil
	}))
	ln := listen(t, l.B, "10.100.2.1:5000", transport.Config{PacketConns: conns})
	a := dial(t, l.A, pool(l.A, 2, ""), pool(l.B, 2, port), transport.Config{})
	b := accept(t, ln)
	go io.Copy(io.Discard, b)
	_, err := a.Write([]byte("hello"))
	require.NoError(t, err)
	for _, c := range conns {
		c.Close()
	}
	start := time.Now()
	for err == nil {
		_, err = a.Write([]byte("anybody there?"))
		time.Sleep(time.Millisecond)
	}
	t.Logf("after %v: %v", time.Since(start).Round(time.Millisecond), err)
	require.ErrorIs(t, err, syscall.ECONNRESET)
	require.ErrorContains(t, err, "port unreachable from 10.10")
	require.NotZero(t, a.SocketStats().ICMP)
}

// TestFilterAnswers lets a filter on the path in use refuse packets, in the ways filters do: it speaks for its path alone.
func TestFilterAnswers(t *testing.T) {
	for _, how := range []string{"", " with icmp type host-unreachable", " with icmp type admin-prohibited"} {
		t.Run("reject"+how, func(t *testing.T) {
			l := lab(t, netlab.Options{Delay: 10 * time.Millisecond})
			p := connect(t, l, transport.Config{})
			s := p.records()
			time.Sleep(500 * time.Millisecond)
			path := p.current(p.a)
			fault := time.Since(epoch)
			require.NoError(t, l.Filter(path, "udp dport 5000 reject"+how))
			s.moved(t, path, false)
			time.Sleep(time.Second)
			s.finish(t)
			t.Logf("%v", s.between(s.start+300*time.Millisecond, fault, time.Hour))
			ev, told := p.atA.failed(p, path, epoch)
			require.True(t, told)
			t.Log(ev.Reason)
			for _, i := range p.a.Paths() {
				if p.index(i.Path.Local.Addr) == path {
					require.NotZero(t, i.Unreachable)
				}
			}
		})
	}
}
