package endpoint

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"net/netip"
	"time"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/serial"
)

// A cookie is sealed, not hidden: the state of RFC 9260 section 5.1.3 in a compact form, so that an answer to the
// shortest INIT stays within three times its size, and HMAC-SHA-256 over it.

const (
	macLen     = sha256.Size
	maxCookie  = 512
	maxListed  = 16 // peer addresses a cookie records
	cookieKind = 1  // format, first byte
)

// secrets holds the key in force and the one before, which still opens the cookies made with it.
type secrets struct {
	keyed [2]hash.Hash // HMACs with the keys, to be Reset: that saves a third of the work of new ones
	sum   [macLen]byte
	since mono.Time
	turn  byte // which key is in force; its low bit travels in the cookie
}

func (s *secrets) rotate(now mono.Time, life time.Duration, random func() uint64) {
	if s.since != 0 && now.Sub(s.since) < life {
		return
	}
	first := s.since == 0
	s.turn++
	s.fill(s.turn, random)
	if first {
		s.fill(s.turn+1, random)
	}
	s.since = now
}

func (s *secrets) fill(turn byte, random func() uint64) {
	var key [32]byte
	for i := 0; i < len(key); i += 8 {
		binary.BigEndian.PutUint64(key[i:], random())
	}
	s.keyed[turn&1] = hmac.New(sha256.New, key[:])
}

// mac returns the HMAC of a cookie, which is valid until the next call.
func (s *secrets) mac(turn byte, body []byte) []byte {
	h := s.keyed[turn&1]
	h.Reset()
	h.Write(body)
	return h.Sum(s.sum[:0])
}

// seal appends the sealed cookie to b.
func (s *secrets) seal(b []byte, ck *assoc.Cookie) []byte {
	at := len(b)
	be := binary.BigEndian
	b = append(b, cookieKind, s.turn)
	b = be.AppendUint64(b, uint64(ck.Created))
	b = be.AppendUint32(b, uint32(ck.Life/time.Millisecond))
	b = be.AppendUint16(b, ck.SrcPort)
	b = be.AppendUint16(b, ck.DstPort)
	b = be.AppendUint32(b, ck.MyTag)
	b = be.AppendUint32(b, ck.PeerTag)
	b = be.AppendUint32(b, uint32(ck.MyTSN))
	b = be.AppendUint32(b, uint32(ck.PeerTSN))
	b = be.AppendUint16(b, ck.Peer.OutStreams)
	b = be.AppendUint16(b, ck.Peer.InStreams)
	b = be.AppendUint32(b, ck.Peer.Window)
	b = append(b, flags(ck.Peer))
	if ck.Peer.Adapted {
		b = be.AppendUint32(b, ck.Peer.Adaptation)
	}
	b = be.AppendUint32(b, ck.TieMy)
	b = be.AppendUint32(b, ck.TiePeer)
	b = be.AppendUint16(b, ck.Told)
	b = append(b, byte(ck.From.Local))
	b = appendAddr(b, ck.From.Peer.Addr())
	b = be.AppendUint16(b, ck.From.Peer.Port())
	n := min(len(ck.Addrs), maxListed)
	b = append(b, byte(n))
	for _, a := range ck.Addrs[:n] {
		b = appendAddr(b, a)
	}
	return append(b, s.mac(s.turn, b[at:])...)
}

func flags(p assoc.Peer) (f byte) {
	for i, on := range []bool{p.ForwardTSN, p.Interleaving, p.Reconfig, p.Pad, p.Adapted} {
		if on {
			f |= 1 << i
		}
	}
	return f
}

func appendAddr(b []byte, a netip.Addr) []byte {
	zone := a.Zone()
	a = a.WithZone("")
	b = append(b, byte(a.BitLen()/8), byte(len(zone)))
	b = append(b, a.AsSlice()...)
	return append(b, zone...)
}

// reader takes a cookie apart. A sealed one is well formed, so ok only guards against our own mistakes.
type reader struct {
	b  []byte
	ok bool
}

func (r *reader) next(n int) []byte {
	if len(r.b) < n {
		r.ok = false
		return make([]byte, n)
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() byte    { return r.next(1)[0] }
func (r *reader) u16() uint16 { return binary.BigEndian.Uint16(r.next(2)) }
func (r *reader) u32() uint32 { return binary.BigEndian.Uint32(r.next(4)) }
func (r *reader) u64() uint64 { return binary.BigEndian.Uint64(r.next(8)) }

func (r *reader) addr() netip.Addr {
	n, z := int(r.u8()), int(r.u8())
	a, ok := netip.AddrFromSlice(r.next(n))
	r.ok = r.ok && ok
	if zone := r.next(z); z > 0 && r.ok {
		a = a.WithZone(string(zone))
	}
	return a
}

// open checks the seal and reads the cookie. False: not sealed by this endpoint of late.
func (s *secrets) open(b []byte) (ck assoc.Cookie, ok bool) {
	n := len(b) - macLen
	if n < 2 || len(b) > maxCookie || b[0] != cookieKind || s.since == 0 || s.turn-b[1] > 1 {
		return ck, false
	}
	if !hmac.Equal(s.mac(b[1], b[:n]), b[n:]) {
		return ck, false
	}
	r := reader{b: b[2:n], ok: true}
	ck.Created = mono.Time(r.u64())
	ck.Life = time.Duration(r.u32()) * time.Millisecond
	ck.SrcPort, ck.DstPort = r.u16(), r.u16()
	ck.MyTag, ck.PeerTag = r.u32(), r.u32()
	ck.MyTSN, ck.PeerTSN = serial.TSN(r.u32()), serial.TSN(r.u32())
	ck.Peer.OutStreams, ck.Peer.InStreams = r.u16(), r.u16()
	ck.Peer.Window = r.u32()
	f := r.u8()
	ck.Peer.ForwardTSN, ck.Peer.Interleaving, ck.Peer.Reconfig, ck.Peer.Pad = f&1 != 0, f&2 != 0, f&4 != 0, f&8 != 0
	if ck.Peer.Adapted = f&16 != 0; ck.Peer.Adapted {
		ck.Peer.Adaptation = r.u32()
	}
	ck.TieMy, ck.TiePeer = r.u32(), r.u32()
	ck.Told = r.u16()
	ck.From.Local = int(r.u8())
	a := r.addr()
	ck.From.Peer = netip.AddrPortFrom(a, r.u16())
	for i := int(r.u8()); i > 0; i-- {
		ck.Addrs = append(ck.Addrs, r.addr())
	}
	ck.Peer.Listed = uint16(len(ck.Addrs))
	return ck, r.ok
}
