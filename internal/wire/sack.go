package wire

import (
	"encoding/binary"

	"github.com/go-multihome/multihome/internal/serial"
)

// SackLen is the size of a SACK chunk without gap blocks and duplicates, its header included, in bytes. Each block and each
// duplicate adds four.
const SackLen = 16

// Sack is a view of a SACK chunk (RFC 9260 section 3.3.4).
type Sack struct {
	CumTSN serial.TSN // everything up to and with it has arrived
	ARwnd  uint32     // advertised receiver window, bytes
	gaps   []byte
	dups   []byte
}

// ParseSack reads a SACK. Errors: ErrWrongChunk, ErrShortChunk when the chunk is too short for the counts it states. Bytes
// beyond them are ignored. Blocks are handed out as they came: ascending order, start not above end, and isolation are
// for the caller to check, since a breach is no reason to lose the cumulative TSN.
func ParseSack(c Chunk) (Sack, error) {
	const fixed = SackLen - ChunkHeaderLen
	v := c.Value
	if c.Type != TypeSack {
		return Sack{}, ErrWrongChunk
	}
	if len(v) < fixed {
		return Sack{}, ErrShortChunk
	}
	gaps := 4 * int(binary.BigEndian.Uint16(v[8:]))
	dups := 4 * int(binary.BigEndian.Uint16(v[10:]))
	if len(v) < fixed+gaps+dups {
		return Sack{}, ErrShortChunk
	}
	return Sack{
		CumTSN: serial.TSN(binary.BigEndian.Uint32(v)),
		ARwnd:  binary.BigEndian.Uint32(v[4:]),
		gaps:   v[fixed:][:min(gaps, 4*MaxGapBlocks)],
		dups:   v[fixed+gaps:][:min(dups, 4*MaxDupTSNs)],
	}, nil
}

// Gaps returns how many gap blocks there are, MaxGapBlocks at most.
func (s *Sack) Gaps() int { return len(s.gaps) / 4 }

// Gap returns gap block i, 0 <= i < Gaps(): first and last TSN received, as offsets from CumTSN.
func (s *Sack) Gap(i int) (start, end uint16) {
	g := s.gaps[4*i:]
	return binary.BigEndian.Uint16(g), binary.BigEndian.Uint16(g[2:])
}

// Dups returns how many duplicate TSNs are reported, MaxDupTSNs at most.
func (s *Sack) Dups() int { return len(s.dups) / 4 }

// Dup returns duplicate i, 0 <= i < Dups().
func (s *Sack) Dup(i int) serial.TSN { return serial.TSN(binary.BigEndian.Uint32(s.dups[4*i:])) }

// Sack opens a SACK chunk; SackGap and SackDup append to it, gaps first.
func (b *Builder) Sack(cum serial.TSN, arwnd uint32) bool {
	const fixed = SackLen - ChunkHeaderLen
	if !b.begin(TypeSack, 0, fixed) {
		return false
	}
	p := b.grow(fixed)
	binary.BigEndian.PutUint32(p, uint32(cum))
	binary.BigEndian.PutUint32(p[4:], arwnd)
	clear(p[8:])
	return true
}

// SackGap appends a gap block to the open SACK: first and last TSN received, as offsets from the cumulative TSN. False: no
// room, no SACK is open, or a duplicate has been appended already.
func (b *Builder) SackGap(start, end uint16) bool {
	if !b.opened(TypeSack) || b.Room() < 4 || binary.BigEndian.Uint16(b.buf[b.open+14:]) != 0 {
		return false
	}
	p := b.grow(4)
	binary.BigEndian.PutUint16(p, start)
	binary.BigEndian.PutUint16(p[2:], end)
	b.count(12)
	return true
}

// SackDup appends a duplicate TSN to the open SACK. False: no room, or no SACK is open.
func (b *Builder) SackDup(t serial.TSN) bool {
	if !b.opened(TypeSack) || b.Room() < 4 {
		return false
	}
	binary.BigEndian.PutUint32(b.grow(4), uint32(t))
	b.count(14)
	return true
}

// count adds one to the 16-bit counter at offset at of the open chunk. It cannot wrap: 65532 bytes hold fewer items.
func (b *Builder) count(at int) {
	p := b.buf[b.open+at:]
	binary.BigEndian.PutUint16(p, binary.BigEndian.Uint16(p)+1)
}
