//go:build unix

package udp

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func localFault(no syscall.Errno) bool {
	switch no {
	case unix.ENETUNREACH, unix.EHOSTUNREACH, // no route, or one of type unreachable
		unix.ENETDOWN, unix.EHOSTDOWN, // link or, on BSD, neighbour
		unix.ENODEV, unix.ENXIO, // the interface bound to has gone
		unix.EADDRNOTAVAIL, // the source address has gone
		unix.EINVAL,        // so says Linux for IPv4, and for a blackhole route
		unix.EAFNOSUPPORT,
		unix.EPERM, unix.EACCES: // packet filter, prohibit route
		return true
	}
	return false
}

func tooBig(no syscall.Errno) bool { return no == unix.EMSGSIZE }

// blocked: the send buffer is full; the BSDs say ENOBUFS when the link's queue is (for Linux see ErrDropped).
func blocked(no syscall.Errno) bool {
	return no == unix.EAGAIN || no == unix.EWOULDBLOCK || no == unix.ENOBUFS || no == unix.ENOMEM
}

func addrInUse(no syscall.Errno) bool { return no == unix.EADDRINUSE }
