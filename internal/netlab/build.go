package netlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

// script is a list of lines for one run of ip, tc or nft.
type script struct{ strings.Builder }

func (s *script) add(format string, args ...any) {
	fmt.Fprintf(s, format, args...)
	s.WriteByte('\n')
}

// build makes hosts, routers and everything between them, and waits until packets pass.
func (l *Lab) build() error {
	l.A = &Host{lab: l, name: "A", side: 1, extra: make([]bool, l.opts.Paths)}
	l.B = &Host{lab: l, name: "B", side: 2, extra: make([]bool, l.opts.Paths)}
	for _, h := range []*Host{l.A, l.B} {
		if err := h.create(false); err != nil {
			return err
		}
	}
	for i := range l.opts.Paths {
		r := &router{index: i, mtu: l.opts.MTU}
		l.routers = append(l.routers, r)
		if err := r.create(true); err != nil {
			return err
		}
		if err := l.buildPath(i); err != nil {
			return fmt.Errorf("path %d: %w", i, err)
		}
	}
	if l.opts.Cross {
		if err := l.buildCross(); err != nil {
			return fmt.Errorf("between the routers: %w", err)
		}
	}
	for i := range l.opts.Paths {
		if err := l.verify(i); err != nil {
			return fmt.Errorf("path %d: %w", i, err)
		}
		if err := l.setDelay(i, l.opts.Delay); err != nil {
			return fmt.Errorf("path %d: %w", i, err)
		}
	}
	return nil
}

// create makes the namespace and sets what every interface in it will inherit.
func (n *ns) create(forward bool) error {
	if err := n.open(); err != nil {
		return err
	}
	set := [][2]string{
		{"net/ipv4/conf/all/rp_filter", "0"}, {"net/ipv4/conf/default/rp_filter", "0"},
		{"net/ipv6/conf/default/accept_dad", "0"}, {"net/ipv6/conf/default/dad_transmits", "0"},
		{"net/ipv6/conf/default/accept_ra", "0"}, {"net/ipv6/conf/default/router_solicitations", "0"},
		{"net/ipv6/conf/all/keep_addr_on_down", "1"}, {"net/ipv6/conf/default/keep_addr_on_down", "1"},
	}
	if forward {
		set = append(set, [2]string{"net/ipv4/ip_forward", "1"}, [2]string{"net/ipv6/conf/all/forwarding", "1"},
			[2]string{"net/ipv4/conf/all/send_redirects", "0"}, [2]string{"net/ipv4/conf/default/send_redirects", "0"})
	}
	err := n.Do(func() error {
		for _, s := range set {
			if err := os.WriteFile("/proc/sys/"+s[0], []byte(s[1]), 0); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var up script
	up.add("link set lo up")
	return n.ip(&up)
}

// buildPath lays the two cables of path i and puts the router between them.
func (l *Lab) buildPath(i int) error {
	r := l.routers[i]
	for _, h := range []*Host{l.A, l.B} {
		if err := h.cable(h.Interface(i), r, h.port()); err != nil {
			return err
		}
		if err := r.ip(r.addresses(h.port(), i, h.side)); err != nil {
			return err
		}
		if err := h.configure(i); err != nil {
			return err
		}
		if err := h.rules(i, h.side, table(i)); err != nil {
			return err
		}
	}
	return r.filterAll()
}

// rules makes packets from the host's addresses in a subnet use a routing table.
func (h *Host) rules(path, side, table int) error {
	for _, fam := range families {
		var s script
		s.add("rule add from %v lookup %d", fam.addr(path, side, hostPart), table)
		if err := h.ipOf(fam.flag, &s); err != nil {
			return err
		}
	}
	return nil
}

// families are the two address families, with the flag ip takes where it cannot tell from an address.
var families = []struct {
	flag string
	bits int
	addr func(path, side, last int) netip.Addr
	opt  string // for adding an address

	metric int // of the route that comes with an address
}{
	{"-4", 24, addr4, "", 0},
	{"-6", 64, addr6, "nodad", 256},
}

// table is the routing table for packets from a host's address on a path.
func table(path int) int { return 100 + path }

// port is the name of the router's interface towards the host.
func (h *Host) port() string { return "to-" + strings.ToLower(h.name) }

// peer is the host at the other end.
func (h *Host) peer() *Host {
	if h == h.lab.A {
		return h.lab.B
	}
	return h.lab.A
}

// cable puts a pair of virtual Ethernet interfaces between the host and a router.
func (h *Host) cable(name string, r *router, port string) error {
	// The router's namespace is handed to ip as its file descriptor 3.
	var s script
	s.add("link add name %s mtu %d type veth peer name %s mtu %d netns /proc/self/fd/3", name, h.lab.opts.MTU, port, h.lab.opts.MTU)
	return h.ip(&s, r.file)
}

// addresses is the script that brings a router's port up. It may run again at any time.
func (r *router) addresses(port string, path, side int) *script {
	var s script
	s.add("link set dev %s up", port)
	for _, fam := range families {
		s.add("addr replace %v/%d dev %s %s", fam.addr(path, side, routerPart), fam.bits, port, fam.opt)
		// An interface's own MTU would also limit what it receives; that of a route limits what is forwarded.
		subnet := netip.PrefixFrom(fam.addr(path, side, 0), fam.bits)
		s.add("route replace %v dev %s proto kernel metric %d mtu %d", subnet, port, fam.metric, r.mtu)
	}
	return &s
}

// configure brings the host's interface on a path up, with addresses and routes. The kernel forgets routes when an
// interface goes down and when their source address goes, so that this runs again whenever one returns.
func (h *Host) configure(path int) error {
	var s script
	dev := h.Interface(path)
	s.add("link set dev %s up", dev)
	for _, fam := range families {
		own, via := fam.addr(path, h.side, hostPart), fam.addr(path, h.side, routerPart)
		s.add("addr replace %v/%d dev %s %s", own, fam.bits, dev, fam.opt)
		s.add("route replace default via %v dev %s table %d src %v", via, dev, table(path), own)
		far := netip.PrefixFrom(fam.addr(path, h.peer().side, 0), fam.bits)
		s.add("route replace %v via %v dev %s src %v", far, via, dev, own)
	}
	return h.ip(&s)
}

// buildCross joins each router with each other one and tells both what lies behind.
func (l *Lab) buildCross() error {
	for i, r := range l.routers {
		for j := i + 1; j < len(l.routers); j++ {
			other := l.routers[j]
			var s script
			s.add("link add name c%d mtu %d type veth peer name c%d mtu %d netns /proc/self/fd/3", j, l.opts.MTU, i, l.opts.MTU)
			if err := r.ip(&s, other.file); err != nil {
				return err
			}
			if err := errors.Join(r.ip(crossEnd(i, j)), other.ip(crossEnd(j, i))); err != nil {
				return err
			}
		}
	}
	return nil
}

// crossEnd is the script for the end of the cable between two routers that stands at router at.
func crossEnd(at, to int) *script {
	// The cable's subnet is named by both routers, in order; each end's address by the router it stands at.
	net4 := func(last int) netip.Addr { return addr4(99-100, min(at, to)*MaxPaths+max(at, to), last+1) }
	net6 := func(last int) netip.Addr { return addr6(99, min(at, to)*MaxPaths+max(at, to), last+1) }
	dev := fmt.Sprintf("c%d", to)
	var s script
	s.add("link set dev %s up", dev)
	s.add("addr replace %v/24 dev %s", net4(at), dev)
	s.add("addr replace %v/64 dev %s nodad", net6(at), dev)
	for side := 1; side <= 2+extraSide; side++ {
		s.add("route replace %v/24 via %v", addr4(to, side, 0), net4(to))
		s.add("route replace %v/64 via %v", addr6(to, side, 0), net6(to))
	}
	return &s
}

// verify waits until a packet crosses path i both ways in each family.
func (l *Lab) verify(i int) error {
	for _, fam := range families {
		a, err := l.A.udp(fam.addr(i, l.A.side, hostPart))
		if err != nil {
			return err
		}
		b, err := l.B.udp(fam.addr(i, l.B.side, hostPart))
		if err != nil {
			return errors.Join(err, a.Close())
		}
		err = errors.Join(crosses(a, b), crosses(b, a), a.Close(), b.Close())
		if err != nil {
			return err
		}
	}
	return nil
}

// udp opens a socket bound to one of the host's addresses.
func (h *Host) udp(addr netip.Addr) (conn *net.UDPConn, err error) {
	err = h.Do(func() error {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
		return err
	})
	return conn, err
}

// crosses sends from one socket to another until a packet arrives. The first ones may fall into the time in which the
// kernel brings the interfaces up; when many laboratories are built at once, that takes seconds.
func crosses(from, to *net.UDPConn) error {
	dst := to.LocalAddr().(*net.UDPAddr).AddrPort()
	var buf [16]byte
	var sendErr error
	wait := 5 * time.Millisecond
	for start := time.Now(); time.Since(start) < 20*time.Second; wait = min(2*wait, time.Second) {
		_, sendErr = from.WriteToUDPAddrPort([]byte("hello"), dst)
		if err := to.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return err
		}
		if _, _, err := to.ReadFromUDPAddrPort(buf[:]); err == nil {
			return nil
		}
	}
	return errors.Join(fmt.Errorf("no packet passes from %v to %v", from.LocalAddr(), dst), sendErr)
}
