package wire

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// ParamType is the type of an optional or variable-length parameter (RFC 9260 section 3.2.1).
type ParamType uint16

// The parameter types this package can read and write.
const (
	ParamHeartbeatInfo      ParamType = 1      // RFC 9260 section 3.3.5
	ParamIPv4               ParamType = 5      // RFC 9260 section 3.3.2.1.1
	ParamIPv6               ParamType = 6      // RFC 9260 section 3.3.2.1.2
	ParamStateCookie        ParamType = 7      // RFC 9260 section 3.3.3.1.1
	ParamUnrecognized       ParamType = 8      // RFC 9260 section 3.3.3.1.2
	ParamCookiePreservative ParamType = 9      // RFC 9260 section 3.3.2.1.3
	ParamHostName           ParamType = 11     // deprecated, RFC 9260 section 3.3.2.1.4
	ParamSupportedAddrTypes ParamType = 12     // RFC 9260 section 3.3.2.1.5
	ParamOutgoingReset      ParamType = 13     // RFC 6525 section 4.1
	ParamIncomingReset      ParamType = 14     // RFC 6525 section 4.2
	ParamTSNReset           ParamType = 15     // RFC 6525 section 4.3
	ParamReconfigResponse   ParamType = 16     // RFC 6525 section 4.4
	ParamAddOutgoing        ParamType = 17     // RFC 6525 section 4.5
	ParamAddIncoming        ParamType = 18     // RFC 6525 section 4.6
	ParamECN                ParamType = 0x8000 // reserved, RFC 9260 section 3.3.2
	ParamZeroChecksum       ParamType = 0x8001 // RFC 9653 section 4
	ParamRandom             ParamType = 0x8002 // RFC 4895 section 3.1
	ParamChunkList          ParamType = 0x8003 // RFC 4895 section 3.2
	ParamHMACAlgo           ParamType = 0x8004 // RFC 4895 section 3.3
	ParamPadding            ParamType = 0x8005 // RFC 4820 section 4
	ParamSupportedExt       ParamType = 0x8008 // RFC 5061 section 4.2.7
	ParamForwardTSN         ParamType = 0xc000 // RFC 3758 section 3.1
	ParamAddIP              ParamType = 0xc001 // RFC 5061 section 4.2.1
	ParamDeleteIP           ParamType = 0xc002 // RFC 5061 section 4.2.2
	ParamErrorIndication    ParamType = 0xc003 // RFC 5061 section 4.2.3
	ParamSetPrimary         ParamType = 0xc004 // RFC 5061 section 4.2.4
	ParamSuccessIndication  ParamType = 0xc005 // RFC 5061 section 4.2.5
	ParamAdaptation         ParamType = 0xc006 // RFC 5061 section 4.2.6
)

// Unknown tells what to do with a parameter whose type is not recognized, from its two highest bits: stop means that no
// further parameter of the chunk is processed, report that the parameter is sent back as unrecognized
// (RFC 9260 section 3.2.1, table 3, and section 3.2.2).
func (p ParamType) Unknown() (stop, report bool) { return p&0x8000 == 0, p&0x4000 != 0 }

// Known reports whether p is one of the types above.
func (p ParamType) Known() bool {
	_, ok := paramNames[p]
	return ok
}

// String returns a short lower-case name, or "param 0xNNNN" for a type without one.
func (p ParamType) String() string {
	if s, ok := paramNames[p]; ok {
		return s
	}
	return "param 0x" + strconv.FormatUint(uint64(p)|0x10000, 16)[1:]
}

var paramNames = map[ParamType]string{
	ParamHeartbeatInfo:      "heartbeat-info",
	ParamIPv4:               "ipv4",
	ParamIPv6:               "ipv6",
	ParamStateCookie:        "cookie",
	ParamUnrecognized:       "unrecognized",
	ParamCookiePreservative: "cookie-preservative",
	ParamHostName:           "host-name",
	ParamSupportedAddrTypes: "address-types",
	ParamOutgoingReset:      "outgoing-reset",
	ParamIncomingReset:      "incoming-reset",
	ParamTSNReset:           "tsn-reset",
	ParamReconfigResponse:   "response",
	ParamAddOutgoing:        "add-outgoing",
	ParamAddIncoming:        "add-incoming",
	ParamECN:                "ecn",
	ParamZeroChecksum:       "zero-checksum",
	ParamRandom:             "random",
	ParamChunkList:          "chunk-list",
	ParamHMACAlgo:           "hmac-algo",
	ParamPadding:            "padding",
	ParamSupportedExt:       "extensions",
	ParamForwardTSN:         "forward-tsn",
	ParamAddIP:              "add-ip",
	ParamDeleteIP:           "delete-ip",
	ParamErrorIndication:    "error-indication",
	ParamSetPrimary:         "set-primary",
	ParamSuccessIndication:  "success",
	ParamAdaptation:         "adaptation",
}

// Param is a view of one parameter.
type Param struct {
	Type  ParamType
	Value []byte // behind the parameter header, without padding
	Raw   []byte // header and value, without padding
}

// ParamIter walks the parameters in a chunk's variable part. It allocates nothing; use it like ChunkIter.
type ParamIter struct {
	b   []byte
	n   int
	err error
}

// Params returns an iterator over b, which begins with a parameter header or is empty.
func Params(b []byte) ParamIter { return ParamIter{b: b} }

// Next returns the next parameter, or false at the end or at the first malformed one; Err tells which.
func (it *ParamIter) Next() (Param, bool) {
	if len(it.b) == 0 || it.err != nil {
		return Param{}, false
	}
	code, raw, rest, ok := tlv(it.b)
	switch {
	case !ok:
		it.err = ErrParam
	case it.n == MaxParams:
		it.err = ErrTooMany
	}
	if it.err != nil {
		return Param{}, false
	}
	it.n++
	it.b = rest
	return Param{Type: ParamType(code), Value: raw[ParamHeaderLen:], Raw: raw}, true
}

// Err returns why Next stopped: nil at a clean end, ErrParam or ErrTooMany otherwise.
func (it *ParamIter) Err() error { return it.err }

// Rest returns how many bytes Next has not handed out yet.
func (it *ParamIter) Rest() int { return len(it.b) }

// Addr returns the address of an IPv4 or IPv6 parameter. It is false for another type or a wrong length. Any bit pattern
// is an address here, the unspecified one too, which ASCONF gives a meaning (RFC 5061 section 4.2.1).
func (p Param) Addr() (netip.Addr, bool) {
	switch {
	case p.Type == ParamIPv4 && len(p.Value) == 4:
		return netip.AddrFrom4([4]byte(p.Value)), true
	case p.Type == ParamIPv6 && len(p.Value) == 16:
		return netip.AddrFrom16([16]byte(p.Value)), true
	}
	return netip.Addr{}, false
}

// AddrParamLen returns the size of the parameter that lists a: 8 or 20 bytes.
func AddrParamLen(a netip.Addr) int {
	if a.Unmap().Is4() {
		return 8
	}
	return 20
}

// Param appends a parameter to the chunk being built. False: no chunk is open or no room; nothing is written.
func (b *Builder) Param(t ParamType, value []byte) bool {
	p, ok := b.item(uint16(t), len(value))
	copy(p, value)
	return ok
}

// RawParam appends a parameter that is already encoded, header and value without padding, as Param.Raw is. False: not
// one whole parameter, no chunk is open, or no room.
func (b *Builder) RawParam(raw []byte) bool {
	if len(raw) < ParamHeaderLen || int(binary.BigEndian.Uint16(raw[2:])) != len(raw) {
		return false
	}
	return b.Param(ParamType(binary.BigEndian.Uint16(raw)), raw[ParamHeaderLen:])
}

// AddrParam appends an IPv4 or IPv6 address parameter. An IPv4-mapped IPv6 address goes out as IPv4, because a sender must
// not list it otherwise (RFC 9260 section 3.3.2.1.2); a zone is dropped. False: a is the zero Addr, or as with Param.
func (b *Builder) AddrParam(a netip.Addr) bool {
	a = a.Unmap()
	switch {
	case a.Is4():
		p, ok := b.item(uint16(ParamIPv4), 4)
		if ok {
			v := a.As4()
			copy(p, v[:])
		}
		return ok
	case a.Is6():
		p, ok := b.item(uint16(ParamIPv6), 16)
		if ok {
			v := a.As16()
			copy(p, v[:])
		}
		return ok
	}
	return false
}
