package wire_test

import (
	"encoding/hex"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/internal/wire/debug"
)

var header = wire.Header{SrcPort: 5000, DstPort: 5001, Tag: 0xdeadbeef}

// capture is one packet of testdata/captures.txt.
type capture struct {
	title string
	pkt   []byte
	text  string
}

func captures(t testing.TB) []capture {
	file, err := os.ReadFile("testdata/captures.txt")
	require.NoError(t, err)
	var out []capture
	for _, block := range strings.Split(strings.TrimSpace(string(file)), "\n\n")[1:] {
		lines := strings.Split(block, "\n")
		pkt, err := hex.DecodeString(lines[1])
		require.NoError(t, err, lines[0])
		out = append(out, capture{lines[0], pkt, strings.Join(lines[2:], "\n")})
	}
	require.NotEmpty(t, out)
	return out
}

// view reads a chunk through package wire alone and turns the view into the struct that package debug has for it, so that
// the two readers can be compared. ok is false when wire refuses the chunk.
func view(c wire.Chunk) (out debug.Chunk, ok bool) {
	switch c.Type {
	case wire.TypeData, wire.TypeIData:
		d := &debug.Data{}
		err := wire.ParseData(c, &d.Data)
		return d, err == nil || err == wire.ErrNoUserData
	case wire.TypeInit, wire.TypeInitAck:
		i, err := wire.ParseInit(c)
		params, ok := viewParams(i.Params)
		return &debug.Init{Type: c.Type, Tag: i.Tag, ARwnd: i.ARwnd, OutStreams: i.OutStreams, InStreams: i.InStreams,
			TSN: i.TSN, Params: params}, ok && err == nil
	case wire.TypeSack:
		s, err := wire.ParseSack(c)
		d := &debug.Sack{CumTSN: s.CumTSN, ARwnd: s.ARwnd}
		for i := range s.Gaps() {
			start, end := s.Gap(i)
			d.Gaps = append(d.Gaps, debug.Gap{Start: start, End: end})
		}
		for i := range s.Dups() {
			d.Dups = append(d.Dups, s.Dup(i))
		}
		return d, err == nil
	case wire.TypeHeartbeat, wire.TypeHeartbeatAck:
		params, ok := viewParams(c.Value)
		return &debug.Heartbeat{Type: c.Type, Params: params}, ok
	case wire.TypeAbort, wire.TypeError:
		d := &debug.Stop{Type: c.Type, T: c.Type == wire.TypeAbort && c.Reflected()}
		it := wire.Causes(c.Value)
		for x, ok := it.Next(); ok; x, ok = it.Next() {
			d.Causes = append(d.Causes, debug.Cause{Code: x.Code, Value: x.Value})
		}
		return d, it.Err() == nil
	case wire.TypeShutdown:
		cum, err := wire.ParseShutdown(c)
		return &debug.Shutdown{CumTSN: cum}, err == nil
	case wire.TypeShutdownAck, wire.TypeCookieAck, wire.TypeShutdownComplete:
		return &debug.Plain{Type: c.Type, T: c.Type == wire.TypeShutdownComplete && c.Reflected()}, len(c.Value) == 0
	case wire.TypeCookieEcho:
		cookie, err := wire.ParseCookieEcho(c)
		return &debug.CookieEcho{Cookie: cookie}, err == nil
	case wire.TypePad:
		return &debug.Pad{Len: len(c.Raw)}, true
	}
	return viewExtension(c)
}

func viewExtension(c wire.Chunk) (out debug.Chunk, ok bool) {
	switch c.Type {
	case wire.TypeForwardTSN, wire.TypeIForwardTSN:
		f, err := wire.ParseForwardTSN(c)
		if err != nil {
			return nil, false
		}
		d := &debug.ForwardTSN{Type: c.Type, CumTSN: f.CumTSN}
		for i := range f.Skips() {
			d.Skips = append(d.Skips, f.Skip(i))
		}
		return d, true
	case wire.TypeReconfig:
		params, ok := viewParams(c.Value)
		return &debug.Reconfig{Params: params}, ok
	case wire.TypeAsconf, wire.TypeAsconfAck:
		if len(c.Value) < 4 {
			return nil, false
		}
		// The ASCONF-ACK reader takes both: ASCONF's own wants its address first, which debug leaves to String.
		a, err := wire.ParseAsconfAck(wire.Chunk{Type: wire.TypeAsconfAck, Value: c.Value})
		params, ok := viewParams(a.Params)
		return &debug.Asconf{Type: c.Type, Seq: a.Seq, Params: params}, ok && err == nil
	case wire.TypeAuth:
		a, err := wire.ParseAuth(c)
		return &debug.Auth{KeyID: a.KeyID, HMACID: a.HMACID, MAC: a.MAC}, err == nil
	}
	return &debug.Raw{Type: c.Type, Flags: c.Flags, Value: c.Value, Why: "unknown type"}, true
}

func viewParams(b []byte) (out []debug.Param, ok bool) {
	it := wire.Params(b)
	for p, ok := it.Next(); ok; p, ok = it.Next() {
		out = append(out, debug.Param{Type: p.Type, Value: p.Value})
	}
	return out, it.Err() == nil
}

// build appends a debug chunk by the Builder's own methods. False: they refuse it, for want of room or of sense.
func build(b *wire.Builder, c debug.Chunk) bool {
	switch c := c.(type) {
	case *debug.Data:
		return b.Data(&c.Data)
	case *debug.Init:
		i := wire.Init{Tag: c.Tag, ARwnd: c.ARwnd, OutStreams: c.OutStreams, InStreams: c.InStreams, TSN: c.TSN}
		return b.Init(c.Type, &i) && buildParams(b, c.Params)
	case *debug.Sack:
		ok := b.Sack(c.CumTSN, c.ARwnd)
		for _, g := range c.Gaps {
			ok = ok && b.SackGap(g.Start, g.End)
		}
		for _, d := range c.Dups {
			ok = ok && b.SackDup(d)
		}
		return ok
	case *debug.Heartbeat:
		if c.Type == wire.TypeHeartbeat && len(c.Params) == 1 && c.Params[0].Type == wire.ParamHeartbeatInfo {
			return b.Heartbeat(c.Params[0].Value)
		}
		return false
	case *debug.Stop:
		ok := c.Type == wire.TypeAbort && b.Abort(c.T) || c.Type == wire.TypeError && b.Error()
		for _, x := range c.Causes {
			ok = ok && b.Cause(x.Code, x.Value)
		}
		return ok
	case *debug.Shutdown:
		return b.Shutdown(c.CumTSN)
	case *debug.Plain:
		switch c.Type {
		case wire.TypeShutdownAck:
			return b.ShutdownAck()
		case wire.TypeCookieAck:
			return b.CookieAck()
		}
		return b.ShutdownComplete(c.T)
	case *debug.CookieEcho:
		return b.CookieEcho(c.Cookie)
	case *debug.Pad:
		return b.Pad(c.Len)
	case *debug.ForwardTSN:
		ok := c.Type == wire.TypeForwardTSN && b.ForwardTSN(c.CumTSN) || c.Type == wire.TypeIForwardTSN && b.IForwardTSN(c.CumTSN)
		for _, s := range c.Skips {
			ok = ok && b.Skip(s)
		}
		return ok
	case *debug.Reconfig:
		return b.Reconfig() && buildParams(b, c.Params)
	case *debug.Asconf:
		if c.Type == wire.TypeAsconfAck {
			return b.AsconfAck(c.Seq) && buildParams(b, c.Params)
		}
		if len(c.Params) == 0 {
			return false
		}
		a, ok := wire.Param{Type: c.Params[0].Type, Value: c.Params[0].Value}.Addr()
		return ok && !a.Is4In6() && b.Asconf(c.Seq, a) && buildParams(b, c.Params[1:])
	case *debug.Auth:
		at, ok := b.Auth(c.KeyID, c.HMACID, len(c.MAC))
		if ok {
			_, mac := b.Authenticate(at)
			copy(mac, c.MAC)
		}
		return ok
	case *debug.Raw:
		return b.Chunk(c.Type, c.Flags, c.Value)
	}
	return false
}

func buildParams(b *wire.Builder, params []debug.Param) bool {
	for _, p := range params {
		if !b.Param(p.Type, p.Value) {
			return false
		}
	}
	return true
}

// dirty returns memory for a packet of up to n bytes, full of old bytes: whatever the Builder leaves out shows.
func dirty(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 0xa5
	}
	return b[:0]
}

// seal closes a packet and decodes it.
func seal(t testing.TB, b *wire.Builder) *debug.Packet {
	pkt := b.Seal()
	require.True(t, wire.ChecksumOK(pkt))
	p, err := debug.Decode(pkt)
	require.NoError(t, err)
	require.Equal(t, p.Encode(), pkt, "two encoders, one packet")
	return p
}

// chunk returns the packet's only chunk.
func chunk(t testing.TB, pkt []byte) wire.Chunk {
	it := wire.Chunks(pkt)
	c, ok := it.Next()
	require.True(t, ok)
	_, more := it.Next()
	require.False(t, more)
	require.NoError(t, it.Err())
	return c
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func tsns(n ...uint32) []serial.TSN {
	var out []serial.TSN
	for _, x := range n {
		out = append(out, serial.TSN(x))
	}
	return out
}
