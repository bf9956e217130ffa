package cc

import (
	"time"

	"github.com/go-multihome/multihome/internal/mono"
)

// maxWindow keeps the arithmetic far from overflow on 32-bit machines; no receive window comes near it.
const maxWindow = 1 << 30

// Config holds the parameters of a controller.
type Config struct {
	MTU            int  // bytes of DATA chunk (header included) one packet can take, the PMDCS; default 1172
	InitialPackets int  // initial window in packets (RFC 6928: 10); 0 takes the formula of RFC 9260 section 7.2.1
	IPv6           bool // which of that formula's two variants
	Limit          int  // L of RFC 3465: packets of growth per SACK in slow start; default 2, RFC 9260's SHOULD is 1
}

// Reno is the congestion control of RFC 9260 section 7.2 with byte counting (RFC 3465). The end of a recovery is told
// by sending times instead of an exit TSN, which comes to the same and needs no sequence numbers.
// Use NewReno or Init; the zero Reno is not usable.
type Reno struct {
	cfg       Config
	cwnd      int
	ssthresh  int
	partial   int       // partial_bytes_acked
	recovery  mono.Time // the last reduction; what was sent until then cannot cause another
	fullUntil mono.Time // the latest instant at which the window was seen fully used
	inLoss    bool      // in Fast Recovery: no growth until something sent after recovery is acknowledged
	afterT3   bool      // in the slow start that follows a timeout
	answered  bool      // something sent after the last reduction has been acknowledged
	// what OnSpurious restores; oldCwnd 0 means nothing to restore
	oldCwnd, oldSsthresh int
}

var _ Controller = (*Reno)(nil)

// NewReno returns a controller in its initial state.
func NewReno(cfg Config) *Reno {
	r := new(Reno)
	r.Init(cfg)
	return r
}

// Init puts r into its initial state. Values of cfg that are zero or less take their defaults.
func (r *Reno) Init(cfg Config) {
	if cfg.MTU <= 0 {
		cfg.MTU = 1172
	}
	if cfg.Limit <= 0 {
		cfg.Limit = 2
	}
	*r = Reno{cfg: cfg}
	r.cwnd = r.initialWindow()
	r.ssthresh = maxWindow
}

// initialWindow is RFC 6928's or, for InitialPackets 0, that of RFC 9260 section 7.2.1.
func (r *Reno) initialWindow() int {
	if r.cfg.InitialPackets > 0 {
		return min(r.cfg.InitialPackets*r.cfg.MTU, maxWindow)
	}
	base := 4404
	if r.cfg.IPv6 {
		base = 4344
	}
	return min(4*r.cfg.MTU, max(2*r.cfg.MTU, base))
}

// Window implements Controller.
func (r *Reno) Window() int { return r.cwnd }

// Threshold implements Controller.
func (r *Reno) Threshold() int { return r.ssthresh }

// InSlowStart implements Controller.
func (r *Reno) InSlowStart() bool { return r.cwnd <= r.ssthresh && !r.inLoss }

// State implements Controller.
func (r *Reno) State() string {
	switch {
	case r.inLoss:
		return "recovery"
	case r.cwnd <= r.ssthresh:
		return "slow-start"
	}
	return "avoidance"
}

// used reports whether what e acknowledges was sent under a fully used window, the condition of any growth (RFC 9260
// sections 7.2.1 and 7.2.2). A window with less than a packet of room counts as full, since chunks are not cut to fill
// it. SACKs handled one after the other without a transmission in between see the flight shrink though nothing was
// held back; so the instant of the last full flight is kept, and everything sent until then counts as well.
func (r *Reno) used(e *Ack) bool {
	if e.Flight+r.cfg.MTU > r.cwnd {
		r.fullUntil = e.Now
		return true
	}
	return !r.fullUntil.IsZero() && !e.Sent.After(r.fullUntil)
}

// OnAck implements Controller.
func (r *Reno) OnAck(e Ack) {
	if e.Bytes <= 0 {
		return
	}
	used := r.used(&e)
	if e.Sent.After(r.recovery) {
		r.answered = true
	}
	if r.inLoss {
		if !e.Sent.After(r.recovery) {
			return
		}
		r.inLoss = false // sent after the reduction and arrived: the recovery has ended (RFC 9260 section 7.2.4, 6)
	}
	if r.cwnd <= r.ssthresh {
		if used {
			r.cwnd = min(r.cwnd+min(e.Bytes, r.limit()*r.cfg.MTU), maxWindow)
		}
	} else {
		r.avoid(&e, used)
	}
	if r.afterT3 && r.cwnd > r.ssthresh {
		r.afterT3 = false
	}
	if e.Bytes >= e.Flight {
		r.partial = 0 // all acknowledged (RFC 9260 section 7.2.2, last point)
	}
}

// limit is L, which is 1 in the slow start after a timeout: a SACK may then cover what an older flight delivered
// (RFC 3465 section 2.3).
func (r *Reno) limit() int {
	if r.afterT3 {
		return 1
	}
	return r.cfg.Limit
}

// avoid is RFC 9260 section 7.2.2: one packet of growth per window acknowledged.
func (r *Reno) avoid(e *Ack, used bool) {
	r.partial += e.Bytes
	if !used {
		r.partial = min(r.partial, r.cwnd)
		return
	}
	if r.partial >= r.cwnd {
		// At most one packet per round trip, even when one SACK covers more than a window.
		r.partial = min(r.partial-r.cwnd, r.cwnd)
		r.cwnd = min(r.cwnd+r.cfg.MTU, maxWindow)
	}
}

// OnLoss implements Controller: RFC 9260 section 7.2.3, once per recovery.
func (r *Reno) OnLoss(now, lostSent mono.Time, flight int) {
	if !r.recovery.IsZero() && !lostSent.After(r.recovery) {
		return
	}
	r.reduce(now)
	r.cwnd = min(r.cwnd, r.ssthresh)
	r.inLoss = true
}

// OnTimeout implements Controller: RFC 9260 section 7.2.3, second half. One packet, then slow start.
func (r *Reno) OnTimeout(now mono.Time, flight int) {
	r.reduce(now)
	r.cwnd = r.cfg.MTU
	r.inLoss = false
	r.afterT3 = true
}

// reduce sets the threshold to half the window and begins an epoch, remembering what to restore should it prove wrong.
// A reduction upon a reduction that nothing was acknowledged since keeps the older memory: both had the same cause.
func (r *Reno) reduce(now mono.Time) {
	if r.answered || r.oldCwnd == 0 {
		r.oldCwnd, r.oldSsthresh = r.cwnd, r.ssthresh
	}
	r.answered = false
	r.ssthresh = max(r.cwnd/2, 4*r.cfg.MTU)
	r.partial = 0
	r.recovery = now
	r.fullUntil = 0
}

// OnSpurious implements Controller. It follows RFC 4015 section 3.2 in restoring the state before the reduction; a
// window that has grown past it since is left alone.
func (r *Reno) OnSpurious(mono.Time) {
	if r.oldCwnd == 0 {
		return
	}
	r.cwnd = max(r.cwnd, r.oldCwnd)
	r.ssthresh = max(r.ssthresh, r.oldSsthresh)
	r.oldCwnd, r.oldSsthresh = 0, 0
	r.inLoss, r.afterT3 = false, false
	r.partial = 0
}

// OnIdle implements Controller: the window halves once per timeout without a transmission (RFC 9260 section 7.2.1, last
// point), all at once here. It never falls below the initial window, which an idle path may use anyway, nor below four
// packets, and is never raised.
func (r *Reno) OnIdle(now mono.Time, idle, rto time.Duration) {
	if rto <= 0 || idle < rto {
		return
	}
	floor := max(r.initialWindow(), 4*r.cfg.MTU)
	if r.cwnd <= floor {
		return
	}
	r.ssthresh = r.cwnd
	for n := idle / rto; n > 0 && r.cwnd > floor; n-- {
		r.cwnd = max(r.cwnd/2, floor)
	}
	r.partial = 0
	r.oldCwnd, r.oldSsthresh = 0, 0
}

// Restart implements Controller.
func (r *Reno) Restart(mono.Time) { r.Init(r.cfg) }

// SetMTU implements Controller. A window below one new packet is raised to it; otherwise it stays, being counted in
// bytes. Values of zero or less are ignored.
func (r *Reno) SetMTU(n int) {
	if n <= 0 {
		return
	}
	r.cfg.MTU = n
	r.cwnd = max(r.cwnd, n)
}
