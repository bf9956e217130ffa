// Package rto turns round-trip times into timeouts (RFC 9260 section 6.3.1). One Estimator per path, a plain value: no
// clock, no timer. The owner measures, asks for the timeout and reports expiries.
package rto

import (
	"math"
	"time"

	"github.com/go-multihome/multihome/internal/mono"
)

// granularity is the clock granularity G of rule G1 and the least variance term of a probe timeout.
const granularity = time.Millisecond

// maxBackoff bounds the doublings; 2^16 times any useful timeout is past any useful maximum.
const maxBackoff = 16

// One half of the sliding minimum covers at least this many samples and at least this time: a fast flow measures a thousand
// times in the moment a queue lasts, an idle path once in a while.
const (
	minEpoch     = 64
	minEpochTime = 10 * time.Second
)

// Config bounds the retransmission timeout.
type Config struct {
	Initial time.Duration // before the first sample; RTO.Initial, default 1 s
	Min     time.Duration // lower bound of the computed timeout; RTO.Min, default 400 ms (RFC 9260: 1 s)
	Max     time.Duration // upper bound, backoff included; RTO.Max, default 30 s (RFC 9260: 60 s)
}

// Default returns the bounds used unless configured otherwise: 1 s, 400 ms, 30 s. The lower minimum is safe because a
// peer of this library delays a SACK by 20 ms and the standard's upper bound for others is 200 ms.
func Default() Config {
	return Config{Initial: time.Second, Min: 400 * time.Millisecond, Max: 30 * time.Second}
}

// RFC9260 returns the values suggested in RFC 9260 section 16: 1 s, 1 s, 60 s.
func RFC9260() Config {
	return Config{Initial: time.Second, Min: time.Second, Max: time.Minute}
}

// Estimator holds the round-trip state of one path. Call Init before use.
type Estimator struct {
	cfg      *Config
	srtt     time.Duration
	rttvar   time.Duration
	min      time.Duration // of the running epoch
	prevMin  time.Duration // of the epoch before
	taken    mono.Time     // when SampleAt last updated the averages
	epoch    mono.Time     // when the running epoch began; zero: with the next sample
	latest   uint32        // the last sample, in microseconds
	inEpoch  uint16        // samples of it
	backoff  uint8
	measured bool
	guessed  bool // by Guess alone
}

// Init empties the estimator and sets its bounds, which are kept, not copied, and shared by many estimators. A bound of
// zero or less takes its default; Max is raised to Min and to Initial where it lies below them.
func (e *Estimator) Init(cfg *Config) { *e = Estimator{cfg: cfg.whole()} }

// whole returns the bounds themselves if they are in order, else others made of them.
func (c *Config) whole() *Config {
	cfg, def := *c, Default()
	if cfg.Initial <= 0 {
		cfg.Initial = def.Initial
	}
	if cfg.Min <= 0 {
		cfg.Min = def.Min
	}
	if cfg.Max <= 0 {
		cfg.Max = def.Max
	}
	cfg.Max = max(cfg.Max, cfg.Min, cfg.Initial)
	if cfg == *c {
		return c
	}
	made := cfg
	return &made
}

// SetConfig changes the bounds and keeps what was measured. Bounds are taken as Init takes them.
func (e *Estimator) SetConfig(cfg *Config) { e.cfg = cfg.whole() }

// Sample takes one round-trip measurement and collapses the backoff, because the timeout is computed anew (RFC 9260
// section 6.3.1 C2, C3; RFC 6298 section 5.7). The caller keeps Karn's rule C5: never from anything sent more than once.
// Negative measurements are ignored.
func (e *Estimator) Sample(r time.Duration) {
	if r < 0 {
		return
	}
	e.noteMin(r)
	e.average(r)
}

// Guess is Sample for a measurement that may hold a timeout of the peer's: it counts until the first real one, which takes
// its place.
func (e *Estimator) Guess(r time.Duration) {
	if e.measured || r < 0 {
		return
	}
	e.average(r)
	e.guessed = true
}

// SampleAt is Sample for callers that measure many times per round trip: the averages move at most once per smoothed
// round trip, as rule C4 of RFC 9260 section 6.3.1 asks, so that the variance is not ground down to nothing by a hundred
// equal samples of one flight. The minimum sees every sample, and the backoff is collapsed by each.
func (e *Estimator) SampleAt(now mono.Time, r time.Duration) {
	if r < 0 {
		return
	}
	if e.inEpoch >= minEpoch && now.Sub(e.epoch) >= minEpochTime {
		e.prevMin, e.inEpoch = e.min, 0
	}
	if e.inEpoch == 0 || e.epoch.IsZero() {
		e.epoch = now
	}
	e.noteMin(r)
	e.backoff = 0
	if e.measured && !e.guessed && now.Sub(e.taken) < e.srtt {
		return
	}
	e.taken = now
	e.average(r)
}

func (e *Estimator) average(r time.Duration) {
	if !e.measured || e.guessed {
		e.measured, e.guessed = true, false
		e.srtt = r
		e.rttvar = r / 2
	} else {
		dev := e.srtt - r
		if dev < 0 {
			dev = -dev
		}
		e.rttvar += (dev - e.rttvar) / 4
		e.srtt += (r - e.srtt) / 8
	}
	if e.rttvar <= 0 {
		e.rttvar = granularity // rule G1
	}
	e.backoff = 0
}

// noteMin keeps the least round trip of the running and the previous epoch, so that a route that has become longer is
// believed after a while (RFC 8985 section 6.2 step 1 asks for a windowed minimum).
func (e *Estimator) noteMin(r time.Duration) {
	e.latest = uint32(min((r+time.Microsecond-1)/time.Microsecond, math.MaxUint32))
	switch {
	case e.inEpoch == 0:
		e.min = r
	case r < e.min:
		e.min = r
	}
	if e.inEpoch < math.MaxUint16 {
		e.inEpoch++
	}
	if e.prevMin == 0 || e.prevMin > e.min {
		e.prevMin = e.min
	}
}

// RTO returns the retransmission timeout with the backoff applied, within the configured bounds.
func (e *Estimator) RTO() time.Duration {
	rto := e.cfg.Initial
	if e.measured {
		rto = max(e.srtt+4*e.rttvar, e.cfg.Min)
	}
	for i := uint8(0); i < e.backoff && rto < e.cfg.Max; i++ {
		rto *= 2
	}
	return min(rto, e.cfg.Max)
}

// Backoff doubles the timeout, for a T3 or heartbeat expiry (RFC 9260 section 6.3.3 E2 and section 8.3).
func (e *Estimator) Backoff() {
	if e.backoff < maxBackoff {
		e.backoff++
	}
}

// ResetBackoff undoes all doublings: the path has answered in a way that gives no sample.
func (e *Estimator) ResetBackoff() { e.backoff = 0 }

// Backoffs returns how many doublings are in force, 0 to 16.
func (e *Estimator) Backoffs() int { return int(e.backoff) }

// SRTT returns the smoothed round trip, 0 before the first sample.
func (e *Estimator) SRTT() time.Duration { return e.srtt }

// RTTVar returns the round-trip variation, 0 before the first sample.
func (e *Estimator) RTTVar() time.Duration { return e.rttvar }

// MinRTT returns the least round trip of the last ten to twenty seconds, or longer where samples are rare; 0 before the first.
func (e *Estimator) MinRTT() time.Duration { return e.prevMin }

// Latest returns the last sample in whole microseconds, 0 before the first.
func (e *Estimator) Latest() time.Duration { return time.Duration(e.latest) * time.Microsecond }

// HasSample reports whether the path has been measured.
func (e *Estimator) HasSample() bool { return e.measured }

// PTO returns the probe timeout: how long an answer to the oldest unacknowledged packet may reasonably take, where the
// peer may hold its SACK back by ackDelay (RFC 8985 section 7.2 in the form of RFC 9002 section 6.2.1). It is neither
// bounded below by RTO.Min nor backed off, since it moves no congestion window. Before the first sample it is
// RTO.Initial.
func (e *Estimator) PTO(ackDelay time.Duration) time.Duration {
	if !e.measured {
		return e.cfg.Initial
	}
	return min(e.srtt+max(4*e.rttvar, granularity)+max(ackDelay, 0), e.cfg.Max)
}
