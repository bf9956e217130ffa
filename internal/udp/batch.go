package udp

import (
	"net/netip"
	"weak"

	"github.com/go-multihome/multihome/internal/pktbuf"
)

// Slot is one received datagram, or several of equal size (the last may be shorter) side by side when Segment is set.
type Slot struct {
	Buf     []byte         // valid until the next ReadBatch
	Peer    netip.AddrPort // where it came from; IPv4-mapped addresses come as IPv4
	ECN     uint8          // ECN bits of the IP header; 0 where the socket cannot tell
	Segment int            // size of each datagram in Buf when the kernel coalesced several (GRO); 0: Buf is one datagram
}

// Datagrams returns how many datagrams the slot holds.
func (s *Slot) Datagrams() int {
	if s.Segment <= 0 || len(s.Buf) <= s.Segment {
		return 1
	}
	return (len(s.Buf) + s.Segment - 1) / s.Segment
}

// Datagram returns datagram i of the slot, counted from 0.
func (s *Slot) Datagram(i int) []byte {
	if s.Segment <= 0 {
		return s.Buf
	}
	lo := i * s.Segment
	hi := min(lo+s.Segment, len(s.Buf))
	return s.Buf[lo:hi:hi]
}

// MaxDatagram is the largest datagram a slot takes: UDP knows none larger.
const MaxDatagram = 65535

// Memory of a batch. 64 KiB behind every slot would be megabytes per socket that are hardly ever touched, and 2 KiB too
// little for a path of jumbo frames. So slot 0 takes any datagram and the others start small; a datagram that is larger,
// which on a quiet socket arrives in slot 0, makes them grow for good before the next read. One that finds a small slot
// is cut, counted and dropped, once or twice in a socket's life; the packet is lost as others are.
const (
	smallSlot   = 2048
	batchMemory = 1 << 20 // grown slots become fewer rather than let a batch exceed this
	fewSlots    = 16      // but never fewer than these, if there were as many
)

// Where the kernel coalesces datagrams every slot takes 64 KiB, and two are plenty for a flow of joined ones. A socket
// whose slots are filled by small datagrams, since they come from many peers, gets more of them, and gives them back after
// a while without need.
const (
	joinedSlots = 2
	mostJoined  = 4
	calmReads   = 1024 // reads that two slots would have been enough for
)

// DefaultSlots is the number of slots of a zero Batch.
const DefaultSlots = 64

// Batch is what one ReadBatch fills. Its memory belongs to the reader and is used again at the next call. The zero value
// is a batch of DefaultSlots slots that gets its memory when a socket first needs it.
type Batch struct {
	Slots   []Slot   // filled slots
	Notices []Notice // ICMP messages about packets sent from the socket (Linux); valid until the next ReadBatch

	all    []Slot
	mem    []byte
	slab   *slab // that mem is of
	first  int   // bytes of slot 0
	size   int   // bytes of each other slot
	usable int   // slots with memory behind them
	want   int   // largest datagram seen; at most size, or Reset grows
	slots  int   // slots of 64 KiB that resetJoined makes; 0: as they are
	calm   int   // reads in a row, see calmReads
	layout int   // counts changes of mem, for scratch that points into it

	scratch any // of the socket implementation that read last
}

// NewBatch returns a batch of at most the given number of slots, at least 1. With gro every slot takes 64 KiB at once. A
// socket whose kernel coalesces datagrams sees to that by itself, and then a few slots are plenty.
func NewBatch(slots int, gro bool) *Batch {
	b := new(Batch)
	b.init(max(slots, 1), gro)
	return b
}

func (b *Batch) init(slots int, gro bool) {
	b.all, b.usable = make([]Slot, slots), slots
	b.first, b.size = MaxDatagram+1, smallSlot
	if gro {
		b.size = MaxDatagram + 1
	}
}

// Cap returns how many datagrams the batch takes now.
func (b *Batch) Cap() int {
	if b.all == nil {
		return DefaultSlots
	}
	return b.usable
}

// Reset empties the batch. Every ReadBatch begins with it.
func (b *Batch) Reset() {
	if b.all == nil {
		b.init(DefaultSlots, false)
	}
	b.Slots, b.Notices = b.all[:0], nil
	if b.want > b.size {
		for b.size < b.want {
			b.size *= 2
		}
		b.usable = min(b.usable, max(fewSlots, batchMemory/b.size))
		b.mem = nil // slots handed out before keep it alive as long as somebody looks at them
	}
	if b.mem == nil {
		clear(b.all) // a slot of old would keep the memory of old
		b.wake()
	}
}

// slab is the memory of a batch. Of many sockets few are read at a time, so readers that wait leave theirs to others, and to
// the collector: sockets where nothing happens hold none.
type slab struct {
	mem  *[]byte // nil while nobody uses it
	idle weak.Pointer[[]byte]
}

var slabs pktbuf.Pool[slab]

// rest lets go of the memory while the reader waits for its socket.
func (b *Batch) rest() {
	if b.mem != nil {
		clear(b.all[:b.usable])
		b.slab.mem = nil
		slabs.Put(b.slab)
		b.mem, b.slab = nil, nil
	}
}

// wake undoes rest.
func (b *Batch) wake() {
	if b.mem != nil {
		return
	}
	need := b.first + (b.usable-1)*b.size
	s := slabs.Get()
	if s.mem = s.idle.Value(); s.mem == nil || len(*s.mem) < need {
		made := make([]byte, need)
		s.mem, s.idle = &made, weak.Make(&made)
	}
	b.mem, b.slab = (*s.mem)[:need], s
	b.layout++
}

// resetJoined is Reset for a socket whose kernel coalesces datagrams: every slot takes whatever may arrive, since a joined
// datagram that found a small slot would be many packets lost. There are few such slots then.
func (b *Batch) resetJoined() {
	switch {
	case b.all == nil:
		b.init(DefaultSlots, true)
		b.usable = joinedSlots
	case b.size <= MaxDatagram:
		b.size, b.usable, b.mem = MaxDatagram+1, min(b.usable, joinedSlots), nil
	case b.slots != 0:
		b.usable, b.mem = b.slots, nil
	}
	b.slots = 0
	b.Reset()
}

// filled notes, where the kernel coalesces datagrams, how many slots a read has filled, and with how many bytes: small
// datagrams in all of them ask for more slots.
func (b *Batch) filled(n, bytes int) {
	if n > joinedSlots {
		b.calm = 0
	} else if b.calm++; b.calm >= calmReads && b.usable > joinedSlots {
		b.slots, b.calm = joinedSlots, 0
	}
	if most := min(mostJoined, len(b.all)); n == b.usable && bytes <= MaxDatagram && n < most {
		b.slots = min(2*n, most)
	}
}

// buffer returns the memory of slot i.
func (b *Batch) buffer(i int) []byte {
	if i == 0 {
		return b.mem[:b.first:b.first]
	}
	lo := b.first + (i-1)*b.size
	return b.mem[lo : lo+b.size : lo+b.size]
}

// saw notes the size of a datagram, so that the next one like it fits any slot.
func (b *Batch) saw(n int) {
	if n > b.want {
		b.want = min(n, MaxDatagram)
	}
}

// Append copies a datagram into the next slot, for sockets that are not the kernel's. It reports false, and takes
// nothing, when the batch is full or the datagram is too large. The batch must have been Reset before.
func (b *Batch) Append(data []byte, peer netip.AddrPort, ecn uint8) bool {
	n := len(b.Slots)
	if n >= b.usable {
		return false
	}
	b.saw(len(data))
	buf := b.buffer(n)
	if len(data) > len(buf) {
		return false
	}
	n = copy(buf, data)
	b.Slots = append(b.Slots, Slot{Buf: buf[:n:n], Peer: peer, ECN: ecn})
	return true
}
