package transport

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/go-multihome/multihome/locator"
)

// Addr is one side of an association: an SCTP port at a pool of locators. It is a net.Addr.
type Addr struct {
	Port     uint16            // SCTP port
	Locators []locator.Locator // with their UDP ports; the one that is used now comes first
}

// Network returns "sctp".
func (a *Addr) Network() string { return "sctp" }

// String prints the locators joined by commas, each with the SCTP port, in the form Dial takes. The locator that data
// uses now comes first.
func (a *Addr) String() string {
	if a == nil {
		return "<nil>"
	}
	if len(a.Locators) == 0 {
		return ":" + strconv.Itoa(int(a.Port))
	}
	var b strings.Builder
	for i, l := range a.Locators {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(netip.AddrPortFrom(l.Addr, a.Port).String())
	}
	return b.String()
}

// Current returns the locator that data uses now, the zero Locator when the pool is empty.
func (a *Addr) Current() locator.Locator {
	if len(a.Locators) == 0 {
		return locator.Locator{}
	}
	return a.Locators[0]
}
