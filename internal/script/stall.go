package script

import (
	"time"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/simnet"
)

// stall is a machine that does nothing for a while: its processes are not scheduled. What arrives waits in the sockets, and
// alarms go off late, before anything that waits is read.
type stall struct {
	until mono.Time // zero: it runs
	inbox []simnet.Arrival
}

// cmdStall stops a host: stall a 200ms.
func cmdStall(c *call) error {
	h, err := c.host(0)
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(c.arg(1))
	if err != nil {
		return err
	}
	h.Stall(d)
	return nil
}

// Stall stops the host for a while.
func (h *Host) Stall(d time.Duration) { h.stall.until = h.World.Now.Add(d) }

// stalled reports whether the host does nothing now.
func (h *Host) stalled() bool { return h.World.Now.Before(h.stall.until) }

// receives keeps a packet for later if the host is stalled.
func (h *Host) receives(a *simnet.Arrival) (later bool) {
	if !h.stalled() {
		return false
	}
	kept := *a
	kept.Data = append([]byte(nil), a.Data...)
	h.stall.inbox = append(h.stall.inbox, kept)
	return true
}

// due is when the host can look at what was due at an instant.
func (h *Host) due(at mono.Time) mono.Time { return max(at, h.stall.until) }

// wake lets a host that was stalled go on: alarms first, then what has arrived, then what the user wants.
func (h *Host) wake() {
	if h.stall.until == 0 || h.stalled() {
		return
	}
	inbox := h.stall.inbox
	h.stall = stall{}
	for _, c := range h.Conns {
		if at, has := c.A.Deadline(); !c.removed && has && !h.World.Now.Before(at) {
			c.A.Timeout(h.World.Now)
			h.flush(c)
		}
	}
	for _, a := range inbox {
		h.World.arrive(a)
	}
	for _, c := range h.Conns {
		if !c.removed {
			h.flush(c)
		}
	}
}

// arrive hands a packet to its host.
func (w *World) arrive(a simnet.Arrival) {
	for _, h := range w.Hosts {
		for i, l := range h.locals {
			if l.AddrPort() == a.To && h.EP != nil {
				if h.receives(&a) {
					return
				}
				h.handle(assoc.Arrival{Local: i, Peer: a.From}, a.Data)
				return
			}
		}
	}
}
