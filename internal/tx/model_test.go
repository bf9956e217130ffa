package tx

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

func init() { strict = true }

// mChunk is the model's chunk: everything spelled out, nothing packed.
type mChunk struct {
	data                         wire.Data // as first sent; Payload is a copy
	state                        string    // "out", "lost", "acked", "gone"
	live                         map[int]bool
	paths                        map[int]bool
	last, n                      int
	sent                         mono.Time
	resent, credited, doubt, rep bool
	lostOn                       int
	ring                         *chunk // the first slot of the ring it went from
}

// mTrans is a transmission as the model sees it.
type mTrans struct {
	idx   uint64
	at    mono.Time
	alive bool
}

type mRack struct {
	sent, episode mono.Time
	tsn           uint64
	rtt           time.Duration
	deadline      mono.Time
	round         uint64
	mult, persist int
}

// model is a second sender, written for plainness: maps, full scans, no shortcuts. It follows the same calls and must
// always agree with the first.
type model struct {
	t      testing.TB
	s      *Sender
	chunks map[uint64]*mChunk
	trans  [locator.MaxPaths][]mTrans
	rack   [locator.MaxPaths]mRack
	rtt    [locator.MaxPaths]RTT

	base, next uint64
	longest    int
	cut        bool   // the last list of gap blocks may have been cut short
	top        uint64 // highest TSN acknowledged by a gap block as of then
	arwnd      int
	probing    bool
	queue      map[uint16][]*mMessage
	current    map[mKey]*mMessage // messages being cut
	small      bool               // messages are written by PushSmall
	pushed     int                // payload bytes ever
	cutBytes   int
	freedBytes int
	interleave bool
	ssn        map[uint16]serial.SSN
	mid        map[mKey]serial.MID
}

type mKey struct {
	sid       uint16
	unordered bool
}

type mMessage struct {
	sid       uint16
	unordered bool
	ppid      uint32
	bytes     []byte
	cut       int
	fsn       serial.FSN
	seq       uint32
}

func newModel(t testing.TB, cfg *Config) *model {
	m := &model{
		t: t, s: &Sender{}, chunks: map[uint64]*mChunk{}, arwnd: int(cfg.PeerWindow),
		queue: map[uint16][]*mMessage{}, current: map[mKey]*mMessage{}, interleave: cfg.Interleaving,
		ssn: map[uint16]serial.SSN{}, mid: map[mKey]serial.MID{},
	}
	m.s.Init(cfg)
	m.base = 1<<32 | uint64(cfg.InitialTSN)
	m.next = m.base
	for p := range m.rtt {
		m.rtt[p] = RTT{SRTT: time.Duration(p+1) * 10 * time.Millisecond, Min: time.Duration(p+1) * 8 * time.Millisecond}
	}
	m.rtt[3] = RTT{}
	return m
}

func (m *model) push(r *rand.Rand, sid uint16, n int, unordered bool) {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	if m.small = m.small && r.IntN(20) > 0 || r.IntN(20) == 0; m.small && n <= SmallMessage { // by runs, so that there are bundles
		msg := m.s.NewMessage()
		msg.SID, msg.PPID, msg.Unordered = sid, uint32(r.IntN(2)), unordered
		mm := &mMessage{sid: sid, unordered: unordered, ppid: msg.PPID, bytes: b}
		before := m.s.Queued()
		require.NoError(m.t, m.s.PushSmall(msg, b))
		require.Equal(m.t, before+n, m.s.Queued())
		m.queue[sid] = append(m.queue[sid], mm)
		m.pushed += n
		return
	}
	msg := NewMessage()
	msg.SID, msg.PPID, msg.Unordered = sid, r.Uint32(), unordered
	for rest := b; len(rest) > 0; { // buffers of odd sizes, some empty
		k := min(len(rest), 1+r.IntN(3000))
		if r.IntN(8) == 0 {
			k = 0
		}
		msg.Data.Push(pktbuf.Copy(rest[:k]))
		rest = rest[k:]
	}
	mm := &mMessage{sid: sid, unordered: unordered, ppid: msg.PPID, bytes: b}
	require.NoError(m.t, m.s.Push(msg))
	m.queue[sid] = append(m.queue[sid], mm)
	m.pushed += n
}

// sendNew calls AppendNew and checks what came out against the queues: numbers, flags, bytes, order.
func (m *model) sendNew(now mono.Time, p, budget, maxChunk, room int) int {
	window, has, empty := m.window(), m.s.HasNew(), m.base == m.next
	var b wire.Builder
	b.Open(make([]byte, 0, wire.HeaderLen+room), wire.Header{})
	g := Grant{Now: now, Path: locator.PathID(p), Budget: budget, MaxChunk: maxChunk}
	m.s.NewPacket()
	n := m.s.AppendNew(&b, &g)
	sum, used := 0, 0
	for i, d := range m.parse(&b) {
		require.Equal(m.t, uint32(m.next), uint32(d.TSN))
		require.Less(m.t, sum, budget, "budget")
		if len(d.Payload) > window-sum {
			require.True(m.t, empty && i == 0, "peer's window")
			m.probing = true
		} else {
			m.probing = false
		}
		m.checkCut(d, maxChunk, room, used)
		used += wire.Pad4(m.s.header() + len(d.Payload))
		c := &mChunk{data: *d, state: "out", live: map[int]bool{}, paths: map[int]bool{}, lostOn: -1}
		m.chunks[m.next] = c
		m.launch(m.next, p, now)
		m.next++
		sum += len(d.Payload)
		m.cutBytes += len(d.Payload)
	}
	require.Equal(m.t, sum, n)
	require.False(m.t, n > 0 && !has, "HasNew said no")
	return n
}

// checkCut matches a new chunk with the message it must come from. used is what stands before it in the packet.
func (m *model) checkCut(d *wire.Data, maxChunk, room, used int) {
	key := mKey{d.SID, d.Unordered}
	if !m.interleave {
		key = mKey{}
	}
	msg := m.current[key]
	if d.Begin {
		require.Nil(m.t, msg, "another message of that order is not finished")
		require.NotEmpty(m.t, m.queue[d.SID])
		msg = m.queue[d.SID][0]
		m.queue[d.SID] = m.queue[d.SID][1:]
		switch {
		case m.interleave:
			k := mKey{d.SID, d.Unordered}
			msg.seq = uint32(m.mid[k])
			m.mid[k]++
		case !d.Unordered:
			msg.seq = uint32(m.ssn[d.SID])
			m.ssn[d.SID]++
		}
	}
	require.NotNil(m.t, msg)
	require.Equal(m.t, msg.sid, d.SID)
	require.Equal(m.t, msg.unordered, d.Unordered)
	require.True(m.t, bytes.Equal(msg.bytes[msg.cut:msg.cut+len(d.Payload)], d.Payload), "payload")
	if m.interleave {
		require.EqualValues(m.t, msg.seq, d.MID)
		require.Equal(m.t, msg.fsn, d.FSN)
	} else if !d.Unordered {
		require.EqualValues(m.t, msg.seq, d.SSN)
	}
	if d.Begin || !m.interleave {
		require.Equal(m.t, msg.ppid, d.PPID)
	}
	msg.fsn++
	msg.cut += len(d.Payload)
	require.Equal(m.t, msg.cut == len(msg.bytes), d.End)
	if !d.End {
		limit := min(maxChunk, room)&^3 - m.s.header()
		full := maxChunk&^3 - m.s.header()
		if used > 0 && d.Begin && len(d.Payload) < full {
			require.Equal(m.t, (room-used)&^3, m.s.header()+len(d.Payload), "a chunk cut short that does not fill the packet")
			require.Greater(m.t, len(msg.bytes), full, "cut without need")
		} else {
			require.Contains(m.t, []int{limit, full}, len(d.Payload), "a chunk cut short before the message's end")
		}
		m.current[key] = msg
	} else {
		delete(m.current, key)
	}
}

// resend calls AppendResend or AppendProbe and returns the TSNs that came out, checked to be the same chunks as before.
func (m *model) again(now mono.Time, p, budget, room int, call func(*wire.Builder, *Grant) int) []uint64 {
	var b wire.Builder
	b.Open(make([]byte, 0, wire.HeaderLen+room), wire.Header{})
	m.s.NewPacket()
	n := call(&b, &Grant{Now: now, Path: locator.PathID(p), Budget: budget})
	var out []uint64
	sum := 0
	for _, d := range m.parse(&b) {
		require.Less(m.t, sum, budget)
		idx := serial.Unwrap(m.base, uint32(d.TSN))
		require.Equal(m.t, m.chunks[idx].data, *d)
		out = append(out, idx)
		sum += len(d.Payload)
	}
	require.Equal(m.t, sum, n)
	return out
}

func (m *model) resend(now mono.Time, p, budget, room int) {
	want := m.inState("lost")
	require.Equal(m.t, len(want) > 0, m.s.Resends())
	got := m.again(now, p, budget, room, m.s.AppendResend)
	require.True(m.t, slices.Equal(want[:len(got)], got), "lowest TSN first: %v, got %v", want, got)
	for _, idx := range got {
		m.chunks[idx].state = "out"
		m.launch(idx, p, now)
	}
	if len(want) > 0 && len(got) == 0 && budget > 0 {
		require.Greater(m.t, m.s.LostSize(), room&^3)
	}
}

func (m *model) probe(now mono.Time, p, budget, room int) {
	for _, idx := range m.again(now, p, budget, room, m.s.AppendProbe) {
		c := m.chunks[idx]
		require.Equal(m.t, "out", c.state)
		require.Len(m.t, c.live, 1, "probe of a chunk that lives on several paths")
		m.launch(idx, p, now)
	}
}

func (m *model) parse(b *wire.Builder) (out []*wire.Data) {
	if b.Empty() {
		return nil
	}
	it := wire.Chunks(b.Seal())
	for c, ok := it.Next(); ok; c, ok = it.Next() {
		d := &wire.Data{}
		require.NoError(m.t, wire.ParseData(c, d))
		d.Payload = slices.Clone(d.Payload)
		out = append(out, d)
		if m.s.kind == ByPacket {
			require.Equal(m.t, out[0].SID, d.SID, "streams share a packet")
		}
	}
	require.NoError(m.t, it.Err())
	return out
}

func (m *model) launch(idx uint64, p int, now mono.Time) {
	c := m.chunks[idx]
	c.resent = len(c.paths) > 0
	for i := range m.trans[p] {
		if m.trans[p][i].idx == idx {
			m.trans[p][i].alive = false
		}
	}
	m.trans[p] = append(m.trans[p], mTrans{idx, now, true})
	c.live[p], c.paths[p] = true, true
	c.n++
	c.last, c.sent, c.doubt = p, now, false
}

// end ends the transmission of idx on p.
func (m *model) end(idx uint64, p int) {
	delete(m.chunks[idx].live, p)
	for i := range m.trans[p] {
		if m.trans[p][i].idx == idx {
			m.trans[p][i].alive = false
		}
	}
}

func (m *model) evict(p int) (n, size int) {
	for _, tr := range m.trans[p] {
		if !tr.alive {
			continue
		}
		c := m.chunks[tr.idx]
		m.end(tr.idx, p)
		if len(c.live) == 0 {
			c.state, c.lostOn = "lost", -1
			n++
			size += len(c.data.Payload)
		}
	}
	m.rack[p].deadline = 0
	return n, size
}

// evictSince is evict for the latest transmissions, at most so many bytes.
func (m *model) evictSince(p int, since mono.Time, most int) (n int) {
	trans, left := m.trans[p], false
	for i := len(trans) - 1; i >= 0; i-- {
		tr := trans[i]
		if !tr.alive {
			continue
		}
		if most <= 0 || tr.at < since {
			left = true
			break
		}
		c := m.chunks[tr.idx]
		m.end(tr.idx, p)
		most -= len(c.data.Payload)
		if len(c.live) == 0 {
			c.state, c.lostOn = "lost", -1
			n++
		}
	}
	if !left {
		m.rack[p].deadline = 0
	}
	return n
}

func (m *model) inState(state string) (out []uint64) {
	for idx := m.base; idx != m.next; idx++ {
		if m.chunks[idx].state == state {
			out = append(out, idx)
		}
	}
	return out
}

func (m *model) sum(state string) (n int) {
	for _, idx := range m.inState(state) {
		n += len(m.chunks[idx].data.Payload)
	}
	return n
}

func (m *model) window() int { return max(0, m.arwnd-m.sum("out")) }

func (m *model) flight(p int) (n int) {
	for idx := m.base; idx != m.next; idx++ {
		if c := m.chunks[idx]; c.live[p] {
			n += len(c.data.Payload)
		}
	}
	return n
}

func (m *model) oldest(p int) (mono.Time, uint64, bool) {
	for _, tr := range m.trans[p] {
		if tr.alive {
			return tr.at, tr.idx, true
		}
	}
	return 0, 0, false
}

// compare checks everything the Sender tells about itself.
func (m *model) compare() {
	s, t := m.s, m.t
	require.Equal(t, m.pushed-m.cutBytes, s.Queued())
	require.Equal(t, m.pushed-m.freedBytes, s.Held())
	require.Equal(t, m.sum("out")+m.sum("lost"), s.Outstanding())
	require.Equal(t, m.window(), s.PeerWindow())
	require.Equal(t, uint32(m.next), uint32(s.NextTSN()))
	require.Equal(t, uint32(m.base-1), uint32(s.CumAcked()))
	require.Equal(t, len(m.inState("lost")), s.lostChunks())
	require.Equal(t, m.pushed == m.cutBytes && m.base == m.next, s.Done())
	require.Equal(t, m.probing && m.base != m.next, s.WindowProbe())
	held := 0
	for sid := range s.streams {
		held += s.StreamHeld(uint16(sid))
	}
	require.Equal(t, s.Held(), held)
	var deadline mono.Time
	for p := range locator.MaxPaths {
		require.Equal(t, m.flight(p), s.InFlight(locator.PathID(p)), "in flight on path %d", p)
		at, _, ok := m.oldest(p)
		gotAt, gotOK := s.Oldest(locator.PathID(p))
		require.Equal(t, ok, gotOK, "path %d", p)
		require.Equal(t, at, gotAt, "path %d", p)
		deadline = mono.Min(deadline, m.rack[p].deadline)
	}
	got, _ := s.RackDeadline()
	require.Equal(t, deadline, got)
	m.compareCandidates()
}

// compareCandidates checks what must hold of any probe candidate.
func (m *model) compareCandidates() {
	n := 0
	for idx := m.base; idx != m.next; idx++ {
		if m.s.candidates() > 0 && m.s.cand.has(m.s.pos(idx)) {
			n++
			require.Equal(m.t, "out", m.chunks[idx].state)
			require.Len(m.t, m.chunks[idx].live, 1)
		}
	}
	require.Equal(m.t, n, m.s.candidates())
}
