package driver

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/endpoint"
	"github.com/go-multihome/multihome/internal/gate"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/pktbuf"
)

// Conn is one association with what the pure core does not have: a lock, an alarm, and readers and writers who wait.
//
// It has no goroutine and no descriptor of its own. Whoever changes the core's state under mu flushes its output on the
// way out, see flush.go; an idle association holds its core, this struct and an alarm.
//
// Lock order: Conn.mu, then Node.mu, then a stream's gates. None is held during a system call.
type Conn struct {
	node  *Node
	entry *endpoint.Entry

	mu    sync.Mutex
	a     *assoc.Assoc // guarded by mu, as everything below up to the next heading
	now   mono.Time    // the latest instant the core was told; instants never go back
	armed mono.Time    // when the alarm goes off; 0: it does not

	err     error
	aborted error // what Close returns after an abort of our own
	unsent  int
	window  int       // receive window last given to the core
	limit   int       // send buffer,
	most    int       // and up to which it grows
	charged int       // what the node's budget has booked for it
	lastIn  mono.Time // when packets were last received
	run     uint16    // packets received since the peer was last idle, up to earlyPackets
	late    uint8     // times in a row that the deadline had come already when the alarm was set
	shard   uint8     // where its packets were read last: they leave by the same sockets

	flushing bool // somebody flushes
	again    bool // state changed while the flusher was writing
	blocked  bool // what is queued waits for an answer, a deadline or the like: one more message behind it changes nothing

	client     bool // we dialled
	userClosed bool // Close or Abort was called: what still arrives is discarded
	shutdown   bool // Shutdown or Close was called: nothing more is written
	noMore     bool // the peer's data has ended in order
	ended      bool // the core reported its end, or a restart that ends it for its user
	restarted  bool // the core lives on in another Conn once this one is retired
	removed    bool // endpoint and node have forgotten it; the core must not be touched
	complete   bool // aborted only for want of a SHUTDOWN COMPLETE
	pressed    bool // the receive window is nearly used up
	isGone     bool // nothing more will be done for it
	quiet      bool // the lock's holder reads packets next: who is woken may be woken quietly

	watch    []func(time.Time, *assoc.Event)
	failed   *undelivered  // nil while there are none
	dry      chan struct{} // closed when everything is acknowledged; only while somebody waits for that
	up       *gate.Gate    // set when established or ended; only while somebody dials
	ending   *ending       // made by the first who waits until it is gone
	listener *Listener     // where it waits, or waited, for Accept
	mux      *mux          // streams; nil until the first one is used

	alarm int32 // guarded by Node.alarms.mu

	// atomic
	half   atomic.Int64 // of window
	whole  atomic.Bool  // messages must not be cut
	credit atomic.Int64 // memory the readers have given back and the core has not been told of
}

// maxLate is how often in a row the alarm is set to go off at once.
const maxLate = 8

// The core is told of returned memory when an inbox runs empty or a step has come together. The step is a part of the
// window and at most this: a peer that fills a large window must not wait for a quarter of it to be read.
const creditStep = 64 << 10

// earlyPackets is how many packets after a pause are acknowledged two by two. Slow start has filled any path by then:
// 1024 packets are more than a megabyte in flight.
const earlyPackets = 1024

func newConn(n *Node, e *endpoint.Entry, client bool) *Conn {
	c := &Conn{node: n, entry: e, a: e.Assoc, client: client, window: n.window, limit: n.cfg.SendBuffer, most: n.cfg.MaxSendBuffer}
	c.half.Store(int64(c.window / 2))
	c.whole.Store(n.cfg.Assoc.NoFragments)
	e.Owner = c
	return c
}

// enter locks the core and gives it the time.
func (c *Conn) enter() mono.Time {
	c.mu.Lock()
	return c.tick()
}

// tick takes the time. It is called under mu so that two callers cannot bring instants in the wrong order.
func (c *Conn) tick() mono.Time {
	c.now = max(c.now, c.node.clock.now())
	return c.now
}

// unlock gives the lock up without flushing, for callers that changed nothing in the core. Readers that found the lock
// taken have left their credit behind and gone; if it has become worth a turn meanwhile, this goroutine takes it. A
// reader's add comes before its failed attempt, and the attempt before this unlock, so no credit is left behind unseen.
// While somebody flushes it is that one's to see, when the flush ends at the latest.
func (c *Conn) unlock() {
	busy := c.flushing || c.removed
	c.mu.Unlock()
	if !busy && c.credit.Load() >= creditStep && c.mu.TryLock() {
		c.tick()
		c.leave(nil)
	}
}

// giveBack returns memory that a reader has emptied. drained says that the reader's inbox is empty: then the rest is
// returned however small, since nobody may read on for long and other streams live from the same window.
func (c *Conn) giveBack(held int, drained bool) {
	if held == 0 {
		return
	}
	if n := c.credit.Add(int64(held)); n < creditStep && !(drained && n >= int64(c.node.smallCredit)) {
		return
	}
	if c.mu.TryLock() {
		c.tick()
		c.leave(nil)
	}
}

// takeCredit tells the core what readers have returned, and renews the window that the node's budget allows.
func (c *Conn) takeCredit() {
	if n := c.credit.Swap(0); n > 0 && !c.restarted {
		c.a.Consumed(c.now, int(n))
	}
	c.book()
}

// streamCost is the memory of a stream in use, which a peer can have us make by one message.
const streamCost = 512

// bookStep is how much may be written before the node's budget learns of it.
const bookStep = 64 << 10

// book brings the node's budget up to date with what this association holds, and its window with the budget.
func (c *Conn) book() {
	held := c.a.Held() // what arrived counts until it is read, also when the association has ended
	if c.mux != nil && !c.ended {
		c.press(held - c.a.SendHeld())
		held += (len(c.mux.streams) + len(c.mux.loose)) * streamCost
	}
	if held != c.charged {
		c.node.budget.charge(held - c.charged)
		c.charged = held
	}
	if c.ended {
		return
	}
	want := c.a.WindowWanted()
	w := c.node.budget.window(want)
	if d := w - c.window; d != 0 && (w == 0 || w == want || max(d, -d) >= c.window>>3) {
		c.window = w
		c.half.Store(int64(w / 2))
		c.a.SetWindow(w)
	}
}

// handle takes the packets of one group into the core. It runs on a reader's goroutine.
func (c *Conn) handle(r *reader, g *group) {
	c.mu.Lock()
	c.now = max(c.now, r.now)
	if c.ended {
		c.unlock()
		return
	}
	c.takeCredit()
	if c.now.Sub(c.lastIn) > time.Second {
		c.run = 0
	}
	c.lastIn = c.now
	c.shard = uint8(r.shard)
	var out *pktbuf.Batch
	for i := g.first; i >= 0; i = r.pkts[i].next {
		p := &r.pkts[i]
		c.a.Handle(c.now, assoc.Arrival{Local: r.local, Peer: p.peer}, p.buf)
		if c.a.PartsReady() >= partsStep {
			c.parts()
		}
		if c.run < earlyPackets {
			// A peer in slow start grows its window with each SACK, so it gets one for each second packet, as RFC 9260
			// section 6.2 asks, though the packets came in one batch. Later a batch is acknowledged as a whole.
			if c.run++; c.run&1 == 0 && !c.flushing && c.a.SackDue(c.now) {
				if out == nil {
					out = r.batch()
				}
				c.a.Transmit(c.now, out)
			}
		}
	}
	c.leaveReading(out)
}

// handleCookie takes a packet that begins with a COOKIE ECHO the endpoint has opened.
func (c *Conn) handleCookie(r *reader, ck *cookie) {
	c.mu.Lock()
	c.now = max(c.now, r.now)
	if c.ended {
		c.unlock()
		return
	}
	if ck.born {
		c.knowFaults()
	}
	c.shard = uint8(r.shard)
	c.a.HandleCookie(c.now, r.arrival(ck.pkt), r.pkts[ck.pkt].buf, ck.ck)
	c.leaveReading(nil)
}

// routineTimer runs when the alarm goes off.
func (c *Conn) routineTimer() {
	now := c.enter()
	c.armed = 0
	if c.removed {
		c.unlock()
		return
	}
	if c.lingered() && !now.Before(c.ending.at) {
		c.giveUp(now)
	}
	if at, ok := c.a.Deadline(); ok && !now.Before(at) {
		c.a.Timeout(now)
	}
	c.leave(nil)
}

// rearm sets the alarm to the core's deadline, but only to an earlier instant than it is set for: a deadline that moves
// away with each acknowledgement costs nothing, it goes off once in vain and is set again.
func (c *Conn) rearm() {
	at, ok := c.a.Deadline()
	if c.lingered() && (!ok || c.ending.at.Before(at)) {
		at, ok = c.ending.at, true
	}
	if !ok || c.removed || (c.armed != 0 && !at.Before(c.armed)) {
		return
	}
	c.armed = at
	d := at.Sub(c.now)
	if d > 0 {
		c.late = 0
	} else if d, c.late = 0, c.late+1; c.late > maxLate {
		d = time.Millisecond // a deadline that does not go away must not become a loop
		c.late = maxLate
	}
	c.node.setAlarm(c.now, d, c)
}

// events hands on what the core has to tell.
func (c *Conn) events() {
	for !c.restarted {
		c.parts()
		if c.a.Quiet() {
			return
		}
		if c.watch == nil && c.a.TakeSpace() {
			c.signalDry()
			return
		}
		if !c.event() {
			return
		}
	}
}

// event hands on the next event, if there is one. It stands by itself as an Event is large.
func (c *Conn) event() bool {
	e, ok := c.a.NextEvent()
	if !ok {
		return false
	}
	switch e.Kind {
	case assoc.EventPart:
		c.deliver(&e.Part)
		return true
	case assoc.EventUp:
		c.signalUp()
	case assoc.EventStreamReset:
		c.streamsReset(e.Streams)
	case assoc.EventStreamEnded:
		c.streamsEnded(e.Streams, false)
	case assoc.EventStopAsked:
		c.stopAsked(e.Streams)
	case assoc.EventStreamsAdded:
		c.streamsAdded("")
	case assoc.EventReconfigRefused:
		if len(e.Streams) == 0 {
			c.streamsAdded(e.Reason)
		} else {
			c.streamsEnded(e.Streams, true)
		}
	case assoc.EventSpace:
		c.signalDry()
		e.Unsent = c.a.SendHeld()
	case assoc.EventSendFailed:
		c.keepFailed(&e.Failed)
	case assoc.EventPeerClosed:
		c.noMore = true
		c.endStreams()
		if e.Answer {
			return true // it only follows from our own shutdown
		}
	case assoc.EventRestart:
		c.restart(e.Unsent)
	case assoc.EventClosed:
		c.ended = true
		c.err = e.Err
		c.unsent = e.Unsent
		c.end()
	}
	if c.node.cfg.Logger != nil {
		told := e
		c.log(c.node.cfg.Logger, &told)
	}
	if c.watch != nil {
		told := e // a copy, so that e stays on the stack in the other cases
		for _, f := range c.watch {
			f(c.node.clock.wall(c.now), &told)
		}
	}
	return true
}

func (c *Conn) signalUp() {
	if c.up != nil {
		c.up.Lock()
		c.up.Unlock(true)
		c.up = nil
	}
}

// end wakes everybody who waits for anything.
func (c *Conn) end() {
	c.signalUp()
	c.signalDry()
	c.endStreams()
	c.wakeWriters()
}

// retire makes endpoint and node forget an association that has ended and sent its last packet. It reports whether the
// caller must call gone once the lock is given up.
func (c *Conn) retire() bool {
	if !c.ended || c.removed {
		return false
	}
	c.removed = true
	c.node.dropAlarm(c)
	c.takeCredit()
	if c.restarted {
		c.succeed()
		return true
	}
	c.node.mu.Lock()
	c.node.ep.Remove(c.entry)
	c.node.mu.Unlock()
	return true
}

// gone is the last that happens to an association. It takes the lock itself.
func (c *Conn) gone() {
	c.node.leave()
	c.mu.Lock()
	c.isGone = true
	if e := c.ending; e != nil {
		e.gone.Lock()
		e.gone.Unlock(true)
	}
	c.mu.Unlock()
}
