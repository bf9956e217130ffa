package driver

import (
	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/wire"
)

// A peer that lost its memory may begin an association anew from the same addresses and ports (RFC 9260 section 5.2.4.1).
// The core goes on with new numbers, but a byte stream cannot: what the peer sends now is not what would have come next.
// So the association ends for its present user with ErrRestarted, and if a listener has the port, the core goes to a new
// Conn that waits for Accept there, as if a new association had been born.

// restart takes the core's news. From here on its events belong to the successor.
func (c *Conn) restart(unsent int) {
	c.ended = true
	c.err = ErrRestarted
	c.unsent = unsent
	c.end()
	own, _ := c.a.Ports()
	c.node.mu.RLock()
	l := c.node.listeners[own]
	c.restarted = l != nil && !l.full() && !c.userClosed // a peer that restarts again and again fills no queue
	c.node.mu.RUnlock()
	if !c.restarted {
		c.a.Abort(c.now, wire.CauseUserAbort, "")
	}
}

// succeed makes the new Conn. The caller holds mu and will not touch the core again.
func (c *Conn) succeed() {
	n := c.node
	if !n.Retain() {
		return // cannot be: this association still uses the node
	}
	own := c.port()
	n.mu.Lock() // from its end on, readers find the new Conn
	s := newConn(n, c.entry, false)
	s.now = c.now
	if s.listener = n.listeners[own]; s.listener != nil {
		s.listener.waiting.Add(1)
	}
	n.mu.Unlock()
	c.a = new(assoc.Assoc) // for Stats and the like
	go s.begin()           // takes the lock of another association, so not from here
}

// begin flushes a new association and hands it to its listener.
func (c *Conn) begin() {
	c.enter()
	c.knowFaults()
	c.leave(nil)
	if c.listener != nil {
		c.listener.queue(c)
	} else {
		c.drop()
	}
}

func (c *Conn) port() uint16 {
	own, _ := c.a.Ports()
	return own
}
