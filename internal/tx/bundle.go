package tx

import (
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/wire"
)

// A bundle is a Message that stands for several small ones of one stream, written one right after the other and alike in
// everything but their bytes. Each gets a chunk, a number and an acknowledgement of its own; only the record and the buffer are
// shared. So the thousands of small messages that a send buffer holds lie close together.
//
// Only messages that are never given up are bundled: no lifetime, no limit of retransmissions, no priority; nor those that ask
// for something of their own, the I bit or copies. In the buffer a byte with its size stands before each.

// Sizes of a bundle's buffer: of the first that waits on a stream, and of those behind one that was filled.
const (
	smallBundle = 512
	largeBundle = 4096
)

// plain reports whether the message may be one of a bundle.
func (m *Message) plain() bool {
	return m.Expires == 0 && !m.LimitRtx && m.Priority == 0 && !m.Immediate && !m.Redundant
}

// PushSmall is Push for a message of at most SmallMessage bytes, p. m, which is empty and comes from NewMessage, says how it
// travels. A message that waits behind another one of its stream is bundled where that can be.
func (s *Sender) PushSmall(m *Message, p []byte) error {
	st := s.used(m.SID)
	if st == nil || st.tail == nil || len(p) == 0 || !m.plain() {
		m.Write(p)
		return s.Push(m)
	}
	size := smallBundle
	if t := st.tail; t.bundled > 0 {
		if t.takes(m, p, s.pushes) {
			s.join(st, t, p)
			s.unused(m)
			return nil
		}
		size = largeBundle
	}
	m.Data.Push(pktbuf.Get(size))
	m.gather(p)
	return s.Push(m)
}

// unused takes a message back that was not needed. It is plain, and has no payload.
func (s *Sender) unused(m *Message) {
	m.SID, m.PPID, m.Context, m.Unordered, m.Wish = 0, 0, 0, false, 0
	m.next, s.spare = s.spare, m
	s.spares++
	s.lent--
}

// takes reports whether another message may join a bundle: it is alike and there is room. pushes is the number of the latest
// Push: when that was another one, on another stream, its place in the order of arrival is behind that.
func (t *Message) takes(m *Message, p []byte, pushes uint64) bool {
	return t.order == pushes && t.Data.Tail.Room() > len(p) &&
		t.PPID == m.PPID && t.Context == m.Context && t.Unordered == m.Unordered && t.Wish == m.Wish
}

// gather adds a message to a bundle.
func (m *Message) gather(p []byte) {
	b := m.Data.Tail
	b.Append([]byte{byte(len(p))})
	b.Append(p)
	m.Data.Len += len(p)
	m.bundled++
}

// join adds a message to the bundle t at the end of its stream's queue.
func (s *Sender) join(st *stream, t *Message, p []byte) {
	t.gather(p)
	n := len(p)
	t.left += n
	t.size += n
	st.held += n
	s.queued += n
}

// piece is how many bytes come next: of a bundle its next message, else what is left.
func (m *Message) piece() int {
	if m.bundled == 0 {
		return m.left
	}
	return int(m.cutBuf.Bytes()[m.cutOff])
}

// done notes that one message of a bundle is over, and reports whether that was the last.
func (m *Message) done() bool {
	m.forgotten++
	return m.left == 0 && m.forgotten == m.bundled
}

// cutBundled is cut for the next message of a bundle: n bytes, all of it.
func (s *Sender) cutBundled(b *wire.Builder, g *Grant, st *stream, n int) bool {
	m := st.head
	s.grow()
	c := s.at(s.next)
	*c = chunk{
		msg: m, buf: m.cutBuf, off: uint16(m.cutOff + 1), size: uint16(n), seq: st.number(m.Unordered, s.interleaving),
		lostOn: noPath, flags: flagBegin | flagEnd,
	}
	if !s.write(b, c, s.next, g.Immediate) {
		c.msg, c.buf = nil, nil
		return false
	}
	st.count(m.Unordered, s.interleaving)
	m.cuts++
	m.cutOff += 1 + n
	m.left -= n
	s.numbered(c, g, st, n, true)
	return true
}

// reportBundled remembers what is left of a bundle for Undelivered: what was not cut.
func (s *Sender) reportBundled(m *Message) {
	for b := m.cutBuf.Bytes()[m.cutOff:]; len(b) > 0; {
		n := int(b[0])
		s.reportOne(m, b[1:1+n], false)
		b = b[1+n:]
	}
}

// reportOne remembers one message of a bundle.
func (s *Sender) reportOne(m *Message, p []byte, sent bool) {
	a := Abandoned{SID: m.SID, PPID: m.PPID, Len: len(p), Sent: sent, Context: m.Context, Unordered: m.Unordered, Why: WhyEnd}
	if s.keep {
		a.Data = append(a.Data, p...)
	}
	up := s.upOf()
	up.told = append(up.told, a)
}
