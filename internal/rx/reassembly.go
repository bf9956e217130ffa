package rx

import (
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

// itemCost is what the window charges for one item beside its payload. It covers the size of item and its share of a grown
// arena.
const itemCost = 192

// place says where an item stands. The moves:
//
//	free -> assembling             a first fragment
//	free -> waiting, queued        a whole message, not yet its turn
//	assembling -> waiting          ordered: it has its first fragment
//	assembling -> streaming        unordered and too large to wait for its end
//	assembling -> queued           unordered and whole, but another message of its stream is being handed out
//	waiting -> streaming           its turn has come
//	any -> free                    handed out to its end, or given up
//	free -> fragment -> free       I-DATA out of order within its message
type place uint8

const (
	free       place = iota
	assembling       // in nobody's list, or unordered I-DATA: in its stream's heap of unordered messages
	waiting          // in its stream's heap of ordered messages
	queued           // whole, in its stream's queue
	streaming        // its stream hands it out fragment by fragment
	fragment         // held in its message's heap of fragments
)

// item is a message in reassembly, or in I-DATA a fragment held for one. In plain reassembly it may also be a run of
// fragments whose message's beginning has not been seen.
type item struct {
	chain pktbuf.Chain // payload in order, without what has been handed out
	ord   uint64       // message number, unwrapped; of a fragment its FSN, unwrapped
	// Plain: first and last TSN of the run. I-DATA: next FSN wanted, and one above the highest FSN seen.
	lo, hi            uint64
	child, next, prev uint32 // heap links; next also links the queue and the free list
	frags             uint32 // I-DATA: heap of fragments out of order
	stream            uint32 // place in Receiver.streams
	ppid              uint32
	tsn               serial.TSN // of its first fragment
	place             place
	unordered         bool
	begun             bool // has its first fragment
	ended             bool // its last fragment has been seen
	started           bool // a part has been handed out
	whole             bool // everything is there
	numbered          bool // in holding.byNumber
}

// items is an arena. Number 0 is nobody.
type items struct {
	a    []item
	free uint32 // list through next
	live int
}

// keepItems is the size up to which an arena survives being empty.
const keepItems = 4096

// alloc returns the number of a zero item at place p. Pointers into the arena are void after it.
func (s *items) alloc(p place) uint32 {
	s.live++
	if i := s.free; i != 0 {
		s.free = s.a[i].next
		s.a[i] = item{place: p}
		return i
	}
	if len(s.a) == 0 {
		s.a = append(make([]item, 0, 8), item{})
	}
	s.a = append(s.a, item{place: p})
	return uint32(len(s.a) - 1)
}

// release gives item i back; its payload must be gone.
func (s *items) release(i uint32) {
	s.a[i] = item{next: s.free}
	s.free = i
	if s.live--; s.live == 0 && len(s.a) > keepItems {
		s.a, s.free = nil, 0
	}
}

// freeAll gives all payload back and forgets every item.
func (s *items) freeAll() {
	for i := range s.a {
		s.a[i].chain.Free()
	}
	*s = items{}
}

// joinChains moves the payload of b behind that of a.
func joinChains(a, b *pktbuf.Chain) {
	switch {
	case b.Head == nil:
		return
	case a.Head == nil:
		*a = b.Take()
		return
	}
	a.Tail.SetNext(b.Head)
	a.Tail = b.Tail
	a.Len += b.Len
	a.Held += b.Held
	*b = pktbuf.Chain{}
}

// stream is the state of one inbound stream in use.
type stream struct {
	next      uint64 // number of the ordered message whose turn it is; its low bits are the SSN or MID
	top       uint64 // I-DATA: highest unordered message number seen
	skipped   uint64 // I-DATA: unordered messages up to and with it were abandoned
	ordered   uint32 // heap of items waiting
	unordered uint32 // I-DATA: heap of unordered items assembling
	streaming uint32 // the item being handed out in parts; no other message of the stream may pass it
	current   uint32 // I-DATA: the message in reassembly used last, which needs no lookup
	qhead     uint32 // whole messages that only wait for streaming to end, first come first served
	qtail     uint32
	waiting   uint32 // items in ordered
	sid       uint16
}

// firstNumber is where unwrapped message and fragment numbers start, so that a number below the first needs no sign.
const firstNumber = 1 << 32

// streamOf returns the place of stream sid in r.streams, making its state when it is used for the first time.
func (r *Receiver) streamOf(sid uint16) uint32 {
	r.deliver()
	if int(r.lastIdx) < len(r.streams) && r.streams[r.lastIdx].sid == sid {
		return r.lastIdx
	}
	i, ok := r.index[sid]
	if !ok {
		if r.index == nil {
			r.index = make(map[uint16]uint32)
		}
		i = uint32(len(r.streams))
		r.index[sid] = i
		r.streams = append(r.streams, stream{sid: sid, next: firstNumber, top: firstNumber, skipped: firstNumber - 1})
	}
	r.lastIdx = i
	return i
}

// wholeMessage takes a message that came in one chunk. In order it becomes a part without ever being an item.
func (r *Receiver) wholeMessage(si uint32, ord uint64, d *wire.Data) {
	s := &r.streams[si]
	now := s.streaming == 0 && (d.Unordered || ord == s.next)
	if now {
		if seq := r.number(ord, d.Unordered); !r.runs || !r.join(s.sid, seq, d) {
			p := Part{SID: s.sid, PPID: d.PPID, TSN: d.TSN, Seq: seq, Begin: true, End: true, Unordered: d.Unordered}
			p.Data.Push(r.copyIn(d))
			r.handOut(&p)
		}
		if !d.Unordered {
			s.next++
			r.turn(si)
		}
		return
	}
	h := r.holding()
	i := h.items.alloc(assembling)
	it := &h.items.a[i]
	it.chain.Push(r.copyIn(d))
	it.ord, it.stream, it.ppid, it.tsn, it.unordered = ord, si, d.PPID, d.TSN, d.Unordered
	it.begun, it.ended, it.whole = true, true, true
	if d.Unordered {
		r.enqueue(i)
	} else {
		r.wait(i)
	}
}

// grown looks after item i, which has got a fragment: it may be its turn, or it may be whole.
func (r *Receiver) grown(i uint32) {
	it := &r.hold.items.a[i]
	si := it.stream
	s := &r.streams[si]
	switch {
	case it.place == streaming:
		r.flush(i)
		if r.streams[si].streaming == 0 {
			r.turn(si)
		}
	case !it.begun:
	case !it.unordered:
		if it.place != waiting {
			r.wait(i)
		}
		if s.streaming == 0 && it.ord == s.next {
			r.turn(si)
		}
	case it.whole && s.streaming != 0:
		r.unlist(i)
		r.enqueue(i)
	case it.whole, s.streaming == 0 && r.tooLarge(it) && r.mayBegin(it):
		r.start(i)
	}
}

// tooLarge reports whether an unordered message must not wait for its end: by itself it takes half the window, or memory
// is running out and messages interleaved with it may hold the rest.
func (r *Receiver) tooLarge(it *item) bool {
	return it.chain.Held > r.window/2 || r.used() > r.window-r.window/4
}

// wait puts an ordered item into its stream's heap.
func (r *Receiver) wait(i uint32) {
	h := r.hold
	h.items.a[i].place = waiting
	s := &r.streams[h.items.a[i].stream]
	s.waiting++
	h.items.push(&s.ordered, i)
}

// enqueue puts a whole item into its stream's queue.
func (r *Receiver) enqueue(i uint32) {
	it := &r.hold.items.a[i]
	it.place = queued
	it.next = 0
	s := &r.streams[it.stream]
	if s.qtail == 0 {
		s.qhead = i
	} else {
		r.hold.items.a[s.qtail].next = i
	}
	s.qtail = i
}

// unlist takes an item out of the heap it is in, if any. Its place becomes assembling.
func (r *Receiver) unlist(i uint32) {
	it := &r.hold.items.a[i]
	s := &r.streams[it.stream]
	switch {
	case it.place == waiting:
		s.waiting--
		r.hold.items.remove(&s.ordered, i)
	case it.place == assembling && it.unordered && r.interleaving:
		r.hold.items.remove(&s.unordered, i)
	}
	it.place = assembling
}

// giveUp drops an item whose message will never be complete. When parts of it were handed out the user is told, and the
// stream is free for the next message; the caller calls turn.
func (r *Receiver) giveUp(i uint32) {
	it := &r.hold.items.a[i]
	s := &r.streams[it.stream]
	if it.place == streaming {
		r.handOut(&Part{SID: s.sid, PPID: it.ppid, TSN: it.tsn, Seq: r.number(it.ord, it.unordered), Unordered: it.unordered, Broken: true})
		s.streaming = 0
		if !it.unordered {
			s.next = max(s.next, it.ord+1)
		}
	} else {
		r.unlist(i)
	}
	if !r.interleaving && !it.whole {
		for _, t := range [...]uint64{it.lo, it.hi} {
			r.setSlot(t, r.slotAt(t).lost())
		}
	}
	r.count().Hopeless++
	r.discard(i)
}

// discard frees item i, which is in no list.
func (r *Receiver) discard(i uint32) {
	h := r.hold
	it := &h.items.a[i]
	r.release(&it.chain)
	for it.frags != 0 {
		f := it.frags
		h.items.remove(&it.frags, f)
		r.release(&h.items.a[f].chain)
		h.items.release(f)
	}
	if it.numbered {
		delete(h.byNumber, messageKey(it.stream, it.unordered, it.ord))
	}
	if s := &r.streams[it.stream]; s.current == i {
		s.current = 0
	}
	h.items.release(i)
}
