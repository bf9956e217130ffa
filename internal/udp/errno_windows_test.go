package udp

import "golang.org/x/sys/windows"

const (
	unreachable   = windows.WSAENETUNREACH
	messageTooBig = windows.WSAEMSGSIZE
)
