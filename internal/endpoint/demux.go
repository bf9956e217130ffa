package endpoint

import (
	"encoding/binary"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/wire"
)

// Verdict says what a packet is.
type Verdict uint8

// The verdicts of Lookup.
const (
	Known    Verdict = iota // belongs to the entry returned
	Stray                   // goes to Endpoint.Stray
	Short                   // too short for a packet: dropped
	BadCheck                // wrong checksum: dropped
	BadPort                 // an SCTP port is zero: dropped
)

// Quoted finds the association that may have sent the packet which an ICMP message quotes: from is the local locator it left
// from and where it went, quote its beginning. The association itself checks the tag (Assoc.Unreachable). Like Lookup it
// changes nothing.
func (e *Endpoint) Quoted(from assoc.Arrival, quote []byte) *Entry {
	if len(quote) < wire.HeaderLen {
		return nil
	}
	src, dst := binary.BigEndian.Uint16(quote), binary.BigEndian.Uint16(quote[2:])
	return e.at(addrKey{from.Peer, dst, src})
}

// Lookup finds the association a packet belongs to. It checks the CRC32c, needs no association's lock, changes nothing and
// allocates nothing.
func (e *Endpoint) Lookup(from assoc.Arrival, pkt []byte) (*Entry, Verdict) {
	if len(pkt) < wire.HeaderLen+wire.ChunkHeaderLen {
		return nil, Short
	}
	if !wire.ChecksumOK(pkt) {
		return nil, BadCheck
	}
	src, dst := binary.BigEndian.Uint16(pkt), binary.BigEndian.Uint16(pkt[2:])
	if src == 0 || dst == 0 {
		return nil, BadPort
	}
	tag := binary.BigEndian.Uint32(pkt[4:])
	t := wire.ChunkType(pkt[wire.HeaderLen])
	if t == wire.TypeInit || t == wire.TypeCookieEcho {
		return nil, Stray
	}
	if ent := e.byTag[tag]; ent != nil && ent.src == dst && ent.dst == src {
		return ent, Known
	}
	if pkt[wire.HeaderLen+1]&1 != 0 && (t == wire.TypeAbort || t == wire.TypeShutdownComplete) {
		// The T bit: the tag is the one we send with (RFC 9260 section 8.5.1).
		if ent := e.at(addrKey{from.Peer, src, dst}); ent != nil && ent.peerTag == tag && tag != 0 {
			return ent, Known
		}
	}
	return nil, Stray
}
