package endpoint

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/assoc"
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
