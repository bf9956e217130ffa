package cc

import (
	"time"

	"github.com/go-multihome/multihome/internal/mono"
)

// Reno is the congestion control of RFC 9260 section 7.2 with byte counting (RFC 3465).
// Use NewReno or Init; the zero Reno is not usable.
type Reno struct {
	base
	partial int // partial_bytes_acked
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
	r.base.init(cfg)
	r.partial = 0
}

// OnAck implements Controller.
func (r *Reno) OnAck(e Ack) {
	if e.Bytes <= 0 {
		return
	}
	avoid, used := r.onAck(&e)
	if avoid {
		r.avoid(&e, used)
	}
	if e.Bytes >= e.Flight {
		r.partial = 0 // all acknowledged (RFC 9260 section 7.2.2, last point)
	}
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
func (r *Reno) OnLoss(e Loss) bool {
	if !r.lost(&e) {
		return false
	}
	r.halve(e.Now)
	r.recover(&e)
	return true
}

// OnTimeout implements Controller: RFC 9260 section 7.2.3, second half.
func (r *Reno) OnTimeout(now mono.Time, flight int) {
	r.halve(now)
	r.collapse()
}

func (r *Reno) halve(now mono.Time) {
	r.reduce(now, r.cwnd/2)
	r.partial = 0
}

// OnSpurious implements Controller.
func (r *Reno) OnSpurious(mono.Time) {
	if r.restore() {
		r.partial = 0
	}
}

// OnIdle implements Controller.
func (r *Reno) OnIdle(now mono.Time, idle, rto time.Duration) {
	if r.decay(idle, rto) {
		r.partial = 0
	}
}

// Restart implements Controller.
func (r *Reno) Restart(mono.Time) { r.Init(r.cfg) }
