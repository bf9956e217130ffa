package tx

import "github.com/go-multihome/multihome/internal/wire"

// A trial asks whether a path that answers heartbeats lets data pass as well: one chunk that has just left on another path
// goes there, too. The peer reports the second copy as a duplicate (RFC 9260 section 6.2), which proves that both arrived,
// and nothing waits for it. The trial's copy is not in flight anywhere: if it is lost nothing happens.

// AppendTrial appends a copy of the newest chunk for g.Path, if it was sent once, on another path, and nobody asked for
// copies of it. It returns the payload bytes written. There is one trial at a time: a new one takes the place of the last.
func (s *Sender) AppendTrial(b *wire.Builder, g *Grant) int {
	if s.base == s.next {
		return 0
	}
	idx := s.next - 1
	c := s.at(idx)
	if c.fate != fateOutstanding || c.n != 1 || c.flags&flagCopies != 0 || int(c.last) == int(g.Path) ||
		s.apart(c.msg.st) || !s.write(b, c, idx, g.Immediate) {
		return 0
	}
	s.joins(c.msg.st)
	c.paths |= pathSet(1) << g.Path // an acknowledgement does not tell which of the two it is about
	s.trial, s.trialOn = idx, g.Path
	return int(c.size)
}

// tried notes a duplicate report. A chunk of which nothing but the original and the trial's copy was ever sent has come both
// ways.
func (s *Sender) tried(idx uint64, res *AckResult) {
	if s.trial == idx {
		s.trial = 0
		res.Tried, res.TriedOn = true, s.trialOn
	}
}
