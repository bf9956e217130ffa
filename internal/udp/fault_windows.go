package udp

import (
	"syscall"

	"golang.org/x/sys/windows"
)

func localFault(no syscall.Errno) bool {
	switch no {
	case windows.WSAENETUNREACH, windows.WSAEHOSTUNREACH, windows.WSAENETDOWN, windows.WSAEHOSTDOWN,
		windows.WSAEADDRNOTAVAIL, windows.WSAEAFNOSUPPORT, windows.WSAEINVAL, windows.WSAEACCES:
		return true
	}
	return false
}

func tooBig(no syscall.Errno) bool { return no == windows.WSAEMSGSIZE }

func blocked(no syscall.Errno) bool {
	return no == windows.WSAEWOULDBLOCK || no == windows.WSAENOBUFS
}

// addrInUse: Windows answers "access denied" for a port of an excluded range or held exclusively.
func addrInUse(no syscall.Errno) bool {
	return no == windows.WSAEADDRINUSE || no == windows.WSAEACCES
}
