package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Wrap takes a connection that somebody else opened as a Socket, and owns it from then on.
//
// A connection whose dynamic type is *net.UDPConn is the kernel's, and gets the fast path and our socket options (DF,
// ECN, overflow counter, offload). Anything else, even a type that embeds *net.UDPConn, is spoken to through the methods of
// net.PacketConn alone, since its own versions of them are the reason it exists; but if it offers SyscallConn, DF is
// set there. WriteTo should not wait: it gets a deadline of ten milliseconds, if the connection knows deadlines, and whoever
// flushes waits that long with it.
//
// local is the locator the socket stands for, needed when the connection's LocalAddr does not tell: behind a relay, or
// bound to all addresses. If it is not valid, LocalAddr is taken; that must be one address and a port.
func Wrap(conn net.PacketConn, local netip.AddrPort) (Socket, error) {
	if conn == nil {
		return nil, errors.New("udp: no connection to wrap")
	}
	if !local.IsValid() {
		local, _ = addrPortOf(conn.LocalAddr())
	}
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	if err := bindable(local.Addr()); err != nil {
		return nil, fmt.Errorf("%w (local address of the wrapped connection %v)", err, conn.LocalAddr())
	}
	if local.Port() == 0 {
		return nil, fmt.Errorf("udp: wrapped connection %v has no port", conn.LocalAddr())
	}
	if c, ok := conn.(interface{ RemoteAddr() net.Addr }); ok && c.RemoteAddr() != nil {
		return nil, fmt.Errorf("udp: wrapped connection %v is connected to %v; one socket talks to many peers",
			conn.LocalAddr(), c.RemoteAddr())
	}
	_ = conn.SetDeadline(time.Time{}) // one left behind would make every read fail
	if c, ok := conn.(*net.UDPConn); ok {
		return newKernel(c, local, true)
	}
	return newSingle(&foreign{PacketConn: conn, inet6: local.Addr().Is6()}, local), nil
}

// foreign is a program's own net.PacketConn.
type foreign struct {
	net.PacketConn
	inet6 bool
	last  *net.UDPAddr // the last destination, so that a flow to one peer makes one address
	impatient
}

func (f *foreign) read(buf []byte) (int, netip.AddrPort, error) {
	n, from, err := f.ReadFrom(buf)
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	peer, ok := addrPortOf(from)
	if !ok {
		return 0, netip.AddrPort{}, errUnnamed
	}
	return n, peer, nil
}

func (f *foreign) write(buf []byte, peer netip.AddrPort) error {
	if f.last == nil || f.last.AddrPort() != peer {
		f.last = net.UDPAddrFromAddrPort(peer)
	}
	for {
		_ = f.SetWriteDeadline(f.deadline()) // not every connection knows deadlines
		_, err := f.WriteTo(buf, f.last)
		if again, err := f.ended(err); !again {
			return err
		}
	}
}

func (f *foreign) setDF(on bool) (done bool) {
	c, ok := f.PacketConn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) { done = setDF(int(fd), f.inet6, on) })
	return err == nil && done
}

// addrPortOf reads an address that is UDP's or prints like one.
func addrPortOf(a net.Addr) (netip.AddrPort, bool) {
	var ap netip.AddrPort
	switch a := a.(type) {
	case nil:
	case *net.UDPAddr:
		ap = a.AddrPort()
	default:
		ap, _ = netip.ParseAddrPort(a.String())
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), ap.IsValid()
}
