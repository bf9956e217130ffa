package wire

import "encoding/binary"

// ChunkIter walks the chunks of a packet in order. It allocates nothing. Use:
//
//	it := wire.Chunks(pkt)
//	for c, ok := it.Next(); ok; c, ok = it.Next() { ... }
//	if it.Err() != nil { the rest of the packet is malformed }
//
// The chunks before a malformed one have been handed out by then; whether they count is the caller's decision.
type ChunkIter struct {
	pkt  []byte
	next int // offset of the chunk to read next
	last int // offset of the chunk handed out last
	n    int
	err  error
}

// Chunks returns an iterator over the chunks of pkt, which begins with the common header.
func Chunks(pkt []byte) ChunkIter {
	if len(pkt) < HeaderLen {
		return ChunkIter{err: ErrShortPacket}
	}
	return ChunkIter{pkt: pkt, next: HeaderLen, last: HeaderLen}
}

// Next returns the next chunk, or false at the end of the packet or at the first malformed chunk; Err tells which.
//
// Padding of a chunk is skipped unread. It may be missing behind the last chunk: the length field does not count it, and
// a receiver is to be generous about final padding (RFC 9260 section 3.2). Padding of more than three bytes does not
// parse, it reads as a chunk of length zero.
func (it *ChunkIter) Next() (Chunk, bool) {
	rest := it.pkt[it.next:]
	if len(rest) == 0 || it.err != nil {
		return Chunk{}, false
	}
	if len(rest) < ChunkHeaderLen {
		it.err = ErrChunkHeader
		return Chunk{}, false
	}
	n := int(binary.BigEndian.Uint16(rest[2:]))
	switch {
	case n < ChunkHeaderLen:
		it.err = ErrChunkLength
	case n > len(rest):
		it.err = ErrTruncated
	case it.n == MaxChunks:
		it.err = ErrTooMany
	}
	if it.err != nil {
		return Chunk{}, false
	}
	it.n++
	it.last = it.next
	it.next += min(Pad4(n), len(rest))
	return Chunk{
		Type:  ChunkType(rest[0]),
		Flags: rest[1],
		Value: rest[ChunkHeaderLen:n:n],
		Raw:   rest[:n:n],
	}, true
}

// Err returns why Next stopped: nil at a clean end of the packet.
func (it *ChunkIter) Err() error { return it.err }

// Rest returns how many bytes of the packet Next has not handed out yet.
func (it *ChunkIter) Rest() int { return len(it.pkt) - it.next }

// Offset returns where in the packet the chunk handed out last begins. AUTH needs it: its HMAC covers the packet from
// there on (RFC 4895 section 6.3).
func (it *ChunkIter) Offset() int { return it.last }

// tlv splits the first type-length-value item off b, which is not empty. raw has header and value without padding; rest
// begins behind the padding, of which the last item may lack some (RFC 9260 section 3.2).
func tlv(b []byte) (code uint16, raw, rest []byte, ok bool) {
	if len(b) < ParamHeaderLen {
		return 0, nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n < ParamHeaderLen || n > len(b) {
		return 0, nil, nil, false
	}
	return binary.BigEndian.Uint16(b), b[:n:n], b[min(Pad4(n), len(b)):], true
}
