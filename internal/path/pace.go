package path

import (
	"time"

	"github.com/go-multihome/multihome/internal/mono"
)

// pacer holds back what would leave in too large a burst. It has two ways.
//
// On a path of some length a window is spread over the round trip: packets are paid for at a rate somewhat above window
// per round trip, and once those sent are a quantum ahead, nothing leaves until they are paid. So a timer fires once per
// quantum, not per packet. Where the round trip is as short as a quantum, only the number of packets that leave at once is
// bounded (RFC 9260 section 6.1 D), until a SACK arrives or a moment passes.
type pacer struct {
	max   int       // packets that may leave at once where nothing is spread
	off   bool      // never spread
	burst int       // packets of those that are left
	since mono.Time // when the burst began
	paid  mono.Time // when what has left is paid for
	hold  mono.Time // nothing leaves before; zero: free
}

const (
	// maxBurst is Max.Burst (RFC 9260 section 16), unless configured. It is larger than the RFC's recommended 4 since
	// acknowledgements come per batch of received packets here, up to as many in one: a burst of fewer packets than that
	// would leave the sender waiting while they are taken in.
	maxBurst  = 128
	burstTime = time.Millisecond

	// whole is the window up to which, in packets, nothing is spread whatever the round trip.
	whole = 64

	// shortest is the round trip below which a window is not spread: a timer is no finer than a part of it.
	shortest = 2 * time.Millisecond

	// The quantum: whichever of the two lasts longer. creditMost is how much of the time in which a late timer sent nothing
	// may be made up for.
	quantumTime    = time.Millisecond
	quantumPackets = 10
	creditMost     = 10 * time.Millisecond
)

func (c *pacer) init(max int, off bool) {
	if max == 0 {
		max = maxBurst
	}
	*c = pacer{max: max, burst: max, off: off}
}

// limit changes how many packets leave at once.
func (c *pacer) limit(max int) {
	if max == 0 {
		max = maxBurst
	}
	c.max, c.burst = max, min(c.burst, max)
}

// cost returns how long bytes take at the rate of the path; zero when they are not spread. The rate lies above window per
// round trip, by enough to let slow start double it and avoidance grow: it is there to break up bursts, the window decides
// what is under way. Of the smoothed round trip and the last one the shorter counts: a host that was stalled for a moment
// measures one long round trip, of which the average keeps a part for many that follow.
func (p *Path) cost(bytes int) time.Duration {
	rtt, w := min(p.RTO.SRTT(), p.RTO.Latest()), p.CC().Window()
	if c := &p.carry().pace; c.off || rtt < shortest || w <= min(c.max, whole)*p.Payload {
		return 0
	}
	d := time.Duration(int64(rtt) * int64(bytes) / int64(w))
	if p.CC().Doubling() {
		return d / 2
	}
	return d * 4 / 5
}

// spend takes a packet with that many bytes of DATA that has left.
func (p *Path) spend(now mono.Time, bytes int) {
	c := &p.carry().pace
	if d := p.cost(bytes); d > 0 {
		quantum := max(quantumTime, p.cost(quantumPackets*p.Payload))
		credit := max(quantum, min(p.RTO.SRTT()/8, creditMost))
		c.paid = max(c.paid, now.Add(-credit)).Add(d)
		if c.paid.Sub(now) >= quantum {
			c.hold = c.paid
		}
		c.burst = c.max
		return
	}
	c.paid = 0
	if c.burst == c.max || now.Sub(c.since) >= burstTime {
		c.burst, c.since = c.max, now
	}
	if c.burst--; c.burst <= 0 {
		c.hold = c.since.Add(burstTime)
	}
}

// held reports whether nothing may leave yet.
func (p *Path) held(now mono.Time) bool {
	p.Release(now)
	return p.flow != nil && p.flow.pace.hold != 0
}

// Release lets the next burst go when its time has come.
func (p *Path) Release(now mono.Time) {
	if p.flow == nil {
		return
	}
	if c := &p.flow.pace; c.hold != 0 && !now.Before(c.hold) {
		c.hold = 0
		c.burst = c.max
	}
}

// Answered lets a new burst go where nothing is spread: a SACK arrived, whichever path it covers.
func (p *Path) Answered() {
	if p.flow == nil {
		return
	}
	c := &p.flow.pace
	if c.burst <= 0 {
		c.hold = 0
	}
	c.burst = c.max
}

// Held returns when the next burst may go; zero while nothing is held back.
func (p *Path) Held() mono.Time {
	if p.flow == nil {
		return 0
	}
	return p.flow.pace.hold
}
