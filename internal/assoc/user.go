package assoc

import (
	"errors"
	"strings"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/tx"
	"github.com/go-multihome/multihome/locator"
)

// Errors of the user's calls.
var (
	ErrNotOpen = errors.New("association is not established")
	ErrClosing = errors.New("association is shutting down")
	ErrNoPath  = errors.New("no such path")

	// ErrTooLarge says that a message does not fit one DATA chunk and must not be cut.
	ErrTooLarge = errors.New("the message does not fit one DATA chunk")
)

// Policies of messages.
const (
	Failover  = path.Failover  // the primary path while it is well, else the best alternate
	Redundant = path.Redundant // copies on Config.RedundantPaths paths at once
	Fastest   = path.Fastest   // the shortest round trip
)

// SetPolicy sets a message's policy, before Send.
func SetPolicy(m *tx.Message, p path.Policy) {
	m.Wish, m.Redundant = uint8(p), p == path.Redundant
}

// NewMessage returns an empty message for Send.
func (a *Assoc) NewMessage() *tx.Message { return a.tx.NewMessage() }

// Send takes a message. It is accepted whole, whatever SendHeld says: the layer above keeps the limit. On an error the
// message stays the caller's.
func (a *Assoc) Send(now mono.Time, m *tx.Message) error {
	switch {
	case a.state == Closed && a.err != nil:
		return a.err
	case a.state < Established:
		return ErrNotOpen
	case a.state != Established:
		return ErrClosing
	}
	if a.cfg.NoFragments && m.Data.Len > a.FragmentSize() {
		return ErrTooLarge
	}
	if m.Redundant {
		a.redundant = int16(min(a.cfg.RedundantPaths, locator.MaxPaths))
	}
	return a.tx.Push(m)
}

// SendSmall is Send for a message of at most tx.SmallMessage bytes, p. m, from NewMessage and without data, says how it travels.
func (a *Assoc) SendSmall(now mono.Time, m *tx.Message, p []byte) error {
	cut := a.cfg.MaxSegment > 0 && len(p) > a.cfg.MaxSegment // what is bundled is not cut
	if a.state != Established || a.cfg.NoFragments || m.Redundant || cut {
		m.Write(p)
		return a.Send(now, m)
	}
	return a.tx.PushSmall(m, p)
}

// MakeRoom gives up messages of a lower priority than the number pri until bytes are freed, and returns how many were
// (RFC 7496 section 3.2).
func (a *Assoc) MakeRoom(pri uint32, bytes int) int { return a.tx.MakeRoom(pri, bytes) }

// GivenUp returns how many messages were given up.
func (a *Assoc) GivenUp() tx.Counts { return a.tx.GivenUp() }

// StreamGivenUp is GivenUp for one stream.
func (a *Assoc) StreamGivenUp(sid uint16) tx.Counts { return a.tx.StreamGivenUp(sid) }

// Behind reports whether a message of the stream would wait behind another one of it.
func (a *Assoc) Behind(sid uint16) bool { return a.tx.Behind(sid) }

// Queued reports whether something waits to be sent for the first time.
func (a *Assoc) Queued() bool { return a.tx.Queued() > 0 }

// SendHeld returns the bytes of user data given to Send and not yet acknowledged.
func (a *Assoc) SendHeld() int { return a.tx.Held() }

// StreamHeld is SendHeld for one stream.
func (a *Assoc) StreamHeld(sid uint16) int { return a.tx.StreamHeld(sid) }

// Held returns the memory the association holds for user data in both directions, for the endpoint's budget.
func (a *Assoc) Held() int { return a.tx.Held() + a.rx.Held() }

// SackDue reports whether a SACK would leave with the next Transmit, whatever else there is to send.
func (a *Assoc) SackDue(now mono.Time) bool {
	_, must := a.rx.AckWanted(now)
	return must && a.state >= Established
}

// Consumed gives back memory (rx.Part's Held) that the user has read, which opens the window.
func (a *Assoc) Consumed(now mono.Time, held int) {
	if a.state.in(mayReceive) || a.state == ShutdownReceived {
		a.measureWindow(now, held)
		a.rx.Consumed(held)
	} else {
		a.rx.Returned(held)
	}
}

// SetWindow bounds the receive window by what the endpoint's budget leaves.
func (a *Assoc) SetWindow(bytes int) { a.rx.SetWindow(min(bytes, max(a.cfg.Window, a.cfg.MaxWindow))) }

// WindowWanted returns the receive window to ask the endpoint's budget for: Config.Window, and more, up to Config.MaxWindow, as
// the path turns out to need it.
func (a *Assoc) WindowWanted() int { return max(a.cfg.Window, min(a.rx.Wanted(), a.cfg.MaxWindow)) }

// SendWanted returns the send buffer that fills the path for data: twice its congestion window, since while a loss is repaired a
// window of what was sent behind it waits to be acknowledged as well.
func (a *Assoc) SendWanted() int {
	if p := a.paths.Current(); p != nil {
		return 2 * p.Capacity()
	}
	return 0
}

// measureWindow measures what the user reads per round trip. Queues on the way must not make the window grow, or it would grow
// with the queue that it causes: the round trip counts up to twice the least.
func (a *Assoc) measureWindow(now mono.Time, n int) {
	if a.cfg.MaxWindow <= a.cfg.Window {
		return
	}
	p := a.paths.Get(a.sackFrom)
	if p == nil {
		return
	}
	if !p.RTO.HasSample() && !a.asked && a.rx.Stats().Bytes > askAfter {
		// Who only receives measures round trips by heartbeats alone, and the first one may be some time away.
		a.asked = true
		p.Mon.Probe(now.Std())
	}
	a.rx.Measure(now, n, min(p.RTO.SRTT(), 2*p.RTO.MinRTT()))
}

// askAfter is how many bytes a receiver takes before it wants to know the round trip at once: a part of the window that is
// there from the beginning.
const askAfter = 256 << 10

// SendFailed tells that a packet could not be handed to the network on a path: full says that the socket's buffer was
// full, else the system refused.
func (a *Assoc) SendFailed(now mono.Time, id locator.PathID, full bool) {
	p := a.paths.Get(id)
	if p == nil || a.state == Closed {
		return
	}
	a.paths.Touch()
	if full {
		p.SocketFull(now)
		return
	}
	p.Load().SendErrors++
	a.verdict(now, p, p.Mon.SendFailed(now.Std()))
	a.refused(now, p)
}

// SetPrimary makes a path the preferred one for data (RFC 9260 section 11.1.6, SETPRIMARY).
func (a *Assoc) SetPrimary(now mono.Time, id locator.PathID) error {
	p := a.paths.Get(id)
	if p == nil || a.paths.Retired(p) {
		return ErrNoPath
	}
	a.paths.SetPrimary(id, true)
	return nil
}

// Heartbeat asks for a heartbeat on a path at once (RFC 9260 section 11.1.9, REQUESTHEARTBEAT).
func (a *Assoc) Heartbeat(now mono.Time, id locator.PathID) error {
	p := a.paths.Get(id)
	if p == nil || a.paths.Retired(p) {
		return ErrNoPath
	}
	p.Mon.Probe(now.Std())
	return nil
}

// describePaths says in one line what every path last looked like, for the error of an association that failed.
func (a *Assoc) describePaths(now mono.Time) string {
	var b strings.Builder
	for i, p := range a.paths.All() {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(p.Pair().String())
		b.WriteString(" ")
		b.WriteString(p.State().String())
		if p.State() != heartbeat.Unconfirmed {
			b.WriteString(" since ")
			b.WriteString(now.Std().Sub(p.Mon.Since()).String())
		}
	}
	return b.String()
}
