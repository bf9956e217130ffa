package simnet

import (
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
)

// PacketConn is a net.PacketConn of a Lab, for programs that know nothing of batches.
type PacketConn struct {
	lab    *Lab
	in     *inbox
	wuntil atomic.Int64 // write deadline in Unix nanoseconds, 0: none
}

var _ net.PacketConn = (*PacketConn)(nil)

// ListenPacket opens a net.PacketConn on a host's address. Port 0 picks a free one.
func (l *Lab) ListenPacket(ap netip.AddrPort) (*PacketConn, error) {
	q, err := l.bind(ap)
	if err != nil {
		return nil, err
	}
	return &PacketConn{lab: l, in: q}, nil
}

// ReadFrom waits for a datagram. What does not fit p is lost, as with UDP.
func (c *PacketConn) ReadFrom(p []byte) (int, net.Addr, error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if err := c.in.waitLocked(); err != nil {
		return 0, nil, c.opError("read", nil, err)
	}
	r := c.in.takeLocked()
	n := copy(p, r.data)
	c.in.spare = append(c.in.spare, r.data[:0])
	return n, net.UDPAddrFromAddrPort(r.from), nil
}

// WriteTo sends a datagram to a *net.UDPAddr. It never waits.
func (c *PacketConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	to, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, c.opError("write", addr, net.InvalidAddrError("not a UDP address"))
	}
	c.in.mu.Lock()
	closed := c.in.closed
	c.in.mu.Unlock()
	if closed {
		return 0, c.opError("write", addr, net.ErrClosed)
	}
	if until := c.wuntil.Load(); until != 0 && time.Now().UnixNano() >= until {
		return 0, c.opError("write", addr, os.ErrDeadlineExceeded)
	}
	ap := to.AddrPort()
	d := Datagram{From: c.in.local, To: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), Data: p}
	if err := c.lab.send(d); err != nil {
		return 0, c.opError("write", addr, err)
	}
	return len(p), nil
}

func (c *PacketConn) opError(op string, addr net.Addr, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Addr: addr, Err: err}
}

// LocalAddr returns the bound *net.UDPAddr.
func (c *PacketConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.in.local) }

// SetDeadline sets both deadlines.
func (c *PacketConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline makes reads fail from t on, also those that wait already. The zero time takes the deadline away.
func (c *PacketConn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(t)
	return nil
}

// SetWriteDeadline makes writes fail from t on. The zero time takes the deadline away.
func (c *PacketConn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		c.wuntil.Store(0)
	} else {
		c.wuntil.Store(t.UnixNano())
	}
	return nil
}

// Close frees the address and wakes the readers.
func (c *PacketConn) Close() error {
	c.in.mu.Lock()
	closed := c.in.closed
	c.in.mu.Unlock()
	if closed {
		return c.opError("close", nil, net.ErrClosed)
	}
	c.lab.unbind(c.in)
	return nil
}
