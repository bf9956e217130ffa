package cc

import (
	"time"

	"github.com/go-multihome/multihome/internal/mono"
)

// search is the delay-based end of slow start, HyStart++ (RFC 9406). Doubling overshoots the capacity by as much again
// before the first loss is seen; but the queue it fills shows as delay before it spills. When round trips exceed the least
// one of the round before by a threshold, growth falls to a quarter (conservative slow start), and after five such rounds
// slow start ends. If the delay turns out to have been a passing one, doubling resumes.
//
// A round ends when something sent after its beginning is acknowledged. RFC 9406 compares the least round trip of a whole
// round; here it is that of any eight samples in a row. A paced window fills the queue steadily within one round, whose
// first packets still find it empty, so that the least of the round would tell one doubling too late. Entering too soon
// costs little: the next round, if its least round trip is short again, resumes doubling.
type search struct {
	began       mono.Time     // of the round; zero before the first
	last, least time.Duration // least round trip of the round before and of this one; zero: none
	recent      time.Duration // least of the samples since the last eight
	bound       time.Duration // in conservative slow start: a round trip below it ends that
	samples     uint8         // since the last eight
	rounds      uint8         // of conservative slow start, this one included; zero: not in it
	fresh       bool          // the round was entered in the middle: its least round trip says nothing yet
}

// Parameters of HyStart++, as RFC 9406 section 4.3 recommends them.
const (
	searchSamples = 8                     // N_RTT_SAMPLE
	searchMin     = 4 * time.Millisecond  // MIN_RTT_THRESH
	searchMax     = 16 * time.Millisecond // MAX_RTT_THRESH
	searchShare   = 8                     // MIN_RTT_DIVISOR
	searchDivisor = 4                     // CSS_GROWTH_DIVISOR, for the first of its rounds
	searchWait    = 16                    // the same for the others
	searchRounds  = 5                     // CSS_ROUNDS
)

// step takes one SACK. It reports that slow start has found the capacity.
func (s *search) step(e *Ack) (found bool) {
	if s.began.IsZero() || !e.Sent.Before(s.began) {
		if s.rounds > 0 {
			if s.rounds++; s.rounds > searchRounds {
				return true
			}
		}
		s.began = e.Now
		s.last, s.least, s.fresh = s.least, 0, false
	}
	if e.RTT <= 0 {
		return false
	}
	s.least = least(s.least, e.RTT)
	s.recent = least(s.recent, e.RTT)
	if s.samples++; s.samples < searchSamples {
		return false
	}
	s.judge()
	s.samples, s.recent = 0, 0
	return false
}

// judge looks at the least round trip of eight.
func (s *search) judge() {
	switch {
	case s.rounds > 0:
		if !s.fresh && s.least < s.bound {
			s.rounds = 0 // it was not a standing queue
		}
	case s.last > 0:
		s.bound = s.last + min(max(s.last/searchShare, searchMin), searchMax)
		if s.recent >= s.bound {
			s.rounds, s.fresh = 1, true
		}
	}
}

// divisor is what growth is divided by. RFC 9406 divides by four all along, which makes three times the window in five rounds.
// Once a whole round had long round trips, there is a standing queue and all that growth goes into it; so from the second
// round on it is a sixteenth: enough to see whether the delay stays, too little to spill a queue of one window.
func (s *search) divisor() int {
	switch {
	case s.rounds == 0:
		return 1
	case s.rounds == 1:
		return searchDivisor
	}
	return searchWait
}

// least returns the smaller of two durations, where zero stands for none.
func least(a, b time.Duration) time.Duration {
	if a == 0 || b < a {
		return b
	}
	return a
}
