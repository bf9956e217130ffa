package udp

import (
	"errors"

	"golang.org/x/sys/windows"
)

// Option numbers of ws2ipdef.h that x/sys does not name; IPv4 and IPv6 agree here.
const ipDontFragment = 14

// setDF decides whether datagrams leave with Don't Fragment set; false if the kernel did not agree.
func setDF(fd int, inet6, on bool) bool {
	level, v := windows.IPPROTO_IP, 0
	if inet6 {
		level = windows.IPPROTO_IPV6
	}
	if on {
		v = 1
	}
	return windows.SetsockoptInt(windows.Handle(fd), level, ipDontFragment, v) == nil
}

func setDevice(uintptr, bool, string) error { return errors.ErrUnsupported }

// setDSCP: Windows takes the option and ignores it; marking is a matter of its policies.
func setDSCP(uintptr, bool, int) error { return errors.ErrUnsupported }

func setBuffers(fd uintptr, recv, send int) {
	if recv > 0 {
		_ = windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_RCVBUF, recv)
	}
	if send > 0 {
		_ = windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_SNDBUF, send)
	}
}
