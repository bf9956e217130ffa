package locator

import (
	"strconv"
	"time"
)

// Quality is what is known about a path when it is compared with another. The numbers come from whoever watches the paths.
type Quality struct {
	// Grade is the owner's class of usability: 0 answers, 1 is in doubt, 2 has failed, or whatever order suits. Smaller is
	// better, at once and without margin.
	Grade uint8
	// Confirmed says that the path is proved to lead to the peer.
	Confirmed bool
	// Errors counts consecutive failures. It decides between paths of a Grade other than 0 (RFC 7829 section 3.2, 4).
	Errors int
	// Priority is the user's wish; smaller is preferred, 0 is neutral.
	Priority int
	// Loss is the recent share of lost packets in thousandths.
	Loss int
	// RTT is the smoothed round trip, 0 when unknown.
	RTT time.Duration
	// Steady is for how long the path has had its Grade.
	Steady time.Duration
	// Flaps counts recent failures. Each doubles the time for which the path must be steady.
	Flaps int
}

// Why says what decided a comparison or a choice.
type Why uint8

// The reasons.
const (
	Kept         Why = iota // nothing was better by enough
	ByGrade                 // the other was worse in health
	ByProof                 // the other was not confirmed
	ByErrors                // the other had failed more often in a row
	ByPriority              // the user's wish
	ByLoss                  // a lower cost, by the margin, owing to fewer losses
	ByRTT                   // a lower cost, by the margin, owing to a shorter round trip
	ByOrder                 // the first of equals
	ByDivergence            // shares least with the primary
	NoChoice                // there is no path
)

var whyNames = [...]string{
	"kept", "grade", "proof", "errors", "priority", "loss", "rtt", "order", "divergence", "no choice",
}

// String returns the reason as a word.
func (w Why) String() string {
	if int(w) < len(whyNames) {
		return whyNames[w]
	}
	return "Why(" + strconv.Itoa(int(w)) + ")"
}

// Better reports whether a is so much better than b that traffic on b should move to a, by the default policy. Of
// Better(a, b) and Better(b, a) at most one is true; when neither is, whoever has the traffic keeps it.
func Better(a, b Quality) bool {
	p := DefaultPolicy()
	better, _ := p.Better(&a, &b)
	return better
}

// Better reports whether a is so much better than b that traffic on b should move to a, and why.
//
// Health comes first and needs no patience: Grade, then Confirmed, then, among paths that do not answer, Errors. For the
// rest both paths are equally alive, and a move is a matter of taste: Priority, and at last the cost, which is the round
// trip made longer by the losses. Such a move waits until a has been steady for Hold, doubled for each of its flaps. Only
// the last criterion has a margin, and it is one number; so however many paths there are, moves cannot run in a circle
// while the qualities stay as they are.
func (p *Policy) Better(a, b *Quality) (bool, Why) {
	better, why := p.weigh(a, b)
	if !better {
		return false, Kept
	}
	switch why {
	case ByPriority, ByLoss, ByRTT:
		if a.Steady < p.hold(a.Flaps) {
			return false, Kept
		}
	}
	return true, why
}

// hold is how long a path with that many flaps must be steady.
func (p *Policy) hold(flaps int) time.Duration {
	d := p.Hold
	for ; flaps > 0 && d < p.MaxHold; flaps-- {
		d *= 2
	}
	return max(min(d, p.MaxHold), p.Hold)
}

// weigh compares without patience. better is false both when b is better and when neither is.
func (p *Policy) weigh(a, b *Quality) (better bool, why Why) {
	if a.Grade != b.Grade {
		return a.Grade < b.Grade, ByGrade
	}
	if a.Confirmed != b.Confirmed {
		return a.Confirmed, ByProof
	}
	if a.Grade != 0 && a.Errors != b.Errors {
		return a.Errors < b.Errors, ByErrors
	}
	if a.Priority != b.Priority {
		return a.Priority < b.Priority, ByPriority
	}
	ca, cb := p.cost(a), p.cost(b)
	if ca == 0 || cb == 0 {
		return false, Kept
	}
	switch {
	case ca+p.margin(cb) < cb:
		better = true
	case cb+p.margin(ca) < ca:
		a, b = b, a
	default:
		return false, Kept
	}
	if a.RTT < b.RTT && !p.IgnoreRTT {
		return better, ByRTT
	}
	return better, ByLoss
}

// cost is the round trip, made longer by its own length for each LossDouble of losses: what is lost takes another one.
// 0 means that it is not known.
func (p *Policy) cost(q *Quality) time.Duration {
	base := q.RTT
	if p.IgnoreRTT {
		base = time.Second
	}
	if p.LossDouble > 0 && q.Loss > 0 {
		base += base / time.Duration(p.LossDouble) * time.Duration(min(q.Loss, 1000))
	}
	return base
}

// margin is the gain worth leaving a path of that cost.
func (p *Policy) margin(cost time.Duration) time.Duration {
	return max(cost/100*time.Duration(p.Percent), p.MinGain)
}
