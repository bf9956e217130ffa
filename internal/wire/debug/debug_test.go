package debug

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

func param(t wire.ParamType, v ...byte) Param { return Param{Type: t, Value: append([]byte{}, v...)} }

func cause(c wire.CauseCode, v ...byte) Cause { return Cause{Code: c, Value: append([]byte{}, v...)} }

func addr(s string) Param {
	a := netip.MustParseAddr(s)
	t := wire.ParamIPv6
	if a.Is4() {
		t = wire.ParamIPv4
	}
	return param(t, a.AsSlice()...)
}

func raw(items ...Param) []byte { return appendParams(nil, items) }

func be(words ...uint32) []byte {
	var b []byte
	for _, w := range words {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

func cat(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// texts pins the text form: transcripts depend on it.
var texts = []struct {
	chunk Chunk
	want  string
}{
	{&Data{wire.Data{TSN: 7, SSN: 1, Begin: true, End: true, Payload: make([]byte, 1000)}},
		"DATA tsn=7 sid=0 ssn=1 ppid=0 BE len=1000"},
	{&Data{wire.Data{TSN: 8, SID: 3, SSN: 9, PPID: 51, Unordered: true, Immediate: true, Payload: []byte{1}}},
		"DATA tsn=8 sid=3 ppid=51 UI len=1"},
	{&Data{wire.Data{TSN: 9, Payload: []byte{}}}, "DATA tsn=9 sid=0 ssn=0 ppid=0 len=0"},
	{&Data{wire.Data{TSN: 7, SID: 2, MID: 5, PPID: 46, Begin: true, Interleaved: true, Payload: []byte("ab")}},
		"I-DATA tsn=7 sid=2 mid=5 ppid=46 B len=2"},
	{&Data{wire.Data{TSN: 8, SID: 2, MID: 5, FSN: 1, End: true, Interleaved: true, Payload: []byte("c")}},
		"I-DATA tsn=8 sid=2 mid=5 fsn=1 E len=1"},
	{&Init{Type: wire.TypeInit, Tag: 0xcafe, ARwnd: 131072, OutStreams: 10, InStreams: 2048, TSN: 100, Params: []Param{
		addr("10.0.0.1"), addr("2001:db8::1"), param(wire.ParamSupportedAddrTypes, 0, 5, 0, 6),
		param(wire.ParamCookiePreservative, 0, 0, 1, 0), param(wire.ParamECN), param(wire.ParamForwardTSN),
		param(wire.ParamSupportedExt, 0x82, 0xc0, 0x40, 7, 99), param(wire.ParamPadding, 1, 2, 3),
		param(wire.ParamZeroChecksum, 0, 0, 0, 1), param(wire.ParamAdaptation, 0, 0, 0, 9),
		param(wire.ParamHMACAlgo, 0, 3, 0, 1), param(wire.ParamChunkList, 0xc1, 0x80), param(wire.ParamRandom, 1, 2),
		param(wire.ParamHostName, 'h', 0), param(wire.ParamSetPrimary, cat(be(4), raw(addr("10.0.0.1")))...),
		param(0xc0ff, 1, 2, 3)}},
		"INIT tag=0000cafe arwnd=131072 os=10 is=2048 tsn=100 [ipv4 10.0.0.1] [ipv6 2001:db8::1] [address-types ipv4 ipv6]" +
			" [cookie-preservative +256ms] [ecn] [forward-tsn] [extensions RE-CONFIG,FORWARD-TSN,I-DATA,SHUTDOWN,chunk 99]" +
			" [padding 3 bytes] [zero-checksum edmid=1] [adaptation 0x00000009] [hmac-algo 3,1]" +
			" [chunk-list ASCONF,ASCONF-ACK] [random 2 bytes] [host-name \"h\"] [set-primary id=4 10.0.0.1]" +
			" [param 0xc0ff 3 bytes]"},
	{&Init{Type: wire.TypeInitAck, Tag: 1, ARwnd: 1500, OutStreams: 1, InStreams: 1, TSN: 1<<32 - 1, Params: []Param{
		param(wire.ParamStateCookie, make([]byte, 120)...),
		param(wire.ParamUnrecognized, raw(param(0x8003, 1, 2, 3), addr("10.0.0.9"))...)}},
		"INIT ACK tag=00000001 arwnd=1500 os=1 is=1 tsn=4294967295 [cookie 120 bytes]" +
			" [unrecognized [chunk-list 3 bytes] [ipv4 10.0.0.9]]"},
	{&Sack{CumTSN: 12, ARwnd: 65536, Gaps: []Gap{{2, 3}, {5, 5}}, Dups: []serial.TSN{9, 10}},
		"SACK cum=12 arwnd=65536 gaps=2-3,5-5 dups=9,10"},
	{&Sack{CumTSN: 12}, "SACK cum=12 arwnd=0"},
	{&Heartbeat{Type: wire.TypeHeartbeat, Params: []Param{param(wire.ParamHeartbeatInfo, make([]byte, 10)...)}},
		"HEARTBEAT [heartbeat-info 10 bytes]"},
	{&Heartbeat{Type: wire.TypeHeartbeatAck, Params: []Param{param(wire.ParamHeartbeatInfo, 1, 2, 3, 4)}},
		"HEARTBEAT ACK [heartbeat-info 4 bytes]"},
	{&Stop{Type: wire.TypeAbort, T: true}, "ABORT T"},
	{&Stop{Type: wire.TypeAbort, Causes: []Cause{cause(wire.CauseUserAbort, []byte("b\xffe")...), cause(wire.CauseNoUserData, be(7)...),
		cause(wire.CauseProtocolViolation), cause(wire.CauseOutOfResource), cause(wire.CauseInvalidParam),
		cause(wire.CauseCookieInShutdown), cause(wire.CauseIllegalAsconfAck), cause(0x1234, 1)}},
		`ABORT [User-Initiated Abort "b\xffe"] [No User Data tsn=7] [Protocol Violation] [Out of Resource]` +
			` [Invalid Mandatory Parameter] [Cookie Received While Shutting Down]` +
			` [Association Aborted Due to Illegal ASCONF-ACK] [cause 0x1234 1 bytes]`},
	{&Stop{Type: wire.TypeError, Causes: []Cause{cause(wire.CauseInvalidStream, 0, 5, 0, 0),
		cause(wire.CauseMissingParam, 0, 0, 0, 1, 0, 7), cause(wire.CauseStaleCookie, be(1500)...),
		cause(wire.CauseUnrecognizedChunk, 0x99, 0, 0, 4), cause(wire.CauseUnrecognizedParams, raw(param(0xc0ff, 1))...),
		cause(wire.CauseRestartWithNewAddrs, raw(addr("10.0.0.1"), addr("::1"))...),
		cause(wire.CauseUnresolvableAddr, raw(param(wire.ParamHostName, 'h', 0))...),
		cause(wire.CauseUnsupportedHMAC, 0, 9)}},
		"ERROR [Invalid Stream Identifier sid=5] [Missing Mandatory Parameter cookie] [Stale Cookie late=1500us]" +
			" [Unrecognized Chunk Type (chunk 153, 4 bytes)] [Unrecognized Parameters [param 0xc0ff 1 bytes]]" +
			" [Restart of an Association with New Addresses [ipv4 10.0.0.1] [ipv6 ::1]]" +
			" [Unresolvable Address [host-name 2 bytes]] [Unsupported HMAC Identifier id=9]"},
	{&Shutdown{CumTSN: 5}, "SHUTDOWN cum=5"},
	{&Plain{Type: wire.TypeShutdownAck}, "SHUTDOWN ACK"},
	{&Plain{Type: wire.TypeCookieAck}, "COOKIE ACK"},
	{&Plain{Type: wire.TypeShutdownComplete, T: true}, "SHUTDOWN COMPLETE T"},
	{&CookieEcho{Cookie: make([]byte, 33)}, "COOKIE ECHO len=33"},
	{&Pad{Len: 100}, "PAD len=100"},
	{&ForwardTSN{Type: wire.TypeForwardTSN, CumTSN: 9, Skips: []wire.Skip{{SID: 1, SSN: 5}, {SID: 2, SSN: 7}}},
		"FORWARD-TSN cum=9 skip=1:5,2:7"},
	{&ForwardTSN{Type: wire.TypeIForwardTSN, CumTSN: 9, Skips: []wire.Skip{{SID: 1, MID: 5}, {SID: 2, MID: 7, Unordered: true}}},
		"I-FORWARD-TSN cum=9 skip=1:5,2:7U"},
	{&Reconfig{Params: []Param{param(wire.ParamOutgoingReset, cat(be(1, 2, 9), []byte{0, 3, 0, 5})...),
		param(wire.ParamIncomingReset, be(4)...), param(wire.ParamTSNReset, be(6)...)}},
		"RE-CONFIG [outgoing-reset req=1 resp=2 last=9 streams=3,5] [incoming-reset req=4 streams=all] [tsn-reset req=6]"},
	{&Reconfig{Params: []Param{param(wire.ParamReconfigResponse, be(1, 1)...),
		param(wire.ParamReconfigResponse, be(2, 77, 10, 20)...)}},
		"RE-CONFIG [response resp=1 performed] [response resp=2 unknown result sender-next=10 receiver-next=20]"},
	{&Reconfig{Params: []Param{param(wire.ParamAddOutgoing, be(1, 16<<16)...), param(wire.ParamAddIncoming, be(2, 1<<16)...)}},
		"RE-CONFIG [add-outgoing req=1 n=16] [add-incoming req=2 n=1]"},
	{&Asconf{Type: wire.TypeAsconf, Seq: 3, Params: []Param{addr("10.0.0.1"),
		param(wire.ParamAddIP, cat(be(1), raw(addr("10.0.0.2")))...),
		param(wire.ParamDeleteIP, cat(be(2), raw(addr("2001:db8::2")))...)}},
		"ASCONF seq=3 [ipv4 10.0.0.1] [add-ip id=1 10.0.0.2] [delete-ip id=2 2001:db8::2]"},
	{&Asconf{Type: wire.TypeAsconfAck, Seq: 3, Params: []Param{param(wire.ParamSuccessIndication, be(1)...),
		param(wire.ParamErrorIndication, cat(be(2), appendCauses(nil, []Cause{cause(wire.CauseDeleteLastAddr,
			raw(param(wire.ParamDeleteIP, cat(be(2), raw(addr("10.0.0.2")))...))...)}))...)}},
		"ASCONF-ACK seq=3 [success id=1] [error-indication id=2" +
			" [Request to Delete Last Remaining IP Address [delete-ip id=2 10.0.0.2]]]"},
	{&Auth{KeyID: 1, HMACID: 3, MAC: make([]byte, 32)}, "AUTH key=1 hmac=3 mac=32 bytes"},
	{&Raw{Type: 200, Flags: 0x81, Value: []byte{1, 2, 3, 4, 5}, Why: "unknown type"},
		"chunk 200 flags=81 len=9 (unknown type)"},
	{&Raw{Type: wire.TypeSack, Value: []byte{1, 2, 3}, Why: "too short"}, "SACK flags=00 len=7 (too short)"},
	{&Raw{Type: wire.TypeCookieAck, Value: []byte{1, 2, 3}, Why: "bytes behind the header"},
		"COOKIE ACK flags=00 len=7 (bytes behind the header)"},
	{&Raw{Type: wire.TypeError, Value: []byte{0, 1, 0, 3}, Why: "bad parameter"}, "ERROR flags=00 len=8 (bad parameter)"},
}

func TestTextAndRoundTrip(t *testing.T) {
	all := &Packet{Header: wire.Header{SrcPort: 5000, DstPort: 5001, Tag: 0xdeadbeef}}
	var lines []string
	for _, c := range texts {
		require.Equal(t, c.want, c.chunk.String())
		p := &Packet{Header: all.Header, Chunks: []Chunk{c.chunk}}
		pkt := p.Encode()
		require.True(t, wire.ChecksumOK(pkt), c.want)
		require.Zero(t, len(pkt)%4, c.want)
		got, err := Decode(pkt)
		require.NoError(t, err, c.want)
		require.Equal(t, p.Chunks, got.Chunks)
		require.Equal(t, p.Header, got.Header)
		require.Equal(t, c.want, got.Line())
		require.Equal(t, c.want, Describe(pkt))
		all.Chunks = append(all.Chunks, c.chunk)
		lines = append(lines, c.want)
	}
	got, err := Decode(all.Encode())
	require.NoError(t, err)
	require.Equal(t, all.Chunks, got.Chunks)
	require.Equal(t, strings.Join(lines, "\n"), got.String())
}

func TestDecodeErrors(t *testing.T) {
	p := &Packet{Header: wire.Header{Tag: 1}, Chunks: []Chunk{&Plain{Type: wire.TypeCookieAck}, &Shutdown{CumTSN: 1}}}
	pkt := p.Encode()
	for _, c := range []struct {
		pkt  []byte
		want error
		n    int
	}{
		{pkt[:11], wire.ErrShortPacket, 0},
		{pkt[:12], nil, 0},
		{pkt[:18], wire.ErrChunkHeader, 1},
		{pkt[:23], wire.ErrTruncated, 1},
		{append(pkt[:16:16], 7, 0, 0, 3), wire.ErrChunkLength, 1},
		{pkt, nil, 2},
	} {
		got, err := Decode(c.pkt)
		require.Equal(t, c.want, err)
		if len(c.pkt) >= wire.HeaderLen {
			require.Len(t, got.Chunks, c.n)
			require.True(t, strings.HasPrefix(Describe(c.pkt), got.Line()))
		} else {
			require.Equal(t, err.Error(), Describe(c.pkt))
		}
	}
}

// A value that does not fit its type is told by its length, and nothing in it can make String fail.
func TestOddValues(t *testing.T) {
	for typ := range 1 << 16 {
		for n := range 6 {
			p := Param{Type: wire.ParamType(typ), Value: []byte{0, 7, 0, 9, 1}[:min(n, 5)]}
			require.NotEmpty(t, p.String())
		}
		if typ > 0x110 {
			continue
		}
		for n := range 6 {
			c := Cause{Code: wire.CauseCode(typ), Value: []byte{0, 7, 0, 9, 1}[:min(n, 5)]}
			require.NotEmpty(t, c.String())
		}
	}
	require.Equal(t, "ipv4 3 bytes", param(wire.ParamIPv4, 1, 2, 3).String())
	require.Equal(t, "ipv6 4 bytes", param(wire.ParamIPv6, 1, 2, 3, 4).String())
	require.Equal(t, "add-ip 4 bytes", param(wire.ParamAddIP, 1, 2, 3, 4).String())
	require.Equal(t, "add-ip 16 bytes", param(wire.ParamAddIP, cat(be(1), raw(param(wire.ParamAddIP, 1, 2, 3, 4, 5, 6, 7, 8)))...).String())
	require.Equal(t, "Missing Mandatory Parameter 6 bytes", cause(wire.CauseMissingParam, 0, 0, 0, 2, 0, 7).String())
}
