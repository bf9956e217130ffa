package tx

import (
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

// Partial reliability (RFC 3758): a message may be given up, because its lifetime is over or because it was sent again often
// enough, or to make room for others (priority.go). What of it has a TSN is marked abandoned, never sent again, and forwarded over: FORWARD-TSN tells the peer not
// to wait. What has none is just dropped. A message of which only a part was cut burns one more TSN for its end, which is
// never sent, so that no later message seems to continue it.

// Abandoned tells of a message that was given up.
type Abandoned struct {
	SID  uint16
	PPID uint32
	Len  int // bytes of the message

	Context   uint32
	Unordered bool
	Why       Why
	Sent      bool   // at least a part of it was sent; it may even have arrived
	Data      []byte // its bytes, when Config.KeepAbandoned asks for them and they were not freed yet
}

// givenUp is what a Sender needs for giving up, and an idle one does without.
type givenUp struct {
	told    []Abandoned // for NextAbandoned
	doomed  []*Message  // found spent, to be given up when the walk is over
	low     []*Message  // heap of those that give way to others
	counts  Counts
	streams map[uint16]*Counts
}

func (s *Sender) upOf() *givenUp {
	if s.up == nil {
		s.up = new(givenUp)
	}
	return s.up
}

// over reports whether the message is to be given up at now: before a transmission of a part of it.
func (s *Sender) over(m *Message, now mono.Time) bool {
	return s.partial && m.Expires != 0 && !now.Before(m.Expires)
}

// spent reports whether a lost chunk was sent as often as its message allows.
func (s *Sender) spent(c *chunk) bool {
	return s.partial && c.msg != nil && c.msg.LimitRtx && int(c.n) > int(c.msg.MaxRtx)
}

// doom gives up the messages that a walk over the window found spent.
func (s *Sender) doom() {
	if s.up == nil || len(s.up.doomed) == 0 {
		return
	}
	for _, m := range s.up.doomed {
		s.abandon(m, WhyResends)
	}
	clear(s.up.doomed)
	s.up.doomed = s.up.doomed[:0]
}

// abandon gives a message up.
func (s *Sender) abandon(m *Message, why Why) {
	if m.abandoned {
		return
	}
	m.abandoned = true
	s.stays(m)
	s.report(m, why)
	left := m.cuts
	for idx := max(m.first, s.base); idx != s.next && left > 0; idx++ {
		if c := s.at(idx); c.msg == m {
			left--
			s.abandonChunk(c, idx)
		}
	}
	if m.left == 0 {
		return
	}
	st := m.st
	s.queued -= m.left
	st.held -= m.left
	m.left = 0
	if m.cuts == 0 {
		s.unlink(st, m)
		m.Free()
		return
	}
	if s.cutting == st {
		s.cutting = nil
	}
	s.unlink(st, m)
	s.grow()
	c := s.at(s.next)
	*c = chunk{msg: m, seq: m.seq, lostOn: noPath, fate: fateAbandoned, flags: flagEnd}
	s.next++
}

// unlink takes a message out of its stream's queue; it is the front one whenever a part of it was cut.
func (s *Sender) unlink(st *stream, m *Message) {
	if st.head == m {
		s.pop(st)
		return
	}
	for x := st.head; x != nil; x = x.next {
		if x.next == m {
			x.next, m.next = m.next, nil
			if st.tail == m {
				st.tail = x
			}
			return
		}
	}
}

// abandonChunk ends every transmission of one chunk for good.
func (s *Sender) abandonChunk(c *chunk, idx uint64) {
	s.ends++
	size, pos := int(c.size), s.pos(idx)
	switch c.fate {
	case fateLost:
		s.lost.clear(pos)
		s.lostBytes -= size
	case fateOutstanding:
		s.out -= size
		if s.cand.has(pos) {
			s.cand.clear(pos)
		}
		for set := c.live; set != 0; set &= set - 1 {
			p := set.lowest()
			s.tracks[p].flight -= size
			c.live &^= 1 << p
			s.trim(s.tracks[p], 1<<p)
		}
	default:
		return // arrived, by a gap block: see passed
	}
	c.live = 0
	c.move(fateAbandoned)
}

// report remembers the message for NextAbandoned.
func (s *Sender) report(m *Message, why Why) {
	a := Abandoned{SID: m.SID, PPID: m.PPID, Len: m.size, Sent: m.cuts > 0, Context: m.Context, Unordered: m.Unordered, Why: why}
	if s.keep {
		for b := m.Data.Head; b != nil; b = b.Next() {
			a.Data = append(a.Data, b.Bytes()...)
		}
	}
	up := s.upOf()
	up.told = append(up.told, a)
	up.note(m, why)
}

// HasAbandoned reports whether NextAbandoned has something.
func (s *Sender) HasAbandoned() bool { return s.up != nil && len(s.up.told) > 0 }

// NextAbandoned returns the next message that was given up since the last call.
func (s *Sender) NextAbandoned() (Abandoned, bool) {
	if s.up == nil || len(s.up.told) == 0 {
		return Abandoned{}, false
	}
	a := s.up.told[0]
	s.up.told = s.up.told[1:]
	if len(s.up.told) == 0 {
		s.up.told = nil
	}
	return a, true
}

// Undelivered returns every message of which the peer has not acknowledged all, those given up and not yet told of
// first. It is called before Drop when the association fails, and leaves the Sender good for nothing else.
func (s *Sender) Undelivered() []Abandoned {
	for idx := s.base; idx != s.next; idx++ {
		if c := s.at(idx); c.msg != nil && c.msg.bundled > 0 {
			s.reportOne(c.msg, c.buf.Bytes()[c.off:int(c.off)+int(c.size)], true)
		} else {
			s.reportOnce(c.msg)
		}
	}
	if s.work == nil {
		return nil
	}
	for _, page := range s.pages {
		if page == nil {
			continue
		}
		for i := range page {
			for m := page[i].head; m != nil; m = m.next {
				if m.bundled > 0 {
					s.reportBundled(m)
				} else {
					s.reportOnce(m)
				}
			}
		}
	}
	if s.up == nil {
		return nil
	}
	return s.up.told
}

func (s *Sender) reportOnce(m *Message) {
	if m != nil && !m.abandoned {
		m.abandoned = true
		s.report(m, WhyEnd)
	}
}

// Expire gives up what is over at now and was not cut yet, at the front of each stream that has its turn next. Sending does
// the same; the owner calls it when nothing may be sent for long.
func (s *Sender) Expire(now mono.Time) {
	for s.queued > 0 {
		m := s.pick().head
		if !s.over(m, now) {
			return
		}
		s.abandon(m, WhyLifetime)
	}
}

// Forward reports whether a FORWARD-TSN is due: chunks at the cumulative TSN are abandoned (RFC 3758 section 3.5 C).
func (s *Sender) Forward() bool {
	return s.base != s.next && s.at(s.base).fate == fateAbandoned
}

// passed reports whether a FORWARD-TSN passes over the chunk: it is given up, or has arrived but belongs to a message that is.
// A message is given up with all its fragments (RFC 3758 section 3.5 A3). Of an unordered one the receiver cannot tell
// whether fragments behind the forwarded TSN belong to it, and some keep them for the next message.
func (c *chunk) passed() bool {
	return c.fate == fateAbandoned || c.fate == fateAcked && c.msg.abandoned
}

// maxForward bounds the streams one FORWARD-TSN names. What does not fit waits for the next.
const maxForward = 64

// AppendForward appends a FORWARD-TSN, or with interleaving an I-FORWARD-TSN, as far as chunks are abandoned. False: none
// is due, or no room.
func (s *Sender) AppendForward(b *wire.Builder) bool {
	if !s.Forward() {
		return false
	}
	var skips [maxForward]wire.Skip
	n, idx := 0, s.base
	for ; idx != s.next && s.at(idx).passed(); idx++ {
		c := s.at(idx)
		k, known := s.skip(skips[:n], c)
		if !known {
			if n == maxForward || b.Room() < 16+8*(n+1) {
				break
			}
			n++
		}
		skips[k] = s.skipOf(c)
	}
	if idx == s.base {
		return false
	}
	cum := serial.TSN(idx - 1)
	ok := false
	if s.interleaving {
		ok = b.IForwardTSN(cum)
	} else {
		ok = b.ForwardTSN(cum)
	}
	for _, k := range skips[:n] {
		if k.Unordered && !s.interleaving {
			continue // unordered DATA has no SSN to skip
		}
		ok = ok && b.Skip(k)
	}
	b.FinishChunk()
	return ok
}

func (s *Sender) skipOf(c *chunk) wire.Skip {
	return wire.Skip{SID: c.msg.SID, SSN: serial.SSN(c.seq), MID: serial.MID(c.seq), Unordered: c.msg.Unordered}
}

// skip finds the entry a chunk belongs to. TSNs ascend, and so do a stream's numbers: the latest one counts.
func (s *Sender) skip(skips []wire.Skip, c *chunk) (int, bool) {
	for i := range skips {
		if skips[i].SID == c.msg.SID && skips[i].Unordered == c.msg.Unordered {
			return i, true
		}
	}
	return len(skips), false
}
