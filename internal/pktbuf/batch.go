package pktbuf

import "net/netip"

// Packet is one outgoing datagram inside a Batch.
type Packet struct {
	Buf    []byte         // the datagram's payload: one whole SCTP packet
	Socket int            // index of the local locator, and so of the socket, it must leave from
	Peer   netip.AddrPort // where it goes
	Path   uint8          // the association's path, for the driver's blocked marks; NoPath for strays
	NoDF   bool           // may be fragmented by IP: the chunk is larger than the path it must take
}

// NoPath marks a packet that belongs to no association's path.
const NoPath = 0xff

// Batch collects outgoing packets side by side in one slab without holes. Packets of one path come out adjacent, so a
// socket with segmentation offload can hand several of equal size to the kernel at once without copying. A Batch is used by one goroutine.
type Batch struct {
	slab []byte
	used int
	pkts []Packet
}

// Sizes of a batch: packets, and bytes of slab behind them: 128 packets of an Ethernet path, or 29 of a jumbo one. That is
// what may leave a path at once, and with segmentation offload about three messages of 64 KiB.
const (
	BatchPackets = 128
	BatchBytes   = 256 << 10
)

// NewBatch returns an empty batch of the standard size.
func NewBatch() *Batch {
	return &Batch{slab: make([]byte, BatchBytes), pkts: make([]Packet, 0, BatchPackets)}
}

// NewSmallBatch returns an empty batch for a few packets of usual size. Where many goroutines each have a little to send at
// one time, as when the timers of idle associations fire, batches of the standard size would be most of the memory.
func NewSmallBatch() *Batch {
	return &Batch{slab: make([]byte, SmallBatchBytes), pkts: make([]Packet, 0, smallPackets)}
}

// Sizes of a small batch.
const (
	smallPackets    = 4
	SmallBatchBytes = smallPackets * 1536
)

// Open returns an empty slice with room for exactly max bytes to build the next packet in, or nil when the batch is
// full. Nothing is kept until Commit; opening again without Commit abandons it.
func (b *Batch) Open(max int) []byte {
	if len(b.pkts) == cap(b.pkts) || b.used+max > len(b.slab) {
		return nil
	}
	return b.slab[b.used : b.used : b.used+max]
}

// Commit keeps a packet built in the slice that Open returned. p.Buf must be that slice, grown.
func (b *Batch) Commit(p Packet) {
	b.used += len(p.Buf)
	b.pkts = append(b.pkts, p)
}

// Packets returns the packets collected so far.
func (b *Batch) Packets() []Packet { return b.pkts }

// Len returns how many packets are collected.
func (b *Batch) Len() int { return len(b.pkts) }

// Reset empties the batch for its next use.
func (b *Batch) Reset() {
	b.used = 0
	b.pkts = b.pkts[:0]
}
