package driver

import (
	"context"
	"net"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/tx"
	"github.com/go-multihome/multihome/locator"
)

// Params are what can be changed for one association while it lives.
type Params struct {
	assoc.Params
	SendBuffer int
}

// Params returns those in force.
func (c *Conn) Params() Params {
	c.mu.Lock()
	defer c.unlock()
	return Params{Params: c.a.Params(), SendBuffer: c.limit}
}

// SetParams has f change them. It fails when the association has ended.
func (c *Conn) SetParams(f func(*Params)) error {
	c.enter()
	if err := c.writeEnd(); c.ended || c.userClosed {
		c.unlock()
		return err
	}
	p := Params{Params: c.a.Params(), SendBuffer: c.limit}
	f(&p)
	c.a.SetParams(p.Params)
	c.whole.Store(p.NoFragments)
	if p.SendBuffer != c.limit {
		c.limit, c.most = p.SendBuffer, p.SendBuffer // what the user sets does not grow
	}
	c.wakeWriters()
	c.leave(nil)
	return nil
}

// SetHeartbeat changes how paths are watched; no path means all, those to come included. cfg must not change afterwards.
func (c *Conn) SetHeartbeat(cfg *heartbeat.Config, ids []locator.PathID) error {
	return c.onPaths(ids, func(now mono.Time) { c.a.SetHeartbeats(now, cfg) },
		func(now mono.Time, id locator.PathID) error { return c.a.SetHeartbeat(now, id, cfg) })
}

// SetSize changes the size of packets of paths likewise, see assoc.SetSize.
func (c *Conn) SetSize(payload, most int, ids []locator.PathID) error {
	return c.onPaths(ids, func(now mono.Time) { c.a.SetSizes(now, payload, most) },
		func(now mono.Time, id locator.PathID) error { return c.a.SetSize(now, id, payload, most) })
}

// onPaths changes something of the named paths, or of all if none is named.
func (c *Conn) onPaths(ids []locator.PathID, all func(mono.Time), one func(mono.Time, locator.PathID) error) error {
	now := c.enter()
	err := c.writeEnd()
	switch {
	case c.ended || c.userClosed:
	case len(ids) == 0:
		err = nil
		all(now)
	default:
		err = nil
		for _, id := range ids {
			if e := one(now, id); e != nil {
				err = e
			}
		}
	}
	c.leave(nil)
	return err
}

// SetTurn sets what the scheduler wants to know of an outgoing stream: a priority or a weight.
func (s *Stream) SetTurn(value uint16) error {
	c := s.c
	c.mu.Lock()
	defer c.unlock()
	if err := c.writeEnd(); err != nil {
		return err
	}
	if c.a.SetStreamValue(s.id, value) != nil {
		return ErrStreamID
	}
	return nil
}

// Turn returns it.
func (s *Stream) Turn() uint16 {
	s.c.mu.Lock()
	defer s.c.unlock()
	return s.c.a.StreamValue(s.id)
}

// GivenUp returns how many messages of the stream's number were given up.
func (s *Stream) GivenUp() tx.Counts {
	s.c.mu.Lock()
	defer s.c.unlock()
	return s.c.a.StreamGivenUp(s.id)
}

// WaitSent waits until the peer has acknowledged everything that was written.
func (c *Conn) WaitSent(ctx context.Context) error {
	for {
		c.mu.Lock()
		switch {
		case c.ended:
			defer c.unlock()
			if c.err == nil && c.unsent == 0 {
				return nil
			}
			return unsent(c.unsent, c.err)
		case c.a.SendHeld() == 0:
			defer c.unlock()
			if c.userClosed {
				return net.ErrClosed
			}
			return nil
		}
		if c.dry == nil {
			c.dry = make(chan struct{})
		}
		dry := c.dry
		c.unlock()
		select {
		case <-dry:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// signalDry wakes who waits for everything to be acknowledged, or for the end.
func (c *Conn) signalDry() {
	if c.dry != nil && (c.ended || c.a.SendHeld() == 0) {
		close(c.dry)
		c.dry = nil
	}
}

// undelivered is messages that were given up, or left when the association ended.
type undelivered struct {
	messages []tx.Abandoned
	bytes    int
}

// keepFailed remembers a message that was not delivered, for Undelivered. What nobody asks for is bounded by twice the send
// buffer: older ones make room.
func (c *Conn) keepFailed(f *tx.Abandoned) {
	if !c.node.cfg.Assoc.KeepAbandoned {
		return
	}
	if c.failed == nil {
		c.failed = new(undelivered)
	}
	u := c.failed
	u.messages = append(u.messages, *f)
	u.bytes += f.Len
	for u.bytes > 2*c.most && len(u.messages) > 1 {
		u.bytes -= u.messages[0].Len
		u.messages[0] = tx.Abandoned{}
		u.messages = u.messages[1:]
	}
}

// Undelivered returns the messages that were not delivered since the last call, oldest first.
func (c *Conn) Undelivered() []tx.Abandoned {
	c.mu.Lock()
	defer c.unlock()
	if c.failed == nil {
		return nil
	}
	f := c.failed.messages
	c.failed = nil
	return f
}
