package locator

import (
	"cmp"
	"math/bits"
	"net/netip"
	"slices"
)

// Reachable reports whether packets from local may reach peer at all: the families agree; loopback goes with loopback and
// link-local with link-local on the same link only; private and global addresses go with each other, since a translator or
// a site's own routing may stand between. An unspecified local address goes with every peer of its family.
func Reachable(local, peer netip.Addr) bool {
	local, peer = local.Unmap(), peer.Unmap()
	if !local.IsValid() || local.Is4() != peer.Is4() {
		return false
	}
	ls, ps := ScopeOf(local), ScopeOf(peer)
	switch {
	case ps == NoScope:
		return false
	case local.IsUnspecified():
		return true
	case ls == NoScope:
		return false
	case ls == Link && ps == Link:
		return sameLink(local, peer)
	case ls < Private || ps < Private:
		return ls == ps
	}
	return true
}

// Divergence tells how much two pairs have apart: 2 when they share neither end's address, 1 when they share one, 0 when
// they share both. Ports do not count: they lead to the same machine by the same way. RFC 9260 section 6.4.1 wants the most
// divergent pair for a retransmission.
func Divergence(a, b Pair) int {
	d := 0
	if a.Local.Addr != b.Local.Addr {
		d++
	}
	if a.Peer.Addr != b.Peer.Addr {
		d++
	}
	return d
}

// candidate is a pair that may work, and what speaks for it.
type candidate struct {
	i, j     int // places in the two lists
	mixed    bool
	labels   bool // of different labels
	prefix   int
	distance int
	taken    bool
}

// Pairs combines two pools into candidate paths, at most max of them (MaxPaths when max is 0 or less). The pairs come in
// rounds. In each round every locator appears once at most, so the first round holds the paths that share nothing, and a
// short answer is a disjoint one; the later rounds hold the cross pairs.
//
// Within a round a local locator is joined, among the peers reachable from it, to one of its own scope rather than another,
// with a matching label (RFC 6724 section 2.1), with the longest common prefix where it is long enough to mean a common
// network, and else with the one at the same place in its list. The pairs of a round come in the order of the lists:
// what the owners of the pools prefer comes first.
func Pairs(local, peer []Locator, max int) []Pair {
	if max <= 0 {
		max = MaxPaths
	}
	cands := candidates(local, peer)
	pairs := make([]Pair, 0, min(max, len(cands)))
	usedLocal, usedPeer := make([]bool, len(local)), make([]bool, len(peer))
	var round []candidate
	for len(pairs) < max {
		round = round[:0]
		clear(usedLocal)
		clear(usedPeer)
		for k := range cands {
			c := &cands[k]
			if c.taken || usedLocal[c.i] || usedPeer[c.j] {
				continue
			}
			c.taken, usedLocal[c.i], usedPeer[c.j] = true, true, true
			round = append(round, *c)
		}
		if len(round) == 0 {
			break
		}
		slices.SortFunc(round, func(a, b candidate) int {
			return cmp.Or(cmp.Compare(a.i+a.j, b.i+b.j), cmp.Compare(a.i, b.i))
		})
		for _, c := range round[:min(len(round), max-len(pairs))] {
			pairs = append(pairs, Pair{Local: local[c.i], Peer: peer[c.j]})
		}
	}
	return pairs
}

// candidates lists the reachable pairs, best match first. Locators that are repeated count once.
func candidates(local, peer []Locator) []candidate {
	var cands []candidate
	for i, l := range local {
		if slices.Index(local, l) != i {
			continue
		}
		for j, p := range peer {
			if !Reachable(l.Addr, p.Addr) || slices.Index(peer, p) != j {
				continue
			}
			cands = append(cands, candidate{
				i: i, j: j,
				mixed:    ScopeOf(l.Addr) != ScopeOf(p.Addr),
				labels:   label(l.Addr) != label(p.Addr),
				prefix:   commonPrefix(l.Addr, p.Addr),
				distance: max(i-j, j-i),
			})
		}
	}
	slices.SortFunc(cands, func(a, b candidate) int {
		return cmp.Or(
			boolCompare(a.mixed, b.mixed), boolCompare(a.labels, b.labels),
			cmp.Compare(b.prefix, a.prefix), cmp.Compare(a.distance, b.distance),
			cmp.Compare(a.i+a.j, b.i+b.j), cmp.Compare(a.i, b.i),
		)
	})
	return cands
}

// boolCompare orders false before true.
func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// commonPrefix returns the number of leading bits two addresses of one family share, or 0 when they are too few to mean
// anything: a sixteenth of IPv4 or a registry's block of IPv6 is shared by strangers. It counts 64 bits of IPv6 at most,
// since the rest names the interface (RFC 6724 section 2.2).
func commonPrefix(a, b netip.Addr) int {
	a, b = a.Unmap(), b.Unmap()
	if a.Is4() != b.Is4() {
		return 0
	}
	least, most := 16, 32
	if a.Is6() {
		least, most = 32, 64
	}
	x, y := a.As16(), b.As16()
	start := 0
	if a.Is4() {
		start = 12
	}
	n := 0
	for k := start; k < 16; k++ {
		if d := x[k] ^ y[k]; d != 0 {
			n += bits.LeadingZeros8(d)
			break
		}
		n += 8
	}
	if n < least {
		return 0
	}
	return min(n, most)
}

// labels is the policy table of RFC 6724 section 2.1, longest prefix first; an address of neither block has label 1.
var labels = []struct {
	prefix netip.Prefix
	label  uint8
}{
	{netip.MustParsePrefix("::1/128"), 0},
	{netip.MustParsePrefix("2001::/32"), 5},
	{netip.MustParsePrefix("2002::/16"), 2},
	{netip.MustParsePrefix("3ffe::/16"), 12},
	{netip.MustParsePrefix("fec0::/10"), 11},
	{netip.MustParsePrefix("fc00::/7"), 13},
}

// label returns the RFC 6724 label of an address; all of IPv4 has 4.
func label(a netip.Addr) uint8 {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return 4
	}
	for i := range labels {
		if labels[i].prefix.Contains(a) {
			return labels[i].label
		}
	}
	return 1
}
