package udp

import (
	"errors"

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

// setDevice: FreeBSD has no such option for UDP sockets.
func setDevice(uintptr, bool, string) error { return errors.ErrUnsupported }
