package driver

import (
	"context"

	"github.com/go-multihome/multihome/internal/endpoint"
	"github.com/go-multihome/multihome/internal/wire"
)

// Dial begins an association and waits until it is established. When ctx ends first the attempt is aborted.
// The second result tells how far the attempt came when the error is not nil.
func (n *Node) Dial(ctx context.Context, p endpoint.DialParams) (*Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !n.Retain() {
		return nil, ErrNodeClosed
	}
	up := make(chan struct{})
	n.mu.Lock()
	e, err := n.ep.Dial(n.clock.now(), p)
	if err != nil {
		n.mu.Unlock()
		n.release()
		return nil, err
	}
	c := newConn(n, e, true)
	c.up = up
	n.mu.Unlock()
	c.enter()
	c.knowFaults()
	c.leave(nil)
	select {
	case <-up:
	case <-ctx.Done():
		c.abort(wire.CauseUserAbort, "given up", ctx.Err())
	}
	c.mu.Lock()
	defer c.unlock()
	switch {
	case !c.ended:
		return c, nil
	case c.aborted != nil:
		return c, c.aborted
	case c.err != nil:
		return c, c.err
	}
	return c, nil // established and already ended in order
}
