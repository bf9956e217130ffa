package wire_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/internal/wire/debug"
)

// samples is one append call per kind of chunk, with the text of what it writes.
var samples = []struct {
	text  string
	build func(b *wire.Builder) bool
}{
	{"DATA tsn=7 sid=1 ssn=2 ppid=3 BE len=5", func(b *wire.Builder) bool {
		return b.Data(&wire.Data{TSN: 7, SID: 1, SSN: 2, PPID: 3, Begin: true, End: true, Payload: []byte("hello")})
	}},
	{"DATA tsn=8 sid=1 ppid=3 UI len=4", func(b *wire.Builder) bool {
		return b.Data(&wire.Data{TSN: 8, SID: 1, PPID: 3, Unordered: true, Immediate: true, Payload: []byte("four")})
	}},
	{"I-DATA tsn=7 sid=1 mid=9 ppid=3 B len=1", func(b *wire.Builder) bool {
		return b.Data(&wire.Data{TSN: 7, SID: 1, MID: 9, FSN: 6, PPID: 3, Begin: true, Interleaved: true, Payload: []byte("x")})
	}},
	{"I-DATA tsn=8 sid=1 mid=9 fsn=6 E len=2", func(b *wire.Builder) bool {
		return b.Data(&wire.Data{TSN: 8, SID: 1, MID: 9, FSN: 6, PPID: 3, End: true, Interleaved: true, Payload: []byte("xy")})
	}},
	{"INIT tag=00000009 arwnd=65536 os=10 is=20 tsn=5", func(b *wire.Builder) bool {
		return b.Init(wire.TypeInit, &wire.Init{Tag: 9, ARwnd: 65536, OutStreams: 10, InStreams: 20, TSN: 5})
	}},
	{"INIT ACK tag=00000009 arwnd=65536 os=10 is=20 tsn=5 [forward-tsn]", func(b *wire.Builder) bool {
		return b.Init(wire.TypeInitAck, &wire.Init{Tag: 9, ARwnd: 65536, OutStreams: 10, InStreams: 20, TSN: 5,
			Params: []byte{0xc0, 0, 0, 4}})
	}},
	{"SACK cum=12 arwnd=4096", func(b *wire.Builder) bool { return b.Sack(12, 4096) }},
	{"HEARTBEAT [heartbeat-info 9 bytes]", func(b *wire.Builder) bool { return b.Heartbeat([]byte("nonsense!")) }},
	{"HEARTBEAT ACK [heartbeat-info 2 bytes]", func(b *wire.Builder) bool { return b.HeartbeatAck([]byte{0, 1, 0, 6, 8, 9}) }},
	{"ABORT T", func(b *wire.Builder) bool { return b.Abort(true) }},
	{"ABORT", func(b *wire.Builder) bool { return b.Abort(false) }},
	{"ERROR", func(b *wire.Builder) bool { return b.Error() }},
	{"SHUTDOWN cum=3", func(b *wire.Builder) bool { return b.Shutdown(3) }},
	{"SHUTDOWN ACK", func(b *wire.Builder) bool { return b.ShutdownAck() }},
	{"SHUTDOWN COMPLETE", func(b *wire.Builder) bool { return b.ShutdownComplete(false) }},
	{"SHUTDOWN COMPLETE T", func(b *wire.Builder) bool { return b.ShutdownComplete(true) }},
	{"COOKIE ECHO len=6", func(b *wire.Builder) bool { return b.CookieEcho([]byte("cookie")) }},
	{"COOKIE ACK", func(b *wire.Builder) bool { return b.CookieAck() }},
	{"PAD len=24", func(b *wire.Builder) bool { return b.Pad(24) }},
	{"FORWARD-TSN cum=9", func(b *wire.Builder) bool { return b.ForwardTSN(9) }},
	{"I-FORWARD-TSN cum=9", func(b *wire.Builder) bool { return b.IForwardTSN(9) }},
	{"RE-CONFIG", func(b *wire.Builder) bool { return b.Reconfig() }},
	{"ASCONF seq=4 [ipv4 10.0.0.1]", func(b *wire.Builder) bool { return b.Asconf(4, addr("::ffff:10.0.0.1")) }},
	{"ASCONF seq=4 [ipv6 2001:db8::1]", func(b *wire.Builder) bool { return b.Asconf(4, addr("2001:db8::1")) }},
	{"ASCONF-ACK seq=4", func(b *wire.Builder) bool { return b.AsconfAck(4) }},
	{"AUTH key=1 hmac=1 mac=20 bytes", func(b *wire.Builder) bool { _, ok := b.Auth(1, wire.HMACSHA1, 20); return ok }},
	{"chunk 200 flags=81 len=7 (unknown type)", func(b *wire.Builder) bool { return b.Chunk(200, 0x81, []byte("abc")) }},
}

// Each chunk fits in exactly its size and not in four bytes less, where it leaves no trace.
func TestChunkRoom(t *testing.T) {
	for _, s := range samples {
		var b wire.Builder
		b.Open(dirty(1500), header)
		require.True(t, b.Empty())
		require.True(t, s.build(&b), s.text)
		require.Equal(t, 1, b.Chunks())
		require.False(t, b.Empty())
		p := seal(t, &b)
		require.Equal(t, s.text, p.String())
		require.Equal(t, header, p.Header)
		size := b.Len()

		b.Open(dirty(size), header)
		require.True(t, s.build(&b), s.text)
		require.Zero(t, b.Room())
		require.Equal(t, s.text, seal(t, &b).String())

		for less := 1; less <= 4; less++ {
			b.Open(dirty(size-less), header)
			room := b.Room()
			require.False(t, s.build(&b), s.text)
			require.Equal(t, room, b.Room(), s.text)
			require.True(t, b.Empty(), s.text)
			require.Len(t, b.Seal(), wire.HeaderLen)
		}
	}
}

// Any chunk may follow any other, an open one is closed first, and Abandon restores what Mark saw.
func TestBundlesAndMarks(t *testing.T) {
	for _, first := range samples {
		for _, second := range samples {
			var b wire.Builder
			b.Open(dirty(1500), header)
			require.True(t, first.build(&b))
			mark := b.Mark()
			n := b.Len()
			require.True(t, second.build(&b))
			require.Equal(t, 2, b.Chunks())
			require.Equal(t, first.text+"\n"+second.text, seal(t, &b).String())
			b.Abandon(mark)
			require.Equal(t, []int{1, n}, []int{b.Chunks(), b.Len()})
			require.Equal(t, first.text, seal(t, &b).String())
		}
	}
}

func TestOpenLimits(t *testing.T) {
	var b wire.Builder
	b.Open(make([]byte, 0, 11), header)
	require.Zero(t, b.Room())
	require.False(t, b.CookieAck())
	require.Nil(t, b.DataHeader(&wire.Data{}, 1))
	b.Abandon(b.Mark())
	require.Empty(t, b.Seal())

	b = wire.Builder{}
	require.False(t, b.CookieAck(), "not opened")
	require.Empty(t, b.Seal())

	for size := 12; size < 24; size++ {
		b.Open(make([]byte, 5, size), header)
		require.Equal(t, (size-12)&^3, b.Room())
		require.Equal(t, 12, b.Len())
	}
	b.Open(make([]byte, 1<<17), header)
	require.Equal(t, wire.MaxPacket-12, b.Room(), "lengths have 16 bits")
	require.True(t, b.CookieEcho(make([]byte, b.Room()-4)))
	require.Zero(t, b.Room())
	require.Len(t, seal(t, &b).Chunks[0].(*debug.CookieEcho).Cookie, wire.MaxPacket-16)
}

func TestDataHeader(t *testing.T) {
	var b wire.Builder
	for _, interleaved := range []bool{false, true} {
		d := wire.Data{TSN: 1, Begin: true, End: true, Interleaved: interleaved, Payload: []byte("ignored")}
		b.Open(dirty(100), header)
		require.Nil(t, b.DataHeader(&d, 0))
		require.Nil(t, b.DataHeader(&d, -1))
		require.Nil(t, b.DataHeader(&d, int(^uint(0)>>1)))
		require.Nil(t, b.DataHeader(&d, b.Room()-d.HeaderLen()+1))
		p := b.DataHeader(&d, 5)
		require.Equal(t, []int{5, 5}, []int{len(p), cap(p)})
		copy(p, "12345")
		q := b.DataHeader(&d, b.Room()-d.HeaderLen())
		clear(q)
		require.Zero(t, b.Room())
		require.Equal(t, []byte("12345"), seal(t, &b).Chunks[0].(*debug.Data).Payload)
		require.False(t, b.Data(&wire.Data{}))
	}
}

func TestSackItems(t *testing.T) {
	var b wire.Builder
	b.Open(dirty(12+16+16), header)
	require.False(t, b.SackGap(1, 2), "no SACK open")
	require.False(t, b.SackDup(1), "no SACK open")
	require.True(t, b.Sack(100, 5000))
	require.True(t, b.SackGap(2, 3))
	require.True(t, b.SackGap(5, 5))
	require.True(t, b.SackDup(99))
	require.False(t, b.SackGap(7, 7), "gaps come before duplicates")
	require.True(t, b.SackDup(98))
	require.False(t, b.SackDup(97), "full")
	require.Equal(t, "SACK cum=100 arwnd=5000 gaps=2-3,5-5 dups=99,98", seal(t, &b).String())
	s, err := wire.ParseSack(chunk(t, b.Seal()))
	require.NoError(t, err)
	start, end := s.Gap(0)
	require.Equal(t, []uint16{2, 3}, []uint16{start, end})
	require.Equal(t, tsns(99, 98), []serial.TSN{s.Dup(0), s.Dup(1)})
	require.False(t, b.SackGap(9, 9), "closed")

	// The largest SACK there can be: its counters do not wrap.
	b.Open(dirty(wire.MaxPacket), header)
	require.True(t, b.Sack(0, 0))
	n := 0
	for b.SackGap(1, 1) {
		n++
	}
	require.Equal(t, (wire.MaxPacket-12-16)/4, n)
	require.Len(t, seal(t, &b).Chunks[0].(*debug.Sack).Gaps, n)
}

func TestInitParams(t *testing.T) {
	var b wire.Builder
	b.Open(dirty(600), header)
	require.False(t, b.ForwardTSNParam(), "no chunk open")
	i := wire.Init{Tag: 1, ARwnd: 2000, OutStreams: 3, InStreams: 4, TSN: 5}
	require.True(t, b.Init(wire.TypeInit, &i))
	require.True(t, b.AddrParam(addr("10.0.0.1")))
	require.True(t, b.AddrParam(addr("::ffff:10.0.0.2")))
	require.True(t, b.AddrParam(addr("fe80::1%eth0")))
	require.False(t, b.AddrParam(netip.Addr{}))
	require.True(t, b.SupportedAddrTypes(true, true))
	require.True(t, b.SupportedAddrTypes(true, false))
	require.True(t, b.SupportedAddrTypes(false, true))
	require.True(t, b.SupportedExt(wire.TypeReconfig, wire.TypeForwardTSN, wire.TypeIData))
	require.True(t, b.ForwardTSNParam())
	require.True(t, b.CookiePreservative(1000))
	require.True(t, b.Adaptation(7))
	require.True(t, b.CookieParam([]byte("crumb")))
	require.True(t, b.UnrecognizedParam([]byte{0xc0, 0xff, 0, 5, 9}))
	require.True(t, b.AsconfRequest(wire.ParamSetPrimary, 1, addr("10.0.0.1")))
	require.True(t, b.RawParam([]byte{0xc0, 0xfe, 0, 5, 9}))
	require.False(t, b.RawParam([]byte{0xc0, 0xfe, 0, 6, 9}))
	require.False(t, b.RawParam([]byte{0xc0}))
	require.False(t, b.PadParam(3))
	require.True(t, b.PadParam(7))
	require.True(t, b.Param(wire.ParamECN, nil))
	require.Equal(t, "INIT tag=00000001 arwnd=2000 os=3 is=4 tsn=5 [ipv4 10.0.0.1] [ipv4 10.0.0.2] [ipv6 fe80::1]"+
		" [address-types ipv4 ipv6] [address-types ipv4] [address-types ipv6] [extensions RE-CONFIG,FORWARD-TSN,I-DATA]"+
		" [forward-tsn] [cookie-preservative +1000ms] [adaptation 0x00000007] [cookie 5 bytes]"+
		" [unrecognized [param 0xc0ff 1 bytes]] [set-primary id=1 10.0.0.1] [param 0xc0fe 1 bytes] [padding 3 bytes] [ecn]",
		seal(t, &b).String())
	require.False(t, b.Param(wire.ParamECN, nil), "closed")
}

// A parameter without room leaves the open chunk as it was.
func TestParamRoom(t *testing.T) {
	for size := 0; size <= 24; size += 4 {
		var b wire.Builder
		b.Open(dirty(12+20+size), header)
		require.True(t, b.Init(wire.TypeInit, &wire.Init{}))
		require.Equal(t, size, b.Room())
		require.Equal(t, size >= 20, b.AddrParam(addr("2001:db8::1")))
		if size >= 20 {
			require.Equal(t, size >= 24, b.ForwardTSNParam())
			continue
		}
		require.Equal(t, size, b.Room())
		require.Equal(t, size >= 8, b.AddrParam(addr("10.0.0.1")))
		require.Equal(t, size >= 16, b.Param(wire.ParamStateCookie, []byte("1234")))
		require.Equal(t, size%8, b.Room())
		seal(t, &b)
	}
}

func TestCauses(t *testing.T) {
	var b wire.Builder
	b.Open(dirty(200), header)
	require.False(t, b.Cause(wire.CauseOutOfResource, nil), "no chunk open")
	require.True(t, b.Error())
	require.True(t, b.InvalidStream(5))
	require.True(t, b.StaleCookie(77))
	require.True(t, b.NoUserData(6))
	require.True(t, b.MissingParams(wire.ParamStateCookie, wire.ParamIPv4))
	require.True(t, b.UnsupportedHMAC(9))
	require.True(t, b.Cause(wire.CauseProtocolViolation, []byte("why")))
	room := b.Room()
	require.True(t, b.CauseCut(wire.CauseUserAbort, make([]byte, 1000)))
	require.Zero(t, b.Room())
	require.False(t, b.CauseCut(wire.CauseUserAbort, nil))
	require.Equal(t, "ERROR [Invalid Stream Identifier sid=5] [Stale Cookie late=77us] [No User Data tsn=6]"+
		" [Missing Mandatory Parameter cookie ipv4] [Unsupported HMAC Identifier id=9] [Protocol Violation \"why\"]",
		dropLast(seal(t, &b).String()))
	require.Equal(t, room-4, len(seal(t, &b).Chunks[0].(*debug.Stop).Causes[6].Value))

	// A cause cut to nothing still names its code.
	b.Open(dirty(20), header)
	require.True(t, b.Abort(false))
	require.True(t, b.CauseCut(wire.CauseUserAbort, []byte("reason")))
	require.Equal(t, "ABORT [User-Initiated Abort]", seal(t, &b).String())
}

// dropLast cuts the last bracket off a chunk's text.
func dropLast(s string) string {
	for i := len(s) - 1; ; i-- {
		if s[i] == '[' {
			return s[:i-1]
		}
	}
}

func TestPad(t *testing.T) {
	var b wire.Builder
	b.Open(dirty(1200), header)
	for _, n := range []int{-4, 0, 3, 5, 1192} {
		require.False(t, b.Pad(n))
	}
	require.True(t, b.Heartbeat([]byte("12345678")))
	require.True(t, b.PadTo(b.Len()), "has the size already")
	require.Equal(t, 1, b.Chunks())
	for _, n := range []int{12, 1001, 1204} {
		require.False(t, b.PadTo(n))
	}
	require.True(t, b.PadTo(1200))
	require.Len(t, b.Seal(), 1200)
	require.Equal(t, "HEARTBEAT [heartbeat-info 8 bytes]\nPAD len=1172", seal(t, &b).String())
}

func TestForwardTSN(t *testing.T) {
	var b wire.Builder
	b.Open(dirty(12+16+24), header)
	require.False(t, b.Skip(wire.Skip{}), "no such chunk open")
	require.True(t, b.ForwardTSN(9))
	require.True(t, b.Skip(wire.Skip{SID: 1, SSN: 5}))
	require.True(t, b.Skip(wire.Skip{SID: 2, SSN: 65535}))
	require.True(t, b.IForwardTSN(10))
	require.True(t, b.Skip(wire.Skip{SID: 1, MID: 5}))
	require.True(t, b.Skip(wire.Skip{SID: 1, MID: 1<<32 - 1, Unordered: true}))
	require.False(t, b.Skip(wire.Skip{}), "full")
	require.Equal(t, "FORWARD-TSN cum=9 skip=1:5,2:65535\nI-FORWARD-TSN cum=10 skip=1:5,1:4294967295U", seal(t, &b).String())
}

// The HMAC covers the packet from the AUTH chunk on, with zero bytes in its place, and goes where Authenticate says.
func TestAuth(t *testing.T) {
	var b wire.Builder
	b.Open(dirty(300), header)
	require.True(t, b.CookieAck())
	at, ok := b.Auth(7, wire.HMACSHA256, sha256.Size)
	require.True(t, ok)
	require.True(t, b.Asconf(1, addr("10.0.0.1")))
	require.True(t, b.AsconfRequest(wire.ParamAddIP, 1, addr("10.0.0.2")))
	covered, mac := b.Authenticate(at)
	sum := hmac.New(sha256.New, []byte("key"))
	sum.Write(covered)
	copy(mac, sum.Sum(nil))
	pkt := b.Seal()
	require.Equal(t, "COOKIE ACK\nAUTH key=7 hmac=3 mac=32 bytes\nASCONF seq=1 [ipv4 10.0.0.1] [add-ip id=1 10.0.0.2]",
		seal(t, &b).String())

	it := wire.Chunks(pkt)
	it.Next()
	c, _ := it.Next()
	a, err := wire.ParseAuth(c)
	require.NoError(t, err)
	require.Equal(t, []uint16{7, wire.HMACSHA256}, []uint16{a.KeyID, a.HMACID})
	signed := append([]byte{}, pkt[it.Offset():]...)
	clear(signed[wire.AuthLen : wire.AuthLen+len(a.MAC)])
	again := hmac.New(sha256.New, []byte("key"))
	again.Write(signed)
	require.True(t, hmac.Equal(again.Sum(nil), a.MAC))
	_, ok = b.Auth(1, 1, -1)
	require.False(t, ok)
}
