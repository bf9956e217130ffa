package tx

import (
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/locator"
)

// record is one transmission of a chunk on one path. One chunk may have several: a probe or a resend travels beside the
// original. Whether a record still stands for something in flight is told by its chunk, see (*Sender).live.
type record struct {
	at  mono.Time
	tsn uint32
	n   uint16 // number among the chunk's transmissions
}

// track is what the sender keeps of one path: its transmissions in the order of sending, and what RACK derives from them.
// The record at head is always a live one: whatever ends a transmission trims the front.
type track struct {
	recs       []record // ring, its length a power of two
	head, tail uint32   // running positions
	flight     int      // payload bytes in flight
	later      second
	copied     uint64 // copies of redundant chunks were made, or were not needed, below this TSN
	rack       rack
}

const minRecords = 4

// second is how far the search of (*Sender).Second has come. It holds until something ends: after each write of a small
// message somebody asks, and a packet has room for a hundred of them.
type second struct {
	ends uint64 // Sender.ends at its beginning
	head uint32 // of the track then
	next uint32 // record to look at next
	size int    // bytes of those before it
	of   int    // bytes that are a packet
	at   mono.Time
}

func (t *track) empty() bool          { return t.head == t.tail }
func (t *track) front() *record       { return t.rec(t.head) }
func (t *track) rec(x uint32) *record { return &t.recs[x&uint32(len(t.recs)-1)] }

// known returns the state of path p, nil when nothing was ever sent there.
func (s *Sender) known(p locator.PathID) *track {
	if s.work == nil || s.tracks == nil {
		return nil
	}
	return s.tracks[p]
}

// track returns the state of path p, allocating it at first use.
func (s *Sender) track(p locator.PathID) *track {
	s.begin()
	if s.tracks == nil {
		s.tracks = make([]*track, locator.MaxPaths)
	}
	t := s.tracks[p]
	if t == nil {
		t = &track{}
		s.tracks[p] = t
	}
	return t
}

// live returns the chunk of a record that stands for something in flight on the path of bit, or nil. A record may be
// stale: its chunk is acknowledged, forgotten, lost, or was sent again since.
func (s *Sender) live(r *record, bit pathSet) *chunk {
	d := uint64(r.tsn - uint32(s.base))
	if d >= s.count() {
		return nil
	}
	c := s.at(s.base + d)
	if c.live&bit == 0 || int16(r.n-c.valid) < 0 {
		return nil
	}
	return c
}

// trim drops stale records from the front of path p's ring.
func (s *Sender) trim(t *track, bit pathSet) {
	for !t.empty() && s.live(t.front(), bit) == nil {
		t.head++
	}
}

// makeRoom lets one more record into the ring: by dropping the stale ones when that frees half of it, else by doubling.
// So a path whose oldest transmission is never answered holds memory for what is in flight, not for all that passed by.
func (s *Sender) makeRoom(t *track, bit pathSet) {
	size := uint32(len(t.recs))
	if t.tail-t.head < size {
		return
	}
	s.ends++
	to := t.head
	for x := t.head; x != t.tail; x++ {
		if r := t.rec(x); s.live(r, bit) != nil {
			*t.rec(to) = *r
			to++
		}
	}
	t.tail = to
	if t.tail-t.head <= size/2 && size > 0 {
		return
	}
	recs := make([]record, max(minRecords, 2*size))
	n := uint32(0)
	for x := t.head; x != t.tail; x++ {
		recs[n] = *t.rec(x)
		n++
	}
	t.recs, t.head, t.tail = recs, 0, n
}

// launch records a transmission of the chunk of TSN idx on path p and counts it in flight there.
func (s *Sender) launch(c *chunk, idx uint64, p locator.PathID, now mono.Time) {
	t, bit := s.track(p), pathSet(1)<<p
	s.makeRoom(t, bit)
	if s.missing != nil {
		s.missing.sent(s.pos(idx), c.n > 0)
	}
	if c.n > 0 {
		c.flags |= flagResent
		if s.trial == idx {
			s.trial = 0 // a duplicate of it may be this one
		}
	}
	c.n++
	again := c.live == bit
	if c.live == 0 || again {
		c.valid = c.n // whatever was sent before is over, or superseded on this path
	}
	if c.live&bit == 0 {
		c.live |= bit
		t.flight += int(c.size)
	}
	c.paths |= bit
	c.last = uint8(p)
	c.sent = now
	c.flags &^= flagDoubt
	*t.rec(t.tail) = record{at: now, tsn: uint32(idx), n: c.n}
	t.tail++
	if again {
		s.ends++
		s.trim(t, bit)
	}
}

// evict ends every transmission on path p. Chunks that live on another path stay as they are; the others are lost.
// It returns how many, and their payload bytes.
func (s *Sender) evict(p locator.PathID) (chunks, bytes int) {
	t, bit := s.known(p), pathSet(1)<<p
	if t == nil {
		return 0, 0
	}
	s.ends++
	for ; !t.empty(); t.head++ {
		r := t.front()
		c := s.live(r, bit)
		if c == nil {
			continue
		}
		c.live &^= bit
		t.flight -= int(c.size)
		if c.live == 0 {
			c.lostOn = noPath
			s.markLost(c, s.pos(uint64(r.tsn)))
			chunks++
			bytes += int(c.size)
		}
	}
	t.rack.deadline = 0
	return chunks, bytes
}

// InFlight returns the payload bytes that count as in flight on path p: sent on it, and neither acknowledged nor given up.
// A chunk that was probed or sent again elsewhere counts on each path where it is believed to be under way.
func (s *Sender) InFlight(p locator.PathID) int {
	if t := s.known(p); t != nil {
		return t.flight
	}
	return 0
}

// Second returns when the packet after the oldest one still in flight on path p was sent: what makes a peer that holds back
// the SACK of a lone packet answer at once (RFC 9260 section 6.2). More than packet bytes sent at one instant are more
// than one packet. False: a lone packet is in flight there.
func (s *Sender) Second(p locator.PathID, packet int) (mono.Time, bool) {
	t, bit := s.known(p), pathSet(1)<<p
	if t == nil || t.empty() {
		return 0, false
	}
	k, first := &t.later, t.front().at
	if k.ends != s.ends || k.head != t.head || k.of != packet {
		*k = second{ends: s.ends, head: t.head, next: t.head, of: packet}
	}
	for ; k.at == 0 && k.next != t.tail; k.next++ {
		r := t.rec(k.next)
		c := s.live(r, bit)
		if c == nil {
			continue
		}
		if k.size += int(c.size); r.at > first {
			k.at = r.at
		} else if k.size > packet {
			k.at = first
		}
	}
	return k.at, k.at != 0
}

// Oldest returns when the oldest transmission still in flight on path p was sent: what T3-rtx (RFC 9260 section 6.3.2) and
// the probe timeout run from. False: nothing is in flight there.
func (s *Sender) Oldest(p locator.PathID) (mono.Time, bool) {
	t := s.known(p)
	if t == nil || t.empty() {
		return 0, false
	}
	return t.front().at, true
}
