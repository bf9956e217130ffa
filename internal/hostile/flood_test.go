package hostile

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/endpoint"
	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/wire"
)

// many are sixteen addresses of one host, so that an INIT ACK has a lot to list.
func many() (addrs []string) {
	for i := range 8 {
		addrs = append(addrs, fmt.Sprintf("10.0.%d.2:5000", i), fmt.Sprintf("[2001:db8:%d::2]:5000", i))
	}
	return addrs
}

// flooded is a world whose b has many addresses and is asked by strangers only.
func flooded(t testing.TB, seed uint64, strict bool) *world {
	w := newWorld(t, seed, nil)
	w.b = newHost("b", w.rnd, func(c *endpoint.Config) {
		c.InitsPerSec, c.StraysPerSec = 1<<30, 1<<30
		c.StrictAnswers = strict
	}, many()...)
	require.NoError(t, w.b.ep.Listen(port, nil))
	return w
}

// initPacket is a packet with an INIT of the given value.
func initPacket(from, to uint16, value []byte) []byte {
	m := aim{from: [2]uint16{from}, to: [2]uint16{to}}
	b := append([]byte{byte(wire.TypeInit), 0, byte((len(value) + 4) >> 8), byte(len(value) + 4)}, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return packet(&m, b)
}

// bare is the value of an INIT without parameters.
func bare() []byte {
	b := be.AppendUint32(nil, 0x12345678)
	b = be.AppendUint32(b, 100_000)
	b = be.AppendUint16(b, 10)
	b = be.AppendUint16(b, 10)
	return be.AppendUint32(b, 1)
}

// oddInits calls f with INIT values: every parameter type in every length, one to three of it, and each number at its
// edges.
func oddInits(f func(value []byte)) {
	f(bare())
	f(nil)
	f(bare()[:15])
	for _, x := range words {
		for _, at := range []int{0, 4, 12} {
			b := bare()
			be.PutUint32(b[at:], x)
			f(b)
		}
		for _, at := range []int{8, 10} {
			b := bare()
			be.PutUint16(b[at:], uint16(x))
			f(b)
		}
	}
	step := 1
	if needs.Race {
		step = 5
	}
	for _, p := range paramTypes {
		for n := 0; n < 70; n += step {
			b := bare()
			for range 1 + n%3 {
				b = be.AppendUint16(b, uint16(p))
				b = be.AppendUint16(b, uint16(4+n))
				for i := range n {
					b = append(b, byte(i))
				}
				for len(b)%4 != 0 {
					b = append(b, 0)
				}
			}
			f(b)
			f(b[:len(b)-1])
			be.PutUint16(b[18:], uint16(n)) // a length that lies
			f(b)
		}
	}
	for n := range 90 { // addresses
		b := bare()
		for i := range n {
			b = append(b, 0, 5, 0, 8, 10, 9, byte(i), 1)
		}
		f(b)
	}
}

// Whatever an INIT looks like, and whatever it is for, the answer goes to a source that has proved nothing: it is no larger
// than three times what came, or with the strict option no larger than that, in IP bytes.
func TestAmplification(t *testing.T) {
	sources := []netip.AddrPort{strangers[0], strangers[4], netip.MustParseAddrPort(addrsA[0])}
	for _, tt := range []struct {
		strict bool
		most   float64
	}{{false, 3}, {true, 1}} {
		t.Run(fmt.Sprintf("strict %v", tt.strict), func(t *testing.T) {
			w := flooded(t, 1, tt.strict)
			n := 0
			ask := func(src netip.AddrPort, from, to uint16, value []byte) {
				pkt := initPacket(from, to, value)
				w.worst = 0
				w.inject(w.b, assoc.Arrival{Local: n % len(w.b.local), Peer: src}, pkt)
				n++
				if w.worst > tt.most {
					t.Fatalf("an answer of %.2f times %d bytes from %v to %x", w.worst, len(pkt)+overhead(src), src, pkt)
				}
			}
			all := func(from, to uint16) {
				oddInits(func(v []byte) {
					for _, src := range sources {
						ask(src, from, to, v)
					}
				})
			}
			all(1000, port)
			all(1000, port+1) // nobody listens
			for _, c := range inEveryState(w) {
				own, peer := c.ent.Assoc.Ports()
				all(peer, own)
			}
			k := &attacker{rnd: rand.New(rand.NewPCG(needs.Seed(t), 5)), w: w}
			for range packets(100_000) {
				ask(oneOf(k, sources...), 1000, port, k.init())
			}
			st := w.b.ep.Stats()
			t.Logf("%d INITs: %+v", n, st)
			require.Positive(t, st.AnswersTrimmed)
			if tt.strict {
				require.Positive(t, st.AnswersTooLarge)
			} else {
				require.Zero(t, st.AnswersTooLarge, "even the shortest INIT can be answered")
			}
		})
	}
}

// inEveryState makes associations of b with a and leaves them in one state each.
func inEveryState(w *world) []*conn {
	w.idle(3 * time.Second)
	dial := func() *conn {
		ent, err := w.b.ep.Dial(w.now, endpoint.DialParams{Remote: w.a.local, RemotePort: port})
		require.NoError(w.t, err)
		c := w.b.adopt(ent)
		c.touched = true
		w.flush(c)
		return c
	}
	waiting := dial() // nobody listens on a, which answers ABORT later
	require.Equal(w.t, assoc.CookieWait, waiting.ent.Assoc.State())
	require.NoError(w.t, w.a.ep.Listen(port, nil))
	var open []*conn
	for range 3 {
		c := dial()
		for c.ent.Assoc.State() != assoc.Established {
			w.step()
		}
		w.idle(100 * time.Millisecond)
		open = append(open, c)
	}
	ending := open[1]
	ending.ent.Assoc.Shutdown(w.now)
	w.flush(ending)
	require.Equal(w.t, assoc.ShutdownSent, ending.ent.Assoc.State())
	last := open[2]
	m := w.mate(last)
	m.ent.Assoc.Shutdown(w.now)
	w.flush(m)
	for last.ent.Assoc.State() != assoc.ShutdownAckSent {
		w.step()
	}
	return append(open, waiting)
}

// Other answers to strangers are no larger than their cause.
func TestStrayAnswers(t *testing.T) {
	w := flooded(t, 1, true)
	for _, typ := range chunkTypes {
		if typ == wire.TypeInit {
			continue
		}
		for n := range 40 {
			for _, flags := range []byte{0, 1, 255} {
				b := append([]byte{byte(typ), flags, 0, byte(4 + n)}, make([]byte, n)...)
				m := aim{tag: 7, from: [2]uint16{9}, to: [2]uint16{port}}
				w.inject(w.b, assoc.Arrival{Peer: strangers[0]}, packet(&m, b))
			}
		}
	}
	require.Positive(t, w.b.ep.Stats().StraysAnswered)
	require.LessOrEqual(t, w.worst, 1.0)
}

// An INIT costs no memory, from however many sources it comes, and a packet for nobody does not even cost garbage.
func TestFloodLeavesNothing(t *testing.T) {
	w := flooded(t, 1, false)
	n := packets(200_000)
	pkt := initPacket(1000, port, append(bare(), 0, 5, 0, 8, 10, 9, 8, 7))
	src := [4]byte{10, 9, 0, 1}
	out := pktbuf.NewBatch()
	flood := func(n int) {
		for range n {
			be.PutUint32(src[:], be.Uint32(src[:])+1)
			be.PutUint16(pkt, be.Uint16(pkt)|1+2)
			wire.SetChecksum(pkt)
			out.Reset()
			w.b.ep.Stray(w.now, assoc.Arrival{Peer: netip.AddrPortFrom(netip.AddrFrom4(src), 9899)}, pkt, out)
			w.now = w.now.Add(time.Microsecond)
		}
	}
	flood(100)
	before := heap()
	flood(n)
	after := heap()
	t.Logf("heap %d bytes before %d INITs, %d after", before, n, after)
	require.Less(t, int64(after)-int64(before), int64(64<<10))
	require.Equal(t, uint64(n+100), w.b.ep.Stats().Inits)
	require.Zero(t, w.b.ep.Len())
	tags, addrs := w.b.ep.Tables()
	require.Zero(t, tags+addrs)

	m := aim{tag: 7, from: [2]uint16{9}, to: [2]uint16{port}}
	stray := packet(&m, []byte{byte(wire.TypeSack), 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0})
	from := assoc.Arrival{Peer: strangers[0]}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		out.Reset()
		if _, v := w.b.ep.Lookup(from, stray); v != endpoint.Stray {
			t.Fatal(v)
		}
		w.b.ep.Stray(w.now, from, stray, out)
	}))
}

// INITs of one source are limited per second, those of others are not.
func TestInitsPerSource(t *testing.T) {
	w := newWorld(t, 1, func(c *endpoint.Config) { c.InitsPerSec = 10 })
	pkt := initPacket(1000, port, bare())
	for i := range 30 {
		w.inject(w.b, assoc.Arrival{Peer: netip.AddrPortFrom(strangers[0].Addr(), uint16(9000+i))}, pkt)
	}
	require.EqualValues(t, 30, w.b.ep.Stats().Inits)
	require.EqualValues(t, 20, w.b.ep.Stats().InitsLimited)
	w.inject(w.b, assoc.Arrival{Peer: strangers[3]}, pkt)
	require.EqualValues(t, 20, w.b.ep.Stats().InitsLimited)
	require.Len(t, w.cookies, 11)
	w.now = w.now.Add(time.Second)
	w.inject(w.b, assoc.Arrival{Peer: strangers[0]}, pkt)
	require.EqualValues(t, 20, w.b.ep.Stats().InitsLimited, "a new second")
}
