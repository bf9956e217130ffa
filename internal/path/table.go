package path

import (
	"net/netip"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/locator"
)

// Table is the set of paths of one association. Paths are never removed while it lives, so an ID stays the index;
// a path that must not be used any more is retired. The zero Table is empty.
type Table struct {
	paths   []*Path
	last    *Path // the path found last: most packets come by the same one
	current *Path // the path for data
	fast    *Path // the path the policy Fastest chose last
	primary locator.PathID
	wished  bool   // the user set the primary since the last choice
	retired uint16 // bit per path
	stale   bool   // something changed: choose anew
	recheck mono.Time
	changed Change
}

// Len returns how many paths there are, retired ones included.
func (t *Table) Len() int { return len(t.paths) }

// All returns the paths in order of their IDs, retired ones included.
func (t *Table) All() []*Path { return t.paths }

// Get returns the path with the given ID, nil when there is none.
func (t *Table) Get(id locator.PathID) *Path {
	if int(id) >= len(t.paths) {
		return nil
	}
	return t.paths[id]
}

// Add appends a path between the locators, or returns the one that has them. It returns nil when locator.MaxPaths are
// there. What cfg and local point to must not change while the path lives.
func (t *Table) Add(cfg *Config, local *locator.Locator, peer locator.Locator, socket int, now mono.Time, confirmed bool) *Path {
	for _, p := range t.paths {
		if p.Peer == peer && p.Socket() == socket && *p.local == *local {
			return p
		}
	}
	if len(t.paths) == locator.MaxPaths {
		return nil
	}
	p := new(Path)
	var first *Path
	if len(t.paths) > 0 {
		first = t.paths[0]
	}
	p.init(cfg, first, locator.PathID(len(t.paths)), local, peer, socket, now, confirmed)
	t.paths = append(t.paths, p)
	t.stale = true
	return p
}

// Find returns the path a packet came by: the local socket it arrived on and the address it came from.
func (t *Table) Find(socket int, peer netip.AddrPort) *Path {
	if p := t.last; p != nil && p.Socket() == socket && p.Dest() == peer {
		return p
	}
	for _, p := range t.paths {
		if p.Socket() == socket && p.Dest() == peer {
			t.last = p
			return p
		}
	}
	return nil
}

// FindMoved returns the path whose peer address matches while its UDP port does not: a peer behind a NAT that chose a new
// port looks so.
func (t *Table) FindMoved(socket int, peer netip.AddrPort) *Path {
	for _, p := range t.paths {
		if p.Socket() == socket && p.Peer.Addr == peer.Addr() {
			return p
		}
	}
	return nil
}

// Move lets the path's packets go to another UDP port of the same peer address.
func (t *Table) Move(p *Path, to netip.AddrPort) {
	p.Peer.Port = to.Port()
	t.last = nil
}

// Retire takes a path out of use, for good unless the association begins anew.
func (t *Table) Retire(p *Path) {
	t.retired |= 1 << p.ID
	t.stale = true
}

// Reinstate takes back that a path was retired.
func (t *Table) Reinstate(p *Path) {
	t.retired &^= 1 << p.ID
	t.stale = true
}

// Retired reports whether a path was taken out of use.
func (t *Table) Retired(p *Path) bool { return t.retired&(1<<p.ID) != 0 }

// Primary returns the primary path, nil before there is one.
func (t *Table) Primary() *Path { return t.Get(t.primary) }

// SetPrimary makes a path the preferred one. wish says that the user asked for it.
func (t *Table) SetPrimary(id locator.PathID, wish bool) {
	t.primary = id
	t.wished = wish
	t.stale = true
}

// Touch says that a path's state changed, so that the next choice looks at all of them.
func (t *Table) Touch() { t.stale = true }

// MaxChunk is the AMDCS: the largest DATA chunk, header included, that fits every path data may have to take. DATA cannot
// be cut again, so all confirmed paths that are not Inactive count (RFC 9260 section 6.9).
func (t *Table) MaxChunk() int {
	n := 0
	for _, p := range t.paths {
		if t.Retired(p) {
			continue
		}
		if s := p.State(); s != heartbeat.Active && s != heartbeat.PotentiallyFailed && n != 0 {
			continue
		}
		if c := p.maxChunk(); n == 0 || c < n {
			n = c
		}
	}
	if n == 0 {
		return BasePayload - commonHeader
	}
	return n
}

// AllFailed reports whether no confirmed path is Active or PotentiallyFailed.
func (t *Table) AllFailed() bool {
	for _, p := range t.paths {
		if s := p.State(); !t.Retired(p) && (s == heartbeat.Active || s == heartbeat.PotentiallyFailed) {
			return false
		}
	}
	return true
}
