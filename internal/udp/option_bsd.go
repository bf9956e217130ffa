//go:build unix && !linux

package udp

import "golang.org/x/sys/unix"

func setDSCP(fd uintptr, inet6 bool, dscp int) error {
	if inet6 {
		return unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_TCLASS, dscp<<2)
	}
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, dscp<<2)
}

// setBuffers asks for buffer sizes. These systems refuse what is over their limit instead of cutting it, so half is
// asked for then, and so on.
func setBuffers(fd uintptr, recv, send int) {
	for _, o := range [...]struct{ size, opt int }{{recv, unix.SO_RCVBUF}, {send, unix.SO_SNDBUF}} {
		for size := o.size; size >= 1<<16; size /= 2 {
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, o.opt, size) == nil {
				break
			}
		}
	}
}
