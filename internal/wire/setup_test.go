package wire_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/wire"
)

// setup builds an INIT ACK by f and reads its parameters into out.
func setup(t testing.TB, out *wire.SetupParams, f func(b *wire.Builder)) error {
	var b wire.Builder
	b.Open(dirty(4000), header)
	require.True(t, b.Init(wire.TypeInitAck, &wire.Init{Tag: 1, ARwnd: 1500, OutStreams: 2, InStreams: 3, TSN: 4}))
	f(&b)
	i, err := wire.ParseInit(chunk(t, b.Seal()))
	require.NoError(t, err)
	require.Equal(t, []any{uint32(1), uint32(1500), uint16(2), uint16(3)}, []any{i.Tag, i.ARwnd, i.OutStreams, i.InStreams})
	return wire.ReadInitParams(i.Params, out)
}

func TestReadInitParams(t *testing.T) {
	var s wire.SetupParams
	require.NoError(t, setup(t, &s, func(b *wire.Builder) {}))
	require.Equal(t, wire.SetupParams{SupportedV4: true, SupportedV6: true}, s)

	require.NoError(t, setup(t, &s, func(b *wire.Builder) {
		b.AddrParam(addr("10.0.0.1"))
		b.SupportedAddrTypes(false, true)
		b.AddrParam(addr("2001:db8::1"))
		b.CookieParam([]byte("crumb"))
		b.CookiePreservative(500)
		b.SupportedExt(wire.TypeReconfig, wire.TypeIData)
		b.ForwardTSNParam()
		b.Param(wire.ParamECN, nil)
		b.Param(wire.ParamZeroChecksum, []byte{0, 0, 0, 1})
		b.Param(wire.ParamRandom, make([]byte, 32))
		b.Param(wire.ParamChunkList, []byte{0xc1, 0x80})
		b.Param(wire.ParamHMACAlgo, []byte{0, 3, 0, 1})
		b.Adaptation(0)
		b.AsconfRequest(wire.ParamSetPrimary, 9, addr("10.0.0.1"))
		b.PadParam(100)
		b.UnrecognizedParam([]byte{0xc0, 0, 0, 4})
		b.UnrecognizedParam([]byte{0x80, 8, 0, 5, 1, 0, 0, 0, 0xc0, 6, 0, 4})
		b.UnrecognizedParam([]byte{0})
	}))
	require.Equal(t, []netip.Addr{addr("10.0.0.1"), addr("2001:db8::1")}, s.Addrs)
	require.Equal(t, "crumb", string(s.Cookie))
	require.EqualValues(t, 500, s.CookiePreservative)
	require.Equal(t, []bool{true, false, true}, []bool{s.HasSupportedTypes, s.SupportedV4, s.SupportedV6})
	require.True(t, s.HasExt && s.Ext.Has(wire.TypeReconfig) && s.Ext.Has(wire.TypeIData) && !s.Ext.Has(wire.TypeAuth))
	require.True(t, s.ForwardTSN && s.ECN && s.HasAdaptation)
	require.EqualValues(t, 1, s.ZeroChecksum)
	require.Len(t, s.Random, 32)
	require.Equal(t, []byte{0xc1, 0x80}, s.ChunkList)
	require.Equal(t, []byte{0, 3, 0, 1}, s.HMACAlgo)
	require.Equal(t, addr("10.0.0.1"), s.SetPrimary)
	require.Equal(t, []wire.ParamType{wire.ParamForwardTSN, wire.ParamSupportedExt, wire.ParamAdaptation}, s.Rejected)
	require.Zero(t, s.Ignored)
	require.Empty(t, s.Unrecognized)

	// Nothing of one reading is left in the next.
	require.NoError(t, setup(t, &s, func(b *wire.Builder) {}))
	s.Addrs, s.Rejected, s.Unrecognized = nil, nil, nil
	require.Equal(t, wire.SetupParams{SupportedV4: true, SupportedV6: true}, s)
}

func TestAddressList(t *testing.T) {
	var s wire.SetupParams
	list := func(b *wire.Builder) {
		for i := range 20 {
			b.AddrParam(netip.AddrFrom4([4]byte{10, 0, 0, byte(i / 2)})) // each twice
		}
		for _, bad := range []string{"0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"} {
			b.AddrParam(addr(bad))
		}
		mapped := addr("::ffff:10.0.0.99").As16()
		b.Param(wire.ParamIPv6, mapped[:])
	}
	require.NoError(t, setup(t, &s, list))
	require.Len(t, s.Addrs, 10)
	require.Equal(t, []int{0, 6}, []int{s.TooManyAddrs, s.BadAddrs})

	s.MaxAddrs = 4
	require.NoError(t, setup(t, &s, list))
	require.Len(t, s.Addrs, 4)
	require.Equal(t, addr("10.0.0.3"), s.Addrs[3])
	require.Equal(t, 12, s.TooManyAddrs)
	require.Equal(t, 4, s.MaxAddrs)

	s.MaxAddrs = 0
	require.NoError(t, setup(t, &s, func(b *wire.Builder) {
		for i := range 100 {
			b.AddrParam(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
		}
	}))
	require.Len(t, s.Addrs, wire.DefaultMaxAddrs)
	require.Equal(t, 100-wire.DefaultMaxAddrs, s.TooManyAddrs)
}

// RFC 9260 section 3.2.1: the two highest bits of an unrecognized type say whether to go on and whether to report.
func TestUnrecognizedParams(t *testing.T) {
	for _, c := range []struct {
		typ             wire.ParamType
		stopped, report bool
	}{{0x0fff, true, false}, {0x4fff, true, true}, {0x8fff, false, false}, {0xcfff, false, true}} {
		var s wire.SetupParams
		require.NoError(t, setup(t, &s, func(b *wire.Builder) {
			b.ForwardTSNParam()
			b.Param(c.typ, []byte{1, 2, 3})
			b.CookieParam([]byte("behind"))
		}))
		require.True(t, s.ForwardTSN, "what came before stays")
		require.Equal(t, c.stopped, s.StoppedAtUnknown)
		require.Equal(t, c.stopped, s.Cookie == nil)
		if c.report {
			require.Equal(t, [][]byte{{byte(c.typ >> 8), byte(c.typ), 0, 7, 1, 2, 3}}, s.Unrecognized)
		} else {
			require.Empty(t, s.Unrecognized)
		}
	}
	var s wire.SetupParams
	require.NoError(t, setup(t, &s, func(b *wire.Builder) {
		for i := range 2 * wire.MaxUnrecognized {
			b.Param(wire.ParamType(0xd000+i), nil)
			b.UnrecognizedParam([]byte{0xc0, byte(i), 0, 4})
		}
	}))
	require.Len(t, s.Unrecognized, wire.MaxUnrecognized)
	require.Len(t, s.Rejected, wire.MaxRejected)
}

// Parameters that belong elsewhere, or come twice, are as if they were not there (RFC 5061 section 4.2).
func TestIgnoredParams(t *testing.T) {
	var s wire.SetupParams
	require.NoError(t, setup(t, &s, func(b *wire.Builder) {
		b.AsconfRequest(wire.ParamDeleteIP, 1, addr("10.0.0.1"))
		b.TSNReset(1)
		b.Param(wire.ParamHeartbeatInfo, nil)
		b.CookieParam([]byte("first"))
		b.CookieParam([]byte("second"))
		b.SupportedAddrTypes(true, false)
		b.SupportedAddrTypes(true, true)
	}))
	require.Equal(t, 5, s.Ignored)
	require.Equal(t, "first", string(s.Cookie))
	require.False(t, s.SupportedV6)
	require.False(t, s.StoppedAtUnknown)
}

func TestHostName(t *testing.T) {
	var s wire.SetupParams
	require.NoError(t, setup(t, &s, func(b *wire.Builder) { b.Param(wire.ParamHostName, []byte("host\x00")) }))
	require.True(t, s.HostName)
	require.Equal(t, "\x00\x0b\x00\x09host\x00", string(s.HostNameRaw))
}

func TestBadSetupParams(t *testing.T) {
	for _, c := range []struct {
		typ wire.ParamType
		len []int
	}{
		{wire.ParamIPv4, []int{0, 3, 5, 16}},
		{wire.ParamIPv6, []int{0, 4, 15, 17}},
		{wire.ParamCookiePreservative, []int{0, 3, 8}},
		{wire.ParamSupportedAddrTypes, []int{1, 3}},
		{wire.ParamZeroChecksum, []int{0, 5}},
		{wire.ParamHMACAlgo, []int{1, 3}},
		{wire.ParamSetPrimary, []int{0, 4, 8, 12}},
		{wire.ParamAdaptation, []int{0, 3}},
	} {
		for _, n := range c.len {
			var s wire.SetupParams
			err := setup(t, &s, func(b *wire.Builder) {
				b.ForwardTSNParam()
				b.Param(c.typ, make([]byte, n))
			})
			require.Equal(t, wire.ErrParam, err, "%v of %d bytes", c.typ, n)
			require.True(t, s.ForwardTSN)
		}
	}
	var s wire.SetupParams
	require.Equal(t, wire.ErrParam, wire.ReadInitParams([]byte{0xc0, 0, 0, 3}, &s))
	require.NoError(t, wire.ReadInitParams(nil, &s))
}

// What other stacks announce, as the readers see it.
func TestCapturedSetup(t *testing.T) {
	got := map[string]string{}
	for _, c := range captures(t) {
		it := wire.Chunks(c.pkt)
		x, _ := it.Next()
		i, err := wire.ParseInit(x)
		if err != nil {
			continue
		}
		var s wire.SetupParams
		require.NoError(t, wire.ReadInitParams(i.Params, &s), c.title)
		got[c.title] = fmt.Sprintf("addrs=%v cookie=%d v4=%v v6=%v fwd=%v reconf=%v idata=%v asconf=%v ecn=%v unknown=%d", s.Addrs,
			len(s.Cookie), s.SupportedV4, s.SupportedV6, s.CanForwardTSN(), s.Ext.Has(wire.TypeReconfig), s.Ext.Has(wire.TypeIData),
			s.Ext.Has(wire.TypeAsconf), s.ECN, len(s.Unrecognized))
	}
	require.Equal(t, map[string]string{
		"usrsctp INIT":     "addrs=[fd00::2 192.0.2.2 ::1 127.0.0.1] cookie=0 v4=true v6=true fwd=true reconf=true idata=false asconf=true ecn=true unknown=0",
		"usrsctp INIT ACK": "addrs=[fd00::2 192.0.2.2 ::1 127.0.0.1] cookie=436 v4=true v6=true fwd=true reconf=true idata=false asconf=true ecn=true unknown=0",
		"pion INIT":        "addrs=[] cookie=0 v4=true v6=true fwd=true reconf=true idata=true asconf=false ecn=false unknown=0",
		"pion INIT ACK":    "addrs=[] cookie=32 v4=true v6=true fwd=true reconf=true idata=true asconf=false ecn=false unknown=0",
	}, got)
}
