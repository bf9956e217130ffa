package udp

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/go-multihome/multihome/internal/pktbuf"
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

	// frag is held for reading by sends with DF set and for writing by the rare send without: Linux has no per-packet
	// way to clear DF, so that one toggles the socket's option. It is held during a system call, but one that never
	// waits.
	frag sync.RWMutex

	mu   sync.Mutex
	free []*sender // at most keepSenders
}

// keepSenders is how many write scratches (7 KiB each) an otherwise idle socket keeps.
const keepSenders = 2

// sendBatch is the most packets handed to the kernel in one call.
const sendBatch = pktbuf.BatchPackets

// mmsghdr is the kernel's struct mmsghdr; Go pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// newKernel takes the socket over. local is what Local answers.
func newKernel(conn *net.UDPConn, local netip.AddrPort) (Socket, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &mmsg{conn: conn, raw: raw, local: local}
	var inner error
	err = raw.Control(func(fd uintptr) {
		if s.family, inner = familyOf(int(fd)); inner == nil {
			s.df = setDF(int(fd), s.family.inet6, true)
			s.ecn = askControl(int(fd), s.family.inet6)
		}
	})
	if err = errors.Join(err, inner); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *mmsg) Local() netip.AddrPort { return s.local }

func (s *mmsg) Close() error { return s.conn.Close() }

// Stats returns the counters; they may be read at any time.
func (s *mmsg) Stats() Stats {
	st := Stats{DF: s.df, ECN: s.ecn, BatchSystem: true}
	st.fill(&s.in, &s.out)
	st.RecvBuffer, st.SendBuffer = buffers(s.raw)
	return st
}

// receiver is the scratch of reads. It lives in the Batch, since that belongs to the one reader.
type receiver struct {
	sock   *mmsg
	layout int // of the batch's memory that iovs point into
	hdrs   []mmsghdr
	iovs   []unix.Iovec
	names  []unix.RawSockaddrInet6 // large enough for either family
	ctls   []control
	cache  zoneCache
	drops  uint32 // the kernel's own count of overflows, last seen

	run   func(fd uintptr) bool
	n     int
	errno syscall.Errno
}

// ReadBatch implements Socket.
func (s *mmsg) ReadBatch(b *Batch) error {
	b.Reset()
	r, ok := b.scratch.(*receiver)
	if !ok || r.sock != s {
		r = newReceiver(s, len(b.all))
		b.scratch = r
	}
	for ; ; b.Reset() {
		if r.layout != b.layout {
			r.point(b)
		}
		r.n, r.errno = b.usable, 0
		err := s.raw.Read(r.run)
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
		if len(b.Slots) > 0 {
			return nil
		}
	}
}

func newReceiver(s *mmsg, slots int) *receiver {
	r := &receiver{
		sock:  s,
		hdrs:  make([]mmsghdr, slots),
		iovs:  make([]unix.Iovec, slots),
		names: make([]unix.RawSockaddrInet6, slots),
		ctls:  make([]control, slots),
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

// rearm restores what the kernel overwrites in a header.
func (r *receiver) rearm(i int) {
	h := &r.hdrs[i].hdr
	h.Namelen = uint32(unsafe.Sizeof(r.names[i]))
	h.SetControllen(len(r.ctls[i]) * 8)
	h.Flags = 0
}

// receive runs under RawConn.Read; false lets it wait for the socket to become readable.
func (r *receiver) receive(fd uintptr) bool {
	want := r.n
	for {
		// MSG_TRUNC: the length of a cut datagram is its true one, so the batch can grow to it.
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.hdrs[0])), uintptr(want),
			unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		switch errno {
		case 0:
			r.n = int(n)
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			r.n, r.errno = 0, errno
			return true
		}
	}
}

// take turns what the kernel wrote into slots.
func (r *receiver) take(b *Batch) {
	var bytes, cut, unnamed uint64
	for i := range r.n {
		m := &r.hdrs[i]
		n := int(m.len)
		b.saw(n)
		ecn := r.readControl(i)
		if buf := b.buffer(i); m.hdr.Flags&unix.MSG_TRUNC != 0 || n > len(buf) {
			cut++
		} else if peer, ok := r.sock.decode(&r.names[i], m.hdr.Namelen, &r.cache); !ok {
			unnamed++
		} else {
			bytes += uint64(n)
			b.Slots = append(b.Slots, Slot{Buf: buf[:n:n], Peer: peer, ECN: ecn})
		}
		r.rearm(i)
	}
	c := &r.sock.in
	if len(b.Slots) > 0 {
		c.batches.Add(1)
		c.packets.Add(uint64(len(b.Slots)))
		c.bytes.Add(bytes)
	}
	if cut > 0 {
		c.cut.Add(cut)
	}
	if unnamed > 0 {
		c.unnamed.Add(unnamed)
	}
}

// sender is the scratch of one write.
type sender struct {
	sock  *mmsg
	hdrs  [sendBatch]mmsghdr
	iovs  [sendBatch]unix.Iovec
	names [sendBatch]unix.RawSockaddrInet6
	cache zoneCache

	run     func(fd uintptr)
	toggle  bool // clear DF around the call
	n, sent int
	calls   uint64
	errno   syscall.Errno
}

// WriteBatch implements Socket.
func (s *mmsg) WriteBatch(pkts []pktbuf.Packet) (n int, err error) {
	if len(pkts) == 0 {
		return 0, nil
	}
	w := s.sender()
	var bytes uint64
	for n < len(pkts) && err == nil {
		var k int
		k, err = w.write(pkts[n:])
		for i := range k {
			bytes += uint64(len(pkts[n+i].Buf))
		}
		n += k
	}
	s.out.batches.Add(w.calls)
	s.out.packets.Add(uint64(n))
	s.out.bytes.Add(bytes)
	s.out.ended(err)
	s.keep(w)
	return n, err
}

// write sends the longest run of packets, at most sendBatch, that agree about DF, and returns how many of them left and
// why the next one did not.
func (w *sender) write(pkts []pktbuf.Packet) (int, error) {
	s := w.sock
	var bad error
	w.n, w.sent, w.errno = 0, 0, 0
	for i := range pkts {
		p := &pkts[i]
		if i == sendBatch || p.NoDF != pkts[0].NoDF {
			break
		}
		h := &w.hdrs[i].hdr
		if i > 0 && p.Peer == pkts[i-1].Peer {
			h.Name, h.Namelen = w.hdrs[i-1].hdr.Name, w.hdrs[i-1].hdr.Namelen
		} else {
			h.Name = (*byte)(unsafe.Pointer(&w.names[i]))
			if h.Namelen = s.encode(&w.names[i], p.Peer, &w.cache); h.Namelen == 0 {
				bad = ErrPeer
				break
			}
		}
		if p.Segment != 0 {
			bad = errSegment
			break
		}
		w.iovs[i].Base = unsafe.SliceData(p.Buf)
		w.iovs[i].SetLen(len(p.Buf))
		w.n++
	}
	if w.n == 0 {
		return 0, bad
	}
	w.toggle = pkts[0].NoDF && s.df
	if w.toggle {
		s.frag.Lock()
	} else {
		s.frag.RLock()
	}
	err := s.raw.Control(w.run)
	if w.toggle {
		s.frag.Unlock()
	} else {
		s.frag.RUnlock()
	}
	switch {
	case err != nil:
		if errors.Is(err, net.ErrClosed) {
			err = net.ErrClosed
		}
		return 0, err
	case w.sent == w.n:
		return w.sent, bad
	case blocked(w.errno):
		return w.sent, ErrBlocked
	default:
		w.cache = zoneCache{} // an interface may have come back under another number
		return w.sent, w.errno
	}
}

// send runs under RawConn.Control.
func (w *sender) send(fd uintptr) {
	if w.toggle {
		setDF(int(fd), w.sock.inet6, false)
		defer setDF(int(fd), w.sock.inet6, true)
	}
	again := true
	for w.sent < w.n {
		// The call stops at the first packet that fails and tells its error only if nothing was sent before it; so
		// after a short count the next round learns the error of that packet.
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&w.hdrs[w.sent])),
			uintptr(w.n-w.sent), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == 0 && n > 0:
			w.sent += int(n)
			w.calls++
		case errno == unix.EINTR:
		case errno == unix.ECONNREFUSED && again:
			again = false // left behind by an earlier packet and cleared by being told: this packet was not tried
		case errno == 0:
			w.errno = unix.EIO
			return
		default:
			w.errno = errno
			return
		}
	}
}

// sender takes a scratch; as many exist as there are writers at the same time.
func (s *mmsg) sender() *sender {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := len(s.free) - 1; k >= 0 {
		w := s.free[k]
		s.free = s.free[:k]
		w.calls = 0
		return w
	}
	w := &sender{sock: s}
	for i := range w.hdrs {
		w.hdrs[i].hdr.Iov = &w.iovs[i]
		w.hdrs[i].hdr.SetIovlen(1)
	}
	w.run = w.send
	return w
}

func (s *mmsg) keep(w *sender) {
	clear(w.iovs[:]) // do not keep the caller's slab alive
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) < keepSenders {
		s.free = append(s.free, w)
	}
}
