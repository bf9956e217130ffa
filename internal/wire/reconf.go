package wire

import (
	"encoding/binary"

	"github.com/go-multihome/multihome/internal/serial"
)

// Reconfig is a view of a RE-CONFIG chunk: one or two parameters (RFC 6525 section 3.1), each to be read by the Parse
// function of its type.
type Reconfig struct {
	N      int // 1 or 2
	Params [2]Param
}

// ParseReconfig reads a RE-CONFIG chunk and checks that its parameters are one of the ten combinations of RFC 6525
// section 3.1, in either order. Errors: ErrWrongChunk, ErrParam, ErrMissing, ErrCombination; to the last the answer is an
// ERROR with cause "Protocol Violation".
func ParseReconfig(c Chunk) (Reconfig, error) {
	var r Reconfig
	if c.Type != TypeReconfig {
		return r, ErrWrongChunk
	}
	it := Params(c.Value)
	for p, ok := it.Next(); ok; p, ok = it.Next() {
		if r.N == len(r.Params) {
			return r, ErrCombination
		}
		r.Params[r.N] = p
		r.N++
	}
	if it.Err() != nil {
		return r, it.Err()
	}
	if r.N == 0 {
		return r, ErrMissing
	}
	if !reconfigPair(r.Params[0].Type, r.Params[1].Type, r.N) {
		return r, ErrCombination
	}
	return r, nil
}

func reconfigPair(a, b ParamType, n int) bool {
	if a < ParamOutgoingReset || a > ParamAddIncoming {
		return false
	}
	if n == 1 {
		return true
	}
	if a > b {
		a, b = b, a
	}
	switch {
	case a == ParamOutgoingReset && b == ParamIncomingReset,
		a == ParamOutgoingReset && b == ParamReconfigResponse,
		a == ParamReconfigResponse && b == ParamReconfigResponse,
		a == ParamAddOutgoing && b == ParamAddIncoming:
		return true
	}
	return false
}

// StreamReset is a view of an Outgoing or Incoming SSN Reset Request (RFC 6525 sections 4.1 and 4.2).
type StreamReset struct {
	Request  serial.RSN
	Response serial.RSN // outgoing only: the request this also answers, or the next one expected minus one
	LastTSN  serial.TSN // outgoing only: the last TSN the sender assigned
	streams  []byte
}

// ParseStreamReset reads either request. Errors: ErrWrongChunk for another parameter, ErrParam.
func ParseStreamReset(p Param) (StreamReset, error) {
	v := p.Value
	switch p.Type {
	case ParamOutgoingReset:
		if len(v) < 12 || len(v)%2 != 0 {
			return StreamReset{}, ErrParam
		}
		return StreamReset{
			Request:  serial.RSN(binary.BigEndian.Uint32(v)),
			Response: serial.RSN(binary.BigEndian.Uint32(v[4:])),
			LastTSN:  serial.TSN(binary.BigEndian.Uint32(v[8:])),
			streams:  v[12:],
		}, nil
	case ParamIncomingReset:
		if len(v) < 4 || len(v)%2 != 0 {
			return StreamReset{}, ErrParam
		}
		return StreamReset{Request: serial.RSN(binary.BigEndian.Uint32(v)), streams: v[4:]}, nil
	}
	return StreamReset{}, ErrWrongChunk
}

// Streams returns how many streams are listed; none means all of them.
func (r *StreamReset) Streams() int { return len(r.streams) / 2 }

// Stream returns the identifier of stream i, 0 <= i < Streams().
func (r *StreamReset) Stream(i int) uint16 { return binary.BigEndian.Uint16(r.streams[2*i:]) }

// ParseTSNReset returns the request number of an SSN/TSN Reset Request (RFC 6525 section 4.3). Errors: ErrWrongChunk for
// another parameter, ErrParam.
func ParseTSNReset(p Param) (serial.RSN, error) {
	if p.Type != ParamTSNReset {
		return 0, ErrWrongChunk
	}
	if len(p.Value) != 4 {
		return 0, ErrParam
	}
	return serial.RSN(binary.BigEndian.Uint32(p.Value)), nil
}

// ParseAddStreams returns the request number of an Add Outgoing or Add Incoming Streams Request and how many streams it
// asks for (RFC 6525 sections 4.5 and 4.6). Errors: ErrWrongChunk for another parameter, ErrParam.
func ParseAddStreams(p Param) (req serial.RSN, n uint16, err error) {
	if p.Type != ParamAddOutgoing && p.Type != ParamAddIncoming {
		return 0, 0, ErrWrongChunk
	}
	if len(p.Value) != 8 {
		return 0, 0, ErrParam
	}
	return serial.RSN(binary.BigEndian.Uint32(p.Value)), binary.BigEndian.Uint16(p.Value[4:]), nil
}

// ReconfigResult is the outcome in a Re-configuration Response (RFC 6525 section 4.4, table 3).
type ReconfigResult uint32

// The results.
const (
	ReconfigNothingToDo ReconfigResult = iota
	ReconfigPerformed
	ReconfigDenied
	ReconfigWrongSSN
	ReconfigAlreadyInProgress
	ReconfigBadSequence
	ReconfigInProgress
)

// String returns a short name, "unknown result" for a number without one.
func (r ReconfigResult) String() string {
	if int(r) < len(reconfigNames) {
		return reconfigNames[r]
	}
	return "unknown result"
}

var reconfigNames = [...]string{"nothing to do", "performed", "denied", "wrong SSN", "request already in progress",
	"bad sequence number", "in progress"}

// ReconfigResponse is a Re-configuration Response parameter (RFC 6525 section 4.4).
type ReconfigResponse struct {
	Response    serial.RSN // number of the request answered
	Result      ReconfigResult
	HasTSNs     bool       // the next two are present: the answer to an SSN/TSN reset
	SenderNext  serial.TSN // next TSN of the response's sender
	ReceiverTSN serial.TSN // TSN the response's receiver must go on with
}

// ParseReconfigResponse reads the parameter. Errors: ErrWrongChunk for another parameter, ErrParam.
func ParseReconfigResponse(p Param) (ReconfigResponse, error) {
	if p.Type != ParamReconfigResponse {
		return ReconfigResponse{}, ErrWrongChunk
	}
	v := p.Value
	if len(v) != 8 && len(v) != 16 {
		return ReconfigResponse{}, ErrParam
	}
	r := ReconfigResponse{
		Response: serial.RSN(binary.BigEndian.Uint32(v)),
		Result:   ReconfigResult(binary.BigEndian.Uint32(v[4:])),
		HasTSNs:  len(v) == 16,
	}
	if r.HasTSNs {
		r.SenderNext = serial.TSN(binary.BigEndian.Uint32(v[8:]))
		r.ReceiverTSN = serial.TSN(binary.BigEndian.Uint32(v[12:]))
	}
	return r, nil
}

// Reconfig opens a RE-CONFIG chunk; one or two of the following parameters go into it (RFC 6525 section 3.1).
func (b *Builder) Reconfig() bool { return b.begin(TypeReconfig, 0, 0) }

// OutgoingReset appends an Outgoing SSN Reset Request; no sids means all streams (RFC 6525 section 4.1).
func (b *Builder) OutgoingReset(req, resp serial.RSN, last serial.TSN, sids []uint16) bool {
	p, ok := b.item(uint16(ParamOutgoingReset), 12+2*len(sids))
	if !ok {
		return false
	}
	binary.BigEndian.PutUint32(p, uint32(req))
	binary.BigEndian.PutUint32(p[4:], uint32(resp))
	binary.BigEndian.PutUint32(p[8:], uint32(last))
	putStreams(p[12:], sids)
	return true
}

// IncomingReset appends an Incoming SSN Reset Request; no sids means all streams (RFC 6525 section 4.2).
func (b *Builder) IncomingReset(req serial.RSN, sids []uint16) bool {
	p, ok := b.item(uint16(ParamIncomingReset), 4+2*len(sids))
	if !ok {
		return false
	}
	binary.BigEndian.PutUint32(p, uint32(req))
	putStreams(p[4:], sids)
	return true
}

func putStreams(p []byte, sids []uint16) {
	for i, sid := range sids {
		binary.BigEndian.PutUint16(p[2*i:], sid)
	}
}

// TSNReset appends an SSN/TSN Reset Request (RFC 6525 section 4.3).
func (b *Builder) TSNReset(req serial.RSN) bool { return b.number(ParamTSNReset, uint32(req)) }

// ReconfigResponse appends a Re-configuration Response (RFC 6525 section 4.4).
func (b *Builder) ReconfigResponse(r *ReconfigResponse) bool {
	n := 8
	if r.HasTSNs {
		n = 16
	}
	p, ok := b.item(uint16(ParamReconfigResponse), n)
	if !ok {
		return false
	}
	binary.BigEndian.PutUint32(p, uint32(r.Response))
	binary.BigEndian.PutUint32(p[4:], uint32(r.Result))
	if r.HasTSNs {
		binary.BigEndian.PutUint32(p[8:], uint32(r.SenderNext))
		binary.BigEndian.PutUint32(p[12:], uint32(r.ReceiverTSN))
	}
	return true
}

// AddStreams appends an Add Outgoing Streams Request, or an Add Incoming one when incoming, for n streams
// (RFC 6525 sections 4.5 and 4.6).
func (b *Builder) AddStreams(incoming bool, req serial.RSN, n uint16) bool {
	t := ParamAddOutgoing
	if incoming {
		t = ParamAddIncoming
	}
	p, ok := b.item(uint16(t), 8)
	if !ok {
		return false
	}
	binary.BigEndian.PutUint32(p, uint32(req))
	binary.BigEndian.PutUint32(p[4:], uint32(n)<<16)
	return true
}
