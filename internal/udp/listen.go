package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// Options are what a locator's socket may be given. The zero value is good.
type Options struct {
	// Control is called before the socket is bound, after our own options are set, as in net.ListenConfig.
	Control func(network, address string, c syscall.RawConn) error

	// Device binds the socket to a network interface, so that packets leave by that link whatever the routes say.
	// Linux and Darwin; elsewhere it is an error. DeviceOf, if set, names the interface per address and "" for none.
	Device   string
	DeviceOf func(netip.Addr) string

	// RecvBuffer and SendBuffer ask for kernel buffers of so many bytes; 0 leaves the system's default. The system may
	// give less, see Stats.
	RecvBuffer, SendBuffer int

	// DSCP is the differentiated services code point of outgoing packets, 0 to 63.
	DSCP int

	// NoOffload keeps the socket from sending several packets as one message for the kernel to segment and from taking
	// several that it has coalesced (Linux). Both are tried where the kernel has them, and given up when it refuses.
	NoOffload bool

	// Shards is how many sockets share the address and port, at most MaxShards; 0 means one. The kernel gives each datagram
	// to one of them, which Steer chooses. Linux; elsewhere, and where the kernel refuses or Control shares the port by
	// itself, it is one. See the function Shards. Control is called for each and
	// for three more, which guard the port.
	Shards int
	Steer  Steering
}

// anyPortTries is how often ListenSet looks for a port that is free on all addresses. Each try begins with the address
// at which the last one failed, so it is more than the number of addresses with a crowded port space.
const anyPortTries = 64

// Listen opens a socket bound to one address, which must not be the unspecified one: what leaves it has that source.
// Port 0 picks a free port. An IPv6 socket carries IPv6 only, and a link-local address needs its zone.
func Listen(ctx context.Context, addr netip.AddrPort, opts Options) (Socket, error) {
	ip := addr.Addr().Unmap()
	addr = netip.AddrPortFrom(ip, addr.Port())
	if err := bindable(ip); err != nil {
		return nil, err
	}
	if opts.DSCP < 0 || opts.DSCP > 63 {
		return nil, fmt.Errorf("udp: DSCP %d is not in 0 to 63", opts.DSCP)
	}
	if opts.Shards < 0 || opts.Shards > MaxShards {
		return nil, fmt.Errorf("udp: %d shards, which is not in 0 to %d", opts.Shards, MaxShards)
	}
	if opts.Shards > 1 {
		return listenGroup(ctx, addr, &opts)
	}
	return listenOne(ctx, addr, &opts)
}

func listenOne(ctx context.Context, addr netip.AddrPort, opts *Options) (Socket, error) {
	conn, local, err := open(ctx, addr, opts, false)
	if err != nil {
		return nil, err
	}
	return take(conn, local, opts)
}

// open opens the kernel's socket and returns its address as it was asked for: the zone keeps the spelling that locators
// compare by. With shared the port is one that others have who share it, too.
func open(ctx context.Context, addr netip.AddrPort, opts *Options, shared bool) (*net.UDPConn, netip.AddrPort, error) {
	network := "udp4"
	if addr.Addr().Is6() {
		network = "udp6"
	}
	lc := net.ListenConfig{Control: opts.control(addr.Addr(), shared)}
	pc, err := lc.ListenPacket(ctx, network, addr.String())
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	conn := pc.(*net.UDPConn)
	bound, ok := addrPortOf(conn.LocalAddr())
	if !ok {
		_ = conn.Close()
		return nil, netip.AddrPort{}, fmt.Errorf("udp: %v is bound to %v", addr, conn.LocalAddr())
	}
	return conn, netip.AddrPortFrom(addr.Addr(), bound.Port()), nil
}

// take makes the kernel's socket ours.
func take(conn *net.UDPConn, local netip.AddrPort, opts *Options) (Socket, error) {
	s, err := newKernel(conn, local, !opts.NoOffload)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

// ListenSet opens one socket per address, all on the same port number; port 0 finds one that is free on all of them.
// The sockets come in the order of addrs. On an error all are closed, and it names the address.
func ListenSet(ctx context.Context, addrs []netip.Addr, port uint16, opts Options) ([]Socket, error) {
	if len(addrs) == 0 {
		return nil, errors.New("udp: no addresses to listen on")
	}
	set := make([]Socket, len(addrs))
	first := 0
	for try := 1; ; try++ {
		failed, err := listenAll(ctx, set, addrs, first, port, opts)
		if err == nil {
			return set, nil
		}
		for i, s := range set {
			if s != nil {
				_ = s.Close()
				set[i] = nil
			}
		}
		no, ok := errnoOf(err)
		if port != 0 || failed == first || !ok || !addrInUse(no) || try == anyPortTries || ctx.Err() != nil {
			return nil, fmt.Errorf("udp: listen on %v: %w", addrs[failed], err)
		}
		first = failed
	}
}

// listenAll fills set, beginning with address first, whose port the others take if port is 0. On an error it returns
// the index of the address that failed.
func listenAll(ctx context.Context, set []Socket, addrs []netip.Addr, first int, port uint16, opts Options) (int, error) {
	for k := range addrs {
		i := (first + k) % len(addrs)
		s, err := Listen(ctx, netip.AddrPortFrom(addrs[i], port), opts)
		if err != nil {
			return i, err
		}
		set[i] = s
		port = s.Local().Port()
	}
	return 0, nil
}

// bindable tells whether an address can be a locator's.
func bindable(ip netip.Addr) error {
	switch {
	case !ip.IsValid():
		return errors.New("udp: no address to bind to")
	case ip.IsUnspecified():
		return fmt.Errorf("udp: a socket stands for one address, %v is all of them", ip)
	case ip.IsMulticast():
		return fmt.Errorf("udp: %v is a multicast address", ip)
	case ip.Is6() && ip.IsLinkLocalUnicast() && ip.Zone() == "":
		return fmt.Errorf("udp: link-local address %v needs a zone, as in %v%%eth0", ip, ip)
	}
	return nil
}

// control sets our options before bind, then lets the program set its own.
func (o *Options) control(ip netip.Addr, shared bool) func(network, address string, c syscall.RawConn) error {
	device := o.Device
	if o.DeviceOf != nil {
		device = o.DeviceOf(ip)
	}
	own := *o
	return func(network, address string, c syscall.RawConn) error {
		var inner error
		err := c.Control(func(fd uintptr) {
			if device != "" {
				if err := setDevice(fd, ip.Is6(), device); err != nil {
					inner = fmt.Errorf("udp: bind to device %s: %w", device, err)
					return
				}
			}
			if own.DSCP != 0 {
				if err := setDSCP(fd, ip.Is6(), own.DSCP); err != nil {
					inner = fmt.Errorf("udp: set DSCP %d: %w", own.DSCP, err)
					return
				}
			}
			setBuffers(fd, own.RecvBuffer, own.SendBuffer)
			if shared {
				inner = setShared(fd)
			}
		})
		if err = errors.Join(err, inner); err != nil || own.Control == nil {
			return err
		}
		return own.Control(network, address, c)
	}
}
