package simnet

import "net/netip"

// firstMapped is the first port a NAT gives out.
const firstMapped = 20000

// NAT hides some addresses behind one of its own: what they send seems to come from there, from a port of its choice, and
// what is sent there goes back to them. Links are those of the outside address. Only who was sent to first gets through.
type NAT struct {
	Outside netip.Addr
	inside  map[netip.Addr]bool
	ports   map[netip.AddrPort]uint16 // of the inside
	owners  map[uint16]netip.AddrPort
	next    uint16
}

// AddNAT puts the inside addresses behind the outside one, which must belong to a host that nobody else uses. Inside
// addresses need not be linked to anything.
func (n *Network) AddNAT(outside netip.Addr, inside ...netip.Addr) *NAT {
	t := &NAT{Outside: outside, inside: map[netip.Addr]bool{}, next: firstMapped}
	for _, a := range inside {
		t.inside[a] = true
	}
	t.Forget()
	n.nats = append(n.nats, t)
	return t
}

// Forget drops all bindings, as after a restart: the next packets get new ports.
func (t *NAT) Forget() {
	t.ports, t.owners = map[netip.AddrPort]uint16{}, map[uint16]netip.AddrPort{}
}

// Owner returns the inside address behind an outside port.
func (t *NAT) Owner(port uint16) (netip.AddrPort, bool) {
	owner, ok := t.owners[port]
	return owner, ok
}

// out translates the source of a datagram that leaves.
func (t *NAT) out(d *Datagram) {
	if !t.inside[d.From.Addr()] {
		return
	}
	port, ok := t.ports[d.From]
	if !ok {
		port = t.next
		t.next++
		t.ports[d.From], t.owners[port] = port, d.From
	}
	d.From = netip.AddrPortFrom(t.Outside, port)
}

// in translates the destination of a datagram that arrives. Without a binding it stays, and nobody is there.
func (t *NAT) in(d *Datagram) {
	if d.To.Addr() != t.Outside {
		return
	}
	if owner, ok := t.owners[d.To.Port()]; ok {
		d.To = owner
	}
}
