package udp

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// setDF decides whether datagrams leave with Don't Fragment set.
//
// "Probe" is the mode of a sender that searches the path MTU itself (RFC 8899): DF on every packet, up to the MTU of
// the link, and the kernel's own idea of the path MTU, which any forged ICMP message may have planted, is ignored.
// Without DF the kernel fragments to that idea and routers may fragment further; in IPv6 only the kernel can.
// It reports whether the kernel agreed.
func setDF(fd int, inet6, on bool) bool {
	four, six := unix.IP_PMTUDISC_DONT, unix.IPV6_PMTUDISC_DONT
	if on {
		four, six = unix.IP_PMTUDISC_PROBE, unix.IPV6_PMTUDISC_PROBE
	}
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, four)
	if inet6 { // whose IPv4 side, if any, was best effort
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, six)
	}
	return err == nil
}

// setDevice binds the socket to an interface. Since Linux 5.7 this needs no privilege.
func setDevice(fd uintptr, _ bool, name string) error { return unix.BindToDevice(int(fd), name) }

func setDSCP(fd uintptr, inet6 bool, dscp int) error {
	if inet6 {
		return unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_TCLASS, dscp<<2)
	}
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, dscp<<2)
}

// setBuffers asks for buffer sizes. The kernel doubles what it is asked for, for its own bookkeeping, and cuts it
// silently to a system-wide limit that only the privileged call may exceed.
func setBuffers(fd uintptr, recv, send int) {
	for _, o := range [...]struct{ size, opt, force int }{
		{recv, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE},
		{send, unix.SO_SNDBUF, unix.SO_SNDBUFFORCE},
	} {
		if o.size <= 0 {
			continue
		}
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, o.opt, o.size)
		if got, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, o.opt); err == nil && got < 2*o.size {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, o.force, o.size)
		}
	}
}

// buffers returns the sizes the kernel reports, or zeros when the socket is closed.
func buffers(raw syscall.RawConn) (recv, send int) {
	_ = raw.Control(func(fd uintptr) {
		recv, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		send, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
	})
	return recv, send
}
