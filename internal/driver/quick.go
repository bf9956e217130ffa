package driver

import "github.com/go-multihome/multihome/internal/tx"

// quick writes a small message in one step under the association's lock, if nothing stands in the way: no deadline to look at,
// no other writer inside a write or in line, nothing that has to wait, nothing that needs the time. It reports whether it did;
// if not, nothing has happened, and the way that waits finds out why.
//
// A writer on that way counts in s.slow before it takes its turn. So whoever finds none here, with the lock held, comes
// before it as a whole.
func (s *Stream) quick(p []byte, o, def *Options) bool {
	if len(p) == 0 || len(p) > tx.SmallMessage || s.slow.Load() != 0 || s.dated.Load() || o != nil && o.More {
		return false
	}
	c := s.c
	c.mu.Lock()
	opts := s.resolve(o, def)
	if s.slow.Load() != 0 || s.writable() != nil || s.out.pending || opts.Lifetime > 0 || opts.Whole || c.whole.Load() ||
		c.mux.line.first != nil || !c.hasRoom(s, false) || !c.reached(s) {
		c.unlock()
		return false
	}
	behind := c.behind(s)
	if !behind {
		c.tick()
	}
	m := c.a.NewMessage()
	c.pushed(c.now, s, m, o, def)
	err := c.a.SendSmall(c.now, m, p)
	switch {
	case behind:
		c.unlock()
	case c.flushing:
		c.again = true
		c.mu.Unlock()
	default:
		c.leave(nil)
	}
	if err != nil {
		m.Free()
	}
	return err == nil
}

// behind reports whether one more message of s changes nothing about what can be sent now: it waits behind another one that
// waits for an answer itself. Nobody needs to know of it, but the budget now and then.
func (c *Conn) behind(s *Stream) bool {
	return c.blocked && !c.flushing && c.a.Behind(s.id) && c.a.Held()-c.charged < bookStep
}

// reached reports whether our outgoing streams reach up to the number of s.
func (c *Conn) reached(s *Stream) bool {
	out, _ := c.a.Streams()
	return int(s.id) < out
}
