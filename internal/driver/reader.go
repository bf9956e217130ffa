package driver

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"time"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/endpoint"
	"github.com/go-multihome/multihome/internal/gate"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/udp"
)

// The way in.
//
//  1. A reader per socket takes a batch of datagrams, which the kernel may have coalesced.
//  2. It looks every packet of a turn up in the endpoint, under one read lock.
//  3. Packets are grouped by association; each group takes its association's lock once.
//  4. The core handles the group, events go to the inboxes, and the association is flushed.
//  5. Strays (INIT, COOKIE ECHO, out of the blue) are the endpoint's, under its write lock, after the groups.
//
// A turn is bounded, so that output runs between long bursts of input.

// turnPackets is how many packets are taken in before output runs.
const turnPackets = 128

// readSlots is how many datagrams one system call brings at most.
const readSlots = 64

type reader struct {
	node  *Node
	local int // index of the locator
	shard int // which of the locator's sockets this is
	of    int // how many it has
	sock  udp.Socket
	now   mono.Time

	in      *udp.Batch
	each    func() // take, bound once
	out     *pktbuf.Batch
	pkts    []arrived
	groups  []group
	stray   []int
	cookies []cookie
	faults  faults
}

// arrived is one packet of the batch.
type arrived struct {
	buf  []byte
	peer netip.AddrPort
	next int // the next packet of the same group, -1 at its end
}

// group is the packets of one association, in order.
type group struct {
	conn        *Conn
	first, last int
}

// cookie is a packet that begins with a COOKIE ECHO, for the association it concerns.
type cookie struct {
	conn *Conn
	pkt  int
	ck   *assoc.Cookie
	born bool
}

func newReader(n *Node, local, shard int, of []udp.Socket) *reader {
	r := &reader{node: n, local: local, shard: shard, of: len(of), sock: of[shard], in: udp.NewBatch(readSlots, false)}
	r.each = r.take
	return r
}

// routineRead runs for each socket until that is closed.
func (r *reader) routineRead() {
	defer r.node.readers.Done()
	pause := time.Duration(0)
	for {
		if err := r.read(); err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// The error of an earlier send, or a passing one. Should it not pass, do not spin.
			r.node.stats.ReadErrors.Add(1)
			if pause = min(2*pause+time.Microsecond, 100*time.Millisecond); pause > time.Millisecond {
				time.Sleep(pause)
			}
			continue
		}
		pause = 0
		r.notices()
	}
}

// read waits for packets and takes them in. It returns now and then, with notices if there are any.
func (r *reader) read() error {
	if s, ok := r.sock.(udp.EachReader); ok {
		return s.ReadEach(r.in, r.each)
	}
	err := r.sock.ReadBatch(r.in)
	if err == nil {
		r.take()
	}
	return err
}

// take takes the packets of the batch in.
func (r *reader) take() {
	rings := gate.Rings()
	r.split()
	for off := 0; off < len(r.pkts); off += turnPackets {
		r.now = r.node.clock.now()
		r.turn(off, min(off+turnPackets, len(r.pkts)))
	}
	clear(r.pkts) // or it would keep memory that the batch has exchanged
	if r.out != nil {
		r.node.batches.Put(r.out)
		r.out = nil
	}
	if len(r.in.Slots) == r.in.Cap() && gate.Rings() != rings {
		runtime.Gosched() // there may be more to read, and who was woken quietly would have to wait for that
	}
}

// batch returns the reader's batch of packets to send, empty. It has one while it needs one.
func (r *reader) batch() *pktbuf.Batch {
	if r.out == nil {
		r.out = r.node.batches.Get().(*pktbuf.Batch)
	}
	r.out.Reset()
	return r.out
}

// split lists the packets of the batch, taking coalesced ones apart without copying.
func (r *reader) split() {
	r.pkts = r.pkts[:0]
	for i := range r.in.Slots {
		s := &r.in.Slots[i]
		buf, seg := s.Buf, s.Segment
		for seg > 0 && len(buf) > seg {
			r.pkts = append(r.pkts, arrived{buf: buf[:seg:seg], peer: s.Peer})
			buf = buf[seg:]
		}
		r.pkts = append(r.pkts, arrived{buf: buf, peer: s.Peer})
	}
	r.node.stats.PacketsIn.Add(uint64(len(r.pkts)))
	if r.node.cfg.Capture != nil {
		r.captureReceived()
	}
}

// turn takes the packets from lo to hi through the endpoint and into their associations.
func (r *reader) turn(lo, hi int) {
	r.groups, r.stray = r.groups[:0], r.stray[:0]
	n := r.node
	n.mu.RLock()
	for i := lo; i < hi; i++ {
		e, v := n.ep.Lookup(r.arrival(i), r.pkts[i].buf)
		switch v {
		case endpoint.Known:
			r.group(e, i)
			if r.of > 1 {
				r.strayed(r.pkts[i].buf)
			}
		case endpoint.Stray:
			r.stray = append(r.stray, i)
		default:
			n.stats.Dropped.Add(1)
		}
	}
	n.mu.RUnlock()
	for i := range r.groups {
		r.groups[i].conn.handle(r, &r.groups[i])
	}
	if len(r.stray) > 0 {
		r.strays()
	}
	clear(r.groups)
}

func (r *reader) arrival(i int) assoc.Arrival {
	return assoc.Arrival{Local: r.local, Peer: r.pkts[i].peer}
}

// group puts packet i behind those of the same association.
func (r *reader) group(e *endpoint.Entry, i int) {
	c := e.Owner.(*Conn)
	r.pkts[i].next = -1
	for k := len(r.groups) - 1; k >= 0; k-- {
		if g := &r.groups[k]; g.conn == c {
			r.pkts[g.last].next = i
			g.last = i
			return
		}
	}
	r.groups = append(r.groups, group{c, i, i})
}

// strays hands packets without an association to the endpoint. It answers them or gives birth; a COOKIE ECHO it finds
// valid is for an association, under whose lock it is then handled.
func (r *reader) strays() {
	n := r.node
	r.groups = r.groups[:0]
	r.batch()
	n.mu.Lock()
	for _, i := range r.stray {
		r.strayLocked(i)
	}
	n.mu.Unlock()
	n.write(r.shard, r.out.Packets(), &r.faults)
	r.faults.take() // no association is concerned
	for i := range r.cookies {
		ck := &r.cookies[i]
		ck.conn.handleCookie(r, ck)
		if ck.born {
			ck.conn.listener.queue(ck.conn)
		}
	}
	clear(r.cookies)
	r.cookies = r.cookies[:0]
	for i := range r.groups {
		r.groups[i].conn.handle(r, &r.groups[i])
	}
	clear(r.groups)
}

func (r *reader) strayLocked(i int) {
	n := r.node
	from, buf := r.arrival(i), r.pkts[i].buf
	if len(r.cookies) > 0 {
		// What follows a COOKIE ECHO in the same batch may belong to the association just born.
		if e, v := n.ep.Lookup(from, buf); v == endpoint.Known {
			r.group(e, i)
			return
		}
	}
	if r.out.Len() == pktbuf.BatchPackets {
		return // the answer would not fit; whoever asked asks again
	}
	res := n.ep.Stray(r.now, from, buf, r.out)
	if res.Entry == nil {
		return
	}
	if res.Born {
		own, _ := res.Entry.Assoc.Ports()
		c := newConn(n, res.Entry, false)
		c.listener = n.listeners[own]
		c.listener.waiting.Add(1)
		n.Retain() // cannot fail: the listener uses the node
	}
	r.cookies = append(r.cookies, cookie{res.Entry.Owner.(*Conn), i, res.Cookie, res.Born})
}
