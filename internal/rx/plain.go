package rx

import (
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

// Plain reassembly: the fragments of a message have consecutive TSNs (RFC 9260 section 6.9), so a chunk belongs to what
// lies directly before and behind it and to nothing else. Runs of fragments know both their ends; a new chunk joins the run
// on its left, the one on its right, or both to one, each in O(1), whatever the number of chunks held.
//
// All TSNs up to the cumulative one are there, so the only message that can still be incomplete below it is the one that
// ends at it: the tail. Data in order therefore joins the tail and needs neither ring nor search.

// plain takes the DATA chunk with TSN t.
func (r *Receiver) plain(t uint64, d *wire.Data) Outcome {
	left, right := r.slotAt(t-1), r.slotAt(t+1)
	if !fits(left, right, d) {
		return BadChunk
	}
	si := r.streamOf(d.SID)
	var ord uint64
	if !d.Unordered {
		var v verdict
		if ord, v = r.plainNumber(t, si, d.SSN); v != fresh {
			return r.strange(t, d, v)
		}
	}
	if hopeless(left, right, d) {
		r.lose(t, left, right, d)
		return Accepted
	}
	own := slotOf(d)
	if d.Begin && d.End {
		r.markSlot(t, own)
		r.wholeMessage(si, ord, d)
		return Accepted
	}

	h := r.holding()
	li, ri := uint32(0), uint32(0) // the runs it joins
	if !d.Begin {
		li = left.item()
	}
	if !d.End {
		ri = right.item()
	}
	if (li != 0 && !h.items.a[li].matches(si, ord, d)) || (ri != 0 && !h.items.a[ri].matches(si, ord, d)) {
		return BadChunk
	}
	i := li
	switch {
	case li != 0:
		it := &h.items.a[li]
		it.chain.Push(r.copyIn(d))
		it.hi = t
	case ri != 0:
		i = ri
		it := &h.items.a[ri]
		b := r.copyIn(d)
		b.SetNext(it.chain.Head)
		it.chain.Head = b
		it.chain.Len += b.Len()
		it.chain.Held += b.Held()
		it.lo = t
	default:
		i = h.items.alloc(assembling)
		it := &h.items.a[i]
		it.chain.Push(r.copyIn(d))
		it.stream, it.ord, it.unordered = si, ord, d.Unordered
		it.lo, it.hi = t, t
	}
	r.markSlot(t, own.with(i))
	it := &h.items.a[i]
	if li != 0 && ri != 0 {
		right := &h.items.a[ri]
		joinChains(&it.chain, &right.chain)
		it.hi, it.ended = right.hi, right.ended
		r.setSlot(it.hi, r.slotAt(it.hi).with(i))
		h.items.release(ri)
	}
	if d.Begin {
		it.begun, it.ppid, it.tsn = true, d.PPID, d.TSN
	}
	if d.End {
		it.ended = true
	}
	it.whole = it.begun && it.ended
	r.grown(i)
	return Accepted
}

// slotOf returns the slot of a chunk, without an item.
func slotOf(d *wire.Data) slot {
	s := slotReceived
	if d.Begin {
		s |= slotBegin
	}
	if d.End {
		s |= slotEnd
	}
	return s
}

// fits reports whether the B and E bits of a chunk agree with its neighbours, as far as those have been received and are
// known: a message begins exactly where the one before it ends (RFC 9260 section 6.9).
func fits(left, right slot, d *wire.Data) bool {
	switch {
	case left&slotReceived == 0:
	case left&slotEnd != 0:
		if !d.Begin {
			return false
		}
	case left&slotLost == 0 && d.Begin:
		return false
	}
	return right&slotReceived == 0 || d.End == (right&slotBegin != 0)
}

// hopeless reports whether a neighbouring fragment of the chunk's message is gone for good.
func hopeless(left, right slot, d *wire.Data) bool {
	return (!d.Begin && left&slotLost != 0) || (!d.End && right&slotLost != 0)
}

// lose records t as received with its payload dropped. The fragments next to it have lost their message.
func (r *Receiver) lose(t uint64, left, right slot, d *wire.Data) {
	r.count().Hopeless++
	r.markSlot(t, slotOf(d).lost())
	if !d.Begin && left.item() != 0 {
		r.breakRun(left.item())
	}
	if !d.End && right.item() != 0 {
		r.breakRun(right.item())
	}
}

// breakRun gives up a run and lets its stream go on.
func (r *Receiver) breakRun(i uint32) {
	si := r.hold.items.a[i].stream
	r.giveUp(i)
	r.turn(si)
}

// plainLost takes a chunk whose payload nobody wants. False: it contradicts its neighbours.
func (r *Receiver) plainLost(t uint64, d *wire.Data) bool {
	left, right := r.slotAt(t-1), r.slotAt(t+1)
	if !fits(left, right, d) {
		return false
	}
	if (!d.Begin && left.item() != 0) || (!d.End && right.item() != 0) {
		return false // a message does not change its stream
	}
	r.lose(t, left, right, d)
	return true
}

// matches reports whether a fragment belongs to the item's message.
func (it *item) matches(si uint32, ord uint64, d *wire.Data) bool {
	return it.stream == si && it.unordered == d.Unordered && (d.Unordered || it.ord == ord)
}

// verdict is what a message number says about a message.
type verdict uint8

const (
	fresh verdict = iota
	stale         // its turn is over: it was abandoned, or the peer uses a number twice
)

// plainNumber widens the SSN of the chunk with TSN t. A new TSN cannot belong to a message already delivered, so the SSN is
// taken as lying ahead, over its whole range: the sender may have that many messages on the way (RFC 9260 section 6.1).
// Each message in between needs a TSN of its own, either between the cumulative one and t, or below it and then the message
// is complete and waiting. A sender that numbers otherwise, or has abandoned messages and not said so yet, may be up to half
// of the range ahead: what comes out of the order of its stream is held until that is restored (section 6.6).
func (r *Receiver) plainNumber(t uint64, si uint32, ssn serial.SSN) (uint64, verdict) {
	s := &r.streams[si]
	ahead := uint64(ssn - serial.SSN(s.next))
	switch {
	case ahead < t-r.cum+uint64(s.waiting):
		return s.next + ahead, fresh
	case ahead >= 1<<15:
		return 0, stale
	}
	return s.next + ahead, fresh
}

// strange ends the way of a chunk whose message number is not fresh.
func (r *Receiver) strange(t uint64, d *wire.Data, v verdict) Outcome {
	if v == stale && !r.forwarded {
		return BadChunk
	}
	if r.interleaving {
		r.count().Hopeless++
		r.mark(t)
		return Accepted
	}
	r.lose(t, r.slotAt(t-1), r.slotAt(t+1), d)
	return Accepted
}
