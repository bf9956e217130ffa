package debug

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

var (
	errShort    = errors.New("too short")
	errTrailing = errors.New("bytes behind the header")
	errParam    = errors.New("bad parameter")
)

// decodeChunk returns the struct for a chunk, *Raw when its type is unknown or its inside malformed.
func decodeChunk(t wire.ChunkType, flags uint8, v []byte) Chunk {
	c, err := decodeTyped(t, flags, v)
	if err != nil {
		return &Raw{Type: t, Flags: flags, Value: v, Why: err.Error()}
	}
	return c
}

func decodeTyped(t wire.ChunkType, flags uint8, v []byte) (Chunk, error) {
	switch t {
	case wire.TypeData, wire.TypeIData:
		return decodeData(t, flags, v)
	case wire.TypeInit, wire.TypeInitAck:
		return decodeInit(t, v)
	case wire.TypeSack:
		return decodeSack(v)
	case wire.TypeHeartbeat, wire.TypeHeartbeatAck:
		params, err := decodeParams(v)
		return &Heartbeat{Type: t, Params: params}, err
	case wire.TypeAbort, wire.TypeError:
		causes, err := decodeCauses(v)
		return &Stop{Type: t, T: t == wire.TypeAbort && flags&1 != 0, Causes: causes}, err
	case wire.TypeShutdown:
		if len(v) < 4 {
			return nil, errShort
		}
		return &Shutdown{CumTSN: serial.TSN(binary.BigEndian.Uint32(v))}, nil
	case wire.TypeShutdownAck, wire.TypeCookieAck, wire.TypeShutdownComplete:
		if len(v) > 0 {
			return nil, errTrailing
		}
		return &Plain{Type: t, T: t == wire.TypeShutdownComplete && flags&1 != 0}, nil
	case wire.TypeCookieEcho:
		return &CookieEcho{Cookie: v}, nil
	case wire.TypePad:
		return &Pad{Len: 4 + len(v)}, nil
	}
	return decodeExtension(t, v)
}

// Data is a DATA or I-DATA chunk.
type Data struct{ wire.Data }

func decodeData(t wire.ChunkType, flags uint8, v []byte) (Chunk, error) {
	hdr := 12
	if t == wire.TypeIData {
		hdr = 16
	}
	if len(v) < hdr {
		return nil, errShort
	}
	c := &Data{}
	c.TSN = serial.TSN(binary.BigEndian.Uint32(v))
	c.SID = binary.BigEndian.Uint16(v[4:])
	c.End, c.Begin, c.Unordered, c.Immediate = flags&1 != 0, flags&2 != 0, flags&4 != 0, flags&8 != 0
	c.Payload = v[hdr:]
	c.PPID = binary.BigEndian.Uint32(v[hdr-4:])
	if t == wire.TypeData {
		c.SSN = serial.SSN(binary.BigEndian.Uint16(v[6:]))
		return c, nil
	}
	c.Interleaved = true
	c.MID = serial.MID(binary.BigEndian.Uint32(v[8:]))
	if !c.Begin {
		c.FSN, c.PPID = serial.FSN(c.PPID), 0
	}
	return c, nil
}

func (c *Data) parts() (wire.ChunkType, uint8, []byte) {
	v := binary.BigEndian.AppendUint32(nil, uint32(c.TSN))
	v = binary.BigEndian.AppendUint16(v, c.SID)
	t, last := wire.TypeData, c.PPID
	if c.Interleaved {
		t = wire.TypeIData
		v = binary.BigEndian.AppendUint16(v, 0)
		v = binary.BigEndian.AppendUint32(v, uint32(c.MID))
		if !c.Begin {
			last = uint32(c.FSN)
		}
	} else {
		v = binary.BigEndian.AppendUint16(v, uint16(c.SSN))
	}
	v = binary.BigEndian.AppendUint32(v, last)
	return t, bit(c.End, 1) | bit(c.Begin, 2) | bit(c.Unordered, 4) | bit(c.Immediate, 8), append(v, c.Payload...)
}

func bit(on bool, b uint8) uint8 {
	if on {
		return b
	}
	return 0
}

func (c *Data) String() string {
	var s strings.Builder
	if c.Interleaved {
		fmt.Fprintf(&s, "I-DATA tsn=%d sid=%d mid=%d", c.TSN, c.SID, c.MID)
		if c.Begin {
			fmt.Fprintf(&s, " ppid=%d", c.PPID)
		} else {
			fmt.Fprintf(&s, " fsn=%d", c.FSN)
		}
	} else {
		fmt.Fprintf(&s, "DATA tsn=%d sid=%d", c.TSN, c.SID)
		if !c.Unordered {
			fmt.Fprintf(&s, " ssn=%d", c.SSN)
		}
		fmt.Fprintf(&s, " ppid=%d", c.PPID)
	}
	if c.Unordered || c.Begin || c.End || c.Immediate {
		s.WriteByte(' ')
	}
	for _, f := range []struct {
		on   bool
		name byte
	}{{c.Unordered, 'U'}, {c.Begin, 'B'}, {c.End, 'E'}, {c.Immediate, 'I'}} {
		if f.on {
			s.WriteByte(f.name)
		}
	}
	fmt.Fprintf(&s, " len=%d", len(c.Payload))
	return s.String()
}

// Init is an INIT or INIT ACK.
type Init struct {
	Type                  wire.ChunkType
	Tag, ARwnd            uint32
	OutStreams, InStreams uint16
	TSN                   serial.TSN
	Params                []Param
}

func decodeInit(t wire.ChunkType, v []byte) (Chunk, error) {
	if len(v) < 16 {
		return nil, errShort
	}
	params, err := decodeParams(v[16:])
	return &Init{
		Type:       t,
		Tag:        binary.BigEndian.Uint32(v),
		ARwnd:      binary.BigEndian.Uint32(v[4:]),
		OutStreams: binary.BigEndian.Uint16(v[8:]),
		InStreams:  binary.BigEndian.Uint16(v[10:]),
		TSN:        serial.TSN(binary.BigEndian.Uint32(v[12:])),
		Params:     params,
	}, err
}

func (c *Init) parts() (wire.ChunkType, uint8, []byte) {
	v := binary.BigEndian.AppendUint32(nil, c.Tag)
	v = binary.BigEndian.AppendUint32(v, c.ARwnd)
	v = binary.BigEndian.AppendUint16(v, c.OutStreams)
	v = binary.BigEndian.AppendUint16(v, c.InStreams)
	v = binary.BigEndian.AppendUint32(v, uint32(c.TSN))
	return c.Type, 0, appendParams(v, c.Params)
}

func (c *Init) String() string {
	return fmt.Sprintf("%v tag=%08x arwnd=%d os=%d is=%d tsn=%d%s",
		c.Type, c.Tag, c.ARwnd, c.OutStreams, c.InStreams, c.TSN, paramList(c.Params))
}

// Sack is a SACK.
type Sack struct {
	CumTSN serial.TSN
	ARwnd  uint32
	Gaps   []Gap
	Dups   []serial.TSN
}

// Gap is a gap block: first and last TSN received, as offsets from the cumulative TSN.
type Gap struct{ Start, End uint16 }

func decodeSack(v []byte) (Chunk, error) {
	if len(v) < 12 {
		return nil, errShort
	}
	c := &Sack{CumTSN: serial.TSN(binary.BigEndian.Uint32(v)), ARwnd: binary.BigEndian.Uint32(v[4:])}
	gaps, dups := int(binary.BigEndian.Uint16(v[8:])), int(binary.BigEndian.Uint16(v[10:]))
	v = v[12:]
	if len(v) < 4*(gaps+dups) {
		return nil, errShort
	}
	for ; gaps > 0; gaps, v = gaps-1, v[4:] {
		c.Gaps = append(c.Gaps, Gap{binary.BigEndian.Uint16(v), binary.BigEndian.Uint16(v[2:])})
	}
	for ; dups > 0; dups, v = dups-1, v[4:] {
		c.Dups = append(c.Dups, serial.TSN(binary.BigEndian.Uint32(v)))
	}
	return c, nil
}

func (c *Sack) parts() (wire.ChunkType, uint8, []byte) {
	v := binary.BigEndian.AppendUint32(nil, uint32(c.CumTSN))
	v = binary.BigEndian.AppendUint32(v, c.ARwnd)
	v = binary.BigEndian.AppendUint16(v, uint16(len(c.Gaps)))
	v = binary.BigEndian.AppendUint16(v, uint16(len(c.Dups)))
	for _, g := range c.Gaps {
		v = binary.BigEndian.AppendUint16(v, g.Start)
		v = binary.BigEndian.AppendUint16(v, g.End)
	}
	for _, d := range c.Dups {
		v = binary.BigEndian.AppendUint32(v, uint32(d))
	}
	return wire.TypeSack, 0, v
}

func (c *Sack) String() string {
	s := fmt.Sprintf("SACK cum=%d arwnd=%d", c.CumTSN, c.ARwnd)
	s += list(" gaps=", c.Gaps, func(g Gap) string { return fmt.Sprintf("%d-%d", g.Start, g.End) })
	return s + list(" dups=", c.Dups, func(t serial.TSN) string { return strconv.FormatUint(uint64(t), 10) })
}

// list joins items by commas behind a label, or returns nothing when there are none.
func list[T any](label string, items []T, f func(T) string) string {
	if len(items) == 0 {
		return ""
	}
	out := make([]string, len(items))
	for i, it := range items {
		out[i] = f(it)
	}
	return label + strings.Join(out, ",")
}

// Heartbeat is a HEARTBEAT or HEARTBEAT ACK.
type Heartbeat struct {
	Type   wire.ChunkType
	Params []Param // one ParamHeartbeatInfo
}

func (c *Heartbeat) parts() (wire.ChunkType, uint8, []byte) {
	return c.Type, 0, appendParams(nil, c.Params)
}

func (c *Heartbeat) String() string { return c.Type.String() + paramList(c.Params) }

// Stop is an ABORT or ERROR.
type Stop struct {
	Type   wire.ChunkType
	T      bool // ABORT only: tag reflected
	Causes []Cause
}

func (c *Stop) parts() (wire.ChunkType, uint8, []byte) {
	return c.Type, bit(c.T, 1), appendCauses(nil, c.Causes)
}

func (c *Stop) String() string { return c.Type.String() + tMark(c.T) + causeList(c.Causes) }

func tMark(t bool) string {
	if t {
		return " T"
	}
	return ""
}

// Shutdown is a SHUTDOWN.
type Shutdown struct{ CumTSN serial.TSN }

func (c *Shutdown) parts() (wire.ChunkType, uint8, []byte) {
	return wire.TypeShutdown, 0, binary.BigEndian.AppendUint32(nil, uint32(c.CumTSN))
}

func (c *Shutdown) String() string { return fmt.Sprintf("SHUTDOWN cum=%d", c.CumTSN) }

// Plain is a chunk without a value: SHUTDOWN ACK, COOKIE ACK or SHUTDOWN COMPLETE.
type Plain struct {
	Type wire.ChunkType
	T    bool // SHUTDOWN COMPLETE only: tag reflected
}

func (c *Plain) parts() (wire.ChunkType, uint8, []byte) { return c.Type, bit(c.T, 1), nil }

func (c *Plain) String() string { return c.Type.String() + tMark(c.T) }

// CookieEcho is a COOKIE ECHO.
type CookieEcho struct{ Cookie []byte }

func (c *CookieEcho) parts() (wire.ChunkType, uint8, []byte) {
	return wire.TypeCookieEcho, 0, c.Cookie
}

func (c *CookieEcho) String() string { return fmt.Sprintf("COOKIE ECHO len=%d", len(c.Cookie)) }

// Pad is a PAD chunk. What it is filled with is not kept.
type Pad struct{ Len int } // chunk length, header included

func (c *Pad) parts() (wire.ChunkType, uint8, []byte) { return wire.TypePad, 0, make([]byte, c.Len-4) }

func (c *Pad) String() string { return fmt.Sprintf("PAD len=%d", c.Len) }

// Raw is a chunk of an unknown type, or a malformed one.
type Raw struct {
	Type  wire.ChunkType
	Flags uint8
	Value []byte
	Why   string // what is wrong with it
}

func (c *Raw) parts() (wire.ChunkType, uint8, []byte) { return c.Type, c.Flags, c.Value }

func (c *Raw) String() string {
	return fmt.Sprintf("%v flags=%02x len=%d (%s)", c.Type, c.Flags, 4+len(c.Value), c.Why)
}
