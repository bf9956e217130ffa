package wire

import (
	"encoding/binary"
	"net/netip"

	"github.com/go-multihome/multihome/internal/serial"
)

// Asconf is a view of an ASCONF chunk (RFC 5061 section 4.1.1). Its sequence numbers start at the initial TSN and are
// compared like those of RFC 6525, so they share the type.
type Asconf struct {
	Seq    serial.RSN
	Addr   netip.Addr // an address of the sender; unspecified: look at the packet's source
	Params []byte     // the requests: iterate with Params, read each with ParseAsconfParam
}

// ParseAsconf reads an ASCONF. Errors: ErrWrongChunk, ErrShortChunk, ErrParam, ErrMissing when its mandatory address is not
// the first parameter.
func ParseAsconf(c Chunk) (Asconf, error) {
	if c.Type != TypeAsconf {
		return Asconf{}, ErrWrongChunk
	}
	if len(c.Value) < 4 {
		return Asconf{}, ErrShortChunk
	}
	it := Params(c.Value[4:])
	p, _ := it.Next()
	if it.Err() != nil {
		return Asconf{}, it.Err()
	}
	addr, ok := p.Addr()
	if !ok {
		return Asconf{}, ErrMissing
	}
	return Asconf{Seq: serial.RSN(binary.BigEndian.Uint32(c.Value)), Addr: addr, Params: it.b}, nil
}

// AsconfAck is a view of an ASCONF-ACK chunk (RFC 5061 section 4.1.2).
type AsconfAck struct {
	Seq    serial.RSN
	Params []byte // the responses; a request without one succeeded
}

// ParseAsconfAck reads an ASCONF-ACK. Errors: ErrWrongChunk, ErrShortChunk.
func ParseAsconfAck(c Chunk) (AsconfAck, error) {
	if c.Type != TypeAsconfAck {
		return AsconfAck{}, ErrWrongChunk
	}
	if len(c.Value) < 4 {
		return AsconfAck{}, ErrShortChunk
	}
	return AsconfAck{Seq: serial.RSN(binary.BigEndian.Uint32(c.Value)), Params: c.Value[4:]}, nil
}

// AsconfParam is one request in an ASCONF or response in an ASCONF-ACK (RFC 5061 section 4.2).
type AsconfParam struct {
	Type   ParamType  // ParamAddIP, ParamDeleteIP, ParamSetPrimary, ParamErrorIndication or ParamSuccessIndication
	ID     uint32     // correlation identifier: the response repeats the request's
	Addr   netip.Addr // requests only
	Causes []byte     // Error Indication only: iterate with Causes
}

// ParseAsconfParam reads a request or response. Errors: ErrWrongChunk for another parameter, ErrParam when it is too short
// or its address parameter is malformed.
func ParseAsconfParam(p Param) (AsconfParam, error) {
	switch p.Type {
	case ParamAddIP, ParamDeleteIP, ParamSetPrimary, ParamErrorIndication, ParamSuccessIndication:
	default:
		return AsconfParam{}, ErrWrongChunk
	}
	if len(p.Value) < 4 {
		return AsconfParam{}, ErrParam
	}
	a := AsconfParam{Type: p.Type, ID: binary.BigEndian.Uint32(p.Value)}
	switch p.Type {
	case ParamErrorIndication:
		a.Causes = p.Value[4:]
	case ParamSuccessIndication:
	default:
		it := Params(p.Value[4:])
		inner, _ := it.Next()
		addr, ok := inner.Addr()
		if !ok || it.Rest() != 0 {
			return AsconfParam{}, ErrParam
		}
		a.Addr = addr
	}
	return a, nil
}

// Asconf opens an ASCONF with its mandatory address; AsconfRequest appends requests (RFC 5061 section 4.1.1). False: no
// room, or addr is the zero Addr.
func (b *Builder) Asconf(seq serial.RSN, addr netip.Addr) bool {
	if !addr.IsValid() {
		return false
	}
	b.FinishChunk()
	if b.Room() < ChunkHeaderLen+4+AddrParamLen(addr) {
		return false
	}
	return b.word(TypeAsconf, uint32(seq)) && b.AddrParam(addr)
}

// AsconfAck opens an ASCONF-ACK; AsconfSuccess and AsconfError append responses, or none for success of all
// (RFC 5061 section 4.1.2).
func (b *Builder) AsconfAck(seq serial.RSN) bool { return b.word(TypeAsconfAck, uint32(seq)) }

// AsconfRequest appends a request about addr: t is ParamAddIP, ParamDeleteIP or ParamSetPrimary, which may stand in an
// INIT or INIT ACK too (RFC 5061 section 4.2). False: no chunk is open, no room, or addr is the zero Addr.
func (b *Builder) AsconfRequest(t ParamType, id uint32, addr netip.Addr) bool {
	if !addr.IsValid() {
		return false
	}
	p, ok := b.item(uint16(t), 4+AddrParamLen(addr))
	if !ok {
		return false
	}
	binary.BigEndian.PutUint32(p, id)
	addr = addr.Unmap()
	inner := ParamIPv6
	if addr.Is4() {
		inner = ParamIPv4
		v := addr.As4()
		copy(p[8:], v[:])
	} else {
		v := addr.As16()
		copy(p[8:], v[:])
	}
	binary.BigEndian.PutUint16(p[4:], uint16(inner))
	binary.BigEndian.PutUint16(p[6:], uint16(len(p)-4))
	return true
}

// AsconfSuccess appends a Success Indication (RFC 5061 section 4.2.5).
func (b *Builder) AsconfSuccess(id uint32) bool { return b.number(ParamSuccessIndication, id) }

// AsconfError appends an Error Indication with one cause, whose value is the refused request as it came, header included
// (RFC 5061 sections 4.2.3 and 4.3).
func (b *Builder) AsconfError(id uint32, code CauseCode, value []byte) bool {
	p, ok := b.item(uint16(ParamErrorIndication), 4+ParamHeaderLen+len(value))
	if !ok {
		return false
	}
	binary.BigEndian.PutUint32(p, id)
	binary.BigEndian.PutUint16(p[4:], uint16(code))
	binary.BigEndian.PutUint16(p[6:], uint16(ParamHeaderLen+len(value)))
	copy(p[8:], value)
	return true
}
