package wire

import "encoding/binary"

// Builder builds one packet in memory of the caller. The zero Builder is ready for Open, and one Builder serves packet
// after packet. Nothing is allocated.
//
// Chunks are appended by the methods beside their views (data.go, sack.go, setup.go...). Each returns false, and writes
// nothing, when the chunk does not fit. Chunks with a variable tail (INIT, SACK, ABORT, ERROR, FORWARD-TSN, RE-CONFIG,
// ASCONF) stay open for it: their items follow by further calls, and FinishChunk, the next chunk, Mark or Seal closes
// them. Whether chunks may stand together in one packet is the caller's rule (see MustBeAlone).
type Builder struct {
	buf    []byte
	limit  int // largest len(buf), a multiple of four
	open   int // offset of the chunk still open, 0: none
	chunks int
}

// Open begins a packet in buf, of which only the capacity counts: it is the largest size the packet may take, MaxPacket at
// most. The common header is written with a zero checksum. With less capacity than a header nothing can be built, and
// Seal returns nil.
func (b *Builder) Open(buf []byte, h Header) {
	*b = Builder{limit: min(cap(buf), MaxPacket) &^ 3}
	if b.limit < HeaderLen {
		b.limit = 0
		return
	}
	b.buf = buf[:HeaderLen]
	binary.BigEndian.PutUint16(b.buf, h.SrcPort)
	binary.BigEndian.PutUint16(b.buf[2:], h.DstPort)
	binary.BigEndian.PutUint32(b.buf[4:], h.Tag)
	clear(b.buf[8:HeaderLen])
}

// Room returns the bytes left for the next chunk, its header included. It is a multiple of four, so a chunk of any length
// up to it fits with its padding. It is also what is left for the next item of an open chunk.
func (b *Builder) Room() int { return b.limit - Pad4(len(b.buf)) }

// Len returns the size the packet would have if it were sealed now.
func (b *Builder) Len() int { return Pad4(len(b.buf)) }

// Empty reports whether the packet has no chunk yet.
func (b *Builder) Empty() bool { return b.chunks == 0 }

// Chunks returns how many chunks the packet has, an open one included.
func (b *Builder) Chunks() int { return b.chunks }

// Mark closes an open chunk and returns a point that Abandon can go back to.
func (b *Builder) Mark() int {
	b.FinishChunk()
	return len(b.buf) | b.chunks<<16 // both fit in 30 bits: MaxPacket < 1<<16, and a chunk has 4 bytes at least
}

// Abandon takes back everything appended since mark was taken from this packet.
func (b *Builder) Abandon(mark int) {
	b.buf = b.buf[:mark&0xffff]
	b.chunks = mark >> 16
	b.open = 0
}

// FinishChunk closes the open chunk: writes its length, which counts the padding of its items but for the last one's
// (RFC 9260 section 3.2), and pads. Without an open chunk it does nothing.
func (b *Builder) FinishChunk() {
	if b.open == 0 {
		return
	}
	binary.BigEndian.PutUint16(b.buf[b.open+2:], uint16(len(b.buf)-b.open))
	b.align()
	b.open = 0
}

// Seal closes the open chunk, sets the checksum and returns the packet, which lies in the memory given to Open.
func (b *Builder) Seal() []byte {
	b.FinishChunk()
	SetChecksum(b.buf)
	return b.buf
}

// Chunk appends any chunk whole: value is what stands behind the chunk header.
func (b *Builder) Chunk(t ChunkType, flags uint8, value []byte) bool {
	if !b.begin(t, flags, len(value)) {
		return false
	}
	copy(b.grow(len(value)), value)
	b.FinishChunk()
	return true
}

// begin closes the open chunk and opens the next when its header and the first n bytes of value fit.
func (b *Builder) begin(t ChunkType, flags uint8, n int) bool {
	b.FinishChunk()
	if n > b.Room()-ChunkHeaderLen {
		return false
	}
	b.open = len(b.buf)
	b.chunks++
	p := b.grow(ChunkHeaderLen)
	p[0], p[1], p[2], p[3] = byte(t), flags, 0, 0
	return true
}

// item appends the header of a parameter or error cause to the open chunk and returns its value's n bytes, which the
// caller must fill: the memory may hold old bytes. Chunks whose tail is a plain list take none.
func (b *Builder) item(code uint16, n int) ([]byte, bool) {
	if b.open == 0 || n > b.Room()-ParamHeaderLen {
		return nil, false
	}
	switch ChunkType(b.buf[b.open]) {
	case TypeSack, TypeForwardTSN, TypeIForwardTSN:
		return nil, false
	}
	b.align()
	p := b.grow(ParamHeaderLen + n)
	binary.BigEndian.PutUint16(p, code)
	binary.BigEndian.PutUint16(p[2:], uint16(ParamHeaderLen+n))
	return p[ParamHeaderLen:], true
}

// opened reports whether the open chunk is of type t.
func (b *Builder) opened(t ChunkType) bool { return b.open != 0 && ChunkType(b.buf[b.open]) == t }

// grow lengthens the packet by n bytes and returns them. The caller has checked the room.
func (b *Builder) grow(n int) []byte {
	at := len(b.buf)
	b.buf = b.buf[:at+n]
	return b.buf[at : at+n : at+n]
}

// align pads with zero bytes to a multiple of four. limit being one, there is always room.
func (b *Builder) align() {
	n := Pad4(len(b.buf)) - len(b.buf)
	clear(b.grow(n))
}
