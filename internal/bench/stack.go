package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// stack is one transport.
type stack struct {
	name  string
	title string

	// listen makes a server at a place. The first paths addresses of either end are used by what can use more than one.
	listen func(p *place, paths int) (server, error)
}

// server is one end that waits for the other, and the way to it.
type server interface {
	dial(ctx context.Context) (conn, error)
	accept(ctx context.Context) (conn, error)
	Close() error
}

// conn is one end of a connection with one stream. The stream is opened by the first Write of the end that dialled, and taken
// by the first Read of the other, where the transport has more than one.
type conn interface {
	io.ReadWriteCloser // Close ends in order
	abort()            // ends at once
}

// messenger is a conn with messages: one for each Write of up to 16 KiB.
type messenger interface {
	readMessage(p []byte) (int, error)
}

var stacks = []*stack{
	{name: "multihome", title: "multihome", listen: listenMultihome},
	{name: "pion", title: "pion/sctp", listen: listenPion},
	{name: "quic", title: "quic-go", listen: listenQUIC},
	{name: "tcp", title: "TCP", listen: listenTCP(false)},
	{name: "mptcp", title: "MPTCP", listen: listenTCP(true)},
	{name: "udp", title: "UDP", listen: listenUDP},
}

// lookup finds stacks by their names, joined by commas.
func lookup(names string) ([]*stack, error) {
	var out []*stack
	for name := range strings.SplitSeq(names, ",") {
		s := byName(strings.TrimSpace(name))
		if s == nil {
			return nil, fmt.Errorf("no transport %q", name)
		}
		out = append(out, s)
	}
	return out, nil
}

func byName(name string) *stack {
	for _, s := range stacks {
		if s.name == name {
			return s
		}
	}
	return nil
}

// connect makes a connection and returns both its ends.
func connect(ctx context.Context, srv server) (dialled, accepted conn, err error) {
	type taken struct {
		c   conn
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ch := make(chan taken, 1)
	go func() {
		c, err := srv.accept(ctx)
		ch <- taken{c, err}
	}()
	dialled, err = srv.dial(ctx)
	if err != nil {
		cancel()
		if t := <-ch; t.c != nil {
			t.c.abort()
		}
		return nil, nil, err
	}
	t := <-ch
	if t.err != nil {
		dialled.abort()
		return nil, nil, errors.Join(errors.New("accepting"), t.err)
	}
	return dialled, t.c, nil
}
