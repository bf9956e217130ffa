package assoc

import (
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/wire"
)

// Shutdown begins the orderly end (RFC 9260 section 9.2): what was given to Send still arrives, then both sides know.
// Calling it again, or in a state that is already ending, changes nothing. While the association is being dialled it
// ends the attempt.
func (a *Assoc) Shutdown(now mono.Time) {
	switch a.state {
	case CookieWait, CookieEchoed:
		a.fail(now, failure(KindLocalAbort, 0, "shut down during setup"))
	case Established:
		a.move(ShutdownPending)
		a.progressShutdown(now)
	}
}

// Abort ends the association at once with an ABORT that carries cause and reason. What was not acknowledged is lost and
// reported with the event.
func (a *Assoc) Abort(now mono.Time, cause wire.CauseCode, reason string) {
	a.abortWith(now, KindLocalAbort, cause, reason, reason)
}

func (a *Assoc) abortWith(now mono.Time, k Kind, cause wire.CauseCode, text, detail string) {
	if a.state == Closed {
		return
	}
	if a.state >= Established || a.state == CookieEchoed {
		a.out.abort, a.out.cause = 2, &abortCause{cause, text}
	}
	a.fail(now, failure(k, cause, detail))
}

// fail ends the association. Parts received before stay to be handed out.
func (a *Assoc) fail(now mono.Time, f *Failure) {
	if a.state == Closed {
		return
	}
	a.tellUndelivered()
	f.Unsent = a.tx.Drop()
	a.err = f
	a.end(now, f, f.Unsent)
}

// end moves to Closed and tells the layer above.
func (a *Assoc) end(_ mono.Time, err error, unsent int) {
	a.move(Closed)
	a.timers.StopAll()
	a.setup, a.reconf = nil, nil
	a.out.shutdown, a.out.shutAck = false, false
	for _, p := range a.paths.All() {
		p.StopT3()
	}
	a.identify()
	a.events.add(Event{Kind: EventClosed, Err: err, Unsent: unsent})
}

// progressShutdown moves on once nothing is left to send or to be acknowledged.
func (a *Assoc) progressShutdown(now mono.Time) {
	if !a.tx.Done() {
		return
	}
	switch a.state {
	case ShutdownPending:
		a.move(ShutdownSent)
		a.out.shutdown, a.out.toAlt = true, a.suspected(now)
		a.startT2(now)
		a.setTimer(timerGuard, now.Add(5*a.cfg.RTO.Max))
	case ShutdownReceived:
		a.move(ShutdownAckSent)
		a.out.shutAck, a.out.toAlt = true, a.suspected(now)
		a.startT2(now)
	}
}

// suspected reports whether the path for data has been silent for too long, so that control should not be left to it.
func (a *Assoc) suspected(now mono.Time) bool {
	p := a.paths.Data(now)
	return p != nil && p.Suspected()
}

func (a *Assoc) startT2(now mono.Time) {
	p := a.paths.Data(now)
	if p == nil {
		return
	}
	wait := p.RTO.RTO()
	if a.hasty(now, p) {
		wait = min(wait, p.RTO.PTO(0))
	}
	a.setTimer(timerT2, now.Add(wait))
}

// hasty reports whether the first SHUTDOWN or SHUTDOWN ACK is repeated on an alternate after a probe timeout already: it is
// answered at once, so a path that is silent for longer may be dead.
func (a *Assoc) hasty(now mono.Time, p *path.Path) bool {
	return !a.cfg.NoProbeTimeout && !a.out.toAlt && a.paths.Alternate(now, p, true) != nil
}

// t2Expired sends SHUTDOWN or SHUTDOWN ACK again, to an alternate if there is one, and counts the error.
func (a *Assoc) t2Expired(now mono.Time) {
	p := a.paths.Data(now)
	if p == nil {
		return
	}
	if a.hasty(now, p) {
		a.out.toAlt = true
		a.out.shutdown, a.out.shutAck = a.state == ShutdownSent, a.state == ShutdownAckSent
		a.setTimer(timerT2, now.Add(p.RTO.RTO()))
		return
	}
	a.out.waited = false
	p.RTO.Backoff()
	a.errors++
	if int(a.errors) > a.cfg.AssocMaxRetrans {
		a.fail(now, failure(KindUnreachable, 0, "SHUTDOWN was not answered; "+a.describePaths(now)))
		return
	}
	a.out.shutdown = a.state == ShutdownSent
	a.out.shutAck = a.state == ShutdownAckSent
	a.out.toAlt = !a.out.toAlt
	a.setTimer(timerT2, now.Add(p.RTO.RTO()))
}

// appendShutdown adds SHUTDOWN or SHUTDOWN ACK when due. On every second retransmission the packet for it goes to an
// alternate, see emitData's caller.
func (a *Assoc) appendShutdown(now mono.Time, p *path.Path, b *wire.Builder) {
	switch {
	case a.out.shutdown && a.state == ShutdownSent:
		if b.Shutdown(a.rx.CumTSN()) {
			a.out.shutdown = false
		}
	case a.out.shutAck && a.state == ShutdownAckSent:
		if b.ShutdownAck() {
			a.out.shutAck = false
		}
	}
}

// emitStop sends a repeated SHUTDOWN or SHUTDOWN ACK on an alternate.
func (a *Assoc) emitStop(now mono.Time, out *pktbuf.Batch) bool {
	if !a.out.shutdown && !a.out.shutAck {
		return false
	}
	data := a.paths.Data(now)
	var p *path.Path
	switch {
	case a.out.shutAck && a.out.back != nil && a.out.back.Confirmed() && !a.paths.Retired(a.out.back):
		p = a.out.back // where the SHUTDOWN came from (RFC 9260 section 6.4)
	case a.out.toAlt:
		p = a.paths.Alternate(now, data, false)
	}
	a.out.back = nil
	if p == nil || p == data {
		return false
	}
	b, ok := a.openPacket(p, out)
	if !ok {
		return false
	}
	a.appendShutdown(now, p, &b)
	if b.Empty() {
		return false
	}
	a.commit(now, p, b, out)
	return true
}

// handleShutdown takes a SHUTDOWN (RFC 9260 section 9.2). Its cumulative TSN acknowledges.
func (a *Assoc) handleShutdown(now mono.Time, in *inbound, c wire.Chunk) {
	cum, err := wire.ParseShutdown(c)
	if err != nil {
		a.note().Malformed++
		return
	}
	a.out.back = in.path
	switch a.state {
	case Established, ShutdownPending, ShutdownReceived:
		sc := a.scratch()
		err := a.tx.CumAck(now, cum, &sc.rtts, &sc.res)
		if a.takeAck(now, in, sc, err); a.state == Closed {
			return
		}
		if a.state == ShutdownReceived || a.state == ShutdownAckSent {
			return
		}
		if a.state == ShutdownSent { // it acknowledged the last of what our own shutdown waited for
			a.bothShutDown(now)
			return
		}
		a.move(ShutdownReceived)
		a.events.add(Event{Kind: EventPeerClosed})
		a.progressShutdown(now)
	case ShutdownSent:
		a.bothShutDown(now)
	case ShutdownAckSent:
		a.out.shutAck = true // our answer was lost
	}
}

// bothShutDown answers a SHUTDOWN that crossed our own with SHUTDOWN ACK (RFC 9260 section 9.2).
func (a *Assoc) bothShutDown(now mono.Time) {
	a.move(ShutdownAckSent)
	a.events.add(Event{Kind: EventPeerClosed})
	a.out.shutdown, a.out.shutAck = false, true
	a.startT2(now)
}

// handleShutdownAck ends the association on the side that sent SHUTDOWN.
func (a *Assoc) handleShutdownAck(now mono.Time, in *inbound, tag uint32) {
	switch a.state {
	case ShutdownSent, ShutdownAckSent:
		a.reply(replyShutdownComplete, in.from, 0, nil)
		if a.state == ShutdownSent {
			a.events.add(Event{Kind: EventPeerClosed, Answer: true})
		}
		in.stop = true
		a.end(now, nil, 0)
	case CookieWait, CookieEchoed:
		// As if out of the blue (RFC 9260 section 8.5.1 E): the peer ends an association we know no more.
		a.tagged(replyOOTBComplete, in.from, tag, 0)
		in.stop = true
	}
}

func (a *Assoc) handleShutdownComplete(now mono.Time, in *inbound, _ wire.Chunk) {
	in.stop = true
	if a.state == ShutdownAckSent {
		a.end(now, nil, 0)
	}
}

// emitAbort writes the ABORT that ends the association: on the path for data and, since nobody repeats it, on the best
// alternate as well.
func (a *Assoc) emitAbort(now mono.Time, out *pktbuf.Batch) bool {
	if a.out.abort == 0 {
		return false
	}
	p := a.paths.Data(now)
	if a.out.abort == 1 {
		p = a.paths.Alternate(now, p, true)
	} else if p == nil {
		p = a.paths.Get(0)
	}
	if p == nil {
		a.out.abort = 0
		return false
	}
	b, ok := a.openPacket(p, out)
	if !ok {
		return false
	}
	a.out.abort--
	if !b.Abort(false) {
		return false
	}
	if a.out.cause.code != 0 {
		b.CauseCut(a.out.cause.code, []byte(a.out.cause.text))
	}
	a.commit(now, p, b, out)
	return true
}
