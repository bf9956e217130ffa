package assoc

import (
	"net/netip"
	"slices"
	"time"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// Cookie is what a sealed State Cookie holds: everything an association needs to be born (RFC 9260 section 5.1.3). The
// endpoint seals and opens it; nobody keeps it.
type Cookie struct {
	Created          mono.Time
	Life             time.Duration
	SrcPort, DstPort uint16 // ours, the peer's
	MyTag, PeerTag   uint32
	MyTSN, PeerTSN   serial.TSN
	TieMy, TiePeer   uint32 // tie-tags of the association that existed when the INIT came, else zero
	Peer             Peer
	From             Arrival // where the INIT came from: recorded, not required of the COOKIE ECHO (section 5.1.5)
	Told             uint16  // bit per local locator the INIT ACK told the peer of
	Addrs            []netip.Addr
}

// NewServer makes the association a valid cookie describes, in ESTABLISHED. HandleCookie with the COOKIE ECHO follows.
func NewServer(cfg *Config, local []locator.Locator, now mono.Time, ck *Cookie) *Assoc {
	a := new(Assoc)
	a.init(cfg, local)
	a.srcPort, a.dstPort = ck.SrcPort, ck.DstPort
	a.myTag = ck.MyTag
	a.takeCookie(ck)
	a.layPaths(now, ck.From, ck.Addrs, nil, false)
	p := a.paths.Get(0)
	a.confirm(now, p)
	if rtt := now.Sub(ck.Created); rtt < cfg.RTO.Initial {
		// The cookie's way there and back: each INIT ACK has a cookie of its own, so Karn's rule holds but for a COOKIE ECHO
		// sent twice, which makes it too long until something else is measured.
		p.RTO.Guess(rtt)
	}
	a.established(now)
	return a
}

// takeCookie sets the peer's numbers and opens both directions.
func (a *Assoc) takeCookie(ck *Cookie) {
	a.peerTag, a.myTSN, a.peerTSN = ck.PeerTag, ck.MyTSN, ck.PeerTSN
	a.peer, a.peerWindow = ck.Peer, ck.Peer.Window
	a.outStreams = min(a.cfg.OutStreams, int(ck.Peer.InStreams))
	a.inStreams = min(a.cfg.InStreams, int(ck.Peer.OutStreams))
	a.tie = [2]uint32{ck.TieMy, ck.TiePeer}
	a.told = ck.Told | 1<<ck.From.Local
	a.open()
}

// HandleCookie takes a packet that begins with a COOKIE ECHO whose cookie the endpoint has opened and found valid. It is
// the table of RFC 9260 section 5.2.4.
func (a *Assoc) HandleCookie(now mono.Time, from Arrival, pkt []byte, ck *Cookie) {
	if a.state == Closed {
		a.stats.Discarded++
		return
	}
	mine := ck.MyTag == a.myTag
	if full, plain := a.SetupTags(); a.state == CookieWait {
		mine = ck.MyTag == full || ck.MyTag == plain
	}
	its := ck.PeerTag == a.peerTag
	switch {
	case mine && its: // D: the COOKIE ACK was lost, or both dialled at once
		a.meet(now, from)
	case mine: // B: both dialled at once, and the peer answered with a newer tag
		a.collide(now, ck)
	case !its && ck.TieMy == a.myTag && ck.TiePeer == a.peerTag && ck.TieMy != 0: // A: the peer restarted
		if a.state == ShutdownAckSent {
			a.out.shutAck = true
			a.reply(replyError, from, wire.CauseCookieInShutdown, nil)
			return
		}
		a.restart(now, ck)
	default: // C: a late cookie
		a.stats.Discarded++
		return
	}
	if a.state == Closed {
		return
	}
	in := inbound{from: from, pkt: pkt}
	a.arrived(now, &in)
	a.reply(replyCookieAck, from, 0, nil)
	it := wire.Chunks(pkt)
	it.Next()
	if c, ok := it.Next(); ok {
		a.walk(now, &in, it, c)
	}
}

// meet: our own COOKIE ECHO is still out, and the peer's says the same.
func (a *Assoc) meet(now mono.Time, from Arrival) {
	if a.state != CookieEchoed {
		return
	}
	if p := a.paths.Find(from.Local, from.Peer); p != nil {
		a.confirm(now, p)
	}
	a.established(now)
}

// collide: the peer's INIT crossed ours (RFC 9260 section 5.2.4 B).
func (a *Assoc) collide(now mono.Time, ck *Cookie) {
	if a.state != CookieWait && a.state != CookieEchoed {
		a.peerTag = ck.PeerTag
		a.identify()
		return
	}
	a.tx.Drop()
	a.rx.Drop()
	a.myTag = ck.MyTag
	dialled := a.dialledLocators()
	a.takeCookie(ck)
	a.layPaths(now, ck.From, ck.Addrs, dialled, false)
	if p := a.paths.Find(ck.From.Local, ck.From.Peer); p != nil {
		a.confirm(now, p)
		a.paths.SetPrimary(p.ID, false)
	}
	a.established(now)
}

func (a *Assoc) dialledLocators() []locator.Locator {
	if a.setup == nil {
		return nil
	}
	ls := make([]locator.Locator, 0, len(a.setup.targets))
	for i := range a.setup.targets {
		ls = append(ls, a.setup.targets[i].peer)
	}
	return ls
}

// established ends the setup, whichever way it went.
func (a *Assoc) established(now mono.Time) {
	a.setup = nil
	a.move(Established)
	a.errors = 0
	a.probing = -1
	a.identify()
	a.events.add(Event{Kind: EventUp})
	a.paths.Touch()
	a.paths.Data(now)
	a.watchFault(now)
}

// restart begins both directions anew with the tags of the cookie (RFC 9260 section 5.2.4.1). What was not acknowledged
// is lost and said so.
func (a *Assoc) restart(now mono.Time, ck *Cookie) {
	a.tellUndelivered()
	unsent := a.tx.Drop()
	a.rx.Drop()
	a.myTag = ck.MyTag
	a.takeCookie(ck)
	a.timers.StopAll()
	a.reconf = nil
	a.out.shutdown, a.out.shutAck = false, false
	for _, p := range a.paths.All() {
		known := p.Confirmed() && !a.paths.Retired(p)
		if ad := p.Peer.Addr.WithZone(""); ad == ck.From.Peer.Addr().WithZone("") || slices.Contains(ck.Addrs, ad) {
			a.paths.Reinstate(p)
		} else {
			// Not where the peer says it is now. Who began the association may have been somebody else, who is there and
			// gets no data of the new one.
			a.paths.Retire(p)
		}
		p.StopT3()
		p.RestartCC(now)
		p.RTO.Init(&a.cfg.RTO)
		p.Mon.Init(&a.cfg.Heartbeat, now.Std(), known) // nobody answers the old heartbeats
		p.Doubt().Suspect = path.Suspicion{Floor: now}
	}
	p := a.paths.Find(ck.From.Local, ck.From.Peer)
	if p == nil { // it came to another of our addresses than before
		p = a.addPath(now, locator.Pair{Local: a.local[ck.From.Local], Peer: locator.FromAddrPort(ck.From.Peer)}, ck.From.Local, false)
	}
	if p != nil {
		a.confirm(now, p)
		a.paths.SetPrimary(p.ID, false)
	}
	if a.state != Established {
		a.move(Established)
	}
	a.errors = 0
	a.probing = -1
	a.identify()
	a.watchFault(now)
	a.note().Restarts++
	a.events.add(Event{Kind: EventRestart, Unsent: unsent})
	a.failPathless(now, "the peer restarted elsewhere")
}

// layPaths makes the paths: the pair the handshake ran on, then all pairs of locators both sides know of, disjoint ones
// first. The peer's addresses carry no UDP port, so they start with the one its packet came from. A dialled locator that
// the peer did not name is dropped.
func (a *Assoc) layPaths(now mono.Time, from Arrival, addrs []netip.Addr, dialled []locator.Locator, oneLocal bool) {
	hs := locator.Pair{Local: a.local[from.Local], Peer: locator.FromAddrPort(from.Peer)}
	locals := []locator.Locator{hs.Local}
	for i, l := range a.local {
		if !oneLocal && i != from.Local && a.told&(1<<i) != 0 {
			locals = append(locals, l)
		}
	}
	peers := []locator.Locator{hs.Peer}
	for _, ad := range addrs {
		if ad.Is6() && ad.IsLinkLocalUnicast() {
			ad = ad.WithZone(hs.Peer.Addr.Zone())
		}
		if l := (locator.Locator{Addr: ad, Port: from.Peer.Port()}); l != hs.Peer {
			peers = append(peers, l)
		}
	}
	for i := range peers {
		for _, d := range dialled {
			if d.Addr == peers[i].Addr {
				peers[i].Port = d.Port
			}
		}
	}
	p := a.addPath(now, hs, from.Local, true)
	if p == nil {
		return
	}
	a.paths.SetPrimary(p.ID, false)
	for _, pair := range locator.Pairs(locals, peers, a.cfg.MaxPaths) {
		a.addPath(now, pair, a.socket(pair.Local), isDialled(dialled, pair.Peer))
	}
}

func isDialled(dialled []locator.Locator, l locator.Locator) bool {
	for _, d := range dialled {
		if d == l {
			return true
		}
	}
	return false
}

// localAt returns the local locator of a pair where it does not change: in the endpoint's pool, nearly always.
func (a *Assoc) localAt(socket int, l locator.Locator) *locator.Locator {
	if socket < len(a.local) && a.local[socket] == l {
		return &a.local[socket]
	}
	own := l
	return &own
}

// addPath adds an unconfirmed path and tells of it; nil when there is no room.
func (a *Assoc) addPath(now mono.Time, pair locator.Pair, socket int, dialled bool) *path.Path {
	n := a.paths.Len()
	if n >= a.cfg.MaxPaths {
		a.note().NoRoomForPath++
		return a.paths.Find(socket, pair.Peer.AddrPort())
	}
	p := a.paths.Add(a.cfg.forPaths(), a.localAt(socket, pair.Local), pair.Peer, socket, now, false)
	if p == nil || a.paths.Len() == n {
		return p
	}
	p.Dialled = dialled
	a.identify()
	a.events.add(Event{Kind: EventPeerLocator, Path: p.Name()})
	if a.localFaulty(socket) {
		a.localFault(now, p, true, "")
	}
	return p
}

// staleCookie starts the setup over, asking for a longer-lived cookie (RFC 9260 section 5.2.6); after the third time it
// gives up.
func (a *Assoc) staleCookie(now mono.Time) {
	s := a.setup
	if s.staleTries++; s.staleTries > 3 {
		a.fail(now, failure(KindSetup, wire.CauseStaleCookie, "the cookie was stale each time"))
		return
	}
	// The time one exchange took, and no more than a second beyond it.
	s.preserve = uint32(min(now.Sub(s.echoSent), a.cfg.RTO.Max)/time.Millisecond) + 1000
	s.adopted, s.held, s.again, s.echoAt = nil, nil, false, 0
	for _, t := range []*attempt{&s.full, &s.plain} {
		if t.tag != 0 {
			t.start, t.round, t.pos = now, 0, 0
		}
	}
	a.tx.Drop()
	a.rx.Drop()
	a.paths = path.Table{}
	a.peerTag = 0
	a.state = CookieWait
	a.identify()
}
