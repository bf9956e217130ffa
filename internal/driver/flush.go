package driver

import (
	"errors"
	"net"
	"sync"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/udp"
	"github.com/go-multihome/multihome/locator"
)

// The way out.
//
//  1. Whoever changed the core's state calls leave, with the lock held.
//  2. One of them is the flusher. The others leave a mark and go, so two writers cannot reorder packets.
//  3. The flusher lets the core fill a batch, hands events on, and gives the lock up.
//  4. It writes the batch, socket by socket. A full or failing socket does not hold up the others.
//  5. It takes the lock, tells the core what failed, and begins anew at 3 if there was more, or a mark.
//  6. When nothing is left it sets the alarm and gives the token back.
//
// A flusher is a reader, a writing user or a timer. None of them must be held for ever by the work that others leave to
// it, so after a few rounds it hands the token to a goroutine that lives until the output is drained.

// maxRounds is how many batches one caller writes before it hands over.
const maxRounds = 4

// leave flushes the core's output and gives up the lock that the caller holds. out is a batch to use, which may hold
// packets already, or nil for an empty one of the node's.
func (c *Conn) leave(out *pktbuf.Batch) { c.leaveAs(out, false) }

// leaveReading is leave for a reader, who waits for packets next.
func (c *Conn) leaveReading(out *pktbuf.Batch) { c.leaveAs(out, true) }

func (c *Conn) leaveAs(out *pktbuf.Batch, reading bool) {
	if c.removed {
		c.takeCredit()
		c.unlock()
		return
	}
	c.quiet = reading
	c.events()
	c.quiet = false
	if c.flushing {
		c.again = true
		c.wakeWriters()
		c.unlock()
		return
	}
	c.flushing = true
	c.flush(out, maxRounds)
}

// flush writes until nothing is left or rounds are used up; 0 means without end. The caller holds the lock and has set
// flushing; both are given up.
func (c *Conn) flush(out *pktbuf.Batch, rounds int) {
	var pool *sync.Pool // that out came from
	if out == nil {
		pool = &c.node.batches
		if c.a.SendHeld() == 0 && c.a.Largest() <= pktbuf.SmallBatchBytes {
			pool = &c.node.small
		}
		out = fresh(pool)
	}
	defer func() {
		if pool != nil {
			pool.Put(out)
		}
	}()
	var faults faults
	for n := 1; ; n++ {
		done := c.round(out, &faults)
		if done && c.settleDown() {
			return
		}
		if pool == &c.node.small { // it was not enough
			pool.Put(out)
			pool = &c.node.batches
			out = fresh(pool)
		}
		if n == rounds {
			go c.routineFlush()
			c.mu.Unlock()
			return
		}
	}
}

// fresh gets an empty batch.
func fresh(pool *sync.Pool) *pktbuf.Batch {
	out := pool.Get().(*pktbuf.Batch)
	out.Reset()
	return out
}

// round lets the core fill a batch and writes it. It reports whether there is nothing more to write.
func (c *Conn) round(out *pktbuf.Batch, faults *faults) (done bool) {
	c.again = false
	c.takeCredit()
	more := c.a.Transmit(c.now, out)
	c.events()
	c.sync()
	c.wakeWriters()
	if out.Len() == 0 {
		return true
	}
	shard, long := int(c.shard), out.Len() > 1
	c.mu.Unlock()
	c.node.write(shard, out.Packets(), faults)
	out.Reset()
	c.mu.Lock()
	if long || more || c.again || faults.n+faults.setups > 0 {
		c.tick() // writing took its time; of a single packet less than is worth a look at the clock
	}
	failed := faults.tell(c.a, c.now)
	c.events()
	return !more && !c.again && !failed
}

// settleDown sets the alarm, gives token and lock back, and lets an association that has ended be forgotten. It returns
// false, with token and lock still held, when readers have left credit behind that is worth a turn: one that found the
// lock taken has gone away.
func (c *Conn) settleDown() bool {
	c.flushing = false
	c.blocked = c.a.Queued()
	c.rearm()
	retired := c.retire()
	c.mu.Unlock()
	if retired {
		c.gone()
		return true
	}
	if c.credit.Load() < creditStep || !c.mu.TryLock() {
		return true
	}
	if c.flushing || c.removed {
		c.mu.Unlock()
		return true
	}
	c.flushing = true
	c.tick()
	return false
}

// routineFlush goes on where a flusher had to stop.
func (c *Conn) routineFlush() {
	c.enter()
	c.flush(nil, 0)
}

// sync lets the endpoint know new tags and addresses, so that packets find the association. One that has ended stays known
// until its last packet is out, and retire: else the answer to a stranger could overtake its ABORT.
func (c *Conn) sync() {
	if !c.entry.Stale() || c.a.State() == assoc.Closed {
		return
	}
	c.node.mu.Lock()
	c.node.ep.Sync(c.now, c.entry)
	c.node.mu.Unlock()
}

// fault is a path whose packets were not taken.
type fault struct {
	path locator.PathID
	full bool // the socket was full; else the system cannot send there
	size int  // not zero: the link takes no packet of that size
}

// faults collects at most one fault per path and batch, and a few of packets without a path.
type faults struct {
	n      int
	of     [locator.MaxPaths]fault
	setups int
	setup  [4]setupFault
}

func (f *faults) add(path uint8, full bool, size int) {
	if path == pktbuf.NoPath {
		return
	}
	for i := range f.of[:f.n] {
		if g := &f.of[i]; g.path == locator.PathID(path) {
			if g.size > 0 && size > 0 {
				g.size = min(g.size, size)
			}
			return
		}
	}
	if f.n < len(f.of) {
		f.of[f.n] = fault{locator.PathID(path), full, size}
		f.n++
	}
}

func (f *faults) take() []fault {
	n := f.n
	f.n, f.setups = 0, 0
	return f.of[:n]
}

// write hands packets to a shard's sockets and waits for nothing. Packets that a full socket does not take count as sent and
// lost; faults tells which paths that concerns.
func (n *Node) write(shard int, pkts []pktbuf.Packet, faults *faults) {
	if n.cfg.Capture != nil {
		n.captureSent(pkts)
	}
	for len(pkts) > 0 {
		run := 1
		for run < len(pkts) && pkts[run].Socket == pkts[0].Socket {
			run++
		}
		n.writeRun(n.shards[shard][pkts[0].Socket], pkts[:run], faults)
		pkts = pkts[run:]
	}
}

func (n *Node) writeRun(sock udp.Socket, run []pktbuf.Packet, faults *faults) {
	for len(run) > 0 {
		sent, err := sock.WriteBatch(run)
		n.stats.PacketsOut.Add(uint64(sent))
		if err == nil || sent >= len(run) {
			return
		}
		run = run[sent:]
		switch {
		case errors.Is(err, udp.ErrBlocked):
			n.stats.Blocked.Add(uint64(len(run)))
			for i := range run {
				faults.add(run[i].Path, true, 0)
			}
			return
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, udp.ErrDropped):
			n.stats.LinkDrops.Add(1)
			n.look()
			run = run[1:]
		default:
			// One packet is lost. Only an error about this host says something about the path: others are late news
			// of an earlier packet.
			n.stats.SendErrors.Add(1)
			switch {
			case udp.IsLocalFault(err):
				n.look()
				if faults.add(run[0].Path, false, 0); run[0].Path == pktbuf.NoPath {
					faults.addSetup(&run[0], err)
				}
			case udp.IsTooBig(err):
				faults.add(run[0].Path, false, len(run[0].Buf))
			}
			run = run[1:]
		}
	}
}
