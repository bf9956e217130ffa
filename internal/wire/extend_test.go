package wire_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

func params(t testing.TB, b []byte) []wire.Param {
	it := wire.Params(b)
	var out []wire.Param
	for p, ok := it.Next(); ok; p, ok = it.Next() {
		out = append(out, p)
	}
	require.NoError(t, it.Err())
	return out
}

func reconfig(t testing.TB, f func(b *wire.Builder)) (wire.Reconfig, error) {
	var b wire.Builder
	b.Open(dirty(600), header)
	require.True(t, b.Reconfig())
	f(&b)
	return wire.ParseReconfig(chunk(t, b.Seal()))
}

func TestReconfigParams(t *testing.T) {
	r, err := reconfig(t, func(b *wire.Builder) {
		require.True(t, b.OutgoingReset(1, 2, 3, []uint16{4, 5, 65535}))
		require.True(t, b.IncomingReset(6, nil))
	})
	require.NoError(t, err)
	require.Equal(t, 2, r.N)
	out, err := wire.ParseStreamReset(r.Params[0])
	require.NoError(t, err)
	require.Equal(t, []any{serial.RSN(1), serial.RSN(2), serial.TSN(3), 3}, []any{out.Request, out.Response, out.LastTSN, out.Streams()})
	require.Equal(t, []uint16{4, 5, 65535}, []uint16{out.Stream(0), out.Stream(1), out.Stream(2)})
	in, err := wire.ParseStreamReset(r.Params[1])
	require.NoError(t, err)
	require.EqualValues(t, 6, in.Request)
	require.Zero(t, in.Streams())

	r, err = reconfig(t, func(b *wire.Builder) {
		require.True(t, b.ReconfigResponse(&wire.ReconfigResponse{Response: 7, Result: wire.ReconfigDenied}))
		require.True(t, b.ReconfigResponse(&wire.ReconfigResponse{Response: 8, HasTSNs: true, SenderNext: 9, ReceiverTSN: 10}))
	})
	require.NoError(t, err)
	resp, err := wire.ParseReconfigResponse(r.Params[0])
	require.NoError(t, err)
	require.Equal(t, wire.ReconfigResponse{Response: 7, Result: wire.ReconfigDenied}, resp)
	resp, err = wire.ParseReconfigResponse(r.Params[1])
	require.NoError(t, err)
	require.Equal(t, wire.ReconfigResponse{Response: 8, HasTSNs: true, SenderNext: 9, ReceiverTSN: 10}, resp)

	r, err = reconfig(t, func(b *wire.Builder) {
		require.True(t, b.AddStreams(false, 11, 12))
		require.True(t, b.AddStreams(true, 13, 14))
	})
	require.NoError(t, err)
	for i, want := range [][2]int{{11, 12}, {13, 14}} {
		req, n, err := wire.ParseAddStreams(r.Params[i])
		require.NoError(t, err)
		require.Equal(t, want, [2]int{int(req), int(n)})
	}

	r, err = reconfig(t, func(b *wire.Builder) { require.True(t, b.TSNReset(15)) })
	require.NoError(t, err)
	req, err := wire.ParseTSNReset(r.Params[0])
	require.NoError(t, err)
	require.EqualValues(t, 15, req)
}

// RFC 6525 section 3.1 lists which parameters may stand in one RE-CONFIG.
func TestReconfigCombinations(t *testing.T) {
	const out, in, tsn, resp, addOut, addIn = wire.ParamOutgoingReset, wire.ParamIncomingReset, wire.ParamTSNReset,
		wire.ParamReconfigResponse, wire.ParamAddOutgoing, wire.ParamAddIncoming
	all := []wire.ParamType{out, in, tsn, resp, addOut, addIn}
	pairs := map[[2]wire.ParamType]bool{{out, in}: true, {addOut, addIn}: true, {resp, out}: true, {resp, resp}: true}
	for _, a := range all {
		_, err := reconfig(t, func(b *wire.Builder) { b.Param(a, nil) })
		require.NoError(t, err, a)
		for _, c := range all {
			_, err := reconfig(t, func(b *wire.Builder) { b.Param(a, nil); b.Param(c, nil) })
			if pairs[[2]wire.ParamType{a, c}] || pairs[[2]wire.ParamType{c, a}] {
				require.NoError(t, err, "%v %v", a, c)
			} else {
				require.Equal(t, wire.ErrCombination, err, "%v %v", a, c)
			}
		}
	}
	_, err := reconfig(t, func(b *wire.Builder) {})
	require.Equal(t, wire.ErrMissing, err)
	_, err = reconfig(t, func(b *wire.Builder) { b.Param(resp, nil); b.Param(resp, nil); b.Param(resp, nil) })
	require.Equal(t, wire.ErrCombination, err)
	_, err = reconfig(t, func(b *wire.Builder) { b.Param(wire.ParamIPv4, nil) })
	require.Equal(t, wire.ErrCombination, err)
	_, err = wire.ParseReconfig(wire.Chunk{Type: wire.TypeReconfig, Value: []byte{0, 13, 0, 3}})
	require.Equal(t, wire.ErrParam, err)
}

func TestReconfigLengths(t *testing.T) {
	parsers := map[wire.ParamType]func(wire.Param) error{
		wire.ParamOutgoingReset:    func(p wire.Param) error { _, err := wire.ParseStreamReset(p); return err },
		wire.ParamIncomingReset:    func(p wire.Param) error { _, err := wire.ParseStreamReset(p); return err },
		wire.ParamTSNReset:         func(p wire.Param) error { _, err := wire.ParseTSNReset(p); return err },
		wire.ParamReconfigResponse: func(p wire.Param) error { _, err := wire.ParseReconfigResponse(p); return err },
		wire.ParamAddOutgoing:      func(p wire.Param) error { _, _, err := wire.ParseAddStreams(p); return err },
		wire.ParamAddIncoming:      func(p wire.Param) error { _, _, err := wire.ParseAddStreams(p); return err },
	}
	good := map[wire.ParamType]func(n int) bool{
		wire.ParamOutgoingReset:    func(n int) bool { return n >= 12 && n%2 == 0 },
		wire.ParamIncomingReset:    func(n int) bool { return n >= 4 && n%2 == 0 },
		wire.ParamTSNReset:         func(n int) bool { return n == 4 },
		wire.ParamReconfigResponse: func(n int) bool { return n == 8 || n == 16 },
		wire.ParamAddOutgoing:      func(n int) bool { return n == 8 },
		wire.ParamAddIncoming:      func(n int) bool { return n == 8 },
	}
	for typ, parse := range parsers {
		for n := range 20 {
			err := parse(wire.Param{Type: typ, Value: make([]byte, n)})
			if good[typ](n) {
				require.NoError(t, err, "%v %d", typ, n)
			} else {
				require.Equal(t, wire.ErrParam, err, "%v %d", typ, n)
			}
		}
		require.Equal(t, wire.ErrWrongChunk, parse(wire.Param{Type: wire.ParamIPv4, Value: make([]byte, 12)}))
	}
}

func TestReconfigRoom(t *testing.T) {
	for _, c := range []struct {
		size int
		f    func(b *wire.Builder) bool
	}{
		{20, func(b *wire.Builder) bool { return b.OutgoingReset(1, 2, 3, []uint16{4}) }},
		{12, func(b *wire.Builder) bool { return b.IncomingReset(1, []uint16{4, 5}) }},
		{8, func(b *wire.Builder) bool { return b.TSNReset(1) }},
		{12, func(b *wire.Builder) bool { return b.ReconfigResponse(&wire.ReconfigResponse{}) }},
		{20, func(b *wire.Builder) bool { return b.ReconfigResponse(&wire.ReconfigResponse{HasTSNs: true}) }},
		{12, func(b *wire.Builder) bool { return b.AddStreams(true, 1, 2) }},
		{16, func(b *wire.Builder) bool { return b.AsconfRequest(wire.ParamAddIP, 1, addr("10.0.0.1")) }},
		{28, func(b *wire.Builder) bool { return b.AsconfRequest(wire.ParamAddIP, 1, addr("2001:db8::1")) }},
		{8, func(b *wire.Builder) bool { return b.AsconfSuccess(1) }},
		{16, func(b *wire.Builder) bool { return b.AsconfError(1, wire.CauseNoAuthorization, []byte("1234")) }},
		{12, func(b *wire.Builder) bool { return b.MissingParams(wire.ParamStateCookie, wire.ParamIPv4) }},
		{8, func(b *wire.Builder) bool { return b.UnsupportedHMAC(1) }},
		{12, func(b *wire.Builder) bool { return b.SupportedExt(1, 2, 3, 4, 5) }},
	} {
		var b wire.Builder
		b.Open(dirty(12+4+c.size), header)
		require.False(t, c.f(&b), "no chunk open")
		require.True(t, b.Reconfig())
		require.True(t, c.f(&b))
		require.Zero(t, b.Room())
		seal(t, &b)
		b.Open(dirty(12+4+c.size-4), header)
		require.True(t, b.Reconfig())
		require.False(t, c.f(&b))
		require.Equal(t, c.size-4, b.Room())
		seal(t, &b)
	}
}

func TestAsconf(t *testing.T) {
	var b wire.Builder
	b.Open(dirty(600), header)
	require.False(t, b.Asconf(1, (wire.AsconfParam{}).Addr), "no address")
	require.True(t, b.Asconf(77, addr("0.0.0.0")))
	require.True(t, b.AsconfRequest(wire.ParamAddIP, 1, addr("::ffff:10.0.0.2")))
	require.True(t, b.AsconfRequest(wire.ParamDeleteIP, 2, addr("2001:db8::2")))
	require.True(t, b.AsconfRequest(wire.ParamSetPrimary, 3, addr("::")))
	require.False(t, b.AsconfRequest(wire.ParamAddIP, 4, (wire.AsconfParam{}).Addr))
	a, err := wire.ParseAsconf(chunk(t, b.Seal()))
	require.NoError(t, err)
	require.EqualValues(t, 77, a.Seq)
	require.Equal(t, addr("0.0.0.0"), a.Addr)
	reqs := params(t, a.Params)
	require.Len(t, reqs, 3)
	for i, want := range []wire.AsconfParam{
		{Type: wire.ParamAddIP, ID: 1, Addr: addr("10.0.0.2")},
		{Type: wire.ParamDeleteIP, ID: 2, Addr: addr("2001:db8::2")},
		{Type: wire.ParamSetPrimary, ID: 3, Addr: addr("::")},
	} {
		got, err := wire.ParseAsconfParam(reqs[i])
		require.NoError(t, err)
		require.Equal(t, want, got)
	}

	b.Open(dirty(600), header)
	require.True(t, b.AsconfAck(77))
	require.True(t, b.AsconfSuccess(1))
	require.True(t, b.AsconfError(2, wire.CauseDeleteLastAddr, reqs[1].Raw))
	ack, err := wire.ParseAsconfAck(chunk(t, b.Seal()))
	require.NoError(t, err)
	require.EqualValues(t, 77, ack.Seq)
	answers := params(t, ack.Params)
	require.Len(t, answers, 2)
	got, err := wire.ParseAsconfParam(answers[0])
	require.NoError(t, err)
	require.Equal(t, wire.AsconfParam{Type: wire.ParamSuccessIndication, ID: 1}, got)
	got, err = wire.ParseAsconfParam(answers[1])
	require.NoError(t, err)
	require.EqualValues(t, 2, got.ID)
	it := wire.Causes(got.Causes)
	c, ok := it.Next()
	require.True(t, ok)
	require.Equal(t, wire.CauseDeleteLastAddr, c.Code)
	require.Equal(t, reqs[1].Raw, c.Value)
}

func TestBadAsconf(t *testing.T) {
	for _, c := range []struct {
		value string
		err   error
	}{
		{"\x00\x00\x00", wire.ErrShortChunk},
		{"\x00\x00\x00\x01", wire.ErrMissing},
		{"\x00\x00\x00\x01\x00\x0b\x00\x06h\x00", wire.ErrMissing},
		{"\x00\x00\x00\x01\x00\x05\x00\x07\x0a\x00\x00", wire.ErrMissing},
		{"\x00\x00\x00\x01\x00\x05\x00\x08\x0a\x00\x00", wire.ErrParam},
		{"\x00\x00\x00\x01\x00\x05\x00\x08\x0a\x00\x00\x01", nil},
	} {
		_, err := wire.ParseAsconf(wire.Chunk{Type: wire.TypeAsconf, Value: []byte(c.value)})
		require.Equal(t, c.err, err, "%q", c.value)
	}
	for _, c := range []struct {
		typ   wire.ParamType
		value string
		err   error
	}{
		{wire.ParamIPv4, "\x0a\x00\x00\x01", wire.ErrWrongChunk},
		{wire.ParamAddIP, "\x00\x00\x00", wire.ErrParam},
		{wire.ParamAddIP, "\x00\x00\x00\x01", wire.ErrParam},
		{wire.ParamAddIP, "\x00\x00\x00\x01\x00\x05\x00\x08\x0a\x00\x00", wire.ErrParam},
		{wire.ParamAddIP, "\x00\x00\x00\x01\x00\x06\x00\x08\x0a\x00\x00\x01", wire.ErrParam},
		{wire.ParamAddIP, "\x00\x00\x00\x01\x00\x05\x00\x08\x0a\x00\x00\x01\x00\x00\x00\x00", wire.ErrParam},
		{wire.ParamAddIP, "\x00\x00\x00\x01\x00\x05\x00\x08\x0a\x00\x00\x01", nil},
		{wire.ParamSuccessIndication, "\x00\x00\x00\x01", nil},
		{wire.ParamErrorIndication, "\x00\x00\x00\x01", nil},
	} {
		_, err := wire.ParseAsconfParam(wire.Param{Type: c.typ, Value: []byte(c.value)})
		require.Equal(t, c.err, err, "%v %q", c.typ, c.value)
	}
}
