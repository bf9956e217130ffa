package locator

import (
	"net/netip"
	"strconv"
)

// Scope is how far an address is meaningful, from narrow to wide. Scopes compare with < and >.
type Scope uint8

// The scopes.
const (
	NoScope  Scope = iota // not an address one can send from: invalid, unspecified, multicast, broadcast, discard
	Loopback              // within the machine
	Link                  // on one link: 169.254.0.0/16, fe80::/10
	Private               // in a private network: RFC 1918, RFC 4193 (ULA), RFC 6598 (shared), and reserved blocks in private use
	Global                // everywhere
)

var scopeNames = [...]string{"none", "loopback", "link", "private", "global"}

// String returns the scope as one word.
func (s Scope) String() string {
	if int(s) < len(scopeNames) {
		return scopeNames[s]
	}
	return "Scope(" + strconv.Itoa(int(s)) + ")"
}

// scopes lists the blocks that are not Global, of either family. The first that holds the address decides.
var scopes = []struct {
	prefix netip.Prefix
	scope  Scope
}{
	{netip.MustParsePrefix("0.0.0.0/8"), NoScope},
	{netip.MustParsePrefix("127.0.0.0/8"), Loopback},
	{netip.MustParsePrefix("10.0.0.0/8"), Private},
	{netip.MustParsePrefix("172.16.0.0/12"), Private},
	{netip.MustParsePrefix("192.168.0.0/16"), Private},
	{netip.MustParsePrefix("169.254.0.0/16"), Link},
	{netip.MustParsePrefix("100.64.0.0/10"), Private}, // RFC 6598, carriers
	{netip.MustParsePrefix("198.18.0.0/15"), Private}, // RFC 2544, benchmarks
	{netip.MustParsePrefix("192.0.0.0/24"), Private},  // RFC 6890, protocol assignments
	{netip.MustParsePrefix("224.0.0.0/4"), NoScope},   // multicast
	{netip.MustParsePrefix("255.255.255.255/32"), NoScope},
	{netip.MustParsePrefix("240.0.0.0/4"), Private}, // reserved; in use inside some networks
	{netip.MustParsePrefix("::/128"), NoScope},
	{netip.MustParsePrefix("::1/128"), Loopback},
	{netip.MustParsePrefix("fe80::/10"), Link},
	{netip.MustParsePrefix("fc00::/7"), Private},       // RFC 4193
	{netip.MustParsePrefix("fec0::/10"), Private},      // site-local, deprecated by RFC 3879
	{netip.MustParsePrefix("64:ff9b:1::/48"), Private}, // RFC 8215, local translation
	{netip.MustParsePrefix("100::/64"), NoScope},       // RFC 6666, discard
	{netip.MustParsePrefix("ff00::/8"), NoScope},       // multicast
}

// ScopeOf returns the scope of an address. IPv4-mapped IPv6 addresses have that of the IPv4 address.
func ScopeOf(a netip.Addr) Scope {
	if !a.IsValid() {
		return NoScope
	}
	a = a.Unmap().WithZone("")
	for i := range scopes {
		if scopes[i].prefix.Contains(a) {
			return scopes[i].scope
		}
	}
	return Global
}

// Listable returns those of ours that may be told to a peer seen at the given address, in their order: the ones whose
// scope is not narrower than the peer's. A loopback address is told only to a peer on this machine; a link-local one only
// to a peer with a link-local address of the same family on the same link, since the peer cannot know which link is meant.
// Addresses that nobody can send to are never told. An invalid peer address gives nothing.
func Listable(ours []Locator, peer netip.Addr) []Locator {
	peer = peer.Unmap()
	limit := ScopeOf(peer)
	if limit == NoScope {
		return nil
	}
	var list []Locator
	for _, l := range ours {
		s := ScopeOf(l.Addr)
		if s == NoScope || s < limit {
			continue
		}
		if s == Link && !(limit == Link && sameLink(l.Addr.Unmap(), peer)) {
			continue
		}
		list = append(list, l)
	}
	return list
}

// sameLink reports whether two link-local addresses can be on one link: of one family, and not known to be on two.
func sameLink(a, b netip.Addr) bool {
	return a.Is4() == b.Is4() && (a.Zone() == "" || b.Zone() == "" || a.Zone() == b.Zone())
}
