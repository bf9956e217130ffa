//go:build unix

package udp

import "syscall"

const (
	unreachable   = syscall.ENETUNREACH
	messageTooBig = syscall.EMSGSIZE
)
