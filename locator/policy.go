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
	// Percent and MinGain are the gain that is worth a move, as a percentage of the present path's cost (the round trip made
	// longer by losses) and absolute; the larger counts. Default 25 and 5 ms.
	Percent int
	MinGain time.Duration
	// LossDouble is the share of lost packets, in thousandths, that makes a path cost twice its round trip. Default 40;
	// 0 leaves losses out.
	LossDouble int
	// IgnoreRTT leaves the round trip out: only health, priority and losses decide.
	IgnoreRTT bool
}

// DefaultPolicy returns the margins used unless configured otherwise: see the fields of [Policy].
func DefaultPolicy() Policy {
	return Policy{
		Hold: 10 * time.Second, MaxHold: 5 * time.Minute,
		Percent: 25, MinGain: 5 * time.Millisecond,
		LossDouble: 40,
	}
}

// ErrPolicy is wrapped by all errors of [Policy.Check].
var ErrPolicy = errors.New("locator: bad policy")

// Check returns nil or an error that wraps [ErrPolicy] and names the field out of its range: times and margins must not be
// negative, MaxHold not less than Hold, Percent at most 99, LossDouble at most 1000.
func (p *Policy) Check() error {
	switch {
	case p.Hold < 0 || p.MaxHold < p.Hold:
		return fmt.Errorf("%w: Hold %v and MaxHold %v, want 0 <= Hold <= MaxHold", ErrPolicy, p.Hold, p.MaxHold)
	case p.Percent < 0 || p.Percent > 99:
		return fmt.Errorf("%w: Percent is %d, want 0 to 99", ErrPolicy, p.Percent)
	case p.MinGain < 0:
		return fmt.Errorf("%w: MinGain is %v, want 0 or more", ErrPolicy, p.MinGain)
	case p.LossDouble < 0 || p.LossDouble > 1000:
		return fmt.Errorf("%w: LossDouble is %d, want 0 to 1000", ErrPolicy, p.LossDouble)
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
		best := p.strictlyBest(from, nil)
		if best < 0 {
			return -1, NoChoice
		}
		return best, ByOrder
	}
	present := &from[at].Quality
	best := p.strictlyBest(from, func(q *Quality) bool {
		better, _ := p.Better(q, present)
		return better
	})
	if best < 0 {
		return at, Kept
	}
	_, why := p.Better(&from[best].Quality, present)
	return best, why
}

// Backup returns the index of the alternate to turn to when the candidate with index primary fails, and why: the one of the
// best Grade and proof, among those the one that shares least with the primary (see Divergence), among those the best
// without margins, the first of equals. -1 with NoChoice means that there is no other candidate.
func (p *Policy) Backup(primary int, from []Candidate) (int, Why) {
	strict := p.strict()
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
		better, reason := strict.weigh(&a.Quality, &b.Quality)
		if reason != ByGrade && reason != ByProof && primary >= 0 && primary < len(from) {
			da, db := Divergence(a.Pair, from[primary].Pair), Divergence(b.Pair, from[primary].Pair)
			if da != db {
				better, reason = da > db, ByDivergence
			}
		}
		switch {
		case better:
			best, why = i, reason
		case why == ByOrder && reason != Kept:
			why = reason // the first one stays, but not because it is the first
		}
	}
	return best, why
}

// strict returns the policy without margins and patience, which orders candidates that are all worth having.
func (p *Policy) strict() Policy {
	return Policy{LossDouble: p.LossDouble, IgnoreRTT: p.IgnoreRTT}
}

// strictlyBest returns the index of the best of those that pass, the first of equals, -1 when none passes.
func (p *Policy) strictlyBest(from []Candidate, pass func(q *Quality) bool) int {
	strict := p.strict()
	best := -1
	for i := range from {
		if pass != nil && !pass(&from[i].Quality) {
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
