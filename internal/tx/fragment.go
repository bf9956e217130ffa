package tx

import "github.com/go-multihome/multihome/internal/wire"

// HasNew reports whether AppendNew could append something: data is queued, and the peer's window is open or a zero window
// probe is due. False: AppendNew is certain to append nothing. True promises nothing about the next chunk's size.
func (s *Sender) HasNew() bool {
	return s.queued > 0 && s.count() < maxWindow && (s.PeerWindow() > 0 || s.base == s.next)
}

// WindowClosed reports whether nothing is outstanding and the peer's window has no room for the next chunk, so that all
// that may go is a zero window probe. AppendNew sends it when called; the caller decides when (RFC 9260 section 6.1 A:
// first after one RTO, then less and less often).
func (s *Sender) WindowClosed() bool {
	return s.queued > 0 && s.base == s.next && s.PeerWindow() < min(s.pick().head.piece(), int(s.largest))
}

// WindowProbe reports whether a zero window probe is outstanding. While SACKs keep coming its timeouts are no errors of
// the path (RFC 9260 section 6.1 A).
func (s *Sender) WindowProbe() bool { return s.probing && s.base != s.next }

// AppendNew cuts queued messages into chunks, numbers them and appends them to b while g.Budget is above zero and the peer's
// window allows. It returns the payload bytes appended; the caller takes them off its budget before the next call.
//
// The scheduler says which stream is next. A message that fits into g.MaxChunk is never cut, and a cut chunk is filled to
// g.MaxChunk except at the message's end: what does not fit into what is left of a packet waits for the next packet. Two
// things make a chunk smaller: a packet that is empty and still smaller than g.MaxChunk; and a packet with room left, which
// the beginning of a message that must be cut anyway fills up. So a flow of large messages goes in packets of equal size,
// which a socket with segmentation offload sends as one.
//
// When the peer's window is smaller than the next chunk, nothing goes, unless nothing is outstanding: then one chunk goes
// as a zero window probe (RFC 9260 section 6.1 A).
func (s *Sender) AppendNew(b *wire.Builder, g *Grant) int {
	whole := min(g.MaxChunk, maxWire)&^3 - s.header()
	limit := whole
	if b.Empty() {
		limit = min(limit, b.Room()&^3-s.header())
	}
	s.largest = int32(max(1, limit))
	sent := 0
	for s.queued > 0 && limit > 0 && sent < g.Budget {
		st := s.pick()
		m := st.head
		if s.over(m, g.Now) {
			s.abandon(m, WhyLifetime)
			continue
		}
		if m.Wish != g.Wish || s.apart(st) {
			break
		}
		n := m.piece()
		if m.bundled == 0 {
			if n = min(n, limit); m.left > whole && !m.started() && n <= s.PeerWindow() {
				n = min(n, s.fill(b, n))
			}
		}
		probe := n > s.PeerWindow()
		if probe && s.base != s.next || s.count() >= maxWindow {
			break
		}
		if b.Room() < s.wireSize(n) || !s.cut(b, g, st, n) {
			break
		}
		s.probing = probe
		sent += n
	}
	return sent
}

// FragmentSize returns how many payload bytes a chunk of at most maxChunk bytes, its header included, can hold.
func (s *Sender) FragmentSize(maxChunk int) int { return min(maxChunk, maxWire)&^3 - s.header() }

// fill returns how much of a chunk of n bytes fits into the packet if it has to, or n if hardly anything would.
func (s *Sender) fill(b *wire.Builder, n int) int {
	if room := b.Room()&^3 - s.header(); room >= minFill {
		return room
	}
	return n
}

// minFill is the least payload of a chunk that fills a packet up.
const minFill = 4

// ChunkSize is the reverse: the largest chunk that holds no more than payload bytes.
func (s *Sender) ChunkSize(payload int) int { return (payload + s.header()) &^ 3 }

// maxWire keeps a chunk's length inside its 16-bit field.
const maxWire = 1<<16 - 4

// cut takes the next n bytes of the front message of st into a chunk of its own, in b and in the window. Every number is
// assigned here and nowhere else, and only once the chunk is in the packet, so none is ever taken back.
func (s *Sender) cut(b *wire.Builder, g *Grant, st *stream, n int) bool {
	m := st.head
	if m.bundled > 0 {
		return s.cutBundled(b, g, st, n)
	}
	if !m.started() {
		m.seq = st.number(m.Unordered, s.interleaving)
	}
	s.grow()
	c := s.at(s.next)
	*c = chunk{
		msg: m, buf: m.cutBuf, off: uint16(m.cutOff), size: uint16(n),
		seq: m.seq, fsn: uint32(m.fsn), lostOn: noPath,
	}
	if !m.started() {
		c.flags |= flagBegin
	}
	if m.Redundant {
		c.flags |= flagCopies | flagResent // of several copies nobody knows which was answered (Karn)
		s.copyEnd = s.next + 1
	}
	end := n == m.left
	if end {
		c.flags |= flagEnd
		if m.Immediate {
			c.flags |= flagImmediate
		}
	}
	if !s.write(b, c, s.next, g.Immediate) {
		c.msg, c.buf = nil, nil
		return false
	}
	if !m.started() {
		st.count(m.Unordered, s.interleaving)
	}
	if m.cuts == 0 {
		m.first = s.next
		s.stays(m)
	}
	m.cuts++
	m.advance(n)
	m.fsn++
	s.numbered(c, g, st, n, end)
	return true
}

// numbered takes the chunk that was cut, of n bytes, into the window and counts it as sent.
func (s *Sender) numbered(c *chunk, g *Grant, st *stream, n int, end bool) {
	c.move(fateOutstanding)
	idx := s.next
	s.next++
	s.queued -= n
	s.unfreed += n
	s.out += n
	s.launch(c, idx, g.Path, g.Now)
	s.joins(st)
	s.took(st, n, end)
}

// number returns the next message's SSN or MID. DATA has no number for unordered messages (RFC 9260 section 6.6); I-DATA
// counts them apart (RFC 8260 section 2.1).
func (st *stream) number(unordered, interleaving bool) uint32 {
	switch {
	case interleaving && unordered:
		return uint32(st.umid)
	case interleaving:
		return uint32(st.mid)
	case unordered:
		return 0
	}
	return uint32(st.ssn)
}

// count takes the number that number returned.
func (st *stream) count(unordered, interleaving bool) {
	switch {
	case interleaving && unordered:
		st.umid++
	case interleaving:
		st.mid++
	case !unordered:
		st.ssn++
	}
}
