package driver

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/go-multihome/multihome/internal/gate"
)

// Listener takes the associations that peers begin with one SCTP port of a node.
type Listener struct {
	node    *Node
	port    uint16
	backlog int

	gate   gate.Gate // condition: an association waits, or the end
	ready  []*Conn   // guarded by gate
	closed bool      // guarded by gate

	waiting atomic.Int32 // associations born and not accepted
}

// Listen begins to accept associations on an SCTP port. At most backlog of them wait for Accept; when that many do,
// further peers get no answer to their COOKIE ECHO and try again.
func (n *Node) Listen(port uint16, backlog int) (*Listener, error) {
	if !n.Retain() {
		return nil, ErrNodeClosed
	}
	l := &Listener{node: n, port: port, backlog: backlog}
	n.mu.Lock()
	err := n.ep.Listen(port, l.full)
	if err == nil {
		n.listeners[port] = l
	}
	n.mu.Unlock()
	if err != nil {
		n.release()
		return nil, err
	}
	return l, nil
}

// full tells the endpoint, before it gives birth, whether another association could not wait here. Node.mu is held.
func (l *Listener) full() bool { return int(l.waiting.Load()) >= l.backlog }

// Node returns the node the listener uses.
func (l *Listener) Node() *Node { return l.node }

// Port returns the SCTP port.
func (l *Listener) Port() uint16 { return l.port }

// Accept waits for an association. It fails with net.ErrClosed after Close, os.ErrDeadlineExceeded at the deadline, or
// ctx.Err().
func (l *Listener) Accept(ctx context.Context) (*Conn, error) {
	if err := l.gate.WaitContext(ctx); err != nil {
		if l.isClosed() {
			err = net.ErrClosed
		}
		return nil, err
	}
	if l.closed {
		l.gate.Unlock(true)
		return nil, net.ErrClosed
	}
	c := l.ready[0]
	l.ready[0] = nil
	l.ready = l.ready[1:]
	if len(l.ready) == 0 {
		l.ready = nil
	}
	l.gate.Unlock(len(l.ready) > 0)
	l.waiting.Add(-1)
	return c, nil
}

func (l *Listener) isClosed() bool {
	set := l.gate.Lock()
	closed := l.closed
	l.gate.Unlock(set)
	return closed
}

// SetDeadline sets the instant from which Accept fails.
func (l *Listener) SetDeadline(t time.Time) error {
	if l.isClosed() {
		return net.ErrClosed
	}
	l.gate.SetDeadline(t)
	return nil
}

// Close stops listening and aborts what has not been accepted. Accepted associations and the sockets they use live on.
func (l *Listener) Close() error {
	l.gate.Lock()
	if l.closed {
		l.gate.Unlock(true)
		return net.ErrClosed
	}
	l.closed = true
	ready := l.ready
	l.ready = nil
	l.gate.Unlock(true)
	l.node.mu.Lock()
	l.node.ep.Unlisten(l.port)
	delete(l.node.listeners, l.port)
	l.node.mu.Unlock()
	for _, c := range ready {
		c.drop()
	}
	l.node.release()
	l.node.settle()
	return nil
}

// queue hands a new association to its listener.
func (l *Listener) queue(c *Conn) {
	l.gate.Lock()
	closed := l.closed
	if !closed {
		l.ready = append(l.ready, c)
	}
	l.gate.Unlock(closed || len(l.ready) > 0)
	if closed {
		c.drop()
	}
}
