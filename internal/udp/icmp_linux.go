package udp

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ICMP messages come by the socket's error queue (IP_RECVERR). The kernel puts each there with the beginning of the packet it
// is about, and notes its error number with the socket. That number is told to whichever system call comes next, be it a
// read or the write of quite another packet, and is forgotten then: to a read it means that the queue is worth a look, to a
// write nothing.
//
// A reader that waits is woken when a message arrives. It looks at the queue when it was woken and finds nothing to read,
// when a read fails, and when a write has found such a number; not before each wait, which would cost a system call each.

// maxNotices is how many messages one read brings at most, noticeQuote how much of a quotation is kept: the SCTP common
// header and the beginning of an INIT chunk, of what is often no more than eight bytes and seldom more than 500.
const (
	maxNotices  = 4
	noticeQuote = 64
)

// notices is the scratch for reading the error queue.
type notices struct {
	hdrs   [maxNotices]mmsghdr
	iovs   [maxNotices]unix.Iovec
	names  [maxNotices]unix.RawSockaddrInet6
	ctls   [maxNotices]control
	quotes [maxNotices][noticeQuote]byte
	all    [maxNotices]Notice
	n      int
}

// askNotices asks for ICMP messages and reports whether they will come.
func askNotices(fd int, inet6 bool) bool {
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
	if inet6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
	}
	return err == nil
}

// left reports whether an error of a system call may have been left behind by an ICMP message about another packet: those
// that the kernel makes of such messages.
func left(no syscall.Errno) bool {
	switch no {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENONET, unix.ENOPROTOOPT,
		unix.EOPNOTSUPP, unix.EPROTO, unix.EACCES, unix.EMSGSIZE:
		return true
	}
	return false
}

func newNotices() *notices {
	q := new(notices)
	for i := range q.hdrs {
		h := &q.hdrs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&q.names[i]))
		h.Iov = &q.iovs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&q.ctls[i]))
		q.iovs[i].Base = &q.quotes[i][0]
		q.iovs[i].SetLen(noticeQuote)
		q.rearm(i)
	}
	return q
}

func (q *notices) rearm(i int) {
	h := &q.hdrs[i].hdr
	h.Namelen = uint32(unsafe.Sizeof(q.names[i]))
	h.SetControllen(len(q.ctls[i]) * 8)
	h.Flags = 0
}

// look takes messages off the error queue and reports whether there were any.
func (q *notices) look(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&q.hdrs[0])), maxNotices,
			unix.MSG_DONTWAIT|unix.MSG_ERRQUEUE, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		q.n = 0
		if errno == 0 {
			q.n = int(n)
		}
		return q.n > 0
	}
}

// take turns what look found into notices. What is no ICMP message (an error of our own host that the write has told
// already, a time stamp) is passed over.
func (q *notices) take(b *Batch, f *family, cache *zoneCache) (taken uint64) {
	out := q.all[:0]
	for i := range q.n {
		n := Notice{Quote: q.quotes[i][:min(int(q.hdrs[i].len), noticeQuote)]}
		peer, ok := f.decode(&q.names[i], q.hdrs[i].hdr.Namelen, cache)
		if n.Peer = peer; ok && q.read(i, &n, f, cache) {
			out = append(out, n)
		}
		q.rearm(i)
	}
	q.n = 0
	b.Notices = out
	return uint64(len(out))
}

// read finds the kernel's description of message i among the control messages.
func (q *notices) read(i int, n *Notice, f *family, cache *zoneCache) bool {
	mem := unsafe.Slice((*byte)(unsafe.Pointer(&q.ctls[i])), len(q.ctls[i])*8)
	left := min(int(q.hdrs[i].hdr.Controllen), len(mem))
	const head = unix.SizeofCmsghdr
	for off := 0; left-off >= head; {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&mem[off]))
		size := int(h.Len)
		if size < head || size > left-off {
			break
		}
		data := mem[off+unix.CmsgLen(0) : off+size]
		if (h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR || h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR) &&
			len(data) >= int(unsafe.Sizeof(extendedErr{})) {
			return n.describe(data, f, cache)
		}
		off += unix.CmsgSpace(size - unix.CmsgLen(0))
	}
	return false
}

// extendedErr is the kernel's struct sock_extended_err, which the offender's socket address follows.
type extendedErr struct {
	errno             uint32
	origin, typ, code uint8
	_                 uint8
	info, _           uint32
}

func (n *Notice) describe(data []byte, f *family, cache *zoneCache) bool {
	e := (*extendedErr)(unsafe.Pointer(&data[0]))
	if e.origin != unix.SO_EE_ORIGIN_ICMP && e.origin != unix.SO_EE_ORIGIN_ICMP6 {
		return false
	}
	n.Type, n.Code = e.typ, e.code
	if n.Kind = kindOf(e.origin == unix.SO_EE_ORIGIN_ICMP6, e.typ, e.code); n.Kind == PacketTooBig {
		n.MTU = int(e.info)
	}
	var sa unix.RawSockaddrInet6
	from := data[unsafe.Sizeof(*e):]
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&sa)), unsafe.Sizeof(sa)), from)
	n.Offender = netip.Addr{}
	if ap, ok := f.decode(&sa, uint32(len(from)), cache); ok {
		n.Offender = ap.Addr()
	}
	return true
}
