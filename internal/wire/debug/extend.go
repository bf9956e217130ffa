package debug

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

var errUnknown = errors.New("unknown type")

func decodeExtension(t wire.ChunkType, v []byte) (Chunk, error) {
	switch t {
	case wire.TypeForwardTSN, wire.TypeIForwardTSN:
		return decodeForward(t, v)
	case wire.TypeReconfig:
		params, err := decodeParams(v)
		return &Reconfig{Params: params}, err
	case wire.TypeAsconf, wire.TypeAsconfAck:
		if len(v) < 4 {
			return nil, errShort
		}
		params, err := decodeParams(v[4:])
		return &Asconf{Type: t, Seq: serial.RSN(binary.BigEndian.Uint32(v)), Params: params}, err
	case wire.TypeAuth:
		if len(v) < 4 {
			return nil, errShort
		}
		return &Auth{KeyID: binary.BigEndian.Uint16(v), HMACID: binary.BigEndian.Uint16(v[2:]), MAC: v[4:]}, nil
	}
	return nil, errUnknown
}

// ForwardTSN is a FORWARD-TSN or I-FORWARD-TSN.
type ForwardTSN struct {
	Type   wire.ChunkType
	CumTSN serial.TSN
	Skips  []wire.Skip
}

func decodeForward(t wire.ChunkType, v []byte) (Chunk, error) {
	size := 4
	if t == wire.TypeIForwardTSN {
		size = 8
	}
	if len(v) < 4 || (len(v)-4)%size != 0 {
		return nil, errShort
	}
	c := &ForwardTSN{Type: t, CumTSN: serial.TSN(binary.BigEndian.Uint32(v))}
	if (len(v)-4)/size > wire.MaxSkips {
		return nil, wire.ErrTooMany
	}
	for v = v[4:]; len(v) > 0; v = v[size:] {
		s := wire.Skip{SID: binary.BigEndian.Uint16(v)}
		if size == 4 {
			s.SSN = serial.SSN(binary.BigEndian.Uint16(v[2:]))
		} else {
			s.Unordered = v[3]&1 != 0
			s.MID = serial.MID(binary.BigEndian.Uint32(v[4:]))
		}
		c.Skips = append(c.Skips, s)
	}
	return c, nil
}

func (c *ForwardTSN) parts() (wire.ChunkType, uint8, []byte) {
	v := binary.BigEndian.AppendUint32(nil, uint32(c.CumTSN))
	for _, s := range c.Skips {
		v = binary.BigEndian.AppendUint16(v, s.SID)
		if c.Type == wire.TypeForwardTSN {
			v = binary.BigEndian.AppendUint16(v, uint16(s.SSN))
		} else {
			v = append(v, 0, bit(s.Unordered, 1))
			v = binary.BigEndian.AppendUint32(v, uint32(s.MID))
		}
	}
	return c.Type, 0, v
}

func (c *ForwardTSN) String() string {
	s := fmt.Sprintf("%v cum=%d", c.Type, c.CumTSN)
	return s + list(" skip=", c.Skips, func(s wire.Skip) string {
		switch {
		case c.Type == wire.TypeForwardTSN:
			return fmt.Sprintf("%d:%d", s.SID, s.SSN)
		case s.Unordered:
			return fmt.Sprintf("%d:%dU", s.SID, s.MID)
		}
		return fmt.Sprintf("%d:%d", s.SID, s.MID)
	})
}

// Reconfig is a RE-CONFIG.
type Reconfig struct{ Params []Param }

func (c *Reconfig) parts() (wire.ChunkType, uint8, []byte) {
	return wire.TypeReconfig, 0, appendParams(nil, c.Params)
}

func (c *Reconfig) String() string { return "RE-CONFIG" + paramList(c.Params) }

// Asconf is an ASCONF, whose first parameter is an address of its sender, or an ASCONF-ACK.
type Asconf struct {
	Type   wire.ChunkType
	Seq    serial.RSN
	Params []Param
}

func (c *Asconf) parts() (wire.ChunkType, uint8, []byte) {
	return c.Type, 0, appendParams(binary.BigEndian.AppendUint32(nil, uint32(c.Seq)), c.Params)
}

func (c *Asconf) String() string {
	return fmt.Sprintf("%v seq=%d%s", c.Type, c.Seq, paramList(c.Params))
}

// Auth is an AUTH.
type Auth struct {
	KeyID, HMACID uint16
	MAC           []byte
}

func (c *Auth) parts() (wire.ChunkType, uint8, []byte) {
	v := binary.BigEndian.AppendUint16(nil, c.KeyID)
	v = binary.BigEndian.AppendUint16(v, c.HMACID)
	return wire.TypeAuth, 0, append(v, c.MAC...)
}

func (c *Auth) String() string {
	return fmt.Sprintf("AUTH key=%d hmac=%d mac=%d bytes", c.KeyID, c.HMACID, len(c.MAC))
}
