package assoc

import (
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/wire"
)

// reply is a control chunk that goes back to where something came from, path or not.
type reply struct {
	kind  replyKind
	to    Arrival
	cause wire.CauseCode
	data  []byte // its memory is used again
}

type replyKind uint8

const (
	replyHeartbeatAck replyKind = iota
	replyCookieAck
	replyError
	replyShutdownAck
	replyShutdownComplete
	replyInitAbort    // tag in data
	replyReflected    // an ABORT with the T bit; tag in data
	replyOOTBComplete // a SHUTDOWN COMPLETE with the T bit; tag in data
)

// maxReplies bounds what one batch of packets can make us answer. More is dropped and counted: the peer repeats what
// matters.
const maxReplies = 32

// outbox holds control chunks that wait for the next Transmit.
type outbox struct {
	replies  []reply
	cause    *abortCause // of the ABORT
	back     *path.Path  // the SHUTDOWN came by this path: the first SHUTDOWN ACK goes there
	abort    uint8       // packets with the ABORT that are due: the last ones
	shutdown bool        // a SHUTDOWN chunk is due
	shutAck  bool        // a SHUTDOWN ACK chunk is due
	toAlt    bool        // the next SHUTDOWN or SHUTDOWN ACK goes to an alternate
	waited   bool        // a packet of the peer has begun the wait for its SHUTDOWN ACK anew, see arrived
}

// abortCause is what the ABORT says.
type abortCause struct {
	code wire.CauseCode
	text string
}

func (a *Assoc) reply(kind replyKind, to Arrival, cause wire.CauseCode, data []byte) {
	o := &a.out
	n := len(o.replies)
	if n == maxReplies {
		a.note().RepliesDropped++
		return
	}
	if n < cap(o.replies) {
		o.replies = o.replies[:n+1]
	} else {
		o.replies = append(o.replies, reply{})
	}
	r := &o.replies[n]
	r.kind, r.to, r.cause = kind, to, cause
	r.data = append(r.data[:0], data...)
}

func (a *Assoc) initAbort(to Arrival, tag uint32, cause wire.CauseCode) {
	a.tagged(replyInitAbort, to, tag, cause)
}

// tagged queues a packet that carries another tag than the peer's.
func (a *Assoc) tagged(kind replyKind, to Arrival, tag uint32, cause wire.CauseCode) {
	a.reply(kind, to, cause, []byte{byte(tag >> 24), byte(tag >> 16), byte(tag >> 8), byte(tag)})
}

// replySize is the room a reply needs in a packet, with the header of an error cause.
func replySize(r *reply) int {
	const header = wire.HeaderLen + 2*wire.ChunkHeaderLen
	return min(header+wire.Pad4(len(r.data)), wire.MaxPacket)
}

// emitReplies writes one packet with all leading replies that go to the same place.
func (a *Assoc) emitReplies(now mono.Time, out *pktbuf.Batch) bool {
	rs := a.out.replies
	if len(rs) == 0 {
		return false
	}
	to := rs[0].to
	buf := out.Open(max(a.cfg.Payload, replySize(&rs[0])))
	if buf == nil {
		return false
	}
	h := a.header()
	if rs[0].kind == replyInitAbort || rs[0].kind == replyReflected || rs[0].kind == replyOOTBComplete {
		d := rs[0].data
		h.Tag = uint32(d[0])<<24 | uint32(d[1])<<16 | uint32(d[2])<<8 | uint32(d[3])
	}
	p := a.paths.Find(to.Local, to.Peer)
	var b wire.Builder
	b.Open(buf, h)
	n := 0
	for n < len(rs) && rs[n].to == to {
		r := &rs[n]
		alone := r.kind >= replyShutdownComplete
		if (alone && n > 0) || !appendReply(&b, r) {
			break
		}
		n++
		if r.kind == replyCookieAck && p != nil && !p.Confirmed() {
			// A pair the handshake did not run on is asked at once (RFC 9260 section 5.4, rule 3).
			a.appendHeartbeat(now, p, &b)
		}
		if alone {
			break
		}
	}
	if n == 0 { // one that fits no packet at all
		n = 1
	}
	a.shiftReplies(n)
	if b.Empty() {
		return true
	}
	pkt := b.Seal()
	id := uint8(pktbuf.NoPath)
	if p != nil {
		id = uint8(p.ID)
		p.Traffic.PacketsSent++
		p.Traffic.BytesSent += uint64(len(pkt))
	}
	out.Commit(pktbuf.Packet{Buf: pkt, Socket: to.Local, Peer: to.Peer, Path: id, NoDF: len(pkt) > a.cfg.Payload})
	return true
}

// shiftReplies drops the first n replies but keeps their memory.
func (a *Assoc) shiftReplies(n int) {
	rs := a.out.replies
	for i := n; i < len(rs); i++ {
		rs[i-n], rs[i] = rs[i], rs[i-n]
	}
	a.out.replies = rs[:len(rs)-n]
	if len(a.out.replies) == 0 && (cap(a.out.replies) > 4 || a.tx.Done()) {
		a.out.replies = nil // nor kept for an idle association
	}
}

func appendReply(b *wire.Builder, r *reply) bool {
	switch r.kind {
	case replyHeartbeatAck:
		return b.HeartbeatAck(r.data)
	case replyCookieAck:
		return b.CookieAck()
	case replyShutdownAck:
		return b.ShutdownAck()
	case replyShutdownComplete:
		return b.ShutdownComplete(false)
	case replyInitAbort:
		if !b.Abort(false) {
			return false
		}
		if r.cause == wire.CauseMissingParam {
			return b.MissingParams(wire.ParamStateCookie)
		}
		b.Cause(r.cause, nil)
		return true
	case replyReflected:
		return b.Abort(true)
	case replyOOTBComplete:
		return b.ShutdownComplete(true)
	}
	m := b.Mark()
	if !b.Error() {
		return false
	}
	if !b.Cause(r.cause, r.data) {
		b.Abandon(m)
		return false
	}
	return true
}
