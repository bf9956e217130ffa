package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/go-multihome/multihome/transport"
)

// serve accepts associations until ctx ends or somebody types /quit, and echoes on every stream of each.
func (e *echo) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l, err := transport.Listen(e.listen, &e.conf)
	if err != nil {
		return err
	}
	e.note("listening on %v", l.Addr())
	go func() {
		// The end of a server's input is no reason to stop serving: it may have been started with none.
		if errors.Is(e.lines(e.in, io.Discard), errQuit) {
			cancel()
		}
	}()
	go e.tables(ctx)

	var all sync.WaitGroup
	for {
		var a *transport.Association
		if a, err = l.AcceptAssociation(ctx); err != nil {
			break
		}
		e.peers.add(a)
		all.Go(func() { e.events(a) })
		all.Go(func() { e.attend(ctx, a) })
	}
	if ctx.Err() != nil {
		err = nil
	}
	l.Close() // the accepted ones live on, and end in order now
	cancel()
	all.Wait()
	return err
}

// attend echoes what a peer sends until one side ends the association.
func (e *echo) attend(ctx context.Context, a *transport.Association) {
	defer e.peers.remove(a)
	peer := a.RemoteAddr()
	e.note("associated: %v  <->  %v", a.LocalAddr(), peer)
	end := sync.OnceValue(a.Close) // the second caller waits for the first
	stop := context.AfterFunc(ctx, func() { end() })
	defer stop()
	var all sync.WaitGroup
	all.Go(func() {
		for {
			s, err := a.AcceptStream(ctx)
			if err != nil {
				return
			}
			all.Go(func() { io.Copy(s, s) }) // ends with the association, which says how
		}
	})
	n, err := io.Copy(a, a)
	all.Wait()
	if cerr := end(); err == nil || errors.Is(err, net.ErrClosed) {
		err = cerr
	}
	if err != nil {
		e.note("%v", err)
	}
	e.note("%v has left after %d bytes", peer, n)
}
