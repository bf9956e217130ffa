package wire

import (
	"encoding/binary"

	"github.com/go-multihome/multihome/internal/serial"
)

// Sizes of the headers of user data, the chunk header included, in bytes.
const (
	DataHeaderLen  = 16 // RFC 9260 section 3.3.1
	IDataHeaderLen = 20 // RFC 8260 section 2.1
)

// Flags of DATA and I-DATA (RFC 9260 section 3.3.1, RFC 8260 section 2.1).
const (
	flagEnd       = 0x01
	flagBegin     = 0x02
	flagUnordered = 0x04
	flagImmediate = 0x08
)

// Data is one DATA or I-DATA chunk, as read or as to be written.
type Data struct {
	TSN         serial.TSN
	SID         uint16     // stream identifier
	SSN         serial.SSN // DATA only; means nothing when Unordered
	MID         serial.MID // I-DATA only
	FSN         serial.FSN // I-DATA only; 0 in the first fragment, where it is not transmitted
	PPID        uint32     // payload protocol identifier; I-DATA transmits it in the first fragment only
	Payload     []byte     // without padding
	Unordered   bool
	Begin, End  bool // first and last fragment of its message
	Immediate   bool // the sender asks for a SACK without delay
	Interleaved bool // I-DATA
}

// HeaderLen returns the size of the chunk's header: DataHeaderLen or IDataHeaderLen.
func (d *Data) HeaderLen() int {
	if d.Interleaved {
		return IDataHeaderLen
	}
	return DataHeaderLen
}

// ParseData reads a DATA or I-DATA chunk into d, of which every field is set. ErrNoUserData leaves d filled too: the answer
// is an ABORT whose cause "No User Data" names the TSN (RFC 9260 section 6.2). Other errors: ErrShortChunk, ErrWrongChunk.
func ParseData(c Chunk, d *Data) error {
	v := c.Value
	hdr := DataHeaderLen - ChunkHeaderLen
	switch c.Type {
	case TypeData:
	case TypeIData:
		hdr = IDataHeaderLen - ChunkHeaderLen
	default:
		return ErrWrongChunk
	}
	if len(v) < hdr {
		return ErrShortChunk
	}
	// Field by field: a struct literal would be built aside and copied, for each chunk.
	d.TSN = serial.TSN(binary.BigEndian.Uint32(v))
	d.SID = binary.BigEndian.Uint16(v[4:])
	d.SSN, d.MID, d.FSN, d.PPID = 0, 0, 0, 0
	d.Payload = v[hdr:]
	d.Unordered = c.Flags&flagUnordered != 0
	d.Begin = c.Flags&flagBegin != 0
	d.End = c.Flags&flagEnd != 0
	d.Immediate = c.Flags&flagImmediate != 0
	d.Interleaved = c.Type == TypeIData
	switch {
	case !d.Interleaved:
		d.SSN = serial.SSN(binary.BigEndian.Uint16(v[6:]))
		d.PPID = binary.BigEndian.Uint32(v[8:])
	case d.Begin:
		d.MID = serial.MID(binary.BigEndian.Uint32(v[8:]))
		d.PPID = binary.BigEndian.Uint32(v[12:])
	default:
		d.MID = serial.MID(binary.BigEndian.Uint32(v[8:]))
		d.FSN = serial.FSN(binary.BigEndian.Uint32(v[12:]))
	}
	if len(d.Payload) == 0 {
		return ErrNoUserData
	}
	return nil
}

// Data appends a DATA chunk, or an I-DATA chunk when d.Interleaved, and copies the payload. False: no room, or no payload,
// which may not be sent (RFC 9260 section 3.3.1).
func (b *Builder) Data(d *Data) bool {
	p := b.DataHeader(d, len(d.Payload))
	copy(p, d.Payload)
	return p != nil
}

// DataHeader appends a chunk like Data, but for n bytes of payload that the caller fills into the slice returned, before
// Seal; d.Payload is not looked at. nil: no room for all of it, or n is not positive.
func (b *Builder) DataHeader(d *Data, n int) []byte {
	b.FinishChunk()
	hdr := d.HeaderLen()
	if n <= 0 || n > b.Room()-hdr {
		return nil
	}
	size := hdr + n
	p := b.grow(Pad4(size))
	clear(p[size:])
	b.chunks++

	p[0] = byte(TypeData)
	p[1] = d.flags()
	binary.BigEndian.PutUint16(p[2:], uint16(size))
	binary.BigEndian.PutUint32(p[4:], uint32(d.TSN))
	binary.BigEndian.PutUint16(p[8:], d.SID)
	if !d.Interleaved {
		binary.BigEndian.PutUint16(p[10:], uint16(d.SSN))
		binary.BigEndian.PutUint32(p[12:], d.PPID)
		return p[hdr:size:size]
	}
	p[0] = byte(TypeIData)
	binary.BigEndian.PutUint16(p[10:], 0)
	binary.BigEndian.PutUint32(p[12:], uint32(d.MID))
	last := uint32(d.FSN)
	if d.Begin {
		last = d.PPID // the first fragment carries the PPID where the others have their FSN
	}
	binary.BigEndian.PutUint32(p[16:], last)
	return p[hdr:size:size]
}

func (d *Data) flags() uint8 {
	var f uint8
	if d.End {
		f |= flagEnd
	}
	if d.Begin {
		f |= flagBegin
	}
	if d.Unordered {
		f |= flagUnordered
	}
	if d.Immediate {
		f |= flagImmediate
	}
	return f
}
