package transport

import (
	"fmt"
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/locator"
)

// EventKind names what happened to an association.
type EventKind uint8

// The events. The comment says which fields of Event beside Kind and Time are set.
const (
	EventPathState   EventKind = iota + 1 // Path, From, To, Reason: a path became better or worse
	EventPathChosen                       // Path, Previous, Reason: data takes another path
	EventPathAdded                        // Path: the peer may be reachable by one more path
	EventPathGone                         // Path, Reason: a path is not used any more
	EventRemoteError                      // Reason: the peer reported an error (RFC 9260 section 3.3.10)
	EventPeerClosed                       // the peer has ended the association in order
	EventRestarted                        // the peer began anew; this association has ended
	EventClosed                           // Err: the association ended, in order if Err is nil
)

var eventText = [...]string{"", "path state", "path chosen", "path added", "path gone", "remote error", "peer closed", "peer restarted", "closed"}

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
	Err      error // an *AssociationError
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
	}
	if e.Reason != "" {
		s += " (" + e.Reason + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// eventBacklog is how many events wait for a reader of the channel.
const eventBacklog = 64

// Events returns a channel of what happens from the first call on; later calls return the same channel. It is closed
// behind EventClosed. Events that find it full are dropped, as nothing waits for their reader, so their number can fall
// short; Paths always tells the present.
func (a *Association) Events() <-chan Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.events == nil {
		ch := make(chan Event, eventBacklog)
		a.events = ch
		closed := false
		a.conn.Watch(func(at time.Time, e *assoc.Event) {
			ev, ok := publicEvent(at, e)
			if !ok || closed {
				return
			}
			if ev.Kind == EventClosed || ev.Kind == EventRestarted {
				closed = true
				lastEvent(ch, ev)
				return
			}
			select {
			case ch <- ev:
			default:
			}
		})
	}
	return a.events
}

// lastEvent puts the end into the channel, in place of the oldest event if it is full, and closes it.
func lastEvent(ch chan Event, ev Event) {
	for {
		select {
		case ch <- ev:
			close(ch)
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
		ev.Reason = fmt.Sprintf("%v %s", e.Cause, e.Reason)
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
