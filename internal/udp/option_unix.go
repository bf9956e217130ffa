//go:build unix && !linux && !darwin && !freebsd

package udp

import (
	"errors"

	"golang.org/x/sys/unix"
)

// setDF decides whether datagrams leave with Don't Fragment set; false if the kernel did not agree. Of these systems
// the ones that know it for IPv4 at all disagree about its number, so only IPv6 is asked.
func setDF(fd int, inet6, on bool) bool {
	if !inet6 {
		return false
	}
	v := 0
	if on {
		v = 1
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, v) == nil
}

func setDevice(uintptr, bool, string) error { return errors.ErrUnsupported }
