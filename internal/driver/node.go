// Package driver is the corridor between the sockets and the pure core, and the only room with goroutines, real time,
// locks and the system's randomness.
//
// A Node is an endpoint core with its sockets: one per local locator, or one for each shard of it (shard.go), each with one reader
// goroutine. A Conn is one
// association with its lock, its alarm and the users who wait on it; it has no goroutine. reader.go walks packets in,
// flush.go walks them out.
package driver

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/endpoint"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/udp"
	"github.com/go-multihome/multihome/locator"
)

// Config is what a node is made of besides its sockets. Zero fields take the defaults named.
type Config struct {
	Assoc           assoc.Config  // shared by all associations
	MaxAssociations int           // default 1<<20
	InitsPerSource  int           // INITs that no association follows taken per second and source address; default 10,000
	NoListing       bool          // name none of our locators to peers
	StrictAnswers   bool          // answer strangers with no more than they sent
	Memory          int64         // budget of all associations together in bytes, default 256 MiB
	SendBuffer      int           // per association in bytes, default 1 MiB
	MaxSendBuffer   int           // up to which it grows as paths need it; default SendBuffer if that is set, else 16 MiB
	Merge           bool          // messages of all streams are read together, with Conn.ReadAny
	KeepIdle        time.Duration // how long the sockets stay open after the last user has gone; default 0
	Logger          *slog.Logger  // nil: silent
	Capture         Capture       // is told of every datagram; nil: nobody is
	OnClose         func()        // called once when the sockets are closed
}

func (c *Config) fill(random func() uint64) {
	c.Assoc.Runs = true
	if c.Assoc.Random == nil {
		c.Assoc.Random = random
	}
	if c.MaxAssociations == 0 {
		c.MaxAssociations = 1 << 20
	}
	if c.Memory == 0 {
		c.Memory = 256 << 20
	}
	if c.MaxSendBuffer == 0 && c.SendBuffer == 0 {
		c.MaxSendBuffer = 16 << 20
	}
	if c.SendBuffer == 0 {
		c.SendBuffer = 1 << 20
	}
	c.MaxSendBuffer = max(c.MaxSendBuffer, c.SendBuffer)
}

// ErrNodeClosed is returned for a node whose last user has gone.
var ErrNodeClosed = errors.New("node is closed")

// Stats counts what the node's sockets carried and what was refused.
type Stats struct {
	PacketsIn, PacketsOut uint64
	ReadErrors            uint64 // errors of reads: ICMP answers to earlier packets, or passing ones
	SendErrors            uint64 // packets a socket refused
	Blocked               uint64 // packets not taken because a send buffer was full
	Dropped               uint64 // packets too short, with a bad checksum or a zero port
	LinkDrops             uint64 // packets that the queue of our own link dropped
	LocalFaults           uint64 // times a local locator's link or address went away, or was in another kind of trouble
	ICMP                  uint64 // messages about packets of our associations
	ICMPIgnored           uint64 // messages about nothing of ours, without its verification tag, or of no use
	Shards                int    // sockets that share each local locator, or the one that has most
	Missteered            uint64 // packets that were not read with the others of their association
	Overflows             uint64 // packets the system dropped because a receive buffer was full
	MemoryUsed            int64  // what the budget has booked
	Endpoint              endpoint.Stats
}

// Node is an endpoint with its sockets. It lives as long as somebody uses it: an association or a listener.
type Node struct {
	cfg     Config
	clock   clock
	random  random
	socks   []udp.Socket   // by index of the local locator; never changes
	shards  [][]udp.Socket // the sockets to write to, by shard and local locator; never changes
	locals  []locator.Locator
	budget  budget
	batches sync.Pool // of *pktbuf.Batch
	small   sync.Pool // of small ones
	readers sync.WaitGroup
	machine machine
	alarms  alarms

	window      int  // receive window of one association
	quiet       bool // its sockets are the kernel's
	smallCredit int  // memory given back by a reader that is worth a turn of its own

	mu        sync.RWMutex // guards everything up to the next heading; taken after Conn.mu, never before
	ep        *endpoint.Endpoint
	listeners map[uint16]*Listener

	life   sync.Mutex // guards everything up to the next heading
	users  int
	closed bool
	idle   *time.Timer // of routineIdle
	wound  bool        // it runs: it is left alone when users come and go, and looks for itself when it fires
	since  mono.Time   // when the last user went away

	// atomic
	stats struct {
		PacketsIn, PacketsOut, ReadErrors, SendErrors, Blocked, Dropped, LinkDrops, LocalFaults, ICMP, ICMPIgnored, Missteered atomic.Uint64
	}
}

// NewNode starts a node on sockets, one per local locator, which belong to the node from here on. The caller is its
// first user and must Release it.
func NewNode(socks []udp.Socket, cfg Config) *Node {
	n := &Node{clock: newClock(), socks: socks, shards: shardsOf(socks), users: 1, listeners: make(map[uint16]*Listener)}
	cfg.fill(n.random.Uint64)
	n.cfg = cfg
	n.budget.limit = n.cfg.Memory
	n.batches.New = func() any { return pktbuf.NewBatch() }
	n.small.New = func() any { return pktbuf.NewSmallBatch() }
	for _, s := range socks {
		n.locals = append(n.locals, locator.FromAddrPort(s.Local()))
	}
	n.ep = endpoint.New(endpoint.Config{Assoc: n.cfg.Assoc, Local: n.locals, MaxAssocs: n.cfg.MaxAssociations,
		InitsPerSec: n.cfg.InitsPerSource, StrictAnswers: n.cfg.StrictAnswers,
		NoListing: n.cfg.NoListing})
	core := n.ep.Config()
	n.window = core.Window
	n.smallCredit = 2 * (core.Payload + pktbuf.Overhead)
	n.quiet = !slices.ContainsFunc(socks, func(s udp.Socket) bool { return udp.Kernel(s) == nil })
	n.watchMachine()
	n.startReaders()
	return n
}

// Locals returns the local locators, in the order of the sockets.
func (n *Node) Locals() []locator.Locator { return slices.Clone(n.locals) }

// Stats returns the counters.
func (n *Node) Stats() Stats {
	var overflows uint64
	for _, s := range n.socks {
		st, _ := udp.StatsOf(s)
		overflows += st.Overflows
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	return Stats{
		PacketsIn:  n.stats.PacketsIn.Load(),
		PacketsOut: n.stats.PacketsOut.Load(),
		ReadErrors: n.stats.ReadErrors.Load(),
		SendErrors: n.stats.SendErrors.Load(),
		Blocked:    n.stats.Blocked.Load(),
		MemoryUsed: n.budget.used.Load(),
		Dropped:    n.stats.Dropped.Load(),

		LinkDrops:   n.stats.LinkDrops.Load(),
		LocalFaults: n.stats.LocalFaults.Load(),
		ICMP:        n.stats.ICMP.Load(),
		ICMPIgnored: n.stats.ICMPIgnored.Load(),

		Shards:     len(n.shards),
		Missteered: n.stats.Missteered.Load(),
		Overflows:  overflows,

		Endpoint: n.ep.Stats(),
	}
}

// Retain makes the caller one more user. It fails when the node is closed already.
func (n *Node) Retain() bool {
	n.life.Lock()
	defer n.life.Unlock()
	if n.closed {
		return false
	}
	n.users++
	return true
}

// Release ends what NewNode or Retain began.
func (n *Node) Release() { n.release() }

func (n *Node) release() {
	if n.forgo() {
		n.close()
	}
}

// leave is release for whoever may be a reader in the middle of a read, which must not close its own socket. Who has to know
// when that is done calls settle.
func (n *Node) leave() {
	if n.forgo() {
		n.readers.Go(n.close) // the readers themselves are there still
	}
}

// forgo takes one user away, and reports whether the node is to be closed.
func (n *Node) forgo() (last bool) {
	n.life.Lock()
	n.users--
	switch {
	case n.users > 0 || n.closed:
	case n.cfg.KeepIdle > 0:
		if n.since = n.clock.now(); !n.wound {
			n.windIdle(n.cfg.KeepIdle)
		}
	default:
		n.closed, last = true, true
	}
	n.life.Unlock()
	return last
}

// windIdle lets routineIdle run after d. The caller holds the lock.
func (n *Node) windIdle(d time.Duration) {
	n.wound = true
	if n.idle == nil {
		n.idle = time.AfterFunc(d, n.routineIdle)
	} else {
		n.idle.Reset(d)
	}
}

// routineIdle closes a node that nobody has used for a while.
func (n *Node) routineIdle() {
	n.life.Lock()
	n.wound = false
	if n.users > 0 || n.closed {
		n.life.Unlock()
		return
	}
	if rest := n.cfg.KeepIdle - n.clock.now().Sub(n.since); rest > 0 {
		n.windIdle(rest)
		n.life.Unlock()
		return
	}
	n.closed = true
	n.life.Unlock()
	n.close()
}

func (n *Node) close() {
	n.alarms.mu.Lock()
	if n.alarms.timer != nil {
		n.alarms.timer.Stop()
	}
	n.alarms.mu.Unlock()
	n.unwatchMachine()
	for _, s := range n.socks {
		s.Close()
	}
	if n.cfg.OnClose != nil {
		n.cfg.OnClose()
	}
}

// settle waits for the readers of a node that has been closed, so that its addresses are free again when the user's
// Close returns. It is called by users only: a reader would wait for itself.
func (n *Node) settle() {
	n.life.Lock()
	closed := n.closed
	n.life.Unlock()
	if closed {
		n.readers.Wait()
	}
}

// Log returns the logger, nil when nothing is to be logged.
func (n *Node) Log() *slog.Logger { return n.cfg.Logger }
