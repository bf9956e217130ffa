package hostile

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/wire"
)

// What attackers send. Everything is drawn from one source of randomness, so a seed repeats it.

var be = binary.BigEndian

// attacker makes packets.
type attacker struct {
	rnd *rand.Rand
	w   *world
	m   aim // of the packet being made
}

// strangers are the addresses of those who are neither a nor b. The last ones are no addresses of hosts at all.
var strangers = []netip.AddrPort{
	netip.MustParseAddrPort("10.0.0.66:9899"),
	netip.MustParseAddrPort("10.0.0.67:1"),
	netip.MustParseAddrPort("10.0.0.1:9898"), // a's address, another UDP port
	netip.MustParseAddrPort("192.0.2.1:5000"),
	netip.MustParseAddrPort("[2001:db8::1]:9899"),
	netip.MustParseAddrPort("[fe80::1%eth0]:9899"),
	netip.MustParseAddrPort("127.0.0.1:9899"),
	netip.MustParseAddrPort("224.0.0.1:9899"),
	netip.MustParseAddrPort("255.255.255.255:9899"),
	netip.MustParseAddrPort("0.0.0.0:0"),
}

// words are numbers at which arithmetic turns over.
var words = []uint32{0, 1, 2, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff}

func (k *attacker) word() uint32 {
	if k.rnd.IntN(3) == 0 {
		return k.rnd.Uint32()
	}
	return words[k.rnd.IntN(len(words))]
}

func (k *attacker) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(k.rnd.Uint32())
	}
	return b
}

// oneOf draws from a list.
func oneOf[T any](k *attacker, vs ...T) T { return vs[k.rnd.IntN(len(vs))] }

// chunk appends a chunk; once in a while its length is not what it is.
func (k *attacker) chunk(b []byte, t wire.ChunkType, flags byte, value []byte) []byte {
	n := len(value) + wire.ChunkHeaderLen
	if k.rnd.IntN(20) == 0 {
		n = int(uint16(n + k.rnd.IntN(9) - 4))
	}
	if k.rnd.IntN(60) == 0 {
		n = int(uint16(k.word()))
	}
	b = append(b, byte(t), flags, byte(n>>8), byte(n))
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, byte(k.rnd.IntN(2)))
	}
	return b
}

func (k *attacker) flags() byte {
	switch k.rnd.IntN(40) {
	case 0:
		return byte(k.rnd.Uint32())
	case 1:
		return byte(k.rnd.IntN(4))
	}
	return 3 // a whole message, where that means something
}

var chunkTypes = []wire.ChunkType{wire.TypeData, wire.TypeInit, wire.TypeInitAck, wire.TypeSack, wire.TypeHeartbeat,
	wire.TypeHeartbeatAck, wire.TypeAbort, wire.TypeShutdown, wire.TypeShutdownAck, wire.TypeError, wire.TypeCookieEcho,
	wire.TypeCookieAck, wire.TypeECNE, wire.TypeCWR, wire.TypeShutdownComplete, wire.TypeAuth, wire.TypeIData,
	wire.TypeAsconfAck, wire.TypeReconfig, wire.TypePad, wire.TypeForwardTSN, wire.TypeAsconf, wire.TypeIForwardTSN,
	63, 127, 191, 255}

var paramTypes = []wire.ParamType{wire.ParamHeartbeatInfo, wire.ParamIPv4, wire.ParamIPv6, wire.ParamStateCookie,
	wire.ParamUnrecognized, wire.ParamCookiePreservative, wire.ParamHostName, wire.ParamSupportedAddrTypes,
	wire.ParamOutgoingReset, wire.ParamIncomingReset, wire.ParamTSNReset, wire.ParamReconfigResponse, wire.ParamAddOutgoing,
	wire.ParamAddIncoming, wire.ParamECN, wire.ParamZeroChecksum, wire.ParamRandom, wire.ParamChunkList, wire.ParamHMACAlgo,
	wire.ParamPadding, wire.ParamSupportedExt, wire.ParamForwardTSN, wire.ParamAddIP, wire.ParamDeleteIP,
	wire.ParamErrorIndication, wire.ParamSetPrimary, wire.ParamSuccessIndication, wire.ParamAdaptation, 0, 0x3fff, 0x7fff,
	0xbfff, 0xffff}

// param appends a parameter, of the right length for its type or of any.
func (k *attacker) param(b []byte) []byte {
	t := oneOf(k, paramTypes...)
	var value []byte
	switch t {
	case wire.ParamIPv4:
		value = k.addr4()
	case wire.ParamIPv6:
		value = k.bytes(16)
	case wire.ParamSupportedAddrTypes:
		value = []byte{0, 5, 0, 6, 0, 11}[:2*k.rnd.IntN(4)]
	case wire.ParamCookiePreservative:
		value = be.AppendUint32(nil, k.word())
	case wire.ParamSupportedExt:
		for range k.rnd.IntN(10) {
			value = append(value, byte(oneOf(k, chunkTypes...)))
		}
	case wire.ParamOutgoingReset, wire.ParamIncomingReset, wire.ParamTSNReset, wire.ParamReconfigResponse, wire.ParamAddOutgoing,
		wire.ParamAddIncoming:
		value = k.reconfig(t)
	case wire.ParamForwardTSN, wire.ParamECN:
	default:
		value = k.bytes(k.rnd.IntN(40))
	}
	if k.rnd.IntN(8) == 0 {
		value = k.bytes(k.rnd.IntN(60))
	}
	n := len(value) + 4
	if k.rnd.IntN(25) == 0 {
		n = int(uint16(k.word()))
	}
	b = append(b, byte(t>>8), byte(t), byte(n>>8), byte(n))
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// reconfig is the value of a parameter of RFC 6525. Requests are numbered from the initial TSN on, which is near what the
// victim has received while the association is young.
func (k *attacker) reconfig(t wire.ParamType) []byte {
	b := be.AppendUint32(nil, k.m.rsn+uint32(k.rnd.IntN(3)))
	switch t {
	case wire.ParamOutgoingReset:
		b = be.AppendUint32(b, k.near(k.m.cum))
		b = be.AppendUint32(b, k.near(k.m.got))
	case wire.ParamReconfigResponse:
		b = be.AppendUint32(nil, k.near(k.m.cum))
		return be.AppendUint32(b, uint32(k.rnd.IntN(8)))
	case wire.ParamAddOutgoing, wire.ParamAddIncoming:
		b = be.AppendUint16(b, oneOf(k, 1, 10, uint16(k.word())))
		return append(b, 0, 0)
	case wire.ParamTSNReset:
		return b
	}
	for range k.rnd.IntN(4) {
		b = be.AppendUint16(b, oneOf(k, 0, 1, 5, uint16(k.word())))
	}
	return b
}

// addr4 is an address of somebody, or of nobody.
func (k *attacker) addr4() []byte {
	return oneOf(k, []byte{10, 0, 0, 1}, []byte{10, 0, 1, 1}, []byte{10, 0, 0, 2}, []byte{10, 0, 0, 66}, []byte{224, 0, 0, 1},
		[]byte{0, 0, 0, 0}, []byte{255, 255, 255, 255}, []byte{127, 0, 0, 1}, k.bytes(4))
}

func (k *attacker) params(most int) (b []byte) {
	n := k.rnd.IntN(most + 1)
	if k.rnd.IntN(50) == 0 {
		n = 100
	}
	for range n {
		b = k.param(b)
	}
	return b
}

// init is the value of an INIT or INIT ACK, every number of which may be odd.
func (k *attacker) init() []byte {
	tag, streams := k.rnd.Uint32()|1, func() uint16 { return uint16(1 + k.rnd.IntN(3000)) }
	if k.rnd.IntN(10) == 0 {
		tag = k.word()
	}
	b := be.AppendUint32(nil, tag)
	window := uint32(100_000)
	if k.rnd.IntN(4) == 0 {
		window = k.word()
	}
	b = be.AppendUint32(b, window)
	for range 2 {
		if k.rnd.IntN(12) == 0 {
			b = be.AppendUint16(b, uint16(k.word()))
		} else {
			b = be.AppendUint16(b, streams())
		}
	}
	b = be.AppendUint32(b, k.word())
	b = append(b, k.params(6)...)
	if k.rnd.IntN(20) == 0 {
		b = b[:k.rnd.IntN(len(b)+1)]
	}
	return b
}

// aim is what the attacker knows, or guesses, of whom it attacks.
type aim struct {
	tag      uint32    // for the header
	cum      uint32    // TSN the victim had acknowledged, about
	got      uint32    // TSN the victim received last, about
	rsn      uint32    // number of the next request the victim expects, about (RFC 6525)
	cookie   []byte    // a State Cookie
	from, to [2]uint16 // SCTP ports
}

// value is the content of a chunk of a type, well formed but wild.
func (k *attacker) value(t wire.ChunkType, m *aim) (b []byte) {
	k.m = *m
	switch t {
	case wire.TypeData, wire.TypeIData:
		b = be.AppendUint32(b, k.near(m.got))
		b = be.AppendUint16(b, oneOf(k, 0, 0, 1, 5, uint16(k.word())))
		if t == wire.TypeIData {
			b = append(b, 0, 0)
			b = be.AppendUint32(b, k.word())
		} else {
			b = be.AppendUint16(b, oneOf(k, 0, 1, uint16(k.word())))
		}
		b = be.AppendUint32(b, k.word())
		return append(b, k.bytes(1+k.rnd.IntN(oneOf(k, 3, 30, 300, 1400)))...)
	case wire.TypeInit, wire.TypeInitAck:
		return k.init()
	case wire.TypeSack:
		return k.sack(m)
	case wire.TypeHeartbeat, wire.TypeHeartbeatAck:
		b = append(b, 0, 1, 0, 16)
		b = append(b, k.bytes(8)...)
		b = append(b, byte(k.rnd.IntN(5)), 0, 0, 0)
		if k.rnd.IntN(6) == 0 {
			b = k.bytes(k.rnd.IntN(oneOf(k, 20, 1300)))
		}
		return b
	case wire.TypeAbort, wire.TypeError:
		return k.causes()
	case wire.TypeShutdown:
		return be.AppendUint32(b, k.near(m.cum))
	case wire.TypeCookieEcho:
		return k.cookie(m)
	case wire.TypeForwardTSN, wire.TypeIForwardTSN:
		b = be.AppendUint32(b, k.near(m.got))
		for range k.rnd.IntN(6) {
			b = be.AppendUint16(b, oneOf(k, 0, 1, uint16(k.word())))
			b = be.AppendUint16(b, uint16(k.word()))
			if t == wire.TypeIForwardTSN {
				b = be.AppendUint32(b, k.word())
			}
		}
		return b
	case wire.TypeReconfig, wire.TypeAsconf, wire.TypeAsconfAck:
		if t != wire.TypeReconfig {
			b = be.AppendUint32(b, k.word())
		}
		return append(b, k.params(4)...)
	}
	return k.bytes(k.rnd.IntN(oneOf(k, 1, 8, 60, 1400)))
}

// near is a TSN close to one that means something, or any.
func (k *attacker) near(t uint32) uint32 {
	switch k.rnd.IntN(8) {
	case 0:
		return k.word()
	case 1:
		return t + 0x80000000 + uint32(k.rnd.IntN(3)) - 1
	case 2:
		return t + uint32(k.rnd.IntN(70_000))
	}
	return t + uint32(k.rnd.IntN(40)) - 8
}

func (k *attacker) sack(m *aim) []byte {
	cum := m.cum - uint32(k.rnd.IntN(4))
	if k.rnd.IntN(60) == 0 {
		cum = k.near(m.cum)
	}
	b := be.AppendUint32(nil, cum)
	b = be.AppendUint32(b, oneOf(k, 0, 1, 1500, 100_000, k.word()))
	gaps, dups := k.rnd.IntN(6), k.rnd.IntN(4)
	if k.rnd.IntN(20) == 0 {
		gaps, dups = k.rnd.IntN(300), k.rnd.IntN(20)
	}
	b = be.AppendUint16(b, uint16(gaps))
	b = be.AppendUint16(b, uint16(dups))
	at := 1
	for range gaps {
		lo := at + 1 + k.rnd.IntN(5)
		hi := lo + k.rnd.IntN(5)
		at = hi
		if k.rnd.IntN(10) == 0 {
			lo, hi = int(uint16(k.word())), int(uint16(k.word()))
		}
		b = be.AppendUint16(b, uint16(lo))
		b = be.AppendUint16(b, uint16(hi))
	}
	for range dups {
		b = be.AppendUint32(b, k.near(m.cum))
	}
	return b
}

func (k *attacker) causes() (b []byte) {
	n := k.rnd.IntN(3)
	if k.rnd.IntN(40) == 0 {
		n = 300
	}
	for range n {
		v := k.bytes(k.rnd.IntN(12))
		b = be.AppendUint16(b, oneOf(k, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, uint16(k.word())))
		b = be.AppendUint16(b, uint16(4+len(v)))
		b = append(b, v...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}

// cookie is one that somebody got, unless it has been tampered with.
func (k *attacker) cookie(m *aim) []byte {
	if len(m.cookie) == 0 || k.rnd.IntN(6) == 0 {
		return k.bytes(k.rnd.IntN(600))
	}
	b := append([]byte(nil), m.cookie...)
	switch k.rnd.IntN(5) {
	case 0:
		b[k.rnd.IntN(len(b))] ^= 1 << k.rnd.IntN(8)
	case 1:
		b = b[:k.rnd.IntN(len(b))]
	case 2:
		b = append(b, k.bytes(1+k.rnd.IntN(20))...)
	}
	return b
}

// seal writes header and checksum.
func (k *attacker) seal(pkt []byte, m *aim) []byte {
	be.PutUint16(pkt, m.from[k.rnd.IntN(2)])
	be.PutUint16(pkt[2:], m.to[k.rnd.IntN(2)])
	be.PutUint32(pkt[4:], m.tag)
	return k.sum(pkt)
}

// sum puts the right checksum in, with few exceptions.
func (k *attacker) sum(pkt []byte) []byte {
	if len(pkt) >= wire.HeaderLen && k.rnd.IntN(100) != 0 {
		wire.SetChecksum(pkt)
	}
	return pkt
}

// forge makes a packet out of nothing.
func (k *attacker) forge(m *aim) []byte {
	pkt := make([]byte, wire.HeaderLen, 1500)
	t := oneOf(k, chunkTypes...)
	switch k.rnd.IntN(6) {
	case 0:
		t = wire.TypeInit
	case 1:
		t = wire.TypeCookieEcho
	}
	n := oneOf(k, 1, 1, 1, 2, 4)
	switch {
	case t == wire.TypeInit && k.rnd.IntN(10) != 0:
		c := *m
		c.tag = 0
		return k.seal(k.chunk(pkt, t, 0, k.init()), &c)
	case k.rnd.IntN(30) == 0:
		return k.seal(append(pkt, k.bytes(k.rnd.IntN(200))...), m)
	}
	for range n {
		v := k.value(t, m)
		if k.rnd.IntN(15) == 0 {
			v = k.bytes(k.rnd.IntN(40))
		}
		pkt = k.chunk(pkt, t, k.flags(), v)
		t = oneOf(k, chunkTypes...)
	}
	return k.seal(pkt, m)
}

// mutate changes a captured packet in one to four ways.
func (k *attacker) mutate(old []byte) []byte {
	pkt := append(make([]byte, 0, len(old)+64), old...)
	for range 1 + k.rnd.IntN(4) {
		pkt = k.mutation(pkt)
		if len(pkt) < wire.HeaderLen {
			return pkt
		}
	}
	return k.sum(pkt)
}

func (k *attacker) mutation(pkt []byte) []byte {
	n := len(pkt)
	body := n - wire.HeaderLen
	if body <= 4 {
		return append(pkt, k.bytes(8)...)
	}
	at := wire.HeaderLen + k.rnd.IntN(body)
	switch k.rnd.IntN(13) {
	case 0, 1:
		for range 1 + k.rnd.IntN(8) {
			pkt[wire.HeaderLen+k.rnd.IntN(body)] ^= 1 << k.rnd.IntN(8)
		}
	case 2:
		return pkt[:k.rnd.IntN(n)]
	case 3:
		return append(pkt, k.bytes(1+k.rnd.IntN(40))...)
	case 4: // a word that turns over
		if at &^= 3; at+4 <= n {
			be.PutUint32(pkt[at:], k.word())
		}
	case 5: // ports
		be.PutUint16(pkt, oneOf(k, 0, be.Uint16(pkt[2:]), uint16(k.rnd.Uint32())))
	case 6:
		be.PutUint16(pkt[2:], oneOf(k, 0, be.Uint16(pkt), uint16(k.rnd.Uint32())))
	case 7:
		pkt[wire.HeaderLen] = byte(oneOf(k, chunkTypes...))
	case 8:
		pkt[wire.HeaderLen+1] ^= 1 << k.rnd.IntN(8)
	case 9: // the first chunk's length
		be.PutUint16(pkt[wire.HeaderLen+2:], oneOf(k, 0, 3, 4, 5, 16, 17, 0xffff, uint16(body), uint16(body+1)))
	default:
		return k.shuffle(pkt)
	}
	return pkt
}

// shuffle doubles, swaps, drops chunks, or takes some of another packet.
func (k *attacker) shuffle(pkt []byte) []byte {
	var cs [][]byte
	collect := func(p []byte) {
		it := wire.Chunks(p)
		for c, ok := it.Next(); ok; c, ok = it.Next() {
			raw := append([]byte(nil), c.Raw...)
			for len(raw)%4 != 0 {
				raw = append(raw, 0)
			}
			cs = append(cs, raw)
		}
	}
	collect(pkt)
	if k.rnd.IntN(2) == 0 && len(k.w.seen) > 0 {
		collect(k.w.seen[k.rnd.IntN(len(k.w.seen))].pkt)
	}
	if len(cs) == 0 {
		return pkt
	}
	k.rnd.Shuffle(len(cs), func(i, j int) { cs[i], cs[j] = cs[j], cs[i] })
	cs = cs[:1+k.rnd.IntN(len(cs))]
	if k.rnd.IntN(2) == 0 {
		cs = append(cs, cs[k.rnd.IntN(len(cs))])
	}
	out := append([]byte(nil), pkt[:wire.HeaderLen]...)
	for _, c := range cs {
		out = append(out, c...)
	}
	return out
}

// source is where the packet seems to come from: the peer, another address of it, or anybody.
func (k *attacker) source(peer *host) netip.AddrPort {
	if k.rnd.IntN(2) == 0 {
		return peer.local[k.rnd.IntN(len(peer.local))].AddrPort()
	}
	return oneOf(k, strangers...)
}

// know collects what can be known of an association by somebody who sees its packets.
func know(c *conn) aim {
	a := c.ent.Assoc
	own, _ := a.Tags()
	src, dst := a.Ports()
	return aim{tag: own, cum: c.cum, got: c.got, rsn: c.rsn, from: [2]uint16{dst, dst}, to: [2]uint16{src, src}}
}

// spoil makes the ports of an aim doubtful.
func (k *attacker) spoil(m *aim) {
	switch k.rnd.IntN(12) {
	case 0:
		m.from[0] = uint16(k.word())
	case 1:
		m.to[0] = uint16(k.word())
	case 2:
		m.from, m.to = m.to, m.from
	}
}

// arrival draws the socket.
func (k *attacker) arrival(h *host, src netip.AddrPort) assoc.Arrival {
	return arrival(h, k.rnd.IntN(2), src)
}

func arrival(h *host, local int, src netip.AddrPort) assoc.Arrival {
	return assoc.Arrival{Local: local % len(h.local), Peer: src}
}
