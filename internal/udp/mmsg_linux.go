package udp

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsg is a kernel UDP socket that moves many datagrams per system call.
//
// Reading goes through RawConn.Read, so the runtime's poller waits for the socket and Close frees the reader. Writing
// goes through RawConn.Control: that takes a reference to the file and no lock, so writers of different associations
// enter the kernel side by side, and no write deadline is looked at, since nothing ever waits. The functions handed to
// RawConn are bound once per scratch, because a closure per call would be an allocation per call.
type mmsg struct {
	conn  *net.UDPConn
	raw   syscall.RawConn
	local netip.AddrPort
	family
	df, ecn bool

	in  inCounts
	out outCounts

	notices   bool        // the kernel hands over ICMP messages
	noticed   atomic.Bool // a write was told of one
	coalesced bool        // the kernel joins arriving datagrams (GRO)
	segments  atomic.Bool // messages may be made of segments (GSO); false for good once one was refused
	sendmmsg  func(fd uintptr, hdrs *mmsghdr, n int) (sent int, errno syscall.Errno)

	// frag is held for reading by sends with DF set and for writing by the rare send without: Linux has no per-packet
	// way to clear DF, so that one toggles the socket's option. It is held during a system call, but one that never
	// waits.
	frag sync.RWMutex

	mu   sync.Mutex
	free []*sender // at most keepSenders
}

// mmsghdr is the kernel's struct mmsghdr; Go pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// newKernel takes the socket over. local is what Local answers; offload asks for segmentation and coalescing.
func newKernel(conn *net.UDPConn, local netip.AddrPort, offload bool) (Socket, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &mmsg{conn: conn, raw: raw, local: local, sendmmsg: sendmmsg}
	var inner error
	err = raw.Control(func(fd uintptr) {
		if s.family, inner = familyOf(int(fd)); inner == nil {
			s.df = setDF(int(fd), s.family.inet6, true)
			s.ecn = askControl(int(fd), s.family.inet6)
			s.notices = askNotices(int(fd), s.family.inet6)
			s.coalesced = offload && askCoalesced(int(fd))
			s.segments.Store(offload && offersSegments(int(fd)))
		}
	})
	if err = errors.Join(err, inner); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *mmsg) Local() netip.AddrPort { return s.local }

func (s *mmsg) Close() error { return s.conn.Close() }

func (s *mmsg) kernel() syscall.RawConn { return s.raw }

// Stats returns the counters; they may be read at any time.
func (s *mmsg) Stats() Stats {
	st := Stats{DF: s.df, ECN: s.ecn, BatchSystem: true, ICMP: s.notices, Coalescing: s.coalesced, Segmenting: s.segments.Load()}
	st.fill(&s.in, &s.out)
	st.RecvBuffer, st.SendBuffer = buffers(s.raw)
	return st
}

// receiver is the scratch of reads. It lives in the Batch, since that belongs to the one reader.
type receiver struct {
	sock   *mmsg
	batch  *Batch
	layout int // of the batch's memory that iovs point into
	hdrs   []mmsghdr
	iovs   []unix.Iovec
	names  []unix.RawSockaddrInet6 // large enough for either family
	ctls   []control
	cache  zoneCache
	drops  uint32 // the kernel's own count of overflows, last seen

	notices *notices

	each   func() // see ReadEach; nil: receive returns with what came
	waited bool   // this read has waited
	run    func(fd uintptr) bool
	once   func(fd uintptr) // run, without waiting
	n      int
	errno  syscall.Errno
}

// receiver returns the scratch of a batch, which is emptied.
func (s *mmsg) receiver(b *Batch) *receiver {
	s.reset(b)
	r, ok := b.scratch.(*receiver)
	if !ok || r.sock != s {
		r = newReceiver(s, b)
		b.scratch = r
	}
	return r
}

// ReadBatch implements Socket.
func (s *mmsg) ReadBatch(b *Batch) error {
	r := s.receiver(b)
	for ; ; s.reset(b) {
		r.n, r.errno, r.waited = 0, 0, false
		err := s.raw.Read(r.run)
		if err != nil && !errors.Is(err, net.ErrClosed) {
			// The poller gives up on a socket that reports an error and is neither readable nor writable, which is one
			// with an ICMP message to read and a full send buffer.
			r.waited = true
			if e := s.raw.Control(r.once); e == nil && (r.n > 0 || r.notices.n > 0) {
				err, r.errno = nil, 0
			}
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return net.ErrClosed
			}
			s.in.errors.Add(1)
			return err
		}
		if r.errno != 0 {
			s.in.errors.Add(1)
			return r.errno
		}
		r.take(b)
		if r.notices.n > 0 {
			s.in.notices.Add(r.notices.take(b, &s.family, &r.cache))
		}
		if len(b.Slots) > 0 || len(b.Notices) > 0 {
			return nil
		}
	}
}

// ReadEach implements EachReader.
//
// A system call that brought fewer datagrams than there were slots says that the socket is empty, so another one that says so
// again can be saved. That must happen inside of one RawConn.Read: the next one would forget an arrival in between.
func (s *mmsg) ReadEach(b *Batch, each func()) error {
	r := s.receiver(b)
	r.each = each
	err := s.ReadBatch(b)
	r.each = nil
	return err
}

func (s *mmsg) reset(b *Batch) {
	if s.coalesced {
		b.resetJoined()
	} else {
		b.Reset()
	}
}

func newReceiver(s *mmsg, b *Batch) *receiver {
	slots := len(b.all)
	r := &receiver{
		sock:  s,
		batch: b,
		hdrs:  make([]mmsghdr, slots),
		iovs:  make([]unix.Iovec, slots),
		names: make([]unix.RawSockaddrInet6, slots),
		ctls:  make([]control, slots),

		notices: newNotices(),
	}
	for i := range r.hdrs {
		h := &r.hdrs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&r.ctls[i]))
		r.rearm(i)
	}
	r.run = r.receive
	r.once = func(fd uintptr) {
		if !r.run(fd) {
			r.n = 0
		}
	}
	return r
}

// point sets the vectors to the batch's memory after that has changed.
func (r *receiver) point(b *Batch) {
	r.layout = b.layout
	for i := range b.usable {
		buf := b.buffer(i)
		r.iovs[i].Base = &buf[0]
		r.iovs[i].SetLen(len(buf))
	}
}

// ready makes sure that there is memory to read into, and returns for how many datagrams.
func (r *receiver) ready() int {
	if r.batch.wake(); r.layout != r.batch.layout {
		r.point(r.batch)
	}
	return r.batch.usable
}

// handOut gives what was read to each, and empties the batch.
func (r *receiver) handOut() {
	b := r.batch
	r.take(b)
	if r.n = 0; len(b.Slots) > 0 {
		r.each()
	}
	r.sock.reset(b)
}

// rest lets go of the memory before the reader waits.
func (r *receiver) rest() {
	for i := range r.batch.usable {
		r.iovs[i].Base = nil
	}
	r.batch.rest()
}

// rearm restores what the kernel overwrites in a header.
func (r *receiver) rearm(i int) {
	h := &r.hdrs[i].hdr
	h.Namelen = uint32(unsafe.Sizeof(r.names[i]))
	h.SetControllen(len(r.ctls[i]) * 8)
	h.Flags = 0
}

// receive runs under RawConn.Read; false lets it wait for the socket to become readable.
func (r *receiver) receive(fd uintptr) bool {
	for {
		want := r.ready()
		// MSG_TRUNC: the length of a cut datagram is its true one, so the batch can grow to it.
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.hdrs[0])), uintptr(want),
			unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		switch errno {
		case 0:
			if r.n = int(n); r.each == nil {
				return true
			}
			if r.handOut(); int(n) < want && !r.sock.noticed.Load() {
				r.waited = true
				r.rest()
				return false
			}
		case unix.EINTR:
		case unix.EAGAIN:
			look := r.sock.notices && (r.sock.noticed.Load() || r.waited)
			if r.waited = true; look {
				r.sock.noticed.Store(false)
				if r.notices.look(fd) {
					if r.n = 0; r.notices.n == maxNotices {
						r.sock.noticed.Store(true) // there may be more, and nothing wakes a reader for them
					}
					return true
				}
			}
			r.rest()
			return false
		default:
			if r.n = 0; !r.sock.notices || !r.notices.look(fd) {
				r.errno = errno
			}
			return true
		}
	}
}

// take turns what the kernel wrote into slots.
func (r *receiver) take(b *Batch) {
	var packets, bytes, joined, cut, unnamed uint64
	for i := range r.n {
		m := &r.hdrs[i]
		n := int(m.len)
		b.saw(n)
		ecn, segment := r.readControl(i)
		if buf := b.buffer(i); m.hdr.Flags&unix.MSG_TRUNC != 0 || n > len(buf) {
			cut++
		} else if peer, ok := r.sock.decode(&r.names[i], m.hdr.Namelen, &r.cache); !ok {
			unnamed++
		} else {
			slot := Slot{Buf: buf[:n:n], Peer: peer, ECN: ecn}
			if 0 < segment && segment < n {
				slot.Segment = segment
				joined++
			}
			packets += uint64(slot.Datagrams())
			bytes += uint64(n)
			b.Slots = append(b.Slots, slot)
		}
		r.rearm(i)
	}
	if r.sock.coalesced {
		b.filled(r.n, int(bytes))
	}
	c := &r.sock.in
	if len(b.Slots) > 0 {
		c.batches.Add(1)
		c.packets.Add(packets)
		c.bytes.Add(bytes)
	}
	if joined > 0 {
		c.joined.Add(joined)
	}
	if cut > 0 {
		c.cut.Add(cut)
	}
	if unnamed > 0 {
		c.unnamed.Add(unnamed)
	}
}
