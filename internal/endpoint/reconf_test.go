package endpoint

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/wire"
)

// ended collects the streams of events of one kind.
func ended(s *side, k assoc.EventKind) (sids []uint16) {
	for _, ev := range s.events {
		if ev.Kind == k {
			sids = append(sids, ev.Streams...)
		}
	}
	return sids
}

func TestStreamEndsBehindItsData(t *testing.T) {
	p := newPair(t)
	p.connect()
	a, b := p.a.ents[0].Assoc, p.b.ents[0].Assoc
	p.write(p.a, 3, pattern(50000))
	p.write(p.a, 4, pattern(100))
	require.NoError(t, a.EndStream(p.now, 3))
	require.NoError(t, a.EndStream(p.now, 4))
	p.run(time.Second)
	require.ElementsMatch(t, []uint16{3, 4}, ended(p.b, assoc.EventStreamReset))
	require.ElementsMatch(t, []uint16{3, 4}, ended(p.a, assoc.EventStreamEnded))
	require.Len(t, p.b.got[3], 50000)

	p.write(p.a, 3, pattern(1000)) // the identifier begins anew
	p.run(time.Second)
	require.Len(t, p.b.got[3], 51000)
	require.NoError(t, b.EndStream(p.now, 3))
	p.run(time.Second)
	require.Equal(t, []uint16{3}, ended(p.a, assoc.EventStreamReset))
}

func TestStreamEndsOnALossyNetwork(t *testing.T) {
	p := newPair(t)
	rnd := rand.New(rand.NewPCG(7, 7))
	p.connect()
	p.drop = func(netip.AddrPort, netip.AddrPort, []byte) bool { return rnd.Float64() < 0.2 }
	want := map[uint16][]byte{}
	for round := range 3 {
		for sid := range uint16(40) {
			data := pattern(100 + int(sid)*50 + round)
			want[sid] = append(want[sid], data...)
			p.write(p.a, sid, data)
			require.NoError(t, p.a.ents[0].Assoc.EndStream(p.now, sid))
		}
		p.run(30 * time.Second)
		require.Len(t, ended(p.a, assoc.EventStreamEnded), 40*(round+1))
		require.Len(t, ended(p.b, assoc.EventStreamReset), 40*(round+1))
	}
	for sid, w := range want {
		require.True(t, bytes.Equal(w, p.b.got[sid]), "stream %d", sid)
	}
}

func TestAddStreams(t *testing.T) {
	p := newPair(t)
	p.connect()
	a, b := p.a.ents[0].Assoc, p.b.ents[0].Assoc
	out, _ := a.Streams()
	require.NoError(t, a.AddStreams(p.now, 100))
	p.run(time.Second)
	now, _ := a.Streams()
	require.Equal(t, out+100, now)
	_, in := b.Streams()
	require.Equal(t, now, in)
	p.write(p.a, uint16(out+99), pattern(10))
	p.run(time.Second)
	require.Len(t, p.b.got[uint16(out+99)], 10)
	require.ErrorIs(t, a.AddStreams(p.now, 1<<16), assoc.ErrTooMany)
}

// A peer can be asked to end its side, and to add streams in its direction.
func TestStopAndAskStreams(t *testing.T) {
	p := newPair(t)
	p.connect()
	a, b := p.a.ents[0].Assoc, p.b.ents[0].Assoc
	p.write(p.b, 3, pattern(50000))
	require.NoError(t, a.StopStream(p.now, 3))
	require.NoError(t, a.StopStream(p.now, 5))
	p.run(time.Second)
	require.Equal(t, []uint16{3, 5}, ended(p.b, assoc.EventStopAsked))
	require.ElementsMatch(t, []uint16{3, 5}, ended(p.a, assoc.EventStreamReset))
	require.ElementsMatch(t, []uint16{3, 5}, ended(p.b, assoc.EventStreamEnded))
	require.Len(t, p.a.got[3], 50000, "what was sent before is delivered")

	_, in := a.Streams()
	require.NoError(t, a.AskStreams(p.now, 7))
	p.run(time.Second)
	_, more := a.Streams()
	require.Equal(t, in+7, more)
	out, _ := b.Streams()
	require.Equal(t, more, out)
	require.ErrorIs(t, a.AskStreams(p.now, 1<<16), assoc.ErrTooMany)
}

// A peer that knows no request but the outgoing reset, and does not answer the others, still learns of ends. Whether it counts
// what it does not answer does not matter.
func TestRequestsIgnored(t *testing.T) {
	for _, counts := range []bool{false, true} {
		p := newPair(t)
		p.connect()
		a := p.a.ents[0].Assoc
		holds := func(pkt []byte, want func(p wire.Param) bool) bool {
			it := wire.Chunks(pkt)
			for c, ok := it.Next(); ok; c, ok = it.Next() {
				if v, err := wire.ParseReconfig(c); err == nil && want(v.Params[0]) {
					return true
				}
			}
			return false
		}
		dropped, deaf := 0, counts
		p.drop = func(_, to netip.AddrPort, pkt []byte) bool {
			ignored := false
			if fromA := to.Port() == 5000; fromA && !counts { // b never hears the request
				ignored = holds(pkt, func(p wire.Param) bool { return p.Type == wire.ParamIncomingReset || p.Type == wire.ParamAddOutgoing })
			} else if !fromA && deaf { // b answers, and a does not hear it
				ignored = holds(pkt, func(wire.Param) bool { return true })
			}
			if ignored {
				dropped++
			}
			return ignored
		}
		p.write(p.a, 4, pattern(1000))
		require.NoError(t, a.StopStream(p.now, 3))
		for range 40 { // something is answered all the time
			p.write(p.a, 0, pattern(10))
			p.run(200 * time.Millisecond)
		}
		deaf = false
		require.Greater(t, dropped, 5)
		require.ErrorIs(t, a.StopStream(p.now, 3), assoc.ErrNoReconfig)
		require.NoError(t, a.EndStream(p.now, 4))
		p.run(2 * time.Second)
		require.Equal(t, []uint16{4}, ended(p.b, assoc.EventStreamReset), "counts %v", counts)
		require.Contains(t, ended(p.a, assoc.EventStreamEnded), uint16(4))

		if !counts {
			require.NoError(t, a.AddStreams(p.now, 5))
			for range 40 {
				p.write(p.a, 0, pattern(10))
				p.run(200 * time.Millisecond)
			}
			require.Contains(t, reasons(p.a, assoc.EventReconfigRefused), "the peer does not answer")
			require.ErrorIs(t, a.AddStreams(p.now, 5), assoc.ErrNoReconfig)
			require.NoError(t, a.AskStreams(p.now, 5), "which is another request")
			require.NoError(t, a.EndStream(p.now, 6))
			p.run(2 * time.Second)
			require.Equal(t, []uint16{4, 6}, ended(p.b, assoc.EventStreamReset))
		}
		require.NoError(t, a.Err())
	}
}

func reasons(s *side, k assoc.EventKind) (out []string) {
	for _, ev := range s.events {
		if ev.Kind == k {
			out = append(out, ev.Reason)
		}
	}
	return out
}
