package driver

import (
	"github.com/go-multihome/multihome/internal/gate"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/rx"
)

// inbox is where the parts of a stream's messages wait for the user, in the order the core delivered them. The gate's
// condition is "there is a part, or an end". Its zero value is ready.
type inbox struct {
	gate gate.Gate
	head *entry // guarded by gate, as everything below
	tail *entry
	buf  *pktbuf.Buf // rest of the head's chain
	off  int         // bytes of buf already read
	end  error       // what a reader gets behind the last part
	shut bool        // closed by the user: arriving parts are discarded
}

// entry is one part in its queue. Entries are recycled, so an inbox that has run empty holds nothing.
type entry struct {
	part rx.Part
	next *entry
}

var entries pktbuf.Pool[entry]

// put queues a part and reports whether it was taken; one that was not stays with the caller.
func (q *inbox) put(p *rx.Part) bool {
	q.gate.Lock()
	if q.shut || p.Data.Head == nil {
		q.gate.Unlock(q.ready())
		return false
	}
	e := entries.Get()
	e.part, e.next = *p, nil
	if q.tail == nil {
		q.head = e
		q.buf, q.off = p.Data.Head, 0
	} else {
		q.tail.next = e
	}
	q.tail = e
	q.gate.Unlock(true)
	return true
}

func (q *inbox) ready() bool { return q.head != nil || q.end != nil || q.shut }

// read copies what is there into p. The caller holds the gate. It returns the number of bytes, and the memory freed.
func (q *inbox) read(p []byte) (n, held int) {
	for q.head != nil && n < len(p) {
		c := copy(p[n:], q.buf.Bytes()[q.off:])
		n += c
		q.off += c
		for q.buf != nil && q.off == q.buf.Len() {
			b := q.buf
			held += b.Held()
			q.buf, q.off = b.Next(), 0
			b.Free()
		}
		if q.buf == nil {
			q.pop()
		}
	}
	return n, held
}

// pop drops the head, whose buffers are gone.
func (q *inbox) pop() {
	e := q.head
	q.head = e.next
	*e = entry{}
	entries.Put(e)
	if q.head == nil {
		q.tail = nil
		return
	}
	q.buf, q.off = q.head.part.Data.Head, 0
}

// finish sets the end that readers find behind the last part. The first end stays.
func (q *inbox) finish(err error) {
	q.gate.Lock()
	if q.end == nil {
		q.end = err
	}
	q.gate.Unlock(q.ready())
}

// close discards everything and returns the memory freed. It reports whether this call closed it.
func (q *inbox) close() (held int, first bool) {
	q.gate.Lock()
	first = !q.shut
	q.shut = true
	for q.head != nil {
		for q.buf != nil {
			b := q.buf
			held += b.Held()
			q.buf = b.Next()
			b.Free()
		}
		q.pop()
	}
	q.gate.Unlock(true)
	return held, first
}
