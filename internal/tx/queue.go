package tx

import (
	"errors"

	"github.com/go-multihome/multihome/internal/serial"
)

// Errors of Push.
var (
	ErrStream = errors.New("tx: stream identifier beyond the outbound streams of the association") // RFC 9260 section 6.5
	ErrEmpty  = errors.New("tx: message without a byte")                                           // RFC 9260 section 3.3.1: a DATA chunk carries user data
)

// stream is one outbound stream: the messages not yet cut to their end, and the numbers of the next ones.
type stream struct {
	head, tail *Message
	next, prev *stream // scheduler's ring; nil while the stream is empty
	key        uint64  // scheduler's, see keyed
	held       int     // payload bytes queued or outstanding
	mid        serial.MID
	umid       serial.MID // unordered messages count apart (RFC 8260 section 2.1)
	ssn        serial.SSN
	value      uint16 // see SetStreamValue
	bucket     uint8
}

// pageStreams is how many streams are allocated together. A stream that was never used costs nothing, and one that was
// keeps its numbers for good.
const pageStreams = 2

type streamPage [pageStreams]stream

// stream returns the stream of an identifier that is known to be in range, allocating its page at first use.
func (s *Sender) stream(sid uint16) *stream {
	page := int(sid) / pageStreams
	for len(s.pages) <= page {
		s.pages = append(s.pages, nil)
	}
	if s.pages[page] == nil {
		s.pages[page] = new(streamPage)
	}
	return &s.pages[page][sid%pageStreams]
}

// Push queues m behind what its stream holds. The Sender owns m unless an error comes back: ErrStream or ErrEmpty.
// There is no limit here; the caller compares Held and StreamHeld with its own.
func (s *Sender) Push(m *Message) error {
	if int(m.SID) >= int(s.streams) {
		return ErrStream
	}
	if m.Data.Len == 0 {
		return ErrEmpty
	}
	s.begin()
	st := s.stream(m.SID)
	m.begin()
	s.pushes++
	m.order = s.pushes
	m.st, m.next = st, nil
	if st.tail == nil {
		st.head = m
		s.sched.ready(st)
	} else {
		st.tail.next = m
	}
	st.tail = m
	st.held += m.left
	s.queued += m.left
	s.yields(m)
	return nil
}

// pop takes the front message, cut to its end, off its stream's queue. Its chunks keep it alive from here.
func (s *Sender) pop(st *stream) {
	m := st.head
	st.head, m.next = m.next, nil
	if st.head == nil {
		st.tail = nil
		s.sched.idle(st)
	}
}

// Held returns the payload bytes the Sender keeps: queued, or sent and not yet covered by the cumulative TSN. Bytes
// acknowledged by a gap block count, since the peer may take that back (RFC 9260 section 6.2).
func (s *Sender) Held() int { return s.queued + s.unfreed }

// StreamHeld is Held of one stream; zero for a stream never used.
func (s *Sender) StreamHeld(sid uint16) int {
	if st := s.used(sid); st != nil {
		return st.held
	}
	return 0
}

// Behind reports whether a message of the stream would wait behind another one, so that it changes nothing about what can
// be sent now.
func (s *Sender) Behind(sid uint16) bool {
	st := s.used(sid)
	return st != nil && st.head != nil
}

// used returns the stream of an identifier, nil if its page was never used.
func (s *Sender) used(sid uint16) *stream {
	page := int(sid) / pageStreams
	if s.work == nil || page >= len(s.pages) || s.pages[page] == nil {
		return nil
	}
	return &s.pages[page][sid%pageStreams]
}

// Queued returns the payload bytes that were never sent.
func (s *Sender) Queued() int { return s.queued }

// Outstanding returns the payload bytes that were sent and are not acknowledged, by the cumulative TSN or a gap block.
// Those marked lost and waiting to be sent again count.
func (s *Sender) Outstanding() int { return s.out + s.lostBytes }

// Unacked returns how many chunks were sent and are not covered by the cumulative TSN.
func (s *Sender) Unacked() int { return int(s.count()) }

// Done reports whether nothing is queued and everything sent is covered by the cumulative TSN: what SHUTDOWN waits for
// (RFC 9260 section 9.2).
func (s *Sender) Done() bool { return s.queued == 0 && s.base == s.next }
