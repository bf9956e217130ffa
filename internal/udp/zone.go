package udp

import (
	"net"
	"strconv"
)

// zoneName returns the name of an interface, or its number in decimal if it has none (any more).
func zoneName(scope uint32) string {
	if ifi, err := net.InterfaceByIndex(int(scope)); err == nil {
		return ifi.Name
	}
	return strconv.FormatUint(uint64(scope), 10)
}

// zoneScope returns the number of the interface a zone names, by name or in decimal.
func zoneScope(zone string) (uint32, bool) {
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index), true
	}
	n, err := strconv.ParseUint(zone, 10, 32)
	return uint32(n), err == nil && n != 0
}
