package driver

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/endpoint"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/netmon"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/udp"
)

// What the machine tells.
//
//  1. A watcher of the system's links and addresses tells which local locators have become useless, or useful again. Every
//     association of the node is told, and flushed: its data moves at once.
//  2. A socket hands over ICMP messages about packets that left by it. The endpoint finds the association by addresses and
//     ports, the association checks the verification tag.
//  3. A send that fails for a reason of this host concerns its path, see faults. A queue of a link that drops packets may
//     have no carrier any more, which the kernel tells late at times: the watcher is asked to look.

// machine is what a node knows of the machine it runs on.
type machine struct {
	watch    *netmon.Watch // nil: there is nothing to watch
	subjects []int         // local locators watched, by index of the watch

	mu   sync.Mutex    // held while a change is told to all: taken before Conn.mu
	down atomic.Uint32 // bit per local locator that cannot be used; changed under mu
}

// watchMachine begins to watch the addresses of the kernel's sockets. The loopback does not go away.
func (n *Node) watchMachine() {
	var subjects []netmon.Subject
	for i, s := range n.socks {
		if raw := udp.Kernel(s); raw != nil && !s.Local().Addr().IsLoopback() {
			subjects = append(subjects, netmon.Subject{Addr: s.Local().Addr(), Raw: raw})
			n.machine.subjects = append(n.machine.subjects, i)
		}
	}
	if len(subjects) == 0 {
		return
	}
	m := &n.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	w, down, err := netmon.Start(subjects, n.localChanged)
	if err != nil {
		if l := n.cfg.Logger; l != nil {
			l.Warn("links and addresses are not watched", slog.Any("err", err))
		}
		return
	}
	m.watch = w
	for _, c := range down {
		n.noteLocal(c)
	}
}

// noteLocal keeps what became of a local locator, and returns which it is. The caller holds machine.mu.
func (n *Node) noteLocal(c netmon.Change) (local int) {
	local = n.machine.subjects[c.Index]
	mask := n.machine.down.Load() &^ (1 << local)
	if c.Down() {
		mask |= 1 << local
		n.stats.LocalFaults.Add(1)
	}
	n.machine.down.Store(mask)
	if l := n.cfg.Logger; l != nil {
		l.Info("local locator changed", slog.String("locator", n.locals[local].String()), slog.String("state", c.Cause.String()),
			slog.String("link", c.Link))
	}
	return local
}

// localChanged runs on the watcher's goroutine when a local locator becomes useless or useful again.
func (n *Node) localChanged(c netmon.Change) {
	m := &n.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	local := n.noteLocal(c)
	why := c.Cause.String()
	if c.Link != "" {
		why += " (" + c.Link + ")"
	}
	// An association that is not listed yet finds the mask when it is: knowFaults.
	for _, conn := range n.conns() {
		conn.localFault(local, c.Down(), why)
	}
}

// conns lists the associations.
func (n *Node) conns() []*Conn {
	n.mu.RLock()
	defer n.mu.RUnlock()
	cs := make([]*Conn, 0, n.ep.Len())
	n.ep.Each(func(e *endpoint.Entry) { cs = append(cs, e.Owner.(*Conn)) })
	return cs
}

// look asks for a look at links and addresses, where that is known to tell more than waiting for news.
func (n *Node) look() {
	if w := n.machine.watch; w != nil {
		w.Look()
	}
}

func (n *Node) unwatchMachine() {
	if w := n.machine.watch; w != nil {
		w.Stop()
	}
}

// localFault tells the core and lets it move its data.
func (c *Conn) localFault(local int, down bool, why string) {
	now := c.enter()
	if c.ended {
		c.unlock()
		return
	}
	c.a.LocalFault(now, local, down, why)
	c.leave(nil)
}

// knowFaults tells a core that has just been born, or changed hands, what is known already. The caller holds the lock, and the
// association is listed.
func (c *Conn) knowFaults() {
	mask := c.node.machine.down.Load()
	for i := range c.node.locals {
		c.a.LocalFault(c.now, i, mask&(1<<i) != 0, "")
	}
}

// noticeKinds says what ICMP messages mean for SCTP over UDP (RFC 6951 section 5.5).
var noticeKinds = map[udp.NoticeKind]assoc.NoticeKind{
	udp.PortUnreachable: assoc.NoPort,
	udp.HostUnreachable: assoc.NoRoute,
	udp.PacketTooBig:    assoc.TooBig,
}

// notices takes the ICMP messages of a batch to their associations.
func (r *reader) notices() {
	for i := range r.in.Notices {
		if r.notice(&r.in.Notices[i]) {
			r.node.stats.ICMP.Add(1)
		} else {
			r.node.stats.ICMPIgnored.Add(1)
		}
	}
}

// notice reports whether a message was about a packet of an association.
func (r *reader) notice(nt *udp.Notice) bool {
	n := r.node
	kind, known := noticeKinds[nt.Kind]
	if !known {
		return false
	}
	from := assoc.Arrival{Local: r.local, Peer: nt.Peer}
	n.mu.RLock()
	e := n.ep.Quoted(from, nt.Quote)
	n.mu.RUnlock()
	if e == nil {
		return false
	}
	c := e.Owner.(*Conn)
	c.enter()
	if c.ended {
		c.unlock()
		return false
	}
	taken := c.a.Unreachable(c.now, from, &assoc.Notice{Kind: kind, ByPeer: nt.Offender.WithZone("") == nt.Peer.Addr().WithZone(""),
		Text: nt.String(), MTU: nt.MTU, Quote: nt.Quote})
	c.leave(nil)
	return taken
}

// setupFault is a packet of an association in setup that the system did not take.
type setupFault struct {
	to  assoc.Arrival
	err error
}

// addSetup notes a packet that belongs to no path.
func (f *faults) addSetup(p *pktbuf.Packet, err error) {
	if f.setups < len(f.setup) {
		f.setup[f.setups] = setupFault{assoc.Arrival{Local: p.Socket, Peer: p.Peer}, err}
		f.setups++
	}
}

// tell hands the faults of a batch to the core and forgets them. It reports whether there were any.
func (f *faults) tell(a *assoc.Assoc, now mono.Time) (any bool) {
	any = f.n+f.setups > 0
	for _, s := range f.setup[:f.setups] {
		a.SetupFailed(now, s.to, s.err.Error())
	}
	for _, p := range f.take() {
		if p.size > 0 {
			a.TooBig(now, p.path, p.size)
		} else {
			a.SendFailed(now, p.path, p.full)
		}
	}
	return any
}
