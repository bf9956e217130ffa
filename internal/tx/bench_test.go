package tx

import (
	"fmt"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// pump keeps a window of chunks in flight and acknowledges them in some way, without allocating itself.
type pump struct {
	s       Sender
	now     mono.Time
	b       wire.Builder
	buf     []byte
	ack     []byte
	payload []byte
	rtt     [locator.MaxPaths]RTT
	res     AckResult
	sid     uint16
	streams int
	lost    int
}

func newPump(size, streams int) *pump {
	p := &pump{
		now: 1e9, buf: make([]byte, 0, 1200), ack: make([]byte, 0, 1200), payload: make([]byte, size), streams: streams,
	}
	for i := range p.rtt {
		p.rtt[i] = RTT{SRTT: 10 * time.Millisecond, Min: 10 * time.Millisecond}
	}
	p.s.Init(&Config{InitialTSN: 1<<32 - 1000, Streams: streams, PeerWindow: 1 << 30})
	return p
}

// send queues one message and sends a packet of what is lost and new.
func (p *pump) send() {
	m := NewMessage()
	m.SID = p.sid
	p.sid = uint16((int(p.sid) + 1) % p.streams)
	m.Data.Push(pktbuf.Copy(p.payload))
	if err := p.s.Push(m); err != nil {
		panic(err)
	}
	p.now += 1000
	p.b.Open(p.buf, wire.Header{})
	g := Grant{Now: p.now, Budget: 1 << 30, MaxChunk: 1188}
	if p.s.Resends() {
		p.lost += p.s.AppendResend(&p.b, &g)
	}
	if p.s.AppendNew(&p.b, &g) == 0 {
		p.b.Open(p.buf, wire.Header{})
		p.s.AppendNew(&p.b, &g)
	}
}

// sack acknowledges up to cum, and the blocks above it.
func (p *pump) sack(cum serial.TSN, gaps ...uint16) {
	var b wire.Builder
	b.Open(p.ack, wire.Header{})
	b.Sack(cum, 1<<30)
	for i := 0; i < len(gaps); i += 2 {
		b.SackGap(gaps[i], gaps[i+1])
	}
	it := wire.Chunks(b.Seal())
	c, _ := it.Next()
	k, err := wire.ParseSack(c)
	if err != nil {
		panic(err)
	}
	if err := p.s.Sack(p.now, &k, &p.rtt, &p.res); err != nil {
		panic(err)
	}
}

// inOrder sends two messages and acknowledges the two oldest.
func (p *pump) inOrder() {
	p.send()
	p.send()
	p.sack(p.s.CumAcked() + 2)
}

// holes sends twenty messages, of which the first is lost: nineteen SACKs with a gap block, a resend, one SACK for all.
func (p *pump) holes() {
	cum := p.s.CumAcked()
	for i := range 20 {
		p.send()
		if i > 0 {
			p.sack(cum, 2, uint16(i+1))
		}
	}
	p.now += 30e6 // the reordering window passes
	p.s.RackTimeout(p.now, &p.rtt, &p.res)
	p.send()
	p.sack(cum + 21)
}

func (p *pump) fill(n int) *pump {
	for range n {
		p.send()
	}
	return p
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	p := newPump(1000, 4).fill(100)
	q := newPump(1000, 4).fill(40)
	inOrder, holes := testing.AllocsPerRun(2000, p.inOrder), testing.AllocsPerRun(500, q.holes)
	if !needs.Race { // its pools drop records on purpose
		require.Zero(t, inOrder, "in order")
		require.Zero(t, holes, "with holes")
	}
	require.Positive(t, q.lost, "the holes were meant to be lost")
	p.s.Drop()
	q.s.Drop()
}

func TestIdleSenderIsSmall(t *testing.T) {
	require.LessOrEqual(t, int(unsafe.Sizeof(Sender{})), 512)
	require.EqualValues(t, 48, unsafe.Sizeof(chunk{}))
	require.EqualValues(t, 16, unsafe.Sizeof(record{}))
	allocs := testing.AllocsPerRun(10, func() {
		var s Sender
		s.Init(&Config{Streams: 65535})
		s.InFlight(3)
		s.HasNew()
		s.RackDeadline()
	})
	require.LessOrEqual(t, allocs, 1.0, "the Sender itself")
}

func BenchmarkInOrder(b *testing.B) {
	for _, window := range []int{16, 1024, 16384} {
		b.Run(fmt.Sprintf("window=%d", window), func(b *testing.B) {
			p := newPump(1000, 1).fill(window)
			b.ReportAllocs()
			for b.Loop() {
				p.inOrder()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2, "ns/chunk")
			p.s.Drop()
		})
	}
}

func BenchmarkStreams(b *testing.B) {
	for _, streams := range []int{1, 1000, 60000} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			p := newPump(100, streams).fill(1024)
			b.ReportAllocs()
			for b.Loop() {
				p.inOrder()
			}
			p.s.Drop()
		})
	}
}

func BenchmarkHoles(b *testing.B) {
	for _, window := range []int{40, 16384} {
		b.Run(fmt.Sprintf("window=%d", window), func(b *testing.B) {
			p := newPump(1000, 1).fill(window)
			b.ReportAllocs()
			for b.Loop() {
				p.holes()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/21, "ns/chunk")
			p.s.Drop()
		})
	}
}
