package rx

import (
	"time"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/wire"
)

// ackState is the decision about the next SACK.
type ackState uint8

const (
	ackNone    ackState = iota // nothing to acknowledge
	ackDelayed                 // something is, and may wait for the deadline or for company
	ackNow                     // a SACK is due
)

// packetMarks collects what the chunks of one packet mean for its acknowledgement.
type packetMarks uint8

const (
	pktData    packetMarks = 1 << iota // had data, or a FORWARD-TSN, which counts as data (RFC 3758 section 3.6)
	pktDup                             // had a TSN received before
	pktDropped                         // had data that was not taken
	pktGap                             // there was a gap before or after one of its chunks
)

// PacketDone closes a packet for which Data or ForwardTSN was called and decides about its acknowledgement. immediate is
// the I bit of any of its chunks, or a wish of the caller's.
//
// At once: duplicates, data that had to be dropped, and the I bit (RFC 9260 section 6.2); every packet while there is a gap,
// the one that closes it too (section 6.7). Otherwise every second packet, or after the delay (section 6.2).
func (r *Receiver) PacketDone(now mono.Time, immediate bool) {
	pkt := r.pkt
	r.pkt = 0
	if pkt&pktData == 0 {
		return
	}
	if r.unacked < 1<<8-1 {
		r.unacked++
	}
	switch {
	case r.ack == ackNow:
	case immediate, pkt&(pktDup|pktDropped|pktGap) != 0, r.unacked >= r.every, r.delay < 0:
		r.SackNeeded()
	case r.ack == ackNone:
		r.ack = ackDelayed
		r.deadline = now.Add(r.delay)
	}
}

// SetSack changes how long an acknowledgement waits for company and after how many packets it does not wait any more, 1 for
// never. Zero takes the default, as in Config; a SACK that waits already keeps its deadline.
func (r *Receiver) SetSack(delay time.Duration, every int) {
	if r.delay = min(delay, MaxSackDelay); delay == 0 {
		r.delay = DefaultSackDelay
	}
	r.every = uint8(min(orDefault(every, 2), 1<<8-1))
}

// SackNeeded makes a SACK due now.
func (r *Receiver) SackNeeded() {
	r.ack = ackNow
	r.deadline = 0
}

// AckWanted says whether there is anything to acknowledge, so that a SACK should ride along with what goes out anyway
// (RFC 9260 section 6.1), and whether one must go out now.
func (r *Receiver) AckWanted(now mono.Time) (want, must bool) {
	return r.ack != ackNone, r.ack == ackNow || (r.ack == ackDelayed && !now.Before(r.deadline))
}

// AckDeadline returns when the delayed SACK is due; false when none is waiting or one is due already.
func (r *Receiver) AckDeadline() (mono.Time, bool) { return r.deadline, r.ack == ackDelayed }

// AppendSack writes a SACK with as many gap blocks as fit, lowest first (RFC 9260 section 6.7), then as many duplicates as
// fit, and clears the need for one. False: no room for any SACK; nothing changed.
func (r *Receiver) AppendSack(b *wire.Builder) bool {
	w := r.Window()
	if !b.Sack(r.CumTSN(), w) {
		return false
	}
	if h := r.hold; h != nil {
		for i := range min(h.gaps.Len(), int(r.maxGaps)) {
			lo, hi := h.gaps.At(i)
			if !b.SackGap(uint16(lo-r.cum), uint16(hi-1-r.cum)) {
				break
			}
		}
		for _, t := range h.dups {
			if !b.SackDup(t) {
				break
			}
		}
		h.dups = h.dups[:0]
	}
	r.told = int(w)
	r.unacked = 0
	r.ack = ackNone
	r.deadline = 0
	r.count().Sacks++
	return true
}

// Acked clears the need for a SACK because a SHUTDOWN tells the cumulative TSN instead (RFC 9260 section 9.2). It does
// nothing while there is something only a SACK can tell.
func (r *Receiver) Acked() {
	if r.high != r.cum || (r.hold != nil && len(r.hold.dups) > 0) {
		return
	}
	r.unacked = 0
	r.ack = ackNone
	r.deadline = 0
}
