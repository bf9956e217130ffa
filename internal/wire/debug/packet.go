// Package debug is the object codec of SCTP packets: a packet becomes a tree of plain structs that can be compared, changed,
// printed and encoded again. It is for tests, transcripts and logs; the core reads with package wire. It shares names and
// types with that package but none of its parsing or building, so that each can check the other.
package debug

import (
	"encoding/binary"
	"hash/crc32"
	"strings"

	"github.com/go-multihome/multihome/internal/wire"
)

// Packet is one SCTP packet.
type Packet struct {
	Header wire.Header
	Sum    uint32 // checksum as received; Encode computes its own
	Chunks []Chunk
}

// Chunk is one of the chunk structs of this package, by pointer.
type Chunk interface {
	// String returns one line, in a form that transcripts may rely on.
	String() string
	// parts returns what encodes the chunk: its type, flags and value.
	parts() (wire.ChunkType, uint8, []byte)
}

// Decode reads a packet. The chunks before a framing error (errors are those of package wire's ChunkIter) are returned with
// the error; the Packet is nil only when there is no whole header. A chunk whose inside is malformed is a *Raw that says
// why. The result shares no memory with pkt. The checksum is not checked.
func Decode(pkt []byte) (*Packet, error) {
	h, err := wire.ParseHeader(pkt)
	if err != nil {
		return nil, err
	}
	p := &Packet{Header: h, Sum: binary.LittleEndian.Uint32(pkt[8:])}
	b := append([]byte(nil), pkt[wire.HeaderLen:]...)
	for len(b) > 0 {
		if len(b) < 4 {
			return p, wire.ErrChunkHeader
		}
		n := int(b[2])<<8 | int(b[3])
		switch {
		case n < 4:
			return p, wire.ErrChunkLength
		case n > len(b):
			return p, wire.ErrTruncated
		case len(p.Chunks) == wire.MaxChunks:
			return p, wire.ErrTooMany
		}
		p.Chunks = append(p.Chunks, decodeChunk(wire.ChunkType(b[0]), b[1], b[4:n:n]))
		for n%4 != 0 && n < len(b) {
			n++
		}
		b = b[n:]
	}
	return p, nil
}

// Encode returns the packet's bytes with padding of zeros and a right checksum.
func (p *Packet) Encode() []byte {
	b := binary.BigEndian.AppendUint16(nil, p.Header.SrcPort)
	b = binary.BigEndian.AppendUint16(b, p.Header.DstPort)
	b = binary.BigEndian.AppendUint32(b, p.Header.Tag)
	b = append(b, 0, 0, 0, 0)
	for _, c := range p.Chunks {
		t, flags, value := c.parts()
		b = append(b, byte(t), flags)
		b = binary.BigEndian.AppendUint16(b, uint16(4+len(value)))
		b = pad(append(b, value...))
	}
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// String returns one line per chunk, without a newline at the end.
func (p *Packet) String() string { return p.join("\n") }

// Line returns the chunks on one line, separated by " | ".
func (p *Packet) Line() string { return p.join(" | ") }

func (p *Packet) join(sep string) string {
	lines := make([]string, len(p.Chunks))
	for i, c := range p.Chunks {
		lines[i] = c.String()
	}
	return strings.Join(lines, sep)
}

// Describe is Decode and Line for logs: whatever comes, the result says what is known of it.
func Describe(pkt []byte) string {
	p, err := Decode(pkt)
	switch {
	case p == nil:
		return err.Error()
	case err != nil:
		return p.Line() + " | " + err.Error()
	}
	return p.Line()
}

func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
