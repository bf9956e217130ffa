package udp

import (
	"errors"
	"net"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/go-multihome/multihome/internal/pktbuf"
)

// keepSenders is how many write scratches (9 KiB each) an otherwise idle socket keeps.
const keepSenders = 2

// sendBatch is the most messages, and pieces of memory, handed to the kernel in one call.
const sendBatch = 64

// sender is the scratch of one write. Its messages are what the kernel gets in one call: a packet each, or a run of packets
// that the kernel cuts apart again, see offload_linux.go.
type sender struct {
	sock   *mmsg
	hdrs   [sendBatch]mmsghdr
	iovs   [sendBatch]unix.Iovec // of all messages, in order
	names  [sendBatch]unix.RawSockaddrInet6
	ctls   [sendBatch]segmentControl
	counts [sendBatch]int // packets of each message
	cache  zoneCache

	run     func(fd uintptr)
	toggle  bool // clear DF around the call
	n, sent int  // messages
	vecs    int  // of iovs used since it was taken
	calls   uint64
	runs    uint64
	errno   syscall.Errno
}

// maxStale is how often in a row an error may be taken for an earlier packet's. Messages that somebody forges would have
// to arrive faster than system calls return to make more of them.
const maxStale = 3

// errRefused says that the kernel did not take the first message that is left, and that it is a run.
var errRefused = errors.New("udp: segmented message refused")

// WriteBatch implements Socket.
func (s *mmsg) WriteBatch(pkts []pktbuf.Packet) (n int, err error) {
	if len(pkts) == 0 {
		return 0, nil
	}
	w := s.sender()
	for n < len(pkts) && err == nil {
		var k int
		k, err = w.write(pkts[n:], s.segments.Load())
		n += k
		if err == errRefused {
			k, err = w.singly(pkts[n : n+w.counts[w.sent]])
			n += k
		}
	}
	var bytes uint64
	for i := range n {
		bytes += uint64(len(pkts[i].Buf))
	}
	s.out.batches.Add(w.calls)
	s.out.packets.Add(uint64(n))
	s.out.bytes.Add(bytes)
	if w.runs > 0 {
		s.out.runs.Add(w.runs)
	}
	s.out.ended(err)
	s.keep(w)
	return n, err
}

// singly sends the packets of a run that was refused one by one, each of which then has its own success or error. If they
// can be sent like that, it was segmentation that was refused, and if such a refusal lasts the socket does not try again.
func (w *sender) singly(pkts []pktbuf.Packet) (int, error) {
	w.sock.out.refused.Add(1)
	why := w.errno
	n, err := w.write(pkts, false)
	if n > 0 && lasting(why) {
		w.sock.segments.Store(false)
	}
	return n, err
}

// write sends the longest run of packets, at most sendBatch messages, that agree about DF, and returns how many of them left
// and why the next one did not.
func (w *sender) write(pkts []pktbuf.Packet, segments bool) (n int, err error) {
	s := w.sock
	w.sent, w.errno = 0, 0
	bad := w.gather(pkts, segments && !pkts[0].NoDF)
	if w.n == 0 {
		return 0, bad
	}
	w.toggle = pkts[0].NoDF && s.df
	if w.toggle {
		s.frag.Lock()
	} else {
		s.frag.RLock()
	}
	err = s.raw.Control(w.run)
	if w.toggle {
		s.frag.Unlock()
	} else {
		s.frag.RUnlock()
	}
	runtime.KeepAlive(pkts) // a vector that spans several packets keeps only the first alive
	for _, k := range w.counts[:w.sent] {
		n += k
		if k > 1 {
			w.runs++
		}
	}
	switch {
	case err != nil:
		if errors.Is(err, net.ErrClosed) {
			err = net.ErrClosed
		}
		return 0, err
	case w.sent == w.n:
		return n, bad
	case w.counts[w.sent] > 1 && w.errno != unix.EAGAIN:
		return n, errRefused
	case w.errno == unix.ENOBUFS && s.notices:
		return n, ErrDropped // the kernel tells that to sockets with an error queue only
	case blocked(w.errno):
		return n, ErrBlocked
	default:
		w.cache = zoneCache{} // an interface may have come back under another number
		return n, w.errno
	}
}

// gather makes messages of packets and returns why it ended before the last one, nil when there is no more to that than
// the limits of a call. With segments neighbours that may share a message do.
func (w *sender) gather(pkts []pktbuf.Packet, segments bool) error {
	s := w.sock
	w.n = 0
	vecs := 0
	defer func() { w.vecs = max(w.vecs, vecs) }()
	var r run
	for i := range pkts {
		p := &pkts[i]
		if vecs == sendBatch || p.NoDF != pkts[0].NoDF {
			break
		}
		same := i > 0 && p.Peer == pkts[i-1].Peer
		if same && r.takes(len(p.Buf)) {
			m := w.n - 1
			w.counts[m]++
			if last := &w.iovs[vecs-1]; follows(last, p.Buf) {
				last.SetLen(int(last.Len) + len(p.Buf))
			} else {
				setVec(&w.iovs[vecs], p.Buf)
				vecs++
				w.hdrs[m].hdr.SetIovlen(int(w.hdrs[m].hdr.Iovlen) + 1)
			}
			continue
		}
		w.seal(&r)
		m := w.n
		h := &w.hdrs[m].hdr
		if same {
			h.Name, h.Namelen = w.hdrs[m-1].hdr.Name, w.hdrs[m-1].hdr.Namelen
		} else {
			h.Name = (*byte)(unsafe.Pointer(&w.names[m]))
			if h.Namelen = s.encode(&w.names[m], p.Peer, &w.cache); h.Namelen == 0 {
				return ErrPeer
			}
		}
		h.Iov = &w.iovs[vecs]
		h.SetIovlen(1)
		setVec(&w.iovs[vecs], p.Buf)
		vecs++
		w.counts[m] = 1
		w.n++
		r = run{}
		if segments {
			r.begin(len(p.Buf))
		}
	}
	w.seal(&r)
	return nil
}

// seal completes the last message: one of several packets tells the kernel their size.
func (w *sender) seal(r *run) {
	m := w.n - 1
	if m < 0 {
		return
	}
	h := &w.hdrs[m].hdr
	if w.counts[m] == 1 {
		h.Control = nil
		h.SetControllen(0)
		return
	}
	w.ctls[m].set(r.size)
	h.Control = (*byte)(unsafe.Pointer(&w.ctls[m]))
	h.SetControllen(unix.CmsgSpace(2))
}

func setVec(v *unix.Iovec, b []byte) {
	v.Base = unsafe.SliceData(b)
	v.SetLen(len(b))
}

// follows reports whether b begins where the vector ends.
func follows(v *unix.Iovec, b []byte) bool {
	return uintptr(unsafe.Pointer(v.Base))+uintptr(v.Len) == uintptr(unsafe.Pointer(unsafe.SliceData(b)))
}

// send runs under RawConn.Control.
func (w *sender) send(fd uintptr) {
	if w.toggle {
		setDF(int(fd), w.sock.inet6, false)
		defer setDF(int(fd), w.sock.inet6, true)
	}
	stale := 0
	for w.sent < w.n {
		// The call stops at the first message that fails and tells its error only if nothing was sent before it; so
		// after a short count the next round learns the error of that message.
		n, errno := w.sock.sendmmsg(fd, &w.hdrs[w.sent], w.n-w.sent)
		switch {
		case errno == 0 && n > 0:
			w.sent += n
			w.calls++
			stale = 0
		case errno == unix.EINTR:
		case stale < maxStale && left(errno):
			w.sock.noticed.Store(true)
			stale++ // perhaps left behind by an earlier packet and cleared by being told: then this packet was not tried
		case errno == 0:
			w.errno = unix.EIO
			return
		default:
			w.errno = errno
			return
		}
	}
}

func sendmmsg(fd uintptr, hdrs *mmsghdr, n int) (int, syscall.Errno) {
	if h := &hdrs.hdr; n == 1 && h.Iovlen == 1 && h.Control == nil {
		// A single packet: without headers to copy in and out it costs less. It takes a few microseconds and never waits, so the
		// scheduler need not know of it either.
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(h.Iov.Base)), uintptr(h.Iov.Len),
			unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(h.Name)), uintptr(h.Namelen))
		return 1, errno
	}
	sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(hdrs)), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	return int(sent), errno
}

// sender takes a scratch; as many exist as there are writers at the same time.
func (s *mmsg) sender() *sender {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := len(s.free) - 1; k >= 0 {
		w := s.free[k]
		s.free = s.free[:k]
		w.calls, w.runs, w.vecs = 0, 0, 0
		return w
	}
	w := &sender{sock: s}
	w.run = w.send
	return w
}

func (s *mmsg) keep(w *sender) {
	clear(w.iovs[:w.vecs]) // do not keep the caller's slab alive
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) < keepSenders {
		s.free = append(s.free, w)
	}
}
