package rx

import (
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

// I-DATA reassembly: a message is found by stream, U bit and MID, its fragments by FSN; TSNs say nothing about either
// (RFC 8260 section 2.2.3). The message used last on a stream is remembered, which makes the lookup free as long as a
// sender keeps to one message per stream at a time (section 2.2.2); others are found through a map.

// inter takes the I-DATA chunk with TSN t.
func (r *Receiver) inter(t uint64, d *wire.Data) Outcome {
	si := r.streamOf(d.SID)
	ord, v := r.interNumber(si, d)
	if v != fresh {
		return r.strange(t, d, v)
	}
	i := r.findMessage(si, d.Unordered, ord)
	if d.Begin && d.End {
		if i != 0 {
			return BadChunk // fragments of a message that is not fragmented
		}
		r.mark(t)
		r.wholeMessage(si, ord, d)
		return Accepted
	}
	if !d.Begin && d.FSN == 0 {
		return BadChunk // only the first fragment has number 0 (RFC 8260 section 2.1)
	}
	if i == 0 {
		i = r.newMessage(si, ord, d)
	}
	if !r.addFragment(i, d) {
		return BadChunk
	}
	r.mark(t)
	r.grown(i)
	return Accepted
}

// interNumber widens the MID of a chunk. Ordered and unordered messages count apart (RFC 8260 section 2.1).
func (r *Receiver) interNumber(si uint32, d *wire.Data) (uint64, verdict) {
	s := &r.streams[si]
	if d.Unordered {
		ord := serial.Unwrap(s.top, uint32(d.MID))
		if ord <= s.skipped {
			return ord, stale
		}
		s.top = max(s.top, ord)
		return ord, fresh
	}
	ord := serial.Unwrap(s.next, uint32(d.MID))
	if ord < s.next {
		return ord, stale
	}
	return ord, fresh
}

// messageKey names a message in holding.byNumber.
func messageKey(si uint32, unordered bool, ord uint64) uint64 {
	k := uint64(si)<<33 | uint64(uint32(ord))
	if unordered {
		k |= 1 << 32
	}
	return k
}

// findMessage returns the item of a message in reassembly, 0 when there is none.
func (r *Receiver) findMessage(si uint32, unordered bool, ord uint64) uint32 {
	if r.hold == nil {
		return 0
	}
	if i := r.streams[si].current; i != 0 {
		if it := &r.hold.items.a[i]; it.ord == ord && it.unordered == unordered {
			return i
		}
	}
	if len(r.hold.byNumber) == 0 {
		return 0
	}
	i := r.hold.byNumber[messageKey(si, unordered, ord)]
	if i != 0 {
		r.setCurrent(si, i)
	}
	return i
}

// setCurrent makes i the current message of its stream. The one before it goes into the map.
func (r *Receiver) setCurrent(si, i uint32) {
	h := r.hold
	s := &r.streams[si]
	if c := s.current; c != 0 {
		if it := &h.items.a[c]; !it.numbered {
			if h.byNumber == nil {
				h.byNumber = make(map[uint64]uint32)
			}
			h.byNumber[messageKey(si, it.unordered, it.ord)] = c
			it.numbered = true
		}
	}
	s.current = i
}

// newMessage makes the item of a message of which a first fragment, not necessarily number 0, has come.
func (r *Receiver) newMessage(si uint32, ord uint64, d *wire.Data) uint32 {
	h := r.holding()
	i := h.items.alloc(assembling)
	it := &h.items.a[i]
	it.stream, it.ord, it.unordered = si, ord, d.Unordered
	it.lo, it.hi = firstNumber, firstNumber
	if d.Unordered {
		h.items.push(&r.streams[si].unordered, i)
	} else {
		r.wait(i) // from the start, so that an I-FORWARD-TSN finds it
	}
	r.setCurrent(si, i)
	return i
}

// addFragment adds a fragment to message i: behind what is contiguous, with what it connects, or aside. False: the fragment
// contradicts those that came before.
func (r *Receiver) addFragment(i uint32, d *wire.Data) bool {
	h := r.hold
	it := &h.items.a[i]
	fsn := serial.Unwrap(it.lo, uint32(d.FSN))
	if d.Begin {
		fsn = firstNumber
	}
	switch {
	case fsn < it.lo: // again, under another TSN; a second first fragment too
		return false
	case it.ended && fsn >= it.hi-1: // at or behind the last one
		return false
	case d.End && fsn < it.hi: // the last one, but there were later ones
		return false
	}
	it.hi = max(it.hi, fsn+1)
	it.ended = it.ended || d.End
	if d.Begin {
		it.begun, it.ppid, it.tsn = true, d.PPID, d.TSN
	}
	if fsn != it.lo {
		f := h.items.alloc(fragment)
		fr := &h.items.a[f]
		fr.ord, fr.stream = fsn, it.stream
		fr.chain.Push(r.copyIn(d))
		it = &h.items.a[i]
		h.items.push(&it.frags, f)
		return true
	}
	it.chain.Push(r.copyIn(d))
	it.lo++
	for f := it.frags; f != 0; f = it.frags {
		fr := &h.items.a[f]
		if fr.ord > it.lo {
			break
		}
		if fr.ord < it.lo {
			return false // two fragments with one number
		}
		h.items.remove(&it.frags, f)
		joinChains(&it.chain, &fr.chain)
		it.lo++
		h.items.release(f)
	}
	it.whole = it.ended && it.lo == it.hi
	return true
}
