package assoc

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// Heartbeat Info is ours to shape (RFC 9260 section 3.3.5): the 64-bit nonce that confirms, and the path it was sent on as
// a hint where to look it up. The sending time stays here; the peer is not asked what time it was.
const infoLen = 12

// confirming counts heartbeats to unconfirmed pairs: at most HB.Max.Burst per RTO (RFC 9260 section 5.4 rule 4).
type confirming struct {
	since mono.Time
	sent  int
	named int // of these, to locators that only the peer named
}

// moving is the question whether the peer's UDP port changed.
type moving struct {
	path  *path.Path
	to    Arrival
	nonce uint64
	sent  mono.Time
}

// mayProbe: states in which heartbeats leave (RFC 9260 section 8.3).
const mayProbe = 1<<Established | 1<<ShutdownPending | 1<<ShutdownSent | 1<<ShutdownReceived

// confirmWindow is the time HB.Max.Burst counts over.
func (a *Assoc) confirmWindow() time.Duration { return a.cfg.RTO.Initial }

// mayConfirm reports whether an unconfirmed path may be asked now, and from when on it may otherwise.
func (a *Assoc) mayConfirm(now mono.Time, p *path.Path) (ok bool, from mono.Time) {
	c := &a.ident.confirm
	if c.since == 0 || now.Sub(c.since) >= a.confirmWindow() {
		return true, 0
	}
	if c.sent >= a.cfg.ConfirmBurst || (!p.Dialled && c.named >= 1) {
		return false, c.since.Add(a.confirmWindow())
	}
	return true, 0
}

func (a *Assoc) noteConfirm(now mono.Time, p *path.Path) {
	c := &a.ident.confirm
	if c.since == 0 || now.Sub(c.since) >= a.confirmWindow() {
		*c = confirming{since: now}
	}
	c.sent++
	if !p.Dialled {
		c.named++
	}
}

// heartbeatDue reports whether a heartbeat goes out on p now.
func (a *Assoc) heartbeatDue(now mono.Time, p *path.Path) bool {
	if a.paths.Retired(p) || !p.Mon.Due(now.Std()) {
		return false
	}
	if p.Confirmed() {
		return true
	}
	ok, _ := a.mayConfirm(now, p)
	return ok
}

// emitHeartbeats writes at most one packet with a heartbeat.
func (a *Assoc) emitHeartbeats(now mono.Time, out *pktbuf.Batch) bool {
	if !a.state.in(mayProbe) {
		return false
	}
	if m := a.ident.moving; m != nil && m.sent == 0 {
		return a.emitMoving(now, m, out)
	}
	for _, p := range a.paths.All() {
		if !a.heartbeatDue(now, p) {
			continue
		}
		b, ok := a.openPacket(p, out)
		if !ok {
			return false
		}
		if a.tx.Done() {
			// No data for a round of heartbeats: an idle association holds little.
			if a.rests++; int(a.rests) > len(a.paths.All()) {
				a.tx.Trim()
				a.rx.Trim()
				a.rests = 0
			}
		}
		if a.appendHeartbeat(now, p, &b) {
			a.commit(now, p, b, out)
			return true
		}
	}
	return false
}

// appendHeartbeat adds a HEARTBEAT for the path to the packet and registers its nonce.
func (a *Assoc) appendHeartbeat(now mono.Time, p *path.Path, b *wire.Builder) bool {
	nonce := a.cfg.Random()
	var info [infoLen]byte
	binary.BigEndian.PutUint64(info[:], nonce)
	info[8] = byte(p.ID)
	if !b.Heartbeat(info[:]) {
		return false
	}
	if !p.Confirmed() {
		a.noteConfirm(now, p)
	}
	p.Mon.Sent(now.Std(), nonce, p.Mon.Purpose(), p.Pace(), a.randFloat())
	p.Traffic.HeartbeatsSent++
	return true
}

// maxEcho bounds the Heartbeat Info that is echoed: a peer may search for larger packets with large heartbeats.
const maxEcho = 9000

// handleHeartbeat echoes the information back to where it came from (RFC 9260 section 8.3). Without any there is nothing to
// echo, and a HEARTBEAT ACK must not lack it (section 3.3.6): pion/sctp sends such HEARTBEATs, and others end associations
// when they get one.
func (a *Assoc) handleHeartbeat(in *inbound, c wire.Chunk) {
	if len(c.Value) < wire.ParamHeaderLen {
		a.note().Malformed++
		return
	}
	if a.state < CookieEchoed || len(c.Value) > maxEcho {
		a.stats.Discarded++
		return
	}
	a.reply(replyHeartbeatAck, in.from, 0, c.Value)
}

// handleHeartbeatAck believes nothing but the nonce: it confirms the pair the nonce was sent on, whichever pair the answer
// took.
func (a *Assoc) handleHeartbeatAck(now mono.Time, in *inbound, c wire.Chunk) {
	info, err := wire.ParseHeartbeat(c)
	if err != nil || len(info) < infoLen {
		a.stats.Discarded++
		return
	}
	if info[9] == sizeMark {
		a.sizeAnswered(now, info)
		return
	}
	nonce := binary.BigEndian.Uint64(info)
	if m := a.ident.moving; m != nil && m.sent != 0 && m.nonce == nonce {
		a.moved(now, m)
		return
	}
	p := a.paths.Get(locator.PathID(info[8]))
	if p == nil || a.paths.Retired(p) {
		a.stats.Discarded++
		return
	}
	rtt, v, ok := p.Mon.Ack(now.Std(), nonce)
	if !ok {
		a.stats.Discarded++
		return
	}
	p.Traffic.HeartbeatsAcked++
	p.RTO.SampleAt(now, rtt)
	a.errors = 0
	a.answered(now, p)
	a.cleared(now, p)
	a.faultOver(now, p)
	a.verdict(now, p, v)
	if p.State() != heartbeat.Active {
		a.paths.Touch() // it answers: of several paths in doubt the better one
	}
}

// candidate notes an unknown source that sent a valid packet. A known address with another UDP port is asked whether the
// port changed; an unknown address becomes an unconfirmed path while there is room.
func (a *Assoc) candidate(now mono.Time, from Arrival) *path.Path {
	if p := a.paths.FindMoved(from.Local, from.Peer); p != nil {
		if m := a.ident.moving; m == nil || now.Sub(m.sent) > p.RTO.RTO() {
			a.ident.moving = &moving{path: p, to: from}
		}
		return nil
	}
	if a.paths.Len() >= a.cfg.MaxPaths || a.peer.Plain && from.Local != a.paths.Get(0).Socket() {
		a.note().NoRoomForPath++
		return nil
	}
	p := a.addPath(now, locator.Pair{Local: a.local[from.Local], Peer: locator.FromAddrPort(from.Peer)}, from.Local, false)
	return p
}

func (a *Assoc) emitMoving(now mono.Time, m *moving, out *pktbuf.Batch) bool {
	buf := out.Open(a.cfg.Payload)
	if buf == nil {
		return false
	}
	m.nonce, m.sent = a.cfg.Random(), now
	var info [infoLen]byte
	binary.BigEndian.PutUint64(info[:], m.nonce)
	info[8] = 0xff
	var b wire.Builder
	b.Open(buf, a.header())
	b.Heartbeat(info[:])
	out.Commit(pktbuf.Packet{Buf: b.Seal(), Socket: m.to.Local, Peer: m.to.Peer, Path: pktbuf.NoPath})
	return true
}

// moved takes the peer's new UDP port into use: it answered there.
func (a *Assoc) moved(now mono.Time, m *moving) {
	a.ident.moving = nil
	from := m.path.Dest()
	a.paths.Move(m.path, m.to.Peer)
	a.identChanged()
	a.note().PortChanges++
	a.events.add(Event{Kind: EventPath, Path: m.path.Name(), From: m.path.State(), To: m.path.State(),
		Reason: "the peer's UDP port changed from " + portText(from) + " to " + portText(m.to.Peer)})
}

func portText(ap netip.AddrPort) string { return ap.String() }
