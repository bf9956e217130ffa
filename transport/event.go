package transport

import (
	"fmt"
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/tx"
	"github.com/go-multihome/multihome/locator"
)

// EventKind names what happened to an association.
type EventKind uint8

// The events. The comment says which fields of Event beside Kind and Time are set.
const (
	EventPathState      EventKind = iota + 1 // Path, From, To, Reason: a path became better or worse
	EventPathChosen                          // Path, Previous, Reason: data takes another path
	EventPathAdded                           // Path: the peer may be reachable by one more path
	EventPathGone                            // Path, Reason: a path is not used any more
	EventRemoteError                         // Cause, Info, Reason: the peer reported an error (RFC 9260 section 3.3.10)
	EventPeerClosed                          // the peer has ended the association in order
	EventRestarted                           // the peer began anew; this association has ended
	EventClosed                              // Err: the association ended, in order if Err is nil
	EventUp                                  // the association is established: the first event of every channel
	EventStreamsEnded                        // Streams: the peer has ended these, or (none named) all; data before it can be read
	EventStreamsFreed                        // Streams: the peer knows that these have ended on our side
	EventStopAsked                           // Streams: the peer asked for the end of these, they cannot be written any more
	EventStreamsAdded                        // there are more streams
	EventStreamsRefused                      // Streams, Reason: the peer takes no notice of the end of these, or (none) adds none
	EventSendFailed                          // Failed: a message was not delivered
	EventAllSent                             // the peer has acknowledged everything written; for Subscribe only
)

var eventText = [...]string{"", "path state", "path chosen", "path added", "path gone", "remote error", "peer closed", "peer restarted",
	"closed", "up", "streams ended by the peer", "streams ended", "end of streams asked for", "streams added", "streams refused",
	"message not delivered", "all sent"}

// String names the kind.
func (k EventKind) String() string {
	if int(k) < len(eventText) && k > 0 {
		return eventText[k]
	}
	return "unknown event"
}

// Event is something that happened to an association.
type Event struct {
	Kind     EventKind
	Time     time.Time
	Path     locator.Path
	Previous locator.Path    // zero at the first choice
	From, To heartbeat.State // of Path
	Reason   string
	Err      error  // an *AssociationError
	Cause    uint16 // code of the error cause
	Info     []byte // of the error cause, as the peer sent it
	Streams  []uint16
	Failed   *Undelivered
}

// String says it in one line.
func (e Event) String() string {
	s := e.Kind.String()
	switch e.Kind {
	case EventPathState:
		s = fmt.Sprintf("%v: %v to %v", e.Path.Pair, e.From, e.To)
	case EventPathChosen:
		s = fmt.Sprintf("data takes %v", e.Path.Pair)
	case EventPathAdded, EventPathGone:
		s += fmt.Sprintf(": %v", e.Path.Pair)
	case EventSendFailed:
		s += fmt.Sprintf(": %d bytes on stream %d: %s", e.Failed.Size, e.Failed.Stream, e.Failed.Reason)
	}
	if len(e.Streams) > 0 {
		s += fmt.Sprintf(" %v", e.Streams)
	}
	if e.Reason != "" {
		s += " (" + e.Reason + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// eventBacklog is how many events wait for a reader of a channel.
const eventBacklog = 64

// Events returns a channel of what happens from the first call on; later calls return the same channel. It is closed
// behind EventClosed. Events that find it full are dropped, as nothing waits for their reader, and counted in
// Stats.EventsDropped; Paths always tells the present. EventAllSent is not among them.
func (a *Association) Events() <-chan Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.events == nil {
		a.events = a.subscribe(^uint32(1 << EventAllSent))
	}
	return a.events
}

// Subscribe returns a channel of its own for events of the kinds named, or of all kinds if none is. It is like that of
// Events otherwise, and closed when the association has ended. EventAllSent comes at once if nothing is under way, and then
// whenever everything written has been acknowledged, which can be often.
func (a *Association) Subscribe(kinds ...EventKind) <-chan Event {
	mask := uint32(0)
	for _, k := range kinds {
		mask |= 1 << k
	}
	if len(kinds) == 0 {
		mask = ^mask
	}
	return a.subscribe(mask)
}

// subscribe makes a channel for the kinds whose bits are set.
func (a *Association) subscribe(mask uint32) chan Event {
	ch := make(chan Event, eventBacklog)
	closed := false
	a.conn.Watch(func(at time.Time, e *assoc.Event) {
		ev, ok := publicEvent(at, e)
		if !ok || closed {
			return
		}
		wanted := mask&(1<<ev.Kind) != 0
		switch {
		case ev.Kind == EventClosed || ev.Kind == EventRestarted:
			closed = true
			if wanted {
				lastEvent(ch, ev)
			}
			close(ch)
		case wanted:
			select {
			case ch <- ev:
			default:
				a.eventsDropped.Add(1)
			}
		}
	})
	return ch
}

// lastEvent puts the end into the channel, in place of the oldest event if it is full.
func lastEvent(ch chan Event, ev Event) {
	for {
		select {
		case ch <- ev:
			return
		default:
		}
		select {
		case <-ch:
		default:
		}
	}
}

func publicEvent(at time.Time, e *assoc.Event) (Event, bool) {
	ev := Event{Time: at, Path: e.Path, Previous: e.Prev, From: e.From, To: e.To, Reason: e.Reason}
	switch e.Kind {
	case assoc.EventPath:
		ev.Kind = EventPathState
	case assoc.EventPrimary:
		ev.Kind = EventPathChosen
	case assoc.EventPeerLocator:
		ev.Kind = EventPathAdded
	case assoc.EventPathGone:
		ev.Kind = EventPathGone
	case assoc.EventRemoteError:
		ev.Kind = EventRemoteError
		ev.Reason = e.Cause.String()
		ev.Cause, ev.Info = uint16(e.Cause), e.Info
	case assoc.EventUp:
		ev.Kind = EventUp
	case assoc.EventStreamReset:
		ev.Kind, ev.Streams = EventStreamsEnded, e.Streams
	case assoc.EventStreamEnded:
		ev.Kind, ev.Streams = EventStreamsFreed, e.Streams
	case assoc.EventStopAsked:
		ev.Kind, ev.Streams = EventStopAsked, e.Streams
	case assoc.EventStreamsAdded:
		ev.Kind = EventStreamsAdded
	case assoc.EventReconfigRefused:
		ev.Kind, ev.Streams = EventStreamsRefused, e.Streams
	case assoc.EventSendFailed:
		f := undelivered(&e.Failed)
		ev.Kind, ev.Failed = EventSendFailed, &f
	case assoc.EventSpace:
		ev.Kind = EventAllSent
		return ev, e.Unsent == 0
	case assoc.EventPeerClosed:
		ev.Kind = EventPeerClosed
	case assoc.EventRestart:
		ev.Kind = EventRestarted
		ev.Err = &AssociationError{Kind: EndRestart, Unsent: e.Unsent}
	case assoc.EventClosed:
		ev.Kind = EventClosed
		ev.Err = plainError(e.Err)
	default:
		return ev, false
	}
	return ev, true
}

var whyText = [...]string{tx.WhyEnd: "the association ended", tx.WhyLifetime: "its lifetime is over", tx.WhyResends: "it was sent again often enough",
	tx.WhyPriority: "it gave way to others"}

func undelivered(f *tx.Abandoned) Undelivered {
	return Undelivered{Stream: f.SID, PPID: f.PPID, Context: f.Context, Unordered: f.Unordered, Size: f.Len, Sent: f.Sent, Reason: whyText[f.Why], Data: f.Data}
}
