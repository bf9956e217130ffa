//go:build !unix && !windows

package udp

import "syscall"

func localFault(syscall.Errno) bool { return false }
func tooBig(syscall.Errno) bool     { return false }
func blocked(syscall.Errno) bool    { return false }
func addrInUse(syscall.Errno) bool  { return false }
