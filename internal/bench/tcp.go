package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

type tcpServer struct {
	*net.TCPListener
	at     *place
	dialer net.Dialer
	multi  bool
}

// listenTCP is for the kernel's TCP, or its MPTCP.
func listenTCP(multi bool) func(*place, int) (server, error) {
	return func(p *place, _ int) (server, error) {
		control := func(_, _ string, c syscall.RawConn) (err error) {
			return errors.Join(c.Control(func(fd uintptr) { err = useCubic(fd) }), err)
		}
		s := &tcpServer{at: p, multi: multi}
		// Without a local address: the kernel then takes the port of a connection that has lately ended where it is due, and
		// does not search for one that no such connection has.
		s.dialer = net.Dialer{Control: control, KeepAlive: -1}
		s.dialer.SetMultipathTCP(multi)
		lc := net.ListenConfig{Control: control, KeepAlive: -1}
		lc.SetMultipathTCP(multi)
		return s, p.atServer(func() error {
			l, err := lc.Listen(context.Background(), "tcp4", netip.AddrPortFrom(p.server[0], 0).String())
			if err == nil {
				s.TCPListener = l.(*net.TCPListener)
			}
			return err
		})
	}
}

func (s *tcpServer) dial(ctx context.Context) (conn, error) {
	var c net.Conn
	err := s.at.atClient(func() (err error) {
		c, err = s.dialer.DialContext(ctx, "tcp4", s.Addr().String())
		return err
	})
	if err != nil {
		return nil, err
	}
	t := tcpConn{c.(*net.TCPConn)}
	if s.multi {
		if used, err := t.MultipathTCP(); err != nil || !used {
			t.abort()
			return nil, fmt.Errorf("MPTCP used: %v, %w", used, err)
		}
	}
	return t, nil
}

func (s *tcpServer) accept(ctx context.Context) (conn, error) {
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	c, err := s.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return tcpConn{c}, nil
}

type tcpConn struct{ *net.TCPConn }

func (c tcpConn) abort() {
	c.SetLinger(0)
	c.Close()
}
