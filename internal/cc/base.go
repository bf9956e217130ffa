package cc

import (
	"time"

	"github.com/go-multihome/multihome/internal/mono"
)

// base is what all controllers share: the window and its threshold, slow start, recovery. The end of a recovery is told by
// sending times instead of an exit TSN, which comes to the same and needs no sequence numbers.
type base struct {
	cfg       Config
	cwnd      int
	ssthresh  int
	recovery  mono.Time // the last reduction; what was sent until then cannot cause another
	fullUntil mono.Time // the latest instant at which the window was seen fully used
	inLoss    bool      // in Fast Recovery: no growth until something sent after recovery is acknowledged
	afterT3   bool      // in the slow start that follows a timeout
	lone      bool      // what a timeout sent again has not been acknowledged: one packet may be in flight
	answered  bool      // something sent after the last reduction has been acknowledged
	prr       prr
	search    search

	acked   int       // bytes of the last SACK,
	ackedAt mono.Time // and when it came: a loss found by the same SACK counts them into its recovery

	undo undo
}

// undo is what OnSpurious restores. Nothing is to be restored when cwnd is 0.
type undo struct{ cwnd, ssthresh int }

func (b *base) init(cfg Config) {
	cfg.fill()
	*b = base{cfg: cfg, ssthresh: maxWindow}
	b.cwnd = cfg.initialWindow()
}

// Window implements Controller.
func (b *base) Window() int { return b.cwnd }

// Threshold implements Controller.
func (b *base) Threshold() int { return b.ssthresh }

// searching reports whether the window grows as in slow start.
func (b *base) searching() bool { return b.cwnd <= b.ssthresh }

// InSlowStart implements Controller.
func (b *base) InSlowStart() bool { return b.searching() && !b.inLoss }

// Doubling implements Controller.
func (b *base) Doubling() bool {
	return b.InSlowStart() && (b.ssthresh != maxWindow || b.search.divisor() == 1)
}

// State implements Controller.
func (b *base) State() string {
	switch {
	case b.inLoss:
		return "recovery"
	case b.searching():
		return "slow-start"
	}
	return "avoidance"
}

// Budget implements Controller.
func (b *base) Budget(flight int) int {
	if b.lone && flight > 0 {
		return 0 // RFC 9260 section 7.2.1: one packet, however little of the window it fills
	}
	if b.inLoss && !b.cfg.Plain {
		return b.prr.budget(flight, b.ssthresh, b.cfg.MTU)
	}
	if b.inLoss && b.prr.out == 0 {
		return max(b.cwnd-flight, b.cfg.MTU) // the one packet of RFC 9260 section 7.2.4 step 3
	}
	return b.cwnd - flight
}

// OnSent implements Controller.
func (b *base) OnSent(bytes int) {
	if b.inLoss {
		b.prr.out += bytes
	}
}

// OnHeld implements Controller. A window that is spread over a round trip is used though it is never full at once; but a
// small part of it that happened to come in one go is not use enough to let it grow.
func (b *base) OnHeld(now mono.Time, flight int) {
	if flight >= b.cwnd/2 {
		b.fullUntil = now
	}
}

// used reports whether what e acknowledges was sent under a fully used window, the condition of any growth (RFC 9260
// sections 7.2.1 and 7.2.2). A window with less than a packet of room counts as full, since chunks are not cut to fill
// it. SACKs handled one after the other without a transmission in between see the flight shrink though nothing was
// held back; so the instant of the last full flight is kept, and everything sent until then counts as well.
func (b *base) used(e *Ack) bool {
	if e.Flight+b.cfg.MTU > b.cwnd {
		b.fullUntil = e.Now
		return true
	}
	return !b.fullUntil.IsZero() && !e.Sent.After(b.fullUntil)
}

// onAck does what all controllers do with an acknowledgement. It reports whether congestion avoidance has its turn, and
// whether the window was used.
func (b *base) onAck(e *Ack) (avoid, used bool) {
	b.acked, b.ackedAt = e.Bytes, e.Now
	used = b.used(e)
	if e.Sent.After(b.recovery) {
		b.answered = true
	}
	if !e.Sent.Before(b.recovery) {
		b.lone = false
	}
	if b.inLoss {
		if e.Sent.Before(b.recovery) {
			b.prr.acked(e.Bytes)
			return false, used
		}
		// Sent upon the reduction and arrived: a round trip has passed, the recovery has ended (RFC 9260 section 7.2.4, 6).
		b.inLoss = false
	}
	if !b.searching() {
		return true, used
	}
	b.slowStart(e, used)
	if b.afterT3 && !b.searching() {
		b.afterT3 = false
	}
	return false, used
}

// slowStart is RFC 9260 section 7.2.1 with byte counting (RFC 3465). L is 1 after a timeout: a SACK may then cover what an
// older flight delivered (RFC 3465 section 2.3). It is 1 at the threshold itself, too, where every recovery ends and one
// more step of slow start is due: with a large L that would be a leap past it.
func (b *base) slowStart(e *Ack, used bool) {
	if !used {
		return // nor is such a round trip comparable with others: its SACKs may have been delayed for want of company
	}
	divisor := 1
	if b.cfg.DelayExit && b.ssthresh == maxWindow {
		if b.search.step(e) {
			b.ssthresh = b.cwnd
			return
		}
		divisor = b.search.divisor()
	}
	l := b.cfg.Limit
	if b.afterT3 || b.cwnd == b.ssthresh {
		l = 1
	}
	b.cwnd = min(b.cwnd+min(e.Bytes, l*b.cfg.MTU)/divisor, maxWindow)
}

// lost says whether e asks for a reduction.
func (b *base) lost(e *Loss) bool { return b.recovery.IsZero() || e.Sent.After(b.recovery) }

// reduce sets the threshold and begins an epoch. It reports whether what to restore should be remembered: a reduction upon
// a reduction that nothing was acknowledged since keeps the older memory, as both had the same cause.
func (b *base) reduce(now mono.Time, ssthresh int) (remember bool) {
	remember = b.answered || b.undo.cwnd == 0
	if remember {
		b.undo = undo{b.cwnd, b.ssthresh}
	}
	if !b.afterT3 || b.answered || b.cfg.Plain {
		b.ssthresh = max(ssthresh, b.cfg.floor())
	} // else it stays: an outage that lasts for several timeouts says nothing about the capacity (RFC 5681 section 3.1)
	b.answered = false
	b.recovery = now
	b.fullUntil = 0
	return remember
}

// recover enters Fast Recovery, the threshold being set.
func (b *base) recover(e *Loss) {
	b.cwnd = min(b.cwnd, b.ssthresh)
	b.inLoss = true
	delivered := 0
	if b.ackedAt == e.Now {
		delivered = b.acked
	}
	b.prr = prr{start: e.Flight + e.Bytes + delivered}
	b.prr.acked(delivered)
}

// collapse is what a timeout leaves: one packet, then slow start (RFC 9260 section 7.2.3, second half).
func (b *base) collapse() {
	b.cwnd = b.cfg.MTU
	b.inLoss = false
	b.afterT3, b.lone = true, true
}

// restore is RFC 4015 section 3.2: the state before the reduction comes back; a window that has grown past it since is
// left alone. It reports whether there was anything to restore.
func (b *base) restore() bool {
	if b.undo.cwnd == 0 {
		return false
	}
	b.cwnd = max(b.cwnd, b.undo.cwnd)
	b.ssthresh = max(b.ssthresh, b.undo.ssthresh)
	b.undo = undo{}
	b.inLoss, b.afterT3, b.lone = false, false, false
	return true
}

// decay halves the window once per timeout without a transmission (RFC 9260 section 7.2.1, last point), all at once here.
// It never falls below the initial window, which an idle path may use anyway, nor below four packets, and is never raised.
// It reports whether anything changed.
func (b *base) decay(idle, rto time.Duration) bool {
	if rto <= 0 || idle < rto {
		return false
	}
	floor := max(b.cfg.initialWindow(), b.cfg.floor())
	if b.cwnd <= floor {
		return false
	}
	b.ssthresh = b.cwnd
	for n := idle / rto; n > 0 && b.cwnd > floor; n-- {
		b.cwnd = max(b.cwnd/2, floor)
	}
	b.undo = undo{}
	return true
}

// SetMTU implements Controller. A window below one new packet is raised to it; otherwise it stays, being counted in
// bytes. Values of zero or less are ignored.
func (b *base) SetMTU(n int) {
	if n <= 0 {
		return
	}
	b.cfg.MTU = n
	b.cwnd = max(b.cwnd, n)
}
