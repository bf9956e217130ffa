// Package netlab builds a small network out of the kernel's own parts: two hosts that reach each other over several paths,
// one router on each, every machine a network namespace. What happens to a packet there, from the route lookup to a lost
// carrier, is what happens on real machines; only the cables are virtual.
//
//	host A ==p0== router 0 ==p0== host B
//	       ==p1== router 1 ==p1==
//
// Each path has subnets of its own on both sides, in IPv4 and IPv6, and each host routes by source address: a packet
// from its address on path i leaves over path i, whatever its destination. Paths can be cut silently in one direction or
// both, slowed down, delayed and filtered, and interfaces and addresses can be taken away, while programs talk.
//
// The namespaces have no names. They live by open file descriptors and sockets alone, so that laboratories never collide
// and the kernel clears one away when its process ends, however that comes about. To look inside a living one:
// nsenter --net=/proc/PID/fd/N with the numbers that Host.String prints.
//
// It takes Linux, root (a user namespace will do), and the programs ip, tc and nft.
package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// MaxPaths is the largest number of paths in a laboratory.
const MaxPaths = 8

// Options say what to build. The zero value is two paths over Ethernet without delay.
type Options struct {
	// Paths is the number of paths, 1 to MaxPaths. Default 2.
	Paths int

	// MTU of every interface, bytes of IP packet, 1280 to 65535. Default 1500.
	MTU int

	// Delay is how long every router holds each packet, in each direction: half the round trip. Default 0. Change it
	// for a single path with SetDelay.
	Delay time.Duration

	// Cross joins the routers with each other, as providers are, so that A's address on path i reaches B's address on
	// path j. Without it such a packet is answered with ICMP "network unreachable".
	Cross bool
}

// Lab is a network in operation. Its methods may be called from several goroutines.
type Lab struct {
	A, B *Host

	opts    Options
	routers []*router
	mu      sync.Mutex // guards the routers' state and makes changes one at a time
	closed  bool
}

// Host is one end of the network.
type Host struct {
	ns
	lab   *Lab
	name  string
	side  int // 1 for A, 2 for B: the third part of its subnets
	extra []bool
}

// router is what stands on one path.
type router struct {
	ns
	index  int
	mtu    int // of what it forwards
	cut    Direction
	filter []string
	line   *delayLine
}

// Direction says which way packets are meant to flow. Directions can be added.
type Direction uint8

// The directions of a path, as host A sees them.
const (
	Forth Direction = 1 << iota // from A to B
	Back                        // from B to A
	Both  = Forth | Back
)

// String names the direction.
func (d Direction) String() string {
	switch d {
	case Forth:
		return "A to B"
	case Back:
		return "B to A"
	case Both:
		return "both directions"
	}
	return "no direction"
}

// New builds a laboratory. When it returns without an error every path has carried a packet both ways in IPv4 and
// IPv6, so that neighbours are known and no first packet is late. Close it when done.
func New(o Options) (*Lab, error) {
	if o.Paths == 0 {
		o.Paths = 2
	}
	if o.MTU == 0 {
		o.MTU = 1500
	}
	if o.Paths < 1 || o.Paths > MaxPaths {
		return nil, fmt.Errorf("netlab: %d paths, and 1 to %d are possible", o.Paths, MaxPaths)
	}
	if o.MTU < 1280 || o.MTU > 65535 {
		return nil, fmt.Errorf("netlab: an MTU of %d, and 1280 to 65535 are possible", o.MTU)
	}
	if o.Delay < 0 {
		return nil, errors.New("netlab: negative delay")
	}
	l := &Lab{opts: o}
	if err := l.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("netlab: %w", err), l.Close())
	}
	return l, nil
}

// TB is the part of testing.TB that ForTest needs.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// ForTest is New for a test: it fails the test when building fails and closes the laboratory at its end.
func ForTest(t TB, o Options) *Lab {
	t.Helper()
	l, err := New(o)
	if err != nil {
		t.Fatalf("%v", err)
		return nil
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("%v", err)
		}
	})
	return l
}

// Close takes the network down. Programs that still run inside and sockets that are still open keep what they stand in
// alive, cut off from the rest, until they end. Closing again does nothing.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var errs []error
	for _, r := range l.routers {
		if r.line != nil {
			r.line.close()
		}
		errs = append(errs, r.unplug(), r.release())
	}
	for _, h := range []*Host{l.A, l.B} {
		if h != nil {
			errs = append(errs, h.release())
		}
	}
	return errors.Join(errs...)
}

// Paths returns the number of paths.
func (l *Lab) Paths() int { return l.opts.Paths }

// InA runs f on a thread inside host A. See Host.Do.
func (l *Lab) InA(f func() error) error { return l.A.Do(f) }

// InB runs f on a thread inside host B. See Host.Do.
func (l *Lab) InB(f func() error) error { return l.B.Do(f) }

// String names the host and how to enter it from a shell.
func (h *Host) String() string { return fmt.Sprintf("host %s (%s)", h.name, h.where()) }

// Addr4 returns the host's IPv4 address on a path.
func (h *Host) Addr4(path int) netip.Addr { return addr4(path, h.side, hostPart) }

// Addr6 returns the host's IPv6 address on a path.
func (h *Host) Addr6(path int) netip.Addr { return addr6(path, h.side, hostPart) }

// Addrs returns the host's IPv4 addresses, one per path in order.
func (h *Host) Addrs() []netip.Addr {
	out := make([]netip.Addr, h.lab.opts.Paths)
	for i := range out {
		out[i] = h.Addr4(i)
	}
	return out
}

// Interface returns the name of the host's interface on a path.
func (h *Host) Interface(path int) string { return fmt.Sprintf("p%d", path) }

// The last part of an address, and what is added to a host's side for the subnet of its extra interface.
const (
	hostPart   = 1
	routerPart = 254
	extraSide  = 2
)

func addr4(path, side, last int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(100 + path), byte(side), byte(last)})
}

func addr6(path, side, last int) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 3: 0x64, 5: byte(path), 7: byte(side), 15: byte(last)})
}
