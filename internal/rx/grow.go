package rx

import (
	"time"

	"github.com/go-multihome/multihome/internal/mono"
)

// growth measures what window the flow needs: a window of W bytes carries W per round trip, so one that is to hold nothing up
// must exceed what is delivered in that time, and by a factor, since a sender that searches for the capacity doubles what is
// under way every round trip. Only what the user has read counts: a slow reader needs no larger window.
type growth struct {
	since mono.Time // beginning of the measurement; zero: none yet
	bytes int       // memory given back since
	last  int       // memory given back per round trip in the measurement before
	want  int       // window found needed, zero until then
}

// shortestMeasure keeps short round trips from being measured in steps of what readers return at once.
const shortestMeasure = 5 * time.Millisecond

// Measure takes n bytes of memory that the user has given back, and the round trip of the path data comes by; zero: not known.
func (r *Receiver) Measure(now mono.Time, n int, rtt time.Duration) {
	if r.growth == nil {
		r.growth = new(growth)
	}
	g := r.growth
	g.bytes += n
	if g.since.IsZero() || rtt <= 0 {
		g.since, g.bytes = now, 0
		return
	}
	took := now.Sub(g.since)
	if took < max(rtt, shortestMeasure) {
		return
	}
	per := int(float64(g.bytes) * float64(rtt) / float64(took))
	g.want = max(g.want, 2*per+2*max(0, per-g.last))
	g.since, g.bytes, g.last = now, 0, max(g.last, per)
}

// Wanted returns the window that what was measured asks for: at least twice what the user reads per round trip, and twice the
// growth since the round trip before on top, which is how far ahead a doubling sender is by the time it learns of the window.
// It never shrinks. Zero: nothing was measured.
func (r *Receiver) Wanted() int {
	if r.growth == nil {
		return 0
	}
	return r.growth.want
}
