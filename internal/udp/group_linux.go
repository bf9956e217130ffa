package udp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// A group is several sockets bound to one address and port (SO_REUSEPORT), among which a program of the old BPF kind chooses for
// each datagram. The kernel's own choice is by addresses and ports, and would spread the paths of one association.
//
// With SO_REUSEPORT alone any other program of the same user that sets it, too, could join, and take a share of the datagrams
// without anybody being told. So each group has two guards, sockets on the same port that get no datagrams:
//
//  1. The first guard is bound without the option. That fails when anybody holds the port, another group included, and holds
//     the port from here on.
//  2. It is connected to a port of its own address from which nothing comes, so that no look-up finds it, and given the option,
//     whereupon the shards can be bound. The kernel makes it the first of their group.
//  3. The shards are bound, and behind them the second guard. The program is attached, which chooses shards only.
//  4. The second guard is connected, too, and the option is taken from both. Who binds with the option now is compared with the
//     socket of the port that stands first in the kernel's list: that is the youngest of IPv4, the oldest of IPv6, and
//     a guard in any case. Without the option it lets nobody in.
//  5. That nobody can bind any more is tried.
//
// What is left: a program of the same user that binds with the option between 2 and 4, some tens of microseconds, joins the
// group. Programs that use this package do not, as they begin with 1.
//
// Where any of this is refused all are closed, and there is one socket.

// quiet is the port guards are connected to: "discard" (RFC 863), which answers nothing, and not from this address.
const quiet = 9

// listenGroup opens opts.Shards sockets on one address, or one where the kernel refuses.
func listenGroup(ctx context.Context, addr netip.AddrPort, opts *Options) (Socket, error) {
	first, local, err := open(ctx, addr, opts, false)
	if err != nil {
		return nil, err
	}
	g := &group{guards: []*net.UDPConn{first}}
	raw, err := first.SyscallConn()
	if err == nil && sharedAlready(raw) {
		return take(first, local, opts) // with whom is the program's own affair
	}
	if err == nil {
		if err = g.build(ctx, raw, local, opts); err == nil {
			return g, nil
		}
	}
	_ = g.Close()
	return listenOne(ctx, addr, opts)
}

// build makes a group of one that has its first guard only.
func (g *group) build(ctx context.Context, first syscall.RawConn, local netip.AddrPort, opts *Options) error {
	err := onDescriptor(first, func(fd uintptr) error {
		if err := silence(fd); err != nil {
			return err
		}
		return setShared(fd)
	})
	for range opts.Shards {
		if err != nil {
			return err
		}
		var conn *net.UDPConn
		if conn, _, err = open(ctx, local, opts, true); err != nil {
			return err
		}
		var s Socket
		if s, err = take(conn, local, opts); err == nil {
			g.shards = append(g.shards, s)
		}
	}
	second, _, err := open(ctx, local, opts, true)
	if err != nil {
		return err
	}
	g.guards = append(g.guards, second)
	raw, err := second.SyscallConn()
	if err != nil {
		return err
	}
	program := opts.Steer.program(opts.Shards)
	if err = onDescriptor(Kernel(g.shards[0]), func(fd uintptr) error {
		return unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	}); err != nil {
		return err
	}
	if err = onDescriptor(raw, func(fd uintptr) error { return errors.Join(silence(fd), setAlone(fd)) }); err != nil {
		return err
	}
	if err = onDescriptor(first, setAlone); err != nil {
		return err
	}
	if intruder, _, err := open(ctx, local, opts, true); err == nil {
		_ = intruder.Close()
		return errUnguarded
	}
	return nil
}

// errUnguarded says that guards do not keep others from the port on this kernel.
var errUnguarded = errors.New("udp: a shared port could not be closed to others")

// silence makes a bound socket one that gets no datagrams.
func silence(fd uintptr) error {
	local, err := unix.Getsockname(int(fd))
	if err != nil {
		return err
	}
	switch sa := local.(type) {
	case *unix.SockaddrInet4:
		sa.Port = quiet
	case *unix.SockaddrInet6:
		sa.Port = quiet
	}
	setBuffers(fd, 1, 1) // as little as there is
	return unix.Connect(int(fd), local)
}

// program is the rule for the kernel. It sees the UDP payload, and returns the index of a socket in the order of their
// binding, of which 0 is the first guard's.
func (s Steering) program(shards int) []unix.SockFilter {
	const (
		length = unix.BPF_LD | unix.BPF_W | unix.BPF_LEN
		word   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		least  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		modulo = unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K
		add    = unix.BPF_ALU | unix.BPF_ADD | unix.BPF_K
	)
	return []unix.SockFilter{
		0: {Code: length},
		1: {Code: least, K: uint32(s.Word + 4), Jf: 10 - 2},
		2: {Code: word, K: uint32(s.Word)},
		3: {Code: equal, K: 0, Jf: 7 - 4},
		4: {Code: length},
		5: {Code: least, K: uint32(s.Otherwise + 4), Jf: 10 - 6},
		6: {Code: word, K: uint32(s.Otherwise)},
		7: {Code: modulo, K: uint32(shards)},
		8: {Code: add, K: 1},
		9: {Code: unix.BPF_RET | unix.BPF_A},

		10: {Code: unix.BPF_RET | unix.BPF_K, K: 1},
	}
}

// sharedAlready reports whether the program has set the option itself, in Options.Control.
func sharedAlready(raw syscall.RawConn) bool {
	v := 0
	err := onDescriptor(raw, func(fd uintptr) (err error) {
		v, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT)
		return err
	})
	return err != nil || v != 0
}

func setShared(fd uintptr) error {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

func setAlone(fd uintptr) error {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 0)
}

// onDescriptor calls f with the descriptor.
func onDescriptor(raw syscall.RawConn, f func(fd uintptr) error) error {
	var inner error
	err := raw.Control(func(fd uintptr) { inner = f(fd) })
	return errors.Join(err, inner)
}
