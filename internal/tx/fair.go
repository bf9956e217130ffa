package tx

import "math/bits"

// keyed is a queue of streams by key, for keys that never fall below the one that was least last: a radix heap. Bucket i holds
// the streams whose key differs from that one in bit i-1 at the highest. When the lowest bucket in use is opened all in it
// move to lower ones, so a stream moves at most once per bit of a key for each time it is put in, however many there are.
// Among equal keys the first put in comes first. Keys wrap around; all lie within 2^63 above the least.
type keyed struct {
	least uint64
	used  [2]uint64 // buckets that hold a stream
	heads [65]*stream
}

func (q *keyed) put(st *stream) {
	i := bits.Len64(st.key ^ q.least)
	r := roundRobin{cur: q.heads[i]}
	r.ready(st)
	q.heads[i] = r.cur
	q.used[i>>6] |= 1 << (i & 63)
	st.bucket = uint8(i)
}

func (q *keyed) drop(st *stream) {
	i := st.bucket
	r := roundRobin{cur: q.heads[i]}
	r.idle(st)
	if q.heads[i] = r.cur; r.cur == nil {
		q.used[i>>6] &^= 1 << (i & 63)
	}
}

// first returns a stream with the least key, nil when there is none.
func (q *keyed) first() *stream {
	var i int
	switch {
	case q.used[0] != 0:
		i = bits.TrailingZeros64(q.used[0])
	case q.used[1] != 0:
		i = 64
	default:
		return nil
	}
	if i == 0 {
		return q.heads[0]
	}
	ahead := ^uint64(0)
	head := q.heads[i]
	for st := head; ; {
		ahead = min(ahead, st.key-q.least)
		if st = st.next; st == head {
			break
		}
	}
	q.least += ahead
	for st := q.heads[i]; st != nil; st = q.heads[i] {
		q.drop(st)
		q.put(st)
	}
	return q.heads[0]
}

// byArrival serves messages in the order in which they were given (RFC 8260 section 3.1). A stream's key is the number of its
// front message; it is looked at when the stream comes up, as a message that was given up changes it, too.
type byArrival struct {
	queue keyed
}

func (a *byArrival) ready(st *stream) {
	st.key = st.head.order
	a.queue.put(st)
}

func (a *byArrival) idle(st *stream)         { a.queue.drop(st) }
func (a *byArrival) turn(*stream, int, bool) {}

func (a *byArrival) next() *stream {
	for {
		st := a.queue.first()
		if st == nil || st.key == st.head.order {
			return st
		}
		a.queue.drop(st)
		a.ready(st)
	}
}

// fair divides the bytes sent among the streams that have something, equally (RFC 8260 section 3.5) or by weight (section
// 3.6): start-time fair queueing. A stream's key is the virtual time at which its next chunk begins, and each chunk takes as
// much of it as it has bytes, divided by the weight. Who was idle begins at the present, so nobody saves up.
type fair struct {
	queue    keyed
	weighted bool
}

// unit is the virtual time of a byte at weight 1: fine enough for small chunks of large weights.
const unit = 1 << 12

// maxAhead bounds how far a key may lie ahead: more than a message of the largest send buffer takes. A key further away lies
// in the past.
const maxAhead = unit << 31

func (f *fair) ready(st *stream) {
	if st.key-f.queue.least > maxAhead {
		st.key = f.queue.least
	}
	f.queue.put(st)
}

func (f *fair) idle(st *stream) { f.queue.drop(st) }

func (f *fair) turn(st *stream, n int, _ bool) {
	weight := uint64(1)
	if f.weighted {
		weight = max(1, uint64(st.value))
	}
	f.queue.drop(st)
	st.key += max(1, uint64(n)*unit/weight)
	f.queue.put(st)
}

func (f *fair) next() *stream { return f.queue.first() }
