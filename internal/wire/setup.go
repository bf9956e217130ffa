package wire

import (
	"encoding/binary"
	"net/netip"

	"github.com/go-multihome/multihome/internal/serial"
)

// InitLen is the size of an INIT or INIT ACK without parameters, the chunk header included, in bytes.
const InitLen = 20

// Init is an INIT or INIT ACK chunk (RFC 9260 sections 3.3.2 and 3.3.3).
type Init struct {
	Tag        uint32 // initiate tag: to be put into every packet sent to its sender
	ARwnd      uint32 // advertised receiver window, bytes
	OutStreams uint16 // streams the sender wishes to use
	InStreams  uint16 // streams the sender allows
	TSN        serial.TSN
	Params     []byte // the parameters, encoded; see ReadInitParams
}

// ParseInit reads an INIT or INIT ACK. Errors: ErrWrongChunk, ErrShortChunk. Values that section 3.3.2 forbids (tag or
// streams of zero, a window below 1500) are the caller's to answer.
func ParseInit(c Chunk) (Init, error) {
	v := c.Value
	if c.Type != TypeInit && c.Type != TypeInitAck {
		return Init{}, ErrWrongChunk
	}
	if len(v) < InitLen-ChunkHeaderLen {
		return Init{}, ErrShortChunk
	}
	return Init{
		Tag:        binary.BigEndian.Uint32(v),
		ARwnd:      binary.BigEndian.Uint32(v[4:]),
		OutStreams: binary.BigEndian.Uint16(v[8:]),
		InStreams:  binary.BigEndian.Uint16(v[10:]),
		TSN:        serial.TSN(binary.BigEndian.Uint32(v[12:])),
		Params:     v[InitLen-ChunkHeaderLen:],
	}, nil
}

// SetupParams is what the parameters of an INIT or INIT ACK say. Slices of bytes are views into the chunk; Addrs and the
// lists are memory of the struct, reused by the next ReadInitParams. The zero value is ready.
type SetupParams struct {
	MaxAddrs int // set by the caller: most addresses kept; 0: DefaultMaxAddrs

	Addrs        []netip.Addr // usable unicast addresses listed, in order, each once
	TooManyAddrs int          // usable addresses beyond MaxAddrs
	BadAddrs     int          // listed addresses no packet can go to, or IPv4 in IPv6's clothes; ignored

	Cookie             []byte // State Cookie's value; nil: absent
	CookiePreservative uint32 // cookie life span increment wished, milliseconds; 0: absent

	HasSupportedTypes        bool // false: the peer can take any address type
	SupportedV4, SupportedV6 bool // both true when HasSupportedTypes is false

	HostName    bool   // a Host Name Address: answered by an ABORT (RFC 9260 section 3.3.2.1.4)
	HostNameRaw []byte // that parameter, for cause "Unresolvable Address"

	ECN          bool
	ForwardTSN   bool     // the parameter of RFC 3758; see CanForwardTSN
	HasExt       bool     // Supported Extensions was present
	Ext          ChunkSet // chunk types it lists (RFC 5061 section 4.2.7)
	ZeroChecksum uint32   // error detection method identifier (RFC 9653); 0: absent

	Random, ChunkList, HMACAlgo []byte // values of the parameters of RFC 4895; nil: absent

	HasAdaptation bool
	Adaptation    uint32     // Adaptation Layer Indication (RFC 5061 section 4.2.6)
	SetPrimary    netip.Addr // zero: absent; unspecified: the packet's source (RFC 5061 section 4.2.4)

	Unrecognized     [][]byte    // unrecognized parameters to report, header included; MaxUnrecognized at most
	StoppedAtUnknown bool        // an unrecognized parameter cut the reading short (RFC 9260 section 3.2.1)
	Rejected         []ParamType // types of our parameters the peer says it did not recognize; MaxRejected at most
	Ignored          int         // parameters that may not stand here or came twice; the first one counts
}

// CanForwardTSN reports whether the peer takes FORWARD-TSN. RFC 3758 section 3.1 has a parameter for it; some stacks list
// the chunk among their extensions only.
func (s *SetupParams) CanForwardTSN() bool { return s.ForwardTSN || s.Ext.Has(TypeForwardTSN) }

// ReadInitParams reads the parameters of an INIT or INIT ACK into out, from scratch. Errors: ErrParam when a length is
// wrong, ErrTooMany; out then holds what came before. Unrecognized parameters are no error, see out.Unrecognized. Nothing
// is allocated once out's lists have grown.
func ReadInitParams(params []byte, out *SetupParams) error {
	*out = SetupParams{
		MaxAddrs:     out.MaxAddrs,
		Addrs:        out.Addrs[:0],
		Unrecognized: out.Unrecognized[:0],
		Rejected:     out.Rejected[:0],
		SupportedV4:  true,
		SupportedV6:  true,
	}
	it := Params(params)
	for p, ok := it.Next(); ok; p, ok = it.Next() {
		if !p.Type.inSetup() {
			if p.Type.Known() {
				out.Ignored++ // e.g. a RE-CONFIG parameter: out of place, so as if it were not there
				continue
			}
			stop, report := p.Type.Unknown()
			if report && len(out.Unrecognized) < MaxUnrecognized {
				out.Unrecognized = append(out.Unrecognized, p.Raw)
			}
			if stop {
				out.StoppedAtUnknown = true
				return nil
			}
			continue
		}
		if !out.take(p) {
			return ErrParam
		}
	}
	return it.Err()
}

// inSetup reports whether the parameter may stand in an INIT or INIT ACK.
func (p ParamType) inSetup() bool {
	switch p {
	case ParamIPv4, ParamIPv6, ParamStateCookie, ParamUnrecognized, ParamCookiePreservative, ParamHostName,
		ParamSupportedAddrTypes, ParamECN, ParamZeroChecksum, ParamRandom, ParamChunkList, ParamHMACAlgo, ParamPadding,
		ParamSupportedExt, ParamForwardTSN, ParamSetPrimary, ParamAdaptation:
		return true
	}
	return false
}

// take stores one parameter. False: its length is not one its type can have.
func (s *SetupParams) take(p Param) bool {
	v := p.Value
	switch p.Type {
	case ParamIPv4, ParamIPv6:
		a, ok := p.Addr()
		if ok {
			s.takeAddr(a)
		}
		return ok
	case ParamStateCookie:
		return s.once(&s.Cookie, v)
	case ParamCookiePreservative:
		return s.number(&s.CookiePreservative, v)
	case ParamSupportedAddrTypes:
		return s.takeAddrTypes(v)
	case ParamHostName:
		s.HostName, s.HostNameRaw = true, p.Raw
	case ParamUnrecognized:
		s.takeRejected(v)
	case ParamECN:
		s.ECN = true
	case ParamZeroChecksum:
		return s.number(&s.ZeroChecksum, v)
	case ParamRandom:
		return s.once(&s.Random, v)
	case ParamChunkList:
		return s.once(&s.ChunkList, v)
	case ParamHMACAlgo:
		return len(v)%2 == 0 && s.once(&s.HMACAlgo, v)
	case ParamSupportedExt:
		s.HasExt = true
		for _, t := range v {
			s.Ext.Add(ChunkType(t))
		}
	case ParamForwardTSN:
		s.ForwardTSN = true
	case ParamSetPrimary:
		a, err := ParseAsconfParam(p)
		if err == nil {
			s.SetPrimary = a.Addr
		}
		return err == nil
	case ParamAdaptation:
		s.HasAdaptation = true
		return s.number(&s.Adaptation, v)
	}
	return true
}

// once stores a parameter that may come once; the first one counts (RFC 9260 section 3.3.2).
func (s *SetupParams) once(field *[]byte, v []byte) bool {
	if *field != nil {
		s.Ignored++
		return true
	}
	*field = v
	return true
}

func (s *SetupParams) number(field *uint32, v []byte) bool {
	if len(v) != 4 {
		return false
	}
	*field = binary.BigEndian.Uint32(v)
	return true
}

func (s *SetupParams) takeAddr(a netip.Addr) {
	if !usable(a) {
		s.BadAddrs++
		return
	}
	for _, have := range s.Addrs {
		if have == a {
			return
		}
	}
	limit := s.MaxAddrs
	if limit == 0 {
		limit = DefaultMaxAddrs
	}
	if len(s.Addrs) >= limit {
		s.TooManyAddrs++
		return
	}
	s.Addrs = append(s.Addrs, a)
}

// usable reports whether a packet can be sent to a listed address at all. IPv4-mapped IPv6 addresses must not be listed
// (RFC 9260 section 3.3.2.1.2), and no packet goes to a group. Scopes are the locator package's business.
func usable(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !a.Is4In6() && a != broadcast
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func (s *SetupParams) takeAddrTypes(v []byte) bool {
	if len(v)%2 != 0 {
		return false
	}
	if s.HasSupportedTypes {
		s.Ignored++
		return true
	}
	s.HasSupportedTypes, s.SupportedV4, s.SupportedV6 = true, false, false
	for ; len(v) > 0; v = v[2:] {
		switch ParamType(binary.BigEndian.Uint16(v)) {
		case ParamIPv4:
			s.SupportedV4 = true
		case ParamIPv6:
			s.SupportedV6 = true
		}
	}
	return true
}

// takeRejected notes the types inside an Unrecognized Parameter. RFC 9260 section 3.3.3.1.2 puts one in each; some peers
// put several. What does not parse is left alone: it concerns nobody but the peer.
func (s *SetupParams) takeRejected(v []byte) {
	it := Params(v)
	for p, ok := it.Next(); ok && len(s.Rejected) < MaxRejected; p, ok = it.Next() {
		s.Rejected = append(s.Rejected, p.Type)
	}
}

// Init opens an INIT or INIT ACK chunk, t saying which, and copies i.Params if there are any. Further parameters follow
// by the parameter methods.
func (b *Builder) Init(t ChunkType, i *Init) bool {
	const fixed = InitLen - ChunkHeaderLen
	if !b.begin(t, 0, fixed+len(i.Params)) {
		return false
	}
	p := b.grow(fixed + len(i.Params))
	binary.BigEndian.PutUint32(p, i.Tag)
	binary.BigEndian.PutUint32(p[4:], i.ARwnd)
	binary.BigEndian.PutUint16(p[8:], i.OutStreams)
	binary.BigEndian.PutUint16(p[10:], i.InStreams)
	binary.BigEndian.PutUint32(p[12:], uint32(i.TSN))
	copy(p[fixed:], i.Params)
	return true
}

// SupportedAddrTypes appends the parameter of that name; leave it out to say "any" (RFC 9260 section 3.3.2.1.5).
func (b *Builder) SupportedAddrTypes(v4, v6 bool) bool {
	n := 0
	if v4 {
		n += 2
	}
	if v6 {
		n += 2
	}
	p, ok := b.item(uint16(ParamSupportedAddrTypes), n)
	if ok && v4 {
		binary.BigEndian.PutUint16(p, uint16(ParamIPv4))
	}
	if ok && v6 {
		binary.BigEndian.PutUint16(p[n-2:], uint16(ParamIPv6))
	}
	return ok
}

// SupportedExt appends the Supported Extensions parameter (RFC 5061 section 4.2.7).
func (b *Builder) SupportedExt(types ...ChunkType) bool {
	if len(types) == 0 {
		return true
	}
	p, ok := b.item(uint16(ParamSupportedExt), len(types))
	if ok {
		for i, t := range types {
			p[i] = byte(t)
		}
	}
	return ok
}

// ForwardTSNParam appends the Forward-TSN-Supported parameter (RFC 3758 section 3.1).
func (b *Builder) ForwardTSNParam() bool { return b.Param(ParamForwardTSN, nil) }

// CookieParam appends a State Cookie (RFC 9260 section 3.3.3.1.1).
func (b *Builder) CookieParam(cookie []byte) bool { return b.Param(ParamStateCookie, cookie) }

// CookiePreservative appends the wish for a cookie life span longer by ms milliseconds (RFC 9260 section 3.3.2.1.3).
func (b *Builder) CookiePreservative(ms uint32) bool { return b.number(ParamCookiePreservative, ms) }

// Adaptation appends an Adaptation Layer Indication (RFC 5061 section 4.2.6).
func (b *Builder) Adaptation(code uint32) bool { return b.number(ParamAdaptation, code) }

func (b *Builder) number(t ParamType, v uint32) bool {
	p, ok := b.item(uint16(t), 4)
	if ok {
		binary.BigEndian.PutUint32(p, v)
	}
	return ok
}

// UnrecognizedParam appends an Unrecognized Parameter that quotes raw, a parameter with its header
// (RFC 9260 section 3.3.3.1.2).
func (b *Builder) UnrecognizedParam(raw []byte) bool { return b.Param(ParamUnrecognized, raw) }

// PadParam appends a Padding parameter of n bytes, its header included (RFC 4820 section 4). False: n is below four, or as
// with Param.
func (b *Builder) PadParam(n int) bool {
	if n < ParamHeaderLen {
		return false
	}
	p, ok := b.item(uint16(ParamPadding), n-ParamHeaderLen)
	clear(p)
	return ok
}

// ParseCookieEcho returns the cookie in a COOKIE ECHO. Errors: ErrWrongChunk.
func ParseCookieEcho(c Chunk) ([]byte, error) {
	if c.Type != TypeCookieEcho {
		return nil, ErrWrongChunk
	}
	return c.Value, nil
}

// CookieEcho appends a COOKIE ECHO (RFC 9260 section 3.3.11). It has to be the first chunk of its packet but for AUTH.
func (b *Builder) CookieEcho(cookie []byte) bool { return b.Chunk(TypeCookieEcho, 0, cookie) }

// CookieAck appends a COOKIE ACK (RFC 9260 section 3.3.12).
func (b *Builder) CookieAck() bool { return b.Chunk(TypeCookieAck, 0, nil) }
