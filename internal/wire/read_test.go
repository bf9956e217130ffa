package wire_test

import (
	"math/bits"
	"math/rand"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/internal/wire/debug"
)

// Packets of other stacks read without error, in both codecs alike, and come out of the object codec byte by byte.
func TestCaptures(t *testing.T) {
	for _, c := range captures(t) {
		require.True(t, wire.ChecksumOK(c.pkt), c.title)
		p, err := debug.Decode(c.pkt)
		require.NoError(t, err, c.title)
		require.Equal(t, c.text, p.String(), c.title)
		require.Equal(t, c.pkt, p.Encode(), c.title)
		it := wire.Chunks(c.pkt)
		for i, want := range p.Chunks {
			x, ok := it.Next()
			require.True(t, ok, c.title)
			got, ok := view(x)
			require.True(t, ok, "%s chunk %d", c.title, i)
			require.Equal(t, want, got)
		}
		require.Zero(t, it.Rest())
	}
}

func TestHeader(t *testing.T) {
	_, err := wire.ParseHeader(make([]byte, 11))
	require.Equal(t, wire.ErrShortPacket, err)
	h, err := wire.ParseHeader([]byte{0x13, 0x88, 0x13, 0x89, 1, 2, 3, 4, 0, 0, 0, 0})
	require.NoError(t, err)
	require.Equal(t, wire.Header{SrcPort: 5000, DstPort: 5001, Tag: 0x01020304}, h)
	for n := range 9 {
		require.Equal(t, []int{0, 4, 4, 4, 4, 8, 8, 8, 8}[n], wire.Pad4(n))
	}
}

// slowSum is CRC32c bit by bit, reflected as RFC 9260 appendix A has it.
func slowSum(b []byte) uint32 {
	crc := ^uint32(0)
	for _, x := range b {
		crc ^= uint32(x)
		for range 8 {
			crc = crc>>1 ^ 0x82f63b78&-(crc&1)
		}
	}
	return ^crc
}

func TestChecksum(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for n := range 80 {
		pkt := make([]byte, n)
		rng.Read(pkt)
		before := append([]byte{}, pkt...)
		wire.ChecksumOK(pkt)
		require.Equal(t, before, pkt, "checking does not modify")
		wire.SetChecksum(pkt)
		if n < wire.HeaderLen {
			require.Equal(t, before, pkt)
			require.False(t, wire.ChecksumOK(pkt))
			continue
		}
		require.True(t, wire.ChecksumOK(pkt))
		sum := bits.ReverseBytes32(uint32(pkt[8])<<24 | uint32(pkt[9])<<16 | uint32(pkt[10])<<8 | uint32(pkt[11]))
		zeroed := append([]byte{}, pkt...)
		clear(zeroed[8:12])
		require.Equal(t, slowSum(zeroed), sum)
		pkt[rng.Intn(n)] ^= 1 << rng.Intn(8)
		require.False(t, wire.ChecksumOK(pkt))
	}
}

func TestChunkTypes(t *testing.T) {
	for typ, want := range map[wire.ChunkType][2]bool{
		0x3f: {true, false}, 0x7f: {true, true}, 0xbf: {false, false}, 0xfe: {false, true},
		wire.TypeAuth: {true, false}, wire.TypeIData: {true, true}, wire.TypePad: {false, false}, wire.TypeAsconf: {false, true},
	} {
		stop, report := typ.Unknown()
		require.Equal(t, want, [2]bool{stop, report}, typ.String())
	}
	known := 0
	for n := range 256 {
		typ := wire.ChunkType(n)
		if typ.Known() {
			known++
			require.False(t, strings.HasPrefix(typ.String(), "chunk"), typ.String())
		}
		alone := typ == wire.TypeInit || typ == wire.TypeInitAck || typ == wire.TypeShutdownComplete
		require.Equal(t, alone, wire.MustBeAlone(typ))
	}
	require.Equal(t, 21, known)
	require.Equal(t, "ECNE", wire.TypeECNE.String())
	require.False(t, wire.TypeECNE.Known())
	require.Equal(t, "chunk 99", wire.ChunkType(99).String())

	var set wire.ChunkSet
	for n := 0; n < 256; n += 3 {
		set.Add(wire.ChunkType(n))
	}
	for n := range 256 {
		require.Equal(t, n%3 == 0, set.Has(wire.ChunkType(n)))
	}
}

func TestChunkFraming(t *testing.T) {
	h := make([]byte, wire.HeaderLen)
	for _, c := range []struct {
		name string
		body string
		n    int // chunks handed out
		err  error
	}{
		{"empty packet", "", 0, nil},
		{"one byte", "\x0b", 0, wire.ErrChunkHeader},
		{"three bytes", "\x0b\x00\x00", 0, wire.ErrChunkHeader},
		{"smallest chunk", "\x0b\x00\x00\x04", 1, nil},
		{"length 0", "\x0b\x00\x00\x00", 0, wire.ErrChunkLength},
		{"length 3", "\x0b\x00\x00\x03", 0, wire.ErrChunkLength},
		{"value cut", "\x0b\x00\x00\x06\x01", 0, wire.ErrTruncated},
		{"length 65535", "\x0b\x00\xff\xff\x01", 0, wire.ErrTruncated},
		{"final padding missing", "\x0b\x00\x00\x05\x01", 1, nil},
		{"final padding short", "\x0b\x00\x00\x05\x01\x00", 1, nil},
		{"padding not zero", "\x0b\x00\x00\x05\x01\x09\x09\x09", 1, nil},
		{"second after padding", "\x0b\x00\x00\x05\x01\x00\x00\x00\x0b\x00\x00\x04", 2, nil},
		{"second cut", "\x0b\x00\x00\x04\x0b\x00\x00\x08\x00", 1, wire.ErrTruncated},
		{"one trailing byte", "\x0b\x00\x00\x04\x00", 1, wire.ErrChunkHeader},
		{"four bytes of padding", "\x0b\x00\x00\x04\x00\x00\x00\x00", 1, wire.ErrChunkLength},
		{"seven bytes of padding", "\x0b\x00\x00\x05\x01\x00\x00\x00\x00\x00\x00\x00", 1, wire.ErrChunkLength},
	} {
		it := wire.Chunks(append(h[:wire.HeaderLen:wire.HeaderLen], c.body...))
		n := 0
		for x, ok := it.Next(); ok; x, ok = it.Next() {
			require.Equal(t, wire.TypeCookieAck, x.Type, c.name)
			require.Len(t, x.Raw, len(x.Value)+4, c.name)
			n++
		}
		require.Equal(t, c.n, n, c.name)
		require.Equal(t, c.err, it.Err(), c.name)
		_, ok := it.Next()
		require.False(t, ok, "%s: stays stopped", c.name)
		if c.err == nil {
			require.Zero(t, it.Rest(), c.name)
		}
	}
	it := wire.Chunks(h[:11])
	_, ok := it.Next()
	require.False(t, ok)
	require.Equal(t, wire.ErrShortPacket, it.Err())
}

func TestOffsetAndRest(t *testing.T) {
	pkt := append(make([]byte, 12), 11, 0, 0, 5, 1, 0, 0, 0, 11, 0, 0, 4)
	it := wire.Chunks(pkt)
	require.Equal(t, 12, it.Rest())
	it.Next()
	require.Equal(t, []int{12, 4}, []int{it.Offset(), it.Rest()})
	it.Next()
	require.Equal(t, []int{20, 0}, []int{it.Offset(), it.Rest()})
}

func TestLimits(t *testing.T) {
	count := func(items int) (int, error) {
		it := wire.Chunks(append(make([]byte, 12), strings.Repeat("\x0b\x00\x00\x04", items)...))
		n := 0
		for _, ok := it.Next(); ok; _, ok = it.Next() {
			n++
		}
		return n, it.Err()
	}
	n, err := count(wire.MaxChunks)
	require.NoError(t, err)
	require.Equal(t, wire.MaxChunks, n)
	n, err = count(wire.MaxChunks + 1)
	require.Equal(t, wire.ErrTooMany, err)
	require.Equal(t, wire.MaxChunks, n)

	params := wire.Params([]byte(strings.Repeat("\xc0\x00\x00\x04", wire.MaxParams+1)))
	for n = 0; ; n++ {
		if _, ok := params.Next(); !ok {
			break
		}
	}
	require.Equal(t, wire.ErrTooMany, params.Err())
	require.Equal(t, wire.MaxParams, n)
	require.Equal(t, 4, params.Rest())

	causes := wire.Causes([]byte(strings.Repeat("\x00\x04\x00\x04", wire.MaxCauses+1)))
	for n = 0; ; n++ {
		if _, ok := causes.Next(); !ok {
			break
		}
	}
	require.Equal(t, wire.ErrTooMany, causes.Err())
	require.Equal(t, wire.MaxCauses, n)
	require.Equal(t, 4, causes.Rest())
}

func TestParamFraming(t *testing.T) {
	for _, c := range []struct {
		name string
		b    string
		n    int
		err  error
	}{
		{"none", "", 0, nil},
		{"header cut", "\x00\x05\x00", 0, wire.ErrParam},
		{"length 3", "\x00\x05\x00\x03", 0, wire.ErrParam},
		{"value cut", "\x00\x05\x00\x08\x0a\x00\x00", 0, wire.ErrParam},
		{"one", "\x00\x05\x00\x08\x0a\x00\x00\x01", 1, nil},
		{"last without padding", "\x00\x07\x00\x05\x01", 1, nil},
		{"last with padding counted in the chunk", "\x00\x07\x00\x05\x01\x00\x00\x00", 1, nil},
		{"two", "\x00\x07\x00\x06\x01\x02\x00\x00\xc0\x00\x00\x04", 2, nil},
		{"trailing", "\x00\x07\x00\x04\x00\x00", 1, wire.ErrParam},
		{"four bytes of padding", "\x00\x07\x00\x04\x00\x00\x00\x00", 1, wire.ErrParam},
	} {
		it := wire.Params([]byte(c.b))
		causes := wire.Causes([]byte(c.b))
		n := 0
		for p, ok := it.Next(); ok; p, ok = it.Next() {
			n++
			x, ok := causes.Next()
			require.True(t, ok, c.name)
			require.Equal(t, p, wire.Param{Type: wire.ParamType(x.Code), Value: x.Value, Raw: x.Raw}, "causes have the same form")
		}
		_, ok := causes.Next()
		require.False(t, ok, c.name)
		require.Equal(t, c.n, n, c.name)
		require.Equal(t, c.err, it.Err(), c.name)
		require.Equal(t, c.err, causes.Err(), c.name)
	}
}

func TestParamTypes(t *testing.T) {
	for typ, want := range map[wire.ParamType][2]bool{
		0x0100: {true, false}, 0x4001: {true, true}, 0x8001: {false, false}, 0xc100: {false, true},
	} {
		stop, report := typ.Unknown()
		require.Equal(t, want, [2]bool{stop, report})
	}
	require.True(t, wire.ParamIPv4.Known())
	require.False(t, wire.ParamType(10).Known())
	require.Equal(t, "param 0x000a", wire.ParamType(10).String())
	require.Equal(t, "cause 0x00ff", wire.CauseCode(255).String())
	require.Equal(t, "No User Data", wire.CauseNoUserData.String())
	require.Equal(t, "denied", wire.ReconfigDenied.String())
	require.Equal(t, "unknown result", wire.ReconfigResult(7).String())
}

func TestShortAndWrongChunks(t *testing.T) {
	parsers := []struct {
		name  string
		types []wire.ChunkType
		min   int // shortest value taken
		parse func(wire.Chunk) error
	}{
		{"data", []wire.ChunkType{wire.TypeData}, 13, func(c wire.Chunk) error { return wire.ParseData(c, new(wire.Data)) }},
		{"idata", []wire.ChunkType{wire.TypeIData}, 17, func(c wire.Chunk) error { return wire.ParseData(c, new(wire.Data)) }},
		{"init", []wire.ChunkType{wire.TypeInit, wire.TypeInitAck}, 16, func(c wire.Chunk) error { _, err := wire.ParseInit(c); return err }},
		{"sack", []wire.ChunkType{wire.TypeSack}, 12, func(c wire.Chunk) error { _, err := wire.ParseSack(c); return err }},
		{"shutdown", []wire.ChunkType{wire.TypeShutdown}, 4, func(c wire.Chunk) error { _, err := wire.ParseShutdown(c); return err }},
		{"forward", []wire.ChunkType{wire.TypeForwardTSN, wire.TypeIForwardTSN}, 4, func(c wire.Chunk) error { _, err := wire.ParseForwardTSN(c); return err }},
		{"auth", []wire.ChunkType{wire.TypeAuth}, 4, func(c wire.Chunk) error { _, err := wire.ParseAuth(c); return err }},
		{"asconf-ack", []wire.ChunkType{wire.TypeAsconfAck}, 4, func(c wire.Chunk) error { _, err := wire.ParseAsconfAck(c); return err }},
	}
	for _, p := range parsers {
		for _, typ := range p.types {
			for n := range p.min {
				err := p.parse(wire.Chunk{Type: typ, Value: make([]byte, n)})
				want := wire.ErrShortChunk
				if n == p.min-1 && strings.HasSuffix(p.name, "data") {
					want = wire.ErrNoUserData
				}
				require.Equal(t, want, err, "%s %d", p.name, n)
			}
			require.NoError(t, p.parse(wire.Chunk{Type: typ, Value: make([]byte, p.min)}), p.name)
		}
		require.Equal(t, wire.ErrWrongChunk, p.parse(wire.Chunk{Type: wire.TypeCookieAck, Value: make([]byte, 64)}), p.name)
	}
	_, err := wire.ParseCookieEcho(wire.Chunk{Type: wire.TypeCookieAck})
	require.Equal(t, wire.ErrWrongChunk, err)
	_, err = wire.ParseHeartbeat(wire.Chunk{Type: wire.TypeCookieAck})
	require.Equal(t, wire.ErrWrongChunk, err)
	_, err = wire.ParseReconfig(wire.Chunk{Type: wire.TypeCookieAck})
	require.Equal(t, wire.ErrWrongChunk, err)
	_, err = wire.ParseAsconf(wire.Chunk{Type: wire.TypeCookieAck})
	require.Equal(t, wire.ErrWrongChunk, err)
}

func TestParseDataKeepsTSNWithoutUserData(t *testing.T) {
	var d wire.Data
	d.Payload = []byte("old")
	err := wire.ParseData(wire.Chunk{Type: wire.TypeData, Flags: 3, Value: []byte{0, 0, 0, 7, 0, 1, 0, 2, 0, 0, 0, 3}}, &d)
	require.Equal(t, wire.ErrNoUserData, err)
	require.EqualValues(t, 7, d.TSN)
	require.Empty(t, d.Payload)
}

func TestSackCounts(t *testing.T) {
	value := func(gaps, dups byte, n int) []byte {
		return append([]byte{0, 0, 0, 9, 0, 0, 16, 0, 0, gaps, 0, dups}, make([]byte, n)...)
	}
	_, err := wire.ParseSack(wire.Chunk{Type: wire.TypeSack, Value: value(2, 1, 11)})
	require.Equal(t, wire.ErrShortChunk, err)
	s, err := wire.ParseSack(wire.Chunk{Type: wire.TypeSack, Value: value(2, 1, 12)})
	require.NoError(t, err)
	require.Equal(t, []int{2, 1}, []int{s.Gaps(), s.Dups()})
	s, err = wire.ParseSack(wire.Chunk{Type: wire.TypeSack, Value: value(0, 0, 12)})
	require.NoError(t, err, "bytes beyond the counts are ignored")
	require.Equal(t, []int{0, 0}, []int{s.Gaps(), s.Dups()})

	// More than the caps: the view is cut, and the duplicates are still found behind all of the gap blocks.
	gaps, dups := wire.MaxGapBlocks+3, wire.MaxDupTSNs+2
	big := make([]byte, 12+4*(gaps+dups))
	big[8], big[9], big[10], big[11] = byte(gaps>>8), byte(gaps), byte(dups>>8), byte(dups)
	big[12+4*gaps+3] = 77
	s, err = wire.ParseSack(wire.Chunk{Type: wire.TypeSack, Value: big})
	require.NoError(t, err)
	require.Equal(t, []int{wire.MaxGapBlocks, wire.MaxDupTSNs}, []int{s.Gaps(), s.Dups()})
	require.EqualValues(t, 77, s.Dup(0))
}

func TestForwardTSNForms(t *testing.T) {
	_, err := wire.ParseForwardTSN(wire.Chunk{Type: wire.TypeForwardTSN, Value: make([]byte, 6)})
	require.Equal(t, wire.ErrShortChunk, err, "half an entry")
	_, err = wire.ParseForwardTSN(wire.Chunk{Type: wire.TypeIForwardTSN, Value: make([]byte, 8)})
	require.Equal(t, wire.ErrShortChunk, err, "half an entry")
	_, err = wire.ParseForwardTSN(wire.Chunk{Type: wire.TypeForwardTSN, Value: make([]byte, 4+4*wire.MaxSkips+4)})
	require.Equal(t, wire.ErrTooMany, err)
	f, err := wire.ParseForwardTSN(wire.Chunk{Type: wire.TypeIForwardTSN, Value: []byte{0, 0, 0, 9, 0, 3, 0, 1, 0, 0, 0, 8}})
	require.NoError(t, err)
	require.Equal(t, 1, f.Skips())
	require.Equal(t, wire.Skip{SID: 3, MID: 8, Unordered: true}, f.Skip(0))
}

func TestHeartbeatInfo(t *testing.T) {
	for _, c := range []struct {
		value string
		info  string
		err   error
	}{
		{"", "", wire.ErrMissing},
		{"\x00\x05\x00\x04", "", wire.ErrMissing},
		{"\x00\x01\x00\x09abc", "", wire.ErrParam},
		{"\x00\x01\x00\x07abc", "abc", nil},
		{"\x00\x01\x00\x07abc\x00", "abc", nil},
		{"\x00\x01\x00\x04", "", nil},
	} {
		info, err := wire.ParseHeartbeat(wire.Chunk{Type: wire.TypeHeartbeatAck, Value: []byte(c.value)})
		require.Equal(t, c.err, err)
		require.Equal(t, c.info, string(info))
	}
}

func TestCauseValues(t *testing.T) {
	next := func(b ...byte) wire.Cause {
		it := wire.Causes(b)
		c, ok := it.Next()
		require.True(t, ok)
		return c
	}
	sid, ok := next(0, 1, 0, 8, 0, 5, 0, 0).Stream()
	require.True(t, ok)
	require.EqualValues(t, 5, sid)
	us, ok := next(0, 3, 0, 8, 0, 0, 1, 0).Staleness()
	require.True(t, ok)
	require.EqualValues(t, 256, us)
	tsn, ok := next(0, 9, 0, 8, 0, 0, 0, 7).TSN()
	require.True(t, ok)
	require.EqualValues(t, 7, tsn)
	for _, c := range []wire.Cause{next(0, 4, 0, 8, 0, 0, 0, 0), next(0, 1, 0, 5, 0), next(0, 3, 0, 5, 0), next(0, 9, 0, 7, 0, 0, 0)} {
		_, sid := c.Stream()
		_, late := c.Staleness()
		_, tsn := c.TSN()
		require.False(t, sid || late || tsn)
	}
}
