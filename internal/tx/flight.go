package tx

import (
	"math/bits"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

// fate is what is known of a chunk that has a TSN.
type fate uint8

const (
	fateNone        fate = iota // the slot is empty: not sent, or covered by the cumulative TSN and forgotten
	fateOutstanding             // under way on at least one path
	fateLost                    // no transmission of it is believed in any more: waits to be sent again
	fateAbandoned               // given up: forwarded over (RFC 3758)
	fateAcked                   // reported by a gap block; the peer may still take that back
	fates
)

// moves is the table of legal moves: moves[from] has the bit of every fate that may follow.
var moves = [fates]uint8{
	fateNone:        1 << fateOutstanding,
	fateOutstanding: 1<<fateLost | 1<<fateAcked | 1<<fateAbandoned,
	fateLost:        1<<fateOutstanding | 1<<fateAcked | 1<<fateAbandoned,
	fateAbandoned:   1 << fateNone,
	fateAcked:       1<<fateNone | 1<<fateOutstanding | 1<<fateAbandoned, // forgotten under the cumulative TSN; reneged
}

func (f fate) canMove(to fate) bool { return moves[f]>>to&1 != 0 }

// strict makes an illegal move panic. Tests set it; in production the table is documentation and costs nothing.
var strict = false

// pathSet has one bit per path.
type pathSet uint16

func (p pathSet) lowest() int  { return bits.TrailingZeros16(uint16(p)) }
func (p pathSet) single() bool { return p != 0 && p&(p-1) == 0 }

// Flags of a chunk.
const (
	flagBegin     = 1 << iota // first fragment of its message
	flagEnd                   // last fragment
	flagImmediate             // the user asked for the I bit
	flagResent                // sent more than once: no RTT sample (Karn), and a duplicate report of it means something
	flagCredited              // counted as acknowledged once; a reneged chunk is not counted again
	flagDoubt                 // its latest record stands for a reneging SACK, not for a transmission
	flagReported              // a duplicate of it was counted
	flagCopies                // of a redundant message: travels on several paths at once
)

const noPath = 0xff

// chunk is one DATA chunk with a TSN. It knows where its payload lies, so that it can be sent any number of times.
// 48 bytes; a full 16 MiB window of 1 KiB chunks is 768 KiB of them.
type chunk struct {
	msg  *Message
	buf  *pktbuf.Buf // the payload begins here
	sent mono.Time   // latest transmission
	seq  uint32      // SSN or MID
	fsn  uint32
	off  uint16 // of the payload in buf
	size uint16 // payload bytes

	live  pathSet // paths on which a transmission counts as in flight
	paths pathSet // paths it ever travelled on

	// n numbers its transmissions. A record of number r on path p stands for something in flight when p is in live and
	// r is not below valid: older ones ended when the chunk was last lost, reneged, or sent again on the same path.
	n, valid uint16

	fate   fate
	flags  uint8
	last   uint8 // path of the latest transmission
	lostOn uint8 // path on which reordering was taken for loss, noPath: none
}

func (c *chunk) move(to fate) {
	if strict && !c.fate.canMove(to) {
		panic("tx: illegal move of a chunk's fate")
	}
	c.fate = to
}

// Sizes of the chunk ring. A gap block reaches 65535 above the cumulative TSN (RFC 9260 section 3.3.4), so a TSN beyond
// that could not be acknowledged out of order; keeping below it also keeps every other bound on the send window
// (RFC 9260 section 6.1: TSNs, and SSNs per stream).
const (
	minRing   = 4
	maxWindow = 1<<16 - 1
)

// at returns the slot of TSN idx.
func (s *Sender) at(idx uint64) *chunk { return &s.ring[idx&s.mask] }

// pos returns the position of TSN idx in the ring, which is what the bit rings count in.
func (s *Sender) pos(idx uint64) uint32 { return uint32(idx & s.mask) }

// idxAt is the inverse of pos for TSNs of the window.
func (s *Sender) idxAt(pos uint32) uint64 {
	return s.base + (uint64(pos)-s.base)&s.mask
}

// count returns how many TSNs the window spans.
func (s *Sender) count() uint64 { return s.next - s.base }

// grow makes room for one more chunk at s.next.
func (s *Sender) grow() {
	if s.count() < uint64(len(s.ring)) {
		return
	}
	s.resize(max(minRing, 2*len(s.ring)))
}

// resize moves the window to a ring of n slots, a power of two that holds it.
func (s *Sender) resize(n int) {
	ring, mask := make([]chunk, n), uint64(n-1)
	lost, cand := bitring{}, bitring{}
	var reports []uint8
	if s.missing != nil {
		reports = make([]uint8, n)
	}
	if s.lost.n > 0 {
		lost.size(n)
	}
	if s.cand.n > 0 {
		cand.size(n)
	}
	for idx := s.base; idx != s.next; idx++ {
		ring[idx&mask] = *s.at(idx)
		if reports != nil {
			reports[idx&mask] = s.missing.reports[s.pos(idx)]
		}
		if s.lost.has(s.pos(idx)) {
			lost.set(uint32(idx & mask))
		}
		if s.cand.has(s.pos(idx)) {
			cand.set(uint32(idx & mask))
		}
	}
	s.ring, s.mask, s.lost, s.cand = ring, mask, lost, cand
	if reports != nil {
		s.missing.reports = reports
	}
}

// mark sets the bit of position pos, giving the bit ring its memory at first use.
func (s *Sender) mark(b *bitring, pos uint32) {
	if b.words == nil {
		b.size(len(s.ring))
	}
	b.set(pos)
}

// write appends the chunk of TSN idx to b. False: no room, nothing written.
func (s *Sender) write(b *wire.Builder, c *chunk, idx uint64, immediate bool) bool {
	d := wire.Data{
		TSN:         serial.TSN(idx),
		SID:         c.msg.SID,
		PPID:        c.msg.PPID,
		Unordered:   c.msg.Unordered,
		Begin:       c.flags&flagBegin != 0,
		End:         c.flags&flagEnd != 0,
		Immediate:   immediate || c.flags&flagImmediate != 0,
		Interleaved: s.interleaving,
	}
	if s.interleaving {
		d.MID, d.FSN = serial.MID(c.seq), serial.FSN(c.fsn)
	} else {
		d.SSN = serial.SSN(c.seq)
	}
	area := b.DataHeader(&d, int(c.size))
	if area == nil {
		return false
	}
	copyOut(area, c.buf, int(c.off))
	return true
}

// wireSize is what a chunk of n payload bytes takes in a packet: header, payload, padding.
func (s *Sender) wireSize(n int) int { return (s.header() + n + 3) &^ 3 }

func (s *Sender) header() int {
	if s.interleaving {
		return wire.IDataHeaderLen
	}
	return wire.DataHeaderLen
}

// markLost ends the belief in every transmission of c, which must not be in flight anywhere any more. It waits to be sent
// again, and the peer's window gets its bytes back (RFC 9260 section 6.2.1 C).
func (s *Sender) markLost(c *chunk, pos uint32) {
	c.move(fateLost)
	s.out -= int(c.size)
	s.lostBytes += int(c.size)
	s.mark(&s.lost, pos)
	if s.cand.has(pos) {
		s.cand.clear(pos)
	}
	if s.spent(c) {
		up := s.upOf()
		up.doomed = append(up.doomed, c.msg) // others walk the window now: see doom
	}
}

// forget frees the slot of a chunk that the cumulative TSN covers. What tells a late duplicate report about it (flags,
// paths) stays until the slot is used again.
func (s *Sender) forget(c *chunk) {
	c.move(fateNone)
	n := int(c.size)
	m := c.msg
	c.msg, c.buf = nil, nil
	s.unfreed -= n
	m.st.held -= n
	if m.bundled > 0 {
		if m.done() {
			s.recycle(m)
		}
		return
	}
	m.acked(n)
	if c.flags&flagEnd != 0 {
		s.recycle(m)
	}
}
