// Package simnet is a network made of arithmetic: hosts, addresses and links with rate, delay, loss and everything else
// that goes wrong on the way, on a clock that the caller moves.
//
// Network is pure: it reads no clock, starts nothing and draws every random number from one seed, so a run can be
// repeated packet by packet. Lab puts sockets on top of it for whole-stack runs inside a testing/synctest bubble.
package simnet

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"iter"
	"math/rand/v2"
	"net/netip"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-multihome/multihome/internal/mono"
)

// Epoch is where the clock of a new network stands. It is not zero, because an unset mono.Time is.
const Epoch = mono.Time(1_000_000_000)

// ErrInterfaceDown is what a send from an address that is switched off returns, as a kernel would: a local fault.
var ErrInterfaceDown = fmt.Errorf("simnet: local interface is down: %w", syscall.EADDRNOTAVAIL)

// ErrNoRoute is what a send to an address that no link leads to returns.
var ErrNoRoute = fmt.Errorf("simnet: no link: %w", syscall.ENETUNREACH)

// Network is hosts and the links between their addresses. A Network is used by one goroutine at a time.
type Network struct {
	Default Shape // what links that hosts bring with them start as
	Tap     func(TapEvent)

	seed  uint64
	now   mono.Time
	hosts []*Host
	names map[netip.Addr]string
	down  map[netip.Addr]bool
	links []*Link
	route map[[2]netip.Addr]*Link
	nats  []*NAT
	queue arrivals
	order uint64
	spare [][]byte
}

// Host is one machine: a name, and addresses called after it, a1, a2 and so on for host a.
type Host struct {
	Name  string
	Addrs []netip.Addr
}

func (h *Host) has(a netip.Addr) bool { return slices.Contains(h.Addrs, a) }

// Datagram is one UDP payload on its way.
type Datagram struct {
	From, To netip.AddrPort
	Data     []byte
	NoDF     bool // may be fragmented: a small MTU slows it down but does not drop it
}

// Arrival is a datagram that reached its destination.
type Arrival struct {
	At mono.Time
	Datagram
	Link string // the direction it came by, "a1>b1"
}

// TapEvent is one thing that happened to a datagram, for traces. Data belongs to the network.
type TapEvent struct {
	At   mono.Time
	Fate Fate
	Link string
	Datagram
}

// New returns an empty network whose faults are all drawn from seed.
func New(seed uint64) *Network {
	return &Network{
		seed:  seed,
		now:   Epoch,
		names: map[netip.Addr]string{},
		down:  map[netip.Addr]bool{},
		route: map[[2]netip.Addr]*Link{},
	}
}

// Seed returns what the network was made with; print it wherever a run can fail.
func (n *Network) Seed() uint64 { return n.seed }

// Now returns the latest instant the network was told about.
func (n *Network) Now() mono.Time { return n.now }

// AddHost adds a machine with the given addresses and links of the Default shape, one per direction, between each of
// them and every address of the same family on the hosts added before.
func (n *Network) AddHost(name string, addrs ...netip.Addr) *Host {
	h := &Host{Name: name}
	n.hosts = append(n.hosts, h)
	for _, a := range addrs {
		n.AddAddr(h, a)
	}
	return h
}

// AddAddr gives a host one more address, linked like those it came with.
func (n *Network) AddAddr(h *Host, a netip.Addr) string {
	h.Addrs = append(h.Addrs, a)
	name := fmt.Sprintf("%s%d", h.Name, len(h.Addrs))
	n.names[a] = name
	for _, other := range n.hosts {
		if other == h {
			continue
		}
		for _, b := range other.Addrs {
			if a.Is4() == b.Is4() {
				n.connect(b, a)
				n.connect(a, b)
			}
		}
	}
	return name
}

// Host returns the machine of that name, nil if there is none.
func (n *Network) Host(name string) *Host {
	for _, h := range n.hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// AddrName returns what an address is called, "a1", or the address itself when it belongs to no host.
func (n *Network) AddrName(a netip.Addr) string {
	if s, ok := n.names[a]; ok {
		return s
	}
	return a.String()
}

// Addr returns the address of that name.
func (n *Network) Addr(name string) (netip.Addr, bool) {
	for a, s := range n.names {
		if s == name {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// connect makes the direction from a to b. Each has a random source of its own, made of the seed and its name, so that
// what one link does never depends on how many packets another carried.
func (n *Network) connect(a, b netip.Addr) {
	name := n.names[a] + ">" + n.names[b]
	f := fnv.New64a()
	f.Write([]byte(name))
	l := &Link{Name: name, From: a, To: b, Shape: n.Default, rng: rand.New(rand.NewPCG(n.seed, f.Sum64()))}
	n.links = append(n.links, l)
	n.route[[2]netip.Addr{a, b}] = l
}

// Links returns the directions that a pattern names, in the order they were made: "a1>b1" is one direction, "a1-b1" both,
// "a1" everything that address sends or gets, and each side may hold the wildcards of path.Match, as in "a*-b2".
func (n *Network) Links(pattern string) []*Link {
	match := func(glob, name string) bool {
		ok, err := path.Match(glob, name)
		return err == nil && ok
	}
	var found []*Link
	for _, l := range n.links {
		from, to := n.names[l.From], n.names[l.To]
		var ok bool
		if x, y, one := strings.Cut(pattern, ">"); one {
			ok = match(x, from) && match(y, to)
		} else if x, y, both := strings.Cut(pattern, "-"); both {
			ok = match(x, from) && match(y, to) || match(y, from) && match(x, to)
		} else {
			ok = match(pattern, from) || match(pattern, to)
		}
		if ok {
			found = append(found, l)
		}
	}
	return found
}

// Link returns the single direction that a name like "a1>b1" stands for, nil if there is none.
func (n *Network) Link(name string) *Link {
	for _, l := range n.links {
		if l.Name == name {
			return l
		}
	}
	return nil
}

// Partition cuts, or heals, every link between two hosts, in both directions.
func (n *Network) Partition(a, b string, cut bool) {
	x, y := n.Host(a), n.Host(b)
	for _, l := range n.links {
		if x.has(l.From) && y.has(l.To) || y.has(l.From) && x.has(l.To) {
			l.Down = cut
		}
	}
}

// SetInterface switches a host's address off or on. Off, sends from it fail with ErrInterfaceDown and nothing reaches it.
func (n *Network) SetInterface(a netip.Addr, up bool) { n.down[a] = !up }

// Total sums the counters of every direction.
func (n *Network) Total() Counters {
	var c Counters
	for _, l := range n.links {
		c.Add(&l.Count)
	}
	return c
}

// Send puts a datagram on the link between its addresses. The data is copied. Like a kernel's, the only errors are local:
// whatever happens further away is silent, and counted.
func (n *Network) Send(now mono.Time, d Datagram) error {
	n.advance(now)
	if n.down[d.From.Addr()] {
		return ErrInterfaceDown
	}
	for _, t := range n.nats {
		t.out(&d)
	}
	l := n.route[[2]netip.Addr{d.From.Addr(), d.To.Addr()}]
	if l == nil {
		return ErrNoRoute
	}
	fate, at, copies := l.admit(now, &d)
	n.tap(now, fate, l, &d)
	if fate != Passed {
		return nil
	}
	l.serial++
	for range copies {
		e := &arrival{at: at, order: n.order, serial: l.serial, link: l, d: d}
		e.d.Data = append(n.buffer(len(d.Data)), d.Data...)
		n.order++
		if l.hit(l.Corrupt) {
			corrupt(l.rng, e.d.Data)
			l.Count.Corrupted++
			n.tap(now, Corrupted, l, &e.d)
		}
		heap.Push(&n.queue, e)
		at = at.Add(time.Duration(l.rng.Int64N(int64(time.Millisecond))))
	}
	return nil
}

// At runs f when the clock reaches t: link changes in the middle of a run.
func (n *Network) At(t mono.Time, f func()) {
	heap.Push(&n.queue, &arrival{at: t, order: n.order, do: f})
	n.order++
}

// Next returns when the next arrival or planned change is due; false when nothing is on its way.
func (n *Network) Next() (mono.Time, bool) {
	if len(n.queue) == 0 {
		return 0, false
	}
	return n.queue[0].at, true
}

// Deliver moves the clock to now and yields, in order, what has arrived until then. The data is valid until the next step
// of the iteration. Sending while iterating is fine; what arrives at once is yielded too.
func (n *Network) Deliver(now mono.Time) iter.Seq[Arrival] {
	return func(yield func(Arrival) bool) {
		for {
			a, ok := n.pop(now)
			if !ok {
				n.advance(now)
				return
			}
			again := yield(a)
			n.spare = append(n.spare, a.Data[:0])
			if !again {
				return
			}
		}
	}
}

// pop takes the next due arrival out, running planned changes on the way. Its data is the caller's to give back.
func (n *Network) pop(now mono.Time) (Arrival, bool) {
	for len(n.queue) > 0 && !n.queue[0].at.After(now) {
		e := heap.Pop(&n.queue).(*arrival)
		n.advance(e.at)
		if e.do != nil {
			e.do()
			continue
		}
		if n.down[e.d.To.Addr()] {
			e.link.Count.Dark++
			n.tap(e.at, Dark, e.link, &e.d)
			n.spare = append(n.spare, e.d.Data[:0])
			continue
		}
		e.link.arrived(e.serial)
		for _, t := range n.nats {
			t.in(&e.d)
		}
		n.tap(e.at, Delivered, e.link, &e.d)
		return Arrival{At: e.at, Datagram: e.d, Link: e.link.Name}, true
	}
	return Arrival{}, false
}

func (n *Network) advance(now mono.Time) {
	if now.After(n.now) {
		n.now = now
	}
}

func (n *Network) tap(now mono.Time, f Fate, l *Link, d *Datagram) {
	if n.Tap != nil {
		n.Tap(TapEvent{At: now, Fate: f, Link: l.Name, Datagram: *d})
	}
}

func (n *Network) buffer(size int) []byte {
	if k := len(n.spare); k > 0 {
		b := n.spare[k-1]
		n.spare = n.spare[:k-1]
		return b
	}
	return make([]byte, 0, max(size, 1500))
}

// corrupt flips one to three bits. A CRC32c finds every such error whatever the length, so a run in which a corrupted
// packet is believed has found a bug, never bad luck.
func corrupt(rng *rand.Rand, data []byte) {
	if len(data) == 0 {
		return
	}
	first := rng.IntN(len(data) * 8)
	data[first/8] ^= 1 << (first % 8)
	for range rng.IntN(3) {
		if bit := rng.IntN(len(data) * 8); bit != first {
			data[bit/8] ^= 1 << (bit % 8)
		}
	}
}

// arrival is a datagram under way, or a planned change.
type arrival struct {
	at     mono.Time
	order  uint64 // of sending: ties are broken by it
	serial uint64 // within the link
	link   *Link
	d      Datagram
	do     func()
}

type arrivals []*arrival

func (q arrivals) Len() int { return len(q) }
func (q arrivals) Less(i, j int) bool {
	if q[i].at != q[j].at {
		return q[i].at < q[j].at
	}
	return q[i].order < q[j].order
}
func (q arrivals) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *arrivals) Push(x any)   { *q = append(*q, x.(*arrival)) }
func (q *arrivals) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}
