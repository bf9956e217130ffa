package main

import (
	"syscall"
	"time"
)

// processorTime returns what this process has used so far, in the kernel as well.
func processorTime() time.Duration {
	process, err := syscall.GetCurrentProcess()
	if err != nil {
		return 0
	}
	var created, ended, kernel, user syscall.Filetime
	if syscall.GetProcessTimes(process, &created, &ended, &kernel, &user) != nil {
		return 0
	}
	// The times are counts of 100 ns, in the layout of a point in time but from zero.
	since := func(t syscall.Filetime) time.Duration {
		return time.Duration(int64(t.HighDateTime)<<32|int64(t.LowDateTime)) * 100
	}
	return since(kernel) + since(user)
}
