package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// control is room for the control messages of one datagram: ECN, the overflow counter, the size of coalesced ones; with
// some left for what a program's own socket options may add. In words, so that it is aligned as the kernel's headers are.
type control [16]uint64

// askControl asks for the control messages we read. Both families are asked for on an IPv6 socket, as one that somebody
// else opened may carry IPv4 too. It reports whether ECN will come.
func askControl(fd int, inet6 bool) (ecn bool) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
	if inet6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
	}
	return err == nil
}

const ecnMask = 3

// readControl returns the ECN bits of datagram i and, when it is several, the size of each; 0 otherwise. It follows the
// kernel's count of overflows.
func (r *receiver) readControl(i int) (ecn uint8, segment int) {
	mem := unsafe.Slice((*byte)(unsafe.Pointer(&r.ctls[i])), len(r.ctls[i])*8)
	left := min(int(r.hdrs[i].hdr.Controllen), len(mem))
	const head = unix.SizeofCmsghdr
	for off := 0; left-off >= head; {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&mem[off]))
		size := int(h.Len)
		if size < head || size > left-off {
			break
		}
		data := mem[off+unix.CmsgLen(0) : off+size]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS && len(data) >= 1:
			ecn = data[0] & ecnMask
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(data) >= 4:
			ecn = uint8(*(*int32)(unsafe.Pointer(&data[0]))) & ecnMask
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			r.overflowed(*(*uint32)(unsafe.Pointer(&data[0])))
		case h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			segment = int(*(*int32)(unsafe.Pointer(&data[0])))
		}
		off += unix.CmsgSpace(size - unix.CmsgLen(0))
	}
	return ecn, segment
}

// overflowed takes the kernel's running total, which is a datagram's own view when it was queued and wraps at 32 bits.
func (r *receiver) overflowed(total uint32) {
	if d := int32(total - r.drops); d > 0 {
		r.drops = total
		r.sock.in.overflows.Add(uint64(d))
	}
}
