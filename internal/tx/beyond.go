package tx

// LostFirst reports whether the next chunk to be sent again is the first outstanding one.
func (s *Sender) LostFirst() bool { return s.lostChunks() > 0 && s.nextLost() == s.base }

// LostBeyond reports whether the next chunk to be sent again lies above everything the peer has reported. With a closed
// window the peer dropped it for want of room, and sending it again is a zero window probe; a chunk below fills a gap, which
// is always welcome.
func (s *Sender) LostBeyond() bool {
	return s.lostChunks() > 0 && (len(s.gaps) == 0 || s.nextLost() >= s.gaps[len(s.gaps)-1].hi)
}
