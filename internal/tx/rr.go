package tx

import "math/bits"

// roundRobin gives every stream that has something to send its turn in a circle (RFC 8260 section 3.2). The ring runs
// through the streams themselves, so its cost does not know how many there are.
type roundRobin struct {
	cur *stream
}

// ready puts st behind everyone who waits already.
func (r *roundRobin) ready(st *stream) {
	if r.cur == nil {
		st.next, st.prev = st, st
		r.cur = st
		return
	}
	st.next, st.prev = r.cur, r.cur.prev
	st.prev.next = st
	r.cur.prev = st
}

func (r *roundRobin) idle(st *stream) {
	if st.next == st {
		r.cur = nil
	} else {
		st.prev.next, st.next.prev = st.next, st.prev
		if r.cur == st {
			r.cur = st.next
		}
	}
	st.next, st.prev = nil, nil
}

func (r *roundRobin) turn(st *stream, _ int, end bool) {
	if end && r.cur == st {
		r.cur = st.next
	}
}

func (r *roundRobin) next() *stream { return r.cur }

// byPacket is a round robin in which a turn is a packet (RFC 8260 section 3.3).
type byPacket struct {
	roundRobin
	in *stream // what the packet under way carries
}

// packet begins another packet: the next stream's turn, if the last packet was used.
func (r *byPacket) packet() {
	if r.in != nil && r.cur == r.in {
		r.cur = r.cur.next
	}
	r.in = nil
}

// turn leaves the stream its turn until the packet is full.
func (r *byPacket) turn(*stream, int, bool) {}

// byPriority serves the streams of the lowest value that have something, by turns (RFC 8260 section 3.4). Each value has a
// ring, and two levels of bits say which rings hold a stream. What rings need is made when a value is used first.
type byPriority struct {
	used  [4]uint64 // pages that hold a stream
	pages [256]*ringPage
}

type ringPage struct {
	used  [4]uint64
	rings [256]roundRobin
}

func (q *byPriority) ready(st *stream) {
	hi, lo := st.value>>8, st.value&255
	p := q.pages[hi]
	if p == nil {
		p = new(ringPage)
		q.pages[hi] = p
	}
	p.rings[lo].ready(st)
	p.used[lo>>6] |= 1 << (lo & 63)
	q.used[hi>>6] |= 1 << (hi & 63)
}

func (q *byPriority) idle(st *stream) {
	hi, lo := st.value>>8, st.value&255
	p := q.pages[hi]
	p.rings[lo].idle(st)
	if p.rings[lo].cur != nil {
		return
	}
	if p.used[lo>>6] &^= 1 << (lo & 63); p.used == [4]uint64{} {
		q.used[hi>>6] &^= 1 << (hi & 63)
	}
}

func (q *byPriority) turn(st *stream, n int, end bool) {
	q.pages[st.value>>8].rings[st.value&255].turn(st, n, end)
}

func (q *byPriority) next() *stream {
	hi := lowest(&q.used)
	if hi < 0 {
		return nil
	}
	p := q.pages[hi]
	return p.rings[lowest(&p.used)].cur
}

// lowest returns the lowest bit set, -1 for none.
func lowest(set *[4]uint64) int {
	for i, w := range set {
		if w != 0 {
			return i*64 + bits.TrailingZeros64(w)
		}
	}
	return -1
}
