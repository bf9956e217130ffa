package simnet

import (
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/go-multihome/multihome/internal/mono"
)

// Shape is how one direction of a link behaves. The zero Shape is perfect: no delay, endless rate, no faults.
type Shape struct {
	Rate      int64         // bits of IP packet per second; 0: endless
	Queue     int           // bytes that may wait for the rate; 0: DefaultQueue
	Delay     time.Duration // one way
	Jitter    time.Duration // up to that much more, evenly spread; alone it never reorders
	Loss      float64       // probability that a packet is lost
	Burst     int           // packets that one loss takes with it if they follow within burstTime; 0 and 1: just the one
	Mask      uint64        // bit 0 set: the next packet is lost; the mask turns by one bit per packet, so it repeats
	Reorder   float64       // probability that a packet is held back and overtaken
	ReorderBy time.Duration // how long it is held back; 0: DefaultReorder
	Duplicate float64       // probability that a packet arrives twice
	Corrupt   float64       // probability that bits of a packet flip
	MTU       int           // largest IP packet in bytes; 0: no limit. Larger ones vanish, nobody is told
	Down      bool          // nothing more gets in; what is under way arrives
}

// Values used where a Shape leaves them at zero.
const (
	DefaultQueue   = 256 << 10
	DefaultReorder = 3 * time.Millisecond

	burstTime = 100 * time.Millisecond
)

// Fate is what became of a datagram.
type Fate uint8

// The fates. Passed is a datagram on its way; it will be Delivered, or found Dark at the other end.
const (
	Passed Fate = iota
	Lost
	Masked
	Filtered
	Down
	QueueFull
	TooBig
	Corrupted
	Dark
	Delivered
)

var fateNames = [...]string{"passed", "lost", "masked", "filtered", "down", "queue full", "too big", "corrupted", "dark", "delivered"}

func (f Fate) String() string { return fateNames[f] }

// Counters say how often each thing really happened to the packets of one direction.
type Counters struct {
	Sent, Bytes int // offered to the link: packets, and bytes with their IP and UDP headers
	Delivered   int
	Lost        int // by probability
	Masked      int // by the mask
	Filtered    int // by the filter
	Down        int // offered while down
	QueueFull   int
	TooBig      int // larger than the MTU, not to be fragmented
	Fragmented  int // larger than the MTU, let through
	Reordered   int // arrived after one sent later
	Duplicated  int
	Corrupted   int
	Dark        int // arrived at an address that was switched off
}

// Add adds o to c.
func (c *Counters) Add(o *Counters) {
	c.Sent += o.Sent
	c.Bytes += o.Bytes
	c.Delivered += o.Delivered
	c.Lost += o.Lost
	c.Masked += o.Masked
	c.Filtered += o.Filtered
	c.Down += o.Down
	c.QueueFull += o.QueueFull
	c.TooBig += o.TooBig
	c.Fragmented += o.Fragmented
	c.Reordered += o.Reordered
	c.Duplicated += o.Duplicated
	c.Corrupted += o.Corrupted
	c.Dark += o.Dark
}

// Link is one direction between two addresses.
type Link struct {
	Name     string // "a1>b1"
	From, To netip.Addr
	Shape
	Count  Counters
	Filter func(pkt []byte) bool // true: drop it. For scripts that lose one certain packet

	rng    *rand.Rand
	free   mono.Time // when the last admitted packet has left the sender
	latest mono.Time // arrival of the latest packet that was not held back
	burst  int       // packets still to be taken by the last loss, until
	until  mono.Time
	serial uint64
	seen   uint64 // highest serial that arrived
}

// hit draws whether something of that probability happens. Nothing is drawn for zero, so that a perfect link and one with
// other faults stay in step.
func (l *Link) hit(p float64) bool { return p > 0 && l.rng.Float64() < p }

// admit decides what happens to a packet entering the link: its fate, when it arrives and how many times.
func (l *Link) admit(now mono.Time, d *Datagram) (fate Fate, at mono.Time, copies int) {
	size := len(d.Data) + headers(d.To.Addr())
	l.Count.Sent++
	l.Count.Bytes += size
	if l.Down {
		l.Count.Down++
		return Down, 0, 0
	}
	if l.Filter != nil && l.Filter(d.Data) {
		l.Count.Filtered++
		return Filtered, 0, 0
	}
	if l.MTU > 0 && size > l.MTU {
		if !d.NoDF {
			l.Count.TooBig++
			return TooBig, 0, 0
		}
		l.Count.Fragmented++
	}
	if l.Mask != 0 {
		masked := l.Mask&1 != 0
		l.Mask = bits.RotateLeft64(l.Mask, -1)
		if masked {
			l.Count.Masked++
			return Masked, 0, 0
		}
	}
	if l.lose(now) {
		l.Count.Lost++
		return Lost, 0, 0
	}
	leave, ok := l.serve(now, size)
	if !ok {
		l.Count.QueueFull++
		return QueueFull, 0, 0
	}
	copies = 1
	if l.hit(l.Duplicate) {
		l.Count.Duplicated++
		copies = 2
	}
	return Passed, l.travel(leave), copies
}

func (l *Link) lose(now mono.Time) bool {
	if l.burst > 0 && now.Before(l.until) {
		l.burst--
		return true
	}
	if l.hit(l.Loss) {
		l.burst, l.until = max(l.Burst-1, 0), now.Add(burstTime)
		return true
	}
	return false
}

// serve puts a packet of that size through the rate and returns when its last bit has left; false when the queue is full.
func (l *Link) serve(now mono.Time, size int) (mono.Time, bool) {
	if l.Rate <= 0 {
		return now, true
	}
	start := max(now, l.free)
	limit := l.Queue
	if limit == 0 {
		limit = DefaultQueue
	}
	waiting := start.Sub(now).Seconds() * float64(l.Rate) / 8
	if start > now && int(waiting)+size > limit {
		return 0, false
	}
	l.free = start.Add(time.Duration(int64(size) * 8 * int64(time.Second) / l.Rate))
	return l.free, true
}

// travel returns when a packet that left at leave arrives. Order is kept unless reordering strikes: real paths keep it
// nearly always, and reordering should be asked for, not fall out of jitter.
func (l *Link) travel(leave mono.Time) mono.Time {
	at := leave.Add(l.Delay)
	if l.Jitter > 0 {
		at = at.Add(time.Duration(l.rng.Int64N(int64(l.Jitter) + 1)))
	}
	if l.hit(l.Reorder) {
		by := l.ReorderBy
		if by == 0 {
			by = DefaultReorder
		}
		return max(at, l.latest).Add(by)
	}
	at = max(at, l.latest)
	l.latest = at
	return at
}

// arrived counts a delivery, and a reordering when a later packet was there first.
func (l *Link) arrived(serial uint64) {
	l.Count.Delivered++
	if serial < l.seen {
		l.Count.Reordered++
	}
	l.seen = max(l.seen, serial)
}

// headers is what IP and UDP add to a payload.
func headers(to netip.Addr) int {
	if to.Is4() {
		return 20 + 8
	}
	return 40 + 8
}
