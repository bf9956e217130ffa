package rx

import "github.com/go-multihome/multihome/internal/pktbuf"

// The window counts memory: every buffer with its overhead from its arrival until the user gives it back, plus the
// bookkeeping of what is held for reassembly. So the bound holds whatever the size of the chunks.
//
// The peer counts payload, though (RFC 9260 section 6.2.1). A peer with many tiny messages would overrun a window told in
// memory and have its chunks dropped, so the window told is scaled by the share of payload in the memory that arrived
// lately.
const (
	// packet is the least window worth telling: about what one packet carries.
	packet = 1200

	ratioOne = 1 << 16 // all memory is payload
	ratioMin = 1 << 8  // below a one-byte chunk in a buffer of its own

	// reserve is what may be taken over the hard limit to make progress, see room: the largest chunk and its item.
	reserve = pktbuf.MaxBuf + pktbuf.Overhead + itemCost
)

// used returns the memory charged now.
func (r *Receiver) used() int {
	if r.hold == nil {
		return r.held
	}
	return r.held + r.hold.items.live*itemCost
}

// room reports whether chunk t may be taken.
//
// What lies above the highest TSN seen is taken while the window is open (RFC 9260 section 6.2). What fills a gap below it
// is taken up to the hard limit, since only that lets the data above it go to the user. And one chunk at the front is taken
// even then if the user has nothing to read: all memory is held by reassembly, and the front is the only thing that can
// set it free.
func (r *Receiver) room(t uint64) bool {
	used := r.used()
	switch {
	case used < r.window:
		return true
	case t < r.high && used < r.limit:
		return true
	}
	return t == r.cum+1 && r.unread == 0 && used < r.limit+reserve
}

// charge accounts for payload bytes taken into mem bytes of memory.
func (r *Receiver) charge(payload, mem int) {
	r.held += mem
	r.told = max(0, r.told-payload)
	r.learn(payload, mem)
}

// learn takes the share of payload in memory that arrived into the average.
func (r *Receiver) learn(payload, mem int) {
	share := int32(int64(payload) * ratioOne / int64(mem))
	r.ratio = uint32(max(ratioMin, int32(r.ratio)+(share-int32(r.ratio))>>4)) // rounds down, never in the peer's favour
}

// release gives memory back that the user will never see.
func (r *Receiver) release(c *pktbuf.Chain) {
	r.held -= c.Held
	c.Free()
}

// Window returns the receive window to advertise now, in bytes of payload. A remainder too small for a packet is told as
// zero, against the silly window syndrome (RFC 9260 section 6.2).
func (r *Receiver) Window() uint32 {
	free := r.window - r.used()
	if free <= 0 {
		return 0
	}
	if free = r.payload(free); free < r.silly() {
		return 0
	}
	return uint32(min(free, 1<<32-1))
}

// payload is what mem bytes of memory hold of payload like that which arrived lately.
func (r *Receiver) payload(mem int) int { return int(int64(mem) * int64(r.ratio) / ratioOne) }

// silly is the window below which zero is told. It is a part of the whole as the peer sees that: of tiny messages not even
// an empty window may hold a packet's worth.
func (r *Receiver) silly() int { return min(packet, r.payload(r.window)/4) }

// Held returns the memory charged now, in bytes: payload buffers from arrival until Consumed, and bookkeeping.
func (r *Receiver) Held() int { return r.used() }

// Consumed gives back memory: the sum of Data.Held of parts the user has done with. True when that opened the window by a
// useful step; a SACK is needed then. A useful step is a quarter of the window, two packets at least, or from closed to
// open (RFC 9260 section 6.2).
func (r *Receiver) Consumed(n int) bool {
	r.Returned(n)
	if r.limit > 2*r.window {
		r.limit = max(2*r.window, r.used())
	}
	return r.opened()
}

// Returned is Consumed without a thought for the peer, for an association that receives no more.
func (r *Receiver) Returned(n int) {
	n = max(0, min(n, r.unread))
	r.unread -= n
	r.held -= n
}

// SetWindow changes the window, in bytes of memory. Data held already stays; a smaller window closes until it is read. A
// larger one may hold more TSNs out of order as well.
func (r *Receiver) SetWindow(n int) {
	r.window = max(1, n)
	r.span = max(r.span, uint32(spanOf(r.window)))
	r.limit = max(2*r.window, r.used())
	r.opened()
}

// opened asks for a SACK when the peer should learn of the present window.
func (r *Receiver) opened() bool {
	w := int(r.Window())
	whole := r.payload(r.window)
	step := min(max(2*packet, whole/4), max(1, whole/2))
	closed := r.told < r.silly()
	if w-r.told < step && (!closed || w == 0) {
		return false
	}
	r.SackNeeded()
	return true
}
