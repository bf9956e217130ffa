package udp

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offload: what many packets have in common is done once.
//
// On the way out neighbours of equal size for the same peer, the last of which may be shorter, are a run. A run is handed to
// the kernel as one large message with the size of its packets (UDP_SEGMENT, GSO): it walks through the kernel as one packet
// and is cut apart at its end, by the device if that can. The packets of a batch lie side by side in its slab, so that a
// run is one vector; where they do not it has several, and nothing is copied either way.
//
// On the way in the kernel joins datagrams of one flow and tells their size (UDP_GRO); the reader cuts them apart.
//
// Both are asked for when the socket is opened. Taking what was joined can be relied on from then. Sending cannot: a device
// without checksum offload, IPsec on the way, or a socket option of the program makes the kernel refuse a run that it
// would take packet by packet. Whenever a run is refused its packets go out one by one, see (*sender).singly.

const (
	maxSegments = 64             // the kernel's limit until Linux 6.9, twice that since
	maxRun      = 65535 - 20 - 8 // bytes of a run: an IPv4 datagram's payload
)

// askCoalesced asks the kernel to join datagrams and reports whether it may (Linux 5.0).
func askCoalesced(fd int) bool { return unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) == nil }

// offersSegments reports whether the kernel knows runs (Linux 4.18).
func offersSegments(fd int) bool {
	_, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT)
	return err == nil
}

// lasting reports whether a refusal with this error will be repeated. Others are about a moment, such as a lack of memory,
// or about the packets, such as their size.
func lasting(no syscall.Errno) bool {
	switch no {
	case unix.EIO, // no checksum offload, IPsec
		unix.EINVAL, // checksums switched off; control message unknown
		unix.EOPNOTSUPP, unix.ENOPROTOOPT, unix.EPROTONOSUPPORT:
		return true
	}
	return false
}

// run is the message being made of packets. The zero run takes none.
type run struct {
	size  int // of each packet
	count int // at most maxSegments
	bytes int
	open  bool // one more may follow
}

func (r *run) begin(size int) { *r = run{size, 1, size, size > 0} }

// takes reports whether a packet of n bytes joins the run, and counts it in if so.
func (r *run) takes(n int) bool {
	if !r.open || n > r.size || n == 0 || r.count == maxSegments || r.bytes+n > maxRun {
		return false
	}
	r.count++
	r.bytes += n
	r.open = n == r.size
	return true
}

// segmentControl is room for the control message that tells the size of a run's packets, in words so that it is aligned.
type segmentControl [3]uint64

func (c *segmentControl) set(size int) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(c))
	h.Level, h.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	*(*uint16)(unsafe.Add(unsafe.Pointer(c), unix.CmsgLen(0))) = uint16(size)
}
