package endpoint

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/tx"
	"github.com/go-multihome/multihome/locator"
)

// side is one endpoint of a pair under test, driven by hand on virtual time.
type side struct {
	name   string
	ep     *Endpoint
	ents   []*Entry
	events []assoc.Event
	got    map[uint16][]byte
	parts  int
	msgs   map[uint16][][]byte // whole messages
	open   map[uint16][]byte   // the one being received
}

// part puts messages together.
func (s *side) part(ev assoc.Event) {
	sid := ev.Part.SID
	if ev.Part.Begin || ev.Part.Broken {
		s.open[sid] = nil
	}
	for b := ev.Part.Data.Head; b != nil; b = b.Next() {
		s.open[sid] = append(s.open[sid], b.Bytes()...)
	}
	if ev.Part.End {
		s.msgs[sid] = append(s.msgs[sid], s.open[sid])
		s.open[sid] = nil
	}
}

type flight struct {
	at   mono.Time
	to   *side
	from assoc.Arrival
	pkt  []byte
}

// pair is two endpoints and a network that delays every packet and drops what drop says.
type pair struct {
	t     *testing.T
	now   mono.Time
	a, b  *side
	wire  []flight
	delay time.Duration
	drop  func(from, to netip.AddrPort, pkt []byte) bool
	lag   func(from, to netip.AddrPort) time.Duration
	sent  int
}

func newSide(name string, cfg assoc.Config, rnd *rand.Rand, addrs ...string) *side {
	s := &side{name: name, got: map[uint16][]byte{}, msgs: map[uint16][][]byte{}, open: map[uint16][]byte{}}
	var ls []locator.Locator
	for _, a := range addrs {
		ls = append(ls, locator.FromAddrPort(netip.MustParseAddrPort(a)))
	}
	cfg.Random, cfg.Check = rnd.Uint64, true
	s.ep = New(Config{Assoc: cfg, Local: ls})
	return s
}

func newPair(t *testing.T) *pair { return newPairWith(t, assoc.Config{}) }

func newPairWith(t *testing.T, cfg assoc.Config) *pair {
	rnd := rand.New(rand.NewPCG(1, 2))
	p := &pair{t: t, now: mono.Time(time.Hour), delay: 5 * time.Millisecond}
	p.a = newSide("a", cfg, rnd, "10.0.0.1:9899", "10.0.1.1:9899")
	p.b = newSide("b", cfg, rnd, "10.0.0.2:5000", "10.0.1.2:5000")
	require.NoError(t, p.b.ep.Listen(5000, nil))
	return p
}

func (p *pair) peer(s *side) *side {
	if s == p.a {
		return p.b
	}
	return p.a
}

// flush sends everything a side has and collects its events.
func (p *pair) flush(s *side) {
	for _, ent := range s.ents {
		for more := true; more; {
			out := pktbuf.NewBatch()
			more = ent.Assoc.Transmit(p.now, out)
			p.send(s, out)
		}
		for ev, ok := ent.Assoc.NextEvent(); ok; ev, ok = ent.Assoc.NextEvent() {
			if ev.Kind == assoc.EventPart {
				s.parts++
				s.part(ev)
				for b := ev.Part.Data.Head; b != nil; b = b.Next() {
					s.got[ev.Part.SID] = append(s.got[ev.Part.SID], b.Bytes()...)
				}
				held := ev.Part.Data.Held
				ev.Part.Data.Free()
				ent.Assoc.Consumed(p.now, held)
				continue
			}
			s.events = append(s.events, ev)
		}
		s.ep.Sync(p.now, ent)
	}
}

func (p *pair) send(s *side, out *pktbuf.Batch) {
	for _, pk := range out.Packets() {
		p.sent++
		from := s.ep.cfg.Local[pk.Socket].AddrPort()
		if p.drop != nil && p.drop(from, pk.Peer, pk.Buf) {
			continue
		}
		to := p.peer(s)
		for i, l := range to.ep.cfg.Local {
			if l.AddrPort() == pk.Peer {
				at := p.now.Add(p.delay)
				if p.lag != nil {
					at = at.Add(p.lag(from, pk.Peer))
				}
				p.wire = append(p.wire, flight{at, to, assoc.Arrival{Local: i, Peer: from}, bytes.Clone(pk.Buf)})
				for k := len(p.wire) - 1; k > 0 && p.wire[k].at < p.wire[k-1].at; k-- {
					p.wire[k], p.wire[k-1] = p.wire[k-1], p.wire[k]
				}
			}
		}
	}
}

func (p *pair) deliver(f flight) {
	s := f.to
	ent, v := s.ep.Lookup(f.from, f.pkt)
	switch v {
	case Known:
		ent.Assoc.Handle(p.now, f.from, f.pkt)
	case Stray:
		out := pktbuf.NewBatch()
		r := s.ep.Stray(p.now, f.from, f.pkt, out)
		p.send(s, out)
		if r.Entry != nil {
			if r.Born {
				s.ents = append(s.ents, r.Entry)
			}
			r.Entry.Assoc.HandleCookie(p.now, f.from, f.pkt, r.Cookie)
		}
	default:
		p.t.Fatalf("verdict %v", v)
	}
}

// run lets virtual time pass.
func (p *pair) run(d time.Duration) {
	end := p.now.Add(d)
	for {
		p.flush(p.a)
		p.flush(p.b)
		next := end
		if len(p.wire) > 0 {
			next = mono.Min(next, p.wire[0].at)
		}
		for _, s := range []*side{p.a, p.b} {
			for _, ent := range s.ents {
				if at, ok := ent.Assoc.Deadline(); ok {
					if at < p.now {
						at = p.now
					}
					next = mono.Min(next, at)
				}
			}
		}
		p.now = next
		for len(p.wire) > 0 && p.wire[0].at <= p.now {
			f := p.wire[0]
			p.wire = p.wire[1:]
			p.deliver(f)
		}
		for _, s := range []*side{p.a, p.b} {
			for _, ent := range s.ents {
				if at, ok := ent.Assoc.Deadline(); ok && at <= p.now {
					ent.Assoc.Timeout(p.now)
					if at2, ok := ent.Assoc.Deadline(); ok && at2 <= at && at2 < p.now {
						p.flush(s)
						if at2, ok := ent.Assoc.Deadline(); ok && at2 < p.now {
							p.t.Fatalf("deadline %v does not move past %v", at2, p.now)
						}
					}
				}
			}
		}
		if p.now == end {
			p.flush(p.a)
			p.flush(p.b)
			return
		}
	}
}

func (p *pair) connect() {
	ent, err := p.a.ep.Dial(p.now, DialParams{Remote: p.b.ep.cfg.Local, RemotePort: 5000})
	require.NoError(p.t, err)
	p.a.ents = append(p.a.ents, ent)
	p.run(300 * time.Millisecond)
	require.Equal(p.t, assoc.Established, ent.Assoc.State())
	require.Len(p.t, p.b.ents, 1)
	require.Equal(p.t, assoc.Established, p.b.ents[0].Assoc.State())
}

func (p *pair) write(s *side, sid uint16, data []byte) {
	for len(data) > 0 {
		n := min(len(data), 16<<10)
		m := tx.NewMessage()
		m.SID = sid
		m.Data.Write(data[:n])
		require.NoError(p.t, s.ents[0].Assoc.Send(p.now, m))
		data = data[n:]
	}
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

func states(a *assoc.Assoc) string {
	s := ""
	for _, p := range a.Paths(nil) {
		s += fmt.Sprintf("%v %v\n", p.Pair, p.State)
	}
	return s
}

func TestHandshakeConfirmsAllPairs(t *testing.T) {
	p := newPair(t)
	p.connect()
	p.run(3 * time.Second) // HB.Max.Burst is 1 for locators that only the peer named
	for _, s := range []*side{p.a, p.b} {
		for _, i := range s.ents[0].Assoc.Paths(nil) {
			require.Equal(t, heartbeat.Active, i.State, "%s %v\n%s", s.name, i.Pair, states(s.ents[0].Assoc))
		}
		require.Len(t, s.ents[0].Assoc.Paths(nil), 4)
	}
}

func TestBulkBothWays(t *testing.T) {
	live := pktbuf.Live()
	p := newPair(t)
	p.connect()
	x, y := pattern(1<<20), pattern(1<<19+3)
	p.write(p.a, 0, x)
	p.write(p.b, 5, y)
	p.run(10 * time.Second)
	require.True(t, bytes.Equal(x, p.b.got[0]))
	require.True(t, bytes.Equal(y, p.a.got[5]))
	require.Equal(t, live, pktbuf.Live())
}

func TestShutdown(t *testing.T) {
	p := newPair(t)
	p.connect()
	p.write(p.a, 0, pattern(100000))
	p.a.ents[0].Assoc.Shutdown(p.now)
	p.run(3 * time.Second)
	require.Equal(t, assoc.Closed, p.a.ents[0].Assoc.State())
	require.Equal(t, assoc.Closed, p.b.ents[0].Assoc.State())
	require.NoError(t, p.a.ents[0].Assoc.Err())
	require.NoError(t, p.b.ents[0].Assoc.Err())
	require.Len(t, p.b.got[0], 100000)
}

func TestFailoverOnSilentCut(t *testing.T) {
	p := newPair(t)
	p.connect()
	cut := mono.Time(0)
	p.drop = func(from, to netip.AddrPort, _ []byte) bool {
		return cut != 0 && (from.Addr() == netip.MustParseAddr("10.0.0.1") || to.Addr() == netip.MustParseAddr("10.0.0.1"))
	}
	x := pattern(4 << 20)
	p.write(p.a, 0, x)
	p.run(100 * time.Millisecond)
	cut = p.now
	before := len(p.b.got[0])
	p.run(200 * time.Millisecond)
	require.Greater(t, len(p.b.got[0]), before+100000, states(p.a.ents[0].Assoc))
	p.run(20 * time.Second)
	require.True(t, bytes.Equal(x, p.b.got[0]))
}

func TestAllPathsDead(t *testing.T) {
	p := newPair(t)
	p.connect()
	p.drop = func(netip.AddrPort, netip.AddrPort, []byte) bool { return true }
	p.write(p.a, 0, pattern(1000))
	p.run(5 * time.Minute)
	require.Equal(t, assoc.Closed, p.a.ents[0].Assoc.State())
	require.Equal(t, assoc.Closed, p.b.ents[0].Assoc.State())
	t.Log(p.a.ents[0].Assoc.Err())
	t.Log(p.b.ents[0].Assoc.Err())
}
