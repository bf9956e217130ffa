package driver

import (
	"context"

	"github.com/go-multihome/multihome/internal/endpoint"
	"github.com/go-multihome/multihome/internal/gate"
	"github.com/go-multihome/multihome/internal/wire"
)

// Unanswered is the error of a dial whose context ended.
type Unanswered struct {
	Err   error  // the context's
	Tried string // what every locator that was dialled had answered by then
}

func (e *Unanswered) Error() string { return e.Err.Error() + ": " + e.Tried }

// Unwrap returns the context's error.
func (e *Unanswered) Unwrap() error { return e.Err }

// Dial begins an association and waits until it is established. When ctx ends first the attempt is aborted.
// The second result tells how far the attempt came when the error is not nil.
func (n *Node) Dial(ctx context.Context, p endpoint.DialParams) (*Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !n.Retain() {
		return nil, ErrNodeClosed
	}
	up := new(gate.Gate)
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
	if err := up.WaitContext(ctx); err == nil {
		up.Unlock(true)
	} else {
		c.mu.Lock()
		why := &Unanswered{err, c.a.DialReport()}
		c.unlock()
		c.abort(wire.CauseUserAbort, "given up", why)
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
