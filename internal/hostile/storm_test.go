package hostile

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/endpoint"
	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// packets is how many a storm throws.
func packets(most int) int {
	if needs.Race {
		most /= 20
	}
	if testing.Short() {
		most /= 10
	}
	return most
}

// storm is a world under attack.
type storm struct {
	*world
	k       *attacker
	landed  int // packets that an association between a and b took although the attacker made them
	dialled int
}

func newStorm(t testing.TB, seed uint64, insane bool) *storm {
	w := newWorld(t, seed, func(c *endpoint.Config) {
		c.MaxAssocs = 64
		c.InitsPerSec = 1 << 20
		c.StraysPerSec = 1 << 20
	})
	w.insane = insane
	if insane {
		w.loss = 3
		require.NoError(t, w.a.ep.Listen(port, nil))
	}
	s := &storm{world: w}
	s.k = &attacker{rnd: rand.New(rand.NewPCG(seed, 2)), w: w}
	return s
}

// owner returns the association between a and b whose tag the packet carries as it must (RFC 9260 section 8.5), whatever
// the endpoint thinks of it.
func (s *storm) owner(h *host, pkt []byte) *conn {
	if len(pkt) < wire.HeaderLen+wire.ChunkHeaderLen {
		return nil
	}
	src, dst, tag := be.Uint16(pkt), be.Uint16(pkt[2:]), be.Uint32(pkt[4:])
	t, reflected := wire.ChunkType(pkt[12]), pkt[13]&1 != 0
	for _, c := range h.conns {
		a := c.ent.Assoc
		own, peer := a.Ports()
		if !c.live || own != dst || peer != src {
			continue
		}
		mine, its := a.Tags()
		full, plain := a.SetupTags()
		if tag == mine || tag == full || tag == plain ||
			reflected && tag == its && (t == wire.TypeAbort || t == wire.TypeShutdownComplete) {
			return c
		}
	}
	return nil
}

// attack lets one packet of the attacker arrive.
func (s *storm) attack() {
	h, peer := s.b, s.a
	if s.k.rnd.IntN(4) == 0 {
		h, peer = s.a, s.b
	}
	src := s.k.source(peer)
	from := s.k.arrival(h, src)
	var pkt []byte
	replayed := false
	switch n := s.k.rnd.IntN(100); {
	case n < 3 && len(s.seen) > 0: // as it was
		c := s.seen[s.k.rnd.IntN(len(s.seen))]
		h, from, pkt, replayed = c.to, c.from, bytes.Clone(c.pkt), true
		if s.carriesEnd(pkt) {
			return // an end is as good the second time
		}
	case n < 40 && len(s.seen) > 0:
		c := s.seen[s.k.rnd.IntN(len(s.seen))]
		h, pkt = c.to, s.k.mutate(c.pkt)
		if s.k.rnd.IntN(2) == 0 {
			from = c.from
		}
	default:
		m := s.aim(h)
		pkt = s.k.forge(&m)
	}
	c := s.owner(h, pkt)
	if !s.insane && !replayed {
		s.disguise(pkt)
	}
	if c != nil && !s.insane && !replayed {
		for s.owner(h, pkt) != nil {
			be.PutUint32(pkt[4:], s.k.rnd.Uint32())
		}
		pkt, c = s.k.sum(pkt), nil
	}
	if c != nil && s.insane && s.deadly(c, pkt) && s.k.rnd.IntN(50) != 0 {
		return
	}
	took := s.inject(h, from, pkt)
	switch {
	case took == nil:
	case c != nil:
		s.landed++
	case took.live && !s.insane && wire.ChunkType(pkt[wire.HeaderLen]) != wire.TypeCookieEcho: // a cookie is weighed inside
		s.failf("an association took a packet without its tag: %x", pkt)
	}
	if took != nil && s.k.rnd.IntN(2) == 0 {
		s.flush(took)
	}
}

// disguise takes the tag of an association between a and b out of a captured INIT or INIT ACK: who makes an association of
// his own with that tag lets the other side say what only the peer may.
func (s *storm) disguise(pkt []byte) {
	if len(pkt) < 20 || pkt[12] != byte(wire.TypeInit) && pkt[12] != byte(wire.TypeInitAck) {
		return
	}
	tag := be.Uint32(pkt[16:])
	for _, h := range [2]*host{s.a, s.b} {
		for _, c := range h.conns {
			mine, its := c.ent.Assoc.Tags()
			full, plain := c.ent.Assoc.SetupTags()
			if c.live && (tag == mine || tag == its || tag == full || tag == plain) {
				be.PutUint32(pkt[16:], s.k.rnd.Uint32())
				s.k.sum(pkt)
				return
			}
		}
	}
}

// deadly reports whether a packet is likely to end the association at once: those must be rare, or none lives long enough
// to be driven mad.
func (s *storm) deadly(c *conn, pkt []byte) bool {
	it := wire.Chunks(pkt)
	for ck, ok := it.Next(); ok; ck, ok = it.Next() {
		switch ck.Type {
		case wire.TypeData, wire.TypeIData:
			if len(ck.Value) <= 12 || ck.Flags&3 != 3 {
				return true
			}
		case wire.TypeSack:
			if len(ck.Value) >= 4 && int32(be.Uint32(ck.Value)-c.cum) > 2 {
				return true
			}
		case wire.TypeShutdown, wire.TypeShutdownAck, wire.TypeAbort:
			return true
		}
	}
	return false
}

// carriesEnd reports whether a packet ends, or begins to end, an association.
func (s *storm) carriesEnd(pkt []byte) bool {
	it := wire.Chunks(pkt)
	for c, ok := it.Next(); ok; c, ok = it.Next() {
		switch c.Type {
		case wire.TypeAbort, wire.TypeShutdown, wire.TypeShutdownAck, wire.TypeShutdownComplete:
			return true
		}
	}
	return false
}

// aim chooses a victim and what is known of it.
func (s *storm) aim(h *host) (m aim) {
	if len(h.conns) > 0 && s.k.rnd.IntN(5) != 0 {
		c := h.conns[s.k.rnd.IntN(len(h.conns))]
		m = know(c)
		if full, plain := c.ent.Assoc.SetupTags(); full|plain != 0 {
			m.tag = oneOf(s.k, full, plain)
		}
		if c.live && !s.insane || s.k.rnd.IntN(10) == 0 {
			_, peer := c.ent.Assoc.Tags()
			m.tag = oneOf(s.k, peer, m.tag+1, 0, s.k.rnd.Uint32())
		}
	} else {
		m = aim{tag: s.k.rnd.Uint32(), from: [2]uint16{uint16(s.k.rnd.Uint32()), 1}, to: [2]uint16{port, port}}
	}
	if len(s.cookies) > 0 {
		ack := s.cookies[s.k.rnd.IntN(len(s.cookies))]
		m.cookie = cookieOf(ack)
		if s.k.rnd.IntN(4) == 0 { // the cookie, from its own ports and with its own tag
			in := be.Uint32(ack[16:])
			m.tag, m.from, m.to = in, [2]uint16{be.Uint16(ack[2:]), be.Uint16(ack[2:])}, [2]uint16{be.Uint16(ack), be.Uint16(ack)}
		}
	}
	s.k.spoil(&m)
	return m
}

// cookieOf takes the State Cookie out of an INIT ACK.
func cookieOf(ack []byte) []byte {
	it := wire.Chunks(ack)
	c, _ := it.Next()
	in, err := wire.ParseInit(c)
	if err != nil {
		return nil
	}
	ps := wire.Params(in.Params)
	for p, ok := ps.Next(); ok; p, ok = ps.Next() {
		if p.Type == wire.ParamStateCookie {
			return p.Value
		}
	}
	return nil
}

// users lets the users of both sides do something.
func (s *storm) users() {
	live := 0
	for _, h := range [2]*host{s.a, s.b} {
		for _, c := range h.conns {
			if !c.live {
				// A stranger's association: nobody minds it, some read, some do not, some end it.
				c.greedy = c.greedy || s.rnd.IntN(1000) == 0
				if s.rnd.IntN(15) == 0 {
					s.write(c)
				}
				switch s.rnd.IntN(2000) {
				case 0:
					c.ent.Assoc.Abort(s.now, wire.CauseUserAbort, "stranger")
					c.touched = true
				case 1:
					c.ent.Assoc.Shutdown(s.now)
					c.touched = true
				}
				continue
			}
			live++
			if s.rnd.IntN(15) == 0 {
				s.write(c)
			}
		}
	}
	if live < 16 && s.rnd.IntN(200) == 0 || s.insane && live < 8 {
		s.dial()
		s.dialled++
	}
	if s.rnd.IntN(400) == 0 {
		if cs := s.livePairs(); len(cs) > 1 && s.mate(cs[0]) != nil { // one at least lives to the end
			s.close(cs[0])
		}
	}
}

// whims lets a user ask for something odd, and the machine fail.
func (s *storm) whims() {
	h := oneOf(s.k, s.a, s.b)
	if s.rnd.IntN(50) != 0 || len(h.conns) == 0 {
		return
	}
	c := h.conns[s.rnd.IntN(len(h.conns))]
	a, id := c.ent.Assoc, locator.PathID(s.rnd.IntN(6))
	switch s.rnd.IntN(14) {
	case 0:
		a.SetWindow(s.rnd.IntN(100_000))
	case 1:
		_ = a.SetPrimary(s.now, id)
	case 2:
		_ = a.Heartbeat(s.now, id)
	case 3:
		a.SendFailed(s.now, id, s.rnd.IntN(2) == 0)
	case 4:
		a.LocalDown(s.now, s.rnd.IntN(2), s.rnd.IntN(3) == 0)
	case 5:
		c.greedy = true
	case 6:
		a.Abort(s.now, wire.CauseUserAbort, "whim")
	case 8:
		_ = a.EndStream(s.now, uint16(s.rnd.IntN(12)))
	case 9:
		_ = a.StopStream(s.now, uint16(s.rnd.IntN(12)))
	case 10:
		_ = a.AddStreams(s.now, 1+s.rnd.IntN(20))
	case 11:
		_ = a.AskStreams(s.now, 1+s.rnd.IntN(20))
	case 7: // both dial at once, from the ports on which both listen
		for _, x := range [2][2]*host{{s.a, s.b}, {s.b, s.a}} {
			ent, err := x[0].ep.Dial(s.now, endpoint.DialParams{Remote: x[1].local, RemotePort: port, LocalPort: port})
			if err == nil {
				d := x[0].adopt(ent)
				d.dialled, d.live, d.touched = true, true, true
			}
		}
	}
	c.touched = true
}

// close ends an association between a and b in order.
func (s *storm) close(c *conn) {
	c.closing = true
	if m := s.mate(c); m != nil {
		m.closing = true
	}
	c.ent.Assoc.Shutdown(s.now)
	c.touched = true
}

// run throws n packets, some each tick, while a and b go on with what they do.
func (s *storm) run(n int) {
	for range 6 {
		s.dial()
		for range 60 {
			s.step()
		}
	}
	for n > 0 {
		most := 40
		if s.insane {
			most = 4 // so that the true peer has its say, too
			s.whims()
		}
		for range min(n, s.rnd.IntN(most)) {
			s.attack()
			n--
		}
		s.users()
		s.step()
		s.look()
	}
}

// look checks that nobody was harmed.
func (s *storm) look() {
	if s.insane {
		return
	}
	for _, h := range [2]*host{s.a, s.b} {
		for _, c := range h.conns {
			if !c.live || !s.calm(c) {
				continue
			}
			st, was := c.ent.Assoc.Stats(), &c.before
			if st.RemoteErrors > was.RemoteErrors || st.Malformed > was.Malformed || st.UnknownChunks > was.UnknownChunks {
				s.failf("%s: %+v", c.h.name, st)
			}
		}
	}
}

// settle lets everything come to its end: nothing written is missing, and what strangers began dissolves.
func (s *storm) settle() {
	s.world.idle(20 * time.Second) // setups and shutdowns under way come to their end
	if !s.insane {
		pairs := s.livePairs()
		require.NotEmpty(s.t, pairs)
		for _, c := range pairs {
			m := s.mate(c)
			require.NotNil(s.t, m)
			for _, d := range [2][2]*conn{{c, m}, {m, c}} {
				for sid, n := range d[0].wrote {
					if sid != unorderedSID && d[1].read[sid] != n {
						s.failf("%d bytes of %d arrived on stream %d", d[1].read[sid], n, sid)
					}
				}
				st := d[0].ent.Assoc.Stats()
				require.Zero(s.t, st.NoRoomForPath, "%+v", st)
				require.Len(s.t, d[0].ent.Assoc.Paths(nil), 4)
			}
			s.close(c)
		}
	}
	s.dissolve()
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A million packets of strangers: random ones, mutated ones of the live exchange, forged ones of every kind. None of them
// carries the tag of a live association. No crash, no growth, and no association between a and b notices: every byte
// arrives, every path stays Active. MULTIHOME_SEED repeats a run.
func TestStrangers(t *testing.T) {
	seed := needs.Seed(t)
	n := packets(1_000_000)
	buffers := pktbuf.Live()
	s := newStorm(t, seed, false)
	s.run(n / 10) // what grows once, has
	before := heap()
	s.run(n - n/10)
	after := heap()
	t.Logf("%d packets in %v of the network's time; heap %d KiB before, %d KiB after; largest answer %.2f times its cause; %d dialled",
		n, s.now.Sub(start), before>>10, after>>10, s.worst, s.dialled)
	t.Logf("a: %+v", s.a.ep.Stats())
	t.Logf("b: %+v", s.b.ep.Stats())
	require.Less(t, int64(after)-int64(before), int64(4<<20), "the heap grew")
	require.LessOrEqual(t, s.worst, 3.0)
	s.settle()
	require.Equal(t, buffers, pktbuf.Live(), "buffers leaked")
}

// The same with the right tags: a peer gone mad. It may ruin its own association, and nothing else: no panic, no loop, no
// leak, no more memory than its window allows.
func TestInsanePeer(t *testing.T) {
	seed := needs.Seed(t)
	n := packets(120_000)
	buffers := pktbuf.Live()
	s := newStorm(t, seed, true)
	s.run(n / 10)
	before := heap()
	s.run(n - n/10)
	after := heap()
	t.Logf("%d packets, %d landed, in %v; heap %d KiB before, %d KiB after; %d dialled", n, s.landed,
		s.now.Sub(start), before>>10, after>>10, s.dialled)
	t.Logf("ends: %v", s.ends)
	t.Logf("b: %+v", s.b.ep.Stats())
	require.Greater(t, s.landed, n/20)
	require.Less(t, int64(after)-int64(before), int64(40<<20), "the heap grew")
	s.settle()
	require.Equal(t, buffers, pktbuf.Live(), "buffers leaked")
}

// A peer may ask for the end of streams, and for more of them, faster than it answers. It gets no more than there can be.
func TestRequestsWithoutEnd(t *testing.T) {
	w := newWorld(t, 1, nil)
	c := w.dial()
	w.idle(2 * time.Second)
	m := w.mate(c)
	require.NotNil(t, m)
	w.write(c)
	w.idle(100 * time.Millisecond)
	w.insane = true
	require.NotZero(t, m.got)
	aimed := know(m)
	rsn := m.got // the first TSN
	ask := func(typ wire.ParamType, value []byte) {
		p := be.AppendUint16(nil, uint16(typ))
		p = be.AppendUint16(p, uint16(8+len(value)))
		p = append(be.AppendUint32(p, rsn), value...)
		rsn++
		b := append([]byte{byte(wire.TypeReconfig), 0, byte((len(p) + 4) >> 8), byte(len(p) + 4)}, p...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		require.Equal(t, m, w.inject(w.b, assoc.Arrival{Peer: w.a.local[0].AddrPort()}, packet(&aimed, b)))
		w.flush(m)
		w.flights = w.flights[:0] // it does not answer
	}
	before := heap()
	for i := range 3000 {
		ask(wire.ParamIncomingReset, bytes.Repeat([]byte{0, byte(min(i, 1))}, 250)) // stream 0, later 1
		ask(wire.ParamAddIncoming, []byte{0x01, 0, 0, 0})
	}
	after := heap()
	require.Less(t, int64(after)-int64(before), int64(256<<10))
	require.Equal(t, assoc.Established, m.ent.Assoc.State())
	w.idle(time.Minute)
	out, in := m.ent.Assoc.Streams()
	require.LessOrEqual(t, max(out, in), w.b.ep.Config().MaxStreams)
}

// Both sides shut down at once, and the SHUTDOWN of one acknowledges the last data of the other.
func TestShutdownAcknowledges(t *testing.T) {
	w := newWorld(t, 1, nil)
	c := w.dial()
	w.idle(2 * time.Second)
	m := w.mate(c)
	require.NotNil(t, m)
	w.write(c)
	w.flush(c)
	c.ent.Assoc.Shutdown(w.now)
	require.Equal(t, assoc.ShutdownPending, c.ent.Assoc.State())
	pkt := make([]byte, wire.HeaderLen)
	own, _ := c.ent.Assoc.Tags()
	src, dst := c.ent.Assoc.Ports()
	be.PutUint16(pkt, dst)
	be.PutUint16(pkt[2:], src)
	be.PutUint32(pkt[4:], own)
	it := wire.Chunks(w.flights[len(w.flights)-1].pkt)
	last, _ := it.Next()
	require.Equal(t, wire.TypeData, last.Type)
	pkt = append(pkt, byte(wire.TypeShutdown), 0, 0, 8)
	pkt = append(pkt, last.Value[:4]...)
	wire.SetChecksum(pkt)
	require.Equal(t, c, w.inject(w.a, assoc.Arrival{Peer: w.b.local[0].AddrPort()}, pkt))
	require.Equal(t, assoc.ShutdownAckSent, c.ent.Assoc.State())
	w.idle(20 * time.Minute)
	require.Zero(t, w.a.ep.Len()+w.b.ep.Len())
}

// A HEARTBEAT as large as a jumbo path carries is answered, also by an association that has nothing else to send and borrows a small batch.
func TestLargeHeartbeat(t *testing.T) {
	w := newWorld(t, 1, nil)
	c := w.dial()
	w.idle(2 * time.Second)
	m := w.mate(c)
	require.NotNil(t, m)
	aimed := know(m)
	small, large := pktbuf.NewSmallBatch(), pktbuf.NewBatch()
	for n := 100; n < 9000; n = n*3/2 + 1 {
		chunk := append([]byte{byte(wire.TypeHeartbeat), 0, byte((n + 8) >> 8), byte(n + 8), 0, 1, byte((n + 4) >> 8), byte(n + 4)}, make([]byte, wire.Pad4(n))...)
		require.Equal(t, m, w.inject(w.b, assoc.Arrival{Peer: w.a.local[0].AddrPort()}, packet(&aimed, chunk)))
		out := small // as driver does
		if m.ent.Assoc.Largest() > pktbuf.SmallBatchBytes {
			out = large
		}
		out.Reset()
		m.ent.Assoc.Transmit(w.now, out)
		require.Equal(t, 1, out.Len(), "of %d bytes", n)
		it := wire.Chunks(out.Packets()[0].Buf)
		ck, _ := it.Next()
		require.Equal(t, wire.TypeHeartbeatAck, ck.Type)
		require.Len(t, ck.Value, n+4)
	}
}
