package tx

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// lab is a Sender on a bench: first TSN 1, time in milliseconds, 100-byte chunks unless said otherwise.
type lab struct {
	t   *testing.T
	s   Sender
	rtt [locator.MaxPaths]RTT
	res AckResult
	now mono.Time
}

func newLab(t *testing.T) *lab {
	return newLabWith(t, Config{InitialTSN: 1, Streams: 10, PeerWindow: 1 << 20})
}

func newLabWith(t *testing.T, cfg Config) *lab {
	start := pktbuf.Live()
	l := &lab{t: t}
	l.s.Init(&cfg)
	for p := range l.rtt {
		l.rtt[p] = RTT{SRTT: 20 * time.Millisecond, Min: 20 * time.Millisecond} // a reordering window of 5 ms
	}
	l.at(1000)
	t.Cleanup(func() {
		l.s.Drop()
		require.Equal(t, start, pktbuf.Live(), "buffers leaked")
	})
	return l
}

func ms(n int) mono.Time { return mono.Time(n) * mono.Time(time.Millisecond) }

func (l *lab) at(n int) *lab {
	l.now = ms(n)
	return l
}

// push queues a message of n bytes on a stream.
func (l *lab) push(sid uint16, n int) {
	m := NewMessage()
	m.SID = sid
	m.Data.Write(make([]byte, n))
	require.NoError(l.t, l.s.Push(m))
}

func (l *lab) grant(p int) *Grant {
	return &Grant{Now: l.now, Path: locator.PathID(p), Budget: 1 << 20, MaxChunk: 1000}
}

// packet lets an Append call fill a packet of n bytes and returns its chunks.
func (l *lab) packet(n int, g *Grant, call func(*wire.Builder, *Grant) int) (out []wire.Data) {
	var b wire.Builder
	b.Open(make([]byte, 0, wire.HeaderLen+n), wire.Header{})
	sum := call(&b, g)
	it := wire.Chunks(b.Seal())
	for c, ok := it.Next(); ok; c, ok = it.Next() {
		var d wire.Data
		require.NoError(l.t, wire.ParseData(c, &d))
		sum -= len(d.Payload)
		out = append(out, d)
	}
	require.Zero(l.t, sum, "bytes returned are not the bytes appended")
	return out
}

func tsns(chunks []wire.Data) []int {
	out := []int{}
	for _, d := range chunks {
		out = append(out, int(int32(d.TSN)))
	}
	return out
}

func sizes(chunks []wire.Data) []int {
	out := []int{}
	for _, d := range chunks {
		out = append(out, len(d.Payload))
	}
	return out
}

// send queues and sends n chunks of 100 bytes on path p, each at its own call.
func (l *lab) send(p, n int) []int {
	var out []int
	for range n {
		l.push(0, 100)
		out = append(out, tsns(l.packet(1200, l.grant(p), l.s.AppendNew))...)
	}
	return out
}

func (l *lab) resend(p int) []int { return tsns(l.packet(60000, l.grant(p), l.s.AppendResend)) }
func (l *lab) probe(p int) []int  { return tsns(l.packet(60000, l.grant(p), l.s.AppendProbe)) }

// sack gives a SACK: the cumulative TSN, and single TSNs above it.
func (l *lab) sack(cum int, above ...int) *AckResult {
	return l.sackOf(&mSack{cum: uint64(cum), arwnd: 1 << 20}, above...)
}

func (l *lab) sackOf(k *mSack, above ...int) *AckResult {
	for _, tsn := range above {
		off := uint16(tsn - int(k.cum))
		k.gaps = append(k.gaps, [2]uint16{off, off})
	}
	require.NoError(l.t, l.s.Sack(l.now, k.encode(l.t), &l.rtt, &l.res))
	return &l.res
}

func (l *lab) flight(want ...int) {
	l.t.Helper()
	for p, n := range want {
		require.Equal(l.t, n, l.s.InFlight(locator.PathID(p)), "in flight on path %d", p)
	}
}
