//go:build !linux

package main

import "errors"

// useCubic would set the congestion control of a TCP socket.
func useCubic(uintptr) error { return errors.ErrUnsupported }
