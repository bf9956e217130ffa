package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// family is what a socket can name, found by asking the kernel since the socket may be somebody else's.
type family struct {
	inet6  bool
	v6only bool
	scope  uint32 // interface number of a link-local address bound to; else 0
	zone   string // and its name
}

func familyOf(fd int) (family, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return family{}, err
	}
	six, ok := sa.(*unix.SockaddrInet6)
	if !ok {
		return family{}, nil
	}
	f := family{inet6: true, scope: six.ZoneId}
	if only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY); err == nil {
		f.v6only = only != 0
	}
	if f.scope != 0 {
		f.zone = zoneName(f.scope)
	}
	return f, nil
}

// zoneCache remembers the last interface looked up. The zone of the bound address, the usual one, needs no look-up.
type zoneCache struct {
	scope uint32
	zone  string
}

// encode writes the socket address of a peer and returns its length, or 0 if this socket cannot name it.
func (f *family) encode(to *unix.RawSockaddrInet6, peer netip.AddrPort, cache *zoneCache) uint32 {
	addr := peer.Addr()
	if addr.Is4In6() {
		addr = addr.Unmap()
	}
	if peer.Port() == 0 || !addr.IsValid() || (addr.Is4() && f.inet6 && f.v6only) || (addr.Is6() && !f.inet6) {
		return 0
	}
	if !f.inet6 {
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(to))
		*four = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: addr.As4()}
		putPort(&four.Port, peer.Port())
		return unix.SizeofSockaddrInet4
	}
	*to = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: addr.As16()}
	putPort(&to.Port, peer.Port())
	if addr.IsLinkLocalUnicast() && addr.Is6() {
		switch zone := addr.Zone(); zone {
		case f.zone, "": // the link bound to
			to.Scope_id = f.scope
		case cache.zone:
			to.Scope_id = cache.scope
		default:
			scope, ok := zoneScope(zone)
			if !ok {
				return 0
			}
			*cache = zoneCache{scope, zone}
			to.Scope_id = scope
		}
		if f.scope != 0 && to.Scope_id != f.scope {
			return 0 // the kernel would send it, from an address that link does not know
		}
	}
	return unix.SizeofSockaddrInet6
}

// decode reads the socket address the kernel wrote for a received datagram.
func (f *family) decode(from *unix.RawSockaddrInet6, length uint32, cache *zoneCache) (netip.AddrPort, bool) {
	switch {
	case from.Family == unix.AF_INET && length >= unix.SizeofSockaddrInet4:
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(from))
		return netip.AddrPortFrom(netip.AddrFrom4(four.Addr), port(&four.Port)), true
	case from.Family == unix.AF_INET6 && length >= unix.SizeofSockaddrInet6:
		addr := netip.AddrFrom16(from.Addr).Unmap()
		if from.Scope_id != 0 && addr.IsLinkLocalUnicast() && addr.Is6() {
			zone := f.zone
			if from.Scope_id != f.scope {
				if from.Scope_id != cache.scope {
					*cache = zoneCache{from.Scope_id, zoneName(from.Scope_id)}
				}
				zone = cache.zone
			}
			addr = addr.WithZone(zone)
		}
		return netip.AddrPortFrom(addr, port(&from.Port)), true
	}
	return netip.AddrPort{}, false
}

// Ports lie in network order inside the raw structures.
func port(p *uint16) uint16 { return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:]) }

func putPort(p *uint16, v uint16) { binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(p))[:], v) }
