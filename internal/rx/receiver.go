// Package rx is what arrives: it tracks TSNs, decides when to acknowledge, reassembles fragments into messages, keeps the
// delivery order of every stream and charges the receive window with the memory all that holds.
//
// The way of a chunk: Data asks the tracker whether its TSN is new, the window whether there is room, copies the payload
// once, and gives it to reassembly (plain.go for DATA, inter.go for I-DATA); a message, or as much of it as its turn
// allows, becomes a Part, which NextPart hands out. PacketDone and AckWanted say when a SACK is due, AppendSack writes it.
//
// Everything is pure: no clock, no lock, no goroutine. Sequence numbers are unwrapped to 64 bits at the door.
package rx

import (
	"time"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

// Bounds and defaults of Config.
const (
	// DefaultSackDelay is how long an acknowledgement waits for company.
	DefaultSackDelay = 20 * time.Millisecond
	// MaxSackDelay is the longest delay RFC 9260 section 6.2 allows.
	MaxSackDelay = 500 * time.Millisecond
	// MaxOutOfOrder is the largest span of TSNs held above the cumulative one: gap blocks count in 16 bits
	// (RFC 9260 section 3.3.4).
	MaxOutOfOrder = 1<<16 - 1

	minOutOfOrder  = 1024
	defaultGaps    = 1024
	defaultDups    = 32
	defaultStreams = 1
	defaultWindow  = 128 << 10
)

// Config says how a Receiver starts. Zero values take the default.
type Config struct {
	InitialTSN    serial.TSN    // the peer's first TSN
	Streams       int           // inbound streams agreed, 1..65536; default 1
	Window        int           // receive window in bytes of memory; default 128 KiB
	SackDelay     time.Duration // default 20 ms, at most 500 ms; negative: no delay
	SackEvery     int           // packets with data per SACK, 1..255; default 2 (RFC 9260 section 6.2)
	Interleaving  bool          // I-DATA was negotiated: I-DATA only, else DATA only (RFC 8260 section 2.2.1)
	MaxGaps       int           // gap blocks reported per SACK, 1..65535; default 1024
	MaxDups       int           // duplicate TSNs remembered for a SACK, 1..65535; default 32
	Runs          bool          // a part may hold several small messages, see Part.Run
	MaxOutOfOrder int           // span of TSNs held above the cumulative one, 1..65535; default by the window, at least 1024
}

// Outcome says what became of a chunk.
type Outcome uint8

const (
	// Accepted: the TSN counts as received.
	Accepted Outcome = iota
	// Duplicate: it had been received before. It is reported in the next SACK.
	Duplicate
	// NoRoom: dropped, not acknowledged: the window is closed or the TSN lies outside of what can be held.
	NoRoom
	// BadStream: the TSN counts as received, the payload was dropped. The caller sends ERROR with cause Invalid Stream
	// Identifier (RFC 9260 section 6.5).
	BadStream
	// BadChunk: the peer broke the protocol; the caller aborts with cause Protocol Violation. Only Drop makes sense after it.
	BadChunk
)

var outcomeNames = [...]string{"accepted", "duplicate", "no room", "bad stream", "bad chunk"}

// String names the outcome.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return "unknown outcome"
}

// Part is a message, or a piece of one, in delivery order. The parts of a message follow each other in their stream, with
// no other message of that stream between them; parts of different streams may alternate.
type Part struct {
	Data       pktbuf.Chain // the receiver of the part owns it now; empty only when Broken
	PPID       uint32       // of the message's first fragment, in every part
	Seq        uint32       // SSN, or with I-DATA MID, of the message; 0 for unordered DATA, which has none
	TSN        serial.TSN   // of the message's first fragment, in every part
	SID        uint16
	Begin, End bool // first and last part of its message; both: a whole message
	Unordered  bool
	// Broken: the message, of which parts were handed out before, will not be completed because the peer abandoned it
	// (RFC 3758 section 3.6) or reset the stream. Takes the place of the part with End.
	Broken bool

	// Run is how many whole messages the part holds, where it holds several: they came one after the other in chunks of
	// their own, so they differ in their bytes and in TSN and, if Counts is set, Seq, which go up by one from message to
	// message. Data has one buffer, in which the size of each comes before it, in RunHeader bytes, highest first; Data.Len
	// is without them. 0: a message or a piece of one. Only with Config.Runs.
	Run    uint16
	Counts bool
}

// Stats counts what a Receiver has seen. All counters only grow.
type Stats struct {
	Chunks     uint64 // accepted with their payload
	Bytes      uint64 // payload of those
	Messages   uint64 // handed out to their end
	Duplicates uint64
	NoRoom     uint64 // dropped because memory was short
	Far        uint64 // dropped because the TSN lies outside of anything that can be held
	BadStream  uint64
	Hopeless   uint64 // acknowledged, payload dropped: its message was abandoned, or can never be complete
	Broken     uint64 // messages ended by a Broken part
	Sacks      uint64
}

// Receiver is the inbound half of an association. Init must be called first. Its methods must not be called concurrently,
// and the instants given to them must not go back.
type Receiver struct {
	cum   uint64 // every TSN up to and with it has been received
	high  uint64 // the highest TSN received, or cum
	first uint64 // the peer's initial TSN; nothing below it ever existed

	window int // memory allowed
	limit  int // hard limit for what fills gaps, see room
	held   int // memory of all payload from its arrival until Consumed
	unread int // the part of held that is in parts, queued or handed out
	told   int // what the peer may think is left of the last window we told it

	*delivery          // nil until the first chunk
	hold      *holding // everything that is not yet deliverable; nil until first needed

	delay    time.Duration
	deadline mono.Time // of the delayed SACK

	nstreams int32  // inbound streams agreed
	span     uint32 // TSNs held above cum
	lastIdx  uint32 // the stream used last, so that a run of chunks on it needs no lookup
	tail     slot   // what cum is in plain reassembly
	ratio    uint32 // share of payload in memory, in 1/ratioOne, moving average
	maxGaps  uint16
	maxDups  uint16

	every        uint8
	unacked      uint8 // packets with data since the last SACK
	ack          ackState
	pkt          packetMarks
	interleaving bool
	runs         bool
	forwarded    bool // the peer has abandoned data at least once

	growth *growth // nil until something was read
	stats  *Stats  // nil while all are zero
}

// delivery is what leads to the user.
type delivery struct {
	streams []stream          // in order of first use
	index   map[uint16]uint32 // stream identifier to place in streams
	ready   queue
}

// deliver makes r ready for its first chunk.
func (r *Receiver) deliver() *delivery {
	if r.delivery == nil {
		r.delivery = new(delivery)
	}
	return r.delivery
}

// count is for changing the counters.
func (r *Receiver) count() *Stats {
	if r.stats == nil {
		r.stats = new(Stats)
	}
	return r.stats
}

// holding is the state that only reordering, fragments and duplicates need.
type holding struct {
	items    items
	byNumber map[uint64]uint32 // I-DATA messages that are not the current one of their stream, see messageKey
	dups     []serial.TSN
	tracker
}

// Init makes r an empty receiver. Nothing is allocated before data arrives.
func (r *Receiver) Init(cfg *Config) {
	*r = Receiver{
		window:       orDefault(cfg.Window, defaultWindow),
		delay:        min(cfg.SackDelay, MaxSackDelay),
		nstreams:     int32(min(orDefault(cfg.Streams, defaultStreams), 1<<16)),
		ratio:        ratioOne,
		maxGaps:      uint16(min(orDefault(cfg.MaxGaps, defaultGaps), 1<<16-1)),
		maxDups:      uint16(min(orDefault(cfg.MaxDups, defaultDups), 1<<16-1)),
		every:        uint8(min(orDefault(cfg.SackEvery, 2), 1<<8-1)),
		interleaving: cfg.Interleaving,
		runs:         cfg.Runs,
	}
	r.span = uint32(min(orDefault(cfg.MaxOutOfOrder, spanOf(r.window)), MaxOutOfOrder))
	if cfg.SackDelay == 0 {
		r.delay = DefaultSackDelay
	}
	r.limit = 2 * r.window
	r.told = r.window
	r.renumber(cfg.InitialTSN)
}

// spanOf is how many TSNs may be held out of order by default: a window full of 512-byte chunks fits; smaller ones are held
// back by their memory long before.
func spanOf(window int) int { return min(max(minOutOfOrder, window/512), MaxOutOfOrder) }

func orDefault(n, def int) int {
	if n <= 0 {
		return def
	}
	return n
}

// renumber starts over with an empty tracker whose next expected TSN is t.
func (r *Receiver) renumber(t serial.TSN) {
	r.first = 1<<32 + uint64(t) // high enough that nothing ever goes below zero
	r.cum = r.first - 1
	r.high = r.cum
	r.tail = slotReceived | slotBegin | slotEnd
}

// Data takes one DATA or I-DATA chunk; the payload is copied when it is kept. PacketDone must follow once per packet.
func (r *Receiver) Data(_ mono.Time, d *wire.Data) Outcome {
	if r.high != r.cum {
		r.pkt |= pktGap
	}
	before := r.cum
	out := r.take(d)
	if r.cum > before+1 {
		r.front()
	}
	if r.high != r.cum {
		r.pkt |= pktGap
	}
	switch out {
	case Accepted, BadStream:
		r.pkt |= pktData
	case Duplicate:
		r.pkt |= pktData | pktDup
	case NoRoom:
		r.pkt |= pktData | pktDropped
	}
	return out
}

// take is Data without the marks for acknowledgement.
func (r *Receiver) take(d *wire.Data) Outcome {
	if d.Interleaved != r.interleaving || len(d.Payload) == 0 || len(d.Payload) > pktbuf.MaxBuf {
		return BadChunk
	}
	t := serial.Unwrap(r.cum, uint32(d.TSN))
	switch {
	case t < r.first || t > r.cum+uint64(r.span):
		r.count().Far++
		return NoRoom
	case r.seen(t):
		r.duplicate(d.TSN)
		return Duplicate
	case !r.trackable(t):
		r.count().Far++
		return NoRoom
	case !r.room(t):
		r.count().NoRoom++
		return NoRoom
	}
	if int32(d.SID) >= r.nstreams {
		// Acknowledged like any other (RFC 9260 section 6.5), and its place remembered as a payload that is gone.
		r.count().BadStream++
		if r.interleaving {
			r.mark(t)
		} else if !r.plainLost(t, d) {
			return BadChunk
		}
		return BadStream
	}
	if r.interleaving {
		return r.inter(t, d)
	}
	return r.plain(t, d)
}

// copyIn copies a payload into memory of ours and charges it.
func (r *Receiver) copyIn(d *wire.Data) *pktbuf.Buf {
	b := pktbuf.Copy(d.Payload)
	r.charge(len(d.Payload), b.Held())
	r.count().Chunks++
	r.count().Bytes += uint64(len(d.Payload))
	return b
}

// CumTSN returns the cumulative TSN: everything up to and with it has arrived (RFC 9260 section 6.2).
func (r *Receiver) CumTSN() serial.TSN { return serial.TSN(r.cum) }

// Streams returns how many inbound streams are agreed.
func (r *Receiver) Streams() int { return int(r.nstreams) }

// SetStreams raises the number of inbound streams, 65536 at most, when streams are added (RFC 6525 section 5.2.5). There
// is no way to take streams away, and a smaller number changes nothing.
func (r *Receiver) SetStreams(n int) { r.nstreams = max(r.nstreams, int32(min(n, 1<<16))) }

// Stats returns the counters.
func (r *Receiver) Stats() Stats {
	if r.stats == nil {
		return Stats{}
	}
	return *r.stats
}

// Drop frees everything held, including the parts not yet handed out. Parts handed out before stay their owner's, and
// count as held until Returned.
// What arrives later is taken as if nothing had been there.
func (r *Receiver) Drop() {
	for {
		p, ok := r.NextPart()
		if !ok {
			break
		}
		r.unread -= p.Data.Held
		p.Data.Free()
	}
	if r.hold != nil {
		r.hold.items.freeAll()
	}
	r.hold = nil
	r.delivery = nil
	r.held = r.unread
	r.high = r.cum
	r.tail = slotReceived | slotLost
}
