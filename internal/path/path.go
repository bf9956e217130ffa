// Package path is one network path as the sender sees it: a pair of locators with its round-trip estimate, congestion
// window, size limit, retransmission timer, health and counters. It says which path may take how many bytes now.
//
// A path is a (local, peer) pair, where RFC 9260 speaks of destination addresses alone: two pairs to one destination may
// leave through two providers and share nothing but the last hop. locator.Path is its name, heartbeat.Monitor its health,
// and Path its capacity. No other room knows about failure.
package path

import (
	"net/netip"
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/cc"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/pmtu"
	"github.com/go-multihome/multihome/internal/rto"
	"github.com/go-multihome/multihome/locator"
)

// BasePayload is the UDP payload every path is assumed to carry before a larger one was found: the base PLPMTU of RFC 8899
// section 5.1.2 for a UDP-encapsulated transport.
const BasePayload = 1200

// Config is what all paths of an association share. It must not change while one of them uses it.
type Config struct {
	RTO        *rto.Config
	Heartbeat  *heartbeat.Config
	Payload    int // bytes of UDP payload one packet may have; 0: BasePayload
	Congestion cc.Kind
	CC         cc.Config // MTU and IPv6 are the path's own
	MaxBurst   int       // packets that leave at once (Max.Burst); 0: 128
	NoPacing   bool      // a window is never spread over the round trip
}

// Path is everything an association knows about one pair of locators.
//
// An association has up to 16 of them, most of which never carry data. So what only data needs is made when it is needed:
// see flow, and Size.
type Path struct {
	Peer    locator.Locator
	local   *locator.Locator // shared with others
	cfg     *Config
	flow    *flow // nil until data takes the path
	size    *Size // nil until the association carries data in earnest
	Payload int   // bytes of UDP payload a packet may have now
	ID      locator.PathID
	socket  uint8 // index of the local locator, and its socket
	Dialled bool  // we dialled this peer locator; the peer alone cannot make us probe it fast
	down    bool  // a local fault: link or address gone

	Mon     heartbeat.Monitor
	RTO     rto.Estimator
	Traffic Traffic
}

// Size is the search for larger packets on one path.
type Size struct {
	pmtu.Search
	Most  int       // the user's bound of the search on this path, see Assoc.SetSize; zero: the configuration's
	Nonce uint64    // of the size probe under way
	At    mono.Time // when it was sent; zero: none
}

// Suspicion is the fast detector's open question about a path: the probe timeout expired, nothing has come back yet.
type Suspicion struct {
	Since      mono.Time // zero: no suspicion
	Alt        locator.PathID
	AltAnswers bool // something sent on an alternate after Since was answered
	Rounds     uint16
	Late       time.Duration // how long the path took at most for what was answered since, and a little
	RestAt     mono.Time     // from here on everything outstanding is copied, not only the lowest TSN and the tail
	Floor      mono.Time     // the last suspicion was cleared here: the probe timeout runs from no earlier
}

// Trial is what is asked of a path on which data was stuck and that answers heartbeats again: does it carry data, too?
type Trial struct {
	Next mono.Time // not before this instant
	Wait time.Duration
}

// Drift is what is outstanding on a path after a fault of our own host: left to itself until it is known what arrived.
type Drift struct {
	Since mono.Time // the fault; zero: nothing is adrift
	End   mono.Time // what is still outstanding then is lost
	Asked bool      // something that will be answered has gone out on another path
}

// Traffic counts what every path has, in UDP payload bytes.
type Traffic struct {
	PacketsSent, PacketsReceived uint64
	BytesSent, BytesReceived     uint64
	HeartbeatsSent               uint32
	HeartbeatsAcked              uint32
	Chosen, Left                 uint32 // became, ceased to be the path for data
}

// Load counts what only some paths have.
type Load struct {
	DataSent, DataResent uint64 // payload bytes of DATA, first and repeated transmissions
	DataCopied           uint64 // payload bytes of copies (policy Redundant)
	Lost                 uint64 // payload bytes found lost by order of acknowledgement
	SizeProbes           uint32 // packets that asked whether a larger size passes
	Timeouts             uint32 // T3-rtx expirations
	ProbeTimeouts        uint32 // expirations of the fast detector
	Blocked              uint32 // the socket's buffer was full
	SendErrors           uint32
	Unreachable          uint32 // ICMP messages that the peer cannot be reached this way
	TooBig               uint32 // ICMP messages that a packet was too large for the path
	Oversize             uint32 // packets sent without DF because a chunk was larger than the path
}

// Stats is what one path carried, and why it was chosen or left.
type Stats struct {
	Traffic
	Load
}

// Stats returns the counters.
func (p *Path) Stats() (s Stats) {
	s.Traffic = p.Traffic
	if p.flow != nil {
		s.Load = p.flow.load
	}
	return s
}

// init makes p the path of that number between the locators. cfg and local must not change while it lives.
func (p *Path) init(cfg *Config, first *Path, id locator.PathID, local *locator.Locator, peer locator.Locator, socket int, now mono.Time, confirmed bool) {
	*p = Path{Peer: peer, local: local, cfg: cfg, ID: id, socket: uint8(socket), Payload: cfg.payload()}
	p.RTO.Init(cfg.RTO)
	if first == nil {
		p.Mon.Init(cfg.Heartbeat, now.Std(), confirmed)
	} else {
		p.Mon.InitLike(&first.Mon, cfg.Heartbeat, now.Std(), confirmed)
	}
}

func (c *Config) payload() int {
	if c.Payload == 0 {
		return BasePayload
	}
	return c.Payload
}

// Socket is the index of the local locator's socket.
func (p *Path) Socket() int { return int(p.socket) }

// Pair is what the path lies between.
func (p *Path) Pair() locator.Pair { return locator.Pair{Local: *p.local, Peer: p.Peer} }

// Name is the path's name.
func (p *Path) Name() locator.Path { return locator.Path{ID: p.ID, Pair: p.Pair()} }

// commonHeader is the length of the SCTP common header (RFC 9260 section 3.1).
const commonHeader = 12

// maxChunk is the largest chunk, header included, that fits one packet of the path: its PMDCS.
func (p *Path) maxChunk() int { return p.Payload - commonHeader }

// Dest is the peer locator as packets are addressed.
func (p *Path) Dest() netip.AddrPort { return p.Peer.AddrPort() }

// State is the path's health.
func (p *Path) State() heartbeat.State { return p.Mon.State() }

// Confirmed reports whether the pair was confirmed (RFC 9260 section 5.4), so that it may carry data.
func (p *Path) Confirmed() bool { return p.Mon.Confirmed() }

// Budget returns how many bytes of DATA the path may take now, given what is in flight on it.
func (p *Path) Budget(now mono.Time, inFlight int) int {
	if p.Blocked(now) {
		return 0
	}
	n := p.CC().Budget(inFlight)
	if n > 0 && p.held(now) {
		p.CC().OnHeld(now, inFlight)
		return 0
	}
	return n
}

// DataSent notes that n payload bytes of DATA left on this path in one packet, and starts T3-rtx unless it runs
// (RFC 9260 section 6.3.2 R1).
func (p *Path) DataSent(now mono.Time, n int, resent bool) {
	f := p.carry()
	if f.t3 == 0 {
		f.t3 = now.Add(p.RTO.RTO())
	}
	if f.lastData != now { // once per batch
		f.lastData = now
		p.Mon.DataSent(now.Std())
	}
	if resent {
		f.load.DataResent += uint64(n)
	} else {
		f.load.DataSent += uint64(n)
	}
	p.left(now, n)
}

// CopySent notes n payload bytes of copies of what another path carries too. They measure nothing, so heartbeats go on.
func (p *Path) CopySent(now mono.Time, n int) {
	f := p.carry()
	if f.t3 == 0 {
		f.t3 = now.Add(p.RTO.RTO())
	}
	f.load.DataCopied += uint64(n)
	p.left(now, n)
}

// left accounts n payload bytes that have left to the congestion window and the pacer.
func (p *Path) left(now mono.Time, n int) {
	p.CC().OnSent(n)
	p.spend(now, n)
}

// Idle lets the congestion window decay when nothing was sent here for a while (RFC 9260 section 7.2.1). It is asked once
// before data goes out on a path with nothing in flight.
func (p *Path) Idle(now mono.Time) {
	if p.LastData() == 0 {
		return
	}
	if idle := now.Sub(p.LastData()); idle > p.RTO.RTO() {
		p.CC().OnIdle(now, idle, p.RTO.RTO())
	}
}

// Acked notes that the peer answered: T3-rtx follows RFC 9260 section 6.3.2 R2 and R3.
func (p *Path) Acked(now mono.Time, oldestAcked bool, inFlight int) {
	switch {
	case inFlight == 0:
		p.StopT3()
	case oldestAcked || p.T3() == 0: // zero: a gap block was taken back, and the chunk is in flight again (6.2.1 D iii)
		p.carry().t3 = now.Add(p.RTO.RTO())
	}
}

// T3 returns the instant the retransmission timer expires.
func (p *Path) T3() mono.Time {
	if p.flow == nil {
		return 0
	}
	return p.flow.t3
}

// StopT3 disarms the retransmission timer: nothing is outstanding here any more.
func (p *Path) StopT3() {
	if p.flow != nil {
		p.flow.t3 = 0
	}
}

// StretchT3 lets the retransmission timer run for its RTO doubled n times from now: the interval of zero window probes
// grows although they are answered (RFC 9260 section 6.1 A).
func (p *Path) StretchT3(now mono.Time, n int) {
	p.carry().t3 = now.Add(min(p.RTO.RTO()<<min(n, 16), maxProbeInterval))
}

// maxProbeInterval bounds the time between zero window probes.
const maxProbeInterval = time.Minute

// Pace returns the timeout heartbeats are sent by: on a PotentiallyFailed path the one without backoff, so that its return
// is seen soon (RFC 7829 section 3.2: once per RTO), elsewhere the one in force.
func (p *Path) Pace() time.Duration {
	if p.Mon.State() != heartbeat.PotentiallyFailed {
		return p.RTO.RTO()
	}
	e := p.RTO
	e.ResetBackoff()
	return e.RTO()
}

// LastData returns when DATA was last sent on this path.
func (p *Path) LastData() mono.Time {
	if p.flow == nil {
		return 0
	}
	return p.flow.lastData
}

// SocketFull notes that the socket took no more packets. The path is not offered for a moment that doubles while it stays
// full; nobody waits for the socket.
func (p *Path) SocketFull(now mono.Time) {
	p.carry().load.Blocked++
	p.block(now)
}

// Refused notes that the system refused a packet while no other path can take it: the next try waits for a moment likewise.
func (p *Path) Refused(now mono.Time) { p.block(now) }

func (p *Path) block(now mono.Time) {
	f := p.carry()
	f.blockedFor = min(max(2*f.blockedFor, time.Millisecond), 100*time.Millisecond)
	if f.blockedUntil != 0 && now.Sub(f.blockedUntil) > time.Second {
		f.blockedFor = time.Millisecond
	}
	f.blockedUntil = now.Add(f.blockedFor)
}

// Blocked reports whether the socket was full a moment ago.
func (p *Path) Blocked(now mono.Time) bool { return now.Before(p.freeAt()) }

// freeAt is when a full socket is tried again; zero: never full.
func (p *Path) freeAt() mono.Time {
	if p.flow == nil {
		return 0
	}
	return p.flow.blockedUntil
}

// SetDown notes a local fault (link or address gone) or its end.
func (p *Path) SetDown(down bool) { p.down = down }

// Down reports a local fault.
func (p *Path) Down() bool { return p.down }

// SmallPayload is what a path is reduced to when data is stuck on it: the UDP payload of an IPv4 packet of 576 bytes, which
// every host must take (RFC 791).
const SmallPayload = 576 - 28

// Resize changes the size of packets.
func (p *Path) Resize(payload int) {
	p.Payload = payload
	if p.flow != nil {
		p.flow.cc.SetMTU(p.maxChunk())
	}
}

// Shrink reduces the path to SmallPayload: an MTU black hole lets small packets, heartbeats among them, pass. Chunks cut
// before travel in packets that IP may fragment. It reports whether that changed anything.
func (p *Path) Shrink(now mono.Time) bool {
	if p.Payload <= SmallPayload {
		return false
	}
	if s := p.size; s != nil {
		s.Shrink(now, SmallPayload)
		s.At, s.Nonce = 0, 0
	}
	p.Resize(SmallPayload)
	return true
}

// TooBig takes the news that packets of the size in use do not pass, or may not: the next smaller size that is known to pass
// is used until the search has found what does (RFC 8899 section 4.6.2). For a size that every path carries that is
// SmallPayload, in IPv4; IPv6 has no smaller links. most is what is said to pass at most. It reports whether packets became
// smaller.
func (p *Path) TooBig(now mono.Time, most int) bool {
	size := BasePayload
	if p.Payload <= BasePayload || most < BasePayload {
		if size = SmallPayload; p.Payload <= size || !p.Peer.Addr.Unmap().Is4() {
			return false
		}
	}
	s := p.Size()
	s.Reduce(now, size)
	s.At, s.Nonce = 0, 0
	p.Resize(size)
	return true
}

// MinMTU is the least size of IP packet that a message may name as passing: every host takes it (RFC 791, RFC 8200 section 5).
func (p *Path) MinMTU() int {
	if p.Peer.Addr.Unmap().Is4() {
		return 576
	}
	return 1280
}

// PayloadOf is what an IP packet of so many bytes leaves for UDP payload on this path.
func (p *Path) PayloadOf(mtu int) int {
	if p.Peer.Addr.Unmap().Is4() {
		return mtu - 28
	}
	return mtu - 48
}

// Time between two trials: a permanent filter costs little, and one that is gone is noticed before long.
const (
	minTrial = time.Second
	maxTrial = 30 * time.Second
)

// Tried notes that a trial has left.
func (p *Path) Tried(now mono.Time) {
	t := &p.Doubt().Trial
	t.Wait = min(max(2*t.Wait, minTrial), maxTrial)
	t.Next = now.Add(t.Wait)
}

// Cleared ends a suspicion: the path answered. The probe timeout of what is still unanswered runs from here; without a
// suspicion nothing extends it.
func (p *Path) Cleared(now mono.Time) {
	if p.Suspected() {
		p.flow.Suspect = Suspicion{Floor: now}
	}
}

// StateChanged forgets what was asked about a path whose state was decided otherwise.
func (p *Path) StateChanged(now mono.Time) {
	if p.flow != nil {
		p.flow.Suspect = Suspicion{Floor: now}
	}
}
