package capture

import (
	"encoding/binary"
	"net/netip"
)

// Protocol numbers and header sizes.
const (
	protoUDP  = 17
	protoSCTP = 132

	ip4Header = 20
	ip6Header = 40
	udpHeader = 8

	maxHeader = ip6Header + udpHeader
	hopLimit  = 64
)

// appendHeaders appends the IP header, and with udp the UDP header, of a datagram with n bytes of payload, whose one's
// complement sum is sum.
func appendHeaders(b []byte, src, dst netip.AddrPort, n int, udp bool, sum uint32) []byte {
	proto, length := byte(protoSCTP), n
	if udp {
		proto, length = protoUDP, n+udpHeader
	}
	at := len(b)
	if src.Addr().Is4() {
		b = append(b, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(min(ip4Header+length, 0xffff)))
		b = append(b, 0, 0, 0x40, 0, hopLimit, proto, 0, 0) // identification 0, "don't fragment"
		s, d := src.Addr().As4(), dst.Addr().As4()
		b = append(append(b, s[:]...), d[:]...)
		binary.BigEndian.PutUint16(b[at+10:], fold(add(0, b[at:])))
	} else {
		b = append(b, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(min(length, 0xffff)))
		b = append(b, proto, hopLimit)
		s, d := src.Addr().As16(), dst.Addr().As16()
		b = append(append(b, s[:]...), d[:]...)
	}
	if !udp {
		return b
	}
	// The pseudo header is the addresses, the length and the protocol, in either family (RFC 768, RFC 8200 section 8.1).
	addrs := b[at+ip4Header-8:]
	if !src.Addr().Is4() {
		addrs = b[at+ip6Header-32:]
	}
	sum = add(sum, addrs) + protoUDP + uint32(length)
	at = len(b)
	b = binary.BigEndian.AppendUint16(b, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	b = append(b, 0, 0)
	check := fold(add(sum, b[at:]))
	if check == 0 {
		check = 0xffff // 0 would mean that there is none
	}
	binary.BigEndian.PutUint16(b[at+6:], check)
	return b
}

// add adds the 16-bit words of b to a one's complement sum, which holds for more than 64 KiB.
func add(sum uint32, b []byte) uint32 {
	s := uint64(sum)
	for len(b) >= 4 {
		s += uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint32(s)
}

// fold makes the checksum of a sum.
func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
