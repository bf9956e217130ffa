package tx

import (
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// Resends reports whether chunks marked lost wait to be sent again. They go before new data (RFC 9260 section 6.1 C).
func (s *Sender) Resends() bool { return s.lostChunks() > 0 }

// LostSize returns what the next chunk to be sent again takes in a packet, header and padding included; zero when none
// waits. It may be more than the path it must take now allows: then it has to go out in a packet larger than that.
func (s *Sender) LostSize() int {
	if s.lostChunks() == 0 {
		return 0
	}
	return s.wireSize(int(s.at(s.nextLost()).size))
}

func (s *Sender) nextLost() uint64 { return s.idxAt(s.lost.first(s.pos(s.base))) }

// AppendResend appends lost chunks to b, lowest TSN first, while g.Budget is above zero, and returns their payload bytes.
// Zero: none waits, the next one does not fit, or there is no budget. The peer's window is no obstacle
// (RFC 9260 section 6.1 A is about new data). The caller takes the bytes off its budget before the next call.
func (s *Sender) AppendResend(b *wire.Builder, g *Grant) int {
	sent := 0
	for s.lostChunks() > 0 && sent < g.Budget {
		idx := s.nextLost()
		c := s.at(idx)
		if s.over(c.msg, g.Now) {
			s.abandon(c.msg, WhyLifetime)
			continue
		}
		if s.apart(c.msg.st) {
			break
		}
		if !s.write(b, c, idx, g.Immediate) {
			break
		}
		s.lost.clear(s.pos(idx))
		c.move(fateOutstanding)
		s.lostBytes -= int(c.size)
		s.out += int(c.size)
		s.launch(c, idx, g.Path, g.Now)
		s.joins(c.msg.st)
		sent += int(c.size)
	}
	return sent
}

// Retarget is failover: everything in flight on path p and nowhere else becomes lost, to be sent again on another path,
// lowest TSN first; nothing counts as in flight on p after it. It returns how many chunks move.
// Answers to the originals are still understood: they take chunks off the list again.
func (s *Sender) Retarget(p locator.PathID) int {
	n, _ := s.evict(p)
	s.doom()
	return n
}

// RetargetSince is Retarget for what was sent on path p at since or later, the latest first, up to most bytes of payload.
// The rest stays in flight. It returns how many chunks move.
func (s *Sender) RetargetSince(p locator.PathID, since mono.Time, most int) (moved int) {
	t, bit := s.known(p), pathSet(1)<<p
	if t == nil {
		return 0
	}
	s.ends++
	for x := t.tail; x != t.head && most > 0; x-- {
		r := t.rec(x - 1)
		if r.at.Before(since) {
			break
		}
		c := s.live(r, bit)
		if c == nil {
			continue
		}
		c.live &^= bit
		t.flight -= int(c.size)
		most -= int(c.size)
		if c.live == 0 {
			c.lostOn = noPath
			s.markLost(c, s.pos(uint64(r.tsn)))
			moved++
		}
	}
	s.trim(t, bit)
	if t.empty() {
		t.rack.deadline = 0
	}
	s.doom()
	return moved
}

// Timeout is the expiry of T3-rtx on path p (RFC 9260 section 6.3.3 E3): everything in flight on it and nowhere else is
// marked lost. It returns the payload bytes marked.
func (s *Sender) Timeout(p locator.PathID) int {
	_, n := s.evict(p)
	s.doom()
	return n
}
