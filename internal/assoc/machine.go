package assoc

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/wire"
)

// What the machine tells about the network, without the peer having said anything: links and addresses of ours that go and
// come, and ICMP messages about packets we sent. Both save the time that silence takes to be noticed; neither is needed.

// LocalDown is LocalFault without a reason.
func (a *Assoc) LocalDown(now mono.Time, local int, down bool) { a.LocalFault(now, local, down, "") }

// LocalFault tells that a local locator's link or address is gone, or back; why is for people. While it is gone, data takes
// other paths if there are any. It also holds for paths that are made later, and for INITs.
func (a *Assoc) LocalFault(now mono.Time, local int, down bool, why string) {
	if a.faulty &^= 1 << local; down {
		a.faulty |= 1 << local
	}
	if a.state == Closed {
		return
	}
	for _, p := range a.paths.All() {
		if p.Socket() == local && p.Down() != down {
			a.localFault(now, p, down, why)
		}
	}
}

// doubtFault lets a heartbeat try a path whose own end is said to be gone, once: it may work all the same, by another link.
// The heartbeat goes a moment later, since one from before the fault proves nothing.
func (a *Assoc) doubtFault(now mono.Time, p *path.Path) {
	if p.Confirmed() {
		p.Mon.Probe(now.Add(time.Millisecond).Std())
	}
}

func (a *Assoc) localFault(now mono.Time, p *path.Path, down bool, why string) {
	p.SetDown(down)
	a.paths.Touch()
	v := p.Mon.Fault(now.Std(), down)
	if down {
		a.doubtFault(now, p)
	} else {
		// The timeout was doubled for a reason that is gone, and what was sent into the void need not wait for it.
		p.RTO.ResetBackoff()
		p.NotAdrift()
		if a.tx.Timeout(p.ID) > 0 {
			p.StopT3()
		}
	}
	a.verdictFor(now, p, v, why)
	a.watchFault(now)
}

// watchFault bounds the time in which no path has an end of ours: silence is no news then (heartbeat.Monitor.Fault), but an
// address that never comes back must not keep the association for ever. It is given as long as a silent peer at most.
func (a *Assoc) watchFault(now mono.Time) {
	gone := a.state >= Established
	for _, p := range a.paths.All() {
		gone = gone && (p.Down() || a.paths.Retired(p))
	}
	if !gone {
		a.timers.Stop(timerFault)
	} else if _, armed := a.timers.At(timerFault); !armed {
		a.setTimer(timerFault, now.Add(time.Duration(a.cfg.AssocMaxRetrans+1)*a.cfg.RTO.Max))
	}
}

// localFaulty reports whether a local locator is known to be of no use.
func (a *Assoc) localFaulty(local int) bool { return a.faulty&(1<<local) != 0 }

// faultOver takes a heartbeat's answer on a path whose link or address was said to be gone: it works after all.
func (a *Assoc) faultOver(now mono.Time, p *path.Path) {
	if p.Down() && !p.Mon.Faulted() {
		p.SetDown(false)
		a.paths.Touch()
		a.watchFault(now)
	}
}

// NoticeKind is what an ICMP message says.
type NoticeKind uint8

// The kinds. Everything else is not for SCTP (RFC 9260 section 10, ICMP1, 2 and 4).
const (
	NoPort  NoticeKind = iota + 1 // port or protocol unreachable: nobody there knows SCTP (RFC 6951 section 5.5)
	NoRoute                       // network or host unreachable, or forbidden
	TooBig                        // the packet does not fit and must not be fragmented
)

// Notice is an ICMP message about a packet we sent.
type Notice struct {
	Kind   NoticeKind
	ByPeer bool   // sent from the address the packet went to, not by a router or filter before it
	Text   string // for people
	MTU    int    // with TooBig: bytes of IP packet that do fit, as the message has it
	Quote  []byte // the beginning of our packet as the message quotes it
}

// Unreachable takes an ICMP message about a packet that was sent from a local locator to a peer's. Anybody may forge one,
// so the quotation must hold the verification tag (RFC 9260 section 10, ICMP5 and ICMP6); it reports whether it did.
//
//   - To an INIT it ends the attempt with that pair, or with that locator when the peer's host itself says that nobody is
//     there. The others go on.
//   - NoPort ends an unconfirmed pair. On a confirmed one it is as good as an ABORT (ICMP8), when the peer's host says so.
//     A filter on the way that says it speaks for its path alone.
//   - NoRoute puts the path in doubt (ICMP9).
//   - TooBig is a hint to the search for the path's MTU, which asks the path itself.
func (a *Assoc) Unreachable(now mono.Time, from Arrival, n *Notice) bool {
	init, ok := a.quoted(n.Quote)
	if a.state == Closed || !ok {
		return false
	}
	p := a.paths.Find(from.Local, from.Peer)
	switch {
	case n.Kind == TooBig:
		if p != nil && !a.paths.Retired(p) {
			a.tooBig(now, p, n.MTU, n.Text)
		}
	case a.state == CookieWait:
		if init {
			a.settlePair(now, from, n.Text, n.Kind == NoPort && n.ByPeer)
		}
	case init || p == nil || a.paths.Retired(p):
		// Late news of the setup, or of a pair that is not used any more.
	case a.state == CookieEchoed:
		a.echoRefused(now, p, n.Text)
	default:
		a.pathUnreachable(now, p, n)
	}
	return true
}

// quoted checks that a quotation is from a packet of this association, and tells whether that was an INIT, whose tag is in
// the chunk.
func (a *Assoc) quoted(q []byte) (init, ok bool) {
	h, err := wire.ParseHeader(q)
	if err != nil || h.SrcPort != a.srcPort || h.DstPort != a.dstPort {
		return false, false
	}
	if h.Tag != 0 {
		return false, h.Tag == a.peerTag
	}
	const tagEnd = wire.HeaderLen + wire.ChunkHeaderLen + 4
	if a.setup == nil || len(q) < tagEnd || wire.ChunkType(q[wire.HeaderLen]) != wire.TypeInit {
		return false, false
	}
	tag := binary.BigEndian.Uint32(q[tagEnd-4:])
	return true, tag != 0 && (tag == a.setup.full.tag || tag == a.setup.plain.tag)
}

// pathUnreachable takes a message about a path of an association that is up.
func (a *Assoc) pathUnreachable(now mono.Time, p *path.Path, n *Notice) {
	p.Load().Unreachable++
	if n.Kind == NoPort {
		switch {
		case !p.Confirmed():
			a.retire(now, p, n.Text)
			return
		case n.ByPeer && a.state == ShutdownAckSent:
			// The peer has forgotten the association, so its SHUTDOWN COMPLETE was lost on the way: the end was in order.
			a.end(now, nil, 0)
			return
		case n.ByPeer:
			a.fail(now, failure(KindAborted, 0, "on path "+p.Pair().String()+": "+n.Text))
			return
		}
	}
	a.verdictFor(now, p, p.Mon.Unreachable(now.Std()), n.Text)
}

// SetupFailed tells that a packet that belongs to no path yet could not be handed to the network; text says why.
func (a *Assoc) SetupFailed(now mono.Time, to Arrival, text string) {
	if a.state == CookieWait {
		a.settlePair(now, to, text, false)
	}
}

// settlePair ends the attempt with one pair of a dialled locator, or with all of its pairs. While the locator has another
// one, that is tried at once.
func (a *Assoc) settlePair(now mono.Time, of Arrival, text string, whole bool) {
	s := a.setup
	for i := range s.targets {
		t := &s.targets[i]
		if t.settled || t.peer.AddrPort() != of.Peer {
			continue
		}
		before := t.dead
		t.answer = text
		all := true
		for k, pair := range t.pairs {
			if whole || a.socket(s.pairs[pair].Local) == of.Local {
				t.dead |= 1 << k
			}
			all = all && t.dead&(1<<k) != 0
		}
		if all {
			a.settleTarget(now, of.Peer, text)
			return
		}
		t.urgent = t.urgent || t.dead != before
		return
	}
}

// livePair picks the pair for a locator's INIT of a round: the next one that has not failed and whose own end is well.
func (a *Assoc) livePair(tg *target, round int) (pair int) {
	n := len(tg.pairs)
	for _, picky := range []bool{true, false} {
		for k := range n {
			i := (round + k) % n
			if tg.dead&(1<<i) == 0 && !(picky && a.localFaulty(a.socket(a.setup.pairs[tg.pairs[i]].Local))) {
				return tg.pairs[i]
			}
		}
	}
	return tg.pairs[round%n]
}

// urgentInit picks a locator one of whose pairs has just failed, for an INIT by another one.
func (a *Assoc) urgentInit() (t *attempt, pair int, ok bool) {
	s := a.setup
	for i := range s.targets {
		tg := &s.targets[i]
		if !tg.urgent || tg.settled {
			continue
		}
		tg.urgent = false
		tg.sent++
		if s.full.tag != 0 {
			return &s.full, a.livePair(tg, tg.sent-1), true
		}
		if pair, ok := a.plainPair(tg); ok {
			return &s.plain, pair, true
		}
	}
	return nil, 0, false
}

// hasten brings an attempt's next locator's turn forward: the one before it has answered, there is nothing to wait for.
func (a *Assoc) hasten(now mono.Time, t *attempt) {
	if due := a.due(t); due == 0 || !now.Before(due) {
		return
	}
	switch {
	case a.cfg.Stagger > 0 && t.pos > 0:
		t.start = now.Add(-a.offset(t))
	case a.cfg.Stagger == 0 && t.round > 0 && t.round < len(a.setup.targets):
		t.start = now
	}
}

// echoRefused takes a message about the COOKIE ECHO: the next pair's turn comes at once, and when all have been refused the
// dial has failed.
func (a *Assoc) echoRefused(now mono.Time, p *path.Path, text string) {
	s := a.setup
	s.refused |= 1 << p.ID
	s.noteAnswer(p.Dest(), text)
	for _, q := range a.paths.All() {
		if q.Dialled && !a.paths.Retired(q) && s.refused&(1<<q.ID) == 0 {
			s.echoAt = now
			return
		}
	}
	a.fail(now, failure(KindRefused, 0, "the cookie did not arrive; "+s.tried()))
}

func (s *setup) noteAnswer(peer netip.AddrPort, text string) {
	for i := range s.targets {
		if t := &s.targets[i]; t.peer.AddrPort() == peer {
			t.answer = text
		}
	}
}
