package locator

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Interface is a network interface and its addresses, as a [Source] tells them.
type Interface struct {
	Name  string
	Up    bool
	Addrs []netip.Addr // in the system's order; IPv6 link-local ones may have a zone or not
}

// Source lists the network interfaces of a machine, in a stable order.
type Source func() ([]Interface, error)

// Filter says which of a machine's addresses System returns.
type Filter struct {
	// Port is given to every locator.
	Port uint16
	// Narrowest is the narrowest scope wanted. The zero value means Private: neither loopback nor link-local addresses.
	Narrowest Scope
	// NoIPv4 and NoIPv6 leave out a family.
	NoIPv4, NoIPv6 bool
	// Interface, when set, is asked for each interface whether it may be used.
	Interface func(name string) bool
	// Source replaces the operating system, for tests.
	Source Source
}

// System returns the addresses of the machine's interfaces that are up and pass the filter: first one of each interface,
// then the second ones and so on, so that the locators at the front are on different links. Among the addresses of one
// interface those of wider scope come first. IPv6 link-local addresses carry their interface as zone. It fails when the
// interfaces cannot be listed; an empty result is no error.
func System(f Filter) ([]Locator, error) {
	source := f.Source
	if source == nil {
		source = systemInterfaces
	}
	interfaces, err := source()
	if err != nil {
		return nil, fmt.Errorf("locator: listing the interfaces: %w", err)
	}
	narrowest := f.Narrowest
	if narrowest == NoScope {
		narrowest = Private
	}
	var perLink [][]Locator
	for _, ifc := range interfaces {
		if !ifc.Up || f.Interface != nil && !f.Interface(ifc.Name) {
			continue
		}
		var list []Locator
		for _, a := range ifc.Addrs {
			a = a.Unmap()
			if ScopeOf(a) < narrowest || f.NoIPv4 && a.Is4() || f.NoIPv6 && a.Is6() {
				continue
			}
			if a.Is6() && ScopeOf(a) == Link {
				a = a.WithZone(ifc.Name)
			} else {
				a = a.WithZone("")
			}
			list = append(list, Locator{Addr: a, Port: f.Port})
		}
		slices.SortStableFunc(list, func(x, y Locator) int { return int(ScopeOf(y.Addr)) - int(ScopeOf(x.Addr)) })
		perLink = append(perLink, list)
	}
	return interleave(perLink), nil
}

// interleave returns the first of each list, then the second of each, leaving out repetitions.
func interleave(lists [][]Locator) []Locator {
	var out []Locator
	for i, more := 0, true; more; i++ {
		more = false
		for _, list := range lists {
			if i < len(list) {
				more = true
				if !slices.Contains(out, list[i]) {
					out = append(out, list[i])
				}
			}
		}
	}
	return out
}

// systemInterfaces is the Source of the machine the program runs on.
func systemInterfaces() ([]Interface, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	out := make([]Interface, 0, len(interfaces))
	for _, ifc := range interfaces {
		addrs, err := ifc.Addrs()
		if err != nil {
			continue // it went away since it was listed
		}
		list := make([]netip.Addr, 0, len(addrs))
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				if addr, ok := netip.AddrFromSlice(n.IP); ok {
					list = append(list, addr.Unmap())
				}
			}
		}
		out = append(out, Interface{Name: ifc.Name, Up: ifc.Flags&net.FlagUp != 0, Addrs: list})
	}
	return out, nil
}
