// Package assoc is one SCTP association: it owns one path table, one receiver, one sender, and carries values between
// them. It is composition only. A rule about TSNs lives in rx or tx, one about capacity in path, one about life in
// heartbeat.
//
// # Contract
//
// An Assoc has no clock, no goroutine, no lock and no socket. It has four kinds of methods:
//
//   - inward: Handle, HandleCookie. They take packets. They mark, they never send.
//   - time: Timeout. It looks at which deadlines came. It marks, it never sends.
//   - user: Send, Consumed, Shutdown, Abort and the like. They mark, they never send.
//   - outward: Transmit, then Deadline, then NextEvent until there is none, in that order, after any of the others.
//
// All take the instant now, which must not go back. One caller at a time.
package assoc

import (
	"net/netip"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/rx"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/timer"
	"github.com/go-multihome/multihome/internal/tx"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// Arrival says where a packet came in: the local locator's socket, and the source address.
type Arrival struct {
	Local int // index of the local locator, the same as the socket's
	Peer  netip.AddrPort
}

// The association's own deadlines. Those of a path live in the path, those of SACK and loss detection in rx and tx.
const (
	timerT2      = iota // RFC 9260 section 9.2
	timerWindow         // the first zero window probe, RFC 9260 section 6.1 A
	timerGuard          // T5-shutdown-guard, RFC 9260 section 9.2
	timerReconf         // RFC 6525 section 5.1.1
	timerForward        // FORWARD-TSN is repeated, RFC 3758 section 3.5 C5
	timerFault          // every path's own end is gone
)

// Assoc is one association. What only some need, or only for a while, is behind a pointer.
type Assoc struct {
	cfg   *Config
	local []locator.Locator // the endpoint's pool, by socket index; shared, read only

	srcPort, dstPort uint16
	myTag, peerTag   uint32
	tie              [2]uint32 // tie-tags of the cookie that gave birth, for restarts during setup
	myTSN, peerTSN   serial.TSN
	outStreams       int
	inStreams        int
	peerWindow       uint32 // as announced last
	peer             Peer

	paths    path.Table
	rx       rx.Receiver
	tx       tx.Sender
	reconf   *reconf      // only once streams were ended or added
	setup    *setup       // only while the association is being dialled
	timers   *timer.Table // nil until one was set
	out      outbox
	events   events
	ident    identity
	erred    mono.Time // when errors was last counted up
	lastSack mono.Time // last SACK from the peer
	err      error
	notes    *Notes // nil while all are zero
	stats    Packets

	errors    int32  // consecutive unanswered transmissions, RFC 9260 section 8.1
	zwp       int32  // zero window probes in a row (RFC 9260 section 6.1 A)
	stalled   int32  // T3-rtx expirations since data was last acknowledged
	redundant int16  // paths that carry each redundant message; zero until one was sent
	probed    uint16 // probes sent for it
	told      uint16 // bit per local locator the peer was told of
	faulty    uint16 // bit per local locator whose link or address is gone
	sack      sackChoice
	state     State
	probing   int8 // path whose chunks are probed on an alternate, -1: none
	away      int8 // one more than the path that T3-rtx expired on though it stays Active: resends take another way; 0: none
	sackFrom  locator.PathID

	asked      bool  // a heartbeat was asked for, to measure the round trip of a path that only brings data
	prompted   bool  // the first DATA has been acknowledged, at once (RFC 9260 section 5.1)
	busy       bool  // data was sent or received since the monitors were last told
	bulk       bool  // enough data was sent for larger packets to be worth the search
	sized      bool  // the user has set the size of packets of a path: see SetSize
	forwardDue bool  // a FORWARD-TSN must go out
	zwpDue     bool  // the first one may go: timerWindow fired
	cfgOwned   bool  // cfg is this association's alone
	rests      uint8 // heartbeats since data was sent or received, to know an idle association by
}

// Peer is what the peer announced in its INIT or INIT ACK.
type Peer struct {
	OutStreams, InStreams uint16 // as announced, before the minimum with ours is taken
	Window                uint32
	Adaptation            uint32 // its adaptation layer indication (RFC 5061 section 4.2.6)
	Listed                uint16 // addresses it listed
	ForwardTSN            bool
	Interleaving          bool
	Reconfig              bool
	Pad                   bool
	Adapted               bool // it announced Adaptation
	Plain                 bool // the association was born of a plain INIT: one local locator only
}

// State returns the state.
func (a *Assoc) State() State { return a.state }

// Err returns why the association ended, nil while it lives and after an orderly end.
func (a *Assoc) Err() error { return a.err }

// Ports returns the SCTP ports.
func (a *Assoc) Ports() (local, peer uint16) { return a.srcPort, a.dstPort }

// Tags returns the verification tags: ours, which arriving packets carry, and the peer's.
func (a *Assoc) Tags() (own, peer uint32) { return a.myTag, a.peerTag }

// Peer returns what the peer announced.
func (a *Assoc) Peer() Peer { return a.peer }

// Streams returns the numbers of outgoing and incoming streams agreed on.
func (a *Assoc) Streams() (out, in int) { return a.outStreams, a.inStreams }

// move changes the state. An illegal move is our mistake, which tests must see; in production the association must not
// take the program with it, so the move is made and counted.
func (a *Assoc) move(to State) {
	if !a.state.CanMove(to) {
		if a.cfg.Check {
			panic("assoc: illegal move from " + a.state.String() + " to " + to.String())
		}
		a.note().IllegalMoves++
	}
	a.state = to
	a.identify() // the endpoint answers an INIT by the state (RFC 9260 section 9.2)
}

// setTimer arms one of the association's own deadlines.
func (a *Assoc) setTimer(i int, at mono.Time) {
	if a.timers == nil {
		a.timers = new(timer.Table)
	}
	a.timers.Set(i, at)
}

func (a *Assoc) header() wire.Header {
	return wire.Header{SrcPort: a.srcPort, DstPort: a.dstPort, Tag: a.peerTag}
}

func (a *Assoc) rand32() uint32 { return uint32(a.cfg.Random()) }

func (a *Assoc) randFloat() float64 { return float64(a.cfg.Random()>>11) / (1 << 53) }

// init sets what both births share.
func (a *Assoc) init(cfg *Config, local []locator.Locator) {
	a.cfg, a.local = cfg, local
}

// open sets up both directions once the peer's numbers are known.
func (a *Assoc) open() {
	a.rx.Init(&rx.Config{InitialTSN: a.peerTSN, Streams: a.inStreams, Window: a.cfg.Window, SackDelay: a.cfg.SackDelay,
		SackEvery: a.cfg.SackEvery, Interleaving: a.interleaving(), Runs: a.cfg.Runs})
	a.tx.Init(&tx.Config{InitialTSN: a.myTSN, Streams: a.outStreams, PeerWindow: a.peerWindow, Interleaving: a.interleaving(), Scheduler: a.cfg.Scheduler,
		Partial: a.partial(), KeepAbandoned: a.cfg.KeepAbandoned, CountMissing: a.cfg.CountMissing})
	a.prompted = false
}
