package driver

import (
	"time"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/tx"
	"github.com/go-multihome/multihome/locator"
)

// What can be asked about an association, and the few calls that only mark something in the core.

// Node returns the node the association uses.
func (c *Conn) Node() *Node { return c.node }

// Client reports whether this side dialled.
func (c *Conn) Client() bool { return c.client }

// Paths returns what can be told about every path. Since is in real time.
func (c *Conn) Paths() []assoc.PathInfo {
	c.mu.Lock()
	defer c.unlock()
	ps := c.a.Paths(nil)
	for i := range ps {
		ps[i].Since = c.node.clock.wall(mono.FromStd(ps[i].Since))
	}
	return ps
}

// Info is what can be told about an association as a whole.
type Info struct {
	State              assoc.State
	LocalPort, Port    uint16 // SCTP
	OutStreams         int
	InStreams          int
	Peer               assoc.Peer
	Status             assoc.Status
	SendHeld, RecvHeld int // bytes written and not acknowledged; memory of what arrived and was not read
	Window             int // receive window allowed at present
	GivenUp            tx.Counts
	Core               assoc.Stats
	NextTimer          time.Time // when the core acts by itself; zero: never
	LastIn             time.Time // when packets were last received; zero: never
}

// Info returns it.
func (c *Conn) Info() Info {
	c.mu.Lock()
	defer c.unlock()
	i := Info{State: c.a.State(), Peer: c.a.Peer(), Status: c.a.Status(), SendHeld: c.a.SendHeld(), RecvHeld: c.a.Held() - c.a.SendHeld(),
		Window: c.window, GivenUp: c.a.GivenUp(), Core: c.a.Stats()}
	i.LocalPort, i.Port = c.a.Ports()
	i.OutStreams, i.InStreams = c.a.Streams()
	i.LastIn = c.node.clock.wall(c.lastIn)
	if at, ok := c.a.Deadline(); ok {
		i.NextTimer = c.node.clock.wall(at)
	}
	return i
}

// Unsent returns how many bytes were not acknowledged when the association ended.
func (c *Conn) Unsent() int {
	c.mu.Lock()
	defer c.unlock()
	return c.unsent
}

// SetPrimary prefers a path.
func (c *Conn) SetPrimary(id locator.PathID) error {
	now := c.enter()
	err := c.writeEnd()
	if err == nil {
		err = c.a.SetPrimary(now, id)
	}
	c.leave(nil)
	return err
}

// Heartbeat asks a path whether it is alive.
func (c *Conn) Heartbeat(id locator.PathID) error {
	now := c.enter()
	err := c.writeEnd()
	if err == nil {
		err = c.a.Heartbeat(now, id)
	}
	c.leave(nil)
	return err
}

// Watch has f, too, told of the core's events from now on, with the instant in real time. f is called with the association's
// lock held: it must not wait and not call back. It is told at once that the association is up, and whether everything is
// acknowledged, or that it has ended.
func (c *Conn) Watch(f func(time.Time, *assoc.Event)) {
	c.mu.Lock()
	defer c.unlock()
	c.watch = append(c.watch, f)
	at := c.node.clock.wall(c.now)
	if !c.ended && c.a.State() >= assoc.Established {
		f(at, &assoc.Event{Kind: assoc.EventUp})
		if c.a.SendHeld() == 0 {
			f(at, &assoc.Event{Kind: assoc.EventSpace})
		}
	}
	if c.ended {
		f(c.node.clock.wall(c.now), &assoc.Event{Kind: assoc.EventClosed, Err: c.err, Unsent: c.unsent})
	}
}
