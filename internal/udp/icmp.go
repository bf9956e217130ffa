package udp

import (
	"net/netip"
	"strconv"
)

// NoticeKind says what an ICMP message means for a packet that was sent.
type NoticeKind uint8

// The kinds.
const (
	OtherNotice     NoticeKind = iota // time exceeded, parameter problem: nothing to act on
	PortUnreachable                   // nobody has the UDP port, or the host knows no UDP
	HostUnreachable                   // no way to the network or host, or forbidden
	PacketTooBig                      // does not fit and must not be fragmented
)

// Notice is an ICMP message about an earlier packet, as the kernel has matched it to the socket by addresses and UDP ports.
// Those are easily guessed: the quotation is for the reader to check.
type Notice struct {
	Kind       NoticeKind
	Peer       netip.AddrPort // where the packet went
	Offender   netip.Addr     // who sent the message: a router, or the peer's host; not valid if unknown
	Type, Code uint8          // of ICMP, or of ICMPv6 if Peer is an IPv6 address
	MTU        int            // with PacketTooBig: bytes of IP packet that fit, as the message has it
	Quote      []byte         // the beginning of the packet's payload; valid until the next ReadBatch
}

var noticeNames = [...]string{"message", "port unreachable", "host unreachable", "packet too big"}

// String says what the message says, and who.
func (n *Notice) String() string {
	s := "ICMP " + noticeNames[n.Kind]
	if n.Kind == OtherNotice || n.Kind == HostUnreachable {
		s += " (type " + strconv.Itoa(int(n.Type)) + " code " + strconv.Itoa(int(n.Code)) + ")"
	}
	if n.Offender.IsValid() {
		s += " from " + n.Offender.String()
	}
	return s
}

// kindOf reads type and code of ICMP (RFC 792, RFC 1812 section 5.2.7.1) or ICMPv6 (RFC 4443).
func kindOf(six bool, typ, code uint8) NoticeKind {
	const (
		unreachable4 = 3
		unreachable6 = 1
		tooBig6      = 2
		parameter6   = 4
	)
	switch {
	case !six && typ == unreachable4:
		switch code {
		case 2, 3: // protocol, port
			return PortUnreachable
		case 4:
			return PacketTooBig
		}
		return HostUnreachable
	case six && typ == unreachable6:
		if code == 4 { // port
			return PortUnreachable
		}
		return HostUnreachable
	case six && typ == tooBig6:
		return PacketTooBig
	case six && typ == parameter6 && code == 1: // unrecognized next header
		return PortUnreachable
	}
	return OtherNotice
}
