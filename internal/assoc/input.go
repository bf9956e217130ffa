package assoc

import (
	"encoding/binary"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/rx"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// A packet's way in, room 3: Handle checks the verification tag, finds the path, and walks the chunks, each to its
// handler. Handlers hand values to rx, tx, path and heartbeat, and mark what must go out. Nothing is sent here.
//
//	1. Handle      tag rules (RFC 9260 section 8.5), path or candidate
//	2. chunk       by type and state
//	3. rx.Data     tracker, reassembly (the one copy), ready
//	4. packetDone  what the SACK decision makes of the whole packet

// inbound is what is known about the packet being walked.
type inbound struct {
	from Arrival
	path *path.Path // nil: no path yet (setup), or no room for a candidate
	pkt  []byte
	data int  // DATA chunks
	now  bool // the SACK must not wait: I bit (RFC 9260 section 6.2)
	dup  bool
	stop bool // the rest of the packet is not looked at
}

// Handle takes one packet whose checksum and ports the endpoint has checked.
func (a *Assoc) Handle(now mono.Time, from Arrival, pkt []byte) {
	h, err := wire.ParseHeader(pkt)
	if err != nil || a.state == Closed {
		a.stats.Discarded++
		return
	}
	in := inbound{from: from, pkt: pkt}
	it := wire.Chunks(pkt)
	c, ok := it.Next()
	if !ok {
		a.stats.Discarded++
		return
	}
	if !a.tagFits(h.Tag, c) {
		a.note().BadTag++
		return
	}
	a.arrived(now, &in)
	if a.state == CookieEchoed && c.Type != wire.TypeCookieAck && c.Type != wire.TypeInitAck && c.Type != wire.TypeAbort && c.Type != wire.TypeError {
		a.echoAgain(now)
	}
	if c.Type == wire.TypeInitAck {
		a.handleInitAck(now, from, h.Tag, c)
		return
	}
	a.walk(now, &in, it, c)
}

// tagFits applies the verification tag rules of RFC 9260 section 8.5.1.
func (a *Assoc) tagFits(tag uint32, first wire.Chunk) bool {
	reflected := first.Flags&1 != 0 && (first.Type == wire.TypeAbort || first.Type == wire.TypeShutdownComplete)
	switch {
	case reflected:
		return tag == a.peerTag && a.peerTag != 0
	case a.state == CookieWait && a.setup != nil:
		return tag != 0 && (tag == a.setup.full.tag || tag == a.setup.plain.tag)
	}
	return tag == a.myTag
}

// arrived accounts the packet to its path, or makes a candidate of an unknown source (a source address is not identity:
// the tag is).
func (a *Assoc) arrived(now mono.Time, in *inbound) {
	a.stats.PacketsReceived++
	p := a.paths.Find(in.from.Local, in.from.Peer)
	if p == nil && a.state != CookieWait && in.from.Local < len(a.local) {
		p = a.candidate(now, in.from)
	}
	if p == nil {
		if a.setup != nil {
			pair := locator.Pair{Local: a.local[in.from.Local], Peer: locator.FromAddrPort(in.from.Peer)}
			tr := a.traffic(pair)
			tr.PacketsReceived++
			tr.BytesReceived += uint64(len(in.pkt))
		}
		return
	}
	p.Traffic.PacketsReceived++
	p.Traffic.BytesReceived += uint64(len(in.pkt))
	in.path = p
	if a.state == ShutdownSent && a.cfg.NoProbeTimeout { // RFC 9260 section 9.2
		a.errors = 0
		if !a.out.waited {
			// Once for each SHUTDOWN: a peer that has not got it and sends heartbeats would hold it back for ever.
			a.out.waited = true
			a.startT2(now)
		}
	}
}

// walk hands the chunks of a packet to their handlers, c first.
func (a *Assoc) walk(now mono.Time, in *inbound, it wire.ChunkIter, c wire.Chunk) {
	for ok := true; ok && !in.stop && a.state != Closed; c, ok = it.Next() {
		a.chunk(now, in, c)
	}
	if it.Err() != nil {
		a.note().Malformed++
	}
	if in.data > 0 && a.state != Closed {
		a.packetDone(now, in)
	}
	if a.cfg.Check {
		a.check()
	}
}

func (a *Assoc) chunk(now mono.Time, in *inbound, c wire.Chunk) {
	switch c.Type {
	case wire.TypeData:
		a.handleData(now, in, c)
	case wire.TypeSack:
		a.handleSack(now, in, c)
	case wire.TypeHeartbeat:
		a.handleHeartbeat(in, c)
	case wire.TypeHeartbeatAck:
		a.handleHeartbeatAck(now, in, c)
	case wire.TypeAbort:
		if !a.believes(in, c) {
			return
		}
		a.handleAbort(now, in, c)
	case wire.TypeError:
		a.handleError(now, in, c)
	case wire.TypeCookieAck:
		a.handleCookieAck(now, in)
	case wire.TypeShutdown:
		a.handleShutdown(now, in, c)
	case wire.TypeShutdownAck:
		h, _ := wire.ParseHeader(in.pkt)
		a.handleShutdownAck(now, in, h.Tag)
	case wire.TypeShutdownComplete:
		if !a.believes(in, c) {
			return
		}
		a.handleShutdownComplete(now, in, c)
	case wire.TypeIData:
		if !a.interleaving() {
			a.unknownChunk(in, c)
			return
		}
		a.handleData(now, in, c)
	case wire.TypeForwardTSN, wire.TypeIForwardTSN:
		a.handleForward(now, in, c)
	case wire.TypeReconfig:
		a.handleReconf(now, c)
	case wire.TypeCookieEcho, wire.TypePad:
		// A COOKIE ECHO behind another chunk is the endpoint's to have seen first; padding says nothing (RFC 4820).
	case wire.TypeInit, wire.TypeInitAck:
		// Must stand alone (RFC 9260 section 6.10); the endpoint answers INIT, and an INIT ACK bundled is dropped with
		// what follows.
		a.stats.Discarded++
		in.stop = true
	default:
		a.unknownChunk(in, c)
	}
}

// believes holds the T bit of an ABORT or SHUTDOWN COMPLETE behind other chunks against the packet's tag, as tagFits does for
// the first chunk (RFC 9260 section 8.5.1 B, C). False: the packet ends here.
func (a *Assoc) believes(in *inbound, c wire.Chunk) bool {
	h, _ := wire.ParseHeader(in.pkt)
	if a.tagFits(h.Tag, c) {
		return true
	}
	a.note().BadTag++
	in.stop = true
	return false
}

// unknownChunk does what the two highest type bits say (RFC 9260 section 3.2). Chunks of extensions that were not
// negotiated are unknown.
func (a *Assoc) unknownChunk(in *inbound, c wire.Chunk) {
	stop, report := c.Type.Unknown()
	a.note().UnknownChunks++
	in.stop = stop
	if report && a.state >= CookieEchoed {
		raw := c.Raw
		if most := a.cfg.Payload - 32; len(raw) > most {
			raw = raw[:most]
		}
		a.reply(replyError, in.from, wire.CauseUnrecognizedChunk, raw)
	}
}

// handleData takes one DATA chunk (RFC 9260 section 6.2).
func (a *Assoc) handleData(now mono.Time, in *inbound, c wire.Chunk) {
	if !a.state.in(mayReceive) {
		a.stats.Discarded++
		in.stop = a.state == CookieWait || a.state == CookieEchoed
		return
	}
	var d wire.Data
	if err := wire.ParseData(c, &d); err != nil {
		if err == wire.ErrNoUserData {
			// RFC 9260 section 6.2: an empty DATA chunk ends the association.
			var v [4]byte
			binary.BigEndian.PutUint32(v[:], uint32(d.TSN))
			a.abortWith(now, KindViolation, wire.CauseNoUserData, string(v[:]), "DATA without user data")
			return
		}
		a.note().Malformed++
		return
	}
	in.data++
	in.now = in.now || d.Immediate
	switch a.rx.Data(now, &d) {
	case rx.Duplicate:
		in.dup = true
	case rx.BadStream:
		var v [4]byte
		binary.BigEndian.PutUint16(v[:], d.SID)
		a.reply(replyError, in.from, wire.CauseInvalidStream, v[:])
	case rx.BadChunk:
		a.abortWith(now, KindViolation, wire.CauseProtocolViolation, "inconsistent fragment", "fragments of a message contradict each other")
	}
}

// packetDone lets the SACK decision be made once per packet, and notes where the SACK should go: back on the path it
// acknowledges, or on an alternate while duplicates arrive.
func (a *Assoc) packetDone(now mono.Time, in *inbound) {
	a.rx.PacketDone(now, in.now || !a.prompted)
	a.busy, a.prompted = true, true
	a.resumeReset()
	if in.path != nil {
		a.sackFrom = in.path.ID
	}
	a.sack.note(in.dup, a.sackFrom)
	if a.state == ShutdownSent {
		// RFC 9260 section 9.2: answered at once with a SHUTDOWN, and T2 starts again.
		a.out.shutdown = true
		a.rx.SackNeeded()
		a.errors = 0
		a.startT2(now)
	}
}

// handleError takes an ERROR chunk (RFC 9260 section 3.3.10).
func (a *Assoc) handleError(now mono.Time, in *inbound, c wire.Chunk) {
	it := wire.Causes(c.Value)
	for cause, ok := it.Next(); ok; cause, ok = it.Next() {
		if cause.Code == wire.CauseStaleCookie && a.state == CookieEchoed {
			a.staleCookie(now)
			in.stop = true
			return
		}
		if cause.Code == wire.CauseStaleCookie { // RFC 9260 section 5.2.6: only COOKIE-ECHOED minds
			a.stats.Discarded++
			continue
		}
		a.note().RemoteErrors++
		a.events.add(Event{Kind: EventRemoteError, Cause: cause.Code, Path: pathName(in.path),
			Info: append([]byte(nil), cause.Value...)})
	}
}

// handleAbort takes an ABORT whose tag fits. One with the T bit is the answer of somebody who does not know the
// association, reflected to us: on a pair that was never confirmed it says that the peer does not know this source, and
// ends that pair alone.
func (a *Assoc) handleAbort(now mono.Time, in *inbound, c wire.Chunk) {
	in.stop = true
	var code wire.CauseCode
	var info []byte
	text := ""
	it := wire.Causes(c.Value)
	for cause, ok := it.Next(); ok; cause, ok = it.Next() {
		if code != 0 {
			continue
		}
		code = cause.Code
		info = append(info, cause.Value...)
		if code == wire.CauseUserAbort || code == wire.CauseProtocolViolation {
			text = printable(cause.Value)
		}
	}
	if it.Err() != nil {
		a.note().Malformed++ // RFC 9260 section 3.3.7: an ABORT with a format error is dropped
		return
	}
	if a.state == CookieWait {
		answer := "ABORT"
		if code != 0 {
			answer += " " + code.String()
		}
		a.settleTarget(now, in.from.Peer, answer)
		return
	}
	p := in.path
	if c.Flags&1 != 0 && a.state == ShutdownAckSent {
		// The peer has forgotten the association, so its SHUTDOWN COMPLETE was lost on the way: the end was in order.
		a.end(now, nil, 0)
		return
	}
	if c.Flags&1 != 0 && a.state != CookieEchoed {
		if p == nil {
			return
		}
		if !p.Confirmed() {
			a.note().ReflectedAborts++
			a.retire(now, p, "the peer does not know this pair: its ABORT reflected our tag")
			return
		}
	}
	if text != "" {
		text = ": " + text
	}
	f := failure(KindAborted, code, "on path "+pathName(p).Pair.String()+text)
	f.Info = info
	a.fail(now, f)
}

// printable keeps what a person can read of a cause's text, in bounds.
func printable(b []byte) string {
	if len(b) > 128 {
		b = b[:128]
	}
	out := make([]byte, 0, len(b))
	for _, c := range b {
		if c >= 0x20 && c < 0x7f {
			out = append(out, c)
		}
	}
	return string(out)
}

func pathName(p *path.Path) locator.Path {
	if p == nil {
		return locator.Path{}
	}
	return p.Name()
}
