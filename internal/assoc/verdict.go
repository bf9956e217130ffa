package assoc

import (
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/cc"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/tx"
	"github.com/go-multihome/multihome/locator"
)

func ackOf(now mono.Time, pa *tx.PathAck, cumAdvanced bool, srtt time.Duration) cc.Ack {
	return cc.Ack{Now: now, Bytes: pa.Bytes, Flight: pa.Flight, Sent: pa.AckSent, RTT: pa.RTT, SRTT: srtt, CumAdvanced: cumAdvanced}
}

func lossOf(now mono.Time, pa *tx.PathAck, flight int) cc.Loss {
	return cc.Loss{Now: now, Sent: pa.LostSent, Bytes: pa.Lost, Flight: flight}
}

// verdict carries what a monitor decided to everybody else. This is the one place where failover happens: a path that
// leaves Active gives everything outstanding on it to the others, and path.Table offers it no more.
func (a *Assoc) verdict(now mono.Time, p *path.Path, v heartbeat.Verdict) {
	a.verdictFor(now, p, v, "")
}

// verdictFor is verdict with what there is to say beyond its reason.
func (a *Assoc) verdictFor(now mono.Time, p *path.Path, v heartbeat.Verdict, why string) {
	if v.Counted {
		p.RTO.Backoff()
		a.countError(now, p)
	}
	if !v.Changed() || a.state == Closed {
		return
	}
	p.StateChanged(now)
	a.paths.Touch()
	if v.From == heartbeat.Active && !a.adrift(now, p, v.Reason) {
		a.failover(now, p)
	}
	if v.From == heartbeat.Active && a.paths.Alternate(now, nil, true) == nil {
		a.askFailed(now)
	}
	if v.To == heartbeat.Active {
		p.NotAdrift()
	}
	if v.Reason == heartbeat.Confirmed {
		p.RestartCC(now)
		a.identify() // the endpoint believes this address now
	}
	reason := v.Reason.String()
	if why != "" {
		reason += ": " + why
	}
	a.events.add(Event{Kind: EventPath, Path: p.Name(), From: v.From, To: v.To, Reason: reason})
}

// failover moves what is outstanding on p to the paths that remain. Their congestion windows say how fast.
func (a *Assoc) failover(now mono.Time, p *path.Path) {
	a.endProbe(p)
	p.NotAdrift()
	a.retargeted(a.tx.Retarget(p.ID))
	if a.tx.InFlight(p.ID) == 0 {
		p.StopT3()
	}
}

// countError counts toward Association.Max.Retrans (RFC 9260 section 8.1): at most once per RTO over all paths, so that
// many pairs do not make a silent peer look dead sooner, and back to zero whenever any path answers.
func (a *Assoc) countError(now mono.Time, p *path.Path) {
	if a.erred != 0 && now.Sub(a.erred) < min(p.RTO.RTO()/2, a.cfg.RTO.Max) {
		return
	}
	a.erred = now
	a.errors++
	if int(a.errors) > a.cfg.AssocMaxRetrans {
		a.fail(now, failure(KindUnreachable, 0, a.describePaths(now)))
	}
}

// ptoAt returns when the fast detector looks at a path again: a probe timeout after the sending time of the oldest packet
// still unanswered on it (later packets and SACKs do not extend it), or after the question it has already asked.
func (a *Assoc) ptoAt(p *path.Path) mono.Time {
	if a.cfg.NoProbeTimeout || p.State() != heartbeat.Active || !a.state.in(maySend) {
		return 0
	}
	if s := p.Suspicion(); s.Since != 0 {
		at := s.Since.Add(a.arbitration(p))
		if int(a.probing) == int(p.ID) && a.tx.HasProbe() {
			at = mono.Min(at, s.RestAt)
		}
		return at
	}
	oldest, ok := a.tx.Oldest(p.ID)
	if !ok || a.peerWindow == 0 {
		return 0 // with a closed window the next look is T3-rtx's business (RFC 9260 section 6.1 A)
	}
	tr := p.Doubt()
	pto := p.RTO.PTO(0)
	at := oldest.Add(pto)
	if !tr.Prompt {
		// The SACK of a lone packet may be held back, until another one follows (RFC 9260 section 6.2).
		at = at.Add(p.SackDelay())
		if second, ok := a.tx.Second(p.ID, p.Payload); ok {
			at = min(at, second.Add(pto))
		}
	}
	if f := tr.Suspect.Floor; f != 0 {
		// Questions that heartbeats answer and data does not are asked less and less often.
		at = max(at, f.Add(pto<<min(max(0, tr.Stuck-stuckShrink), 8)))
	}
	if a.tx.CutShort() {
		at = max(at, a.lastSack.Add(pto)) // the oldest may have arrived, and the peer have no room to say so
	}
	if tr.Heard > oldest {
		// Something sent later came through and was answered on this path: a packet was lost, not the path, and the
		// reordering timer knows when to say so.
		if t, ok := a.tx.RackDeadline(); ok {
			at = max(at, t.Add(time.Millisecond))
		}
	}
	return at
}

// arbitration is how long a suspected path has to answer the question asked of it: another probe timeout, doubled each
// time nobody answered at all.
func (a *Assoc) arbitration(p *path.Path) time.Duration {
	return max(p.RTO.PTO(0), minArbitration, p.Suspicion().Late) << min(p.Suspicion().Rounds, 8)
}

// stillAsked takes an acknowledgement by a suspected path of something sent before the question was asked. That was on the
// way already and says nothing of what followed: while that is overdue the question stands. The answer is given as long as
// this acknowledgement took, and a little.
func (a *Assoc) stillAsked(now mono.Time, p *path.Path, sent mono.Time) bool {
	if !p.Suspected() {
		return false
	}
	s := &p.Doubt().Suspect
	oldest, ok := a.tx.Oldest(p.ID)
	if sent >= s.Since || !ok || now.Before(oldest.Add(p.RTO.PTO(0))) {
		return false
	}
	if sent != 0 { // zero: what arrived was copied when the question was asked
		s.Late = max(s.Late, now.Sub(sent)+minArbitration)
	}
	return true
}

// minArbitration keeps a verdict from being faster than a busy machine schedules the peer. Copies are on the way long
// before it.
const minArbitration = 10 * time.Millisecond

// lateTimer is how late a deadline may be looked at before it proves that this process was stalled rather than that the
// path is silent.
const lateTimer = 50 * time.Millisecond

// probeTimeout takes an expiry of the fast detector on p.
func (a *Assoc) probeTimeout(now, due mono.Time, p *path.Path) {
	if now.Sub(due) > lateTimer {
		// We slept, not the path: what has arrived meanwhile waits in the sockets. Ask again from here.
		p.Doubt().Suspect = path.Suspicion{Floor: now}
		a.note().Stalls++
		return
	}
	s := &p.Doubt().Suspect
	if s.Since == 0 {
		a.suspect(now, p)
		return
	}
	if now.Sub(s.Since) < a.arbitration(p) {
		s.RestAt = 0 // its time has come: emitProbes goes on
		return
	}
	if s.AltAnswers {
		a.verdict(now, p, p.Mon.Suspect(now.Std()))
		return
	}
	// Nobody answered: a stalled peer looks so, and so does a network that is down. Not for this detector to say.
	s.Rounds++
}

// suspect asks the silent path by a heartbeat and lets the best alternate carry copies of what is outstanding: which
// answer comes back tells whether the path or a packet was lost.
func (a *Assoc) suspect(now mono.Time, p *path.Path) {
	p.Load().ProbeTimeouts++
	if a.stuck(now, p) {
		return
	}
	s := &p.Doubt().Suspect
	*s = path.Suspicion{Since: now, Floor: s.Floor}
	p.Mon.Probe(now.Std())
	alt := a.paths.Alternate(now, p, true)
	if alt == nil {
		a.askFailed(now)
		a.probeTail(now, p)
		return
	}
	s.Alt = alt.ID
	s.RestAt = now.Add(max(probeRest, p.RTO.PTO(0)/2))
	a.probed = 0
	if a.probing >= 0 {
		a.tx.StopProbe(locator.PathID(a.probing))
	}
	a.probing = int8(p.ID)
	a.tx.StartProbe(p.ID)
	if a.tx.InFlight(alt.ID) == 0 {
		alt.Mon.Probe(now.Std())
	}
}

// The questions after which data counts as stuck on a path that answers heartbeats: first packets become small, then the
// path is left.
const (
	stuckShrink = 3
	stuckLeave  = 5
	stuckTime   = 200 * time.Millisecond // and the least time they take together
)

// probeTail sends the lowest and the highest TSN once more on the silent path itself when there is no other: a tail that was
// lost is mended a timeout earlier (compare RFC 8985 section 7). The window does not move for it.
func (a *Assoc) probeTail(now mono.Time, p *path.Path) {
	p.Doubt().Suspect.RestAt = now.Add(time.Hour) // never the rest
	a.probed = 0
	if a.probing >= 0 {
		a.tx.StopProbe(locator.PathID(a.probing))
	}
	a.probing = int8(p.ID)
	a.tx.StartProbe(p.ID)
}

// askFailed asks the paths in doubt at once: the one in use has fallen silent and there is no other.
func (a *Assoc) askFailed(now mono.Time) {
	for _, p := range a.paths.All() {
		if p.State() == heartbeat.PotentiallyFailed && !a.paths.Retired(p) {
			p.Mon.Probe(now.Std())
		}
	}
}

// stuck takes one more expiry without data getting through. Alive is not the same as working: heartbeats are small and may
// pass where data does not. It reports whether the path was left.
func (a *Assoc) stuck(now mono.Time, p *path.Path) bool {
	if a.peerWindow == 0 {
		return false // the peer drops what it has no room for
	}
	t := p.Doubt()
	if heard := uint16(p.Mon.Stats().Answered); t.Stuck == 0 || heard == t.StuckHeard {
		t.Stuck, t.StuckAt = 1, now // nothing was answered meanwhile: so far it is plainly dead
		t.StuckHeard = heard
	} else {
		t.Stuck, t.StuckHeard = t.Stuck+1, heard
	}
	if now.Sub(t.StuckAt) < max(stuckTime, 3*p.RTO.PTO(0)) {
		return false // many short rounds on a busy machine are no long time
	}
	switch {
	case t.Stuck >= stuckShrink && p.Shrink(now):
		a.note().Shrunk++
		a.events.add(Event{Kind: EventPath, Path: p.Name(), From: p.State(), To: p.State(), Reason: "data is stuck though heartbeats are answered: packets become small"})
	case t.Stuck >= stuckLeave && !a.cfg.NoProbeTimeout && a.paths.Alternate(now, p, true) != nil:
		t.Stuck = stuckShrink
		a.verdict(now, p, p.Mon.Stuck(now.Std()))
		return true
	}
	return false
}

// probeRest is how long after the first probes the rest of what is outstanding follows, at least: a packet or its SACK that
// was only late is heard of by then, and copies of a whole flight are not sent for it.
const probeRest = 2 * time.Millisecond

// cleared ends the suspicion of a path that answered.
func (a *Assoc) cleared(now mono.Time, p *path.Path) {
	if !p.Suspected() {
		return
	}
	p.Cleared(now)
	a.endProbe(p)
}

// endProbe withdraws what was to be copied from p.
func (a *Assoc) endProbe(p *path.Path) {
	if int(a.probing) == int(p.ID) {
		a.tx.StopProbe(p.ID)
		a.probing = -1
	}
}

// answered notes that something came back by a path: every other path that is under suspicion and still silent past its
// time has failed.
func (a *Assoc) answered(now mono.Time, by *path.Path) {
	if by == nil {
		return
	}
	for _, p := range a.paths.All() {
		if p == by || !p.Suspected() {
			continue
		}
		s := &p.Doubt().Suspect
		s.AltAnswers = true
		if p.State() == heartbeat.Active && now.Sub(s.Since) >= a.arbitration(p) {
			a.verdict(now, p, p.Mon.Suspect(now.Std()))
		}
	}
}

// confirm marks a pair as confirmed by the handshake that ran on it (RFC 9260 section 5.4 rule 2).
func (a *Assoc) confirm(now mono.Time, p *path.Path) {
	v := p.Mon.Confirm(now.Std())
	a.paths.Touch()
	a.identify()
	if p.Down() {
		a.doubtFault(now, p)
	}
	if v.Changed() {
		a.events.add(Event{Kind: EventPath, Path: p.Name(), From: v.From, To: v.To, Reason: "handshake"})
	}
}

// retire ends one pair. An association whose last one it is has nothing left to wait for.
func (a *Assoc) retire(now mono.Time, p *path.Path, reason string) {
	a.paths.Retire(p)
	a.events.add(Event{Kind: EventPathGone, Path: p.Name(), From: p.State(), To: p.State(), Reason: reason})
	a.failPathless(now, p.Pair().String()+": "+reason)
}

// failPathless ends the association if it has no path left.
func (a *Assoc) failPathless(now mono.Time, last string) {
	for _, p := range a.paths.All() {
		if !a.paths.Retired(p) {
			return
		}
	}
	a.fail(now, failure(KindUnreachable, 0, "no path is left; the last one, "+last))
}
