package assoc

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// DialParams say what a new association is dialled with.
type DialParams struct {
	SrcPort, DstPort uint16
	FullTag          uint32         // our tag in the full INIT; 0: no full INIT (a single local locator, or the peer is known not to take it)
	PlainTag         uint32         // our tag in the plain INIT; 0: none
	Pairs            []locator.Pair // candidate pairs, best first; every dialled peer locator occurs
	Listed           []netip.Addr   // our addresses for the full INIT
}

// target is one dialled peer locator and how its attempt goes.
type target struct {
	peer    locator.Locator
	pairs   []int // indices into setup.pairs
	sent    int   // INITs sent
	answer  string
	settled bool   // its attempt ended: ABORT or unreachable
	urgent  bool   // a pair failed: an INIT by another one is due
	dead    uint16 // bit per pair that failed
}

// attempt is one INIT with its own tag and TSN: the full one, which names our addresses, or the plain one
// (PROTOCOL: the plain INIT is a second attempt of its own).
type attempt struct {
	tag    uint32 // 0: not made
	tsn    serial.TSN
	start  mono.Time // of this round; zero: not begun
	round  int       // 0 for the first
	pos    int       // next target of this round
	sentAt mono.Time // last INIT sent
	sentTo int       // index into setup.pairs
	size   int       // of the INIT as a packet, without IP and UDP headers
}

// answer is what a valid INIT ACK said, kept while a better one may come.
type answer struct {
	init   wire.Init
	cookie []byte
	addrs  []netip.Addr
	from   Arrival
	peer   Peer
	unrec  []byte // parameters to report, RFC 9260 section 3.2.1
	rtt    time.Duration
	plain  bool
	spare  int // bytes the INIT ACK could have been longer, if its sender is careful with those who proved nothing
}

// setup is what an association holds while it is being dialled, and drops afterwards.
type setup struct {
	pairs   []locator.Pair
	targets []target
	listed  []netip.Addr
	full    attempt
	plain   attempt
	began   mono.Time

	held      *answer // a plain answer waiting for the full one
	heldUntil mono.Time
	again     bool // the full INIT goes once more to where the plain one was answered
	adopted   *answer

	echoTries  int
	echoAt     mono.Time // T1-cookie: when the COOKIE ECHO goes out (again)
	echoSent   mono.Time
	echoPos    int
	refused    uint16 // bit per path on which the COOKIE ECHO was answered by ICMP
	staleTries int
	preserve   uint32 // cookie-preservative in ms, RFC 9260 section 5.2.6
	sent       map[locator.Pair]*Traffic
}

// Traffic counts what a pair carried before it was a path.
type Traffic struct {
	PacketsSent, PacketsReceived, BytesSent, BytesReceived uint64
}

// NewClient starts an association: INITs go out with the next Transmit.
func NewClient(cfg *Config, local []locator.Locator, now mono.Time, d DialParams) *Assoc {
	a := new(Assoc)
	a.init(cfg, local)
	a.srcPort, a.dstPort = d.SrcPort, d.DstPort
	s := &setup{pairs: d.Pairs, listed: d.Listed, began: now, sent: make(map[locator.Pair]*Traffic)}
	for i, p := range d.Pairs {
		k := 0
		for k < len(s.targets) && s.targets[k].peer != p.Peer {
			k++
		}
		if k == len(s.targets) {
			s.targets = append(s.targets, target{peer: p.Peer})
		}
		s.targets[k].pairs = append(s.targets[k].pairs, i)
	}
	if d.FullTag != 0 {
		s.full = attempt{tag: d.FullTag, tsn: serial.TSN(a.rand32()), start: now}
	}
	if d.PlainTag != 0 {
		s.plain = attempt{tag: d.PlainTag, tsn: serial.TSN(a.rand32())}
		if d.FullTag == 0 {
			s.plain.start = now
		} else if cfg.PlainAfter > 0 {
			s.plain.start = now.Add(cfg.PlainAfter)
		} else {
			s.plain.tag = 0
		}
	}
	a.setup = s
	a.move(CookieWait)
	a.identify()
	return a
}

// t1 is the timeout of round r: RTO.Initial, doubled each time (RFC 9260 section 5.1.6).
func (a *Assoc) t1(r int) time.Duration {
	d := a.cfg.RTO.Initial << min(r, 16)
	most := a.cfg.RTO.Max
	if a.cfg.MaxInitRTO > 0 {
		most = a.cfg.MaxInitRTO
	}
	if d <= 0 || d > most {
		d = max(most, a.cfg.RTO.Initial)
	}
	return d
}

// due returns when the attempt's next INIT goes out, zero when it is spent or was never made.
func (a *Assoc) due(t *attempt) mono.Time {
	if t.tag == 0 || t.round > a.cfg.MaxInitRetrans {
		return 0
	}
	return t.start.Add(a.offset(t))
}

// offset is how long after the start of a round the attempt's next INIT goes out.
func (a *Assoc) offset(t *attempt) time.Duration { return time.Duration(t.pos) * a.cfg.Stagger }

// advance moves the attempt to its next target, and to its next round behind the last one.
func (a *Assoc) advance(t *attempt) {
	s := a.setup
	t.pos++
	if a.cfg.Stagger == 0 || t.pos >= len(s.targets) {
		// Without stagger each round goes to one locator, the next one at each T1 (RFC 9260 section 5.1.6).
		t.start = t.start.Add(max(a.t1(t.round), time.Duration(len(s.targets))*a.cfg.Stagger))
		t.round++
		if t.pos >= len(s.targets) {
			t.pos = 0
		}
	}
}

// nextInit picks the pair for the attempt's next INIT, skipping locators whose attempt ended.
func (a *Assoc) nextInit(t *attempt, now mono.Time) (pair int, ok bool) {
	s := a.setup
	for due := a.due(t); due != 0 && !now.Before(due); due = a.due(t) {
		tg := &s.targets[t.pos]
		round := t.round
		if a.cfg.Stagger == 0 {
			round /= len(s.targets)
		}
		a.advance(t)
		if tg.settled {
			continue
		}
		pair = a.livePair(tg, round/2) // the best pair twice: a packet is lost more often than a pair is no path
		if t == &s.plain {
			// A plain INIT leaves from one local locator only: the association born of it knows no other.
			if pair, ok = a.plainPair(tg); !ok {
				continue
			}
		}
		tg.sent++
		return pair, true
	}
	return 0, false
}

func (a *Assoc) plainPair(tg *target) (int, bool) {
	s := a.setup
	local := a.plainLocal()
	for k, i := range tg.pairs {
		if s.pairs[i].Local == local && tg.dead&(1<<k) == 0 {
			return i, true
		}
	}
	return 0, false
}

// plainLocal is the local locator that plain INITs leave from: the first one whose link and address are well.
func (a *Assoc) plainLocal() locator.Locator {
	for _, p := range a.setup.pairs {
		if !a.localFaulty(a.socket(p.Local)) {
			return p.Local
		}
	}
	return a.setup.pairs[0].Local
}

// emitSetup writes at most one INIT or COOKIE ECHO. It reports whether it wrote one.
func (a *Assoc) emitSetup(now mono.Time, out *pktbuf.Batch) bool {
	s := a.setup
	if s == nil {
		return false
	}
	if a.state == CookieEchoed {
		return a.emitCookieEcho(now, out)
	}
	if s.again && s.held != nil {
		s.again = false
		return a.emitInit(now, out, &s.full, s.held.pairOf(s))
	}
	if t, pair, ok := a.urgentInit(); ok {
		return a.emitInit(now, out, t, pair)
	}
	for _, t := range []*attempt{&s.full, &s.plain} {
		if pair, ok := a.nextInit(t, now); ok {
			return a.emitInit(now, out, t, pair)
		}
	}
	return false
}

// pairOf returns the index of the pair an answer came by, or the first one.
func (an *answer) pairOf(s *setup) int {
	for i, p := range s.pairs {
		if p.Peer.AddrPort() == an.from.Peer {
			return i
		}
	}
	return 0
}

func (a *Assoc) emitInit(now mono.Time, out *pktbuf.Batch, t *attempt, pair int) bool {
	buf := out.Open(a.cfg.Payload)
	if buf == nil {
		return false
	}
	s := a.setup
	var b wire.Builder
	b.Open(buf, wire.Header{SrcPort: a.srcPort, DstPort: a.dstPort})
	b.Init(wire.TypeInit, &wire.Init{Tag: t.tag, ARwnd: uint32(max(a.cfg.Window, MinWindow)), OutStreams: uint16(a.cfg.OutStreams),
		InStreams: uint16(a.cfg.InStreams), TSN: t.tsn})
	if t == &s.full {
		v4, v6 := false, false
		for _, ad := range s.listed {
			b.AddrParam(ad)
			v4, v6 = v4 || ad.Is4(), v6 || ad.Is6()
		}
		b.SupportedAddrTypes(v4, v6)
	}
	if s.preserve != 0 {
		b.CookiePreservative(s.preserve)
	}
	b.SupportedExt(a.cfg.Extensions()...)
	if a.cfg.Adapt {
		b.Adaptation(a.cfg.Adaptation)
	}
	if !a.cfg.NoPartial {
		b.ForwardTSNParam()
	}
	if pad := a.cfg.InitPadding - b.Len(); t == &s.full && pad >= 4 {
		// Room for the answer: a careful peer sends no more than three times what it got (RFC 4820 section 4).
		b.PadParam(pad)
	}
	pkt := b.Seal()
	t.sentAt, t.sentTo, t.size = now, pair, len(pkt)
	pr := s.pairs[pair]
	tr := a.traffic(pr)
	tr.PacketsSent++
	tr.BytesSent += uint64(len(pkt))
	out.Commit(pktbuf.Packet{Buf: pkt, Socket: a.socket(pr.Local), Peer: pr.Peer.AddrPort(), Path: pktbuf.NoPath})
	a.stats.InitsSent++
	return true
}

// maxTraffic bounds for how many pairs traffic is counted during the setup: all of ours, and some the peer invents.
const maxTraffic = 4 * locator.MaxPaths

// traffic returns the counters of a pair that is not a path yet.
func (a *Assoc) traffic(p locator.Pair) *Traffic {
	tr := a.setup.sent[p]
	if tr == nil {
		tr = new(Traffic)
		if len(a.setup.sent) >= maxTraffic {
			return tr // a peer that answers from everywhere
		}
		a.setup.sent[p] = tr
	}
	return tr
}

// socket returns the index of a local locator.
func (a *Assoc) socket(l locator.Locator) int {
	for i, x := range a.local {
		if x == l {
			return i
		}
	}
	return 0
}

// handleInitAck takes an INIT ACK in COOKIE-WAIT (RFC 9260 section 5.1 C). In any other state it is dropped
// (section 5.2.3).
func (a *Assoc) handleInitAck(now mono.Time, from Arrival, tag uint32, c wire.Chunk) {
	s := a.setup
	if a.state != CookieWait || s == nil {
		a.stats.Discarded++
		return
	}
	t := &s.full
	if tag != t.tag || tag == 0 {
		t = &s.plain
	}
	an, problem := a.readInitAck(from, tag, c)
	if problem != "" {
		a.settleTarget(now, from.Peer, problem)
		return
	}
	an.plain = t == &s.plain
	an.spare = 3*t.size - wire.HeaderLen - len(c.Raw)
	if s.pairs[t.sentTo].Peer.AddrPort() == from.Peer && t.round <= 1 {
		an.rtt = now.Sub(t.sentAt)
	}
	if an.plain && s.full.tag != 0 && s.held == nil {
		// The full INIT was not answered, perhaps only lost: it gets one more chance of one round trip.
		s.held, s.again = an, true
		s.heldUntil = now.Add(min(max(an.rtt+an.rtt/2, 10*time.Millisecond), a.cfg.RTO.Initial))
		return
	}
	if an.plain && s.held != nil {
		return
	}
	a.adopt(now, an)
}

// readInitAck checks an INIT ACK and copies what is needed of it.
func (a *Assoc) readInitAck(from Arrival, tag uint32, c wire.Chunk) (*answer, string) {
	in, err := wire.ParseInit(c)
	if err != nil {
		return nil, err.Error()
	}
	if in.Tag == 0 {
		a.tagged(replyReflected, from, tag, 0) // RFC 9260 section 3.3.3
		return nil, "INIT ACK with zero tag"
	}
	if in.OutStreams == 0 || in.InStreams == 0 || in.ARwnd < MinWindow {
		a.initAbort(from, in.Tag, wire.CauseInvalidParam)
		return nil, "INIT ACK with no streams or too small a window"
	}
	var sp wire.SetupParams
	sp.MaxAddrs = a.cfg.MaxPeerAddrs
	if err := wire.ReadInitParams(in.Params, &sp); err != nil {
		a.initAbort(from, in.Tag, wire.CauseProtocolViolation)
		return nil, err.Error()
	}
	if sp.HostName {
		a.initAbort(from, in.Tag, wire.CauseUnresolvableAddr)
		return nil, "INIT ACK with a host name"
	}
	if len(sp.Cookie) == 0 {
		a.initAbort(from, in.Tag, wire.CauseMissingParam)
		return nil, "INIT ACK without a cookie"
	}
	an := &answer{init: in, cookie: append([]byte(nil), sp.Cookie...), from: from, addrs: append([]netip.Addr(nil), sp.Addrs...)}
	an.init.Params = nil
	an.peer = PeerOf(&in, &sp)
	for _, u := range sp.Unrecognized {
		if len(an.unrec)+len(u) > 256 {
			break
		}
		an.unrec = append(an.unrec, u...)
		for len(an.unrec)%4 != 0 {
			an.unrec = append(an.unrec, 0)
		}
	}
	return an, ""
}

// PeerOf collects what an INIT or INIT ACK announced.
func PeerOf(in *wire.Init, sp *wire.SetupParams) Peer {
	return Peer{OutStreams: in.OutStreams, InStreams: in.InStreams, Window: in.ARwnd, ForwardTSN: sp.CanForwardTSN(),
		Interleaving: sp.Ext.Has(wire.TypeIData), Reconfig: sp.Ext.Has(wire.TypeReconfig), Pad: sp.Ext.Has(wire.TypePad), Listed: uint16(len(sp.Addrs)),
		Adapted: sp.HasAdaptation, Adaptation: sp.Adaptation}
}

// adopt goes on with an answer: paths are laid out and the COOKIE ECHO is due.
func (a *Assoc) adopt(now mono.Time, an *answer) {
	s := a.setup
	t := &s.full
	if an.plain {
		t = &s.plain
	}
	a.myTag, a.myTSN = t.tag, t.tsn
	a.peerTag, a.peerTSN, a.peerWindow = an.init.Tag, an.init.TSN, an.init.ARwnd
	a.outStreams = min(a.cfg.OutStreams, int(an.init.InStreams))
	a.inStreams = min(a.cfg.InStreams, int(an.init.OutStreams))
	a.peer = an.peer
	a.peer.Plain = an.plain
	s.adopted, s.held, s.again = an, nil, false
	s.echoAt, s.echoTries, s.echoPos = now, 0, 0
	a.open()
	a.told = 1 << an.from.Local
	for i, l := range a.local {
		for _, ad := range s.listed {
			if l.Addr == ad {
				a.told |= 1 << i
			}
		}
	}
	a.layPaths(now, an.from, an.addrs, a.dialledLocators(), an.plain)
	s.noteAnswer(an.from.Peer, "answered the INIT")
	if p := a.paths.Get(0); p != nil && an.rtt > 0 {
		p.RTO.SampleAt(now, an.rtt)
	}
	for pair, tr := range s.sent {
		if p := a.paths.Find(a.socket(pair.Local), pair.Peer.AddrPort()); p != nil {
			p.Traffic.PacketsSent += tr.PacketsSent
			p.Traffic.BytesSent += tr.BytesSent
			p.Traffic.PacketsReceived += tr.PacketsReceived
			p.Traffic.BytesReceived += tr.BytesReceived
		}
	}
	a.move(CookieEchoed)
	a.identify()
}

// setupDeadline returns when the setup wants to be looked at again.
func (a *Assoc) setupDeadline() (at mono.Time) {
	s := a.setup
	switch {
	case s == nil:
		return 0
	case a.state == CookieEchoed:
		return s.echoAt
	}
	at = mono.Min(a.due(&s.full), a.due(&s.plain))
	if at == 0 {
		at = s.lastChance()
	}
	if s.held != nil {
		at = mono.Min(at, s.heldUntil)
	}
	return at
}

// lastChance is when the dial is given up, once every INIT of every round is out.
func (s *setup) lastChance() mono.Time { return max(s.full.start, s.plain.start) }

// setupTimeout takes the instant now in COOKIE-WAIT and COOKIE-ECHOED.
func (a *Assoc) setupTimeout(now mono.Time) {
	s := a.setup
	if s == nil {
		return
	}
	if a.state == CookieEchoed {
		if s.echoTries > 2*a.cfg.MaxInitRetrans && !now.Before(s.echoAt) {
			a.fail(now, failure(KindSetup, 0, "the cookie was not acknowledged; "+s.tried()))
		}
		return
	}
	if s.held != nil && !now.Before(s.heldUntil) {
		a.adopt(now, s.held)
		return
	}
	if a.due(&s.full) == 0 && a.due(&s.plain) == 0 && s.held == nil && !now.Before(s.lastChance()) {
		a.fail(now, failure(KindSetup, 0, "no locator answered; "+s.tried()))
	}
}

// settleTarget ends one dialled locator's attempt; the others go on, the next one at once. When none is left the dial fails.
func (a *Assoc) settleTarget(now mono.Time, peer netip.AddrPort, text string) {
	s := a.setup
	left := false
	for i := range s.targets {
		t := &s.targets[i]
		if t.peer.AddrPort() == peer {
			t.settled, t.answer = true, text
		}
		left = left || !t.settled
	}
	if !left {
		a.fail(now, failure(KindRefused, 0, s.tried()))
		return
	}
	a.hasten(now, &s.full)
	a.hasten(now, &s.plain)
}

// tried tells for every dialled locator what came of it.
func (s *setup) tried() string {
	var b strings.Builder
	for i, t := range s.targets {
		if i > 0 {
			b.WriteString(", ")
		}
		text := t.answer
		if text == "" {
			text = fmt.Sprintf("no answer to %d INIT", t.sent)
		}
		fmt.Fprintf(&b, "%v: %s", t.peer, text)
	}
	return b.String()
}

// DialReport tells for every dialled locator what has come of it so far; empty once the association is up.
func (a *Assoc) DialReport() string {
	if a.setup == nil {
		return ""
	}
	return a.setup.tried()
}

// SetupTags returns the tags packets may carry while the association is being dialled.
func (a *Assoc) SetupTags() (full, plain uint32) {
	if a.setup == nil {
		return 0, 0
	}
	return a.setup.full.tag, a.setup.plain.tag
}
