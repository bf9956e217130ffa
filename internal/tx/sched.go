package tx

// Scheduling names a stream scheduler: the rule by which streams that have something to send follow each other
// (RFC 8260 section 3).
type Scheduling uint8

// The schedulers.
const (
	ByTurns     Scheduling = iota // section 3.2: a message of each stream, or with I-DATA a chunk
	ByArrival                     // section 3.1: messages in the order of Push
	ByPacket                      // section 3.3: a packet of each stream
	ByPriority                    // section 3.4: streams of the lowest value only, by turns
	ByBandwidth                   // section 3.5: the same number of bytes of each stream
	ByWeight                      // section 3.6: bytes of each stream as their values are to each other
	Schedulings                   // how many there are
)

// scheduler says whose turn it is among the streams that have something to send. It sees streams, never TSNs. What it does
// for a chunk takes the same time however many streams there are, and allocates nothing.
type scheduler interface {
	ready(st *stream)                     // st was empty and has a message now
	idle(st *stream)                      // st has run empty
	turn(st *stream, bytes int, end bool) // a chunk of st left; end: that was its turn, a message or with I-DATA a chunk
	next() *stream                        // whose turn it is; nil when no stream has anything
}

// SetScheduler makes kind the scheduler from the next chunk on. A message that is cut in part is cut to its end first.
func (s *Sender) SetScheduler(kind Scheduling) {
	if s.work == nil && kind == ByTurns || s.work != nil && kind == s.kind {
		return
	}
	s.begin()
	s.kind, s.rr = kind, roundRobin{}
	switch kind {
	case ByArrival:
		s.sched = &byArrival{}
	case ByPacket:
		s.sched = &byPacket{}
	case ByPriority:
		s.sched = &byPriority{}
	case ByBandwidth, ByWeight:
		s.sched = &fair{weighted: kind == ByWeight}
	default:
		s.sched = &s.rr
	}
	for _, page := range s.pages {
		for i := 0; page != nil && i < len(page); i++ {
			st := &page[i]
			st.next, st.prev, st.key = nil, nil, 0
			if st.head != nil {
				s.sched.ready(st)
			}
		}
	}
}

// SetStreamValue sets what the scheduler wants to know of a stream: ByPriority its priority, 0 being the highest; ByWeight its
// weight, of which 0 means 1. Other schedulers do not use it. The stream must be in range, or ErrStream comes back.
func (s *Sender) SetStreamValue(sid, value uint16) error {
	if int(sid) >= int(s.streams) {
		return ErrStream
	}
	s.begin()
	st := s.stream(sid)
	if st.head == nil {
		st.value = value
		return nil
	}
	s.sched.idle(st)
	st.value = value
	s.sched.ready(st)
	return nil
}

// StreamValue returns what SetStreamValue set last, 0 before.
func (s *Sender) StreamValue(sid uint16) uint16 {
	if st := s.used(sid); st != nil {
		return st.value
	}
	return 0
}

// NewPacket tells that the next chunk begins a packet. It must be called before any Append call for that packet, and before
// NextWish.
func (s *Sender) NewPacket() {
	if s.work == nil {
		return
	}
	if r, ok := s.sched.(*byPacket); ok {
		r.packet()
	}
}

// apart reports whether a chunk of st must not join the packet under way: ByPacket keeps streams out of each other's packets,
// so that the loss of one hits one stream.
func (s *Sender) apart(st *stream) bool {
	r, ok := s.sched.(*byPacket)
	return ok && r.in != nil && r.in != st
}

// joins notes that a chunk of st is in the packet under way.
func (s *Sender) joins(st *stream) {
	if r, ok := s.sched.(*byPacket); ok {
		r.in = st
	}
}

// pick returns the stream the next chunk comes from. Something must be queued.
//
// The fragments of a message in DATA chunks carry consecutive TSNs (RFC 9260 section 6.9), so once the first is cut no
// other stream comes between. I-DATA lifts that (RFC 8260 section 2), and every chunk is a turn.
func (s *Sender) pick() *stream {
	if s.cutting != nil {
		return s.cutting
	}
	return s.sched.next()
}

// took tells the scheduler that a chunk of st with n bytes was taken, the last of its message if end is set.
func (s *Sender) took(st *stream, n int, end bool) {
	s.sched.turn(st, n, end || s.interleaving)
	s.cutting = nil
	if end {
		if st.head.left == 0 { // a bundle may have more
			s.pop(st)
		}
	} else if !s.interleaving {
		s.cutting = st
	}
}
