package main

import (
	"context"
	"net"
	"net/netip"
	"sync"
)

// udpServer is a socket that answers whoever sent to it last. It is for one message there and back at a time: nothing else
// could do without more.
type udpServer struct {
	at   *place
	sock *net.UDPConn
}

func listenUDP(p *place, _ int) (server, error) {
	s := &udpServer{at: p}
	return s, p.atServer(func() (err error) {
		s.sock, err = net.ListenUDP("udp4", &net.UDPAddr{IP: p.server[0].AsSlice()})
		return err
	})
}

func (s *udpServer) dial(context.Context) (conn, error) {
	var c *net.UDPConn
	err := s.at.atClient(func() (err error) {
		c, err = net.DialUDP("udp4", &net.UDPAddr{IP: s.at.client[0].AsSlice()}, s.sock.LocalAddr().(*net.UDPAddr))
		return err
	})
	if err != nil {
		return nil, err
	}
	return udpConn{c}, nil
}

func (s *udpServer) accept(context.Context) (conn, error) { return &udpAnswerer{u: s.sock}, nil }

func (s *udpServer) Close() error { return s.sock.Close() }

type udpConn struct{ *net.UDPConn }

func (c udpConn) abort() { c.Close() }

type udpAnswerer struct {
	u    *net.UDPConn
	last netip.AddrPort
	once sync.Once
}

func (c *udpAnswerer) Read(p []byte) (n int, err error) {
	n, c.last, err = c.u.ReadFromUDPAddrPort(p)
	return n, err
}

func (c *udpAnswerer) Write(p []byte) (int, error) { return c.u.WriteToUDPAddrPort(p, c.last) }

func (c *udpAnswerer) Close() (err error) {
	c.once.Do(func() { err = c.u.Close() })
	return err
}

func (c *udpAnswerer) abort() { c.Close() }
