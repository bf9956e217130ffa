// Package cc decides how many bytes may be in flight on one path (RFC 9260 section 7). Each path has a controller of its
// own; a controller knows nothing of TSNs, timers or other paths, and reads no clock.
//
// There are two, CUBIC (RFC 8312) and NewReno (RFC 9260 section 7.2). They differ in how the window grows in congestion
// avoidance and by how much it shrinks; everything else is shared: slow start, its end when the delay grows (HyStart++),
// when a window counts as used, what a recovery lets go (PRR), and what a wrong reduction restores.
package cc

import (
	"time"

	"github.com/go-multihome/multihome/internal/mono"
)

// Ack describes what one SACK newly acknowledged on one path.
type Ack struct {
	Now         mono.Time     // when the SACK arrived
	Bytes       int           // bytes newly acknowledged on this path
	Flight      int           // bytes in flight on this path before the SACK
	Sent        mono.Time     // latest sending time among what was acknowledged
	RTT         time.Duration // round trip this SACK measured on this path; zero: none
	SRTT        time.Duration // smoothed round trip of the path; zero before the first sample
	CumAdvanced bool          // the SACK moved the cumulative TSN
}

// Loss describes what was found lost on one path, by a SACK or by the reordering timer.
type Loss struct {
	Now    mono.Time
	Sent   mono.Time // latest sending time among the lost
	Bytes  int       // bytes newly found lost
	Flight int       // bytes in flight on this path without them
}

// Controller is the congestion control of one path. When one SACK both acknowledges and reveals losses, OnAck comes
// before OnLoss (RFC 9260 section 7.2.4, last note). All sizes are bytes of DATA chunks.
type Controller interface {
	// Window returns how many bytes may be in flight, never less than one packet.
	Window() int
	// Budget returns how many bytes may leave now, with flight bytes under way. In recovery that is less than what the
	// window leaves, or more: what has arrived lets new bytes go in proportion (RFC 6937).
	Budget(flight int) int
	// OnSent takes bytes that left on the path, new or repeated.
	OnSent(bytes int)
	// OnHeld says that data waited though the window had room, because bursts are spread out.
	OnHeld(now mono.Time, flight int)
	// OnAck takes what a SACK acknowledged.
	OnAck(e Ack)
	// OnLoss takes losses. Those of what was sent before the last reduction belong to that reduction and change nothing.
	// It reports whether the window was reduced.
	OnLoss(e Loss) bool
	// OnTimeout takes an expiry of the retransmission timer (T3) of the path.
	OnTimeout(now mono.Time, flight int)
	// OnIdle is called when sending resumes after idle without a transmission on the path, with its timeout.
	OnIdle(now mono.Time, idle, rto time.Duration)
	// OnSpurious undoes the last reduction: everything it was blamed on turned out to have arrived.
	OnSpurious(now mono.Time)
	// Restart goes back to the initial state, because the path is not the same any more (RFC 9260 section 7.2.5).
	Restart(now mono.Time)
	// SetMTU changes the bytes of DATA chunk one packet of the path can take, after path MTU discovery.
	SetMTU(n int)
	// InSlowStart reports whether the window is still searching for the capacity.
	InSlowStart() bool
	// Doubling reports whether it may double within a round trip.
	Doubling() bool
	// Threshold returns the slow-start threshold in bytes.
	Threshold() int
	// State names the phase for people: "slow-start", "avoidance" or "recovery".
	State() string
}

// Kind names a controller.
type Kind int

// The controllers.
const (
	KindCubic Kind = iota // RFC 8312
	KindReno              // RFC 9260 section 7.2
)

// Config holds the parameters of a controller.
type Config struct {
	MTU            int  // bytes of DATA chunk (header included) one packet can take, the PMDCS; default 1172
	InitialPackets int  // initial window in packets (RFC 6928: 10); 0 takes the formula of RFC 9260 section 7.2.1
	IPv6           bool // which of that formula's two variants
	Limit          int  // L of RFC 3465: packets of growth per SACK in slow start; default 2, RFC 9260's SHOULD is 1
	DelayExit      bool // the first slow start ends when the delay grows (HyStart++), not only with a loss
	Plain          bool // recovery by the letter of RFC 9260: no proportional reduction, each timeout lowers the threshold
}

// New returns a controller in its initial state.
func New(k Kind, cfg Config) Controller {
	if k == KindReno {
		return NewReno(cfg)
	}
	return NewCubic(cfg)
}

// maxWindow keeps the arithmetic far from overflow on 32-bit machines; no receive window comes near it.
const maxWindow = 1 << 30

// fill sets what is zero or less to its default.
func (c *Config) fill() {
	if c.MTU <= 0 {
		c.MTU = 1172
	}
	if c.Limit <= 0 {
		c.Limit = 2
	}
}

// initialWindow is RFC 6928's or, for InitialPackets 0, that of RFC 9260 section 7.2.1.
func (c *Config) initialWindow() int {
	if c.InitialPackets > 0 {
		return min(c.InitialPackets*c.MTU, maxWindow)
	}
	base := 4404
	if c.IPv6 {
		base = 4344
	}
	return min(4*c.MTU, max(2*c.MTU, base))
}

// floor is the least slow-start threshold (RFC 9260 section 7.2.3).
func (c *Config) floor() int { return 4 * c.MTU }
