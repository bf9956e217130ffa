package locator

import (
	"errors"
	"fmt"
	"time"
)

// Policy holds the margins by which paths are compared. A larger margin means fewer moves. Start from [DefaultPolicy]; the
// zero Policy compares without margins or patience, which makes traffic follow every tremor.
type Policy struct {
	// Hold is how long a path must have been steady before traffic moves to it for a reason other than health, doubled for
	// each flap up to MaxHold. Default 10 s and 5 minutes. It is not asked of a path that replaces one of worse health.
	Hold, MaxHold time.Duration
	// LossMargin is the difference of Loss, in thousandths, that is worth a move. Default 20.
	LossMargin int
	// RTTPercent and RTTMargin are the gain in round trip that is worth a move, as a percentage of the present one and
	// absolute; the larger counts. Default 25 and 5 ms.
	RTTPercent int
	RTTMargin  time.Duration
	// IgnoreRTT leaves the round trip out: only health, priority and loss decide.
	IgnoreRTT bool
}

// DefaultPolicy returns the margins used unless configured otherwise: see the fields of [Policy].
func DefaultPolicy() Policy {
	return Policy{
		Hold: 10 * time.Second, MaxHold: 5 * time.Minute,
		LossMargin: 20,
		RTTPercent: 25, RTTMargin: 5 * time.Millisecond,
	}
}

// ErrPolicy is wrapped by all errors of [Policy.Check].
var ErrPolicy = errors.New("locator: bad policy")

// Check returns nil or an error that wraps [ErrPolicy] and names the field out of its range: times and margins must not be
// negative, MaxHold not less than Hold, RTTPercent at most 99.
func (p *Policy) Check() error {
	switch {
	case p.Hold < 0 || p.MaxHold < p.Hold:
		return fmt.Errorf("%w: Hold %v and MaxHold %v, want 0 <= Hold <= MaxHold", ErrPolicy, p.Hold, p.MaxHold)
	case p.LossMargin < 0 || p.LossMargin > 1000:
		return fmt.Errorf("%w: LossMargin is %d, want 0 to 1000", ErrPolicy, p.LossMargin)
	case p.RTTPercent < 0 || p.RTTPercent > 99:
		return fmt.Errorf("%w: RTTPercent is %d, want 0 to 99", ErrPolicy, p.RTTPercent)
	case p.RTTMargin < 0:
		return fmt.Errorf("%w: RTTMargin is %v, want 0 or more", ErrPolicy, p.RTTMargin)
	}
	return nil
}

// Candidate is a path to choose from.
type Candidate struct {
	Path
	Quality
}

// Primary returns the index of the candidate that should carry the traffic, and why. current is the ID of the path that
// carries it now, where has says that there is one among the candidates or not. The present path is kept unless another is
// Better; among several that are, and when there is no present path, the best without margins is taken, the first of
// equals. -1 with NoChoice means that there are no candidates.
func (p *Policy) Primary(current PathID, has bool, from []Candidate) (int, Why) {
	at := -1
	for i := range from {
		if has && from[i].ID == current {
			at = i
		}
	}
	if at < 0 {
		best := strictlyBest(from, nil)
		if best < 0 {
			return -1, NoChoice
		}
		return best, ByOrder
	}
	better := func(i int) bool {
		ok, _ := p.Better(&from[i].Quality, &from[at].Quality)
		return ok
	}
	best := strictlyBest(from, better)
	if best < 0 {
		return at, Kept
	}
	_, why := p.Better(&from[best].Quality, &from[at].Quality)
	return best, why
}

// Backup returns the index of the alternate to turn to when the candidate with index primary fails, and why: the one of the
// best Grade and proof, among those the one that shares least with the primary (see Divergence), among those the best
// without margins, the first of equals. -1 with NoChoice means that there is no other candidate.
func (p *Policy) Backup(primary int, from []Candidate) (int, Why) {
	best, why := -1, NoChoice
	for i := range from {
		if i == primary {
			continue
		}
		if best < 0 {
			best, why = i, ByOrder
			continue
		}
		a, b := &from[i], &from[best]
		w := Kept
		switch {
		case a.Grade != b.Grade || a.Confirmed != b.Confirmed:
			better, reason := strict.weigh(&a.Quality, &b.Quality)
			if better {
				w = reason
			}
		case primary >= 0 && primary < len(from) && divergence(a, &from[primary]) != divergence(b, &from[primary]):
			if divergence(a, &from[primary]) > divergence(b, &from[primary]) {
				w = ByDivergence
			} else if why == ByOrder {
				why = ByDivergence
			}
		default:
			if better, reason := strict.weigh(&a.Quality, &b.Quality); better {
				w = reason
			}
		}
		if w != Kept {
			best, why = i, w
		}
	}
	return best, why
}

func divergence(a, b *Candidate) int { return Divergence(a.Pair, b.Pair) }

// strict is the policy without margins, which orders candidates that are all worth having.
var strict Policy

// strictlyBest returns the index of the best of those that pass, the first of equals, -1 when none passes.
func strictlyBest(from []Candidate, pass func(i int) bool) int {
	best := -1
	for i := range from {
		if pass != nil && !pass(i) {
			continue
		}
		if best < 0 {
			best = i
			continue
		}
		if better, _ := strict.weigh(&from[i].Quality, &from[best].Quality); better {
			best = i
		}
	}
	return best
}
