package locator

import (
	"net/netip"
	"strconv"
)

// Locator is an address at which an endpoint can be reached: an IP address, with its zone where it has one, and the UDP
// port that SCTP packets are encapsulated to (RFC 6951). It says where, never who. Locators are comparable values and
// may be map keys. The zero Locator is invalid.
type Locator struct {
	Addr netip.Addr
	Port uint16 // UDP encapsulation port; 0 is SCTP directly over IP
}

// FromAddrPort makes a Locator of a UDP address. IPv4-mapped IPv6 addresses become plain IPv4.
func FromAddrPort(ap netip.AddrPort) Locator {
	return Locator{Addr: ap.Addr().Unmap(), Port: ap.Port()}
}

// AddrPort returns the UDP address of the locator.
func (l Locator) AddrPort() netip.AddrPort { return netip.AddrPortFrom(l.Addr, l.Port) }

// IsValid reports whether l holds an address.
func (l Locator) IsValid() bool { return l.Addr.IsValid() }

// String prints address and port, or the address alone for SCTP over IP.
func (l Locator) String() string {
	if !l.Addr.IsValid() {
		return "invalid locator"
	}
	if l.Port == 0 {
		return l.Addr.String()
	}
	if l.Addr.Is4() {
		return l.Addr.String() + ":" + strconv.Itoa(int(l.Port))
	}
	return "[" + l.Addr.String() + "]:" + strconv.Itoa(int(l.Port))
}
