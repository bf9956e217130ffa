package endpoint

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/wire"
)

// camp makes a stranger's association with b that names the addresses of a, and its SCTP port.
func (p *pair) camp(from string, port uint16, named ...string) *Entry {
	at := assoc.Arrival{Peer: netip.MustParseAddrPort(from)}
	var answer []byte
	step := func(tag uint32, build func(b *wire.Builder)) Result {
		var b wire.Builder
		b.Open(make([]byte, 0, 1400), wire.Header{SrcPort: port, DstPort: 5000, Tag: tag})
		build(&b)
		pkt := b.Seal()
		out := pktbuf.NewBatch()
		r := p.b.ep.Stray(p.now, at, pkt, out)
		if r.Entry != nil {
			r.Entry.Assoc.HandleCookie(p.now, at, pkt, r.Cookie)
		}
		if ps := out.Packets(); len(ps) > 0 {
			answer = ps[0].Buf
		}
		return r
	}
	step(0, func(b *wire.Builder) {
		b.Init(wire.TypeInit, &wire.Init{Tag: 99, ARwnd: 1 << 16, OutStreams: 1, InStreams: 1, TSN: 1})
		for _, a := range named {
			b.AddrParam(netip.MustParseAddr(a))
		}
	})
	it := wire.Chunks(answer)
	c, _ := it.Next()
	in, err := wire.ParseInit(c)
	require.NoError(p.t, err)
	var sp wire.SetupParams
	require.NoError(p.t, wire.ReadInitParams(in.Params, &sp))
	r := step(in.Tag, func(b *wire.Builder) { b.CookieEcho(sp.Cookie) })
	require.True(p.t, r.Born)
	p.b.ents = append(p.b.ents, r.Entry)
	p.flush(p.b)
	return r.Entry
}

// RFC 5062 section 3: a stranger who names the addresses of another host in its association keeps that host neither from
// dialling nor from being dialled. The one who has the addresses has them also when the stranger goes.
func TestAddressCamping(t *testing.T) {
	p := newPair(t)
	camper := p.camp("10.9.9.9:9899", 7000, "10.0.0.1", "10.0.1.1")
	require.Equal(t, assoc.Established, camper.Assoc.State())
	require.NotNil(t, p.b.ep.at(addrKey{netip.MustParseAddrPort("10.0.0.1:9899"), 7000, 5000}))
	ent, err := p.a.ep.Dial(p.now, DialParams{Remote: p.b.ep.cfg.Local, RemotePort: 5000, LocalPort: 7000})
	require.NoError(t, err)
	p.a.ents = append(p.a.ents, ent)
	p.run(2 * time.Second)
	require.Equal(t, assoc.Established, ent.Assoc.State())
	require.Len(t, p.b.ents, 2)
	require.Zero(t, p.b.ep.Stats().InitsRefused)
	own := p.b.ents[1]
	for _, l := range p.a.ep.cfg.Local {
		require.Same(t, own, p.b.ep.sureAt(addrKey{l.AddrPort(), 7000, 5000}))
	}
	p.write(p.a, 0, []byte("here I am"))
	p.run(time.Second)
	require.Equal(t, "here I am", string(p.b.got[0]))

	camper.Assoc.Abort(p.now, 0, "")
	p.run(time.Second)
	p.b.ep.Remove(camper)
	for _, l := range p.a.ep.cfg.Local {
		require.Same(t, own, p.b.ep.at(addrKey{l.AddrPort(), 7000, 5000}))
	}
	own.Assoc.Abort(p.now, 0, "")
	p.run(time.Second)
	p.b.ep.Remove(own)
	tags, addrs := p.b.ep.Tables()
	require.Zero(t, tags+addrs)
}

// A camper does not hold the SCTP port either that we want to dial its victim from.
func TestCampedPort(t *testing.T) {
	p := newPair(t)
	p.camp("10.9.9.9:9899", 7000, "10.0.0.1")
	_, err := p.b.ep.Dial(p.now, DialParams{Remote: p.a.ep.cfg.Local[:1], RemotePort: 7000, LocalPort: 5000})
	require.NoError(t, err)
	_, err = p.b.ep.Dial(p.now, DialParams{Remote: p.a.ep.cfg.Local[:1], RemotePort: 7000, LocalPort: 5000})
	require.ErrorIs(t, err, ErrPortInUse)
}

// A restart is known by the confirmed addresses the INIT names, also when it comes from one that was never confirmed.
func TestRestartFromUnconfirmed(t *testing.T) {
	p := newPair(t)
	second := p.a.ep.cfg.Local[1].AddrPort()
	p.drop = func(from, to netip.AddrPort, _ []byte) bool { return from == second || to == second }
	ent, err := p.a.ep.Dial(p.now, DialParams{Remote: p.b.ep.cfg.Local, RemotePort: 5000, LocalPort: 7000})
	require.NoError(t, err)
	p.a.ents = append(p.a.ents, ent)
	p.run(time.Second)
	require.Equal(t, assoc.Established, ent.Assoc.State())
	require.Nil(t, p.b.ep.sureAt(addrKey{second, 7000, 5000}))

	p.a.ep.Remove(ent) // a forgets everything
	p.a.ents = nil
	first := p.a.ep.cfg.Local[0].AddrPort()
	p.drop = func(from, to netip.AddrPort, _ []byte) bool { return from == first || to == first }
	ent, err = p.a.ep.Dial(p.now, DialParams{Remote: p.b.ep.cfg.Local, RemotePort: 5000, LocalPort: 7000})
	require.NoError(t, err)
	p.a.ents = append(p.a.ents, ent)
	p.run(3 * time.Second)
	require.Equal(t, assoc.Established, ent.Assoc.State())
	require.Len(t, p.b.ents, 1)
	require.EqualValues(t, 1, p.b.ents[0].Assoc.Stats().Restarts)
}
