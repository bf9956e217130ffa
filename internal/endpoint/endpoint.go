// Package endpoint keeps many associations behind one set of sockets. It finds the association a packet belongs to,
// answers INITs without remembering them, gives birth to an association when a sealed cookie comes back, and answers what
// belongs to nobody. It has no I/O, no clock and no lock.
//
// Lookup only reads and may run under a shared lock. Everything else changes tables or counters and wants an exclusive
// one. No method touches the inside of an association but Sync, which the caller makes under that association's lock too;
// the order is association first, endpoint second.
package endpoint

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"
	"time"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// Config is what an endpoint is made with. Zero fields take their defaults.
type Config struct {
	Assoc assoc.Config
	Local []locator.Locator // the pool of local locators, by socket index; at most 16

	MaxAssocs     int           // associations at most, default 100,000
	InitsPerSec   int           // INITs that no association follows taken per second and source (IPv6: /64), default 10,000
	StraysPerSec  int           // out-of-the-blue packets answered per second, default 1,000
	SecretLife    time.Duration // between changes of the cookie secret, default 5 min; at least twice the cookie's life
	NoListing     bool          // do not name our locators to peers: a NAT may translate them (RFC 6951 section 5.7)
	StrictAnswers bool          // never answer an unverified source with more bytes than it sent (default: three times)
	PlainMemory   time.Duration // how long it is remembered that a peer takes plain INITs only, default 10 min
}

// Entry is one association in the endpoint's tables.
type Entry struct {
	Assoc *assoc.Assoc
	Owner any // whatever holds the association: set by the caller

	version uint32
	state   assoc.State
	tags    [2]uint32
	myTag   uint32
	peerTag uint32
	initTag uint32
	initTSN uint32
	src     uint16
	dst     uint16
	sure    uint32   // bit per key: the peer was heard from there, or we dialled it
	keys    []uint64 // of byAddr
	full    bool     // dialled with a full INIT
	remote  []locator.Locator
	forming *assoc.Forming
}

// addrKey finds an association by addresses and ports, for INIT and packets with the T bit. The peer's UDP port is part of
// it: two clients behind one NAT may share address and SCTP port.
type addrKey struct {
	peer     netip.AddrPort
	dst, src uint16 // the peer's SCTP port, ours
}

// at returns the association with the key. The table has a keyed hash of 64 bits in place of the key, which would be most
// of what an idle association holds here.
func (e *Endpoint) at(k addrKey) *Entry {
	if ent := e.byAddr[maphash.Comparable(e.seed, k)]; ent != nil && ent.dst == k.dst && ent.src == k.src {
		return ent
	}
	return nil
}

// sureAt is at for those who ask whose address it is: an address the peer only named may be anybody's, and a stranger who
// named it must not stand in the way of the one who has it (RFC 5062 section 3).
func (e *Endpoint) sureAt(k addrKey) *Entry {
	if ent := e.at(k); ent != nil && ent.isSure(maphash.Comparable(e.seed, k)) {
		return ent
	}
	return nil
}

func (ent *Entry) isSure(key uint64) bool {
	for i, k := range ent.keys {
		if k == key {
			return i >= 32 || ent.sure&(1<<i) != 0 // more than that there are while dialling only, and dialled ones are sure
		}
	}
	return false
}

// Endpoint is the set of associations.
type Endpoint struct {
	cfg       Config
	byTag     map[uint32]*Entry
	byAddr    map[uint64]*Entry // see at
	seed      maphash.Seed
	listeners map[uint16]*listener
	count     int
	secrets   secrets
	inits     rateTable
	strays    rate
	plain     map[locator.Locator]mono.Time
	scratch   assoc.Identity
	answer    wire.Builder
	stats     Stats
}

type listener struct {
	full func() bool
}

// Stats counts what an endpoint did with packets of no association.
type Stats struct {
	Associations    int
	Born            uint64
	Dialled         uint64
	Inits           uint64 // INITs received
	InitsLimited    uint64 // dropped: too many from one source
	InitsRefused    uint64 // answered with ABORT
	CookiesBad      uint64 // not sealed by us, or for other ports
	CookiesStale    uint64
	BacklogFull     uint64 // COOKIE ECHO dropped: nobody accepts fast enough
	AssocsFull      uint64 // COOKIE ECHO dropped: MaxAssocs
	BadTags         uint64 // from an association's address and ports, with a wrong tag: dropped
	Strays          uint64 // out-of-the-blue packets
	StraysAnswered  uint64
	StraysLimited   uint64 // not answered: StraysPerSec
	AnswersTrimmed  uint64 // INIT ACKs sent without options for the sake of their size
	AnswersTooLarge uint64 // INITs not answered: even the bare INIT ACK would exceed the allowance
}

// Errors of Dial and Listen.
var (
	ErrPortInUse = errors.New("SCTP port is in use")
	ErrNoPorts   = errors.New("no free SCTP port for this peer")
	ErrFull      = errors.New("too many associations")
	ErrNoRoute   = errors.New("no local locator can reach the peer")
)

func def[T ~int | ~int64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// New returns an endpoint with no association.
func New(given Config) *Endpoint {
	e := &Endpoint{cfg: given, byTag: make(map[uint32]*Entry), byAddr: make(map[uint64]*Entry), seed: maphash.MakeSeed(),
		listeners: make(map[uint16]*listener)}
	cfg := &e.cfg
	cfg.Assoc.Fill()
	def(&cfg.MaxAssocs, 100_000)
	def(&cfg.InitsPerSec, 10_000)
	def(&cfg.StraysPerSec, 1_000)
	def(&cfg.SecretLife, 5*time.Minute)
	cfg.SecretLife = max(cfg.SecretLife, 2*cfg.Assoc.CookieLife)
	def(&cfg.PlainMemory, 10*time.Minute)
	return e
}

// Config returns the association configuration in force.
func (e *Endpoint) Config() *assoc.Config { return &e.cfg.Assoc }

// Stats returns the counters.
func (e *Endpoint) Stats() Stats {
	s := e.stats
	s.Associations = e.count
	return s
}

// Len returns how many associations there are.
func (e *Endpoint) Len() int { return e.count }

// Tables returns how many tags and addresses the tables hold, for tests that look for leaks.
func (e *Endpoint) Tables() (tags, addrs int) { return len(e.byTag), len(e.byAddr) }

// Each calls f for every association that is not closed.
func (e *Endpoint) Each(f func(ent *Entry)) {
	for tag, ent := range e.byTag {
		if tag == ent.tags[0] || ent.tags[0] == 0 {
			f(ent)
		}
	}
}

// Listen takes INITs for an SCTP port. full is asked before an association is born: true drops the COOKIE ECHO, which the
// peer repeats.
func (e *Endpoint) Listen(port uint16, full func() bool) error {
	if port == 0 {
		return fmt.Errorf("listen on SCTP port 0: %w", ErrNoPorts)
	}
	if e.listeners[port] != nil {
		return fmt.Errorf("listen on SCTP port %d: %w", port, ErrPortInUse)
	}
	e.listeners[port] = &listener{full: full}
	return nil
}

// Unlisten stops taking INITs for a port. Its associations live on.
func (e *Endpoint) Unlisten(port uint16) { delete(e.listeners, port) }

// DialParams say whom to dial.
type DialParams struct {
	Remote     []locator.Locator // in order of preference
	RemotePort uint16            // SCTP port
	LocalPort  uint16            // SCTP port; 0: a free one of the dynamic range (RFC 6335)
	Locals     []int             // local locators to use; nil: all
	Owner      any
}

// Dial starts an association. Its INITs go out with its first Transmit.
func (e *Endpoint) Dial(now mono.Time, d DialParams) (*Entry, error) {
	if e.count >= e.cfg.MaxAssocs {
		return nil, ErrFull
	}
	locals := e.cfg.Local
	if d.Locals != nil {
		locals = nil
		for _, i := range d.Locals {
			locals = append(locals, e.cfg.Local[i])
		}
	}
	pairs := locator.Pairs(locals, d.Remote, e.cfg.Assoc.MaxPaths)
	if len(pairs) == 0 {
		return nil, fmt.Errorf("%w: from %v to %v", ErrNoRoute, locals, d.Remote)
	}
	src, err := e.sourcePort(&d)
	if err != nil {
		return nil, err
	}
	p := assoc.DialParams{SrcPort: src, DstPort: d.RemotePort, Pairs: pairs}
	oneLocal := true
	for _, pr := range pairs {
		oneLocal = oneLocal && pr.Local == pairs[0].Local
	}
	p.PlainTag = e.newTag()
	if !oneLocal && !e.plainOnly(now, d.Remote) {
		p.FullTag = e.newTag()
		if !e.cfg.NoListing {
			for _, l := range listable(locals, pairs[0].Peer.Addr) {
				p.Listed = append(p.Listed, l.Addr)
			}
		}
	}
	ent := &Entry{Owner: d.Owner, src: src, dst: d.RemotePort, full: p.FullTag != 0, remote: d.Remote}
	ent.Assoc = assoc.NewClient(&e.cfg.Assoc, e.cfg.Local, now, p)
	e.count++
	e.stats.Dialled++
	e.Sync(now, ent)
	return ent, nil
}

// sourcePort finds an SCTP port with which none of the remote locators is in use.
func (e *Endpoint) sourcePort(d *DialParams) (uint16, error) {
	free := func(port uint16) bool {
		for _, r := range d.Remote {
			if e.sureAt(addrKey{r.AddrPort(), d.RemotePort, port}) != nil {
				return false
			}
		}
		return true
	}
	if d.LocalPort != 0 {
		if !free(d.LocalPort) {
			return 0, fmt.Errorf("dial from SCTP port %d: %w", d.LocalPort, ErrPortInUse)
		}
		return d.LocalPort, nil
	}
	const first, n = 49152, 16384
	start := int(e.cfg.Assoc.Random() % n)
	for i := range n {
		port := uint16(first + (start+i)%n)
		if e.listeners[port] == nil && free(port) {
			return port, nil
		}
	}
	return 0, ErrNoPorts
}

// newTag returns a verification tag no association here has.
func (e *Endpoint) newTag() uint32 {
	for {
		if t := uint32(e.cfg.Assoc.Random()); t != 0 && e.byTag[t] == nil {
			return t
		}
	}
}

// plainOnly reports whether one of the locators is remembered not to take a full INIT.
func (e *Endpoint) plainOnly(now mono.Time, remote []locator.Locator) bool {
	for _, r := range remote {
		if until, ok := e.plain[r]; ok {
			if now.Before(until) {
				return true
			}
			delete(e.plain, r)
		}
	}
	return false
}

// maxPlain bounds the memory of peers that take plain INITs only.
const maxPlain = 1024

func (e *Endpoint) rememberPlain(now mono.Time, remote []locator.Locator) {
	if e.plain == nil {
		e.plain = make(map[locator.Locator]mono.Time)
	}
	for l, until := range e.plain {
		if len(e.plain) < maxPlain {
			break
		}
		if !now.Before(until) || len(e.plain) >= maxPlain {
			delete(e.plain, l)
		}
	}
	for _, r := range remote {
		e.plain[r] = now.Add(e.cfg.PlainMemory)
	}
}

// Sync takes over what changed in how an association is found: tags and peer addresses. Call it after the association was
// touched and its IdentityVersion changed, with the association's lock held as well.
func (e *Endpoint) Sync(now mono.Time, ent *Entry) {
	a := ent.Assoc
	v := a.IdentityVersion()
	if v == ent.version {
		return
	}
	ent.version = v
	id := &e.scratch
	a.Identity(id)
	if ent.full && ent.state < assoc.Established && id.State == assoc.Established {
		if a.Peer().Plain {
			e.rememberPlain(now, ent.remote)
		}
		ent.remote = nil
	}
	e.unlink(ent)
	ent.state, ent.myTag, ent.peerTag = id.State, id.MyTag, id.PeerTag
	ent.initTag, ent.initTSN, ent.forming = id.InitTag, id.InitTSN, id.Forming
	id.Forming = nil
	if id.State == assoc.Closed {
		return
	}
	ent.src, ent.dst = a.Ports()
	ent.tags = id.Tags
	for _, t := range ent.tags {
		if t != 0 {
			e.byTag[t] = ent
		}
	}
	for i, p := range id.Peers {
		k := maphash.Comparable(e.seed, addrKey{p, ent.dst, ent.src})
		held := e.byAddr[k]
		if held == nil || held != ent && id.Sure[i] && !held.isSure(k) {
			e.byAddr[k], held = ent, ent
			ent.keys = append(ent.keys, k)
		}
		if held == ent && id.Sure[i] {
			if n := slices.Index(ent.keys, k); n < 32 {
				ent.sure |= 1 << n
			}
		}
	}
}

// Stale reports whether Sync has something to do.
func (ent *Entry) Stale() bool { return ent.Assoc.IdentityVersion() != ent.version }

func (e *Endpoint) unlink(ent *Entry) {
	for _, t := range ent.tags {
		if e.byTag[t] == ent {
			delete(e.byTag, t)
		}
	}
	for _, k := range ent.keys {
		if e.byAddr[k] == ent {
			delete(e.byAddr, k)
		}
	}
	ent.tags, ent.keys, ent.sure = [2]uint32{}, ent.keys[:0], 0
}

// Remove takes an association out of the tables, once it is closed and its last packets are out.
func (e *Endpoint) Remove(ent *Entry) {
	e.unlink(ent)
	e.count--
}

// listable returns the locators a peer at the given address may be told of (scope not narrower than its own).
func listable(ours []locator.Locator, peer netip.Addr) []locator.Locator {
	return locator.Listable(ours, peer)
}
