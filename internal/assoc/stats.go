package assoc

import (
	"net/netip"
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/rx"
	"github.com/go-multihome/multihome/locator"
)

// Counters count what an association saw and did. Sizes are bytes.
type Counters struct {
	Packets
	Notes
}

// Packets are what every association counts.
type Packets struct {
	PacketsSent, PacketsReceived uint64
	InitsSent                    uint64
	Discarded                    uint64 // packets or chunks that did not fit the state
	PathChanges                  uint64 // times data moved to another path
}

// Notes are what happens to few, or not often.
type Notes struct {
	BadTag          uint64
	Malformed       uint64
	UnknownChunks   uint64
	RemoteErrors    uint64 // ERROR causes received
	ReflectedAborts uint64 // pairs ended by an ABORT that reflected our tag
	NoRoomForPath   uint64 // candidate pairs beyond MaxPaths
	PortChanges     uint64 // UDP port changes of the peer that were confirmed
	StaleSacks      uint64
	DupTSNs         uint64 // duplicate TSNs the peer reported
	Spurious        uint64 // chunks resent although the first copy had arrived
	Retargeted      uint64 // chunks moved to another path by a failover
	Restarts        uint64 // the peer restarted
	Shrunk          uint64 // times a path was reduced to small packets: data was stuck, or a link or an ICMP message said so
	IllegalMoves    uint64 // of the state: a mistake of this package, please report
	Stalls          uint64 // timers found so late that this process must have slept
	RepliesDropped  uint64
}

// Stats are the counters of an association with those of its receiver.
type Stats struct {
	Counters
	RX rx.Stats
}

// Stats returns the counters.
func (a *Assoc) Stats() Stats {
	s := Stats{Counters: Counters{Packets: a.stats}, RX: a.rx.Stats()}
	if a.notes != nil {
		s.Notes = *a.notes
	}
	return s
}

// note is for counting.
func (a *Assoc) note() *Notes {
	if a.notes == nil {
		a.notes = new(Notes)
	}
	return a.notes
}

// retargeted counts chunks that a failover moved.
func (a *Assoc) retargeted(chunks int) {
	if chunks > 0 {
		a.note().Retargeted += uint64(chunks)
	}
}

// PathInfo is what can be told about a path.
type PathInfo struct {
	locator.Path
	State      heartbeat.State
	Since      time.Time // of State, on the core's clock
	Primary    bool
	Current    bool // data takes it now
	Retired    bool
	Suspected  bool // the fast detector has a question open
	Errors     int
	SRTT, RTT  time.Duration // smoothed, and least of late
	RTO        time.Duration
	Window     int // congestion window
	SlowStart  bool
	InFlight   int
	Payload    int // UDP payload a packet may have
	SearchEnd  int // up to where a larger one is searched for
	Stats      path.Stats
	Heartbeats heartbeat.Stats
	Watch      heartbeat.Config // how it is watched
}

// Paths appends what can be told about every path to buf.
func (a *Assoc) Paths(buf []PathInfo) []PathInfo {
	cur := a.paths.Current()
	for _, p := range a.paths.All() {
		window, slow := p.Window()
		buf = append(buf, PathInfo{
			Path: p.Name(), State: p.State(), Since: p.Mon.Since(), Primary: p == a.paths.Primary(), Current: p == cur,
			Retired: a.paths.Retired(p), Suspected: p.Suspected(), Errors: p.Mon.Errors(), SRTT: p.RTO.SRTT(),
			RTT: p.RTO.MinRTT(), RTO: p.RTO.RTO(), Window: window, SlowStart: slow,
			InFlight: a.tx.InFlight(p.ID), Payload: p.Payload, SearchEnd: a.searchEnd(p), Stats: p.Stats(), Heartbeats: p.Mon.Stats(), Watch: p.Mon.Config(),
		})
	}
	return buf
}

// identity versions what the endpoint finds the association by.
type identity struct {
	version uint32
	confirm confirming
	moving  *moving
}

func (a *Assoc) identify()     { a.ident.version++ }
func (a *Assoc) identChanged() { a.ident.version++ }

// IdentityVersion changes whenever Identity would return something else.
func (a *Assoc) IdentityVersion() uint32 { return a.ident.version }

// Identity is what the endpoint must know to find the association, and to answer an INIT for it without asking.
type Identity struct {
	State          State
	Tags           [2]uint32 // arriving packets carry one of these; zero: none
	MyTag, PeerTag uint32
	InitTag        uint32 // of our own INIT, while dialling (RFC 9260 section 5.2.1)
	InitTSN        uint32
	Forming        *Forming // in COOKIE-ECHOED
	Peers          []netip.AddrPort
	Sure           []bool // of each of them: dialled, or confirmed, so that it is the peer's and not only named by it
}

// Forming is what an INIT that arrives in COOKIE-ECHOED is held against (RFC 9260 section 5.2.1).
type Forming struct {
	Addrs []netip.Addr // the peer's: dialled, named in its INIT ACK, and the source of that
	Spare int          // room the INIT ACK left, bytes: if there is little, the peer may have named fewer addresses than it has
}

// Identity fills id, using its memory again.
func (a *Assoc) Identity(id *Identity) {
	peers, sure := id.Peers[:0], id.Sure[:0]
	*id = Identity{State: a.state, MyTag: a.myTag, PeerTag: a.peerTag, Tags: [2]uint32{a.myTag}}
	if s := a.setup; s != nil {
		id.Tags = [2]uint32{s.full.tag, s.plain.tag}
		id.InitTag, id.InitTSN = s.full.tag, uint32(s.full.tsn)
		if id.InitTag == 0 {
			id.InitTag, id.InitTSN = s.plain.tag, uint32(s.plain.tsn)
		}
		if a.state == CookieEchoed {
			id.InitTag, id.InitTSN = a.myTag, uint32(a.myTSN)
			if an := s.adopted; an != nil {
				id.Forming = &Forming{Addrs: append([]netip.Addr{an.from.Peer.Addr().WithZone("")}, an.addrs...), Spare: an.spare}
				for _, t := range s.targets {
					id.Forming.Addrs = append(id.Forming.Addrs, t.peer.Addr.WithZone(""))
				}
			}
		}
		for _, t := range s.targets {
			peers, sure = append(peers, t.peer.AddrPort()), append(sure, true)
		}
	}
	for _, p := range a.paths.All() {
		if !a.paths.Retired(p) {
			peers, sure = append(peers, p.Dest()), append(sure, a.setup != nil || p.Dialled || p.Confirmed())
		}
	}
	id.Peers, id.Sure = peers, sure
}
