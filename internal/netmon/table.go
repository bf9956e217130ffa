package netmon

import (
	"net/netip"
	"strconv"
)

// table is the links and addresses of a system.
type table struct {
	links map[int]link
	addrs map[netip.Addr][]holding // without zones
}

// link is a network interface.
type link struct {
	name    string
	up      bool // switched on
	running bool // and able to carry packets
}

// holding is a link that has an address.
type holding struct {
	link  int
	ready bool // not waiting for the end of duplicate address detection
}

// reset empties the table.
func (t *table) reset() {
	t.links = make(map[int]link)
	t.addrs = make(map[netip.Addr][]holding)
}

func (t *table) setLink(index int, l link) { t.links[index] = l }

// dropLink removes a link with its addresses.
func (t *table) dropLink(index int) {
	delete(t.links, index)
	for a := range t.addrs {
		t.dropAddr(a, index)
	}
}

func (t *table) setAddr(a netip.Addr, index int, ready bool) {
	a = a.Unmap().WithZone("")
	hs := t.addrs[a]
	for i := range hs {
		if hs[i].link == index {
			hs[i].ready = ready
			return
		}
	}
	t.addrs[a] = append(hs, holding{index, ready})
}

func (t *table) dropAddr(a netip.Addr, index int) {
	a = a.Unmap().WithZone("")
	hs := t.addrs[a]
	for i := range hs {
		if hs[i].link == index {
			hs = append(hs[:i], hs[i+1:]...)
			break
		}
	}
	if len(hs) == 0 {
		delete(t.addrs, a)
		return
	}
	t.addrs[a] = hs
}

// find says whether any link has an address, and if so whether it can be used there. Where several have it, one good link
// is enough.
func (t *table) find(a netip.Addr) (name string, cause Cause, present bool) {
	zone := a.Zone()
	for _, h := range t.addrs[a.WithZone("")] {
		l, known := t.links[h.link]
		if zone != "" && zone != l.name && zone != strconv.Itoa(h.link) {
			continue
		}
		c := None
		switch {
		case known && !l.up:
			c = LinkDown
		case known && !l.running:
			c = NoCarrier
		case !h.ready:
			c = Tentative
		}
		if !present || c == None {
			name, cause, present = l.name, c, true
		}
		if c == None {
			break
		}
	}
	return name, cause, present
}
