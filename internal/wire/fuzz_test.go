package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/internal/wire/debug"
)

// seeds returns packets to start from: captures, one packet per sample chunk, and an INIT with what the Linux kernel puts
// into it, in its order.
func seeds(f *testing.F) [][]byte {
	var out [][]byte
	for _, c := range captures(f) {
		out = append(out, c.pkt)
	}
	var b wire.Builder
	for _, s := range samples {
		b.Open(make([]byte, 0, 1500), header)
		s.build(&b)
		out = append(out, b.Seal())
	}

	b.Open(make([]byte, 0, 1500), wire.Header{SrcPort: 40000, DstPort: 5001})
	b.Init(wire.TypeInit, &wire.Init{Tag: 0x1f2e3d4c, ARwnd: 106496, OutStreams: 10, InStreams: 65535, TSN: 0x9abcdef0})
	b.AddrParam(addr("192.0.2.1"))
	b.AddrParam(addr("2001:db8::1"))
	b.SupportedAddrTypes(true, true)
	b.Param(wire.ParamECN, nil)
	b.SupportedExt(wire.TypeAsconf, wire.TypeAsconfAck, wire.TypeAuth, wire.TypeReconfig, wire.TypeIData, wire.TypeIForwardTSN)
	b.ForwardTSNParam()
	b.Adaptation(0)
	b.Param(wire.ParamRandom, make([]byte, 32))
	b.Param(wire.ParamHMACAlgo, []byte{0, 3, 0, 1})
	b.Param(wire.ParamChunkList, []byte{0xc1, 0x80})
	out = append(out, b.Seal())

	b.Open(make([]byte, 0, 1500), header)
	b.Sack(100, 65536)
	for i := range uint16(20) {
		b.SackGap(2*i+2, 2*i+2)
	}
	b.SackDup(99)
	b.Abort(true)
	b.InvalidStream(5)
	b.MissingParams(wire.ParamStateCookie)
	b.Cause(wire.CauseUnrecognizedChunk, []byte{0xff, 0, 0, 5, 9})
	b.CauseCut(wire.CauseUserAbort, []byte("going away"))
	b.Reconfig()
	b.OutgoingReset(1, 2, 3, []uint16{4})
	b.IncomingReset(5, nil)
	b.Asconf(9, addr("10.0.0.1"))
	b.AsconfRequest(wire.ParamAddIP, 1, addr("10.0.0.2"))
	b.AsconfAck(9)
	b.AsconfError(1, wire.CauseNoAuthorization, []byte{0xc0, 1, 0, 4})
	b.IForwardTSN(9)
	b.Skip(wire.Skip{SID: 1, MID: 2, Unordered: true})
	return append(out, b.Seal())
}

// FuzzChunks reads any bytes by both codecs. They must agree on every chunk, every field and the error.
func FuzzChunks(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, pkt []byte) {
		before := bytes.Clone(pkt)
		wire.ChecksumOK(pkt)
		want, wantErr := debug.Decode(pkt)
		if want == nil {
			want = &debug.Packet{}
		} else {
			_ = want.String()
		}
		it := wire.Chunks(pkt)
		for i := 0; ; i++ {
			c, ok := it.Next()
			if !ok {
				require.Len(t, want.Chunks, i)
				break
			}
			require.Equal(t, pkt[it.Offset():it.Offset()+len(c.Raw)], c.Raw)
			compare(t, c, want.Chunks[i])
			probe(t, c)
		}
		require.Equal(t, wantErr, it.Err())
		require.Equal(t, before, pkt, "readers do not write")
	})
}

// compare checks a chunk as read by package wire against what package debug made of it.
func compare(t *testing.T, c wire.Chunk, want debug.Chunk) {
	if s, ok := want.(*debug.Sack); ok { // the view's caps are not debug's
		s.Gaps = s.Gaps[:min(len(s.Gaps), wire.MaxGapBlocks)]
		s.Dups = s.Dups[:min(len(s.Dups), wire.MaxDupTSNs)]
	}
	got, ok := view(c)
	if raw, malformed := want.(*debug.Raw); malformed && raw.Why != "unknown type" {
		require.False(t, ok, "%v: debug says %s", c.Type, raw.Why)
		return
	}
	require.True(t, ok, "%v", want)
	require.Equal(t, want, got)
}

// probe calls the readers that compare does not, for what must hold of any chunk.
func probe(t *testing.T, c wire.Chunk) {
	if info, err := wire.ParseHeartbeat(c); err == nil {
		require.True(t, bytes.HasPrefix(c.Value[wire.ParamHeaderLen:], info))
	}
	if a, err := wire.ParseAsconf(c); err == nil {
		require.True(t, a.Addr.IsValid())
		require.Zero(t, (len(c.Value)-len(a.Params))%4)
	}
	if r, err := wire.ParseReconfig(c); err == nil {
		require.True(t, r.N == 1 || r.N == 2)
		for _, p := range r.Params[:r.N] {
			probeParam(p)
		}
	}
	it := wire.Params(c.Value)
	for p, ok := it.Next(); ok; p, ok = it.Next() {
		require.Equal(t, p.Raw[wire.ParamHeaderLen:], p.Value)
		probeParam(p)
	}
	causes := wire.Causes(c.Value)
	for x, ok := causes.Next(); ok; x, ok = causes.Next() {
		x.Stream()
		x.Staleness()
		x.TSN()
	}
}

func probeParam(p wire.Param) {
	if r, err := wire.ParseStreamReset(p); err == nil {
		for i := range r.Streams() {
			r.Stream(i)
		}
	}
	wire.ParseTSNReset(p)
	wire.ParseAddStreams(p)
	wire.ParseReconfigResponse(p)
	wire.ParseAsconfParam(p)
}

// FuzzInitParams reads any bytes as the parameters of an INIT, against a naive second reading.
func FuzzInitParams(f *testing.F) {
	for _, s := range seeds(f) {
		it := wire.Chunks(s)
		c, _ := it.Next()
		if i, err := wire.ParseInit(c); err == nil {
			f.Add(i.Params, uint8(0))
			f.Add(i.Params, uint8(1))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, limit uint8) {
		var s wire.SetupParams
		s.MaxAddrs = int(limit)
		err := wire.ReadInitParams(b, &s)
		if limit == 0 {
			limit = wire.DefaultMaxAddrs
		}
		require.LessOrEqual(t, len(s.Addrs), int(limit))
		require.LessOrEqual(t, len(s.Unrecognized), wire.MaxUnrecognized)
		require.LessOrEqual(t, len(s.Rejected), wire.MaxRejected)

		addrs, cookie, naiveErr := naiveSetup(b)
		require.Equal(t, naiveErr, err)
		require.Equal(t, addrs[:min(len(addrs), int(limit))], append([]netip.Addr{}, s.Addrs...))
		require.Equal(t, string(cookie), string(s.Cookie))

		again := s
		require.Equal(t, err, wire.ReadInitParams(b, &again))
		require.Equal(t, s, again, "a used struct reads alike")
	})
}

// naiveSetup reads the addresses and the cookie, written as the RFC is read, without regard for cost.
func naiveSetup(b []byte) (addrs []netip.Addr, cookie []byte, err error) {
	addrs = []netip.Addr{}
	seen := map[netip.Addr]bool{}
	for n := 0; len(b) > 0; n++ {
		if len(b) < 4 {
			return addrs, cookie, wire.ErrParam
		}
		typ, length := wire.ParamType(binary.BigEndian.Uint16(b)), int(binary.BigEndian.Uint16(b[2:]))
		if length < 4 || length > len(b) {
			return addrs, cookie, wire.ErrParam
		}
		if n == wire.MaxParams {
			return addrs, cookie, wire.ErrTooMany
		}
		v := b[4:length]
		bad := false
		switch typ {
		case wire.ParamIPv4, wire.ParamIPv6:
			a, _ := netip.AddrFromSlice(v)
			bad = !a.IsValid() || a.Is4() != (typ == wire.ParamIPv4)
			if !bad && !seen[a] && !a.Is4In6() && !a.IsMulticast() && !a.IsUnspecified() && a.String() != "255.255.255.255" {
				seen[a] = true
				addrs = append(addrs, a)
			}
		case wire.ParamStateCookie:
			if cookie == nil {
				cookie = v
			}
		case wire.ParamCookiePreservative, wire.ParamZeroChecksum, wire.ParamAdaptation:
			bad = len(v) != 4
		case wire.ParamSupportedAddrTypes, wire.ParamHMACAlgo:
			bad = len(v)%2 != 0
		case wire.ParamSetPrimary:
			v4 := len(v) == 12 && bytes.Equal(v[4:8], []byte{0, 5, 0, 8})
			v6 := len(v) == 24 && bytes.Equal(v[4:8], []byte{0, 6, 0, 20})
			bad = !v4 && !v6
		default:
			if !typ.Known() && typ < 0x8000 {
				return addrs, cookie, nil
			}
		}
		if bad {
			return addrs, cookie, wire.ErrParam
		}
		b = b[min(len(b), (length+3)/4*4):]
	}
	return addrs, cookie, nil
}

// FuzzRoundTrip decodes any bytes, and writes what came out by both encoders. They must produce the same packet, and it
// must read back the same.
func FuzzRoundTrip(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, pkt []byte) {
		p, _ := debug.Decode(pkt)
		if p == nil {
			return
		}
		encoded := p.Encode()
		require.True(t, wire.ChecksumOK(encoded))
		again, err := debug.Decode(encoded)
		require.NoError(t, err)
		require.Equal(t, p.Chunks, again.Chunks)
		require.Equal(t, p.String(), again.String())

		var b wire.Builder
		b.Open(dirty(len(encoded)), p.Header)
		it := wire.Chunks(encoded)
		for _, c := range p.Chunks {
			raw, _ := it.Next()
			mark := b.Mark()
			if !build(&b, c) { // what the methods will not write, such as user data without bytes, goes in as it is
				b.Abandon(mark)
				require.True(t, b.Chunk(raw.Type, raw.Flags, raw.Value))
			}
		}
		require.Equal(t, encoded, b.Seal())
	})
}

var errFull = errors.New("full")

// FuzzBuilder runs commands on a Builder of small capacity and on a naive model: a list of chunks whose size is known by
// encoding it. A command must succeed exactly when the model says it fits.
func FuzzBuilder(f *testing.F) {
	f.Add(uint16(200), []byte{0, 9, 1, 5, 2, 3, 3, 3, 4, 4, 5, 2, 6, 8, 7, 1})
	f.Add(uint16(60), []byte{2, 0, 3, 0, 3, 0, 4, 0, 8, 0, 0, 30, 9, 0, 0, 1})
	f.Add(uint16(1500), []byte{5, 0, 6, 3, 6, 0, 7, 9, 8, 0, 5, 5, 6, 200, 10, 0, 9, 0, 11, 40})
	f.Fuzz(func(t *testing.T, size uint16, cmds []byte) {
		if size < wire.HeaderLen {
			return
		}
		m := model{limit: min(int(size), wire.MaxPacket), pkt: debug.Packet{Header: header}}
		var b wire.Builder
		b.Open(dirty(int(size)), header)
		mark, marked := b.Mark(), m.copy()
		for len(cmds) >= 2 && m.steps < 300 {
			op, arg := cmds[0]%12, int(cmds[1])
			cmds = cmds[2:]
			switch op {
			case 8:
				mark, marked = b.Mark(), m.copy()
				m.open = false
			case 9:
				b.Abandon(mark)
				m.pkt.Chunks, m.open = marked, false
				marked = m.copy()
			case 10:
				b.FinishChunk()
				m.open = false
			default:
				want := m.do(op, arg) == nil
				require.Equal(t, want, command(&b, op, arg), "op %d arg %d", op, arg)
			}
			m.steps++
			require.Equal(t, len(m.pkt.Chunks), b.Chunks())
			require.Equal(t, m.limit&^3-len(m.pkt.Encode()), b.Room())
		}
		require.Equal(t, m.pkt.Encode(), b.Seal())
	})
}

type model struct {
	limit int
	pkt   debug.Packet
	open  bool
	steps int
}

// copy returns the chunks by value as far as commands can change them.
func (m *model) copy() []debug.Chunk {
	p, err := debug.Decode(m.pkt.Encode())
	if err != nil {
		panic(err)
	}
	return p.Chunks
}

// command runs one command on the Builder.
func command(b *wire.Builder, op byte, arg int) bool {
	switch op {
	case 0:
		return b.Data(&wire.Data{TSN: 1, Begin: true, Interleaved: arg&1 != 0, Payload: make([]byte, arg)})
	case 1:
		return b.CookieEcho(make([]byte, arg))
	case 2:
		return b.Sack(7, 8)
	case 3:
		return b.SackGap(uint16(arg), 9)
	case 4:
		return b.SackDup(5)
	case 5:
		return b.Init(wire.TypeInit, &wire.Init{Tag: uint32(arg)})
	case 6:
		return b.Param(wire.ParamStateCookie, make([]byte, arg))
	case 7:
		return b.Heartbeat(make([]byte, arg))
	}
	return b.Pad(arg)
}

// do runs the same command on the model.
func (m *model) do(op byte, arg int) error {
	last := len(m.pkt.Chunks) - 1
	var c debug.Chunk
	open := false
	switch op {
	case 0:
		if arg == 0 {
			m.open = false
			return errFull
		}
		c = &debug.Data{Data: wire.Data{TSN: 1, Begin: true, Interleaved: arg&1 != 0, Payload: make([]byte, arg)}}
	case 1:
		c = &debug.CookieEcho{Cookie: make([]byte, arg)}
	case 2:
		c, open = &debug.Sack{CumTSN: 7, ARwnd: 8}, true
	case 3, 4:
		s, ok := m.last().(*debug.Sack)
		if !ok || len(s.Dups) > 0 && op == 3 {
			return errFull
		}
		old := *s
		if op == 3 {
			s.Gaps = append(s.Gaps, debug.Gap{Start: uint16(arg), End: 9})
		} else {
			s.Dups = append(s.Dups, 5)
		}
		if len(m.pkt.Encode()) > m.limit {
			*s = old
			return errFull
		}
		return nil
	case 5:
		c, open = &debug.Init{Type: wire.TypeInit, Tag: uint32(arg)}, true
	case 6:
		return m.param(debug.Param{Type: wire.ParamStateCookie, Value: make([]byte, arg)})
	case 7:
		c = &debug.Heartbeat{Type: wire.TypeHeartbeat,
			Params: []debug.Param{{Type: wire.ParamHeartbeatInfo, Value: make([]byte, arg)}}}
	default:
		if arg < 4 || arg%4 != 0 {
			return errFull
		}
		c = &debug.Pad{Len: arg}
	}
	m.open = false
	m.pkt.Chunks = append(m.pkt.Chunks, c)
	if len(m.pkt.Encode()) > m.limit {
		m.pkt.Chunks = m.pkt.Chunks[:last+1]
		return errFull
	}
	m.open = open
	return nil
}

// last returns the open chunk, nil without one.
func (m *model) last() debug.Chunk {
	if !m.open {
		return nil
	}
	return m.pkt.Chunks[len(m.pkt.Chunks)-1]
}

// param appends a parameter to an open INIT; a SACK takes none.
func (m *model) param(p debug.Param) error {
	i, ok := m.last().(*debug.Init)
	if !ok {
		return errFull
	}
	i.Params = append(i.Params, p)
	if len(m.pkt.Encode()) > m.limit {
		i.Params = i.Params[:len(i.Params)-1]
		return errFull
	}
	return nil
}
