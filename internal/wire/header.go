// Package wire is the codec of SCTP packets: bytes in, views out, and an append-style builder the other way. It holds no
// state and knows no procedure. It reads and writes every chunk, parameter and error cause of RFC 9260 and of its
// extensions in RFC 3758, RFC 4820, RFC 4895, RFC 5061, RFC 6525 and RFC 8260.
//
// Reading allocates nothing: views point into the packet and die with it. Every length is checked here, so what a view
// hands out is always in bounds; every count a peer chooses is capped (limits.go). Rules about values (a tag of zero, a
// window too small, who may send what when) are the callers'.
//
// Writing goes through Builder into memory of the caller, whose capacity is the size limit of the packet.
package wire

import (
	"encoding/binary"
	"errors"
)

// Sizes in bytes.
const (
	HeaderLen      = 12 // common header, RFC 9260 section 3.1
	ChunkHeaderLen = 4  // type, flags, length, RFC 9260 section 3.2
	ParamHeaderLen = 4  // type, length; error causes have the same, RFC 9260 sections 3.2.1 and 3.3.10
)

// Errors of the readers. They are plain values, so that a flood of bad packets costs no allocation.
var (
	ErrShortPacket = errors.New("wire: packet shorter than the common header")
	ErrChunkHeader = errors.New("wire: trailing bytes too few for a chunk header")
	ErrChunkLength = errors.New("wire: chunk length field smaller than the chunk header")
	ErrTruncated   = errors.New("wire: chunk longer than the rest of the packet")
	ErrShortChunk  = errors.New("wire: chunk too short for its type")
	ErrWrongChunk  = errors.New("wire: chunk of another type expected")
	ErrNoUserData  = errors.New("wire: DATA chunk without user data")
	ErrParam       = errors.New("wire: parameter or error cause with a bad length or value")
	ErrMissing     = errors.New("wire: mandatory parameter missing")
	ErrCombination = errors.New("wire: parameters that may not stand together")
	ErrTooMany     = errors.New("wire: more chunks, parameters or causes than the limit")
)

// Header is the common header (RFC 9260 section 3.1). The checksum has functions of its own.
type Header struct {
	SrcPort, DstPort uint16
	Tag              uint32 // verification tag: the receiver's; 0 with INIT only
}

// ParseHeader reads the common header. The only error is ErrShortPacket; a port of zero is for the caller to refuse.
func ParseHeader(pkt []byte) (Header, error) {
	if len(pkt) < HeaderLen {
		return Header{}, ErrShortPacket
	}
	return Header{
		SrcPort: binary.BigEndian.Uint16(pkt),
		DstPort: binary.BigEndian.Uint16(pkt[2:]),
		Tag:     binary.BigEndian.Uint32(pkt[4:]),
	}, nil
}

// Pad4 rounds n up to the next multiple of four, the alignment of chunks and parameters (RFC 9260 section 3.2).
func Pad4(n int) int { return (n + 3) &^ 3 }
