package rx

import (
	"encoding/binary"
	"math/rand/v2"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

// The model: an honest sender cuts messages into chunks, a bad network loses, repeats and reorders them, a lazy user reads.
// Whatever happens, every message must come out exactly once, whole, in the order of its stream, and no memory may stay.

// dice decides: from a random source, or from the bytes of a fuzzer and then, when those are used up, from a fixed source.
type dice struct {
	data []byte
	rnd  *rand.Rand
}

func (d *dice) n(n int) int {
	if n <= 1 {
		return 0
	}
	if len(d.data) == 0 {
		return d.rnd.IntN(n)
	}
	b := int(d.data[0])
	d.data = d.data[1:]
	if n > 256 && len(d.data) > 0 {
		b = b<<8 | int(d.data[0])
		d.data = d.data[1:]
	}
	return b % n
}

type message struct {
	sid       uint16
	unordered bool
	number    int // among the messages of its kind on its stream
	ppid      uint32
	data      []byte
	delivered bool
	abandoned bool
}

type sentChunk struct {
	wire.Data
	msg      *message
	received bool // accepted by the receiver
	gone     bool // abandoned: not sent again
}

// world is one run of the model.
type world struct {
	t      testing.TB
	d      *dice
	r      *Receiver
	first  serial.TSN
	msgs   []*message
	chunks []*sentChunk
	low    int // every chunk below has been received or forwarded over

	inter     bool
	partial   bool // the sender abandons messages now and then
	now       mono.Time
	assembled map[uint16][]byte       // by stream, of the message under way
	current   map[uint16]*message     // the message under way
	nextOut   map[uint16]int          // ordered messages delivered per stream
	byPPID    map[uint32]*message     // the PPID names the message,
	byTSN     map[serial.TSN]*message // or its first TSN: all have the same PPID
	runs      int                     // of small messages, seen
	unread    []int
}

func newWorld(t testing.TB, d *dice, inter, runs bool) *world {
	w := &world{
		t: t, d: d, inter: inter, now: 1, first: serial.TSN(1<<32 - 1 - uint32(d.n(200))),
		assembled: map[uint16][]byte{}, current: map[uint16]*message{}, nextOut: map[uint16]int{}, byPPID: map[uint32]*message{},
	}
	streams := 1 + d.n(5)
	w.r = newReceiver(t, Config{
		InitialTSN: w.first, Streams: streams, Interleaving: inter, Runs: runs,
		Window: []int{3000, 20000, 100000, 1 << 20}[d.n(4)], MaxOutOfOrder: []int{0, 1, 20, 300}[d.n(4)],
	})
	if runs {
		w.byTSN = map[serial.TSN]*message{}
	}
	return w
}

// generate makes the messages and their chunks with TSNs in sending order.
func (w *world) generate(messages int) {
	streams := w.r.Streams()
	numbers := map[[2]int]int{}
	var open [][]*sentChunk // messages being cut, at most one per stream
	for len(w.msgs) < messages || len(open) > 0 {
		if len(w.msgs) < messages && (len(open) == 0 || (w.inter && w.d.n(3) == 0)) {
			m := &message{sid: uint16(w.d.n(streams)), unordered: w.d.n(3) == 0, ppid: uint32(len(w.msgs))}
			busy := false
			for _, o := range open {
				busy = busy || o[0].msg.sid == m.sid
			}
			if !busy {
				k := [2]int{int(m.sid), btoi(m.unordered)}
				m.number = numbers[k]
				numbers[k]++
				sizes := []int{10, 400, 5000, 40000}
				if w.byTSN != nil {
					sizes = []int{10, 300, 10, 100, 5000, 40000}
				}
				m.data = make([]byte, 1+w.d.n(sizes[w.d.n(len(sizes))]))
				for i := range m.data {
					m.data[i] = byte(i) ^ byte(m.ppid)
				}
				w.msgs = append(w.msgs, m)
				w.byPPID[m.ppid] = m
				open = append(open, w.cut(m))
			}
		}
		if len(open) == 0 {
			continue
		}
		i := w.d.n(len(open))
		c := open[i][0]
		c.TSN = w.first + tsn(len(w.chunks))
		if w.byTSN != nil {
			if c.PPID = 7; c.Begin {
				w.byTSN[c.TSN] = c.msg
			}
		}
		w.chunks = append(w.chunks, c)
		if open[i] = open[i][1:]; len(open[i]) == 0 {
			open = append(open[:i], open[i+1:]...)
		}
	}
}

func (w *world) cut(m *message) (out []*sentChunk) {
	size := 1 + w.d.n([]int{50, 1200, 2000}[w.d.n(3)])
	size = max(size, len(m.data)/60+1)
	for at := 0; at < len(m.data); at += size {
		c := &sentChunk{msg: m}
		c.SID, c.Unordered, c.PPID, c.Interleaved = m.sid, m.unordered, m.ppid, w.inter
		c.SSN, c.MID, c.FSN = ssn(m.number), serial.MID(m.number), fsn(len(out))
		if m.unordered {
			c.SSN = ssn(w.d.n(1 << 16)) // means nothing
		}
		c.Begin = at == 0
		c.Payload = m.data[at:min(at+size, len(m.data))]
		out = append(out, c)
	}
	out[len(out)-1].End = true
	return out
}

// send puts one chunk before the receiver.
func (w *world) send(i int) {
	c := w.chunks[i]
	got := w.r.Data(w.now, &c.Data)
	switch {
	case got == Accepted:
		require.False(w.t, c.received, "accepted twice")
		c.received = true
	case got == Duplicate:
		require.True(w.t, c.received || i < w.low, "called a duplicate")
	default:
		require.Equal(w.t, NoRoom, got, "TSN %d", c.TSN)
	}
	for w.low < len(w.chunks) && (w.chunks[w.low].received || w.low < w.cumIndex()) {
		w.low++
	}
}

func (w *world) cumIndex() int { return int(w.r.CumTSN().Sub(w.first)) + 1 }

// read takes up to n parts.
func (w *world) read(n int) {
	for range n {
		p, ok := w.r.NextPart()
		if !ok {
			return
		}
		w.unread = append(w.unread, p.Data.Held)
		w.runs += btoi(p.Run > 0)
		for _, one := range apart(w.t, &p) {
			w.part(&one)
			one.Data.Free()
		}
	}
}

// part checks one part against the messages sent.
func (w *world) part(p *Part) {
	m := w.byPPID[p.PPID]
	if w.byTSN != nil {
		require.EqualValues(w.t, 7, p.PPID)
		m = w.byTSN[p.TSN]
	}
	require.NotNil(w.t, m)
	switch {
	case w.inter:
		require.EqualValues(w.t, m.number, p.Seq)
	case !m.unordered:
		require.EqualValues(w.t, uint16(m.number), p.Seq)
	default:
		require.Zero(w.t, p.Seq)
	}
	require.Equal(w.t, m.sid, p.SID)
	require.Equal(w.t, m.unordered, p.Unordered)
	require.False(w.t, m.delivered, "delivered again")
	cur := w.current[p.SID]
	if p.Begin {
		require.Nil(w.t, cur, "a message begins within another")
		w.current[p.SID] = m
		w.assembled[p.SID] = w.assembled[p.SID][:0]
	} else {
		require.Equal(w.t, m, cur, "a message continues that was not begun")
	}
	if p.Broken {
		require.True(w.t, m.abandoned)
		require.Zero(w.t, p.Data.Len)
		delete(w.current, p.SID)
		return
	}
	require.Positive(w.t, p.Data.Len)
	for b := p.Data.Head; b != nil; b = b.Next() {
		w.assembled[p.SID] = append(w.assembled[p.SID], b.Bytes()...)
	}
	if !p.End {
		return
	}
	delete(w.current, p.SID)
	require.Equal(w.t, m.data, w.assembled[p.SID])
	m.delivered = true
	if !m.unordered {
		require.GreaterOrEqual(w.t, m.number, w.nextOut[m.sid], "out of order")
		if !w.partial {
			require.Equal(w.t, m.number, w.nextOut[m.sid], "one missed")
		}
		w.nextOut[m.sid] = m.number + 1
	}
}

// consume gives memory back for some of the parts read.
func (w *world) consume(n int) {
	for ; n > 0 && len(w.unread) > 0; n-- {
		w.r.Consumed(w.unread[0])
		w.unread = w.unread[1:]
	}
}

// sack checks a SACK against what was accepted.
func (w *world) sack() {
	s := parseSack(w.t, w.r, 60000)
	want := []uint32{}
	for i := w.cumIndex(); i < len(w.chunks); i++ {
		if w.chunks[i].received {
			want = append(want, uint32(i+1-w.cumIndex()))
		}
	}
	got := []uint32{}
	last := uint32(1)
	for i := range s.Gaps() {
		lo, hi := s.Gap(i)
		require.LessOrEqual(w.t, lo, hi)
		require.Greater(w.t, uint32(lo), last, "a gap before each block")
		last = uint32(hi) + 1
		for o := uint32(lo); o <= uint32(hi); o++ {
			got = append(got, o)
		}
	}
	require.Equal(w.t, want, got)
	for i := range s.Dups() {
		require.Less(w.t, int(s.Dup(i).Sub(w.first)), len(w.chunks))
	}
}

// abandon gives up a random message that is not complete, and tells the receiver when the cumulative point can move.
func (w *world) abandon() {
	if w.low >= len(w.chunks) {
		return
	}
	m := w.chunks[min(len(w.chunks)-1, w.low+w.d.n(8))].msg
	all := true
	for _, c := range w.chunks {
		if c.msg == m && !c.received {
			all = false
		}
	}
	if all {
		return
	}
	m.abandoned = true
	for _, c := range w.chunks {
		c.gone = c.gone || c.msg == m
	}
	w.forward()
}

// forward moves the peer's advanced point over what is received or abandoned (RFC 3758 section 3.5) and says so.
func (w *world) forward() {
	var f wire.Builder
	f.Open(make([]byte, 0, 60000), wire.Header{})
	end := w.low
	skips := map[wire.Skip]bool{}
	top := map[[2]int]*message{}
	for end < len(w.chunks) && (w.chunks[end].received || w.chunks[end].gone) {
		if c := w.chunks[end]; c.gone {
			k := [2]int{int(c.SID), btoi(c.Unordered)}
			if top[k] == nil || top[k].number < c.msg.number {
				top[k] = c.msg
			}
		}
		end++
	}
	if end == w.low {
		return
	}
	for _, m := range top {
		if w.inter || !m.unordered {
			skips[wire.Skip{SID: m.sid, SSN: ssn(m.number), MID: serial.MID(m.number), Unordered: m.unordered}] = true
		}
	}
	if w.inter {
		f.IForwardTSN(w.first + tsn(end-1))
	} else {
		f.ForwardTSN(w.first + tsn(end-1))
	}
	for s := range skips {
		require.True(w.t, f.Skip(s))
	}
	it := wire.Chunks(f.Seal())
	c, _ := it.Next()
	v, err := wire.ParseForwardTSN(c)
	require.NoError(w.t, err)
	w.r.ForwardTSN(w.now, &v)
	w.low = w.cumIndex()
}

// run plays until everything has arrived. A run that stops making progress fails.
func (w *world) run() {
	idle := 0
	for w.low < len(w.chunks) {
		before := w.low
		w.step()
		if idle++; w.low != before {
			idle = 0
		}
		require.Less(w.t, idle, 3000, "no progress at TSN index %d, held %d, window %d", w.low, w.r.Held(), w.r.window)
	}
	w.read(1 << 30)
	w.consume(1 << 30)
	require.Empty(w.t, w.current)
	for _, m := range w.msgs {
		require.True(w.t, m.delivered || m.abandoned, "message %d of stream %d is missing", m.number, m.sid)
	}
	check(w.t, w.r)
	require.Zero(w.t, w.r.Held())
}

// step is one packet, or one act of the user.
func (w *world) step() {
	w.now++
	switch n := w.d.n(20); {
	case n < 14:
		for range 1 + w.d.n(4) {
			i := w.low
			if w.d.n(3) > 0 { // else the front
				i = min(len(w.chunks)-1, i+w.d.n(40))
			}
			if w.d.n(10) == 0 { // an old one
				i = max(0, w.low-w.d.n(10))
			}
			if i < len(w.chunks) && w.d.n(4) > 0 && !w.chunks[i].gone {
				w.send(i)
			}
		}
		w.r.PacketDone(w.now, false)
	case n < 17:
		w.read(1 + w.d.n(20))
	case n < 19:
		w.consume(1 + w.d.n(30))
	case w.partial && w.d.n(2) == 0:
		w.abandon()
	default:
		w.sack()
	}
	if w.partial && w.low < len(w.chunks) && w.chunks[w.low].gone {
		w.forward()
	}
	if w.low == len(w.chunks) || w.d.n(8) == 0 {
		check(w.t, w.r)
	}
}

func TestModel(t *testing.T) {
	s := seed(t)
	runs := 0
	for i := range uint64(80) {
		d := &dice{rnd: rand.New(rand.NewPCG(s, i))}
		w := newWorld(t, d, i%2 == 1, i >= 60)
		w.partial = i%4 >= 2
		w.generate(60)
		w.run()
		runs += w.runs
	}
	require.Positive(t, runs)
}

func FuzzModel(f *testing.F) {
	f.Add([]byte{}, false, false)
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 255, 254, 253, 100, 101, 102}, true, false)
	f.Add([]byte{9, 9, 9, 9, 9, 9, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1, 77, 77, 77, 77}, false, true)
	f.Add([]byte{200, 3, 100, 0, 0, 0, 1, 13, 200, 200, 200, 19, 19, 19, 19, 3}, true, true)
	f.Fuzz(func(t *testing.T, data []byte, inter, partial bool) {
		live := pktbuf.Live()
		w := newWorld(t, &dice{data: data, rnd: rand.New(rand.NewPCG(1, 2))}, inter, len(data)%2 == 1)
		w.partial = partial
		w.generate(12)
		w.run()
		w.r.Drop()
		require.Equal(t, live, pktbuf.Live())
	})
}

// FuzzLiar feeds chunks that follow no rule. Nothing may panic, the memory stays bounded, and all of it comes back.
func FuzzLiar(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x00\x03\x00\x00\x02\x00\x00\x01\x01\x00\x00\x00\x00\x00\x00"), false)
	f.Add([]byte("\x01\x01\x00\x00\x02\x00\x00\x03\x00\x01\x01\x03\x05\x05\x09\x02\x00\x00"), true)
	f.Fuzz(lie)
}

func lie(t *testing.T, data []byte, inter bool) {
	live := pktbuf.Live()
	r := newReceiver(t, Config{InitialTSN: 1<<32 - 20, Streams: 3, Window: 8000, Interleaving: inter, Runs: len(data)%4 < 2})
	payload := make([]byte, 3000)
	var mem []int
	for ; len(data) >= 6; data = data[6:] {
		a, b := data[0], data[5]
		near := r.CumTSN() + 1
		switch a % 16 {
		case 0, 1:
			var f wire.Builder
			f.Open(make([]byte, 0, 100), wire.Header{})
			ok := inter && f.IForwardTSN(near+serial.TSN(data[1]%8)) || !inter && f.ForwardTSN(near+serial.TSN(data[1]%8))
			require.True(t, ok)
			f.Skip(wire.Skip{SID: uint16(data[2] % 4), SSN: ssn(int(data[3]) - 3), MID: serial.MID(data[3]) - 3, Unordered: b&1 != 0})
			f.Skip(wire.Skip{SID: uint16(data[2] / 4 % 4), SSN: ssn(int(data[4]) - 3), MID: serial.MID(data[4]) - 3, Unordered: b&2 != 0})
			it := wire.Chunks(f.Seal())
			c, _ := it.Next()
			v, err := wire.ParseForwardTSN(c)
			require.NoError(t, err)
			r.ForwardTSN(1, &v)
		case 2:
			r.ResetStream(uint16(data[1] % 4))
		case 3:
			for range data[1] % 8 {
				p, ok := r.NextPart()
				if !ok {
					break
				}
				mem = append(mem, p.Data.Held)
				p.Data.Free()
			}
		case 4:
			for range min(len(mem), int(data[1]%8)) {
				r.Consumed(mem[0])
				mem = mem[1:]
			}
		case 5:
			parseSack(t, r, 100+int(data[1]))
		case 6:
			r.SetWindow(int(data[1]) * 100)
		case 7:
			if b == 7 {
				r.ResetTSN(serial.TSN(binary.BigEndian.Uint32(data[1:])))
			}
		default:
			size := 1 + int(data[4])
			if b&32 != 0 {
				size *= 11
			}
			r.Data(1, &wire.Data{
				TSN: near + serial.TSN(data[1]%24) - 3, SID: uint16(data[2] % 4),
				SSN: ssn(int(data[3]%8) - 1), MID: serial.MID(data[3]%8) - 1, FSN: fsn(int(data[2] >> 4)), PPID: 5, Payload: payload[:size],
				Unordered: b&1 != 0, Begin: b&2 != 0, End: b&4 != 0, Interleaved: inter != (b&0xf8 == 0xf8),
			})
			r.PacketDone(1, b&8 != 0)
		}
		require.LessOrEqual(t, r.Held(), max(r.limit, 2*25500)+2*reserve)
	}
	for {
		p, ok := r.NextPart()
		if !ok {
			break
		}
		r.Consumed(p.Data.Held)
		p.Data.Free()
	}
	for _, m := range mem {
		r.Consumed(m)
	}
	r.Drop()
	require.Zero(t, r.Held())
	require.Equal(t, live, pktbuf.Live())
}

func TestLiar(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 7))
	for i := range 300 {
		data := make([]byte, 6*200)
		for j := range data {
			data[j] = byte(rnd.Uint32())
		}
		lie(t, data, i%2 == 0)
	}
}

// TestHeap compares the pairing heap with sorting, with items taken out of the middle.
func TestHeap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 9))
	for range 50 {
		var s items
		var root uint32
		in := map[uint32]uint64{}
		for range 400 {
			if len(in) == 0 || rnd.IntN(3) > 0 {
				i := s.alloc(waiting)
				s.a[i].ord = rnd.Uint64N(1000)
				in[i] = s.a[i].ord
				s.push(&root, i)
			} else {
				i := root
				if rnd.IntN(2) == 0 {
					for i = range in {
						break
					}
				}
				s.remove(&root, i)
				s.release(i)
				delete(in, i)
			}
		}
		var want, got []uint64
		for _, o := range in {
			want = append(want, o)
		}
		sort.Slice(want, func(i, j int) bool { return want[i] < want[j] })
		for root != 0 {
			got = append(got, s.a[root].ord)
			i := root
			s.remove(&root, i)
			s.release(i)
		}
		require.Equal(t, want, got)
		require.Zero(t, s.live)
	}
}
