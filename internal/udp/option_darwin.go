package udp

import (
	"net"

	"golang.org/x/sys/unix"
)

// setDF decides whether datagrams leave with Don't Fragment set; false if the kernel did not agree.
func setDF(fd int, inet6, on bool) bool {
	v := 0
	if on {
		v = 1
	}
	if inet6 {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, v) == nil
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_DONTFRAG, v) == nil
}

// setDevice binds the socket to an interface.
func setDevice(fd uintptr, inet6 bool, name string) error {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	if inet6 {
		return unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_BOUND_IF, ifi.Index)
	}
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BOUND_IF, ifi.Index)
}
