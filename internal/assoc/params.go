package assoc

import (
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/rto"
	"github.com/go-multihome/multihome/internal/tx"
	"github.com/go-multihome/multihome/locator"
)

// Params are what of the configuration can be changed for one association while it lives.
type Params struct {
	RTO             rto.Config
	AssocMaxRetrans int
	SackDelay       time.Duration
	SackEvery       int
	MaxSegment      int
	Window          int // what SetWindow may ask for at most
	NoFragments     bool
	Scheduler       tx.Scheduling
	MaxBurst        int
}

// Params returns those in force.
func (a *Assoc) Params() Params {
	c := a.cfg
	return Params{RTO: c.RTO, AssocMaxRetrans: c.AssocMaxRetrans, SackDelay: c.SackDelay, SackEvery: c.SackEvery, MaxSegment: c.MaxSegment,
		Window: c.Window, NoFragments: c.NoFragments, Scheduler: c.Scheduler, MaxBurst: c.MaxBurst}
}

// SetParams puts others in force. The caller has checked their ranges.
func (a *Assoc) SetParams(p Params) {
	c := a.ownConfig()
	c.RTO, c.AssocMaxRetrans, c.SackDelay, c.SackEvery = p.RTO, p.AssocMaxRetrans, p.SackDelay, p.SackEvery
	if p.Window != c.Window {
		c.Window, c.MaxWindow = p.Window, p.Window // what the user sets does not grow
	}
	c.MaxSegment, c.NoFragments, c.Scheduler = p.MaxSegment, p.NoFragments, p.Scheduler
	a.tx.SetScheduler(p.Scheduler)
	if p.MaxBurst != c.MaxBurst {
		c.MaxBurst = p.MaxBurst
		c.fillPaths()
	}
	for _, q := range a.paths.All() {
		q.Configure(c.forPaths())
		q.RTO.SetConfig(&c.RTO)
	}
	a.rx.SetSack(p.SackDelay, p.SackEvery)
}

// ownConfig returns the configuration for changing: from the first change on it is the association's own.
func (a *Assoc) ownConfig() *Config {
	if !a.cfgOwned {
		c := *a.cfg
		c.fillPaths()
		a.cfg, a.cfgOwned = &c, true
	}
	return a.cfg
}

// SetHeartbeat changes how one path is watched (RFC 9260 section 11.1.7, CHANGEHEARTBEAT). cfg must not change afterwards.
func (a *Assoc) SetHeartbeat(now mono.Time, id locator.PathID, cfg *heartbeat.Config) error {
	p := a.paths.Get(id)
	if p == nil || a.paths.Retired(p) {
		return ErrNoPath
	}
	p.Mon.SetConfig(now.Std(), cfg)
	return nil
}

// SetHeartbeats changes how all paths are watched, those to come included.
func (a *Assoc) SetHeartbeats(now mono.Time, cfg *heartbeat.Config) {
	a.ownConfig().Heartbeat = *cfg
	for _, p := range a.paths.All() {
		p.Mon.SetConfig(now.Std(), &a.cfg.Heartbeat)
	}
}

// SetStreamValue sets what the scheduler wants to know of an outgoing stream, see tx.Sender.
func (a *Assoc) SetStreamValue(sid, value uint16) error { return a.tx.SetStreamValue(sid, value) }

// StreamValue returns it.
func (a *Assoc) StreamValue(sid uint16) uint16 { return a.tx.StreamValue(sid) }

// Status is where the association stands (RFC 9260 section 11.1.8, STATUS).
type Status struct {
	PeerWindow int // room the peer has for what is not under way yet
	Unacked    int // DATA chunks sent and not acknowledged cumulatively
	Queued     int // bytes never sent
	Fragment   int // see FragmentSize
}

// Status returns it.
func (a *Assoc) Status() Status {
	if a.state < Established {
		return Status{}
	}
	return Status{PeerWindow: a.tx.PeerWindow(), Unacked: a.tx.Unacked(), Queued: a.tx.Queued(), Fragment: a.FragmentSize()}
}

// maxChunk is the largest DATA chunk, header included.
func (a *Assoc) maxChunk() int {
	n := a.paths.MaxChunk()
	if seg := a.cfg.MaxSegment; seg > 0 {
		n = min(n, a.tx.ChunkSize(seg))
	}
	return n
}

// FragmentSize returns how many user bytes one DATA chunk can hold at present: longer messages are cut (RFC 9260 section 6.9).
func (a *Assoc) FragmentSize() int { return a.tx.FragmentSize(a.maxChunk()) }

// tellUndelivered tells the layer above which messages an end leaves undelivered, if it wants to know.
func (a *Assoc) tellUndelivered() {
	if !a.cfg.KeepAbandoned {
		return
	}
	for _, f := range a.tx.Undelivered() {
		a.events.late(Event{Kind: EventSendFailed, Failed: f})
	}
}
