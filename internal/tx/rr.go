package tx

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

func (r *roundRobin) turn(st *stream) { r.cur = st.next }

func (r *roundRobin) next() *stream { return r.cur }
