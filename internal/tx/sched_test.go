package tx

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/wire"
)

// sids returns the streams of chunks.
func sids(chunks []wire.Data) (out []uint16) {
	for _, d := range chunks {
		out = append(out, d.SID)
	}
	return out
}

// singles sends n chunks, each at its own call, and returns their streams.
func (l *lab) singles(n int) (out []uint16) {
	for range n {
		g := l.grant(0)
		g.Budget = 1
		l.s.NewPacket()
		out = append(out, sids(l.packet(1200, g, l.s.AppendNew))...)
	}
	return out
}

// The schedulers of RFC 8260 section 3, by the streams of the chunks they let go.
func TestSchedulers(t *testing.T) {
	type push struct {
		sid uint16
		n   int
	}
	queue := []push{{2, 1500}, {2, 10}, {5, 12}, {7, 900}, {5, 13}, {7, 900}, {2, 11}}
	for _, c := range []struct {
		name         string
		kind         Scheduling
		interleaving bool
		values       map[uint16]uint16
		want         []uint16
	}{
		{"3.1 first come, first served", ByArrival, false, nil, []uint16{2, 2, 2, 5, 7, 5, 7, 2}},
		{"3.1 with I-DATA the same", ByArrival, true, nil, []uint16{2, 2, 2, 5, 7, 5, 7, 2}},
		{"3.2 round robin of messages", ByTurns, false, nil, []uint16{2, 2, 5, 7, 2, 5, 7, 2}},
		{"3.2 round robin of chunks", ByTurns, true, nil, []uint16{2, 5, 7, 2, 5, 7, 2, 2}},
		{"3.4 priority", ByPriority, false, map[uint16]uint16{2: 300, 7: 299, 5: 1}, []uint16{5, 5, 7, 7, 2, 2, 2, 2}},
		{"3.4 equal priorities take turns", ByPriority, false, map[uint16]uint16{5: 9, 7: 9}, []uint16{2, 2, 2, 2, 5, 7, 5, 7}},
		{"3.5 fair bandwidth: bytes, not messages", ByBandwidth, false, nil, []uint16{2, 2, 5, 7, 5, 7, 2, 2}},
		{"3.5 with I-DATA no message is waited for", ByBandwidth, true, nil, []uint16{2, 5, 7, 5, 7, 2, 2, 2}},
		{"3.6 weighted fair queueing", ByWeight, true, map[uint16]uint16{2: 100}, []uint16{2, 5, 7, 2, 5, 2, 2, 7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLabWith(t, Config{InitialTSN: 1, Streams: 10, PeerWindow: 1 << 20, Interleaving: c.interleaving, Scheduler: c.kind})
			for sid, v := range c.values {
				require.NoError(t, l.s.SetStreamValue(sid, v))
				require.Equal(t, v, l.s.StreamValue(sid))
			}
			for _, p := range queue {
				l.push(p.sid, p.n)
			}
			require.Equal(t, c.want, l.singles(len(c.want)))
			require.Zero(t, l.s.Queued())
		})
	}
}

// Section 3.4: a message of higher priority passes one of lower priority that is under way, with I-DATA.
func TestPriorityPassesAMessageUnderWay(t *testing.T) {
	for _, interleaving := range []bool{false, true} {
		l := newLabWith(t, Config{InitialTSN: 1, Streams: 10, PeerWindow: 1 << 20, Interleaving: interleaving, Scheduler: ByPriority})
		require.NoError(t, l.s.SetStreamValue(1, 5))
		l.push(1, 3000)
		got := l.singles(1)
		l.push(4, 100)
		want := []uint16{1, 1, 1, 1, 4}
		if interleaving {
			want = []uint16{1, 4, 1, 1, 1}
		}
		require.Equal(t, want, append(got, l.singles(4)...))
	}
}

// Section 3.3: a packet holds chunks of one stream only, those sent again included.
func TestRoundRobinPerPacket(t *testing.T) {
	l := newLabWith(t, Config{InitialTSN: 1, Streams: 10, PeerWindow: 1 << 20, Scheduler: ByPacket})
	for range 8 {
		for sid := range uint16(3) {
			l.push(sid, 200)
		}
	}
	fill := func(call func(*wire.Builder, *Grant) int) []uint16 {
		l.s.NewPacket()
		return sids(l.packet(1200, l.grant(0), call))
	}
	for _, want := range [][]uint16{{0, 0, 0, 0, 0}, {1, 1, 1, 1, 1}, {2, 2, 2, 2, 2}, {0, 0, 0}, {1, 1, 1}, {2, 2, 2}} {
		require.Equal(t, want, fill(l.s.AppendNew))
	}
	require.Zero(t, l.s.Queued())
	l.s.Retarget(0)
	require.Equal(t, []uint16{0, 0, 0, 0, 0}, fill(l.s.AppendResend))
	l.s.NewPacket()
	g := l.grant(1)
	var b wire.Builder
	b.Open(make([]byte, 0, 1200), wire.Header{})
	require.Equal(t, 1000, l.s.AppendResend(&b, g))
	l.push(2, 50)
	require.Zero(t, l.s.AppendNew(&b, g), "another stream's packet")
	for range 4 {
		fill(l.s.AppendResend)
	}
	require.Equal(t, []uint16{2}, fill(l.s.AppendNew))
}

// The shares of bandwidth under load: section 3.5 the same for all, section 3.6 by weight.
func TestShares(t *testing.T) {
	for _, c := range []struct {
		kind Scheduling
		want []float64
	}{
		{ByBandwidth, []float64{0.25, 0.25, 0.25, 0.25}},
		{ByWeight, []float64{0.1, 0.2, 0.3, 0.4}},
	} {
		for _, interleaving := range []bool{false, true} {
			l := newLabWith(t, Config{InitialTSN: 1, Streams: 4, PeerWindow: 1 << 30, Scheduler: c.kind, Interleaving: interleaving})
			for sid, size := range []int{60, 5000, 800, 300} {
				require.NoError(t, l.s.SetStreamValue(uint16(sid), uint16(sid+1)))
				for n := 0; n < 400_000; n += size {
					l.push(uint16(sid), size)
				}
			}
			var sent [4]float64
			total := 0.0
			for total < 400_000 {
				for _, d := range l.packet(1200, l.grant(0), l.s.AppendNew) {
					sent[d.SID] += float64(len(d.Payload))
					total += float64(len(d.Payload))
				}
			}
			for sid, want := range c.want {
				require.InDelta(t, want, sent[sid]/total, 0.02, "stream %d", sid)
			}
		}
	}
}

// Who was idle gets its share from now on, and nothing for the past; who was busy owes nothing when it comes back.
func TestFairnessHasNoMemory(t *testing.T) {
	l := newLabWith(t, Config{InitialTSN: 1, Streams: 4, PeerWindow: 1 << 30, Scheduler: ByBandwidth})
	for range 100 {
		l.push(0, 500)
	}
	l.singles(50)
	for range 3 {
		l.push(1, 500)
	}
	require.Equal(t, []uint16{1, 0, 1, 0, 1, 0, 0, 0}, l.singles(8))
	l.singles(100)
	l.push(0, 500)
	l.push(2, 500)
	require.ElementsMatch(t, []uint16{0, 2}, l.singles(2))
}

// The scheduler and a stream's value can be changed at any time; a message cut in part is finished first.
func TestSchedulerChanges(t *testing.T) {
	l := newLab(t)
	l.push(3, 1500)
	l.push(1, 10)
	l.push(2, 20)
	l.push(1, 11)
	got := l.singles(1)
	l.s.SetScheduler(ByPriority)
	require.NoError(t, l.s.SetStreamValue(1, 7))
	got = append(got, l.singles(2)...)
	l.s.SetScheduler(ByArrival)
	l.push(2, 30)
	got = append(got, l.singles(1)...)
	require.NoError(t, l.s.SetStreamValue(2, 9))
	for kind := range Schedulings {
		l.s.SetScheduler(kind)
	}
	require.Equal(t, []uint16{3, 3, 2, 1, 1, 2}, append(got, l.singles(2)...))
	require.Zero(t, l.s.Queued())
	require.Equal(t, ErrStream, l.s.SetStreamValue(10, 1))
	require.Zero(t, l.s.StreamValue(9))
}

// keyed against a plain search: keys that wrap, that are equal, that go away.
func TestKeyed(t *testing.T) {
	for seedNo := range uint64(50) {
		n := seed(seedNo)
		t.Logf("seed %d", n)
		r := rand.New(rand.NewPCG(n, 3))
		q := keyed{least: ^uint64(0) - uint64(r.IntN(1<<16))}
		now := q.least
		var list []*stream // in the order of put
		for range 2000 {
			switch r.IntN(3) {
			case 0, 1:
				st := &stream{key: now + r.Uint64()>>(r.IntN(50)+14)}
				if r.IntN(4) == 0 {
					st.key = now
				}
				q.put(st)
				list = append(list, st)
			default:
				if len(list) == 0 {
					require.Nil(t, q.first())
					continue
				}
				i := 0
				for k, st := range list {
					if st.key-now < list[i].key-now {
						i = k
					}
				}
				require.Same(t, list[i], q.first())
				now = list[i].key
				if r.IntN(4) == 0 {
					i = r.IntN(len(list))
				}
				q.drop(list[i])
				list = append(list[:i], list[i+1:]...)
			}
		}
	}
}

// backlog is a pump whose streams all have something to send.
func backlog(kind Scheduling, streams int) *pump {
	p := newPump(100, streams)
	p.s.SetScheduler(kind)
	for range streams + 1000 {
		p.push()
	}
	for range 1000 {
		p.step()
	}
	return p
}

func (p *pump) push() {
	m := NewMessage()
	m.SID = p.sid
	p.sid = uint16((int(p.sid) + 1) % p.streams)
	m.Data.Write(p.payload)
	if err := p.s.Push(m); err != nil {
		panic(err)
	}
}

// step sends a chunk, acknowledges it and queues another.
func (p *pump) step() {
	p.now += 1000
	p.b.Open(p.buf, wire.Header{})
	g := Grant{Now: p.now, Budget: 1, MaxChunk: 1188}
	p.s.NewPacket()
	p.s.AppendNew(&p.b, &g)
	p.sack(p.s.NextTSN() - 1)
	p.push()
}

func TestSchedulersDoNotAllocate(t *testing.T) {
	for kind := range Schedulings {
		p := backlog(kind, 500)
		allocs := testing.AllocsPerRun(3000, p.step)
		if !needs.Race {
			require.Zero(t, allocs, "scheduler %d", kind)
		}
		p.s.Drop()
	}
}

// BenchmarkSchedulers has every stream wait for its turn: what a chunk costs should not know how many there are.
func BenchmarkSchedulers(b *testing.B) {
	for kind := range Schedulings {
		for _, streams := range []int{10, 1000, 60000} {
			b.Run(fmt.Sprintf("kind=%d/streams=%d", kind, streams), func(b *testing.B) {
				p := backlog(kind, streams)
				b.ReportAllocs()
				for b.Loop() {
					p.step()
				}
				p.s.Drop()
			})
		}
	}
}
