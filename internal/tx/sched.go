package tx

// scheduler says whose turn it is among the streams that have something to send (RFC 8260 section 3). It sees streams,
// never TSNs, so another rule is another small file beside rr.go.
type scheduler interface {
	ready(st *stream) // st was empty and has a message now
	idle(st *stream)  // st has run empty
	turn(st *stream)  // st has had its turn: a message, or with I-DATA a chunk
	next() *stream    // whose turn it is; nil when no stream has anything
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

// took tells the scheduler that a chunk of st was taken, the last of its message if end is set.
func (s *Sender) took(st *stream, end bool) {
	if end || s.interleaving {
		s.sched.turn(st)
	}
	s.cutting = nil
	if end {
		s.pop(st)
	} else if !s.interleaving {
		s.cutting = st
	}
}
