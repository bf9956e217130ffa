package tx

import (
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// A probe asks whether a silent path or only a packet was lost: copies of what is outstanding on that path travel on
// another one, the originals stay in flight where they are (compare RFC 8985 section 7). Candidates are marked in a bit
// ring; a chunk stays one only as long as that single path is all that carries it.

// StartProbe makes every chunk in flight on path p and nowhere else a candidate, and returns how many there are.
func (s *Sender) StartProbe(p locator.PathID) int {
	t, bit := s.known(p), pathSet(1)<<p
	if t == nil {
		return 0
	}
	n := 0
	for x := t.head; x != t.tail; x++ {
		r := t.rec(x)
		c := s.live(r, bit)
		if c == nil || c.live != bit {
			continue
		}
		n++
		if pos := s.pos(uint64(r.tsn)); !s.cand.has(pos) {
			s.mark(&s.cand, pos)
		}
	}
	s.probed = 0
	return n
}

// StopProbe withdraws the candidates of path p.
func (s *Sender) StopProbe(p locator.PathID) {
	if s.candidates() == 0 {
		return
	}
	bit := pathSet(1) << p
	for from, left := s.pos(s.base), s.cand.n; left > 0; left-- {
		pos := s.cand.first(from)
		if s.ring[pos].live == bit {
			s.cand.clear(pos)
		}
		from = (pos + 1) & uint32(s.mask)
	}
}

// HasProbe reports whether there are candidates.
func (s *Sender) HasProbe() bool { return s.candidates() > 0 }

// ProbeSize returns what the next candidate takes in a packet, header and padding included; zero when there is none.
func (s *Sender) ProbeSize() int {
	if s.candidates() == 0 {
		return 0
	}
	return s.wireSize(int(s.at(s.nextProbe()).size))
}

// nextProbe returns the candidate to go next: after StartProbe the lowest TSN, since it is what holds up delivery, then the
// highest, whose answer shows everything below it that is missing, then the rest upwards.
func (s *Sender) nextProbe() uint64 {
	if s.probed == 1 {
		return s.idxAt(s.cand.last(s.pos(s.base)))
	}
	return s.idxAt(s.cand.first(s.pos(s.base)))
}

// AppendProbe appends copies of candidates to b while g.Budget is above zero, and returns their payload bytes. They count
// as in flight on g.Path as well. Zero: no candidate, the next one does not fit, or no budget.
func (s *Sender) AppendProbe(b *wire.Builder, g *Grant) int {
	sent := 0
	for s.candidates() > 0 && sent < g.Budget {
		idx := s.nextProbe()
		c := s.at(idx)
		if s.apart(c.msg.st) || !s.write(b, c, idx, g.Immediate) {
			break
		}
		s.joins(c.msg.st)
		s.cand.clear(s.pos(idx))
		c.lostOn = noPath // a duplicate of it is the copy's doing and says nothing about reordering
		s.launch(c, idx, g.Path, g.Now)
		sent += int(c.size)
		if s.probed < 2 {
			s.probed++
		}
	}
	return sent
}
