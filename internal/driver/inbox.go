package driver

import (
	"encoding/binary"
	"errors"

	"github.com/go-multihome/multihome/internal/gate"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/rx"
	"github.com/go-multihome/multihome/internal/serial"
)

// ErrBroken says that the rest of a message, of which a part was read, will not come: the peer has given it up
// (RFC 3758 section 3.6).
var ErrBroken = errors.New("the peer has given up the rest of the message")

// inbox is where the messages of a stream wait for the user, in the order the core delivered them. The gate's condition is
// "there is something to read, or an end"; ready says what counts as something. Its zero value is ready.
type inbox struct {
	gate  gate.Gate
	head  *entry // guarded by gate, as everything below
	tail  *entry
	buf   *pktbuf.Buf // rest of the head's chain
	off   int         // bytes of buf already read
	left  int         // of the message of a run that is read in part
	nth   uint16      // messages of the run that were read
	bytes int         // not yet read
	whole int         // messages whose end is here
	want  int         // how much of a message that is not whole its reader takes
	half  int         // memory a message may hold until it is handed out although its end is missing
	end   error       // what a reader gets behind the last message
	shut  bool        // closed by the user: arriving parts are discarded
	// messages: the reader asks for messages, so one that is not whole waits, within limits. Bytes are read as they come.
	messages bool
	pressed  bool // the receive window is nearly used up: nothing may wait for its end
}

// entry is one message in its queue, or a piece of one. Only the last entry can grow. Entries are recycled, so an inbox
// that has run empty holds nothing.
type entry struct {
	part rx.Part
	next *entry
}

var entries pktbuf.Pool[entry]

// put queues a part and reports whether it was taken; one that was not stays with the caller. freed is memory that was
// dropped here: of a message that is broken and of which nothing was read.
func (q *inbox) put(p *rx.Part) (taken bool, freed int) {
	q.gate.Lock()
	taken, freed = q.add(p)
	q.gate.Unlock(q.ready())
	return taken, freed
}

// add is put for who holds the gate.
func (q *inbox) add(p *rx.Part) (taken bool, freed int) {
	if q.shut || p.Data.Head == nil && !p.Broken {
		return false, 0
	}
	open := q.tail
	if open != nil && (open.part.End || open.part.Broken || p.Begin || open.part.SID != p.SID) {
		open = nil
	}
	switch {
	case p.Broken && open != nil && open.part.Begin && (open != q.head || q.off == 0 && q.buf == open.part.Data.Head):
		return true, q.dropTail()
	case p.Broken && open != nil:
		open.part.Broken = true
		q.whole++
		return true, 0
	case open != nil:
		d := &open.part.Data
		d.Tail.SetNext(p.Data.Head)
		d.Tail = p.Data.Tail
		d.Held += p.Data.Held
		open.part.End = p.End
	default:
		q.push(p)
	}
	q.bytes += p.Data.Len
	if p.End || p.Broken {
		q.whole += max(1, int(p.Run))
	}
	return true, 0
}

func (q *inbox) push(p *rx.Part) {
	e := entries.Get()
	e.part, e.next = *p, nil
	if q.tail == nil {
		q.head = e
		q.begin()
	} else {
		q.tail.next = e
	}
	q.tail = e
}

// begin sets the cursor to the beginning of the head.
func (q *inbox) begin() { q.buf, q.off, q.left, q.nth = q.head.part.Data.Head, 0, 0, 0 }

// dropTail removes the last entry, of which nothing was read, and returns its memory.
func (q *inbox) dropTail() (held int) {
	last := q.tail
	held = last.part.Data.Held
	for b := last.part.Data.Head; b != nil; b = b.Next() {
		q.bytes -= b.Len()
	}
	last.part.Data.Free()
	q.tail = nil
	if q.head == last {
		q.head, q.buf, q.off = nil, nil, 0
	} else {
		for e := q.head; e != last; e = e.next {
			q.tail = e
		}
		q.tail.next = nil
	}
	*last = entry{}
	entries.Put(last)
	return held
}

// ready says whether a reader finds something.
func (q *inbox) ready() bool {
	switch {
	case q.shut || q.end != nil:
		return true
	case q.head == nil:
		return false
	}
	return !q.messages || q.whole > 0 || q.pressed || q.bytes >= q.want || q.half > 0 && q.head.part.Data.Held > q.half
}

// wait waits for what the reader wants, see expect, and returns with the gate locked unless there is an error.
func (q *inbox) wait(want, half int) error {
	q.gate.Lock()
	q.messages, q.want, q.half = want > 0, want, half
	return q.gate.Wait(q.ready())
}

// expect sets what the reader wants: bytes (0), or a message of which want bytes fit, and which may hold half bytes of memory
// before its end is here.
func (q *inbox) expect(want, half int) {
	q.gate.Lock()
	q.messages, q.want, q.half = want > 0, want, half
	q.gate.Unlock(q.ready())
}

// press says whether the receive window is nearly used up.
func (q *inbox) press(on bool) {
	q.gate.Lock()
	q.pressed = on
	q.gate.Unlock(q.ready())
}

// read copies what is there into p, over the bounds of messages. The caller holds the gate. It returns the number of bytes,
// and the memory freed. ErrBroken stands alone: the bytes before it have been read.
func (q *inbox) read(p []byte) (n, held int, err error) {
	for q.head != nil && n < len(p) {
		if q.head.part.Run > 0 {
			k, h, _ := q.copyRun(p[n:])
			n += k
			held += h
			continue
		}
		k, h, done := q.copyHead(p[n:])
		n += k
		held += h
		if !done {
			break
		}
		if q.head.part.Broken {
			if n == 0 {
				q.pop()
				return 0, held, ErrBroken
			}
			break
		}
		q.pop()
	}
	return n, held, nil
}

// message copies of the first message what is there and fits into p. more says that the message goes on. The caller holds
// the gate and has found a head.
// part is told what it is of.
func (q *inbox) message(p []byte, part *rx.Part) (n, held int, more bool, err error) {
	*part = q.head.part
	if part.Run > 0 {
		part.TSN += serial.TSN(q.nth)
		if part.Counts {
			part.Seq += uint32(q.nth)
		}
		n, held, done := q.copyRun(p)
		return n, held, !done, nil
	}
	n, held, done := q.copyHead(p)
	switch {
	case done && part.Broken && n == 0:
		q.pop()
		return 0, held, false, ErrBroken
	case !done || part.Broken:
		return n, held, true, nil
	}
	q.pop()
	return n, held, !part.End, nil
}

// copyRun copies bytes of the next message of the run at the head. done says that it has no more. The run goes with its last
// message.
func (q *inbox) copyRun(p []byte) (n, held int, done bool) {
	b := q.buf.Bytes()
	if q.left == 0 {
		q.left = int(binary.BigEndian.Uint16(b[q.off:]))
		q.off += rx.RunHeader
	}
	n = copy(p, b[q.off:q.off+q.left])
	q.off += n
	q.bytes -= n
	if q.left -= n; q.left > 0 {
		return n, 0, false
	}
	q.nth++
	q.whole--
	if q.off == len(b) {
		held = q.buf.Held()
		q.buf.Free()
		q.buf = nil
		q.pop()
	}
	return n, held, true
}

// copyHead copies bytes of the head entry. done says that it has no more.
func (q *inbox) copyHead(p []byte) (n, held int, done bool) {
	for q.buf != nil && n < len(p) {
		k := copy(p[n:], q.buf.Bytes()[q.off:])
		n += k
		q.off += k
		if q.off < q.buf.Len() {
			break
		}
		b := q.buf
		held += b.Held()
		q.buf, q.off = b.Next(), 0
		b.Free()
	}
	q.bytes -= n
	return n, held, q.buf == nil
}

// pop drops the head, whose buffers are gone.
func (q *inbox) pop() {
	e := q.head
	switch {
	case e.part.Run > 0:
		q.whole -= int(e.part.Run - q.nth)
	case e.part.End || e.part.Broken:
		q.whole--
	}
	q.head = e.next
	*e = entry{}
	entries.Put(e)
	if q.head == nil {
		q.tail = nil
		return
	}
	q.begin()
}

// finish sets the end that readers find behind the last message. The first end stays. It reports whether something is left
// to read before it.
func (q *inbox) finish(err error, quiet bool) (unread bool) {
	q.gate.Lock()
	if q.end == nil {
		q.end = err
	}
	unread = q.head != nil
	q.gate.UnlockFor(q.ready(), quiet)
	return unread
}

// empty reports whether nothing waits to be read.
func (q *inbox) empty() bool {
	q.gate.Lock()
	defer func() { q.gate.Unlock(q.ready()) }()
	return q.head == nil
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
	q.bytes, q.off = 0, 0
	q.gate.Unlock(true)
	return held, first
}
