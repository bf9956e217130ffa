package main

import (
	"syscall"
	"time"
)

// useCubic sets the congestion control of a TCP or MPTCP socket.
func useCubic(fd uintptr) error {
	return syscall.SetsockoptString(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CONGESTION, "cubic")
}

// processorTime is what this process, which is both ends, has used of the processors, with the kernel's work for it.
func processorTime() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
