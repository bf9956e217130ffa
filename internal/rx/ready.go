package rx

// queue is a ring of parts that are ready for the user.
type queue struct {
	ring []Part // length a power of two
	head uint32
	n    uint32
}

// keepParts is the size up to which an empty queue keeps its memory.
const keepParts = 1024

func (q *queue) push(p *Part) {
	if int(q.n) == len(q.ring) {
		ring := make([]Part, max(2, 2*len(q.ring)))
		for i := range q.n {
			ring[i] = q.ring[(q.head+i)&uint32(len(q.ring)-1)]
		}
		q.ring, q.head = ring, 0
	}
	q.ring[(q.head+q.n)&uint32(len(q.ring)-1)] = *p
	q.n++
}

// last returns the youngest part, nil when empty.
func (q *queue) last() *Part {
	if q.n == 0 {
		return nil
	}
	return &q.ring[(q.head+q.n-1)&uint32(len(q.ring)-1)]
}

func (q *queue) pop() Part {
	p := q.ring[q.head]
	q.ring[q.head] = Part{}
	q.head = (q.head + 1) & uint32(len(q.ring)-1)
	if q.n--; q.n == 0 && len(q.ring) > keepParts {
		*q = queue{}
	}
	return p
}

// PartsReady returns how many parts NextPart has.
func (r *Receiver) PartsReady() int {
	if r.delivery == nil {
		return 0
	}
	return int(r.ready.n)
}

// Trim gives back memory that only a busy Receiver needs.
func (r *Receiver) Trim() {
	if r.delivery != nil && r.ready.n == 0 {
		r.ready = queue{}
	}
}

// NextPart returns the next part in delivery order; false when there is none. The caller owns its Data, and calls Consumed
// with Data.Held when the user has read it.
func (r *Receiver) NextPart() (Part, bool) {
	if r.PartsReady() == 0 {
		return Part{}, false
	}
	return r.ready.pop(), true
}

// handOut queues a part. A piece that continues the youngest part is joined to it.
func (r *Receiver) handOut(p *Part) {
	r.unread += p.Data.Held
	if p.End {
		r.count().Messages++
	}
	if p.Broken {
		r.count().Broken++
	}
	if last := r.ready.last(); last != nil && !p.Begin && !p.Broken && last.SID == p.SID && !last.End && !last.Broken {
		joinChains(&last.Data, &p.Data)
		last.End = p.End
		return
	}
	r.ready.push(p)
}

// number is a message's number as it was on the wire.
func (r *Receiver) number(ord uint64, unordered bool) uint32 {
	switch {
	case r.interleaving:
		return uint32(ord)
	case unordered:
		return 0
	}
	return uint32(uint16(ord))
}

// turn hands out what has become deliverable on stream si after its next message or the message being streamed has ended.
func (r *Receiver) turn(si uint32) {
	s := &r.streams[si]
	for s.streaming == 0 {
		switch {
		case s.qhead != 0:
			i := s.qhead
			s.qhead = r.hold.items.a[i].next
			if s.qhead == 0 {
				s.qtail = 0
			}
			r.hold.items.a[i].place = assembling
			r.stream(i)
		case s.ordered == 0:
			return
		default:
			i := s.ordered
			it := &r.hold.items.a[i]
			if it.ord < s.next {
				r.giveUp(i) // a second message with the number of one already handed out
				continue
			}
			if it.ord > s.next || !it.begun || !r.mayBegin(it) {
				return
			}
			r.start(i)
		}
	}
}

// mayBegin reports whether a message may be handed out up to where it is whole. One that is not keeps its stream for itself
// until its end comes. In DATA chunks that must be the message at the front: were there still a gap before it, another message
// of the stream could be the one that fills it, and wait for the stream with all of the memory, so that nothing of either would
// be taken any more. See front for when the gap is closed.
func (r *Receiver) mayBegin(it *item) bool {
	return it.whole || r.interleaving || it.lo <= r.cum+1
}

// front lets the message that the cumulative TSN lies in begin, since a gap before it has been closed.
func (r *Receiver) front() {
	if r.interleaving || r.tail&(slotEnd|slotLost) != 0 || r.tail.item() == 0 {
		return
	}
	if i := r.tail.item(); r.hold.items.a[i].place != streaming {
		r.grown(i)
	}
}

// start hands out what there is of item i, which has its first fragment, on a stream that is free. Unless it is whole the
// stream belongs to it from now on.
func (r *Receiver) start(i uint32) {
	r.unlist(i)
	r.stream(i)
}

// stream gives the stream of item i to it, which is in no list.
func (r *Receiver) stream(i uint32) {
	it := &r.hold.items.a[i]
	it.place = streaming
	r.streams[it.stream].streaming = i
	r.flush(i)
}

// flush hands out the contiguous payload of the item being streamed. With its end the stream is free again.
func (r *Receiver) flush(i uint32) {
	it := &r.hold.items.a[i]
	if it.chain.Head == nil {
		return
	}
	s := &r.streams[it.stream]
	r.handOut(&Part{
		SID: s.sid, PPID: it.ppid, TSN: it.tsn, Seq: r.number(it.ord, it.unordered), Unordered: it.unordered,
		Begin: !it.started, End: it.whole,
		Data: it.chain.Take(),
	})
	it.started = true
	if !it.whole {
		return
	}
	s.streaming = 0
	if !it.unordered {
		s.next = max(s.next, it.ord+1) // not just one more: it may have been skipped over while it waited
	}
	r.discard(i)
}
