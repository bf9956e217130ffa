package wire

import (
	"encoding/binary"
	"strconv"

	"github.com/go-multihome/multihome/internal/serial"
)

// CauseCode says what an ABORT, an ERROR or an ASCONF-ACK's Error Indication is about (RFC 9260 section 3.3.10).
type CauseCode uint16

// The error causes.
const (
	CauseInvalidStream       CauseCode = 1      // RFC 9260 section 3.3.10.1
	CauseMissingParam        CauseCode = 2      // RFC 9260 section 3.3.10.2
	CauseStaleCookie         CauseCode = 3      // RFC 9260 section 3.3.10.3
	CauseOutOfResource       CauseCode = 4      // RFC 9260 section 3.3.10.4
	CauseUnresolvableAddr    CauseCode = 5      // RFC 9260 section 3.3.10.5
	CauseUnrecognizedChunk   CauseCode = 6      // RFC 9260 section 3.3.10.6
	CauseInvalidParam        CauseCode = 7      // RFC 9260 section 3.3.10.7
	CauseUnrecognizedParams  CauseCode = 8      // RFC 9260 section 3.3.10.8
	CauseNoUserData          CauseCode = 9      // RFC 9260 section 3.3.10.9
	CauseCookieInShutdown    CauseCode = 10     // RFC 9260 section 3.3.10.10
	CauseRestartWithNewAddrs CauseCode = 11     // RFC 9260 section 3.3.10.11
	CauseUserAbort           CauseCode = 12     // RFC 9260 section 3.3.10.12
	CauseProtocolViolation   CauseCode = 13     // RFC 9260 section 3.3.10.13
	CauseDeleteLastAddr      CauseCode = 0xa0   // RFC 5061 section 4.3.1
	CauseResourceShortage    CauseCode = 0xa1   // RFC 5061 section 4.3.2
	CauseDeleteSourceAddr    CauseCode = 0xa2   // RFC 5061 section 4.3.3
	CauseIllegalAsconfAck    CauseCode = 0xa3   // RFC 5061 section 4.3.4
	CauseNoAuthorization     CauseCode = 0xa4   // RFC 5061 section 4.3.5
	CauseUnsupportedHMAC     CauseCode = 0x0105 // RFC 4895 section 4.1
)

// String returns the name the RFCs use, or "cause 0xNNNN" for a code without one.
func (c CauseCode) String() string {
	if s, ok := causeNames[c]; ok {
		return s
	}
	return "cause 0x" + strconv.FormatUint(uint64(c)|0x10000, 16)[1:]
}

var causeNames = map[CauseCode]string{
	CauseInvalidStream:       "Invalid Stream Identifier",
	CauseMissingParam:        "Missing Mandatory Parameter",
	CauseStaleCookie:         "Stale Cookie",
	CauseOutOfResource:       "Out of Resource",
	CauseUnresolvableAddr:    "Unresolvable Address",
	CauseUnrecognizedChunk:   "Unrecognized Chunk Type",
	CauseInvalidParam:        "Invalid Mandatory Parameter",
	CauseUnrecognizedParams:  "Unrecognized Parameters",
	CauseNoUserData:          "No User Data",
	CauseCookieInShutdown:    "Cookie Received While Shutting Down",
	CauseRestartWithNewAddrs: "Restart of an Association with New Addresses",
	CauseUserAbort:           "User-Initiated Abort",
	CauseProtocolViolation:   "Protocol Violation",
	CauseDeleteLastAddr:      "Request to Delete Last Remaining IP Address",
	CauseResourceShortage:    "Operation Refused Due to Resource Shortage",
	CauseDeleteSourceAddr:    "Request to Delete Source IP Address",
	CauseIllegalAsconfAck:    "Association Aborted Due to Illegal ASCONF-ACK",
	CauseNoAuthorization:     "Request Refused - No Authorization",
	CauseUnsupportedHMAC:     "Unsupported HMAC Identifier",
}

// Cause is a view of one error cause.
type Cause struct {
	Code  CauseCode
	Value []byte // cause-specific information, without padding
	Raw   []byte // header and value, without padding
}

// CauseIter walks the error causes of an ABORT or ERROR. It allocates nothing; use it like ChunkIter.
type CauseIter struct {
	b   []byte
	n   int
	err error
}

// Causes returns an iterator over b: the Chunk.Value of an ABORT or ERROR, or the causes of an Error Indication.
func Causes(b []byte) CauseIter { return CauseIter{b: b} }

// Next returns the next cause, or false at the end or at the first malformed one; Err tells which.
func (it *CauseIter) Next() (Cause, bool) {
	if len(it.b) == 0 || it.err != nil {
		return Cause{}, false
	}
	code, raw, rest, ok := tlv(it.b)
	switch {
	case !ok:
		it.err = ErrParam
	case it.n == MaxCauses:
		it.err = ErrTooMany
	}
	if it.err != nil {
		return Cause{}, false
	}
	it.n++
	it.b = rest
	return Cause{Code: CauseCode(code), Value: raw[ParamHeaderLen:], Raw: raw}, true
}

// Err returns why Next stopped: nil at a clean end, ErrParam or ErrTooMany otherwise.
func (it *CauseIter) Err() error { return it.err }

// Rest returns how many bytes Next has not handed out yet.
func (it *CauseIter) Rest() int { return len(it.b) }

// Stream returns the stream identifier of an Invalid Stream Identifier cause. False: another cause, or too short.
func (c Cause) Stream() (sid uint16, ok bool) {
	if c.Code != CauseInvalidStream || len(c.Value) < 2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(c.Value), true
}

// Staleness returns by how many microseconds a Stale Cookie was late; 0 when the peer does not say. False: another cause, or
// too short.
func (c Cause) Staleness() (us uint32, ok bool) {
	if c.Code != CauseStaleCookie || len(c.Value) < 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(c.Value), true
}

// TSN returns the TSN of a No User Data cause. False: another cause, or too short.
func (c Cause) TSN() (t serial.TSN, ok bool) {
	if c.Code != CauseNoUserData || len(c.Value) < 4 {
		return 0, false
	}
	return serial.TSN(binary.BigEndian.Uint32(c.Value)), true
}

// Cause appends an error cause to the open ABORT or ERROR. False: no chunk is open, or no room; nothing is written.
func (b *Builder) Cause(code CauseCode, value []byte) bool {
	p, ok := b.item(uint16(code), len(value))
	copy(p, value)
	return ok
}

// CauseCut appends an error cause like Cause, with its value cut to what fits: for texts and for quoted chunks, which say
// enough by their beginning. False: not even an empty one fits, or no chunk is open.
func (b *Builder) CauseCut(code CauseCode, value []byte) bool {
	return b.Cause(code, value[:max(0, min(len(value), b.Room()-ParamHeaderLen))])
}

// InvalidStream appends the cause of that name (RFC 9260 section 3.3.10.1).
func (b *Builder) InvalidStream(sid uint16) bool {
	return b.causeWord(CauseInvalidStream, uint32(sid)<<16)
}

// StaleCookie appends the cause of that name with the time by which the cookie was late, in microseconds; 0 does not say
// (RFC 9260 section 3.3.10.3).
func (b *Builder) StaleCookie(us uint32) bool { return b.causeWord(CauseStaleCookie, us) }

// NoUserData appends the cause of that name (RFC 9260 section 3.3.10.9).
func (b *Builder) NoUserData(t serial.TSN) bool { return b.causeWord(CauseNoUserData, uint32(t)) }

func (b *Builder) causeWord(code CauseCode, v uint32) bool {
	p, ok := b.item(uint16(code), 4)
	if ok {
		binary.BigEndian.PutUint32(p, v)
	}
	return ok
}

// MissingParams appends the cause "Missing Mandatory Parameter" (RFC 9260 section 3.3.10.2).
func (b *Builder) MissingParams(types ...ParamType) bool {
	p, ok := b.item(uint16(CauseMissingParam), 4+2*len(types))
	if !ok {
		return false
	}
	binary.BigEndian.PutUint32(p, uint32(len(types)))
	for i, t := range types {
		binary.BigEndian.PutUint16(p[4+2*i:], uint16(t))
	}
	return true
}

// UnsupportedHMAC appends the cause of that name (RFC 4895 section 4.1).
func (b *Builder) UnsupportedHMAC(id uint16) bool {
	p, ok := b.item(uint16(CauseUnsupportedHMAC), 2)
	if ok {
		binary.BigEndian.PutUint16(p, id)
	}
	return ok
}
