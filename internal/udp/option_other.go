//go:build !unix && !windows

package udp

import "errors"

func setDF(int, bool, bool) bool            { return false }
func setDevice(uintptr, bool, string) error { return errors.ErrUnsupported }
func setDSCP(uintptr, bool, int) error      { return errors.ErrUnsupported }
func setBuffers(fd uintptr, recv, send int) {}
