package tx

import (
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// Chunks of a redundant message travel on several paths at once; whichever copy arrives first is the message, the others
// vanish at the receiver. The first transmission is AppendNew's. Each further path has a cursor over the TSNs, so what
// is copied costs no search, and a path that joins late gets what is still outstanding.

// HasCopy reports whether path p has chunks of redundant messages to look at.
func (s *Sender) HasCopy(p locator.PathID) bool {
	if s.work == nil || s.copyEnd <= s.base {
		return false
	}
	t := s.known(p)
	return t == nil || t.copied < s.copyEnd
}

// AppendCopy appends copies of outstanding chunks of redundant messages that never travelled on g.Path, lowest TSN first,
// while g.Budget is above zero. It returns their payload bytes. They count as in flight on g.Path as well.
func (s *Sender) AppendCopy(b *wire.Builder, g *Grant) int {
	t, bit := s.track(g.Path), pathSet(1)<<g.Path
	sent := 0
	for idx := max(t.copied, s.base); idx < s.copyEnd && sent < g.Budget; idx++ {
		if c := s.at(idx); c.flags&flagCopies != 0 && c.fate == fateOutstanding && c.paths&bit == 0 {
			if s.apart(c.msg.st) || !s.write(b, c, idx, g.Immediate) {
				break
			}
			s.joins(c.msg.st)
			s.launch(c, idx, g.Path, g.Now)
			sent += int(c.size)
		}
		t.copied = idx + 1
	}
	return sent
}

// NextWish returns the Wish of the message the next new chunk comes from; zero when nothing is queued.
func (s *Sender) NextWish() uint8 {
	if s.queued == 0 {
		return 0
	}
	return s.pick().head.Wish
}
