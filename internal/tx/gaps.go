package tx

import (
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// span is a run of TSNs, from lo to before hi.
type span struct{ lo, hi uint64 }

// readGaps turns the gap blocks of a SACK into ascending, disjoint spans above cum. What breaks that order is skipped: the
// TSNs stay unacknowledged, which is safe. False: a block names a TSN that was never sent.
func (s *Sender) readGaps(cum uint64, k *wire.Sack) bool {
	s.newGaps = s.newGaps[:0]
	top := cum + 1 // nothing below is of interest any more
	for i := range k.Gaps() {
		start, end := k.Gap(i)
		lo, hi := max(cum+uint64(start), top), cum+uint64(end)+1
		if hi > s.next {
			return false
		}
		if start > end || lo >= hi {
			continue
		}
		if n := len(s.newGaps); n > 0 && s.newGaps[n-1].hi == lo {
			s.newGaps[n-1].hi = hi
		} else {
			s.newGaps = append(s.newGaps, span{lo, hi})
		}
		top = hi
	}
	return true
}

// fullList is the number of gap blocks from which on a list may have been cut short by its sender. Shorter ones fit any
// packet, and no known stack reports fewer.
const fullList = 16

// CutShort reports whether the peer's last list of gap blocks may have ended for want of room: then the silence about what
// lies above its end means nothing.
func (s *Sender) CutShort() bool { return s.work != nil && s.cutShort }

// compareGaps goes through what this SACK reports by gap blocks and what the last one did, of which n blocks came on the
// wire. News is acknowledged; what is missing was reneged on.
//
// A list as long as the longest seen from this peer may end for want of room. Then what lies above its end keeps its
// acknowledgement: a peer that really dropped it says so with a shorter list when the cumulative TSN gets there.
func (s *Sender) compareGaps(now mono.Time, n int, rtt *[locator.MaxPaths]RTT, res *AckResult) {
	seen := s.base // where the last list ended
	if k := len(s.gaps); k > 0 {
		seen = s.gaps[k-1].hi
	}
	news := minus{a: s.newGaps, b: s.gaps, from: s.base}
	for sp, ok := news.next(); ok; sp, ok = news.next() {
		if s.cutShort && sp.hi > seen {
			res.unsure = now // there was no room for it earlier
		}
		for idx := sp.lo; idx != sp.hi; idx++ {
			if c := s.at(idx); c.fate != fateAbandoned {
				s.ack(c, idx, now, rtt, res)
			}
		}
	}
	s.cutShort = n >= fullList && n >= s.longest && len(s.newGaps) > 0
	s.longest = max(s.longest, n)
	top := s.next
	if s.cutShort {
		top = s.newGaps[len(s.newGaps)-1].hi
	}
	gone := minus{a: s.gaps, b: s.newGaps, from: s.base}
	for sp, ok := gone.next(); ok; sp, ok = gone.next() {
		if sp.lo >= top {
			s.newGaps = append(s.newGaps, sp)
			continue
		}
		for idx := sp.lo; idx != sp.hi; idx++ {
			switch c := s.at(idx); {
			case c.fate != fateAcked:
			case c.msg.abandoned:
				c.move(fateAbandoned)
			default:
				s.renege(c, idx, now, res)
			}
		}
	}
	s.gaps, s.newGaps = s.newGaps, s.gaps
}

// minus walks the spans of a that are not in b, from a TSN on. Both ascend.
type minus struct {
	a, b []span
	from uint64
}

func (m *minus) next() (span, bool) {
	for len(m.a) > 0 {
		lo, hi := max(m.a[0].lo, m.from), m.a[0].hi
		for len(m.b) > 0 && m.b[0].hi <= lo {
			m.b = m.b[1:]
		}
		switch {
		case lo >= hi:
			m.a = m.a[1:]
		case len(m.b) == 0 || m.b[0].lo >= hi:
			m.a = m.a[1:]
			return span{lo, hi}, true
		case m.b[0].lo > lo:
			m.from = m.b[0].hi
			return span{lo, m.b[0].lo}, true
		default:
			m.from = m.b[0].hi
		}
	}
	return span{}, false
}
