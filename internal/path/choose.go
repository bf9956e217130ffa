package path

import (
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/locator"
)

// Change tells that the path for data changed, and why.
type Change struct {
	From, To *Path // From is nil at the first choice
	Why      Why
}

// Why is the reason a path was chosen for data.
type Why uint8

// The reasons.
const (
	WhyFirst      Why = iota // the first choice
	WhyPrimary               // the primary path is well (again)
	WhyFailed                // the path before it is not Active any more
	WhyBlocked               // the path before it does not take packets: full socket or local fault
	WhyLeastBad              // no path is Active; this one failed least
	WhyPreference            // the user set another primary
)

var whyText = [...]string{"first choice", "primary is well", "path before failed", "path before is blocked", "no path is active; least failed", "preference changed"}

// String names the reason.
func (w Why) String() string { return whyText[w] }

// ranks of a path for carrying data; smaller is better.
const (
	rankGood    = iota // Active
	rankBlocked        // Active, the socket is full
	rankDoubt          // PotentiallyFailed, but it answers again
	rankPF             // PotentiallyFailed: only while no path is Active (RFC 7829 section 3.2)
	rankInactive
	rankDown // a local fault
	rankNone // unconfirmed or retired: never
)

func (t *Table) rank(p *Path, now mono.Time) int {
	s := p.State()
	switch {
	case t.Retired(p) || !p.Confirmed():
		return rankNone
	case p.down:
		return rankDown
	case s == heartbeat.Inactive:
		return rankInactive
	case s == heartbeat.PotentiallyFailed && p.Mon.Answering():
		return rankDoubt
	case s == heartbeat.PotentiallyFailed:
		return rankPF
	case p.Blocked(now):
		return rankBlocked
	}
	return rankGood
}

// better reports whether a is the better carrier of two paths of equal rank. When neither is in use: the one that differs
// more from it. Then the primary, the one in use (no change without a cause), the shorter one.
func (t *Table) better(a, b *Path, rank int) bool {
	if rank >= rankDoubt && a.Mon.Errors() != b.Mon.Errors() {
		return a.Mon.Errors() < b.Mon.Errors()
	}
	if t.current != nil && a != t.current && b != t.current {
		// The path in use is left for a cause: one that shares neither end with it is the safer way out.
		if x, y := apart(a, t.current), apart(b, t.current); x != y {
			return x > y
		}
	}
	if (a.ID == t.primary) != (b.ID == t.primary) {
		return a.ID == t.primary
	}
	if (a == t.current) != (b == t.current) {
		return a == t.current
	}
	if x, y := a.RTO.SRTT(), b.RTO.SRTT(); x != y && x > 0 && y > 0 {
		return x < y
	}
	return a.ID < b.ID
}

// Policy says what the path for data is chosen by.
type Policy uint8

// The policies. A further one that uses several paths at once for different chunks would stand here: it chooses among Best
// by room instead of taking the first.
const (
	Failover  Policy = iota // the primary while it is well, else the best alternate
	Redundant               // the same, and copies on the next best paths, see Best
	Fastest                 // the shortest round trip among the Active paths
	Policies                // how many there are; from here on, a path of its own, see Only
)

// Only is the policy that takes one path while it is well, and is Failover else.
func Only(id locator.PathID) Policy { return Policies + Policy(id) }

// Best appends to buf the k best paths to carry copies of the same data: the one Data chooses, then Active alternates,
// those that share least with it first.
func (t *Table) Best(now mono.Time, k int, buf []*Path) []*Path {
	p := t.Data(now)
	if p == nil {
		return buf
	}
	buf = append(buf, p)
	for _, q := range t.paths {
		if len(buf) >= k {
			break
		}
		if q != p && apart(q, p) == 2 && t.rank(q, now) <= rankBlocked {
			buf = append(buf, q)
		}
	}
	for _, q := range t.paths {
		if len(buf) >= k {
			break
		}
		if q != p && apart(q, p) < 2 && t.rank(q, now) <= rankBlocked {
			buf = append(buf, q)
		}
	}
	return buf
}

// For returns the path a policy wants new data on.
func (t *Table) For(now mono.Time, policy Policy) *Path {
	if policy == Fastest {
		return t.quickest(now)
	}
	if policy >= Policies {
		if p := t.Get(locator.PathID(policy - Policies)); p != nil && t.rank(p, now) == rankGood {
			return p
		}
	}
	return t.Data(now)
}

// quickest returns the Active path with the shortest round trip. The one chosen before is kept unless another is shorter
// by a quarter and a millisecond, so that two alike do not take turns.
func (t *Table) quickest(now mono.Time) *Path {
	best := t.fast
	if best != nil && t.rank(best, now) != rankGood {
		best = nil
	}
	for _, p := range t.paths {
		if t.rank(p, now) != rankGood || p.RTO.SRTT() == 0 {
			continue
		}
		if best == nil || p.RTO.SRTT() < best.RTO.SRTT()*3/4-time.Millisecond {
			best = p
		}
	}
	t.fast = best
	if best == nil {
		return t.Data(now)
	}
	return best
}

// Data returns the path that new data and resends take now, nil when no path is confirmed. The choice is kept until
// something changes; a change is remembered for Changed.
func (t *Table) Data(now mono.Time) *Path {
	if !t.stale && t.current != nil && (t.recheck == 0 || now.Before(t.recheck)) {
		return t.current
	}
	t.stale = false
	t.recheck = 0
	var best *Path
	bestRank := rankNone
	for _, p := range t.paths {
		r := t.rank(p, now)
		if r == rankNone {
			continue
		}
		if p.Blocked(now) {
			t.recheck = mono.Min(t.recheck, p.freeAt())
		}
		if r < bestRank || (r == bestRank && t.better(p, best, r)) {
			best, bestRank = p, r
		}
	}
	if best != nil && best != t.current {
		t.move(best, bestRank, now)
	}
	return t.current
}

func (t *Table) move(to *Path, rank int, now mono.Time) {
	why := WhyPrimary
	switch from := t.current; {
	case from == nil:
		why = WhyFirst
	case t.wished && to.ID == t.primary:
		why = WhyPreference
	case rank >= rankDoubt:
		why = WhyLeastBad
	case from.State() != heartbeat.Active:
		why = WhyFailed
	case from.down || from.Blocked(now):
		why = WhyBlocked
	}
	t.wished = false
	if t.current != nil {
		t.current.Traffic.Left++
	}
	to.Traffic.Chosen++
	if t.changed.To == nil {
		t.changed.From = t.current
	}
	t.changed.To, t.changed.Why = to, why
	t.current = to
}

// Changed returns the change of the data path since it was last asked.
func (t *Table) Changed() (Change, bool) {
	c := t.changed
	t.changed = Change{}
	return c, c.To != nil && c.From != c.To
}

// Recheck returns when the choice must be looked at again although nothing happened: a blocked socket may be free.
// Zero: never.
func (t *Table) Recheck() mono.Time { return t.recheck }

// Alternate returns the best path other than not, preferring a different peer locator (RFC 9260 section 6.4: the most
// divergent pair). With activeOnly it returns nil rather than a path that is not Active.
func (t *Table) Alternate(now mono.Time, not *Path, activeOnly bool) *Path {
	var best *Path
	bestRank := rankNone
	for _, p := range t.paths {
		if p == not {
			continue
		}
		r := t.rank(p, now)
		if r == rankNone || (activeOnly && r > rankBlocked) {
			continue
		}
		if p.Suspected() && r < rankDoubt {
			r = rankBlocked // under suspicion itself
		}
		if best == nil || r < bestRank || (r == bestRank && t.diverges(p, best, not, r)) {
			best, bestRank = p, r
		}
	}
	return best
}

// diverges reports whether a is the better alternate of two paths of equal rank.
func (t *Table) diverges(a, b, from *Path, rank int) bool {
	if from != nil {
		if x, y := apart(a, from), apart(b, from); x != y {
			return x > y
		}
	}
	return t.better(a, b, rank)
}

// apart counts in how many ends two paths differ.
func apart(a, b *Path) int {
	n := 0
	if *a.local != *b.local {
		n++
	}
	if a.Peer != b.Peer {
		n++
	}
	return n
}

// Current returns the path data takes, nil before the first choice.
func (t *Table) Current() *Path { return t.current }
