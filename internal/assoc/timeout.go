package assoc

import (
	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/path"
)

// Deadline returns when Timeout wants to be called next: the one deadline of the association.
func (a *Assoc) Deadline() (mono.Time, bool) {
	at := a.setupDeadline()
	if t, ok := a.timers.Next(); ok {
		at = mono.Min(at, t)
	}
	if a.state == Closed || a.state < Established {
		return at, at != 0
	}
	if t, ok := a.rx.AckDeadline(); ok {
		at = mono.Min(at, t)
	}
	if t, ok := a.tx.RackDeadline(); ok {
		at = mono.Min(at, t)
	}
	if a.tx.Outstanding() > 0 || a.tx.HasNew() {
		at = mono.Min(at, a.paths.Recheck())
		at = mono.Min(at, a.burstEnd())
	}
	for _, p := range a.paths.All() {
		if !a.paths.Retired(p) {
			at = mono.Min(at, a.pathDeadline(p))
		}
	}
	return at, at != 0
}

// burstEnd returns when a path on which a burst was cut off may take more, while there is anything to send.
func (a *Assoc) burstEnd() (at mono.Time) {
	if !a.state.in(maySend) || !a.tx.Resends() && !a.tx.HasNew() && !a.tx.HasProbe() {
		return 0
	}
	for _, p := range a.paths.All() {
		at = mono.Min(at, p.Held())
	}
	return at
}

func (a *Assoc) pathDeadline(p *path.Path) mono.Time {
	at := mono.Min(p.T3(), a.ptoAt(p))
	at = mono.Min(at, a.searchDeadline(p))
	at = mono.Min(at, a.driftAt(p))
	if !a.state.in(mayProbe) {
		return at
	}
	if t, ok := p.Mon.Next(); ok {
		next := mono.FromStd(t)
		if !p.Confirmed() && p.Mon.Due(t) {
			// A heartbeat that is due but held back by HB.Max.Burst goes when the burst window ends.
			if ok, from := a.mayConfirm(next, p); !ok {
				next = max(next, from)
			}
		}
		at = mono.Min(at, next)
	}
	return at
}

// Timeout takes the passing of time. It looks at every deadline that has come and marks what follows.
func (a *Assoc) Timeout(now mono.Time) {
	if a.state == Closed {
		return
	}
	a.setupTimeout(now)
	if a.state < Established {
		return
	}
	if t, ok := a.tx.RackDeadline(); ok && !now.Before(t) {
		sc := a.scratch()
		a.tx.RackTimeout(now, &sc.rtts, &sc.res)
		a.applyLosses(now, sc)
		ackPool.Put(sc)
	}
	for _, p := range a.paths.All() {
		if a.state == Closed {
			return
		}
		p.Release(now)
		if !a.paths.Retired(p) {
			a.pathTimeout(now, p)
		}
	}
	if a.timers.Fired(timerWindow, now) {
		a.zwpDue = true
	}
	if a.timers.Fired(timerForward, now) {
		a.forwardDue = true
	}
	a.tx.Expire(now)
	if a.timers.Fired(timerReconf, now) {
		a.reconfExpired(now)
	}
	if a.state != Closed && a.timers.Fired(timerT2, now) {
		a.t2Expired(now)
	}
	if a.state != Closed && a.timers.Fired(timerGuard, now) {
		a.abortWith(now, KindGuard, 0, "", "T5-shutdown-guard expired")
	}
	if a.state != Closed && a.timers.Fired(timerFault, now) {
		a.fail(now, failure(KindUnreachable, 0, "every local link or address is gone; "+a.describePaths(now)))
	}
	if a.cfg.Check && a.state != Closed {
		a.check()
	}
}

// applyLosses takes what the reordering timer found lost. Nothing was answered, so nothing else follows.
func (a *Assoc) applyLosses(now mono.Time, sc *ackScratch) {
	for i, p := range a.paths.All() {
		if pa := &sc.res.Paths[i]; pa.Lost > 0 {
			p.Load().Lost += uint64(pa.Lost)
			p.CC().OnLoss(lossOf(now, pa, a.tx.InFlight(p.ID)))
			if a.tx.InFlight(p.ID) == 0 {
				p.StopT3()
			}
		}
	}
}

func (a *Assoc) pathTimeout(now mono.Time, p *path.Path) {
	a.searchTimeout(now, p)
	if at := a.ptoAt(p); at != 0 && !now.Before(at) {
		a.probeTimeout(now, at, p)
	}
	if at := a.driftAt(p); at != 0 && !now.Before(at) {
		a.driftTimeout(now, p)
	}
	if at := p.T3(); at != 0 && !now.Before(at) {
		a.t3Expired(now, p)
	}
	if a.state == Closed {
		return
	}
	if v := p.Mon.Expire(now.Std(), p.RTO.RTO()); v.Counted || v.Changed() {
		a.verdict(now, p, v)
	}
}

// t3Expired does what RFC 9260 section 6.3.3 asks: the window collapses, the timeout doubles, what is outstanding on the
// path counts as lost and goes out again, on an alternate if there is one (section 6.4.1): either the error has made this path
// PotentiallyFailed, and everything leaves it, or it stays Active, and only what is sent again does.
func (a *Assoc) t3Expired(now mono.Time, p *path.Path) {
	p.StopT3()
	flight := a.tx.InFlight(p.ID)
	if flight == 0 {
		return
	}
	p.Load().Timeouts++
	rto := p.RTO.RTO()
	if a.peerWindow == 0 && a.lastSack >= p.LastData() {
		// A zero window probe that was answered "still zero" is no error and says nothing about the path's capacity; but
		// the next one waits longer (RFC 9260 section 6.1 A).
		a.tx.Timeout(p.ID)
		a.zwp++
		return
	}
	p.CC().OnTimeout(now, flight)
	a.tx.Timeout(p.ID)
	if p.Down() {
		p.RTO.Backoff() // known, and no news about the peer
		return
	}
	a.stuck(now, p)
	if a.stalled++; int(a.stalled) > 2*a.cfg.AssocMaxRetrans {
		// Heartbeats keep the error counters at zero (RFC 9260 section 8.1), yet no data passes on any path.
		a.fail(now, failure(KindUnreachable, 0, "data makes no progress though heartbeats are answered; "+a.describePaths(now)))
		return
	}
	v := p.Mon.DataTimeout(now.Std(), rto)
	if !v.Counted {
		p.RTO.Backoff()
	}
	a.verdict(now, p, v)
	if v.To == heartbeat.Active && v.From == heartbeat.Active {
		a.paths.Touch()
		a.away = int8(p.ID) + 1
	}
}
