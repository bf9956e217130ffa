// Package cc decides how many bytes may be in flight on one path (RFC 9260 section 7). Each path has a controller of its
// own; a controller knows nothing of TSNs, timers or other paths, and reads no clock.
package cc

import (
	"time"

	"github.com/go-multihome/multihome/internal/mono"
)

// Ack describes what one SACK newly acknowledged on one path.
type Ack struct {
	Now         mono.Time // when the SACK arrived
	Bytes       int       // bytes newly acknowledged on this path
	Flight      int       // bytes in flight on this path before the SACK
	Sent        mono.Time // latest sending time among what was acknowledged
	CumAdvanced bool      // the SACK moved the cumulative TSN
}

// Controller is the congestion control of one path. When one SACK both acknowledges and reveals losses, OnAck comes
// before OnLoss (RFC 9260 section 7.2.4, last note). All sizes are bytes of DATA chunks.
type Controller interface {
	// Window returns how many bytes may be in flight, never less than one packet.
	Window() int
	// OnAck takes what a SACK acknowledged.
	OnAck(e Ack)
	// OnLoss takes losses found by SACKs: lostSent is the latest sending time among the lost. Losses of what was sent
	// before the last reduction belong to that reduction and change nothing.
	OnLoss(now, lostSent mono.Time, flight int)
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
	// Threshold returns the slow-start threshold in bytes.
	Threshold() int
	// State names the phase for people: "slow-start", "avoidance" or "recovery".
	State() string
}
