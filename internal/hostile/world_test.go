package hostile

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/endpoint"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/rx"
	"github.com/go-multihome/multihome/internal/tx"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// world is two pure endpoints, a that dials and b that listens, a network between them with a fixed delay, and everybody
// else, on virtual time. Strangers' packets come in through inject.
type world struct {
	t    testing.TB
	rnd  *rand.Rand
	now  mono.Time
	a, b *host

	flights []flight  // in order of arrival
	seen    []capture // the last packets between a and b
	nSeen   int
	cookies [][]byte // State Cookies that strangers received
	spare   [][]byte
	lent    *pktbuf.Batch
	paths   []assoc.PathInfo
	loss    int            // of a hundred packets between a and b
	insane  bool           // the attacker knows the tags of the associations it attacks
	ends    map[string]int // how associations between a and b ended
	worst   float64        // the largest ratio of an answer to a stranger, in IP bytes, to what it answers
}

// host is one endpoint.
type host struct {
	name  string
	ep    *endpoint.Endpoint
	local []locator.Locator
	conns []*conn
}

// conn is one association as its user sees it.
type conn struct {
	h       *host
	ent     *endpoint.Entry
	dialled bool
	live    bool // between a and b, whose data is compared; else a stranger's
	greedy  bool // its user reads nothing
	touched bool
	closing bool
	ended   bool
	err     error
	wrote   map[uint16]int
	read    map[uint16]int
	whole   int // unordered messages received
	unread  []rx.Part
	flushes int
	cum     uint32      // as acknowledged to it last
	got     uint32      // TSN that arrived last
	rsn     uint32      // of the next request it expects
	before  assoc.Stats // what had been counted when the peer began it anew
}

type flight struct {
	at   mono.Time
	to   *host
	from assoc.Arrival
	pkt  []byte
}

// capture is a packet seen on the network.
type capture struct {
	to   *host
	from assoc.Arrival
	pkt  []byte
}

// start is when every world begins.
const start = mono.Time(time.Hour)

const (
	netDelay = 5 * time.Millisecond
	tick     = time.Millisecond
	port     = 5000
	maxSeen  = 512
)

var (
	addrsA = []string{"10.0.0.1:9899", "10.0.1.1:9899"}
	addrsB = []string{"10.0.0.2:5000", "10.0.1.2:5000"}
)

func newHost(name string, rnd *rand.Rand, change func(*endpoint.Config), addrs ...string) *host {
	h := &host{name: name}
	for _, a := range addrs {
		h.local = append(h.local, locator.FromAddrPort(netip.MustParseAddrPort(a)))
	}
	cfg := endpoint.Config{Assoc: assoc.Config{Random: rnd.Uint64, Check: true, Window: 256 << 10}, Local: h.local}
	if change != nil {
		change(&cfg)
	}
	h.ep = endpoint.New(cfg)
	return h
}

func newWorld(t testing.TB, seed uint64, change func(*endpoint.Config)) *world {
	rnd := rand.New(rand.NewPCG(seed, 1))
	w := &world{t: t, rnd: rnd, now: start, lent: pktbuf.NewBatch(), ends: map[string]int{}}
	w.a = newHost("a", rnd, change, addrsA...)
	w.b = newHost("b", rnd, change, addrsB...)
	require.NoError(t, w.b.ep.Listen(port, nil))
	return w
}

func (w *world) failf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("at %v: %s", w.now.Sub(start), fmt.Sprintf(format, args...))
}

// host returns who has an address, with the index of the locator.
func (w *world) host(ap netip.AddrPort) (*host, int) {
	for _, h := range [2]*host{w.a, w.b} {
		for i, l := range h.local {
			if l.AddrPort() == ap {
				return h, i
			}
		}
	}
	return nil, 0
}

// adopt takes a new association into its host's care.
func (h *host) adopt(ent *endpoint.Entry) *conn {
	c := &conn{h: h, ent: ent, wrote: map[uint16]int{}, read: map[uint16]int{}}
	ent.Owner = c
	h.conns = append(h.conns, c)
	return c
}

func (w *world) dial() *conn {
	ent, err := w.a.ep.Dial(w.now, endpoint.DialParams{Remote: w.b.local, RemotePort: port})
	require.NoError(w.t, err)
	c := w.a.adopt(ent)
	c.dialled, c.live, c.touched = true, true, true
	return c
}

// send puts the packets of an association, or of the endpoint (c nil), on the network.
func (w *world) send(h *host, c *conn, out *pktbuf.Batch) {
	for _, pk := range out.Packets() {
		to, i := w.host(pk.Peer)
		if to == nil {
			w.answered(pk.Buf)
			if c != nil {
				c.reveal(pk.Buf)
			}
			continue
		}
		if w.loss > 0 && w.rnd.IntN(100) < w.loss {
			continue
		}
		from := assoc.Arrival{Local: i, Peer: h.local[pk.Socket].AddrPort()}
		w.flights = append(w.flights, flight{w.now.Add(netDelay), to, from, w.clone(pk.Buf)})
	}
	out.Reset()
}

func (w *world) clone(p []byte) []byte {
	if n := len(w.spare); n > 0 {
		b := w.spare[n-1]
		w.spare = w.spare[:n-1]
		return append(b[:0], p...)
	}
	return bytes.Clone(p)
}

// answered takes what is sent to a stranger, who keeps the cookies.
func (w *world) answered(pkt []byte) {
	it := wire.Chunks(pkt)
	c, ok := it.Next()
	if !ok || c.Type != wire.TypeInitAck {
		return
	}
	w.cookies = append(w.cookies, bytes.Clone(pkt))
	if len(w.cookies) > 64 {
		w.cookies = w.cookies[1:]
	}
}

// follow notes the numbers in a packet of the peer: who sees the packets knows them.
func (c *conn) follow(pkt []byte) { c.note(pkt, &c.got, &c.cum) }

// reveal notes the numbers in a packet of its own that a stranger got.
func (c *conn) reveal(pkt []byte) { c.note(pkt, &c.cum, &c.got) }

func (c *conn) note(pkt []byte, data, sack *uint32) {
	it := wire.Chunks(pkt)
	for ck, ok := it.Next(); ok; ck, ok = it.Next() {
		switch {
		case len(ck.Value) < 4:
		case ck.Type == wire.TypeData:
			*data = be.Uint32(ck.Value)
		case ck.Type == wire.TypeSack:
			*sack = be.Uint32(ck.Value)
		case ck.Type == wire.TypeReconfig && be.Uint16(ck.Value) == uint16(wire.ParamReconfigResponse) && len(ck.Value) >= 12:
			if r := be.Uint32(ck.Value[4:]); be.Uint32(ck.Value[8:]) <= 1 && r-c.rsn < 8 { // performed
				c.rsn = r + 1
			}
		}
	}
	if c.rsn == 0 && c.got != 0 {
		c.rsn = c.got // requests are numbered from the initial TSN
	}
}

// keep remembers a packet that arrived, for mutation.
func (w *world) keep(f flight) {
	k := capture{f.to, f.from, f.pkt}
	if len(w.seen) < maxSeen {
		w.seen = append(w.seen, k)
		return
	}
	at := w.nSeen % maxSeen
	w.spare = append(w.spare, w.seen[at].pkt)
	w.seen[at] = k
	w.nSeen++
}

// overhead is what IP and UDP add to a packet.
func overhead(peer netip.AddrPort) int {
	if peer.Addr().Is4() {
		return 28
	}
	return 48
}

// inject lets a packet arrive. It returns the association that took it, nil if none did.
func (w *world) inject(h *host, from assoc.Arrival, pkt []byte) *conn {
	ent, v := h.ep.Lookup(from, pkt)
	switch v {
	case endpoint.Known:
		c := ent.Owner.(*conn)
		ent.Assoc.Handle(w.now, from, pkt)
		c.touched = true
		return c
	case endpoint.Stray:
		return w.stray(h, from, pkt)
	}
	return nil
}

func (w *world) stray(h *host, from assoc.Arrival, pkt []byte) *conn {
	out := w.lent
	out.Reset()
	r := h.ep.Stray(w.now, from, pkt, out)
	w.measure(from, pkt, out)
	w.send(h, nil, out)
	if r.Entry == nil {
		return nil
	}
	if r.Born {
		h.adopt(r.Entry)
	}
	c := r.Entry.Owner.(*conn)
	if r.Born {
		c.live = w.mate(c) != nil
	}
	r.Entry.Assoc.HandleCookie(w.now, from, pkt, r.Cookie)
	c.touched = true
	return c
}

// measure notes how the answer to a stranger compares with what it answers.
func (w *world) measure(from assoc.Arrival, pkt []byte, out *pktbuf.Batch) {
	n := 0
	for _, pk := range out.Packets() {
		n += len(pk.Buf) + overhead(pk.Peer)
	}
	w.worst = max(w.worst, float64(n)/float64(len(pkt)+overhead(from.Peer)))
}

// mate returns the other end of an association between a and b: the one that has the same tags and ports the other way
// around.
func (w *world) mate(c *conn) *conn {
	other := w.a
	if c.h == w.a {
		other = w.b
	}
	own, peer := c.ent.Assoc.Tags()
	src, dst := c.ent.Assoc.Ports()
	for _, m := range other.conns {
		s, d := m.ent.Assoc.Ports()
		if mo, mp := m.ent.Assoc.Tags(); mo == peer && mp == own && s == dst && d == src {
			return m
		}
	}
	return nil
}

// flush sends everything an association has, and reads its events.
func (w *world) flush(c *conn) {
	c.touched = false
	for n := 0; ; n++ {
		out := w.lent
		out.Reset()
		more := c.ent.Assoc.Transmit(w.now, out)
		w.events(c)
		if c.ent.Stale() {
			c.h.ep.Sync(w.now, c.ent)
		}
		sent := out.Len()
		w.send(c.h, c, out)
		if !more && sent == 0 {
			break
		}
		if n > 1000 {
			w.failf("%s: output does not end", c.h.name)
		}
	}
	w.bounds(c)
	if c.ended {
		w.remove(c)
	}
}

func (w *world) remove(c *conn) {
	c.h.ep.Remove(c.ent)
	for i := range c.unread {
		c.unread[i].Data.Free()
	}
	c.unread = nil
	for i, x := range c.h.conns {
		if x == c {
			c.h.conns = append(c.h.conns[:i], c.h.conns[i+1:]...)
			return
		}
	}
}

// bounds fails when an association holds more than it may.
func (w *world) bounds(c *conn) {
	a := c.ent.Assoc
	cfg := c.h.ep.Config()
	if n := a.Held() - a.SendHeld(); n > 2*cfg.Window+80<<10 {
		w.failf("%s holds %d bytes with a window of %d", c.h.name, n, cfg.Window)
	}
	if c.flushes++; c.flushes%64 == 0 {
		w.paths = a.Paths(w.paths[:0])
		if n := len(w.paths); n > cfg.MaxPaths {
			w.failf("%s has %d paths", c.h.name, n)
		}
	}
}

func (w *world) events(c *conn) {
	for n := 0; ; n++ {
		ev, ok := c.ent.Assoc.NextEvent()
		if !ok {
			return
		}
		if n > 100_000 {
			w.failf("%s: events do not end", c.h.name)
		}
		switch ev.Kind {
		case assoc.EventPart:
			w.part(c, ev.Part)
		case assoc.EventClosed:
			c.ended, c.err = true, ev.Err
			w.tally(c)
		case assoc.EventRestart:
			if c.live && !w.insane {
				w.failf("%s: an association between a and b was restarted", c.h.name)
			}
			w.anew(c)
		case assoc.EventPath:
			if c.live && !w.insane && w.calm(c) && ev.From == heartbeat.Active && ev.To != heartbeat.Active {
				w.failf("%s: %v went from %v to %v: %s", c.h.name, ev.Path, ev.From, ev.To, ev.Reason)
			}
		}
	}
}

// anew makes another association of one that its peer began anew, as driver does. It may have been a stranger's, who took a
// port of a's that a came to dial from.
func (w *world) anew(c *conn) {
	for i := range c.unread {
		c.unread[i].Data.Free()
	}
	*c = conn{h: c.h, ent: c.ent, wrote: map[uint16]int{}, read: map[uint16]int{}, before: c.ent.Assoc.Stats()}
	c.live = w.mate(c) != nil
}

// tally counts how the associations between a and b end.
func (w *world) tally(c *conn) {
	if !c.live {
		return
	}
	why := "in order"
	var f *assoc.Failure
	if errors.As(c.err, &f) {
		why, _, _ = strings.Cut(f.Error(), " on path")
		why, _, _ = strings.Cut(why, " [")
		why, _, _ = strings.Cut(why, ";")
	}
	w.ends[why]++
}

// calm reports whether nothing may happen to an association but its own doing.
func (w *world) calm(c *conn) bool { return !c.closing && c.ent.Assoc.State() == assoc.Established }

// pattern is the byte at offset i of what is written to a stream of an association.
func pattern(src, dst, sid uint16, i int) byte {
	return byte(i*7>>3) ^ byte(i>>11) ^ byte(src) ^ byte(dst>>3) ^ byte(sid*31)
}

const unorderedSID = 9

func (w *world) part(c *conn, p rx.Part) {
	a := c.ent.Assoc
	if c.greedy {
		c.unread = append(c.unread, p)
		return
	}
	if c.live && !w.insane {
		w.compare(c, &p)
	}
	held := p.Data.Held
	p.Data.Free()
	a.Consumed(w.now, held)
}

// compare checks received bytes.
func (w *world) compare(c *conn, p *rx.Part) {
	src, dst := c.ent.Assoc.Ports() // the sender's are the other way around
	if p.Broken {
		w.failf("%s: a message is broken", c.h.name)
	}
	if p.SID == unorderedSID {
		if !p.Unordered || !p.Begin || !p.End || p.Data.Len != int(p.PPID) {
			w.failf("%s: unordered message of %d bytes, PPID %d", c.h.name, p.Data.Len, p.PPID)
		}
		i := 0
		for b := p.Data.Head; b != nil; b = b.Next() {
			for _, x := range b.Bytes() {
				if x != pattern(dst, src, p.SID, i+p.Data.Len) {
					w.failf("%s: byte %d of an unordered message of %d is wrong", c.h.name, i, p.Data.Len)
				}
				i++
			}
		}
		c.whole++
		return
	}
	i := c.read[p.SID]
	for b := p.Data.Head; b != nil; b = b.Next() {
		for _, x := range b.Bytes() {
			if x != pattern(dst, src, p.SID, i) {
				w.failf("%s: byte %d of stream %d is wrong", c.h.name, i, p.SID)
			}
			i++
		}
	}
	c.read[p.SID] = i
}

// write queues one message.
func (w *world) write(c *conn) {
	a := c.ent.Assoc
	if a.State() != assoc.Established || a.SendHeld() > 64<<10 || c.closing {
		return
	}
	src, dst := a.Ports()
	n := 1 + w.rnd.IntN(1500)
	if w.rnd.IntN(40) == 0 {
		n = 1 + w.rnd.IntN(30_000)
	}
	m := tx.NewMessage()
	m.SID = [...]uint16{0, 0, 1, 5, unorderedSID}[w.rnd.IntN(5)]
	at := c.wrote[m.SID]
	if m.SID == unorderedSID {
		m.Unordered, m.PPID, at = true, uint32(n), n
	}
	buf := make([]byte, n)
	for i := range buf {
		buf[i] = pattern(src, dst, m.SID, at+i)
	}
	if w.insane && w.rnd.IntN(4) == 0 { // may be given up
		m.Expires = w.now.Add(time.Duration(1+w.rnd.IntN(30)) * time.Millisecond)
		m.LimitRtx, m.MaxRtx = w.rnd.IntN(2) == 0, uint16(w.rnd.IntN(2))
	}
	if w.insane && w.rnd.IntN(4) == 0 {
		assoc.SetPolicy(m, path.Policy(w.rnd.IntN(int(path.Policies)+2)))
	}
	m.Data.Write(buf)
	if err := a.Send(w.now, m); err != nil {
		m.Free()
		if c.live && !w.insane {
			w.failf("%s: %v", c.h.name, err)
		}
		return
	}
	c.wrote[m.SID] += n
	c.touched = true
}

// step lets one tick pass: arrivals, deadlines, output.
func (w *world) step() {
	w.now = w.now.Add(tick)
	for len(w.flights) > 0 && !w.now.Before(w.flights[0].at) {
		f := w.flights[0]
		w.flights = w.flights[1:]
		if c := w.inject(f.to, f.from, f.pkt); c != nil {
			c.follow(f.pkt)
		}
		w.keep(f)
	}
	for _, h := range [2]*host{w.a, w.b} {
		for i := len(h.conns) - 1; i >= 0; i-- { // flush may remove it
			c := h.conns[i]
			if at, ok := c.ent.Assoc.Deadline(); ok && !w.now.Before(at) {
				c.ent.Assoc.Timeout(w.now)
				c.touched = true
			}
			if c.touched {
				w.flush(c)
			}
			if !c.ended {
				w.moves(c)
			}
		}
	}
}

// moves fails when a deadline that has come does not go away: with a real timer that were a loop.
func (w *world) moves(c *conn) {
	for n := 0; ; n++ {
		at, ok := c.ent.Assoc.Deadline()
		if !ok && c.ent.Assoc.State() != assoc.Closed {
			w.failf("%s in %v has no deadline", c.h.name, c.ent.Assoc.State())
		}
		if c.ended || !ok || w.now.Before(at) {
			return
		}
		if n > 16 {
			w.failf("%s in %v: deadline %v does not move\n%+v", c.h.name, c.ent.Assoc.State(), at.Sub(w.now), c.ent.Assoc.Paths(nil))
		}
		c.ent.Assoc.Timeout(w.now)
		w.flush(c)
	}
}

// idle lets time pass without anybody doing anything, from deadline to deadline.
func (w *world) idle(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		next := end
		if len(w.flights) > 0 {
			next = mono.Min(next, w.flights[0].at)
		}
		for _, h := range [2]*host{w.a, w.b} {
			for _, c := range h.conns {
				if at, ok := c.ent.Assoc.Deadline(); ok {
					next = mono.Min(next, at)
				}
			}
		}
		w.now = max(w.now, next.Add(-tick))
		w.step()
	}
}

// dissolve ends every association and checks that nothing is left of any. Peers that never answer are given up after
// Association.Max.Retrans, which takes minutes.
func (w *world) dissolve() {
	for _, h := range [2]*host{w.a, w.b} {
		for _, c := range h.conns {
			c.closing, c.touched = true, true
			c.ent.Assoc.Shutdown(w.now)
		}
	}
	w.idle(20 * time.Minute)
	for _, h := range [2]*host{w.a, w.b} {
		tags, addrs := h.ep.Tables()
		if n := h.ep.Len(); n+len(h.conns)+tags+addrs > 0 {
			w.failf("%s: %d associations (%d), %d tags, %d addresses are left: %+v", h.name, n, len(h.conns), tags, addrs, h.ep.Stats())
		}
	}
}

// livePairs returns the associations between a and b that are established, from a's side.
func (w *world) livePairs() (cs []*conn) {
	for _, c := range w.a.conns {
		if c.live && c.ent.Assoc.State() == assoc.Established {
			cs = append(cs, c)
		}
	}
	return cs
}
