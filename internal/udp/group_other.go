//go:build !linux

package udp

import (
	"context"
	"net/netip"
)

// listenGroup opens one socket: only Linux steers datagrams among several.
func listenGroup(ctx context.Context, addr netip.AddrPort, opts *Options) (Socket, error) {
	return listenOne(ctx, addr, opts)
}

func setShared(uintptr) error { return nil }
