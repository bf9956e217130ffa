package locator

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const ms = time.Millisecond

// good is a path with nothing against it.
func good(change ...func(*Quality)) Quality {
	q := Quality{Confirmed: true, RTT: 40 * ms, Steady: time.Hour}
	for _, f := range change {
		f(&q)
	}
	return q
}

func rtt(d time.Duration) func(*Quality)    { return func(q *Quality) { q.RTT = d } }
func loss(n int) func(*Quality)             { return func(q *Quality) { q.Loss = n } }
func prio(n int) func(*Quality)             { return func(q *Quality) { q.Priority = n } }
func grade(n uint8) func(*Quality)          { return func(q *Quality) { q.Grade = n } }
func failed(n int) func(*Quality)           { return func(q *Quality) { q.Errors = n } }
func steady(d time.Duration) func(*Quality) { return func(q *Quality) { q.Steady = d } }
func flaps(n int) func(*Quality)            { return func(q *Quality) { q.Flaps = n } }
func unproved(q *Quality)                   { q.Confirmed = false }

// TestBetterBothWays asks every question in both directions.
func TestBetterBothWays(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b Quality
		ab   bool // a is better than b
		ba   bool
		why  Why
	}{
		{"equals", good(), good(), false, false, Kept},
		{"grade", good(), good(grade(1)), true, false, ByGrade},
		{"grade outweighs all", good(steady(0), flaps(9), rtt(time.Second), loss(500), prio(9)), good(grade(1)), true, false, ByGrade},
		{"proof", good(steady(0)), good(unproved, rtt(ms)), true, false, ByProof},
		{"grade before proof", good(unproved), good(grade(1)), true, false, ByGrade},
		{"errors of paths in doubt", good(grade(1), failed(1), steady(0)), good(grade(1), failed(2)), true, false, ByErrors},
		{"errors of working paths do not count", good(failed(0)), good(failed(1)), false, false, Kept},
		{"priority", good(prio(-1)), good(), true, false, ByPriority},
		{"priority before cost", good(prio(1), rtt(400*ms)), good(prio(2)), true, false, ByPriority},
		{"priority must wait", good(prio(-1), steady(9*time.Second)), good(), false, false, Kept},
		{"priority waited", good(prio(-1), steady(10*time.Second)), good(), true, false, ByPriority},
		{"round trip", good(rtt(20 * ms)), good(rtt(40 * ms)), true, false, ByRTT},
		{"round trip within the percentage", good(rtt(75 * ms)), good(rtt(100 * ms)), false, false, Kept},
		{"round trip just past it", good(rtt(74 * ms)), good(rtt(100 * ms)), true, false, ByRTT},
		{"round trip within the absolute margin", good(rtt(ms)), good(rtt(6 * ms)), false, false, Kept},
		{"round trip past it", good(rtt(ms - 1)), good(rtt(6 * ms)), true, false, ByRTT},
		{"round trip must wait", good(rtt(ms), steady(time.Second)), good(), false, false, Kept},
		{"round trip unknown", good(rtt(0)), good(rtt(time.Second)), false, false, Kept},
		{"loss", good(), good(loss(20)), true, false, ByLoss},
		{"one percent is not worth a move", good(), good(loss(10)), false, false, Kept},
		{"loss against round trip", good(rtt(40 * ms)), good(rtt(30*ms), loss(40)), true, false, ByLoss},
		{"short enough to bear the loss", good(rtt(40 * ms)), good(rtt(14*ms), loss(40)), false, true, Kept},
		{"flaps double the wait", good(rtt(ms), flaps(2), steady(39*time.Second)), good(), false, false, Kept},
		{"flaps and patience", good(rtt(ms), flaps(2), steady(40*time.Second)), good(), true, false, ByRTT},
		{"the wait is bounded", good(rtt(ms), flaps(99), steady(5*time.Minute)), good(), true, false, ByRTT},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.ab, Better(c.a, c.b))
			require.Equal(t, c.ba, Better(c.b, c.a))
			p := DefaultPolicy()
			_, why := p.Better(&c.a, &c.b)
			require.Equal(t, c.why, why)
		})
	}
}

func TestIgnoreRTT(t *testing.T) {
	p := DefaultPolicy()
	p.IgnoreRTT = true
	a, b := good(rtt(ms)), good(rtt(time.Second))
	ok, _ := p.Better(&a, &b)
	require.False(t, ok)
	b.Loss = 40
	ok, why := p.Better(&a, &b)
	require.True(t, ok)
	require.Equal(t, ByLoss, why)
	p.LossDouble = 0
	ok, _ = p.Better(&a, &b)
	require.False(t, ok)
}

func TestPolicyCheck(t *testing.T) {
	p := DefaultPolicy()
	require.NoError(t, p.Check())
	require.NoError(t, new(Policy).Check())
	for name, spoil := range map[string]func(*Policy){
		"Hold":       func(p *Policy) { p.Hold = -1 },
		"MaxHold":    func(p *Policy) { p.MaxHold = p.Hold - 1 },
		"Percent":    func(p *Policy) { p.Percent = 100 },
		"MinGain":    func(p *Policy) { p.MinGain = -1 },
		"LossDouble": func(p *Policy) { p.LossDouble = 1001 },
	} {
		p := DefaultPolicy()
		spoil(&p)
		err := p.Check()
		require.ErrorContains(t, err, name)
		require.True(t, errors.Is(err, ErrPolicy))
	}
	require.Equal(t, "divergence", ByDivergence.String())
	require.Equal(t, "Why(77)", Why(77).String())
}

// paths makes candidates whose IDs are their places and whose pairs cross two local with two peer addresses:
// 0 and 3 share nothing, nor do 1 and 2.
func paths(q ...Quality) []Candidate {
	l, r := at("10.0.0.1", "10.1.0.1"), at("10.0.0.2", "10.1.0.2")
	var list []Candidate
	for i := range q {
		list = append(list, Candidate{
			Path:    Path{ID: PathID(i), Pair: Pair{Local: l[i/2%2], Peer: r[i%2]}},
			Quality: q[i],
		})
	}
	return list
}

func TestPrimary(t *testing.T) {
	p := DefaultPolicy()
	for _, c := range []struct {
		name    string
		current int // -1: none
		from    []Candidate
		want    int
		why     Why
	}{
		{"no paths", -1, nil, -1, NoChoice},
		{"no paths though there was one", 3, nil, -1, NoChoice},
		{"the first of equals", -1, paths(good(), good()), 0, ByOrder},
		{"the best at the start, without margins", -1, paths(good(), good(rtt(39*ms))), 1, ByOrder},
		{"the best of health at the start", -1, paths(good(unproved), good(grade(1)), good(steady(0))), 2, ByOrder},
		{"kept", 1, paths(good(rtt(38*ms)), good()), 1, Kept},
		{"left for health", 0, paths(good(grade(1)), good(steady(0))), 1, ByGrade},
		{"left for the best that is worth it", 0, paths(good(rtt(100*ms)), good(rtt(50*ms)), good(rtt(40*ms)), good(rtt(ms), steady(0))), 2, ByRTT},
		{"the wish waits for steadiness", 1, paths(good(prio(-1), steady(ms)), good()), 1, Kept},
		{"the wish comes true", 1, paths(good(prio(-1)), good()), 0, ByPriority},
		{"the present path is gone", 9, paths(good(), good(rtt(ms))), 1, ByOrder},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, why := p.Primary(PathID(max(c.current, 0)), c.current >= 0, c.from)
			require.Equal(t, c.want, got)
			require.Equal(t, c.why, why)
		})
	}
}

func TestBackup(t *testing.T) {
	p := DefaultPolicy()
	for _, c := range []struct {
		name    string
		primary int
		from    []Candidate
		want    int
		why     Why
	}{
		{"none", 0, paths(good()), -1, NoChoice},
		{"the only one", 0, paths(good(), good()), 1, ByOrder},
		{"shares nothing", 0, paths(good(), good(), good(), good()), 3, ByDivergence},
		{"shares nothing, though slower", 0, paths(good(), good(rtt(ms)), good(), good(rtt(time.Second))), 3, ByDivergence},
		{"health before divergence", 0, paths(good(), good(), good(), good(grade(1))), 1, ByGrade},
		{"proof before divergence", 0, paths(good(), good(), good(), good(unproved)), 1, ByProof},
		{"the better of two that share as much", 0, paths(good(), good(), good(rtt(39*ms))), 2, ByRTT},
		{"the first of equals", 3, paths(good(), good(), good()), 0, ByOrder},
		{"none is primary", -1, paths(good(), good(prio(-1))), 1, ByPriority},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, why := p.Backup(c.primary, c.from)
			require.Equal(t, c.want, got)
			require.Equal(t, c.why, why)
		})
	}
}

// TestChoiceSettles: as long as nothing changes, following Primary comes to rest, and Better is never true both ways.
func TestChoiceSettles(t *testing.T) {
	rnd := seeded(t)
	for range 1500 {
		p := DefaultPolicy()
		p.IgnoreRTT = rnd.IntN(4) == 0
		var qs []Quality
		for range 2 + rnd.IntN(6) {
			qs = append(qs, Quality{
				Grade: uint8(rnd.IntN(8) / 6), Confirmed: rnd.IntN(8) > 0, Errors: rnd.IntN(3), Priority: rnd.IntN(5) / 4,
				Loss: rnd.IntN(60), RTT: time.Duration(rnd.IntN(100)) * ms,
				Steady: time.Duration(rnd.IntN(100)) * time.Second, Flaps: rnd.IntN(3),
			})
		}
		from := paths(qs...)
		for i := range qs {
			for j := range qs {
				ab, _ := p.Better(&qs[i], &qs[j])
				ba, _ := p.Better(&qs[j], &qs[i])
				require.False(t, ab && ba)
			}
		}
		at := rnd.IntN(len(from))
		for moves := 0; ; moves++ {
			require.Less(t, moves, len(from), "the choice runs in a circle: %+v", qs)
			next, why := p.Primary(from[at].ID, true, from)
			if why == Kept {
				require.Equal(t, at, next)
				break
			}
			at = next
		}
	}
}

func TestChoosingAllocatesNothing(t *testing.T) {
	p := DefaultPolicy()
	from := paths(good(rtt(100*ms)), good(), good(), good(rtt(ms)))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		i, _ := p.Primary(0, true, from)
		p.Backup(i, from)
	}))
}
