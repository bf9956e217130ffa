package debug

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/go-multihome/multihome/internal/wire"
)

// Param is one parameter. Its value stays as encoded; String knows the inside of every type.
type Param struct {
	Type  wire.ParamType
	Value []byte
}

// Cause is one error cause.
type Cause struct {
	Code  wire.CauseCode
	Value []byte
}

// decodeItems splits b into type-length-value items. The last one may lack its padding.
func decodeItems(b []byte, limit int, add func(code uint16, value []byte)) error {
	for i := 0; len(b) > 0; i++ {
		if len(b) < 4 {
			return errParam
		}
		n := int(b[2])<<8 | int(b[3])
		if n < 4 || n > len(b) {
			return errParam
		}
		if i == limit {
			return wire.ErrTooMany
		}
		add(uint16(b[0])<<8|uint16(b[1]), b[4:n:n])
		for n%4 != 0 && n < len(b) {
			n++
		}
		b = b[n:]
	}
	return nil
}

func decodeParams(b []byte) (out []Param, err error) {
	err = decodeItems(b, wire.MaxParams, func(code uint16, v []byte) {
		out = append(out, Param{Type: wire.ParamType(code), Value: v})
	})
	return out, err
}

func decodeCauses(b []byte) (out []Cause, err error) {
	err = decodeItems(b, wire.MaxCauses, func(code uint16, v []byte) {
		out = append(out, Cause{Code: wire.CauseCode(code), Value: v})
	})
	return out, err
}

// appendItem pads what is there and appends an item without padding: the last item's is the chunk's, which does not count
// in the chunk length (RFC 9260 section 3.2).
func appendItem(b []byte, code uint16, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(pad(b), code)
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(value)))
	return append(b, value...)
}

func appendParams(b []byte, params []Param) []byte {
	for _, p := range params {
		b = appendItem(b, uint16(p.Type), p.Value)
	}
	return b
}

func appendCauses(b []byte, causes []Cause) []byte {
	for _, c := range causes {
		b = appendItem(b, uint16(c.Code), c.Value)
	}
	return b
}

func paramList(params []Param) string {
	var s strings.Builder
	for _, p := range params {
		s.WriteString(" [" + p.String() + "]")
	}
	return s.String()
}

func causeList(causes []Cause) string {
	var s strings.Builder
	for _, c := range causes {
		s.WriteString(" [" + c.String() + "]")
	}
	return s.String()
}

// String returns the parameter's name and what its value says; a value of the wrong size is told by its length.
func (p Param) String() string {
	if s, ok := p.value(); ok {
		if s == "" {
			return p.Type.String()
		}
		return p.Type.String() + " " + s
	}
	return fmt.Sprintf("%v %d bytes", p.Type, len(p.Value))
}

// value describes the value, false when the type has no closer description or the value does not fit it.
func (p Param) value() (string, bool) {
	v := p.Value
	switch p.Type {
	case wire.ParamIPv4, wire.ParamIPv6:
		a, ok := netip.AddrFromSlice(v)
		return a.String(), ok && a.Is4() == (p.Type == wire.ParamIPv4)
	case wire.ParamUnrecognized:
		return quoted(v)
	case wire.ParamCookiePreservative:
		return words(v, "+%dms")
	case wire.ParamHostName:
		return strconv.Quote(strings.TrimRight(string(v), "\x00")), true
	case wire.ParamSupportedAddrTypes:
		return halves(v, " ", func(n uint16) string { return wire.ParamType(n).String() })
	case wire.ParamChunkList, wire.ParamSupportedExt:
		names := make([]string, len(v))
		for i, t := range v {
			names[i] = wire.ChunkType(t).String()
		}
		return strings.Join(names, ","), true
	case wire.ParamHMACAlgo:
		return halves(v, ",", decimal)
	case wire.ParamForwardTSN, wire.ParamECN:
		return "", len(v) == 0
	case wire.ParamZeroChecksum:
		return words(v, "edmid=%d")
	case wire.ParamAdaptation:
		return words(v, "0x%08x")
	case wire.ParamAddIP, wire.ParamDeleteIP, wire.ParamSetPrimary:
		return correlated(v, func(rest []byte) (string, bool) {
			params, err := decodeParams(rest)
			if err != nil || len(params) != 1 || !params[0].address() {
				return "", false
			}
			return params[0].value()
		})
	case wire.ParamErrorIndication:
		return correlated(v, func(rest []byte) (string, bool) {
			causes, err := decodeCauses(rest)
			return strings.TrimPrefix(causeList(causes), " "), err == nil && len(causes) > 0
		})
	case wire.ParamSuccessIndication:
		return words(v, "id=%d")
	}
	return reconfigValue(p.Type, v)
}

func (p Param) address() bool { return p.Type == wire.ParamIPv4 || p.Type == wire.ParamIPv6 }

// quoted describes parameters inside another item. It looks into addresses and requests about them only: were it to look
// into everything, a packet of parameters nested ever deeper would cost time by the square of its length.
func quoted(v []byte) (string, bool) {
	params, err := decodeParams(v)
	out := make([]string, len(params))
	for i, p := range params {
		switch p.Type {
		case wire.ParamIPv4, wire.ParamIPv6, wire.ParamAddIP, wire.ParamDeleteIP, wire.ParamSetPrimary:
			out[i] = "[" + p.String() + "]"
		default:
			out[i] = fmt.Sprintf("[%v %d bytes]", p.Type, len(p.Value))
		}
	}
	return strings.Join(out, " "), err == nil && len(params) > 0
}

// reconfigValue describes the parameters of RFC 6525 section 4.
func reconfigValue(t wire.ParamType, v []byte) (string, bool) {
	switch t {
	case wire.ParamOutgoingReset:
		if len(v) < 12 {
			return "", false
		}
		head, _ := words(v[:12], "req=%d resp=%d last=%d")
		tail, ok := halves(v[12:], ",", decimal)
		return head + streams(tail), ok
	case wire.ParamIncomingReset:
		if len(v) < 4 {
			return "", false
		}
		head, _ := words(v[:4], "req=%d")
		tail, ok := halves(v[4:], ",", decimal)
		return head + streams(tail), ok
	case wire.ParamTSNReset:
		return words(v, "req=%d")
	case wire.ParamReconfigResponse:
		if len(v) != 8 && len(v) != 16 {
			return "", false
		}
		result := wire.ReconfigResult(binary.BigEndian.Uint32(v[4:]))
		s := fmt.Sprintf("resp=%d %v", binary.BigEndian.Uint32(v), result)
		if len(v) == 16 {
			tsns, _ := words(v[8:], " sender-next=%d receiver-next=%d")
			s += tsns
		}
		return s, true
	case wire.ParamAddOutgoing, wire.ParamAddIncoming:
		if len(v) != 8 {
			return "", false
		}
		return fmt.Sprintf("req=%d n=%d", binary.BigEndian.Uint32(v), binary.BigEndian.Uint16(v[4:])), true
	}
	return "", false
}

// streams labels a list of streams; an empty one means all (RFC 6525 section 4.1).
func streams(list string) string {
	if list == "" {
		return " streams=all"
	}
	return " streams=" + list
}

func decimal(n uint16) string { return strconv.Itoa(int(n)) }

// words formats a value made of as many 32-bit numbers as the format has verbs; false when the sizes differ.
func words(v []byte, format string) (string, bool) {
	if len(v) != 4*strings.Count(format, "%") {
		return "", false
	}
	var args []any
	for ; len(v) > 0; v = v[4:] {
		args = append(args, binary.BigEndian.Uint32(v))
	}
	return fmt.Sprintf(format, args...), true
}

// halves formats a value made of 16-bit numbers.
func halves(v []byte, sep string, f func(uint16) string) (string, bool) {
	if len(v)%2 != 0 {
		return "", false
	}
	out := make([]string, 0, len(v)/2)
	for ; len(v) > 0; v = v[2:] {
		out = append(out, f(binary.BigEndian.Uint16(v)))
	}
	return strings.Join(out, sep), true
}

// correlated formats a value that begins with a correlation identifier (RFC 5061 section 4.2).
func correlated(v []byte, rest func([]byte) (string, bool)) (string, bool) {
	if len(v) < 4 {
		return "", false
	}
	s, ok := rest(v[4:])
	return fmt.Sprintf("id=%d %s", binary.BigEndian.Uint32(v), s), ok
}

// String returns the cause's name and what its value says; a value without a closer description is told by its length.
func (c Cause) String() string {
	name := c.Code.String()
	if len(c.Value) == 0 {
		return name
	}
	if s, ok := c.value(); ok {
		return name + " " + s
	}
	return fmt.Sprintf("%s %d bytes", name, len(c.Value))
}

func (c Cause) value() (string, bool) {
	v := c.Value
	switch c.Code {
	case wire.CauseInvalidStream:
		if len(v) != 4 {
			return "", false
		}
		return "sid=" + decimal(binary.BigEndian.Uint16(v)), true
	case wire.CauseMissingParam:
		if len(v) < 4 || int64(binary.BigEndian.Uint32(v)) != int64(len(v)-4)/2 {
			return "", false
		}
		return halves(v[4:], " ", func(n uint16) string { return wire.ParamType(n).String() })
	case wire.CauseStaleCookie:
		return words(v, "late=%dus")
	case wire.CauseNoUserData:
		return words(v, "tsn=%d")
	case wire.CauseUnrecognizedChunk:
		if len(v) < 4 {
			return "", false
		}
		return fmt.Sprintf("(%v, %d bytes)", wire.ChunkType(v[0]), len(v)), true
	case wire.CauseUnresolvableAddr, wire.CauseUnrecognizedParams, wire.CauseRestartWithNewAddrs,
		wire.CauseDeleteLastAddr, wire.CauseResourceShortage, wire.CauseDeleteSourceAddr, wire.CauseNoAuthorization:
		return quoted(v)
	case wire.CauseUserAbort, wire.CauseProtocolViolation:
		return strconv.QuoteToASCII(string(v)), true
	case wire.CauseUnsupportedHMAC:
		if len(v) != 2 {
			return "", false
		}
		return "id=" + decimal(binary.BigEndian.Uint16(v)), true
	}
	return "", false
}
