package wire

import (
	"encoding/binary"

	"github.com/go-multihome/multihome/internal/serial"
)

// ParseShutdown returns the cumulative TSN of a SHUTDOWN (RFC 9260 section 3.3.8). Errors: ErrWrongChunk, ErrShortChunk.
func ParseShutdown(c Chunk) (serial.TSN, error) {
	if c.Type != TypeShutdown {
		return 0, ErrWrongChunk
	}
	if len(c.Value) < 4 {
		return 0, ErrShortChunk
	}
	return serial.TSN(binary.BigEndian.Uint32(c.Value)), nil
}

// Shutdown appends a SHUTDOWN (RFC 9260 section 3.3.8).
func (b *Builder) Shutdown(cum serial.TSN) bool {
	if !b.begin(TypeShutdown, 0, 4) {
		return false
	}
	binary.BigEndian.PutUint32(b.grow(4), uint32(cum))
	b.FinishChunk()
	return true
}

// ShutdownAck appends a SHUTDOWN ACK (RFC 9260 section 3.3.9).
func (b *Builder) ShutdownAck() bool { return b.Chunk(TypeShutdownAck, 0, nil) }

// ShutdownComplete appends a SHUTDOWN COMPLETE; tBit says that the packet's tag is reflected (RFC 9260 section 3.3.13).
func (b *Builder) ShutdownComplete(tBit bool) bool {
	return b.Chunk(TypeShutdownComplete, tFlag(tBit), nil)
}

// Abort opens an ABORT; causes follow by Cause, or none. tBit says that the packet's tag is reflected
// (RFC 9260 section 3.3.7).
func (b *Builder) Abort(tBit bool) bool { return b.begin(TypeAbort, tFlag(tBit), 0) }

// Error opens an ERROR; at least one cause follows (RFC 9260 section 3.3.10).
func (b *Builder) Error() bool { return b.begin(TypeError, 0, 0) }

func tFlag(tBit bool) uint8 {
	if tBit {
		return flagT
	}
	return 0
}
