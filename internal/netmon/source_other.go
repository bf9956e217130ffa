//go:build !linux

package netmon

import "syscall"

// namespace names the network a socket stands in. There is but one.
func namespace(syscall.RawConn, *Watch) any { return "system" }

func open(_ syscall.RawConn, on *watcher) (source, error) { return openPoller(on, pollEvery) }
