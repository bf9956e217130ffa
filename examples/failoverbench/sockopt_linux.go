package main

import "syscall"

// useCubic sets the congestion control of a TCP or MPTCP socket.
func useCubic(fd uintptr) error {
	return syscall.SetsockoptString(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CONGESTION, "cubic")
}
