package simnet

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// rcvBuf is how many bytes wait in a socket for its reader, as a kernel's receive buffer.
const rcvBuf = 4 << 20

// inbox is what a socket has received and not yet been asked for.
type inbox struct {
	local netip.AddrPort

	mu       sync.Mutex
	cond     sync.Cond
	queue    []received
	held     int
	spare    [][]byte
	overflow int
	fail     error // given once to the reader
	closed   bool
	deadline time.Time
	timer    *time.Timer
}

type received struct {
	data []byte
	from netip.AddrPort
}

func newInbox(local netip.AddrPort) *inbox {
	q := &inbox{local: local}
	q.cond.L = &q.mu
	return q
}

func (q *inbox) put(data []byte, from netip.AddrPort) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if q.held+len(data) > rcvBuf {
		q.overflow++
		return
	}
	var buf []byte
	if k := len(q.spare); k > 0 {
		buf, q.spare = q.spare[k-1], q.spare[:k-1]
	}
	q.queue = append(q.queue, received{append(buf, data...), from})
	q.held += len(data)
	q.cond.Broadcast()
}

// waitLocked returns when there is something to read, or why there never will be.
func (q *inbox) waitLocked() error {
	for {
		switch {
		case q.closed:
			return net.ErrClosed
		case !q.deadline.IsZero() && !time.Now().Before(q.deadline):
			return os.ErrDeadlineExceeded
		case q.fail != nil:
			err := q.fail
			q.fail = nil
			return err
		case len(q.queue) > 0:
			return nil
		}
		q.cond.Wait()
	}
}

func (q *inbox) takeLocked() received {
	r := q.queue[0]
	q.queue[0] = received{}
	q.queue = q.queue[1:]
	q.held -= len(r.data)
	return r
}

func (q *inbox) setDeadline(t time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.timer != nil {
		q.timer.Stop()
	}
	q.deadline = t
	if !t.IsZero() {
		q.timer = time.AfterFunc(time.Until(t), q.wake)
	}
	q.cond.Broadcast()
}

func (q *inbox) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cond.Broadcast()
}

func (q *inbox) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.queue = nil
	if q.timer != nil {
		q.timer.Stop()
	}
	q.cond.Broadcast()
}
