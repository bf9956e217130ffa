package wire

import (
	"encoding/binary"

	"github.com/go-multihome/multihome/internal/serial"
)

// ForwardTSN is a view of a FORWARD-TSN (RFC 3758 section 3.2) or I-FORWARD-TSN chunk (RFC 8260 section 2.3.1).
type ForwardTSN struct {
	CumTSN      serial.TSN // new cumulative TSN
	Interleaved bool       // I-FORWARD-TSN
	skips       []byte
}

// Skip is one stream's entry in it: the messages up to and with SSN or MID are not to be waited for.
type Skip struct {
	SID       uint16
	SSN       serial.SSN // FORWARD-TSN only
	MID       serial.MID // I-FORWARD-TSN only
	Unordered bool       // I-FORWARD-TSN only: MID counts unordered messages
}

// ParseForwardTSN reads either chunk. Errors: ErrWrongChunk, ErrShortChunk when it is too short or ends within an entry,
// ErrTooMany above MaxSkips.
func ParseForwardTSN(c Chunk) (ForwardTSN, error) {
	f := ForwardTSN{Interleaved: c.Type == TypeIForwardTSN}
	if c.Type != TypeForwardTSN && !f.Interleaved {
		return f, ErrWrongChunk
	}
	if len(c.Value) < 4 || (len(c.Value)-4)%f.size() != 0 {
		return f, ErrShortChunk
	}
	f.CumTSN = serial.TSN(binary.BigEndian.Uint32(c.Value))
	f.skips = c.Value[4:]
	if f.Skips() > MaxSkips {
		return f, ErrTooMany
	}
	return f, nil
}

func (f *ForwardTSN) size() int {
	if f.Interleaved {
		return 8
	}
	return 4
}

// Skips returns how many entries there are.
func (f *ForwardTSN) Skips() int { return len(f.skips) / f.size() }

// Skip returns entry i, 0 <= i < Skips().
func (f *ForwardTSN) Skip(i int) Skip {
	p := f.skips[i*f.size():]
	s := Skip{SID: binary.BigEndian.Uint16(p)}
	if f.Interleaved {
		s.Unordered = p[3]&1 != 0
		s.MID = serial.MID(binary.BigEndian.Uint32(p[4:]))
	} else {
		s.SSN = serial.SSN(binary.BigEndian.Uint16(p[2:]))
	}
	return s
}

// ForwardTSN opens a FORWARD-TSN chunk; Skip appends its entries (RFC 3758 section 3.2).
func (b *Builder) ForwardTSN(cum serial.TSN) bool { return b.word(TypeForwardTSN, uint32(cum)) }

// IForwardTSN opens an I-FORWARD-TSN chunk; Skip appends its entries (RFC 8260 section 2.3.1).
func (b *Builder) IForwardTSN(cum serial.TSN) bool { return b.word(TypeIForwardTSN, uint32(cum)) }

// Skip appends an entry to the open FORWARD-TSN or I-FORWARD-TSN, in that chunk's form. False: no room, or no such chunk
// is open.
func (b *Builder) Skip(s Skip) bool {
	switch {
	case b.opened(TypeForwardTSN) && b.Room() >= 4:
		p := b.grow(4)
		binary.BigEndian.PutUint16(p, s.SID)
		binary.BigEndian.PutUint16(p[2:], uint16(s.SSN))
		return true
	case b.opened(TypeIForwardTSN) && b.Room() >= 8:
		p := b.grow(8)
		binary.BigEndian.PutUint16(p, s.SID)
		p[2], p[3] = 0, 0
		if s.Unordered {
			p[3] = 1
		}
		binary.BigEndian.PutUint32(p[4:], uint32(s.MID))
		return true
	}
	return false
}

// word opens a chunk whose value begins with one 32-bit number.
func (b *Builder) word(t ChunkType, v uint32) bool {
	if !b.begin(t, 0, 4) {
		return false
	}
	binary.BigEndian.PutUint32(b.grow(4), v)
	return true
}

// AuthLen is the size of an AUTH chunk without its HMAC, the chunk header included, in bytes.
const AuthLen = 8

// HMAC identifiers (RFC 4895 section 3.3).
const (
	HMACSHA1   uint16 = 1
	HMACSHA256 uint16 = 3
)

// Auth is a view of an AUTH chunk (RFC 4895 section 5.1). Its HMAC covers the packet from this chunk on, with MAC taken as
// zero bytes; ChunkIter.Offset says where that is.
type Auth struct {
	KeyID  uint16 // shared key identifier
	HMACID uint16
	MAC    []byte
}

// ParseAuth reads an AUTH chunk. Errors: ErrWrongChunk, ErrShortChunk. Whether MAC has the length HMACID asks for is the
// caller's to check.
func ParseAuth(c Chunk) (Auth, error) {
	if c.Type != TypeAuth {
		return Auth{}, ErrWrongChunk
	}
	if len(c.Value) < AuthLen-ChunkHeaderLen {
		return Auth{}, ErrShortChunk
	}
	return Auth{
		KeyID:  binary.BigEndian.Uint16(c.Value),
		HMACID: binary.BigEndian.Uint16(c.Value[2:]),
		MAC:    c.Value[AuthLen-ChunkHeaderLen:],
	}, nil
}

// Auth appends an AUTH chunk with macLen zero bytes in place of the HMAC, and returns where it stands for Authenticate.
func (b *Builder) Auth(keyID, hmacID uint16, macLen int) (at int, ok bool) {
	if macLen < 0 || !b.begin(TypeAuth, 0, AuthLen-ChunkHeaderLen+macLen) {
		return 0, false
	}
	at = b.open
	p := b.grow(AuthLen - ChunkHeaderLen + macLen)
	binary.BigEndian.PutUint16(p, keyID)
	binary.BigEndian.PutUint16(p[2:], hmacID)
	clear(p[AuthLen-ChunkHeaderLen:])
	b.FinishChunk()
	return at, true
}

// Authenticate closes the open chunk and returns what the HMAC of the AUTH chunk at at covers, and where the HMAC goes. The
// caller computes over covered, then writes into mac, after the last chunk was appended and before Seal
// (RFC 4895 section 6.2).
func (b *Builder) Authenticate(at int) (covered, mac []byte) {
	b.FinishChunk()
	covered = b.buf[at:]
	n := int(binary.BigEndian.Uint16(covered[2:]))
	return covered, covered[AuthLen:n:n]
}
