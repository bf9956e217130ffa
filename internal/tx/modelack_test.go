package tx

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// mSack is a SACK before it is encoded.
type mSack struct {
	cum   uint64
	arwnd uint32
	gaps  [][2]uint16
	dups  []uint64
	only  bool // just the cumulative TSN, as SHUTDOWN has it
}

func (k *mSack) encode(t require.TestingT) *wire.Sack {
	var b wire.Builder
	b.Open(make([]byte, 0, wire.MaxPacket), wire.Header{})
	require.True(t, b.Sack(serial.TSN(k.cum), k.arwnd))
	for _, g := range k.gaps {
		require.True(t, b.SackGap(g[0], g[1]))
	}
	for _, d := range k.dups {
		require.True(t, b.SackDup(serial.TSN(d)))
	}
	it := wire.Chunks(b.Seal())
	c, ok := it.Next()
	require.True(t, ok)
	s, err := wire.ParseSack(c)
	require.NoError(t, err)
	return &s
}

// reported returns which TSNs a SACK acknowledges, ignoring blocks that are out of order.
func (k *mSack) reported() map[uint64]bool {
	set := map[uint64]bool{}
	top := k.cum + 1
	for _, g := range k.gaps {
		if g[0] > g[1] || k.cum+uint64(g[1]) < top {
			continue
		}
		for idx := max(top, k.cum+uint64(g[0])); idx <= k.cum+uint64(g[1]); idx++ {
			set[idx] = true
		}
		top = k.cum + uint64(g[1]) + 1
	}
	return set
}

// sack gives a SACK to both and compares the results.
func (m *model) sack(now mono.Time, k *mSack, res *AckResult) {
	var err error
	if k.only {
		err = m.s.CumAck(now, serial.TSN(k.cum), &m.rtt, res)
	} else {
		err = m.s.Sack(now, k.encode(m.t), &m.rtt, res)
	}
	if k.cum+1 < m.base {
		require.Equal(m.t, ErrStale, err)
		return
	}
	bad := k.cum >= m.next
	for _, g := range k.gaps {
		bad = bad || k.cum+uint64(g[1]) >= m.next
	}
	if bad {
		require.Equal(m.t, ErrAckUnsent, err)
		return
	}
	require.NoError(m.t, err)

	w := &mResult{m: m, now: now}
	for p := range locator.MaxPaths {
		w.flight[p] = m.flight(p)
		_, w.oldest[p], _ = m.oldest(p)
	}
	base := m.base
	w.CumAdvanced = k.cum >= base
	for idx := base; idx <= k.cum; idx++ {
		c := m.chunks[idx]
		if c.state != "acked" {
			if m.cut && c.resent {
				w.unsure = max(w.unsure, c.sent)
			}
			w.ack(idx, base)
		}
		c.state, c.ring = "gone", &m.s.ring[0]
		w.Freed += len(c.data.Payload)
	}
	m.freedBytes += w.Freed
	m.base = k.cum + 1
	if !k.only {
		w.compareGaps(k)
		w.dups(k)
		m.arwnd = int(k.arwnd)
	}
	m.windowOpened()
	for p := range locator.MaxPaths {
		if w.Touched>>p&1 != 0 {
			w.detect(p)
		}
	}
	for p := range w.Paths {
		if pa := &w.Paths[p]; pa.sample.Before(w.unsure) {
			pa.RTT = 0 // may have arrived long before the resend that let the cumulative TSN jump over it
		}
	}
	w.check(res)
}

// mResult collects what the model thinks of one SACK.
type mResult struct {
	AckResult
	m      *model
	now    mono.Time
	flight [locator.MaxPaths]int
	oldest [locator.MaxPaths]uint64
}

func (w *mResult) touch(p int) *PathAck {
	w.Touched |= 1 << p
	w.Paths[p].Flight = w.flight[p]
	return &w.Paths[p]
}

func (w *mResult) ack(idx, base uint64) {
	m, c := w.m, w.m.chunks[idx]
	size := len(c.data.Payload)
	if c.state == "lost" && c.lostOn >= 0 {
		m.rack[c.lostOn].spurious(base, m.next)
	}
	for p := range locator.MaxPaths {
		if c.live[p] {
			pa := w.touch(p)
			pa.OldestAcked = pa.OldestAcked || w.oldest[p] == idx
			m.end(idx, p)
		}
	}
	c.state = "acked"
	p := c.last
	pa := w.touch(p)
	if !c.doubt && (!c.resent || w.now.Sub(c.sent) >= m.rtt[p].Min*7/8) {
		pa.AckSent = max(pa.AckSent, c.sent)
		if k := &m.rack[p]; c.sent > k.sent || c.sent == k.sent && idx > k.tsn {
			k.sent, k.tsn, k.rtt = c.sent, idx, w.now.Sub(c.sent)
		}
	}
	if c.credited {
		return
	}
	c.credited = true
	pa.Bytes += size
	w.Acked += size
	w.Chunks++
	pa.Sole = pa.Sole || len(c.paths) == 1
	if c.n == 2 && len(c.paths) == 2 && w.now.Sub(c.sent) < m.rtt[p].Min*7/8 {
		for q := range c.paths { // too soon for an answer to the second transmission
			if q != p {
				w.touch(q).Sole = true
			}
		}
	}
	if !c.resent {
		pa.sample = max(pa.sample, c.sent)
		pa.RTT = max(1, w.now.Sub(pa.sample))
	}
}

func (w *mResult) compareGaps(k *mSack) {
	m := w.m
	set := k.reported()
	var high uint64
	for idx := m.base; idx != m.next; idx++ {
		if set[idx] {
			high = idx
			if m.chunks[idx].state != "acked" {
				if m.cut && idx > m.top {
					w.unsure = w.now
				}
				w.ack(idx, m.base)
			}
		}
	}
	full := len(k.gaps) >= fullList && len(k.gaps) >= m.longest && high > 0
	m.longest = max(m.longest, len(k.gaps))
	m.cut = full
	for idx := m.base; idx != m.next; idx++ {
		c := m.chunks[idx]
		if c.state != "acked" || set[idx] || full && idx > high {
			continue
		}
		w.Reneged++
		w.touch(c.last)
		sent := c.sent
		c.state = "out"
		m.launch(idx, c.last, w.now)
		c.sent, c.doubt, c.resent = sent, true, true
	}
	m.top = 0
	for idx := m.base; idx != m.next; idx++ {
		if m.chunks[idx].state == "acked" {
			m.top = idx
		}
	}
}

func (w *mResult) dups(k *mSack) {
	m := w.m
	w.DupTSNs = len(k.dups)
	for _, idx := range k.dups {
		c := m.chunks[idx]
		if c == nil || !c.resent || c.rep || idx+uint64(len(m.s.ring)) < m.next {
			continue
		}
		if c.state == "gone" && c.ring != &m.s.ring[0] {
			continue // the ring was renewed since
		}
		c.rep = true
		w.Spurious++
		if c.lostOn >= 0 {
			m.rack[c.lostOn].spurious(m.base, m.next)
		}
	}
}

func (m *model) windowOpened() {
	if m.base == m.next {
		m.probing = false
	}
	if !m.probing || m.arwnd < len(m.chunks[m.base].data.Payload) {
		return
	}
	m.probing = false
	if c := m.chunks[m.base]; c.state == "out" {
		for p := range locator.MaxPaths {
			if c.live[p] {
				m.end(m.base, p)
			}
		}
		c.state, c.lostOn = "lost", -1
	}
}

func (k *mRack) spurious(base, next uint64) {
	if base >= k.round {
		k.round, k.mult, k.persist = next, min(max(1, k.mult)+1, maxMult), persistence
	}
}

func (w *mResult) detect(p int) {
	m := w.m
	k := &m.rack[p]
	k.deadline = 0
	if k.sent == 0 {
		return
	}
	least := m.rtt[p].Min
	if least == 0 {
		least = k.rtt
	}
	reo := least / 4 * time.Duration(max(1, k.mult))
	if m.rtt[p].SRTT > 0 {
		reo = min(reo, m.rtt[p].SRTT)
	}
	reo = max(reo, minReorder)
	for _, tr := range m.trans[p] {
		if !tr.alive {
			continue
		}
		if tr.at > k.sent || tr.at == k.sent && tr.idx >= k.tsn {
			break
		}
		if due := tr.at.Add(k.rtt + reo); w.now < due {
			k.deadline = due
			break
		}
		c := m.chunks[tr.idx]
		m.end(tr.idx, p)
		pa := w.touch(p)
		pa.Lost += len(c.data.Payload)
		pa.LostSent = max(pa.LostSent, tr.at)
		if len(c.live) == 0 {
			c.state, c.lostOn = "lost", p
		}
	}
	if pa := &w.Paths[p]; pa.Lost > 0 && pa.LostSent >= k.episode {
		k.episode = w.now
		if k.persist > 0 {
			if k.persist--; k.persist == 0 {
				k.mult = 1
			}
		}
	}
}

func (w *mResult) check(res *AckResult) {
	for p := range res.Paths {
		require.Equal(w.m.t, w.Paths[p], res.Paths[p], "path %d", p)
	}
	got := *res
	got.Paths = w.Paths
	require.Equal(w.m.t, w.AckResult, got)
}

// rackTimeout lets the reordering timer run in both.
func (m *model) rackTimeout(now mono.Time, res *AckResult) {
	w := &mResult{m: m, now: now}
	for p := range locator.MaxPaths {
		w.flight[p] = m.flight(p)
	}
	m.s.RackTimeout(now, &m.rtt, res)
	for p := range locator.MaxPaths {
		if at := m.rack[p].deadline; at != 0 && now >= at {
			w.detect(p)
		}
	}
	w.check(res)
}
