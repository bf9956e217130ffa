package hostile

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/go-multihome/multihome/internal/endpoint"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/wire"
)

// tape is the fuzzer's input, read from the front. Behind its end there are zeros.
type tape struct{ b []byte }

func (t *tape) byte() byte {
	if len(t.b) == 0 {
		return 0
	}
	v := t.b[0]
	t.b = t.b[1:]
	return v
}

// chunks returns the next bytes, as many as two say.
func (t *tape) chunks() []byte {
	n := min((int(t.byte())<<8|int(t.byte()))%1500, len(t.b))
	v := t.b[:n]
	t.b = t.b[n:]
	return v
}

// The commands of a tape.
const (
	opToB      = iota // chunks for an association of b, with its tag
	opToA             // chunks for an association of a, with its tag
	opInit            // an INIT with that value, from somebody
	opCookie          // a COOKIE ECHO with a cookie somebody got, and chunks behind it
	opStray           // chunks without a right tag
	opReplay          // a packet seen before, with some bits turned
	opWait            // milliseconds pass
	opWaitLong        // a quarter of a second each
	opWrite           // users write
	opUser            // users end associations, dial, change their minds
	numOps
)

func FuzzEndpoint(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 16<<10 {
			return
		}
		buffers := pktbuf.Live()
		w := newWorld(t, 1, func(c *endpoint.Config) { c.MaxAssocs = 16 })
		w.insane = true
		w.dial()
		w.idle(100 * time.Millisecond)
		tp := &tape{data}
		for n := 0; len(tp.b) > 0 && n < 400; n++ {
			w.command(tp)
		}
		w.idle(100 * time.Millisecond)
		w.dissolve()
		if n := pktbuf.Live(); n != buffers {
			t.Fatalf("%d buffers leaked", n-buffers)
		}
	})
}

// command obeys one command of the tape.
func (w *world) command(tp *tape) {
	op, arg := tp.byte()%numOps, tp.byte()
	h, peer := w.b, w.a
	if op == opToA {
		h, peer = w.a, w.b
	}
	src := peer.local[arg>>4&1].AddrPort()
	if arg>>5 != 0 {
		src = strangers[int(arg>>5)%len(strangers)]
	}
	from := arrival(h, int(arg>>3), src)
	switch op {
	case opToA, opToB:
		var m aim
		if len(h.conns) > 0 {
			m = know(h.conns[int(arg&7)%len(h.conns)])
		}
		w.inject(h, from, packet(&m, tp.chunks()))
	case opInit:
		m := aim{from: [2]uint16{uint16(arg) + 1}, to: [2]uint16{port}}
		v := tp.chunks()
		w.inject(h, from, packet(&m, append([]byte{byte(wire.TypeInit), 0, byte((len(v) + 4) >> 8), byte(len(v) + 4)}, v...)))
	case opCookie:
		w.echo(h, int(arg&7), tp.chunks())
	case opStray:
		m := aim{tag: uint32(arg), from: [2]uint16{uint16(arg) + 1}, to: [2]uint16{port}}
		w.inject(h, from, packet(&m, tp.chunks()))
	case opReplay:
		if len(w.seen) == 0 {
			return
		}
		c := w.seen[int(arg)%len(w.seen)]
		pkt := w.clone(c.pkt)
		for range tp.byte() % 4 {
			at := wire.HeaderLen + int(tp.byte())
			if x := tp.byte(); at < len(pkt) {
				pkt[at] ^= x
			}
		}
		wire.SetChecksum(pkt)
		w.inject(c.to, c.from, pkt)
	case opWait:
		w.idle(time.Duration(arg) * time.Millisecond)
	case opWaitLong:
		if w.now.Before(start.Add(2 * time.Minute)) {
			w.idle(time.Duration(arg) * 250 * time.Millisecond)
		}
	default:
		w.userCommand(op, arg)
	}
	if arg&1 != 0 {
		w.step()
	}
}

func (w *world) userCommand(op, arg byte) {
	h := [2]*host{w.a, w.b}[arg>>7]
	if len(h.conns) == 0 {
		w.dial()
		return
	}
	c := h.conns[int(arg&3)%len(h.conns)]
	c.touched = true
	a := c.ent.Assoc
	switch {
	case op == opWrite:
		w.write(c)
	case arg>>2&7 == 0:
		a.Shutdown(w.now)
	case arg>>2&7 == 1:
		a.Abort(w.now, wire.CauseUserAbort, "as the tape says")
	case arg>>2&7 == 2:
		a.SetWindow(int(arg) * 100)
	case arg>>2&7 == 3:
		c.greedy = true
	case arg>>2&7 == 4:
		a.LocalDown(w.now, int(arg>>5&1), arg>>6&1 != 0)
	default:
		if len(w.a.conns) < 8 {
			w.dial()
		}
	}
}

// echo returns a stranger's cookie with its own tag and ports, then chunks.
func (w *world) echo(h *host, which int, more []byte) {
	if len(w.cookies) == 0 {
		return
	}
	ack := w.cookies[which%len(w.cookies)]
	m := aim{tag: be.Uint32(ack[16:]), from: [2]uint16{be.Uint16(ack[2:])}, to: [2]uint16{be.Uint16(ack)}}
	ck := cookieOf(ack)
	pkt := append([]byte{byte(wire.TypeCookieEcho), 0, byte((len(ck) + 4) >> 8), byte(len(ck) + 4)}, ck...)
	for len(pkt)%4 != 0 {
		pkt = append(pkt, 0)
	}
	w.inject(h, arrival(h, which, strangers[which%len(strangers)]), packet(&m, append(pkt, more...)))
}

// packet puts a header before chunks.
func packet(m *aim, chunks []byte) []byte {
	pkt := make([]byte, wire.HeaderLen, wire.HeaderLen+len(chunks))
	be.PutUint16(pkt, m.from[0])
	be.PutUint16(pkt[2:], m.to[0])
	be.PutUint32(pkt[4:], m.tag)
	pkt = append(pkt, chunks...)
	wire.SetChecksum(pkt)
	return pkt
}

// seeds are tapes with packets of every kind.
func seeds(f *testing.F) {
	k := &attacker{rnd: rand.New(rand.NewPCG(3, 4)), w: &world{}}
	op := func(b []byte, op, arg byte, v []byte) []byte {
		b = append(b, op, arg)
		if v != nil {
			b = append(b, byte(len(v)>>8), byte(len(v)))
		}
		return append(b, v...)
	}
	for _, t := range chunkTypes {
		var b []byte
		for i := range 6 {
			m := aim{tag: 1, from: [2]uint16{1, 1}, to: [2]uint16{port, port}}
			b = op(b, byte(i%2), byte(i)<<4, k.chunk(nil, t, k.flags(), k.value(t, &m)))
			b = op(b, opWrite, byte(i)<<7, nil)
			b = op(b, opWait, 30, nil)
		}
		f.Add(b)
	}
	var b []byte
	for i := range 8 {
		b = op(b, opInit, byte(i)<<5, k.init())
		b = op(b, opCookie, byte(i), k.chunk(nil, wire.TypeData, 3, k.value(wire.TypeData, &aim{})))
		b = op(b, opStray, byte(i)<<5, k.chunk(nil, wire.TypeShutdownAck, 0, nil))
		b = op(b, opReplay, byte(i), nil)
		b = append(b, 0)
		b = op(b, opWaitLong, byte(i), nil)
		b = op(b, opUser, byte(i)*36, nil)
	}
	f.Add(b)
}
