package path

import (
	"time"

	"github.com/go-multihome/multihome/internal/cc"
	"github.com/go-multihome/multihome/internal/mono"
)

// flow is what only a path that carries data needs. Many never do: of the pairs of an association one carries, and an idle
// association has none that does. So it is made when data first takes the path.
type flow struct {
	cc   cc.Controller
	pace pacer

	t3       mono.Time // RFC 9260 section 6.3.2
	lastData mono.Time // when DATA was last sent here, for the idle restart

	blockedUntil mono.Time // the socket was full
	blockedFor   time.Duration
}

// plan is how a flow is made.
type plan struct {
	kind    cc.Kind
	exit    bool
	plain   bool
	off     bool   // no pacing
	packets int16  // initial window
	limit   int16  // of growth per SACK; 0: the burst limit
	burst   int16  // Max.Burst; 0: the default
	first   uint16 // Payload at the beginning, which the initial window is counted in
}

func (p *Path) planFlow(cfg *Config) {
	small := func(n int) int16 { return int16(max(min(n, 1<<15-1), -1<<15)) }
	p.plan = plan{kind: cfg.Congestion, exit: cfg.CC.DelayExit, plain: cfg.CC.Plain, off: cfg.NoPacing,
		packets: small(cfg.CC.InitialPackets), limit: small(cfg.CC.Limit), burst: small(cfg.MaxBurst), first: uint16(p.Payload)}
}

// fresh makes a flow in its initial state.
func (p *Path) fresh() *flow {
	f, l := new(flow), &p.plan
	f.pace.init(int(l.burst), l.off)
	c := cc.Config{MTU: int(l.first) - commonHeader, InitialPackets: int(l.packets), IPv6: !p.Peer.Addr.Unmap().Is4(),
		Limit: int(l.limit), DelayExit: l.exit, Plain: l.plain}
	if c.Limit == 0 {
		// Our own receiver answers a batch of packets with one SACK, so the two packets of RFC 3465 would starve the flow;
		// the burst limit keeps what one SACK lets go in bounds.
		c.Limit = f.pace.max
	}
	f.cc = cc.New(l.kind, c)
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
