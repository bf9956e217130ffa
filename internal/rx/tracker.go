package rx

import (
	"github.com/go-multihome/multihome/internal/ranges"
	"github.com/go-multihome/multihome/internal/serial"
)

const (
	// maxRanges bounds the list of received ranges above the cumulative TSN. It is far more than one SACK can report, and
	// small enough that a peer who sends every second TSN cannot make the list expensive.
	maxRanges = 4096

	// keepSlots is the size up to which the ring survives a closed gap. A larger one came from one bad moment of a large
	// window and is given back.
	keepSlots = 4096
	minSlots  = 64
)

// slot says what a TSN above the cumulative one is in plain reassembly: flags in the low bits, above them the number of
// the item that holds the run of fragments. The item number is only right at both ends of a run that is not yet a whole
// message, and only there is it ever looked at. The zero slot is a TSN not received.
type slot uint32

const (
	slotReceived slot = 1 << iota
	slotBegin         // the chunk had the B bit
	slotEnd           // the chunk had the E bit
	slotLost          // the payload is gone: bad stream, abandoned, or its message can never be complete
	slotShift    = 4
)

func (s slot) item() uint32          { return uint32(s >> slotShift) }
func (s slot) with(item uint32) slot { return s&(1<<slotShift-1) | slot(item)<<slotShift }
func (s slot) lost() slot            { return s.with(0) | slotLost }

// tracker is what is known about TSNs above the cumulative one.
type tracker struct {
	gaps ranges.Set
	ring []slot // by TSN modulo its length, a power of two; plain reassembly only
}

// seen reports whether t was received before.
func (r *Receiver) seen(t uint64) bool {
	return t <= r.cum || (t <= r.high && r.hold.gaps.Contains(t))
}

// trackable reports whether t can be recorded: it extends a range, or the list of ranges has room.
func (r *Receiver) trackable(t uint64) bool {
	if t == r.cum+1 || r.hold == nil {
		return true
	}
	g := &r.hold.gaps
	return g.Len() < maxRanges || g.Contains(t-1) || g.Contains(t+1)
}

// mark records t, which was not seen before, as received.
func (r *Receiver) mark(t uint64) {
	if t != r.cum+1 {
		r.holding().gaps.Add(t, t+1)
		r.high = max(r.high, t)
		return
	}
	if r.high <= t { // in order, no gap anywhere: the common case
		r.cum, r.high = t, t
		return
	}
	r.advanceCum(t)
}

// advanceCum moves the cumulative TSN up to t and on over what follows it without a gap (RFC 9260 section 6.2).
func (r *Receiver) advanceCum(t uint64) {
	old := r.cum
	r.cum = t
	if h := r.hold; h != nil {
		if i := h.gaps.Find(t); i < h.gaps.Len() {
			if lo, hi := h.gaps.At(i); lo <= t+1 {
				r.cum = hi - 1
			}
		}
		h.gaps.RemoveBelow(r.cum + 1)
		if !r.interleaving {
			r.passSlots(old, t)
		}
	}
	r.high = max(r.high, r.cum)
}

// passSlots forgets the slots that the cumulative TSN has passed on its way from old, and keeps the last of them as the
// tail, unless it stopped at t: the caller has set the tail to that one's slot.
func (r *Receiver) passSlots(old, t uint64) {
	h := r.hold
	if len(h.ring) == 0 {
		return
	}
	mask := uint64(len(h.ring) - 1)
	if r.cum > t {
		r.tail = h.ring[r.cum&mask]
	}
	for u := old + 1; u <= min(r.cum, r.high); u++ {
		h.ring[u&mask] = 0
	}
	if r.cum >= r.high && len(h.ring) > keepSlots {
		h.ring = nil
	}
}

// slotAt returns the slot of t. Below the cumulative TSN nothing is remembered.
func (r *Receiver) slotAt(t uint64) slot {
	switch {
	case t == r.cum:
		return r.tail
	case t < r.cum || t > r.high || len(r.hold.ring) == 0:
		return 0
	}
	return r.hold.ring[t&uint64(len(r.hold.ring)-1)]
}

// setSlot changes the slot of a TSN already received. Below the cumulative one nothing is remembered any more.
func (r *Receiver) setSlot(t uint64, s slot) {
	switch {
	case t > r.cum:
		r.hold.ring[t&uint64(len(r.hold.ring)-1)] = s
	case t == r.cum:
		r.tail = s
	}
}

// markSlot is mark with the TSN's slot. Data in order needs no ring: its slot becomes the tail at once.
func (r *Receiver) markSlot(t uint64, s slot) {
	if t == r.cum+1 {
		r.tail = s
	} else {
		if r.hold == nil || t-r.cum >= uint64(len(r.hold.ring)) {
			r.growRing(t)
		}
		r.hold.ring[t&uint64(len(r.hold.ring)-1)] = s
	}
	r.mark(t)
}

// growRing makes the ring large enough for t.
func (r *Receiver) growRing(t uint64) {
	h := r.holding()
	n := max(minSlots, len(h.ring))
	for uint64(n) <= t-r.cum {
		n *= 2
	}
	ring := make([]slot, n)
	if old := len(h.ring); old > 0 {
		for u := r.cum + 1; u <= r.high; u++ {
			ring[u&uint64(n-1)] = h.ring[u&uint64(old-1)]
		}
	}
	h.ring = ring
}

// duplicate notes t for the next SACK (RFC 9260 section 6.2).
func (r *Receiver) duplicate(t serial.TSN) {
	r.count().Duplicates++
	h := r.holding()
	if len(h.dups) < int(r.maxDups) {
		h.dups = append(h.dups, t)
	}
}

// holding returns the lazily made part of the state.
func (r *Receiver) holding() *holding {
	if r.hold == nil {
		r.hold = new(holding)
	}
	return r.hold
}
