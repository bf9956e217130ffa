package endpoint

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/tx"
)

// numbered sends a message that begins with its number and is filled with its low byte.
func (p *pair) numbered(sid uint16, n uint32, size int, set func(*tx.Message)) {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(n)
	}
	binary.BigEndian.PutUint32(data, n)
	m := tx.NewMessage()
	m.SID = sid
	m.Data.Write(data)
	set(m)
	require.NoError(p.t, p.a.ents[0].Assoc.Send(p.now, m))
}

// messages returns the numbers of the messages that arrived on a stream.
func messages(t *testing.T, msgs [][]byte, size int) (ns []uint32) {
	for _, got := range msgs {
		require.Len(t, got, size)
		n := binary.BigEndian.Uint32(got)
		for _, c := range got[4:] {
			require.Equal(t, byte(n), c, "message %d is torn", n)
		}
		ns = append(ns, n)
	}
	return ns
}

func (s *side) failed() (n int) {
	for _, ev := range s.events {
		if ev.Kind == assoc.EventSendFailed {
			n++
		}
	}
	return n
}

func TestPartialReliability(t *testing.T) {
	for _, c := range []struct {
		name  string
		inter bool
		size  int
		set   func(p *pair, m *tx.Message)
	}{
		{"no retransmissions", false, 500, func(_ *pair, m *tx.Message) { m.LimitRtx = true }},
		{"one retransmission, fragments", false, 5000, func(_ *pair, m *tx.Message) { m.LimitRtx, m.MaxRtx = true, 1 }},
		{"lifetime", false, 500, func(p *pair, m *tx.Message) { m.Expires = p.now.Add(15 * time.Millisecond) }},
		{"lifetime, fragments", false, 5000, func(p *pair, m *tx.Message) { m.Expires = p.now.Add(60 * time.Millisecond) }},
		{"unordered", false, 500, func(_ *pair, m *tx.Message) { m.LimitRtx, m.Unordered = true, true }},
		{"I-DATA, no retransmissions", true, 500, func(_ *pair, m *tx.Message) { m.LimitRtx = true }},
		{"I-DATA, lifetime, fragments", true, 5000, func(p *pair, m *tx.Message) { m.Expires = p.now.Add(60 * time.Millisecond) }},
		{"I-DATA, unordered", true, 500, func(_ *pair, m *tx.Message) { m.LimitRtx, m.Unordered = true, true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			live := pktbuf.Live()
			p := newPairWith(t, assoc.Config{Interleaving: c.inter})
			rnd := rand.New(rand.NewPCG(3, 9))
			p.connect()
			p.run(3 * time.Second)
			p.drop = func(_, to netip.AddrPort, _ []byte) bool { return to.Port() == 5000 && rnd.Float64() < 0.1 }
			const rounds = 100
			for i := range uint32(rounds) {
				for sid := range uint16(3) {
					p.numbered(sid, i, c.size, func(m *tx.Message) { c.set(p, m) })
				}
				p.run(3 * time.Millisecond)
			}
			p.drop = nil
			p.run(20 * time.Second)
			got := 0
			for sid := range uint16(3) {
				last := -1
				seen := map[uint32]bool{}
				for _, n := range messages(t, p.b.msgs[sid], c.size) {
					require.False(t, seen[n], "each once")
					seen[n] = true
					if !strings.Contains(c.name, "unordered") {
						require.Less(t, last, int(n), "stream %d: in order", sid)
					}
					last = int(n)
					got++
				}
			}
			require.GreaterOrEqual(t, got+p.a.failed(), 3*rounds, "every message arrived or was reported; some both, on the way when given up")
			require.NotZero(t, p.a.failed())
			require.Greater(t, got, 3*rounds/20)
			require.Zero(t, p.a.ents[0].Assoc.SendHeld())

			p.numbered(1, 7, c.size, func(*tx.Message) {}) // a reliable message passes over all of it
			p.a.ents[0].Assoc.Shutdown(p.now)
			p.run(3 * time.Second)
			require.Equal(t, assoc.Closed, p.b.ents[0].Assoc.State())
			require.NoError(t, p.a.ents[0].Assoc.Err())
			require.Equal(t, live, pktbuf.Live())
		})
	}
}

// What is given up before any of it was sent leaves the buffer without a word of the peer's. Who waits for that is told.
func TestGivenUpUnsent(t *testing.T) {
	p := newPairWith(t, assoc.Config{})
	p.connect()
	p.run(time.Second)
	p.a.events = nil
	p.numbered(0, 1, 500, func(m *tx.Message) { m.Expires = p.now })
	p.run(time.Second)
	var kinds []assoc.EventKind
	for _, ev := range p.a.events {
		kinds = append(kinds, ev.Kind)
	}
	require.Equal(t, []assoc.EventKind{assoc.EventSendFailed, assoc.EventSpace}, kinds)
	require.Zero(t, p.a.ents[0].Assoc.SendHeld())
	require.Empty(t, p.b.msgs)
}
