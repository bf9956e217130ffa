package driver

import (
	"net"
	"time"

	"github.com/go-multihome/multihome/internal/rx"
)

// merged is one inbox for the messages of all streams, in the order in which they became whole (Config.Merge). Messages
// whose end is missing wait beside it, so that those of other streams pass them.
type merged struct {
	in   inbox
	open map[uint16]*rx.Part // by stream; guarded by Conn.mu
}

// deliver puts a part where it belongs.
func (g *merged) deliver(c *Conn, p *rx.Part) {
	o := g.open[p.SID]
	switch {
	case o == nil && p.End:
		g.put(c, p)
		return
	case o == nil && p.Broken:
		g.put(c, p) // pieces of it were handed out
		return
	case o == nil:
		o = new(rx.Part)
		*o = *p
		if g.open == nil {
			g.open = make(map[uint16]*rx.Part)
		}
		g.open[p.SID] = o
	case p.Broken && o.Begin:
		delete(g.open, p.SID) // as if it had never come
		c.discard(o)
		return
	case p.Broken:
		o.Broken = true
	default:
		join(o, p)
	}
	if o.End || o.Broken || c.pressed || o.Data.Held > c.window/2 {
		delete(g.open, p.SID)
		g.put(c, o)
	}
}

// join puts the payload of p behind that of o.
func join(o, p *rx.Part) {
	d := &o.Data
	if d.Head == nil {
		d.Head = p.Data.Head
	} else {
		d.Tail.SetNext(p.Data.Head)
	}
	d.Tail = p.Data.Tail
	d.Len += p.Data.Len
	d.Held += p.Data.Held
	o.End = p.End
}

func (g *merged) put(c *Conn, p *rx.Part) {
	taken, freed := g.in.put(p)
	if !taken {
		c.discard(p)
	}
	c.consumed(freed)
}

// flush hands out what waits for its end: there is no room to wait any longer, or nothing more will come.
func (g *merged) flush(c *Conn) {
	for id, o := range g.open {
		delete(g.open, id)
		g.put(c, o)
	}
}

// close discards everything and returns the memory freed.
func (g *merged) close() (held int) {
	held, _ = g.in.close()
	for id, o := range g.open {
		held += o.Data.Held
		o.Data.Free()
		delete(g.open, id)
	}
	return held
}

// Merged reports whether messages of all streams are read with ReadAny.
func (c *Conn) Merged() bool { return c.node.cfg.Merge }

func (c *Conn) merged() *merged {
	c.mu.Lock()
	defer c.unlock()
	return c.streams().all
}

// ReadAny is Stream.ReadMessage for the messages of all streams.
func (c *Conn) ReadAny(p []byte, part *rx.Part) (n int, more bool, err error) {
	q := &c.merged().in
	if err := q.gate.WaitAndLock(); err != nil {
		if c.closed() {
			err = net.ErrClosed
		}
		return 0, false, err
	}
	var held int
	switch {
	case q.shut:
		err = net.ErrClosed
	case q.head == nil:
		err = q.end
	default:
		n, held, more, err = q.message(p, part)
	}
	drained := q.head == nil
	q.gate.Unlock(q.ready())
	c.giveBack(held, drained)
	return n, more, err
}

// SetAnyDeadline is Stream.SetReadDeadline for ReadAny.
func (c *Conn) SetAnyDeadline(t time.Time) error {
	c.merged().in.gate.SetDeadline(t)
	if c.closed() {
		return net.ErrClosed
	}
	return nil
}

func (c *Conn) closed() bool {
	c.mu.Lock()
	defer c.unlock()
	return c.userClosed
}
