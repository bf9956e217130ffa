package rx

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

// seed returns a fresh seed, or the one of a run to be repeated, and prints it.
func seed(t testing.TB) uint64 {
	s := rand.Uint64()
	if v := os.Getenv("MULTIHOME_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 0, 64)
		require.NoError(t, err)
		s = n
	}
	t.Logf("MULTIHOME_SEED=%d", s)
	return s
}

// newReceiver returns a receiver of the peer's TSN 1000, and checks at the end of the test that every buffer came back.
func newReceiver(t testing.TB, cfg Config) *Receiver {
	live := pktbuf.Live()
	if cfg.InitialTSN == 0 {
		cfg.InitialTSN = 1000
	}
	if cfg.Streams == 0 {
		cfg.Streams = 16
	}
	r := new(Receiver)
	r.Init(&cfg)
	t.Cleanup(func() {
		r.Drop()
		r.Returned(r.Held()) // what the test has read
		require.Zero(t, r.Held())
		require.Equal(t, live, pktbuf.Live(), "buffers leaked")
	})
	return r
}

// chunk reads a chunk from a short text: "1000 s0 n3 BE hello" is TSN 1000, stream 0, SSN 3 (or MID 3), B and E set. Further
// words: U unordered, f2 FSN 2 (makes it I-DATA, as does i), I immediate, p7 PPID 7. Without a text the payload is the TSN.
func chunk(s string) *wire.Data {
	var d wire.Data
	num := func(w string) uint64 {
		n, err := strconv.ParseUint(w, 10, 32)
		if err != nil {
			panic("bad chunk text: " + s)
		}
		return n
	}
	for i, w := range strings.Fields(s) {
		switch {
		case i == 0:
			d.TSN = serial.TSN(num(w))
			d.Payload = []byte(w)
		case strings.Trim(w, "BEUI") == "" || w == "-":
			d.Begin = strings.Contains(w, "B")
			d.End = strings.Contains(w, "E")
			d.Unordered = strings.Contains(w, "U")
			d.Immediate = strings.Contains(w, "I")
		case w == "i":
			d.Interleaved = true
		case len(w) == 1 || strings.IndexByte("snfp", w[0]) < 0:
			d.Payload = []byte(w)
		case w[0] == 's':
			d.SID = uint16(num(w[1:]))
		case w[0] == 'n':
			d.SSN = serial.SSN(num(w[1:]))
			d.MID = serial.MID(num(w[1:]))
		case w[0] == 'f':
			d.Interleaved = true
			d.FSN = serial.FSN(num(w[1:]))
		case w[0] == 'p':
			d.PPID = uint32(num(w[1:]))
		}
	}
	return &d
}

// feed gives chunks to r, each in a packet of its own, and wants outcome want for all of them.
func feed(t testing.TB, r *Receiver, want Outcome, chunks ...string) {
	t.Helper()
	for _, c := range chunks {
		require.Equal(t, want, r.Data(1, chunk(c)), c)
		r.PacketDone(1, false)
		if want != BadChunk { // after that only Drop counts
			check(t, r)
		}
	}
}

// parts takes everything deliverable and prints it: "s0:hello" a whole message, "s0:he..." begun, "s0:...ll..." and
// "s0:...o" its rest, "s0:x" broken, u instead of s for unordered. The memory goes back at once.
func parts(t testing.TB, r *Receiver) string {
	t.Helper()
	var out []string
	for {
		p, ok := r.NextPart()
		if !ok {
			return strings.Join(out, " ")
		}
		held := p.Data.Held
		for _, one := range apart(t, &p) {
			out = append(out, partText(&one))
			one.Data.Free()
		}
		r.Consumed(held)
		check(t, r)
	}
}

// apart returns the messages of a run as parts of their own, or the part itself. The part's bytes are theirs.
func apart(t testing.TB, p *Part) (out []Part) {
	if p.Run == 0 {
		return []Part{*p}
	}
	require.Equal(t, p.Data.Head, p.Data.Tail)
	require.Greater(t, p.Run, uint16(1))
	require.Equal(t, p.Data.Head.Held(), p.Data.Held)
	b, payload := p.Data.Head.Bytes(), 0
	for i := range p.Run {
		one := *p
		one.Run, one.Counts, one.Data = 0, false, pktbuf.Chain{}
		one.TSN += serial.TSN(i)
		if p.Counts {
			one.Seq += uint32(i)
		}
		n := int(binary.BigEndian.Uint16(b))
		require.Positive(t, n)
		one.Data.Push(pktbuf.Copy(b[RunHeader : RunHeader+n]))
		b, payload = b[RunHeader+n:], payload+n
		out = append(out, one)
	}
	require.Empty(t, b)
	require.Equal(t, payload, p.Data.Len)
	p.Data.Free()
	return out
}

func partText(p *Part) string {
	var b strings.Builder
	b.WriteByte("su"[btoi(p.Unordered)])
	fmt.Fprintf(&b, "%d:", p.SID)
	if p.Broken {
		return b.String() + "x"
	}
	if !p.Begin {
		b.WriteString("...")
	}
	for q := p.Data.Head; q != nil; q = q.Next() {
		b.Write(q.Bytes())
	}
	if !p.End {
		b.WriteString("...")
	}
	return b.String()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// sack makes r write a SACK and returns it as "cum gaps dups", with gaps and duplicates as TSNs.
func sack(t testing.TB, r *Receiver) string {
	t.Helper()
	s := parseSack(t, r, 1500)
	var b strings.Builder
	fmt.Fprintf(&b, "%d", s.CumTSN)
	for i := range s.Gaps() {
		lo, hi := s.Gap(i)
		fmt.Fprintf(&b, " %d-%d", s.CumTSN+serial.TSN(lo), s.CumTSN+serial.TSN(hi))
	}
	for i := range s.Dups() {
		fmt.Fprintf(&b, " dup%d", s.Dup(i))
	}
	return b.String()
}

func parseSack(t testing.TB, r *Receiver, size int) wire.Sack {
	var b wire.Builder
	b.Open(make([]byte, 0, size), wire.Header{SrcPort: 1, DstPort: 2})
	require.True(t, r.AppendSack(&b))
	it := wire.Chunks(b.Seal())
	c, ok := it.Next()
	require.True(t, ok)
	s, err := wire.ParseSack(c)
	require.NoError(t, err)
	return s
}

// check recounts what r keeps incrementally.
func check(t testing.TB, r *Receiver) {
	t.Helper()
	chain := func(c *pktbuf.Chain) int {
		n, held := 0, 0
		var last *pktbuf.Buf
		for b := c.Head; b != nil; b = b.Next() {
			n, held, last = n+b.Len(), held+b.Held(), b
		}
		require.Equal(t, n, c.Len)
		require.Equal(t, held, c.Held)
		require.True(t, last == c.Tail)
		return held
	}
	inParts := 0
	d := r.delivery
	if d == nil {
		d = new(delivery) // the receiver itself stays without
	}
	for i := range d.ready.n {
		p := d.ready.ring[(d.ready.head+i)&uint32(len(r.ready.ring)-1)]
		p.Data.Len += RunHeader * int(p.Run)
		inParts += chain(&p.Data)
	}
	require.LessOrEqual(t, inParts, r.unread)
	held, live := 0, 0
	var places [6]int
	if h := r.hold; h != nil {
		for i := range h.items.a {
			held += chain(&h.items.a[i].chain)
			if p := h.items.a[i].place; p != free {
				live++
				places[p]++
			}
		}
		require.Equal(t, live, h.items.live)
		if h.gaps.Len() > 0 {
			lo, _ := h.gaps.Min()
			hi, _ := h.gaps.Max()
			require.Greater(t, lo, r.cum+1)
			require.Equal(t, r.high, hi)
		} else {
			require.Equal(t, r.cum, r.high)
		}
		require.LessOrEqual(t, len(h.byNumber), live)
	} else {
		require.Equal(t, r.cum, r.high)
	}
	require.Equal(t, r.held-r.unread, held, "memory in reassembly")
	require.LessOrEqual(t, r.high-r.cum, uint64(r.span))
	checkStreams(t, r, &places)
}

// checkStreams walks every list of every stream and wants to meet each item exactly once.
func checkStreams(t testing.TB, r *Receiver, places *[6]int) {
	if r.hold == nil {
		return
	}
	a := r.hold.items.a
	var met [6]int
	var heap func(i, prev uint32, least uint64, want place) int
	heap = func(i, prev uint32, least uint64, want place) int {
		n := 0
		for ; i != 0; i = a[i].next {
			require.Equal(t, want, a[i].place)
			require.Equal(t, prev, a[i].prev)
			require.GreaterOrEqual(t, a[i].ord, least)
			n += 1 + heap(a[i].child, i, a[i].ord, want)
			met[want]++
			heap(a[i].frags, 0, 0, fragment)
			prev = i
		}
		return n
	}
	d := r.delivery
	if d == nil {
		return
	}
	for i := range d.streams {
		s := &d.streams[i]
		require.Equal(t, int(s.waiting), heap(s.ordered, 0, 0, waiting))
		heap(s.unordered, 0, 0, assembling)
		if s.streaming != 0 {
			require.Equal(t, streaming, a[s.streaming].place)
			require.Empty(t, a[s.streaming].chain.Head, "the item being streamed keeps nothing back")
			heap(a[s.streaming].frags, 0, 0, fragment)
			met[streaming]++
		}
		last := uint32(0)
		for q := s.qhead; q != 0; q = a[q].next {
			require.Equal(t, queued, a[q].place)
			met[queued]++
			last = q
		}
		require.Equal(t, last, s.qtail)
	}
	if !r.interleaving {
		met[assembling] = places[assembling] // found through their slots only
	}
	met[free] = places[free]
	require.Equal(t, *places, met)
}

func tsn(i int) serial.TSN { return serial.TSN(i) }
func ssn(i int) serial.SSN { return serial.SSN(i) }
func fsn(i int) serial.FSN { return serial.FSN(i) }
