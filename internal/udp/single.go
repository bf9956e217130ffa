package udp

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-multihome/multihome/internal/pktbuf"
)

// single is the portable socket: one datagram per call. It stands on the kernel's UDP where there is no recvmmsg, and
// on any net.PacketConn that a program brings along.
type single struct {
	conn  datagrams
	local netip.AddrPort
	df    bool

	in  inCounts
	out outCounts

	closed atomic.Bool
	mu     sync.Mutex // writers one at a time: they share the deadline and, without DF, the socket option
}

// datagrams is what a single stands on. read waits, write never does: it returns ErrBlocked when it would have to.
// setDF reports whether the socket's option could be set.
type datagrams interface {
	read(buf []byte) (int, netip.AddrPort, error)
	write(buf []byte, peer netip.AddrPort) error
	setDF(on bool) bool
	SetReadDeadline(time.Time) error
	Close() error
}

// patience bounds a write where the only way not to wait is a deadline. It is set anew for each packet. A busy machine may
// let it pass before the write is even tried, so a packet that was late is tried once more. Then the next ones get brief
// patience until one succeeds, so that a dead socket does not hold up all who write to it by turns.
const (
	patience = 10 * time.Millisecond
	brief    = time.Millisecond
)

// tries is how often a packet is written with patience.
const tries = 2

// impatient sets the deadline of each write, and remembers how many of the last ones timed out, up to tries.
type impatient struct{ late int }

func (p *impatient) deadline() time.Time {
	if p.late == tries {
		return time.Now().Add(brief)
	}
	return time.Now().Add(patience)
}

// ended takes the result of a write and reports whether to try again.
func (p *impatient) ended(err error) (again bool, _ error) {
	te, ok := errors.AsType[net.Error](err)
	switch {
	case !ok || !te.Timeout():
		p.late = 0
		return false, err
	case p.late == tries:
		return false, ErrBlocked
	}
	p.late++
	return p.late < tries, ErrBlocked
}

// errUnnamed marks a datagram whose source is no UDP address.
var errUnnamed = errors.New("udp: source of a datagram is not an IP address and port")

func newSingle(conn datagrams, local netip.AddrPort) *single {
	return &single{conn: conn, local: local, df: conn.setDF(true)}
}

func (s *single) Local() netip.AddrPort { return s.local }

// Close also frees a reader of a connection whose own Close would not.
func (s *single) Close() error {
	s.closed.Store(true)
	err := s.conn.Close()
	_ = s.conn.SetReadDeadline(time.Unix(1, 0))
	return err
}

func (s *single) kernel() syscall.RawConn {
	if d, ok := s.conn.(*datagram); ok {
		return d.raw
	}
	return nil
}

// Stats returns the counters; they may be read at any time. Buffer sizes are not known here.
func (s *single) Stats() Stats {
	st := Stats{DF: s.df}
	st.fill(&s.in, &s.out)
	return st
}

// ReadBatch implements Socket: it returns one datagram, in the slot that takes any size.
func (s *single) ReadBatch(b *Batch) error {
	for {
		b.Reset()
		buf := b.buffer(0)
		n, peer, err := s.conn.read(buf)
		switch {
		case err == nil && n <= MaxDatagram:
			s.in.batches.Add(1)
			s.in.packets.Add(1)
			s.in.bytes.Add(uint64(n))
			b.Slots = append(b.Slots, Slot{Buf: buf[:n:n], Peer: peer})
			return nil
		case err == nil:
			s.in.cut.Add(1)
		case err == errUnnamed:
			s.in.unnamed.Add(1)
		case s.closed.Load(), errors.Is(err, net.ErrClosed), errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe):
			return net.ErrClosed // whatever words a foreign connection has for it
		default:
			s.in.errors.Add(1)
			return err
		}
	}
}

// WriteBatch implements Socket.
func (s *single) WriteBatch(pkts []pktbuf.Packet) (n int, err error) {
	if len(pkts) == 0 {
		return 0, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var bytes uint64
	for n < len(pkts) {
		if err = s.writeOne(&pkts[n]); err != nil {
			break
		}
		bytes += uint64(len(pkts[n].Buf))
		n++
	}
	if errors.Is(err, net.ErrClosed) {
		err = net.ErrClosed
	}
	if n > 0 {
		s.out.batches.Add(uint64(n))
		s.out.packets.Add(uint64(n))
		s.out.bytes.Add(bytes)
	}
	s.out.ended(err)
	return n, err
}

func (s *single) writeOne(p *pktbuf.Packet) error {
	if p.Peer.Port() == 0 || !p.Peer.Addr().IsValid() {
		return ErrPeer
	}
	if p.NoDF && s.df {
		s.conn.setDF(false)
		defer s.conn.setDF(true)
	}
	err := s.conn.write(p.Buf, p.Peer)
	if err != nil {
		if no, ok := errnoOf(err); ok && blocked(no) {
			return ErrBlocked
		}
	}
	return err
}

// datagram is the kernel's UDP socket for single.
type datagram struct {
	*net.UDPConn
	inet6 bool
	raw   syscall.RawConn
	now   nowait
}

// newDatagram takes the connection over; inet6 is the family of the address it is bound to.
func newDatagram(conn *net.UDPConn, inet6 bool) (*datagram, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	d := &datagram{UDPConn: conn, inet6: inet6, raw: raw}
	d.now.init(conn, raw, inet6)
	return d, nil
}

func (d *datagram) read(buf []byte) (int, netip.AddrPort, error) {
	n, peer, err := d.ReadFromUDPAddrPort(buf)
	return n, netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()), err
}

func (d *datagram) write(buf []byte, peer netip.AddrPort) error {
	addr := peer.Addr().Unmap()
	if addr.Is6() != d.inet6 {
		return ErrPeer
	}
	return d.now.write(buf, netip.AddrPortFrom(addr, peer.Port()))
}

func (d *datagram) setDF(on bool) bool { return d.now.setDF(on) }
