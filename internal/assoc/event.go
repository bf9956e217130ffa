package assoc

import (
	"fmt"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/rx"
	"github.com/go-multihome/multihome/internal/tx"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// EventKind names what happened.
type EventKind uint8

// The events. The comment says which fields of Event are set.
const (
	EventUp              EventKind = iota + 1 // established
	EventPart                                 // Part: message bytes in delivery order
	EventPath                                 // Path, From, To, Reason: a path's state changed
	EventPrimary                              // Path, Prev, Reason: data takes another path
	EventPeerLocator                          // Path: the peer is (also) reachable here: a pair was added
	EventPathGone                             // Path, Reason: a pair was taken out of use
	EventRestart                              // the peer restarted (RFC 9260 section 5.2.4.1): both directions began anew
	EventSpace                                // data was freed: acknowledged, or given up
	EventSendFailed                           // Failed: a message was given up (RFC 3758), or left when the association ended
	EventStreamReset                          // Streams: the peer ended these, behind what was delivered; none listed: all
	EventStreamEnded                          // Streams: our end of these is known to the peer, the identifiers begin anew
	EventStopAsked                            // Streams: the peer asked for the end of these; it is under way
	EventStreamsAdded                         // Reason: "incoming" or "outgoing"; Streams() has the number
	EventReconfigRefused                      // Streams, Reason: the peer refused to end these, or (none) to add streams
	EventRemoteError                          // Cause, Info: an ERROR chunk arrived
	EventPeerClosed                           // the peer will send no more: end of stream after what was delivered; Answer
	EventClosed                               // Err, Unsent: the association ended; Err nil after an orderly shutdown
)

// Event is what the layer above learns.
type Event struct {
	Kind     EventKind
	Part     rx.Part
	Path     locator.Path
	Prev     locator.Path
	From, To heartbeat.State
	Cause    wire.CauseCode
	Reason   string
	Err      error
	Info     []byte // of the error cause
	Streams  []uint16
	Failed   tx.Abandoned
	Answer   bool // it answers our own shutdown
	Unsent   int  // bytes of user data never acknowledged
}

// events queues everything but parts, which stay in rx until asked for.
type events struct {
	*eventQueue // nil while there are none
	space       bool
}

// eventQueue is the events of one step. It is large and short-lived, so it is used again.
type eventQueue struct {
	queue []Event
	last  []Event // told only after every part was handed out: restart, end of stream, closed
	room  [6]Event
	after [2]Event // room of last
}

var eventQueues pktbuf.Pool[eventQueue]

func (e *events) open() {
	if e.eventQueue == nil {
		e.eventQueue = eventQueues.Get()
		e.queue, e.last = e.room[:0], e.after[:0]
	}
}

// done gives the queue back when it has run empty.
func (e *events) done() {
	if len(e.queue)+len(e.last) == 0 {
		q := e.eventQueue
		e.eventQueue = nil
		q.queue, q.last = nil, nil // the events in their room were taken by pop, so nothing that they point to is kept
		eventQueues.Put(q)
	}
}

// pop takes the first event of a queue.
func pop(queue *[]Event) Event {
	ev := (*queue)[0]
	(*queue)[0] = Event{}
	*queue = (*queue)[1:]
	return ev
}

// waiting reports whether an event is to be told before parts.
func (e *events) waiting() bool { return e.eventQueue != nil && len(e.queue) > 0 }

func (e *events) add(ev Event) {
	if ev.Kind == EventPeerClosed || ev.Kind == EventClosed {
		e.late(ev)
		return
	}
	e.open()
	if len(e.queue) >= maxEvents && ev.Kind == EventRemoteError {
		return // counted all the same
	}
	e.queue = append(e.queue, ev)
}

// maxEvents is how many events may wait before the peer's errors are not told any more: a packet can hold thousands.
const maxEvents = 64

// late adds an event that is told only after every part was handed out.
func (e *events) late(ev Event) {
	e.open()
	e.last = append(e.last, ev)
}

// NextEvent returns the next thing the layer above should know, in order, message parts among them.
func (a *Assoc) NextEvent() (Event, bool) {
	e := &a.events
	if e.waiting() {
		ev := pop(&e.queue)
		e.done()
		return ev, true
	}
	if part, ok := a.rx.NextPart(); ok {
		return Event{Kind: EventPart, Part: part}, true
	}
	if f, ok := a.tx.NextAbandoned(); ok {
		e.space = true
		return Event{Kind: EventSendFailed, Failed: f}, true
	}
	if e.space {
		e.space = false
		return Event{Kind: EventSpace}, true
	}
	if e.eventQueue != nil {
		ev := pop(&e.last)
		e.done()
		if ev.Kind == EventClosed {
			a.rx.Drop() // fragments whose rest will never come
		}
		return ev, true
	}
	return Event{}, false
}

// Quiet reports whether NextEvent has nothing to tell.
func (a *Assoc) Quiet() bool {
	return a.events.eventQueue == nil && !a.events.space && a.rx.PartsReady() == 0 && !a.tx.HasAbandoned()
}

// PartsReady returns how many message parts NextPart, or NextEvent, has to tell.
func (a *Assoc) PartsReady() int { return a.rx.PartsReady() }

// HasPart reports whether NextPart would return one.
func (a *Assoc) HasPart() bool { return !a.events.waiting() && a.rx.PartsReady() > 0 }

// TakeSpace takes EventSpace if nothing else is to be told, and reports whether it did. It saves the large Event for what
// follows from each acknowledgement.
func (a *Assoc) TakeSpace() bool {
	if !a.events.space || a.events.eventQueue != nil || a.rx.PartsReady() > 0 || a.tx.HasAbandoned() {
		return false
	}
	a.events.space = false
	return true
}

// NextPart returns the next message part if nothing else is to be told before it. A loop over NextPart before each NextEvent
// tells everything in the same order and costs less: an Event is large, and parts come with each packet.
func (a *Assoc) NextPart() (rx.Part, bool) {
	if a.events.waiting() {
		return rx.Part{}, false
	}
	return a.rx.NextPart()
}

// Kind says how an association ended.
type Kind uint8

// The ways to end.
const (
	KindSetup       Kind = iota + 1 // no answer to INIT or COOKIE ECHO
	KindRefused                     // every dialled locator refused
	KindAborted                     // the peer sent ABORT
	KindUnreachable                 // too many errors in a row (RFC 9260 section 8.1)
	KindLocalAbort                  // we sent ABORT because the user asked for it
	KindViolation                   // we sent ABORT because of what the peer sent
	KindGuard                       // the shutdown took too long (T5-shutdown-guard)
)

// Failure is why an association ended otherwise than by an orderly shutdown.
type Failure struct {
	Kind   Kind
	Cause  wire.CauseCode // of the ABORT, zero without one
	Info   []byte         // of the error cause of the peer's ABORT
	Detail string         // what was seen, on which path
	Unsent int            // bytes of user data that were never acknowledged
}

var kindText = [...]string{"", "association setup failed", "association refused", "aborted by peer", "peer unreachable", "aborted", "protocol violation by peer", "shutdown timed out"}

// Error says what happened, with the cause and the paths.
func (f *Failure) Error() string {
	s := kindText[f.Kind]
	if f.Cause != 0 {
		s += fmt.Sprintf(" (%v)", f.Cause)
	}
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	if f.Unsent > 0 {
		s += fmt.Sprintf("; %d bytes were not acknowledged", f.Unsent)
	}
	return s
}

func failure(k Kind, c wire.CauseCode, detail string) *Failure {
	return &Failure{Kind: k, Cause: c, Detail: detail}
}
