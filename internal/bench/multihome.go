package main

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/transport"
)

type multihomeServer struct {
	*transport.Listener
	at     *place
	client transport.Config
}

// listenMultihome listens with the default configuration.
func listenMultihome(p *place, paths int) (server, error) {
	s := &multihomeServer{at: p}
	s.client.Local = joined(p.client, paths, "")
	cfg := &transport.Config{}
	if p.apart {
		// Dials with the same addresses share sockets unless their configurations differ, and all laboratories have the
		// same addresses. A function of its own makes a configuration differ.
		s.client.Control = func(string, string, syscall.RawConn) error { return nil }
		cfg.Control = s.client.Control
	}
	return s, p.atServer(func() (err error) {
		s.Listener, err = transport.Listen(joined(p.server, paths, ":0"), cfg)
		return err
	})
}

// joined lists the first addresses as transport takes them.
func joined(addrs []netip.Addr, n int, suffix string) string {
	var out []string
	for _, a := range addrs[:min(n, len(addrs))] {
		out = append(out, a.String()+suffix)
	}
	return strings.Join(out, ",")
}

func (s *multihomeServer) dial(ctx context.Context) (conn, error) {
	var a *transport.Association
	err := s.at.atClient(func() (err error) {
		a, err = transport.Dial(ctx, s.Addr().String(), &s.client)
		return err
	})
	if err != nil {
		return nil, err
	}
	return multihomeConn{a}, nil
}

func (s *multihomeServer) accept(ctx context.Context) (conn, error) {
	a, err := s.AcceptAssociation(ctx)
	if err != nil {
		return nil, err
	}
	return multihomeConn{a}, nil
}

type multihomeConn struct{ *transport.Association }

func (c multihomeConn) abort() { c.Abort("") }

func (c multihomeConn) readMessage(p []byte) (int, error) {
	n, info, err := c.ReadMessage(p)
	if err == nil && info.More {
		err = errors.New("a message of more than " + strconv.Itoa(len(p)) + " bytes")
	}
	return n, err
}

// active returns how many paths are known to work.
func (c multihomeConn) active() (n int) {
	for _, p := range c.Paths() {
		if p.State == heartbeat.Active && !p.Gone {
			n++
		}
	}
	return n
}
