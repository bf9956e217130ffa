package transport

import (
	"net/netip"
	"time"
)

// Capture is told of the datagrams that pass sockets, see Config.Capture.
type Capture interface {
	// Datagram tells when and between which addresses a datagram went, whether we sent it, and its UDP payload, an SCTP
	// packet. It is called by several goroutines at a time, on the way of the packets: it must neither wait nor keep the
	// payload. What we send is told before the socket takes it.
	Datagram(at time.Time, sent bool, local, peer netip.AddrPort, payload []byte)
}
