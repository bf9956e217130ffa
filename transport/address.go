package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/go-multihome/multihome/locator"
)

// The text of an address is one or several host:port joined by commas, with the same port in each. A host is an IP
// address, IPv6 in brackets, or a name, which stands for all its addresses. An empty host means all of ours.

// maxLocators is how many addresses a pool may have after names are resolved: more pairs than an association keeps.
const maxLocators = 64

// maxSystem is how many addresses of the system Dial takes when it is told none. Each costs a socket and a reader, and
// an association keeps at most 16 pairs.
const maxSystem = 8

// hosts is an address text taken apart: the hosts as written, and the port they have in common.
type hosts struct {
	text  string
	names []string
	port  uint16
}

func addressError(text, item, why string) error {
	if item == text {
		return fmt.Errorf("%w %q: %s", ErrAddress, text, why)
	}
	return fmt.Errorf("%w %q: %q: %s", ErrAddress, text, item, why)
}

// splitHosts takes an address text apart. With portless, the ports may be left out, all together.
func splitHosts(text string, portless bool) (hosts, error) {
	names, port, hasPort, err := locator.SplitList(text)
	if err != nil {
		return hosts{}, fmt.Errorf("%w: %w", ErrAddress, err)
	}
	if !hasPort && !portless {
		return hosts{}, addressError(text, text, "the port is missing")
	}
	return hosts{text, names, port}, nil
}

// family keeps the addresses a network name admits: "sctp", "sctp4" or "sctp6".
type family byte

func parseNetwork(network string) (family, error) {
	switch network {
	case "sctp":
		return 0, nil
	case "sctp4", "sctp6":
		return family(network[4]), nil
	case "tcp", "tcp4", "tcp6": // what net/http and others ask their dialler for
		if len(network) == 4 {
			return family(network[3]), nil
		}
		return 0, nil
	}
	return 0, net.UnknownNetworkError(network)
}

func (f family) admits(a netip.Addr) bool {
	return f == 0 || (f == '4') == a.Is4()
}

func (f family) ip() string {
	switch f {
	case '4':
		return "ip4"
	case '6':
		return "ip6"
	}
	return "ip"
}

// resolve turns hosts into addresses, in order and without repetition. The empty host is not resolved here.
func (h *hosts) resolve(ctx context.Context, f family) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, name := range h.names {
		found, err := lookup(ctx, f, name)
		if err != nil {
			return nil, err
		}
		for _, a := range found {
			a = a.Unmap()
			if a.IsUnspecified() {
				return nil, addressError(h.text, name, "stands for every address and is none to send to")
			}
			if f.admits(a) && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	if len(out) == 0 {
		return nil, addressError(h.text, h.text, "has no address of the network asked for")
	}
	return out[:min(len(out), maxLocators)], nil
}

func lookup(ctx context.Context, f family, name string) ([]netip.Addr, error) {
	if name == "" {
		name = "localhost" // as package net dials an empty host
	}
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a}, nil
	}
	return net.DefaultResolver.LookupNetIP(ctx, f.ip(), name)
}

// wildcard reports which of our addresses a listening host stands for.
func wildcard(name string) (f family, all bool) {
	if name == "" {
		return 0, true
	}
	a, err := netip.ParseAddr(name)
	if err != nil || !a.IsUnspecified() {
		return 0, false
	}
	if a.Is4() {
		return '4', true
	}
	return 0, true // [::] means both families, as for a TCP listener
}

// listenAddrs returns the addresses to listen on, and whether they are the system's rather than named.
func (h *hosts) listenAddrs(ctx context.Context, f family) (addrs []netip.Addr, system bool, err error) {
	for _, name := range h.names {
		only, all := wildcard(name)
		if !all {
			continue
		}
		if len(h.names) > 1 {
			return nil, false, addressError(h.text, name, "stands for every address already")
		}
		if f == 0 {
			f = only
		}
		addrs, err = systemAddrs()
		addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !f.admits(a) })
		if err == nil && len(addrs) == 0 {
			err = errors.New("the system has no address to listen on")
		}
		return addrs, true, err
	}
	addrs, err = h.resolve(ctx, f)
	return addrs, false, err
}

// systemAddrs returns the addresses of the system's interfaces that are up: those on different links first, loopback
// last, without link-local ones, which name a place only together with a link and must be asked for.
func systemAddrs() ([]netip.Addr, error) {
	ls, err := locator.System(locator.Filter{Narrowest: locator.Loopback})
	if err != nil {
		return nil, err
	}
	var out, loop []netip.Addr
	for _, l := range ls {
		switch locator.ScopeOf(l.Addr) {
		case locator.Link:
		case locator.Loopback:
			loop = append(loop, l.Addr)
		default:
			out = append(out, l.Addr)
		}
	}
	return append(out, loop...), nil
}

// sources remembers for a moment what sourcesFor found out: asking the system costs more than a handshake.
var sources struct {
	mu    sync.Mutex
	at    time.Time
	found map[string][]netip.Addr
}

// sourcesLife is how long an answer of the system is believed, sourcesMost how many are kept.
const (
	sourcesLife = time.Second
	sourcesMost = 64
)

// sourcesFor returns our addresses to dial the remote ones from when none are named. The result must not be changed.
func sourcesFor(remote []netip.Addr) ([]netip.Addr, error) {
	key := fmt.Sprint(remote)
	sources.mu.Lock()
	defer sources.mu.Unlock()
	if age := time.Since(sources.at); age < 0 || age > sourcesLife || len(sources.found) >= sourcesMost {
		sources.at, sources.found = time.Now(), make(map[string][]netip.Addr)
	}
	if found, ok := sources.found[key]; ok {
		return found, nil
	}
	found, err := findSources(remote)
	if err == nil {
		sources.found[key] = found
	}
	return found, err
}

// forgetSources has the system asked anew: an address it named was none to bind to.
func forgetSources() {
	sources.mu.Lock()
	defer sources.mu.Unlock()
	sources.found = nil
	sources.at = time.Time{}
}

// findSources asks the system. Its own choice per remote address comes first, as it knows the routes (RFC 6724); the
// others of the same reach follow.
func findSources(remote []netip.Addr) ([]netip.Addr, error) {
	var out []netip.Addr
	loop, far := [2]bool{}, [2]bool{} // by family
	for _, r := range remote {
		if src, ok := systemSource(r); ok && !slices.Contains(out, src) {
			out = append(out, src)
		}
		if r.IsLoopback() {
			loop[is6(r)] = true
		} else if !r.IsLinkLocalUnicast() {
			far[is6(r)] = true
		}
	}
	all, err := systemAddrs()
	if err != nil && len(out) == 0 {
		return nil, err
	}
	for _, a := range all {
		wanted := far[is6(a)]
		if a.IsLoopback() {
			wanted = loop[is6(a)]
		}
		if wanted && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no local address reaches %v", remote)
	}
	return out[:min(len(out), maxSystem)], nil
}

func is6(a netip.Addr) int {
	if a.Is6() {
		return 1
	}
	return 0
}

// systemSource asks the system which address it would send from. A connected UDP socket sends nothing by itself.
func systemSource(r netip.Addr) (netip.Addr, bool) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(r, 9)))
	if err != nil {
		return netip.Addr{}, false
	}
	defer c.Close()
	ap := c.LocalAddr().(*net.UDPAddr).AddrPort()
	a := ap.Addr().Unmap()
	return a, a.IsValid() && !a.IsUnspecified()
}
