package endpoint

import (
	"net/netip"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/wire"
)

// ootb answers a packet that belongs to no association, by the rules of RFC 9260 section 8.4. No answer is larger than
// what it answers, and there are only so many a second.
func (e *Endpoint) ootb(now mono.Time, from assoc.Arrival, h wire.Header, c wire.Chunk, it wire.ChunkIter, got int, out *pktbuf.Batch) {
	e.stats.Strays++
	if !unicast(from.Peer.Addr()) {
		return // rule 1
	}
	if h.Tag == 0 {
		return // only an INIT that stands alone has tag 0 (section 8.5.1 A)
	}
	shutdownAck := false
	for ok := true; ok; c, ok = it.Next() {
		switch c.Type {
		case wire.TypeAbort, wire.TypeShutdownComplete, wire.TypeCookieAck:
			return // rules 2, 6, 7
		case wire.TypeError:
			causes := wire.Causes(c.Value)
			for cause, ok := causes.Next(); ok; cause, ok = causes.Next() {
				if cause.Code == wire.CauseStaleCookie {
					return // rule 7
				}
			}
		case wire.TypeInit:
			return // it travels alone and with tag 0, or the packet is dropped (section 12.3)
		case wire.TypeShutdownAck:
			shutdownAck = true
		}
	}
	if !e.strays.allow(now, e.cfg.StraysPerSec) {
		e.stats.StraysLimited++
		return
	}
	e.stats.StraysAnswered++
	back := wire.Header{SrcPort: h.DstPort, DstPort: h.SrcPort, Tag: h.Tag}
	e.send(from, back, got, out, func(b *wire.Builder) bool {
		if shutdownAck {
			return b.ShutdownComplete(true) // rule 5
		}
		return b.Abort(true) // rule 8
	})
}

func unicast(a netip.Addr) bool {
	return a.IsValid() && !a.IsMulticast() && !a.IsUnspecified() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// refuse answers an INIT with an ABORT.
func (e *Endpoint) refuse(from assoc.Arrival, back wire.Header, got int, cause wire.CauseCode, value []byte, out *pktbuf.Batch) {
	e.stats.InitsRefused++
	e.send(from, back, got, out, func(b *wire.Builder) bool {
		return b.Abort(false) && (cause == 0 || b.CauseCut(cause, value))
	})
}

// maxAnswer bounds stateless answers other than INIT ACK.
const maxAnswer = 128

// send builds one stateless answer to a packet of got bytes.
func (e *Endpoint) send(to assoc.Arrival, h wire.Header, got int, out *pktbuf.Batch, build func(b *wire.Builder) bool) {
	buf := out.Open(min(maxAnswer, e.allowance(to, got)) &^ 3)
	if buf == nil {
		return
	}
	b := &e.answer // on the stack it would escape into build
	b.Open(buf, h)
	if !build(b) {
		return
	}
	out.Commit(pktbuf.Packet{Buf: b.Seal(), Socket: to.Local, Peer: to.Peer, Path: pktbuf.NoPath})
}
