package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

var errClosed = errors.New("netlab: closed")

// change runs f for the router on a path, one change at a time.
func (l *Lab) change(path int, f func(r *router) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	if path < 0 || path >= len(l.routers) {
		return fmt.Errorf("netlab: no path %d among %d", path, len(l.routers))
	}
	return f(l.routers[path])
}

// Cut makes the router on a path drop every packet of a direction, silently: nobody is told, no interface goes down.
// It adds to what was cut before. Packets that a delayed path still holds are lost too. The time it takes effect lies
// between call and return, some milliseconds apart.
func (l *Lab) Cut(path int, d Direction) error {
	return l.change(path, func(r *router) error {
		r.cut |= d
		return r.filterAll()
	})
}

// Restore undoes every Cut of a path. Filters stay.
func (l *Lab) Restore(path int) error {
	return l.change(path, func(r *router) error {
		r.cut = 0
		return r.filterAll()
	})
}

// Filter gives the router on a path rules of nftables' own language for forwarded packets, replacing those of an earlier
// call; none removes them. Examples: "meta length gt 1300 drop" is an MTU black hole, "numgen random mod 100 0 drop"
// loses one packet of a hundred, "udp dport 9899 reject" is a firewall that answers.
// Interfaces are called to-a and to-b.
func (l *Lab) Filter(path int, rules ...string) error {
	return l.change(path, func(r *router) error {
		old := r.filter
		r.filter = rules
		err := r.filterAll()
		if err != nil {
			r.filter = old
		}
		return err
	})
}

// filterAll writes the router's whole rule set in one transaction.
func (r *router) filterAll() error {
	var s script
	s.add("table inet lab { chain forward { type filter hook forward priority 0; }; }")
	s.add("flush chain inet lab forward")
	// A cross path passes only one of the two interfaces here, so each direction is cut at both.
	if r.cut&Forth != 0 {
		s.add("add rule inet lab forward iifname \"to-a\" counter drop")
		s.add("add rule inet lab forward oifname \"to-b\" counter drop")
	}
	if r.cut&Back != 0 {
		s.add("add rule inet lab forward iifname \"to-b\" counter drop")
		s.add("add rule inet lab forward oifname \"to-a\" counter drop")
	}
	for _, rule := range r.filter {
		s.add("add rule inet lab forward %s", rule)
	}
	return r.nft(&s)
}

// Masquerade makes the router on a path translate the source of what it forwards to host B into its own address, with
// state per flow, as the box at a subscriber's end does. It cannot be taken back.
func (l *Lab) Masquerade(path int) error {
	return l.change(path, func(r *router) error {
		var s script
		s.add("table inet nat { chain post { type nat hook postrouting priority 100; }; }")
		s.add("flush chain inet nat post")
		s.add("add rule inet nat post oifname \"to-b\" masquerade")
		return r.nft(&s)
	})
}

// LinkDown switches the host's interface on a path off. The kernel drops its routes and tells whoever listens.
func (h *Host) LinkDown(path int) error {
	return h.lab.change(path, func(*router) error {
		var s script
		s.add("link set dev %s down", h.Interface(path))
		return h.ip(&s)
	})
}

// LinkUp switches the host's interface on a path on again, with the addresses and routes it had.
func (h *Host) LinkUp(path int) error {
	return h.lab.change(path, func(*router) error { return h.configure(path) })
}

// CarrierDown pulls the cable between the host and its router on a path: the host's interface stays switched on and
// keeps addresses and routes, without a carrier.
func (h *Host) CarrierDown(path int) error {
	return h.lab.change(path, func(r *router) error {
		var s script
		s.add("link set dev %s down", h.port())
		return r.ip(&s)
	})
}

// CarrierUp plugs the cable in again.
func (h *Host) CarrierUp(path int) error {
	return h.lab.change(path, func(r *router) error {
		if err := r.ip(r.addresses(h.port(), path, h.side)); err != nil {
			return err
		}
		return h.configure(path)
	})
}

// AddrDel takes the host's addresses on a path away, IPv4 and IPv6, and with them the routes that prefer them. Sockets
// bound to them stay open; IPv4 ones cannot send, IPv6 ones send on from the lost address, and no answer comes back.
func (h *Host) AddrDel(path int) error {
	return h.lab.change(path, func(*router) error {
		var s script
		for _, fam := range families {
			s.add("addr del %v/%d dev %s", fam.addr(path, h.side, hostPart), fam.bits, h.Interface(path))
		}
		return h.ip(&s)
	})
}

// AddrAdd gives the host its addresses on a path back, and the routes.
func (h *Host) AddrAdd(path int) error {
	return h.lab.change(path, func(*router) error { return h.configure(path) })
}

// Extra gives the host one more interface on a path, with a subnet of its own behind the same router, and returns its
// addresses. Packets from there reach the other host and are answered, but Addrs does not list them: it is the source
// that an association never told its peer about.
func (h *Host) Extra(path int) (v4, v6 netip.Addr, err error) {
	side := h.side + extraSide
	err = h.lab.change(path, func(r *router) error {
		if h.extra[path] {
			return nil
		}
		dev, port := fmt.Sprintf("x%d", path), "x"+h.port()
		if err := h.cable(dev, r, port); err != nil {
			return err
		}
		if err := r.ip(r.addresses(port, path, side)); err != nil {
			return err
		}
		var own, far script
		own.add("link set dev %s up", dev)
		for _, fam := range families {
			addr, via := fam.addr(path, side, hostPart), fam.addr(path, side, routerPart)
			own.add("addr replace %v/%d dev %s %s", addr, fam.bits, dev, fam.opt)
			own.add("route replace default via %v dev %s table %d src %v", via, dev, table(path+MaxPaths), addr)
			far.add("route replace %v via %v", netip.PrefixFrom(fam.addr(path, side, 0), fam.bits),
				fam.addr(path, h.peer().side, routerPart))
		}
		if err := errors.Join(h.ip(&own), h.rules(path, side, table(path+MaxPaths)), h.peer().ip(&far)); err != nil {
			return err
		}
		h.extra[path] = true
		return nil
	})
	return addr4(path, side, hostPart), addr6(path, side, hostPart), err
}

// Shape limits each direction of a path to a rate in bits per second, with a queue in front that holds packets for at
// most the given time and drops what is beyond. Rate 0 lifts the limit.
func (l *Lab) Shape(path int, bitsPerSecond int64, queue time.Duration) error {
	return l.change(path, func(r *router) error {
		var s script
		for _, dev := range []string{"to-a", "to-b"} {
			if bitsPerSecond <= 0 {
				s.add("qdisc replace dev %s root pfifo", dev) // deleting fails where there is nothing
				s.add("qdisc del dev %s root", dev)
				continue
			}
			// The bucket lets two milliseconds pass at once, and never less than two packets.
			burst := max(bitsPerSecond/8/500, 2*int64(l.opts.MTU+14))
			s.add("qdisc replace dev %s root tbf rate %dbit burst %d latency %dus", dev, bitsPerSecond, burst,
				max(queue, time.Millisecond).Microseconds())
		}
		return r.tc(&s)
	})
}

// SetMTU changes what the router on a path forwards in one piece, bytes of IP packet, 1280 to what the path was built
// with. It answers larger packets with ICMP; add a Filter to make it a black hole. The interfaces do not change.
func (l *Lab) SetMTU(path, mtu int) error {
	return l.change(path, func(r *router) error {
		if mtu < 1280 || mtu > l.opts.MTU {
			return fmt.Errorf("netlab: an MTU of %d, and 1280 to %d are possible", mtu, l.opts.MTU)
		}
		r.mtu = mtu
		return errors.Join(r.ip(r.addresses(l.A.port(), path, l.A.side)), r.ip(r.addresses(l.B.port(), path, l.B.side)))
	})
}

// unplug takes every cable out of the router, so that no packet passes even if something keeps the namespaces alive. The
// delay line's interface goes by itself, some time after it was closed.
func (r *router) unplug() error {
	if r.file == nil {
		return nil
	}
	out, err := r.links()
	if err != nil {
		return err
	}
	var s script
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if name, _, _ := strings.Cut(line, " "); name != "" && name != "lo" && name != delayName {
			name, _, _ = strings.Cut(name, "@")
			s.add("link del dev %s", name)
		}
	}
	return r.ip(&s)
}
