package driver

import "github.com/go-multihome/multihome/internal/rx"

// delivery takes parts to their streams. The inbox used last stays locked until another one is needed or close is called, so
// that the messages of a packet cost one lock, and wake their reader once.
type delivery struct {
	c  *Conn
	to *Stream // its inbox is locked; nil: none is
}

// partsStep is how many parts may wait in the core while the packets of one batch are taken in. With small messages a batch
// holds thousands: their readers begin sooner, and find them in the cache.
const partsStep = 128

// parts delivers what is ready, up to the next event. The core lock is held; the order is association, then stream.
func (c *Conn) parts() {
	if c.restarted || !c.a.HasPart() {
		return
	}
	d := delivery{c: c}
	for part, ok := c.a.NextPart(); ok; part, ok = c.a.NextPart() {
		d.put(&part)
	}
	d.close()
}

// close unlocks the last inbox.
func (d *delivery) close() {
	if s := d.to; s != nil {
		d.to = nil
		s.in.gate.UnlockFor(s.in.ready(), d.c.quiet)
	}
}

// put takes a part to its stream's inbox.
func (d *delivery) put(p *rx.Part) {
	c := d.c
	if s := d.to; s == nil || s.id != p.SID || s.over {
		d.close()
		if d.to = c.receiver(p); d.to == nil {
			return
		}
		d.to.in.gate.Lock()
	}
	taken, freed := d.to.in.add(p)
	if !taken {
		c.discard(p)
	}
	c.consumed(freed)
}

// deliver puts a part into its stream's inbox. The core lock is held; the order is association, then stream.
func (c *Conn) deliver(p *rx.Part) {
	d := delivery{c: c}
	d.put(p)
	d.close()
}

// receiver returns the stream that a part is for, nil if it was taken to where messages of all streams are read, or nobody
// wants it.
func (c *Conn) receiver(p *rx.Part) *Stream {
	if c.userClosed {
		c.discard(p)
		return nil
	}
	if all := c.streams().all; all != nil {
		all.deliver(c, p)
		return nil
	}
	s, made := c.stream(p.SID)
	if s.over {
		// The peer has ended this stream, and begins anew.
		c.loosen(s)
		s, made = c.newStream(p.SID, s), true
	}
	if made && (p.SID != 0 || c.mux.zeroOver) {
		c.mux.accept(s)
	}
	return s
}

// discard gives an unwanted part's memory back at once.
func (c *Conn) discard(p *rx.Part) {
	held := p.Data.Held
	p.Data.Free()
	c.consumed(held)
}

// consumed tells the core of memory that was given back.
func (c *Conn) consumed(held int) {
	if held > 0 && !c.restarted {
		c.a.Consumed(c.now, held)
	}
}
