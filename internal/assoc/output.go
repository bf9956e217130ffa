package assoc

import (
	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/tx"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// A byte's way out, rooms 3 to 7. Transmit repeats until nothing may go or the batch is full. Each step builds one
// packet speculatively: open, append what fits, abandon if nothing did. There is no second "is there anything to send?".
//
//	1. emitSetup       INIT, COOKIE ECHO
//	2. emitAbort       the last packet of all
//	3. emitReplies     answers to where something came from
//	4. emitHeartbeats
//	5. emitProbes      the fast detector's copies on an alternate
//	6. emitData        SACK, SHUTDOWN, resends, new data: one packet on one path

// Transmit appends packets to out. more says that the batch was full: send it and call again with an empty one.
func (a *Assoc) Transmit(now mono.Time, out *pktbuf.Batch) (more bool) {
	a.choose(now)
	for out.Len() < pktbuf.BatchPackets {
		if out.Open(a.Largest()) == nil && out.Len() > 0 {
			return true
		}
		if !a.emit(now, out) {
			if a.reconf != nil && a.tx.HasAbandoned() && !a.reconf.busy {
				// What was given up while looking for something to send may be what the end of a stream waited for.
				if a.reconf.look = true; a.emitReconf(now, out) {
					continue
				}
			}
			a.noteChoice()
			a.noteUse(now)
			return false
		}
	}
	return true
}

// Largest returns the size of the largest packet that may be built next: with less room in the batch it is full.
func (a *Assoc) Largest() int {
	n := a.cfg.Payload
	for _, p := range a.paths.All() {
		n = max(n, p.Payload)
	}
	if a.bulk && a.state == Established {
		for _, p := range a.paths.All() {
			if size := p.Size().Trying(); size > n {
				n = size
			}
		}
	}
	if a.state >= Established {
		n = max(n, min(a.tx.LostSize()+wire.HeaderLen, wire.MaxPacket))
	}
	if len(a.out.replies) > 0 {
		n = max(n, replySize(&a.out.replies[0]))
	}
	return n
}

// emit writes at most one packet and reports whether it made progress.
func (a *Assoc) emit(now mono.Time, out *pktbuf.Batch) bool {
	if a.state == Closed {
		return a.emitAbort(now, out) || a.emitReplies(now, out)
	}
	if a.setup != nil && a.emitSetup(now, out) {
		return true
	}
	if len(a.out.replies) > 0 && a.emitReplies(now, out) {
		return true
	}
	if a.state < Established {
		return false
	}
	return a.emitHeartbeats(now, out) || a.emitProbes(now, out) || a.emitSearch(now, out) || a.emitCopies(now, out) || a.emitTrial(now, out) || a.emitForward(now, out) || a.emitReconf(now, out) || a.emitStop(now, out) || a.emitData(now, out)
}

// openPacket begins a packet for a path in the batch's slab.
func (a *Assoc) openPacket(p *path.Path, out *pktbuf.Batch) (b wire.Builder, ok bool) {
	return a.openSized(p.Payload, out)
}

func (a *Assoc) openSized(size int, out *pktbuf.Batch) (b wire.Builder, ok bool) {
	buf := out.Open(size)
	if buf == nil {
		return b, false
	}
	b.Open(buf, a.header())
	return b, true
}

// commit seals the packet and accounts it to its path.
func (a *Assoc) commit(now mono.Time, p *path.Path, b wire.Builder, out *pktbuf.Batch) {
	pkt := b.Seal()
	p.Traffic.PacketsSent++
	p.Traffic.BytesSent += uint64(len(pkt))
	large := len(pkt) > p.Payload
	if large {
		p.Load().Oversize++
	}
	out.Commit(pktbuf.Packet{Buf: pkt, Socket: p.Socket(), Peer: p.Dest(), Path: uint8(p.ID), NoDF: large})
	a.stats.PacketsSent++
}

// emitProbes copies what is outstanding on a suspected path to the best alternate, as far as its window goes: the lowest
// TSN first, then the tail, then the rest, with the I bit so that the answer is not held back.
func (a *Assoc) emitProbes(now mono.Time, out *pktbuf.Batch) bool {
	if a.probing < 0 || !a.tx.HasProbe() {
		return false
	}
	p := a.paths.Get(locator.PathID(a.probing))
	alt := a.paths.Alternate(now, p, true)
	budget := 1
	if alt == nil {
		alt = p // the tail, see probeTail
	} else {
		budget = alt.Budget(now, a.tx.InFlight(alt.ID))
	}
	if budget <= 0 || a.probed >= 2 && p.Suspicion().RestAt != 0 {
		return false
	}
	b, ok := a.openPacket(alt, out)
	if !ok {
		return false
	}
	n := 0
	a.tx.NewPacket()
	for budget > n && (a.probed < 2 || p.Suspicion().RestAt == 0) {
		g := tx.Grant{Now: now, Path: alt.ID, Budget: budget - n, Immediate: true}
		if a.probed < 2 {
			g.Budget = 1 // one chunk: the lowest TSN, then the tail
		}
		k := a.tx.AppendProbe(&b, &g)
		if k == 0 {
			break
		}
		a.probed++
		n += k
	}
	if n == 0 {
		return false
	}
	alt.DataSent(now, n, true)
	alt.Doubt().Prompt = true
	a.commit(now, alt, b, out)
	return true
}

// emitCopies writes copies of redundant messages on the paths beside the one for data.
func (a *Assoc) emitCopies(now mono.Time, out *pktbuf.Batch) bool {
	if a.redundant == 0 || !a.state.in(maySend) {
		return false
	}
	var buf [locator.MaxPaths]*path.Path
	for _, p := range a.paths.Best(now, int(a.redundant), buf[:0]) {
		if !a.tx.HasCopy(p.ID) {
			continue
		}
		budget := p.Budget(now, a.tx.InFlight(p.ID))
		if budget <= 0 {
			continue
		}
		b, ok := a.openPacket(p, out)
		if !ok {
			return false
		}
		g := tx.Grant{Now: now, Path: p.ID, Budget: budget}
		a.tx.NewPacket()
		if n := a.tx.AppendCopy(&b, &g); n > 0 {
			p.CopySent(now, n)
			a.busy = true
			a.commit(now, p, b, out)
			return true
		}
	}
	return false
}

// sackChoice decides between the path a SACK acknowledges and an alternate. Duplicates say that our SACKs may be getting
// lost (RFC 9260 section 6.4): then SACKs alternate between the two. Several packets with duplicates that came in one batch
// are answered once on each, which is still no more than one SACK per packet (section 6.2).
type sackChoice struct {
	dups int16          // packets with duplicates since the last SACK
	alt  bool           // the next SACK goes to an alternate
	last locator.PathID // where the last one went
}

// note takes a packet with DATA. Duplicates that come by another path than the last SACK took are answered there first.
func (s *sackChoice) note(dup bool, by locator.PathID) {
	if dup && s.dups < 1<<15-1 {
		s.dups++
		s.alt = s.alt && by == s.last
	}
}

// sent takes a SACK that left on a path, and reports whether another one should follow at once on the other path.
func (s *sackChoice) sent(on locator.PathID) (again bool) {
	s.last = on
	if s.dups == 0 {
		return false
	}
	again = s.dups > 1
	s.dups = 0
	s.alt = !s.alt
	if again {
		s.dups = 1
	}
	return again
}

// sackPath says where a SACK goes.
func (a *Assoc) sackPath(now mono.Time, data *path.Path) *path.Path {
	p := a.paths.Get(a.sackFrom)
	if p == nil || p.State() != heartbeat.Active || a.paths.Retired(p) || p.Blocked(now) || p.Down() {
		p = data // what we send there has not been answered of late
	}
	if a.sack.dups > 0 && a.sack.alt && p != nil {
		if alt := a.paths.Alternate(now, p, true); alt != nil {
			return alt
		}
	}
	return p
}

// appendSack adds the SACK and settles where the next one goes.
func (a *Assoc) appendSack(p *path.Path, b *wire.Builder) bool {
	if !a.rx.AppendSack(b) {
		return false
	}
	if a.sack.sent(p.ID) {
		a.rx.SackNeeded()
	}
	return true
}

// emitData writes one packet with whatever the association has for a path: SACK, SHUTDOWN and its answer, resends, new
// data.
func (a *Assoc) emitData(now mono.Time, out *pktbuf.Batch) bool {
	p := a.paths.Data(now)
	want, must := a.rx.AckWanted(now)
	sp := p
	if want {
		sp = a.sackPath(now, p)
	}
	if must && sp != nil && sp != p {
		return a.emitSack(now, sp, out)
	}
	if p == nil {
		return false
	}
	if q := a.resendPath(now); q != nil && q != p && a.emitOn(now, q, false, false, false, out) {
		return true
	}
	return a.emitOn(now, p, want && sp == p, must && sp == p, false, out) || a.emitWished(now, p, out)
}

// resendPath returns the path for what timed out on one that is still Active: another active one than it went by last
// (RFC 9260 section 6.4). Nil: resends go where new data goes.
func (a *Assoc) resendPath(now mono.Time) *path.Path {
	if a.away == 0 {
		return nil
	}
	p := a.paths.Get(locator.PathID(a.away - 1))
	if p == nil || !a.tx.Resends() || a.paths.Retired(p) {
		a.away = 0
		return nil
	}
	return a.paths.Alternate(now, p, true)
}

// emitWished writes new data whose policy wants another path than p.
func (a *Assoc) emitWished(now mono.Time, p *path.Path, out *pktbuf.Batch) bool {
	if !a.state.in(maySend) || !a.tx.HasNew() || a.tx.Resends() {
		return false
	}
	if q := a.paths.For(now, path.Policy(a.tx.NextWish())); q != nil && q != p {
		return a.emitOn(now, q, false, false, true, out)
	}
	return false
}

// emitOn writes one packet on a path. wished says that the path was chosen by the policy of the next message, rather than
// being the one for data.
func (a *Assoc) emitOn(now mono.Time, p *path.Path, want, must, wished bool, out *pktbuf.Batch) bool {
	a.tx.NewPacket()
	budget := 0
	if a.state.in(maySend) && (a.tx.Resends() || a.tx.HasNew()) {
		if a.tx.InFlight(p.ID) == 0 {
			p.Idle(now)
		}
		budget = p.Budget(now, a.tx.InFlight(p.ID))
		if a.windowShut() {
			budget = min(budget, a.probeBudget(now, p))
		}
		if q := a.resendPath(now); q != nil && q != p {
			budget = 0 // new data waits for what goes again there (section 6.1 C)
		}
	}
	size := p.Payload
	if budget > 0 && a.tx.Resends() {
		size = max(size, min(a.tx.LostSize()+wire.HeaderLen, wire.MaxPacket))
	}
	b, ok := a.openSized(size, out)
	if !ok {
		return false
	}
	if must || want && budget > 0 {
		a.appendSack(p, &b)
	}
	a.appendShutdown(now, p, &b)
	n, resent := a.appendData(now, p, &b, budget, wished)
	if b.Empty() {
		return false
	}
	if n > 0 {
		p.DataSent(now, n, resent)
		p.Doubt().Prompt = false
		a.busy, a.zwpDue = true, false
		a.noteBulk(p)
		if rest := b.Room(); 0 < rest && rest <= wire.IDataHeaderLen && a.peer.Pad && !a.cfg.NoPad && a.tx.HasNew() {
			// Too little for the beginning of the next message. Filled up (RFC 4820), the packet keeps the size of those around
			// it, and leaves together with them: see pktbuf.Batch.
			b.Pad(rest)
		}
		if a.zwp > 0 {
			p.StretchT3(now, int(a.zwp))
		}
	}
	a.commit(now, p, b, out)
	return true
}

// appendData fills the packet with resends, then with new chunks. A packet that is larger than the path, for the sake of
// a chunk cut when the path was larger, takes nothing beside that chunk.
func (a *Assoc) appendData(now mono.Time, p *path.Path, b *wire.Builder, budget int, wished bool) (n int, resent bool) {
	if budget <= 0 {
		return 0, false
	}
	g := tx.Grant{Now: now, Path: p.ID, MaxChunk: a.maxChunk()}
	g.Wish = a.tx.NextWish()
	for budget > n && a.tx.Resends() && b.Len() < p.Payload {
		g.Budget = budget - n
		first := a.tx.LostFirst()
		k := a.tx.AppendResend(b, &g)
		if k == 0 {
			break
		}
		if first {
			p.StopT3() // it runs anew from here (RFC 9260 section 7.2.4 step 4)
		}
		n += k
		resent = true
	}
	if !wished && a.paths.For(now, path.Policy(g.Wish)) != p {
		return n, resent // its policy wants another path: emitWished
	}
	if resent && a.cfg.PlainRecovery {
		// The packet that goes whatever the window is holds nothing new (RFC 9260 section 7.2.4 step 3).
		budget = min(budget, n+p.CC().Window()-a.tx.InFlight(p.ID))
	}
	for budget > n && !a.tx.Resends() && b.Len() < p.Payload {
		g.Budget = budget - n
		k := a.tx.AppendNew(b, &g)
		if k == 0 {
			break
		}
		n += k
	}
	return n, resent
}

// emitTrial tries a path on which data was stuck and that answers heartbeats: a copy of what has just left on another path.
func (a *Assoc) emitTrial(now mono.Time, out *pktbuf.Batch) bool {
	if !a.busy || !a.state.in(maySend) || a.peerWindow == 0 {
		return false
	}
	for _, p := range a.paths.All() {
		if !p.Mon.AwaitsData() || now.Before(p.Doubt().Trial.Next) || p.Down() || a.paths.Retired(p) {
			continue
		}
		b, ok := a.openPacket(p, out)
		if !ok {
			return false
		}
		g := tx.Grant{Now: now, Path: p.ID, Immediate: true}
		n := a.tx.AppendTrial(&b, &g)
		if n == 0 {
			continue
		}
		p.Tried(now)
		p.Load().DataResent += uint64(n)
		a.commit(now, p, b, out)
		return true
	}
	return false
}

// emitSack writes a packet with nothing but a SACK.
func (a *Assoc) emitSack(now mono.Time, p *path.Path, out *pktbuf.Batch) bool {
	b, ok := a.openPacket(p, out)
	if !ok || !a.appendSack(p, &b) {
		return false
	}
	a.commit(now, p, b, out)
	return true
}

// windowShut reports whether all that may go is a zero window probe: the peer's window is closed, and what waits lies
// above everything it has reported.
func (a *Assoc) windowShut() bool {
	return a.peerWindow == 0 && (!a.tx.Resends() || a.tx.LostBeyond())
}

// probeBudget lets one chunk go while nothing is in flight; the first probe goes one RTO after the window was found closed
// (RFC 9260 section 6.1 A).
func (a *Assoc) probeBudget(now mono.Time, data *path.Path) int {
	for _, p := range a.paths.All() {
		if a.tx.InFlight(p.ID) > 0 {
			return 0
		}
	}
	if a.tx.Resends() || a.zwpDue {
		return 1
	}
	if _, armed := a.timers.At(timerWindow); !armed {
		a.setTimer(timerWindow, now.Add(data.RTO.RTO()))
	}
	return 0
}

// noteUse tells every monitor that the association carries data, so that the alternates stay known as well. Once per
// batch is enough.
func (a *Assoc) noteUse(now mono.Time) {
	if !a.busy {
		return
	}
	a.busy, a.rests = false, 0
	for _, p := range a.paths.All() {
		p.Mon.Used(now.Std())
	}
}

// choose settles the path for data before anything is sent. What is outstanding on a path that is left although it was not
// Active (none was) follows to the one that is better.
func (a *Assoc) choose(now mono.Time) {
	if a.state < Established {
		return
	}
	from := a.paths.Current()
	if to := a.paths.Data(now); from != nil && to != from && from.State() != heartbeat.Active && from.Adrift() == (path.Drift{}) {
		a.failover(now, from)
	}
}

// noteChoice tells the layer above when data moved to another path.
func (a *Assoc) noteChoice() {
	c, ok := a.paths.Changed()
	if !ok {
		return
	}
	ev := Event{Kind: EventPrimary, Path: c.To.Name(), Reason: c.Why.String()}
	if c.From != nil {
		ev.Prev = c.From.Name()
		a.stats.PathChanges++
	}
	a.events.add(ev)
}
