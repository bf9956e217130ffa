// Package udp is the lower layer: sockets that take and give packets in batches. It knows batches and knows no SCTP.
//
// One Socket is bound to one local locator. The driver has one reader goroutine per socket and writes from wherever an
// association is flushed. The simulated network implements the same interface.
package udp

import (
	"errors"
	"net/netip"

	"github.com/go-multihome/multihome/internal/pktbuf"
)

// ErrBlocked says that the socket's send buffer was full: the packets from n on were not sent. Nobody waits for room;
// the packets count as sent and lost.
var ErrBlocked = errors.New("udp: send buffer full")

// Socket is one local locator's packets, in and out. ReadBatch is called by one goroutine at a time, WriteBatch by many.
type Socket interface {
	// ReadBatch waits for at least one packet and fills b. It returns net.ErrClosed after Close.
	// Other errors are about earlier sends (ICMP) or passing; the reader counts them and reads on.
	ReadBatch(b *Batch) error

	// WriteBatch sends packets in order and never waits. It returns how many were taken and, when that is not all of
	// them, why packet n was not: ErrBlocked, or the send error of that packet alone.
	WriteBatch(pkts []pktbuf.Packet) (n int, err error)

	// Local returns the bound address. Its port is never zero.
	Local() netip.AddrPort

	Close() error
}

// Slot is one received datagram, or several of equal size (the last may be shorter) side by side when Segment is set.
type Slot struct {
	Buf     []byte         // valid until the next ReadBatch
	Peer    netip.AddrPort // where it came from; IPv4-mapped addresses come as IPv4
	ECN     uint8          // ECN bits of the IP header
	Segment int            // size of each datagram in Buf when the kernel coalesced several (GRO); 0: Buf is one datagram
}

// Batch is what one ReadBatch fills. Its memory belongs to the reader and is used again at the next call.
type Batch struct {
	Slots []Slot // filled slots
	mem   []byte
	impl  any // scratch of the socket implementation
}

// MaxDatagram is the largest datagram a slot takes; longer ones are cut by the kernel and fail their checksum.
const MaxDatagram = 65535
