package endpoint

import (
	"net/netip"
	"slices"
	"time"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

// Result is what came of a stray packet.
type Result struct {
	Entry  *Entry        // set: hand the packet to its association's HandleCookie, with Cookie
	Born   bool          // the association is new: the caller must take it into its care
	Cookie *assoc.Cookie // valid, opened
}

// Stray takes a packet that Lookup did not find an association for. Answers go to out.
func (e *Endpoint) Stray(now mono.Time, from assoc.Arrival, pkt []byte, out *pktbuf.Batch) Result {
	h, err := wire.ParseHeader(pkt)
	if err != nil {
		return Result{}
	}
	it := wire.Chunks(pkt)
	c, ok := it.Next()
	if !ok {
		return Result{}
	}
	switch c.Type {
	case wire.TypeInit:
		if _, more := it.Next(); h.Tag == 0 && !more {
			e.init(now, from, h, c, len(pkt), out)
		}
		return Result{}
	case wire.TypeCookieEcho:
		return e.cookieEcho(now, from, h, c, len(pkt), out)
	}
	if ent := e.at(addrKey{from.Peer, h.SrcPort, h.DstPort}); ent != nil && (c.Type != wire.TypeShutdownAck || ent.state >= assoc.Established) {
		// The association is known and the tag is wrong: dropped (RFC 9260 section 8.5), but for a SHUTDOWN ACK during
		// setup, which is answered as out of the blue (section 8.5.1 E).
		e.stats.BadTags++
		return Result{}
	}
	e.ootb(now, from, h, c, it, len(pkt), out)
	return Result{}
}

// ipOverhead is what IP and UDP headers add to a packet: answers are measured in IP bytes.
func ipOverhead(peer netip.AddrPort) int {
	if peer.Addr().Is4() {
		return 28
	}
	return 48
}

// allowance is how large an answer to a source that has proved nothing may be, without IP and UDP headers.
func (e *Endpoint) allowance(from assoc.Arrival, got int) int {
	n := ipOverhead(from.Peer)
	factor := 3
	if e.cfg.StrictAnswers {
		factor = 1
	}
	return min(factor*(n+got)-n, e.cfg.Assoc.Payload)
}

// init answers an INIT (RFC 9260 sections 5.1 B, 5.2.1, 5.2.2) and forgets it: everything is in the cookie.
func (e *Endpoint) init(now mono.Time, from assoc.Arrival, h wire.Header, c wire.Chunk, got int, out *pktbuf.Batch) {
	e.stats.Inits++
	if !e.inits.allow(now, from.Peer.Addr(), e.cfg.InitsPerSec, e.cfg.Assoc.Random) {
		e.stats.InitsLimited++
		return
	}
	in, err := wire.ParseInit(c)
	if err != nil || in.Tag == 0 || from.Local >= len(e.cfg.Local) {
		return // a zero tag is to be dropped silently (RFC 9260 section 3.3.2)
	}
	ent := e.sureAt(addrKey{from.Peer, h.SrcPort, h.DstPort})
	back := wire.Header{SrcPort: h.DstPort, DstPort: h.SrcPort, Tag: in.Tag}
	if ent == nil && e.listeners[h.DstPort] == nil {
		e.refuse(from, back, got, 0, nil, out)
		return
	}
	if in.OutStreams == 0 || in.InStreams == 0 || in.ARwnd < assoc.MinWindow {
		e.refuse(from, back, got, wire.CauseInvalidParam, nil, out) // RFC 9260 section 3.3.2
		return
	}
	var sp wire.SetupParams
	sp.MaxAddrs = e.cfg.Assoc.MaxPeerAddrs
	if err := wire.ReadInitParams(in.Params, &sp); err != nil {
		e.refuse(from, back, got, wire.CauseProtocolViolation, []byte(err.Error()), out)
		return
	}
	if sp.HostName {
		e.refuse(from, back, got, wire.CauseUnresolvableAddr, sp.HostNameRaw, out)
		return
	}
	ck := assoc.Cookie{Created: now, Life: e.life(sp.CookiePreservative), SrcPort: h.DstPort, DstPort: h.SrcPort, PeerTag: in.Tag,
		PeerTSN: in.TSN, From: from, Peer: assoc.PeerOf(&in, &sp), Addrs: sp.Addrs}
	if ent == nil {
		ent = e.restarted(from, &ck)
	}
	if ent != nil && !e.initFor(ent, from, back, got, &ck, out) {
		return
	}
	if ck.MyTag == 0 {
		ck.MyTag, ck.MyTSN = e.newTag(), serial.TSN(e.cfg.Assoc.Random())
	}
	e.initAck(now, from, back, &ck, &sp, got, out)
}

// life is the cookie's: ours, stretched by what the peer wishes within reason (RFC 9260 section 5.2.6).
func (e *Endpoint) life(preserveMS uint32) time.Duration {
	d := e.cfg.Assoc.CookieLife
	return min(d+min(time.Duration(preserveMS)*time.Millisecond, d), e.cfg.SecretLife)
}

// restarted finds the association that an INIT from an unknown source belongs to by the addresses it lists
// (RFC 9260 section 5.1.2 D). One that is still being set up is found by the source alone: there both dialled at once.
func (e *Endpoint) restarted(from assoc.Arrival, ck *assoc.Cookie) *Entry {
	for _, a := range ck.Addrs {
		ent := e.sureAt(addrKey{netip.AddrPortFrom(a, from.Peer.Port()), ck.DstPort, ck.SrcPort})
		if ent != nil && ent.state >= assoc.Established {
			return ent
		}
	}
	return nil
}

// initFor prepares the answer to an INIT for an association that exists. False: answered otherwise.
func (e *Endpoint) initFor(ent *Entry, from assoc.Arrival, back wire.Header, got int, ck *assoc.Cookie, out *pktbuf.Batch) bool {
	switch ent.state {
	case assoc.CookieWait, assoc.CookieEchoed:
		if ent.forming != nil && e.formsOtherwise(ent.forming, from, back, got, ck, out) {
			return false
		}
		// Both dialled at once: our tag and TSN stay what they are (RFC 9260 section 5.2.1).
		ck.MyTag, ck.MyTSN = ent.initTag, serial.TSN(ent.initTSN)
		return true
	case assoc.ShutdownAckSent:
		// The peer lost our SHUTDOWN ACK and wants to begin anew (RFC 9260 section 9.2).
		e.send(from, wire.Header{SrcPort: back.SrcPort, DstPort: back.DstPort, Tag: ent.peerTag}, got, out, func(b *wire.Builder) bool { return b.ShutdownAck() })
		return false
	}
	// Perhaps the peer restarted: it must not bring new addresses with it (RFC 9260 section 5.2.2). An INIT with the tag in use
	// is no restart but a late copy of the one that made the association, by the way of another locator; there may be no path
	// here to all that it lists, and an ABORT with that tag would end the association.
	if added := e.added(ent, from, ck); len(added) > 0 && ck.PeerTag != ent.peerTag {
		e.refuse(from, back, got, wire.CauseRestartWithNewAddrs, added, out)
		return false
	}
	ck.TieMy, ck.TiePeer = ent.myTag, ent.peerTag
	return true
}

// formsOtherwise drops an INIT that names addresses which the association being formed in COOKIE-ECHOED has not, and tells
// with an ABORT (RFC 9260 section 5.2.1). It is silent where the peer may have left them out of its INIT ACK for the sake of
// its size: the COOKIE ECHO on its way makes one association of both dials then, and an ABORT would end the peer's.
func (e *Endpoint) formsOtherwise(f *assoc.Forming, from assoc.Arrival, back wire.Header, got int, ck *assoc.Cookie, out *pktbuf.Batch) bool {
	const options = 32 // what else is left out of an INIT ACK before addresses are
	var added []byte
	for _, a := range ck.Addrs {
		if p := addrParam(a); !slices.Contains(f.Addrs, a) && len(added)+len(p) <= mostAdded {
			added = append(added, p...)
		}
	}
	if len(added) == 0 {
		return false
	}
	if len(added)+options > f.Spare {
		e.stats.InitsRefused++
		return true
	}
	e.refuse(from, back, got, wire.CauseRestartWithNewAddrs, added, out)
	return true
}

// mostAdded is how many bytes of address parameters an ABORT names.
const mostAdded = maxAnswer - wire.HeaderLen - 2*wire.ChunkHeaderLen

// added returns the addresses of an INIT that its association does not know, as parameters: as many as an answer holds.
func (e *Endpoint) added(ent *Entry, from assoc.Arrival, ck *assoc.Cookie) (params []byte) {
	for i := -1; i < len(ck.Addrs); i++ {
		a := from.Peer.Addr().WithZone("")
		if i >= 0 {
			if ck.Addrs[i] == a {
				continue
			}
			a = ck.Addrs[i]
		}
		if i < 0 && e.at(addrKey{from.Peer, ck.DstPort, ck.SrcPort}) == ent ||
			i >= 0 && e.at(addrKey{netip.AddrPortFrom(a, from.Peer.Port()), ck.DstPort, ck.SrcPort}) == ent {
			continue
		}
		if p := addrParam(a); len(params)+len(p) <= mostAdded {
			params = append(params, p...)
		}
	}
	return params
}

// addrParam is the address as a parameter, for the cause that names it.
func addrParam(a netip.Addr) []byte {
	t := byte(wire.ParamIPv4)
	if a.Is6() {
		t = byte(wire.ParamIPv6)
	}
	v := a.AsSlice()
	return append([]byte{0, t, 0, byte(4 + len(v))}, v...)
}

// initAck builds the answer within the allowance: first all of it, then without options.
func (e *Endpoint) initAck(now mono.Time, from assoc.Arrival, back wire.Header, ck *assoc.Cookie, sp *wire.SetupParams, got int, out *pktbuf.Batch) {
	e.secrets.rotate(now, e.cfg.SecretLife, e.cfg.Assoc.Random)
	most := e.allowance(from, got)
	listed := e.listed(from, sp)
	for level := range 4 {
		l := listed
		switch level {
		case 1: // without unrecognized parameters and extensions
		case 2:
			l = nil
		case 3:
			ck.Addrs = nil
			l = nil
		}
		ck.Told = 1 << from.Local
		for _, i := range l {
			ck.Told |= 1 << i
		}
		buf := out.Open(most &^ 3)
		if most < wire.HeaderLen || buf == nil {
			break
		}
		var b wire.Builder
		b.Open(buf, back)
		if !e.buildInitAck(&b, ck, sp, l, level == 0) {
			continue
		}
		if level > 0 {
			e.stats.AnswersTrimmed++
		}
		out.Commit(pktbuf.Packet{Buf: b.Seal(), Socket: from.Local, Peer: from.Peer, Path: pktbuf.NoPath})
		return
	}
	e.stats.AnswersTooLarge++
}

// listed returns the indices of the locators to name to the peer.
func (e *Endpoint) listed(from assoc.Arrival, sp *wire.SetupParams) []int {
	if e.cfg.NoListing || len(e.cfg.Local) < 2 {
		return nil
	}
	var idx []int
	for _, l := range listable(e.cfg.Local, from.Peer.Addr()) {
		if l.Addr.Is4() && !sp.SupportedV4 || l.Addr.Is6() && !sp.SupportedV6 {
			continue
		}
		for i, x := range e.cfg.Local {
			if x == l {
				idx = append(idx, i)
			}
		}
	}
	return idx
}

func (e *Endpoint) buildInitAck(b *wire.Builder, ck *assoc.Cookie, sp *wire.SetupParams, listed []int, options bool) bool {
	c := &e.cfg.Assoc
	ok := b.Init(wire.TypeInitAck, &wire.Init{Tag: ck.MyTag, ARwnd: uint32(max(c.Window, 1500)), OutStreams: min(uint16(c.OutStreams), ck.Peer.InStreams), // section 3.3.3: never more than the INIT allows
		InStreams: uint16(c.InStreams), TSN: ck.MyTSN})
	var sealed [maxCookie]byte
	ok = ok && b.CookieParam(e.secrets.seal(sealed[:0], ck))
	for _, i := range listed {
		ok = ok && b.AddrParam(e.cfg.Local[i].Addr)
	}
	if options {
		ok = ok && b.SupportedExt(c.Extensions()...)
		ok = ok && (!c.Adapt || b.Adaptation(c.Adaptation))
		if !c.NoPartial && sp.CanForwardTSN() {
			ok = ok && b.ForwardTSNParam()
		}
		for _, raw := range sp.Unrecognized {
			ok = ok && b.UnrecognizedParam(raw)
		}
	}
	return ok
}

// cookieEcho opens the cookie and finds or bears the association (RFC 9260 sections 5.1 D, 5.1.5, 5.2.4).
func (e *Endpoint) cookieEcho(now mono.Time, from assoc.Arrival, h wire.Header, c wire.Chunk, got int, out *pktbuf.Batch) Result {
	ck, ok := e.secrets.open(c.Value)
	if !ok || ck.SrcPort != h.DstPort || ck.DstPort != h.SrcPort || ck.MyTag != h.Tag || ck.From.Local >= len(e.cfg.Local) {
		e.stats.CookiesBad++
		return Result{}
	}
	ent := e.tagged(ck.MyTag, &ck)
	same := ent != nil && ent.peerTag == ck.PeerTag
	if stale := now.Sub(ck.Created) - ck.Life; stale > 0 && !same {
		e.stats.CookiesStale++
		us := uint32(min(stale/time.Microsecond, 1<<32-1))
		e.send(from, wire.Header{SrcPort: h.DstPort, DstPort: h.SrcPort, Tag: ck.PeerTag}, got, out, func(b *wire.Builder) bool {
			return b.Error() && b.StaleCookie(us)
		})
		return Result{}
	}
	if ent == nil && ck.TieMy != 0 {
		ent = e.tagged(ck.TieMy, &ck) // the restart of an association that is still here
	}
	if ent == nil {
		if ent = e.sureAt(addrKey{from.Peer, ck.DstPort, ck.SrcPort}); ent == nil {
			ent = e.sureAt(addrKey{ck.From.Peer, ck.DstPort, ck.SrcPort})
		}
	}
	if ent != nil {
		return Result{Entry: ent, Cookie: &ck}
	}
	return e.birth(now, &ck)
}

// tagged returns the association that has the tag and the cookie's ports.
func (e *Endpoint) tagged(tag uint32, ck *assoc.Cookie) *Entry {
	ent := e.byTag[tag]
	if ent != nil && (ent.src != ck.SrcPort || ent.dst != ck.DstPort) {
		return nil
	}
	return ent
}

func (e *Endpoint) birth(now mono.Time, ck *assoc.Cookie) Result {
	l := e.listeners[ck.SrcPort]
	switch {
	case l == nil:
		e.stats.CookiesBad++
		return Result{}
	case e.count >= e.cfg.MaxAssocs:
		e.stats.AssocsFull++
		return Result{}
	case l.full != nil && l.full():
		e.stats.BacklogFull++
		return Result{}
	}
	ent := &Entry{src: ck.SrcPort, dst: ck.DstPort, Assoc: assoc.NewServer(&e.cfg.Assoc, e.cfg.Local, now, ck)}
	e.count++
	e.stats.Born++
	e.inits.forgive(now, ck.From.Peer.Addr())
	e.Sync(now, ent)
	return Result{Entry: ent, Born: true, Cookie: ck}
}
