// Package tx is what leaves an association: user messages queued by stream, cut into numbered chunks, remembered until the
// peer has acknowledged them, found lost, and sent again.
//
// It knows TSNs and, by number, the paths they travelled on. It does not know what a path is, how large its congestion
// window is or whether it is alive: the owner says with each Grant what may go where, and learns from each AckResult what
// became of it. Nothing here reads a clock, and nothing is sent except what an Append call writes into a packet.
//
// A chunk may be under way on several paths at once. It is outstanding as long as one of its transmissions counts as in
// flight, lost when none does, and then it waits to be sent again: the owner calls AppendResend before AppendNew.
package tx

import (
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/locator"
)

// Config is what setup has agreed on.
type Config struct {
	InitialTSN   serial.TSN // our first TSN
	Streams      int        // outbound streams, 1 to 65535
	PeerWindow   uint32     // the peer's a_rwnd from INIT or INIT ACK, bytes
	Interleaving bool       // I-DATA instead of DATA (RFC 8260)
	Scheduler    Scheduling // default ByTurns

	Partial       bool // the peer takes FORWARD-TSN: messages may be given up (RFC 3758)
	CountMissing  bool // find losses by counting missing reports (RFC 9260 section 7.2.4) instead of by time
	KeepAbandoned bool // hand their bytes out with NextAbandoned
}

// Grant is leave to send on one path.
type Grant struct {
	Now       mono.Time      // must not go back from call to call
	Path      locator.PathID // below locator.MaxPaths
	Budget    int            // payload bytes the path may take; a chunk goes while it is above zero (RFC 9260 section 6.1 B)
	MaxChunk  int            // largest new chunk, its header included: the AMDCS
	Immediate bool           // set the I bit (RFC 9260 section 6.1)
	Wish      uint8          // AppendNew: take messages with this Wish only
}

// Sender is the sending half of one association. Init makes it ready; it holds next to nothing until it is used.
//
// The Append calls do not change their Grant: the caller takes the payload bytes they return off its budget. What they
// append counts as sent, so a packet that holds some must not be abandoned.
type Sender struct {
	// TSNs from base to before next, unwrapped to 64 bits, are under way. base-1 is the cumulative TSN acknowledged.
	base, next uint64
	*work               // nil before the first message: most associations of a busy listener may never have one
	up         *givenUp // once a message was given up

	// Payload bytes, each in exactly one of the first three, or acknowledged by a gap block.
	queued    int // not cut yet
	out       int // outstanding
	lostBytes int // lost
	unfreed   int // cut, and not covered by the cumulative TSN
	arwnd     int // the peer's latest a_rwnd

	streams int32
	largest int32 // payload bytes of the largest chunk the last AppendNew could have cut

	probing      bool // the chunk at base is a zero window probe
	interleaving bool
	partial      bool
	keep         bool
	counts       bool // Config.CountMissing
}

// work is what only a Sender that has something to send needs.
type work struct {
	ring   []chunk // the window by TSN, its length a power of two
	mask   uint64
	lost   bitring // chunks whose fate is lost
	cand   bitring // probe candidates
	probed uint8   // how many went since StartProbe: 0, 1, 2 or more

	trial   uint64         // TSN of the chunk on trial, see AppendTrial; zero: none
	trialOn locator.PathID // the path it tries
	copyEnd uint64         // behind the highest TSN of a redundant message

	tracks []*track // by path; none before the first transmission
	ends   uint64   // counts up whenever transmissions may have ended

	gaps, newGaps []span   // acknowledged by gap blocks: as of the last SACK, and of the one being read
	missing       *missing // nil: losses are found by time

	longest  int  // gap blocks of the longest list seen
	cutShort bool // the last list may have ended for want of room

	// Queues.
	pages   []*streamPage
	cutting *stream // its front message is cut in part, and DATA lets nothing come between
	sched   scheduler
	rr      roundRobin
	kind    Scheduling // of sched
	pushes  uint64     // messages ever pushed
	spare   *Message   // empty ones, see NewMessage
	spares  int
	lent    int // from NewMessage, and not come back
}

// begin makes s ready for its first message.
func (s *Sender) begin() {
	if s.work == nil {
		s.work = new(work)
		s.sched = &s.rr
		if s.counts {
			s.missing = new(missing)
		}
	}
}

// lostChunks returns how many chunks wait to be sent again.
func (s *Sender) lostChunks() int {
	if s.work == nil {
		return 0
	}
	return s.lost.n
}

// candidates returns how many chunks a probe may copy.
func (s *Sender) candidates() int {
	if s.work == nil {
		return 0
	}
	return s.cand.n
}

// Init makes s ready to send. It may be called again after Drop, for an association that restarts.
func (s *Sender) Init(cfg *Config) {
	first := uint64(1)<<32 | uint64(cfg.InitialTSN)
	*s = Sender{
		base: first, next: first,
		arwnd:        int(cfg.PeerWindow),
		streams:      int32(cfg.Streams),
		largest:      1,
		interleaving: cfg.Interleaving,
		partial:      cfg.Partial,
		keep:         cfg.KeepAbandoned,
		counts:       cfg.CountMissing,
	}
	s.SetScheduler(cfg.Scheduler)
}

// CumAcked returns the Cumulative TSN Ack Point (RFC 9260 section 1.4): all up to and with it has arrived.
func (s *Sender) CumAcked() serial.TSN { return serial.TSN(s.base - 1) }

// NextTSN returns the TSN the next new chunk gets.
func (s *Sender) NextTSN() serial.TSN { return serial.TSN(s.next) }

// Drop frees every message, sent or not, and returns the payload bytes that were not acknowledged by the cumulative TSN.
// The Sender needs Init before it is used again.
func (s *Sender) Drop() (unsent int) {
	unsent = s.Held()
	for idx := s.base; idx != s.next; idx++ {
		// A message cut in part is still at the front of its stream's queue.
		if c := s.at(idx); c.flags&flagEnd != 0 && (c.msg.bundled == 0 || c.msg.done()) {
			c.msg.Free()
		}
	}
	for s.queued > 0 {
		st := s.sched.next()
		for st.head != nil {
			m := st.head
			s.queued -= m.left
			s.pop(st)
			m.Free()
		}
	}
	up := s.up
	*s = Sender{base: s.next, next: s.next}
	if up != nil {
		s.up = &givenUp{counts: up.counts, streams: up.streams} // the figures can still be asked for
	}
	return unsent
}

// Trim gives back memory that only a busy Sender needs. It is for an association that falls idle; while anything is
// outstanding it does nothing.
func (s *Sender) Trim() {
	if s.base != s.next || s.work == nil {
		return
	}
	s.ring, s.mask, s.lost, s.cand = nil, 0, bitring{}, bitring{}
	s.gaps, s.newGaps = nil, nil
	s.spare, s.spares, s.lent = nil, 0, 0
	if s.missing != nil {
		*s.missing = missing{}
	}
	for _, t := range s.tracks {
		if t != nil {
			t.recs, t.head, t.tail = nil, 0, 0
		}
	}
}
