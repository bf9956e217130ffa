package tx

// ResetStream makes 0 the next SSN, or MID of both kinds, of a stream whose messages are all acknowledged, after the peer
// has done the same (RFC 6525 section 5.1.2, RFC 8260 section 2.3.2).
func (s *Sender) ResetStream(sid uint16) {
	if st := s.used(sid); st != nil {
		st.ssn, st.mid, st.umid = 0, 0, 0
	}
}

// SetStreams raises the number of outgoing streams (RFC 6525 section 5.1.5). It never falls.
func (s *Sender) SetStreams(n int) { s.streams = max(s.streams, int32(n)) }
