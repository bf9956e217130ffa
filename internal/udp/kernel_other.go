//go:build !linux

package udp

import (
	"net"
	"net/netip"
)

// newKernel takes the socket over. local is what Local answers.
func newKernel(conn *net.UDPConn, local netip.AddrPort, _ bool) (Socket, error) {
	d, err := newDatagram(conn, local.Addr().Is6())
	if err != nil {
		return nil, err
	}
	return newSingle(d, local), nil
}
