package assoc

import (
	"time"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/wire"
)

// emitCookieEcho sends the cookie back, at once on the pair the INIT ACK came by, then at each T1-cookie on the next
// dialled pair and on the first in turn.
func (a *Assoc) emitCookieEcho(now mono.Time, out *pktbuf.Batch) bool {
	s := a.setup
	if s.echoAt == 0 || now.Before(s.echoAt) || s.echoTries > 2*a.cfg.MaxInitRetrans {
		return false
	}
	p := a.paths.Get(0)
	if s.echoTries%2 == 1 {
		p = a.nextEchoPath(s)
	}
	b, ok := a.openPacket(p, out)
	if !ok {
		return false
	}
	if !b.CookieEcho(s.adopted.cookie) {
		a.fail(now, failure(KindSetup, 0, "the peer's cookie is larger than a packet"))
		return false
	}
	if len(s.adopted.unrec) > 0 && b.Error() {
		b.Cause(wire.CauseUnrecognizedParams, s.adopted.unrec)
	}
	a.commit(now, p, b, out)
	round := s.echoTries / 2
	wait := a.t1(round)
	if s.adopted.rtt > 0 {
		est := p.RTO
		est.Sample(s.adopted.rtt)
		wait = min(est.RTO()<<min(round, 8), a.cfg.RTO.Max)
	}
	if s.echoTries%2 == 0 && a.cfg.Stagger > 0 && a.otherEchoPath(s) {
		// The other locator's turn of this round. The first time the peer answered just now: it is given a round trip.
		next := a.cfg.Stagger
		if s.echoTries == 0 {
			next += s.adopted.rtt
		}
		wait = min(wait, next)
	}
	s.echoTries++
	s.echoSent = now
	s.echoAt = now.Add(wait)
	return true
}

// echoAgain repeats the COOKIE ECHO at once: a packet of the peer that is no COOKIE ACK says that it has the association and
// that the COOKIE ACK was lost.
func (a *Assoc) echoAgain(now mono.Time) {
	if s := a.setup; s != nil && s.echoTries > 0 && now.Sub(s.echoSent) >= max(s.adopted.rtt, a.cfg.Stagger, 50*time.Millisecond) {
		s.echoAt = now
	}
}

// nextEchoPath walks over the paths to dialled locators.
func (a *Assoc) nextEchoPath(s *setup) (p *path.Path) {
	n := a.paths.Len()
	for i := 0; i < n; i++ {
		s.echoPos = (s.echoPos + 1) % n
		p = a.paths.All()[s.echoPos]
		if p.Dialled && !a.paths.Retired(p) && s.refused&(1<<p.ID) == 0 {
			return p
		}
	}
	return a.paths.Get(0)
}

// otherEchoPath reports whether the COOKIE ECHO has another path to take than the first.
func (a *Assoc) otherEchoPath(s *setup) bool {
	for _, p := range a.paths.All()[1:] {
		if p.Dialled && !a.paths.Retired(p) && s.refused&(1<<p.ID) == 0 {
			return true
		}
	}
	return false
}
