package transport

import (
	"slices"
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/driver"
	"github.com/go-multihome/multihome/locator"
)

// PathInfo is what can be told about a path at one moment. Sizes are bytes.
type PathInfo struct {
	Path      locator.Path
	State     heartbeat.State
	Since     time.Time        // of State
	Primary   bool             // preferred for data
	Current   bool             // data takes it now
	Suspected bool             // silent for longer than it should be; the question is still open
	Gone      bool             // not used any more
	Errors    int              // unanswered in a row (RFC 9260 section 8.2)
	Heartbeat heartbeat.Config // how it is watched

	RTT    time.Duration // smoothed round-trip time; 0: not measured yet
	MinRTT time.Duration // least of late
	RTO    time.Duration // retransmission timeout at present

	CongestionWindow int
	SlowStart        bool
	InFlight         int
	Payload          int // largest UDP payload sent
	MaxPayload       int // largest that is searched for (RFC 8899); Payload: there is no search

	PacketsSent, PacketsReceived    uint64
	BytesSent, BytesReceived        uint64 // of UDP payload
	DataSent, DataResent            uint64 // user bytes, first and repeated transmissions
	DataLost                        uint64 // user bytes found lost
	Timeouts, ProbeTimeouts         uint64 // of the retransmission timer, of the fast detector
	DataCopied                      uint64 // user bytes of copies of what another path carries (policy Redundant)
	HeartbeatsSent, HeartbeatsAcked uint64
	Chosen                          uint64 // times data began to take this path
	SocketFull, SendErrors          uint64
	Unreachable, TooBig             uint64 // the network or our own link said: no way to the peer, a packet too large
}

// Paths returns what can be told about every path the association has or had.
func (a *Association) Paths() []PathInfo {
	core := a.conn.Paths()
	out := make([]PathInfo, len(core))
	for i := range core {
		p := &core[i]
		out[i] = PathInfo{
			Path: p.Path, State: p.State, Since: p.Since, Primary: p.Primary, Current: p.Current, Suspected: p.Suspected,
			Gone: p.Retired, Errors: p.Errors, RTT: p.SRTT, MinRTT: p.RTT, RTO: p.RTO, CongestionWindow: p.Window,
			SlowStart: p.SlowStart, InFlight: p.InFlight, Payload: p.Payload, MaxPayload: p.SearchEnd,
			PacketsSent: p.Stats.PacketsSent, PacketsReceived: p.Stats.PacketsReceived,
			BytesSent: p.Stats.BytesSent, BytesReceived: p.Stats.BytesReceived,
			DataSent: p.Stats.DataSent, DataResent: p.Stats.DataResent, DataLost: p.Stats.Lost, DataCopied: p.Stats.DataCopied, Heartbeat: p.Watch,
			Timeouts: uint64(p.Stats.Timeouts), ProbeTimeouts: uint64(p.Stats.ProbeTimeouts),
			HeartbeatsSent: uint64(p.Stats.HeartbeatsSent), HeartbeatsAcked: uint64(p.Stats.HeartbeatsAcked),
			Chosen: uint64(p.Stats.Chosen), SocketFull: uint64(p.Stats.Blocked), SendErrors: uint64(p.Stats.SendErrors),
			Unreachable: uint64(p.Stats.Unreachable), TooBig: uint64(p.Stats.TooBig),
		}
	}
	return out
}

// Stats counts what an association saw and did.
type Stats struct {
	State                 string    // RFC 9260 section 4
	OutStreams, InStreams int       // agreed on
	SendBuffered          int       // bytes written and not acknowledged
	ReceiveBuffered       int       // memory of what arrived and was not read
	ReceiveWindow         int       // allowed at present by Config.ReceiveWindow and Config.Memory
	PeerWindow            int       // room the peer has for what is not under way yet
	Unacknowledged        int       // DATA chunks sent and not acknowledged cumulatively
	Queued                int       // bytes written and never sent
	FragmentSize          int       // user bytes a DATA chunk holds at present
	EventsDropped         uint64    // events that found their channel full
	LastReceived          time.Time // when packets were last received; zero: never
	NextTimer             time.Time // when it does something by itself, if nothing happens before; zero: never
	GivenUp               GivenUp

	PacketsSent, PacketsReceived uint64
	PathChanges                  uint64 // times data moved to another path
	Moved                        uint64 // chunks moved to another path by a failover
	SpuriousResends              uint64 // chunks resent although the first copy had arrived
	DuplicatesReported           uint64 // by the peer
	RemoteErrors                 uint64 // error causes received
	UnknownChunks                uint64
	Discarded                    uint64 // packets and chunks that did not fit the state
	Malformed                    uint64
	BadTag                       uint64 // packets with a wrong verification tag
	PathsRefused                 uint64 // pairs beyond the number an association keeps
	PortChanges                  uint64 // UDP ports of the peer that changed and were confirmed
	Stalls                       uint64 // times this process must have slept
}

// Stats returns the counters.
func (a *Association) Stats() Stats {
	i := a.conn.Info()
	c := &i.Core
	return Stats{
		State: i.State.String(), OutStreams: i.OutStreams, InStreams: i.InStreams,
		SendBuffered: i.SendHeld, ReceiveBuffered: i.RecvHeld, ReceiveWindow: i.Window,
		PeerWindow: i.Status.PeerWindow, Unacknowledged: i.Status.Unacked, Queued: i.Status.Queued,
		FragmentSize: i.Status.Fragment, EventsDropped: a.eventsDropped.Load(), GivenUp: givenUp(i.GivenUp),
		PacketsSent: c.PacketsSent, PacketsReceived: c.PacketsReceived,
		LastReceived: i.LastIn, NextTimer: i.NextTimer,
		PathChanges: c.PathChanges, Moved: c.Retargeted, SpuriousResends: c.Spurious, DuplicatesReported: c.DupTSNs,
		RemoteErrors: c.RemoteErrors, UnknownChunks: c.UnknownChunks, Discarded: c.Discarded, Malformed: c.Malformed,
		BadTag: c.BadTag, PathsRefused: c.NoRoomForPath, PortChanges: c.PortChanges, Stalls: c.Stalls,
	}
}

// SocketStats counts what passes the sockets that a listener or a dialled association shares with others.
type SocketStats struct {
	Associations           int    // alive now
	Shards                 int    // sockets per local address (Config.Shards), fewer where the system refused
	Accepted, Dialled      uint64 // associations that peers began, that we began
	MemoryUsed             int64  // of Config.Memory
	PacketsIn, PacketsOut  uint64
	ReadErrors, SendErrors uint64
	SocketFull             uint64 // packets not sent because a socket's buffer was full
	Overflows              uint64 // packets dropped by the system because a socket's receive buffer was full (Linux)
	Missteered             uint64 // packets that came to another shard than the others of their association
	LinkDrops              uint64 // packets dropped by the queue of our own link (Linux)
	LocalFaults            uint64 // times a local address could no longer be used: link or carrier lost, address removed
	ICMP, ICMPIgnored      uint64 // messages about packets of ours (Linux); those not believed, or of no use
	BadPackets             uint64 // too short, bad checksum or a zero port
	Inits                  uint64 // received
	InitsLimited           uint64 // not answered: too many from one source
	InitsRefused           uint64 // answered with ABORT
	InitsTooShort          uint64 // not answered: the answer would exceed what Config.StrictAnswers allows
	BadCookies             uint64 // forged, or for other ports
	StaleCookies           uint64
	BacklogFull            uint64 // setups put off because Config.Backlog associations waited for Accept
	AssociationsFull       uint64 // setups put off because of Config.MaxAssociations
	OutOfTheBlue           uint64 // packets that belong to no association (RFC 9260 section 8.4)
	OutOfTheBlueLimited    uint64 // of these, not answered: too many a second
	BadTags                uint64 // packets for an association with a wrong verification tag (RFC 9260 section 8.5)
}

// SocketStats returns the counters of the sockets the association uses.
func (a *Association) SocketStats() SocketStats { return socketStats(a.conn.Node()) }

// SocketStats returns the counters of the listener's sockets.
func (l *Listener) SocketStats() SocketStats { return socketStats(l.l.Node()) }

func socketStats(n *driver.Node) SocketStats {
	s := n.Stats()
	e := &s.Endpoint
	return SocketStats{
		Associations: e.Associations, Accepted: e.Born, Dialled: e.Dialled, MemoryUsed: s.MemoryUsed,
		PacketsIn: s.PacketsIn, PacketsOut: s.PacketsOut, ReadErrors: s.ReadErrors, SendErrors: s.SendErrors,
		LinkDrops: s.LinkDrops, LocalFaults: s.LocalFaults, ICMP: s.ICMP, ICMPIgnored: s.ICMPIgnored,
		Shards: s.Shards, Overflows: s.Overflows, Missteered: s.Missteered,
		SocketFull: s.Blocked, BadPackets: s.Dropped, Inits: e.Inits, InitsLimited: e.InitsLimited,
		InitsRefused: e.InitsRefused, BadCookies: e.CookiesBad, StaleCookies: e.CookiesStale,
		BacklogFull: e.BacklogFull, AssociationsFull: e.AssocsFull, OutOfTheBlue: e.Strays,
		InitsTooShort: e.AnswersTooLarge, OutOfTheBlueLimited: e.StraysLimited, BadTags: e.BadTags,
	}
}

// addrs returns both sides, what data uses now first.
func (a *Association) addrs() (local, remote *Addr) {
	i := a.conn.Info()
	local, remote = &Addr{Port: i.LocalPort}, &Addr{Port: i.Port}
	paths := a.conn.Paths()
	slices.SortStableFunc(paths, func(x, y assoc.PathInfo) int { return rankPath(&x) - rankPath(&y) })
	for k := range paths {
		p := &paths[k]
		if p.Retired && !p.Current {
			continue
		}
		local.add(p.Local)
		remote.add(p.Peer)
	}
	return local, remote
}

// rankPath orders paths for printing: the one in use, the primary one, the others as they came.
func rankPath(p *assoc.PathInfo) int {
	switch {
	case p.Current:
		return 0
	case p.Primary:
		return 1
	}
	return 2
}

func (a *Addr) add(l locator.Locator) {
	if !slices.Contains(a.Locators, l) {
		a.Locators = append(a.Locators, l)
	}
}
