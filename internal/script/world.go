package script

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/endpoint"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/rx"
	"github.com/go-multihome/multihome/internal/simnet"
	"github.com/go-multihome/multihome/internal/tx"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// UDPPort is the encapsulation port of every host, SCTPPort where hosts listen.
const (
	UDPPort  = 9899
	SCTPPort = 5000
)

// maxStill is how many steps the world may take without time going on before it is declared stuck.
const maxStill = 100_000

// World is some hosts with an endpoint each, on a simulated network and a virtual clock. It plays the driver's part: it
// carries packets, calls the cores when their deadlines come, and reads what they deliver.
type World struct {
	Net   *simnet.Network
	Now   mono.Time
	Hosts []*Host
	Out   strings.Builder // what commands and events print
	Quiet bool            // events print nothing
	Err   error           // the first thing that must not happen: wrong bytes, a livelock

	nat    *simnet.NAT
	trace  bool
	arwnd  bool     // traces show the windows in SACKs
	only   []string // trace packets that hold one of these
	still  int
	rename *renamer
	gauges map[streamKey]*gauge
	seen   map[string]map[wire.ChunkType][]byte // by direction and chunk type: the last packet sent that held one
}

// Host is one machine.
type Host struct {
	Name  string
	World *World
	Sim   *simnet.Host
	EP    *endpoint.Endpoint
	Cfg   assoc.Config
	// NoListing is that of the endpoint.
	NoListing bool
	Conns     []*Conn

	locals []locator.Locator
	batch  *pktbuf.Batch
	rng    *rand.Rand
	boots  int
	faulty []bool // by local locator: what the endpoint was told of links and addresses
	stall  stall
}

// Conn is one association as the host's user sees it.
type Conn struct {
	Host   *Host
	Entry  *endpoint.Entry
	A      *assoc.Assoc
	Name   string
	Up     bool
	EOF    bool
	Closed bool
	Err    error
	Unsent int

	Limit   int  // bytes the send buffer takes
	Paused  bool // the user does not read
	backlog []rx.Part
	pending []*job
	out     map[uint16]*outStream
	in      map[uint16]*inStream
	removed bool
	infos   []assoc.PathInfo // scratch
	peer    *Host            // whose pattern to expect
}

// job is a send command that is not all in the send buffer yet.
type job struct {
	sid       uint16
	ppid      uint32
	left      int
	size      int
	unordered bool
	limited   bool   // partially reliable:
	resends   uint16 // at most so often
}

// NewWorld returns an empty world. All randomness, the network's and the endpoints', comes from seed.
func NewWorld(seed uint64) *World {
	w := &World{Net: simnet.New(seed), Now: simnet.Epoch, rename: newRenamer(), seen: map[string]map[wire.ChunkType][]byte{}, gauges: map[streamKey]*gauge{}}
	w.Net.Tap = w.tap
	return w
}

// AddHost adds a machine with the given addresses. Its endpoint exists from Boot on.
func (w *World) AddHost(name string, addrs ...netip.Addr) *Host {
	h := &Host{Name: name, World: w, Sim: w.Net.AddHost(name, addrs...), batch: pktbuf.NewBatch()}
	for _, a := range addrs {
		h.locals = append(h.locals, locator.Locator{Addr: a, Port: UDPPort})
	}
	h.Cfg.Check = true
	w.Hosts = append(w.Hosts, h)
	return h
}

// Boot gives the host a new endpoint. What an earlier one knew is forgotten, as after a crash.
func (h *Host) Boot() {
	for _, c := range h.Conns {
		c.drop()
	}
	h.Conns = nil
	h.boots++
	f := fnv.New64a()
	fmt.Fprint(f, h.Name, h.boots)
	h.rng = rand.New(rand.NewPCG(h.World.Net.Seed(), f.Sum64()))
	cfg := h.Cfg
	cfg.Random = h.rng.Uint64
	h.EP = endpoint.New(endpoint.Config{Assoc: cfg, Local: h.locals, NoListing: h.NoListing})
}

// drop forgets an association without telling the peer, and gives back its memory.
func (c *Conn) drop() {
	for _, p := range c.backlog {
		p.Data.Free()
	}
	c.backlog = nil
	c.A.Abort(c.Host.World.Now, wire.CauseUserAbort, "")
	for {
		e, ok := c.A.NextEvent()
		if !ok {
			break
		}
		e.Part.Data.Free()
	}
	c.removed = true
}

// Close gives back the memory of everything in the world.
func (w *World) Close() {
	for _, h := range w.Hosts {
		for _, c := range h.Conns {
			c.drop()
		}
	}
}

func (w *World) host(name string) *Host {
	for _, h := range w.Hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

func (w *World) since() time.Duration { return w.Now.Sub(simnet.Epoch) }

// say prints a line about now.
func (w *World) say(format string, args ...any) {
	if !w.Quiet {
		fmt.Fprintf(&w.Out, "%11s  %s\n", stamp(w.since()), fmt.Sprintf(format, args...))
	}
}

// stamp prints an instant in milliseconds to the microsecond.
func stamp(d time.Duration) string {
	return fmt.Sprintf("%d.%03d", d/time.Millisecond, d/time.Microsecond%1000)
}

func (w *World) fail(err error) {
	if w.Err == nil {
		w.Err = fmt.Errorf("at %v: %w", w.since(), err)
	}
}

// sackWindow finds the window in a printed SACK. It counts memory down to the last byte of bookkeeping, so traces leave it
// out unless it is what they are about.
var sackWindow = regexp.MustCompile(`(SACK cum=[0-9]+) arwnd=[0-9]+`)

// tap prints packets as they are sent or die.
func (w *World) tap(e simnet.TapEvent) {
	if e.Fate == simnet.Delivered || e.Fate == simnet.Corrupted {
		return
	}
	from := w.Net.AddrName(e.From.Addr())
	w.rename.learn(from[:1], e.Data)
	w.remember(&e)
	if !w.trace {
		return
	}
	text := w.rename.text(e.Data)
	if len(w.only) > 0 {
		show := false
		for _, o := range w.only {
			show = show || strings.Contains(text, o)
		}
		if !show {
			return
		}
	}
	if !w.arwnd {
		text = sackWindow.ReplaceAllString(text, "$1")
	}
	fate := ""
	if e.Fate != simnet.Passed {
		fate = "(" + e.Fate.String() + ") "
	}
	w.say("%s %s%s", e.Link, fate, text)
}

// remember keeps a copy of a packet under the types of its control chunks.
func (w *World) remember(e *simnet.TapEvent) {
	it := wire.Chunks(e.Data)
	for c, ok := it.Next(); ok; c, ok = it.Next() {
		if c.Type == wire.TypeData || c.Type == wire.TypeIData || c.Type == wire.TypeSack {
			return
		}
		m := w.seen[e.Link]
		if m == nil {
			m = map[wire.ChunkType][]byte{}
			w.seen[e.Link] = m
		}
		m[c.Type] = append([]byte(nil), e.Data...)
	}
}

// Dial starts an association from some of the addresses of h to some of another host's, where it listens. port is our SCTP
// port, 0 leaves it to the endpoint.
func (h *Host) Dial(to *Host, local []int, remote []netip.Addr, port uint16) (*Conn, error) {
	var rem []locator.Locator
	for _, a := range remote {
		rem = append(rem, locator.Locator{Addr: a, Port: UDPPort})
	}
	ent, err := h.EP.Dial(h.World.Now, endpoint.DialParams{Remote: rem, RemotePort: SCTPPort, LocalPort: port, Locals: local})
	if err != nil {
		return nil, err
	}
	c := h.adopt(ent)
	c.peer = to
	h.flush(c)
	return c, nil
}

// adopt makes a connection of an entry of the endpoint.
func (h *Host) adopt(ent *endpoint.Entry) *Conn {
	c := &Conn{Host: h, Entry: ent, A: ent.Assoc, Limit: 1 << 20, out: map[uint16]*outStream{}, in: map[uint16]*inStream{}}
	c.Name = h.Name
	if n := len(h.Conns); n > 0 {
		c.Name = fmt.Sprintf("%s/%d", h.Name, n+1)
	}
	ent.Owner = c
	h.Conns = append(h.Conns, c)
	for i, down := range h.faulty {
		if down {
			c.A.LocalDown(h.World.Now, i, true)
		}
	}
	return c
}

// SetFault tells the endpoint that the link or address of a local locator is gone or back.
func (h *Host) SetFault(local int, down bool) {
	if h.faulty == nil {
		h.faulty = make([]bool, len(h.Sim.Addrs))
	}
	h.faulty[local] = down
	for _, c := range h.Conns {
		if !c.removed {
			c.A.LocalDown(h.World.Now, local, down)
			h.flush(c)
		}
	}
}

// Next returns when something happens next.
func (w *World) Next() (mono.Time, bool) {
	next, ok := w.Net.Next()
	for _, h := range w.Hosts {
		if at := h.stall.until; at != 0 && (!ok || at.Before(next)) {
			next, ok = at, true
		}
		for _, c := range h.Conns {
			if c.removed {
				continue
			}
			if at, has := c.A.Deadline(); has && (!ok || h.due(at).Before(next)) {
				next, ok = h.due(at), true
			}
		}
	}
	return next, ok
}

// Step goes on to the next instant at which something happens, not past limit. It reports false when nothing does.
func (w *World) Step(limit mono.Time) bool {
	next, ok := w.Next()
	if !ok || next.After(limit) || w.Err != nil {
		return false
	}
	if next.After(w.Now) {
		w.Now, w.still = next, 0
	} else if w.still++; w.still > maxStill {
		w.fail(fmt.Errorf("time stands still: %d steps in one instant", w.still))
		return false
	}
	for a := range w.Net.Deliver(w.Now) {
		w.arrive(a)
	}
	for _, h := range w.Hosts {
		h.wake()
		for _, c := range h.Conns {
			if c.removed || h.stalled() {
				continue
			}
			if at, has := c.A.Deadline(); has && !w.Now.Before(at) {
				c.A.Timeout(w.Now)
				h.flush(c)
			}
		}
	}
	return true
}

// Advance lets time pass.
func (w *World) Advance(d time.Duration) {
	limit := w.Now.Add(d)
	for w.Step(limit) {
		continue
	}
	if w.Err == nil {
		w.Now = limit
	}
}

// Until lets time pass until done says so, at most d. It reports whether done did.
func (w *World) Until(d time.Duration, done func() bool) bool {
	limit := w.Now.Add(d)
	for !done() {
		if !w.Step(limit) {
			if w.Err == nil && !done() {
				w.Now = limit
			}
			return done()
		}
	}
	return true
}

// handle is what a reader does with one packet.
func (h *Host) handle(from assoc.Arrival, pkt []byte) {
	ent, verdict := h.EP.Lookup(from, pkt)
	switch verdict {
	case endpoint.Known:
		c := ent.Owner.(*Conn)
		c.A.Handle(h.World.Now, from, pkt)
		h.flush(c)
	case endpoint.Stray:
		h.stray(from, pkt)
	}
}

func (h *Host) stray(from assoc.Arrival, pkt []byte) {
	w := h.World
	h.batch.Reset()
	res := h.EP.Stray(w.Now, from, pkt, h.batch)
	if res.Entry == nil {
		h.checkAnswer(from, pkt)
	}
	h.write(nil)
	if res.Entry == nil {
		return
	}
	if res.Born {
		c := h.adopt(res.Entry)
		c.peer = w.hostAt(from.Peer)
	}
	c := res.Entry.Owner.(*Conn)
	c.A.HandleCookie(w.Now, from, pkt, res.Cookie)
	h.flush(c)
}

// write puts the batch on the wire and tells c about local faults.
func (h *Host) write(c *Conn) (fault bool) {
	for _, p := range h.batch.Packets() {
		if c != nil {
			c.checkPacket(&p)
		}
		d := simnet.Datagram{From: h.locals[p.Socket].AddrPort(), To: p.Peer, Data: p.Buf, NoDF: p.NoDF}
		err := h.World.Net.Send(h.World.Now, d)
		switch {
		case err == nil || c == nil:
			continue
		case p.Path != pktbuf.NoPath:
			c.A.SendFailed(h.World.Now, locator.PathID(p.Path), false)
		default:
			c.A.SetupFailed(h.World.Now, assoc.Arrival{Local: p.Socket, Peer: p.Peer}, err.Error())
		}
		fault = true
	}
	return fault
}

// flush is what everybody does who has changed the state of an association: output, then events, until both are empty.
func (h *Host) flush(c *Conn) {
	for again := !h.stalled(); again; {
		h.batch.Reset()
		again = c.A.Transmit(h.World.Now, h.batch)
		again = h.write(c) || again
		again = c.events() || again
		again = c.push() || again
		h.EP.Sync(h.World.Now, c.Entry)
		if h.World.still++; h.World.still > maxStill {
			h.World.fail(fmt.Errorf("%s: output never ends", c.Name))
			return
		}
	}
	if c.Closed && !c.removed {
		c.removed = true
		h.EP.Remove(c.Entry)
	}
}

// events hands on what the association has to tell. It reports whether that may have changed what goes out.
func (c *Conn) events() (changed bool) {
	for {
		e, ok := c.A.NextEvent()
		if !ok {
			return changed
		}
		if e.Kind == assoc.EventPart {
			changed = true
			if c.Paused {
				c.backlog = append(c.backlog, e.Part)
			} else {
				c.read(&e.Part)
			}
			continue
		}
		c.note(&e)
		changed = changed || e.Kind == assoc.EventUp || e.Kind == assoc.EventSpace
	}
}

// read is the user taking one part.
func (c *Conn) read(p *rx.Part) {
	s := c.in[p.SID]
	if s == nil {
		s = new(inStream)
		c.in[p.SID] = s
	}
	if err := s.take(p, c.peerSalt()); err != nil {
		c.Host.World.fail(fmt.Errorf("%s received %w", c.Name, err))
	}
	if g := c.gauge(p.SID); g != nil {
		g.read(c.Host.World.Now, s.offset)
	}
	held := p.Data.Held
	p.Data.Free()
	c.A.Consumed(c.Host.World.Now, held)
}

// gauge returns what measures the records of an inbound stream, nil when nothing does.
func (c *Conn) gauge(sid uint16) *gauge {
	if c.peer == nil || len(c.Host.World.gauges) == 0 {
		return nil
	}
	return c.Host.World.gauges[streamKey{c.peer.Name, sid}]
}

// Resume reads what waited while the user did not.
func (c *Conn) Resume() {
	c.Paused = false
	for i := range c.backlog {
		c.read(&c.backlog[i])
	}
	c.backlog = nil
	c.Host.flush(c)
}

func salt(h *Host) uint32 {
	if h == nil {
		return 0
	}
	return uint32(h.Name[0])
}

func (c *Conn) peerSalt() uint32 { return salt(c.peer) }

// Send queues n bytes in messages of size bytes on a stream; the send buffer takes them as it has room.
func (c *Conn) Send(sid uint16, n, size int, ppid uint32, unordered bool) {
	c.ask(&job{sid: sid, ppid: ppid, left: n, size: size, unordered: unordered})
}

func (c *Conn) ask(j *job) {
	c.pending = append(c.pending, j)
	c.Host.flush(c)
}

// push moves what was asked to be sent into the send buffer.
func (c *Conn) push() (changed bool) {
	for len(c.pending) > 0 && c.Up && !c.Closed && c.A.SendHeld() < c.Limit {
		j := c.pending[0]
		s := c.out[j.sid]
		if s == nil {
			s = new(outStream)
			c.out[j.sid] = s
		}
		was := *s
		n := min(j.size, j.left)
		m := tx.NewMessage()
		m.SID, m.PPID, m.Unordered = j.sid, j.ppid, j.unordered
		m.LimitRtx, m.MaxRtx = j.limited, j.resends
		s.compose(m, salt(c.Host), n)
		if err := c.A.Send(c.Host.World.Now, m); err != nil {
			*s = was
			m.Free()
			c.Host.World.say("%s: send on stream %d: %v", c.Name, j.sid, err)
			c.pending = c.pending[1:]
			continue
		}
		changed = true
		if j.left -= n; j.left == 0 {
			c.pending = c.pending[1:]
		}
	}
	return changed
}

// Idle reports whether everything asked to be sent was acknowledged.
func (c *Conn) Idle() bool { return len(c.pending) == 0 && c.A.SendHeld() == 0 }

// note remembers and prints an event.
func (c *Conn) note(e *assoc.Event) {
	w := c.Host.World
	switch e.Kind {
	case assoc.EventUp:
		c.Up = true
		out, in := c.A.Streams()
		w.say("%s: up, %d streams out, %d in", c.Name, out, in)
	case assoc.EventPath:
		w.say("%s: path %d %s: %v -> %v (%s)", c.Name, e.Path.ID, c.pair(e.Path), e.From, e.To, e.Reason)
	case assoc.EventPrimary:
		w.say("%s: data moves to path %d %s (%s)", c.Name, e.Path.ID, c.pair(e.Path), e.Reason)
	case assoc.EventPeerLocator:
		w.say("%s: path %d %s added", c.Name, e.Path.ID, c.pair(e.Path))
	case assoc.EventPathGone:
		w.say("%s: path %d %s gone (%s)", c.Name, e.Path.ID, c.pair(e.Path), e.Reason)
	case assoc.EventRestart:
		clear(c.in)
		clear(c.out)
		w.say("%s: the peer restarted, %d bytes were not acknowledged", c.Name, e.Unsent)
	case assoc.EventRemoteError:
		w.say("%s: the peer reports: %v", c.Name, e.Cause)
	case assoc.EventPeerClosed:
		c.EOF = true
		w.say("%s: the peer sends no more", c.Name)
	case assoc.EventClosed:
		c.Closed, c.Err, c.Unsent = true, e.Err, e.Unsent
		if e.Err == nil {
			w.say("%s: closed", c.Name)
		} else {
			w.say("%s: closed: %v", c.Name, e.Err)
		}
	}
}

// pair prints a path by the names of its addresses.
func (c *Conn) pair(p locator.Path) string {
	return c.Host.World.Net.AddrName(p.Local.Addr) + "-" + c.Host.World.Net.AddrName(p.Peer.Addr)
}
