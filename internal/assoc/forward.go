package assoc

import (
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/rx"
	"github.com/go-multihome/multihome/internal/wire"
)

// partial reports whether both sides know partial reliability (RFC 3758 section 3.3).
func (a *Assoc) partial() bool { return !a.cfg.NoPartial && a.peer.ForwardTSN }

// interleaving reports whether messages travel in I-DATA (RFC 8260 section 2.2.1).
func (a *Assoc) interleaving() bool { return a.cfg.Interleaving && a.peer.Interleaving }

// emitForward writes a FORWARD-TSN when chunks at the cumulative TSN were given up, at once and then once per RTO until the
// peer has followed (RFC 3758 section 3.5 C3 to C5).
func (a *Assoc) emitForward(now mono.Time, out *pktbuf.Batch) bool {
	if !a.tx.Forward() {
		a.forwardDue = false
		a.timers.Stop(timerForward)
		return false
	}
	if _, armed := a.timers.At(timerForward); armed && !a.forwardDue || !a.state.in(maySend) {
		return false
	}
	p := a.paths.Data(now)
	if p == nil {
		return false
	}
	b, ok := a.openPacket(p, out)
	if !ok || !a.tx.AppendForward(&b) {
		return false
	}
	a.forwardDue = false
	a.setTimer(timerForward, now.Add(p.RTO.RTO()))
	a.commit(now, p, b, out)
	return true
}

// handleForward takes a FORWARD-TSN or I-FORWARD-TSN (RFC 3758 section 3.6).
func (a *Assoc) handleForward(now mono.Time, in *inbound, c wire.Chunk) {
	if !a.partial() || (c.Type == wire.TypeIForwardTSN) != a.interleaving() {
		a.unknownChunk(in, c)
		return
	}
	if !a.state.in(mayReceive) {
		a.stats.Discarded++
		return
	}
	f, err := wire.ParseForwardTSN(c)
	if err != nil {
		a.note().Malformed++
		return
	}
	in.data++ // it is answered like DATA
	switch a.rx.ForwardTSN(now, &f) {
	case rx.Duplicate:
		in.dup = true
	case rx.BadChunk:
		a.abortWith(now, KindViolation, wire.CauseProtocolViolation, "FORWARD-TSN", "FORWARD-TSN that contradicts what was sent")
	}
}
