package path

import (
	"math"
	"time"

	"github.com/go-multihome/multihome/internal/cc"
	"github.com/go-multihome/multihome/internal/mono"
)

// flow is what only a path that carries data needs. Many never do: of the pairs of an association one carries, and an idle
// association has none that does. So it is made when data first takes the path.
type flow struct {
	Doubt
	cc   cc.Controller
	pace pacer
	load Load

	t3       mono.Time // RFC 9260 section 6.3.2
	lastData mono.Time // when DATA was last sent here, for the idle restart

	blockedUntil mono.Time // the socket was full
	blockedFor   time.Duration
}

// Doubt is what is asked of a path that owes answers.
type Doubt struct {
	Trial      Trial
	Suspect    Suspicion
	Drift      Drift
	Heard      mono.Time // latest sending time of what was acknowledged by way of this path
	StuckAt    mono.Time // the first of Stuck
	Stuck      int16     // questions asked of the path since data was last acknowledged that only it carried
	Prompt     bool      // the last packet with DATA asked for a SACK at once (I bit)
	heldSeen   uint8     // how often held was seen, up to enough
	held       uint16    // longest time the peer kept the SACK of a lone packet, of late, in heldUnit
	StuckHeard uint16    // heartbeats answered until the last of them
}

// Doubt is for changing what is asked of the path.
func (p *Path) Doubt() *Doubt { return &p.carry().Doubt }

// What is assumed of a peer's patience with SACKs until so many of lone packets were seen (RFC 9260 section 16), and what is
// added to what was seen.
const (
	sackDelay  = 200 * time.Millisecond
	heldEnough = 8
	heldMargin = 5 * time.Millisecond
	heldUnit   = 100 * time.Microsecond
)

// LoneAcked notes that a lone packet, which did not ask for a SACK at once, was acknowledged after rtt. What it took longer than
// the shortest round trip is how long the peer held the SACK back. The longest time counts, and is forgotten slowly.
func (p *Path) LoneAcked(rtt time.Duration) {
	d, units := p.Doubt(), min(max(rtt-p.RTO.MinRTT(), 0)/heldUnit, math.MaxUint16)
	held := uint16(units)
	if held < d.held {
		held = d.held - (d.held-held)/16
	}
	d.held = held
	if d.heldSeen < heldEnough {
		d.heldSeen++
	}
}

// SackDelay returns how long the peer is expected to hold the SACK of a lone packet back.
func (p *Path) SackDelay() time.Duration {
	if p.flow == nil || p.flow.heldSeen < heldEnough {
		return sackDelay
	}
	held := time.Duration(p.flow.held) * heldUnit
	return min(held+max(held/4, heldMargin), sackDelay)
}

// Load is for counting.
func (p *Path) Load() *Load { return &p.carry().load }

// Suspicion returns the open question about the path, if any.
func (p *Path) Suspicion() Suspicion {
	if p.flow == nil {
		return Suspicion{}
	}
	return p.flow.Suspect
}

// Suspected reports whether there is one.
func (p *Path) Suspected() bool { return p.flow != nil && p.flow.Suspect.Since != 0 }

// Adrift returns what is left to itself on the path, if anything.
func (p *Path) Adrift() Drift {
	if p.flow == nil {
		return Drift{}
	}
	return p.flow.Drift
}

// NotAdrift ends that.
func (p *Path) NotAdrift() {
	if p.flow != nil {
		p.flow.Drift = Drift{}
	}
}

// Answers notes that data was answered which only this path carried.
func (p *Path) Answers() {
	if p.flow != nil {
		p.flow.Stuck = 0
	}
}

// Size returns the search for larger packets. Before its Init it finds nothing.
func (p *Path) Size() *Size {
	if p.size == nil {
		p.size = new(Size)
	}
	return p.size
}

// Sizing returns the search if there is one.
func (p *Path) Sizing() *Size { return p.size }

// Configure puts another configuration in force: Max.Burst at once, the rest from the next flow on.
func (p *Path) Configure(cfg *Config) {
	p.cfg = cfg
	if p.flow != nil {
		p.flow.pace.limit(cfg.MaxBurst)
	}
}

// fresh makes a flow in its initial state.
func (p *Path) fresh() *flow {
	f, c := new(flow), p.cfg.CC
	f.pace.init(p.cfg.MaxBurst, p.cfg.NoPacing)
	c.MTU, c.IPv6 = p.cfg.payload()-commonHeader, !p.Peer.Addr.Unmap().Is4() // the initial window is counted in first packets
	if c.Limit == 0 {
		// Our own receiver answers a batch of packets with one SACK, so the two packets of RFC 3465 would starve the flow;
		// the burst limit keeps what one SACK lets go in bounds.
		c.Limit = f.pace.max
	}
	f.cc = cc.New(p.cfg.Congestion, c)
	if p.maxChunk() != c.MTU {
		f.cc.SetMTU(p.maxChunk())
	}
	return f
}

func (p *Path) carry() *flow {
	if p.flow == nil {
		p.flow = p.fresh()
	}
	return p.flow
}

// CC is the path's congestion control.
func (p *Path) CC() cc.Controller { return p.carry().cc }

// RestartCC forgets what was learned about the path's capacity.
func (p *Path) RestartCC(now mono.Time) {
	if p.flow != nil {
		p.flow.cc.Restart(now)
	}
}

// Capacity is the congestion window in bytes of a path that has carried data, zero of another.
func (p *Path) Capacity() int {
	if p.flow == nil {
		return 0
	}
	return p.flow.cc.Window()
}

// Window is the congestion window in bytes, and whether the path is in slow start.
func (p *Path) Window() (bytes int, slowStart bool) {
	f := p.flow
	if f == nil {
		f = p.fresh()
	}
	return f.cc.Window(), f.cc.InSlowStart()
}
