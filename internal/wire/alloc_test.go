package wire_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

// bundle builds a packet as an association under load sends it: a SACK with gaps, and DATA up to 1200 bytes.
func bundle(b *wire.Builder, buf []byte, payload []byte) []byte {
	b.Open(buf, header)
	b.Sack(1000, 1<<20)
	b.SackGap(2, 5)
	b.SackGap(7, 7)
	b.SackDup(999)
	d := wire.Data{TSN: 77, SID: 3, SSN: 4, PPID: 51, Begin: true, End: true, Payload: payload}
	for b.Data(&d) {
		d.TSN++
	}
	return b.Seal()
}

// walk reads such a packet as the association does and returns how many bytes of user data it found.
func walk(pkt []byte) (n int) {
	if _, err := wire.ParseHeader(pkt); err != nil || !wire.ChecksumOK(pkt) {
		return -1
	}
	var d wire.Data
	it := wire.Chunks(pkt)
	for c, ok := it.Next(); ok; c, ok = it.Next() {
		switch c.Type {
		case wire.TypeData, wire.TypeIData:
			if wire.ParseData(c, &d) == nil {
				n += len(d.Payload)
			}
		case wire.TypeSack:
			if s, err := wire.ParseSack(c); err == nil {
				for i := range s.Gaps() {
					s.Gap(i)
				}
				for i := range s.Dups() {
					s.Dup(i)
				}
			}
		}
	}
	if it.Err() != nil {
		return -1
	}
	return n
}

func TestNothingAllocated(t *testing.T) {
	var b wire.Builder
	buf := make([]byte, 0, 1500)
	payload := make([]byte, 100)
	pkt := bundle(&b, buf, payload)
	require.Equal(t, 1200, walk(pkt))
	check := func(name string, f func()) {
		require.Zero(t, testing.AllocsPerRun(100, f), name)
	}
	check("build", func() { bundle(&b, buf, payload) })
	check("walk", func() { walk(pkt) })

	// Building every other chunk, and the lists given by value.
	sids := []uint16{1, 2, 3}
	check("samples", func() {
		for _, s := range samples[:3] {
			b.Open(buf, header)
			s.build(&b)
			b.Seal()
		}
	})
	v4, v6 := addr("10.0.0.1"), addr("2001:db8::1")
	check("control chunks", func() {
		b.Open(buf, header)
		b.Init(wire.TypeInitAck, &wire.Init{Tag: 1})
		b.AddrParam(v4)
		b.AddrParam(v6)
		b.SupportedAddrTypes(true, true)
		b.SupportedExt(wire.TypeReconfig, wire.TypeIData)
		b.CookieParam(payload)
		b.Heartbeat(payload)
		b.HeartbeatAck(payload)
		b.ForwardTSN(7)
		b.Skip(wire.Skip{SID: 1, SSN: 2})
		b.Reconfig()
		b.OutgoingReset(1, 2, 3, sids)
		b.ReconfigResponse(&wire.ReconfigResponse{Response: serial.RSN(1)})
		b.Asconf(1, v4)
		b.AsconfRequest(wire.ParamAddIP, 1, v6)
		b.Error()
		b.MissingParams(wire.ParamStateCookie)
		b.CauseCut(wire.CauseUserAbort, payload)
		b.Seal()
	})

	// Reading an INIT into a used struct.
	var s wire.SetupParams
	for _, c := range captures(t) {
		it := wire.Chunks(c.pkt)
		x, _ := it.Next()
		i, err := wire.ParseInit(x)
		if err != nil {
			continue
		}
		require.NoError(t, wire.ReadInitParams(i.Params, &s))
		check(c.title, func() { _ = wire.ReadInitParams(i.Params, &s) })
	}

	// Garbage must not cost memory either.
	bad := append([]byte{}, pkt...)
	bad[14], bad[15] = 0, 3
	check("garbage", func() {
		it := wire.Chunks(bad)
		for _, ok := it.Next(); ok; _, ok = it.Next() {
		}
		_ = it.Err()
		wire.ChecksumOK(bad)
	})
}

func BenchmarkBuild(b *testing.B) {
	var w wire.Builder
	buf := make([]byte, 0, 1200)
	payload := make([]byte, 1100)
	b.SetBytes(int64(len(bundle(&w, buf, payload))))
	b.ReportAllocs()
	for b.Loop() {
		bundle(&w, buf, payload)
	}
}

func BenchmarkRead(b *testing.B) {
	var w wire.Builder
	pkt := bundle(&w, make([]byte, 0, 1200), make([]byte, 1100))
	b.SetBytes(int64(len(pkt)))
	b.ReportAllocs()
	for b.Loop() {
		walk(pkt)
	}
}

// BenchmarkReadSmall reads a packet of many small chunks: the cost per chunk, checksum included.
func BenchmarkReadSmall(b *testing.B) {
	var w wire.Builder
	pkt := bundle(&w, make([]byte, 0, 1200), make([]byte, 8))
	b.SetBytes(int64(len(pkt)))
	b.ReportAllocs()
	for b.Loop() {
		walk(pkt)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64((len(pkt)-12)/24), "ns/chunk")
}

func BenchmarkChecksum(b *testing.B) {
	pkt := make([]byte, 1200)
	b.SetBytes(int64(len(pkt)))
	for b.Loop() {
		wire.SetChecksum(pkt)
	}
}

func BenchmarkReadInit(b *testing.B) {
	it := wire.Chunks(captures(b)[0].pkt)
	c, _ := it.Next()
	i, err := wire.ParseInit(c)
	require.NoError(b, err)
	var s wire.SetupParams
	b.ReportAllocs()
	for b.Loop() {
		if wire.ReadInitParams(i.Params, &s) != nil {
			b.Fatal("capture does not read")
		}
	}
}
