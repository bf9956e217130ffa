// Package udp is the lower layer: sockets that take and give packets in batches. It knows batches and knows no SCTP.
//
// One Socket is bound to one local locator. The driver has one reader goroutine per socket and writes from wherever an
// association is flushed. The simulated network implements the same interface.
package udp

import (
	"errors"
	"net/netip"
	"syscall"

	"github.com/go-multihome/multihome/internal/pktbuf"
)

// ErrBlocked says that the socket's send buffer was full: the packets from n on were not sent. Nobody waits for room;
// the packets count as sent and lost.
var ErrBlocked = errors.New("udp: send buffer full")

// ErrDropped says that packet n got as far as the queue of the link it leaves by, which dropped it: full, or a link that
// takes nothing. It is lost as if the network had lost it.
var ErrDropped = errors.New("udp: dropped by the link's queue")

// ErrPeer says that the socket cannot name the packet's destination: no address, port 0, the other address family, or
// a zone that is no interface. IsLocalFault holds for it.
var ErrPeer = errors.New("udp: destination cannot be reached from this socket")

// EachReader is a Socket whose reader need not come back between batches.
type EachReader interface {
	// ReadEach is ReadBatch again and again: it calls each for what arrived, and returns with an error of ReadBatch, or with
	// notices in b. each must not close the socket, nor wait for somebody who does.
	ReadEach(b *Batch, each func()) error
}

// Socket is one local locator's packets, in and out. ReadBatch is called by one goroutine at a time, WriteBatch by many.
type Socket interface {
	// ReadBatch waits for at least one packet, or a notice about one sent, and fills b. It returns exactly net.ErrClosed after
	// Close, which also frees a reader that waits. Other errors are about earlier sends (ICMP, where the socket knows no
	// notices) or passing; the reader counts them and reads on, and should pause when several come in a row.
	ReadBatch(b *Batch) error

	// WriteBatch sends packets in order and never waits. It returns how many were taken and, when that is not all of
	// them, why packet n was not: ErrBlocked, net.ErrClosed, or the send error of that packet alone (ErrDropped among
	// them), after which the caller may go on with packet n+1. IsLocalFault and IsTooBig tell what a send error means.
	WriteBatch(pkts []pktbuf.Packet) (n int, err error)

	// Local returns the bound address. Its port is never zero.
	Local() netip.AddrPort

	Close() error
}

// Kernel returns the kernel's socket under s, nil if there is none: the connection is simulated, or one of the program's own
// making. Only a kernel's socket stands for an address of this host.
func Kernel(s Socket) syscall.RawConn {
	if k, ok := s.(interface{ kernel() syscall.RawConn }); ok {
		return k.kernel()
	}
	return nil
}
