package simnet

import (
	"net"
	"net/netip"
	"os"
	"time"
)

var _ net.PacketConn = (*Socket)(nil)

// ReadFrom waits for a datagram. What does not fit p is lost, as with UDP.
func (s *Socket) ReadFrom(p []byte) (int, net.Addr, error) {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	if err := s.in.waitLocked(); err != nil {
		return 0, nil, s.opError("read", nil, err)
	}
	r := s.in.takeLocked()
	n := copy(p, r.data)
	s.in.spare = append(s.in.spare, r.data[:0])
	return n, net.UDPAddrFromAddrPort(r.from), nil
}

// WriteTo sends a datagram to a *net.UDPAddr. It never waits.
func (s *Socket) WriteTo(p []byte, addr net.Addr) (int, error) {
	to, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, s.opError("write", addr, net.InvalidAddrError("not a UDP address"))
	}
	if s.isClosed() {
		return 0, s.opError("write", addr, net.ErrClosed)
	}
	if until := s.wuntil.Load(); until != 0 && time.Now().UnixNano() >= until {
		return 0, s.opError("write", addr, os.ErrDeadlineExceeded)
	}
	ap := to.AddrPort()
	d := Datagram{From: s.in.local, To: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), Data: p}
	if err := s.lab.send(d); err != nil {
		return 0, s.opError("write", addr, err)
	}
	return len(p), nil
}

func (s *Socket) opError(op string, addr net.Addr, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: s.LocalAddr(), Addr: addr, Err: err}
}

// LocalAddr returns the bound *net.UDPAddr.
func (s *Socket) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(s.in.local) }

// SetDeadline sets both deadlines.
func (s *Socket) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

// SetReadDeadline makes reads fail from t on, also those that wait already. The zero time takes the deadline away.
func (s *Socket) SetReadDeadline(t time.Time) error {
	s.in.setDeadline(t)
	return nil
}

// SetWriteDeadline makes writes fail from t on. The zero time takes the deadline away.
func (s *Socket) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		s.wuntil.Store(0)
	} else {
		s.wuntil.Store(t.UnixNano())
	}
	return nil
}
