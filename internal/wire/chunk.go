package wire

import "strconv"

// ChunkType is the first byte of a chunk (RFC 9260 section 3.2, table 1, and the extensions' registrations).
type ChunkType uint8

// The chunk types this package can read and write. ECNE and CWR are named only: RFC 9260 reserves them, and nothing here
// announces ECN.
const (
	TypeData             ChunkType = 0    // RFC 9260 section 3.3.1
	TypeInit             ChunkType = 1    // RFC 9260 section 3.3.2
	TypeInitAck          ChunkType = 2    // RFC 9260 section 3.3.3
	TypeSack             ChunkType = 3    // RFC 9260 section 3.3.4
	TypeHeartbeat        ChunkType = 4    // RFC 9260 section 3.3.5
	TypeHeartbeatAck     ChunkType = 5    // RFC 9260 section 3.3.6
	TypeAbort            ChunkType = 6    // RFC 9260 section 3.3.7
	TypeShutdown         ChunkType = 7    // RFC 9260 section 3.3.8
	TypeShutdownAck      ChunkType = 8    // RFC 9260 section 3.3.9
	TypeError            ChunkType = 9    // RFC 9260 section 3.3.10
	TypeCookieEcho       ChunkType = 10   // RFC 9260 section 3.3.11
	TypeCookieAck        ChunkType = 11   // RFC 9260 section 3.3.12
	TypeECNE             ChunkType = 12   // reserved, RFC 9260 section 3.2
	TypeCWR              ChunkType = 13   // reserved, RFC 9260 section 3.2
	TypeShutdownComplete ChunkType = 14   // RFC 9260 section 3.3.13
	TypeAuth             ChunkType = 15   // RFC 4895 section 5.1
	TypeIData            ChunkType = 64   // RFC 8260 section 2.1
	TypeAsconfAck        ChunkType = 0x80 // RFC 5061 section 4.1.2
	TypeReconfig         ChunkType = 130  // RFC 6525 section 3.1
	TypePad              ChunkType = 0x84 // RFC 4820 section 3
	TypeForwardTSN       ChunkType = 192  // RFC 3758 section 3.2
	TypeAsconf           ChunkType = 0xc1 // RFC 5061 section 4.1.1
	TypeIForwardTSN      ChunkType = 194  // RFC 8260 section 2.3.1
)

// Known reports whether t is a chunk type this package can read. Whether the association negotiated it is the caller's
// question. ECNE and CWR are not Known: without ECN they get the treatment of unknown types.
func (t ChunkType) Known() bool {
	switch t {
	case TypeData, TypeInit, TypeInitAck, TypeSack, TypeHeartbeat, TypeHeartbeatAck, TypeAbort, TypeShutdown,
		TypeShutdownAck, TypeError, TypeCookieEcho, TypeCookieAck, TypeShutdownComplete, TypeAuth, TypeIData,
		TypeAsconfAck, TypeReconfig, TypePad, TypeForwardTSN, TypeAsconf, TypeIForwardTSN:
		return true
	}
	return false
}

// Unknown tells what to do with a chunk whose type is not recognized, from its two highest bits: stop means the rest of
// the packet is not processed, report means an ERROR chunk with cause "Unrecognized Chunk Type" goes back
// (RFC 9260 section 3.2, table 2).
func (t ChunkType) Unknown() (stop, report bool) { return t&0x80 == 0, t&0x40 != 0 }

// MustBeAlone reports whether a chunk of this type must be the only one in its packet: INIT, INIT ACK and
// SHUTDOWN COMPLETE (RFC 9260 section 6.10). Sender and receiver both check it.
func MustBeAlone(t ChunkType) bool {
	return t == TypeInit || t == TypeInitAck || t == TypeShutdownComplete
}

// String returns the name the RFCs use, or "chunk N" for a type without one.
func (t ChunkType) String() string {
	if s, ok := chunkNames[t]; ok {
		return s
	}
	return "chunk " + strconv.Itoa(int(t))
}

var chunkNames = map[ChunkType]string{
	TypeData:             "DATA",
	TypeInit:             "INIT",
	TypeInitAck:          "INIT ACK",
	TypeSack:             "SACK",
	TypeHeartbeat:        "HEARTBEAT",
	TypeHeartbeatAck:     "HEARTBEAT ACK",
	TypeAbort:            "ABORT",
	TypeShutdown:         "SHUTDOWN",
	TypeShutdownAck:      "SHUTDOWN ACK",
	TypeError:            "ERROR",
	TypeCookieEcho:       "COOKIE ECHO",
	TypeCookieAck:        "COOKIE ACK",
	TypeECNE:             "ECNE",
	TypeCWR:              "CWR",
	TypeShutdownComplete: "SHUTDOWN COMPLETE",
	TypeAuth:             "AUTH",
	TypeIData:            "I-DATA",
	TypeAsconfAck:        "ASCONF-ACK",
	TypeReconfig:         "RE-CONFIG",
	TypePad:              "PAD",
	TypeForwardTSN:       "FORWARD-TSN",
	TypeAsconf:           "ASCONF",
	TypeIForwardTSN:      "I-FORWARD-TSN",
}

// ChunkSet is a set of chunk types, as the Supported Extensions and Chunk List parameters carry it. The zero set is empty.
type ChunkSet [4]uint64

// Add puts t into the set.
func (s *ChunkSet) Add(t ChunkType) { s[t>>6] |= 1 << (t & 63) }

// Has reports whether t is in the set.
func (s *ChunkSet) Has(t ChunkType) bool { return s[t>>6]&(1<<(t&63)) != 0 }

// Chunk is a view of one chunk. The slices point into the packet and are valid as long as it is.
type Chunk struct {
	Type  ChunkType
	Flags uint8
	Value []byte // behind the chunk header, without padding
	Raw   []byte // header and value, without padding: what "Unrecognized Chunk Type" quotes
}

// flagT is the T bit of ABORT and SHUTDOWN COMPLETE: the verification tag is reflected (RFC 9260 sections 3.3.7, 3.3.13).
const flagT = 0x01

// Reflected reports the T bit of an ABORT or SHUTDOWN COMPLETE: its packet carries the receiver's tag mirrored
// (RFC 9260 section 8.5.1).
func (c Chunk) Reflected() bool { return c.Flags&flagT != 0 }
