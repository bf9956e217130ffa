package transport

import (
	"context"
	"fmt"
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/driver"
	"github.com/go-multihome/multihome/internal/rto"
	"github.com/go-multihome/multihome/locator"
)

// Parameters are what can be changed for one association while it lives. The fields are those of Config with the same names,
// with the same ranges.
type Parameters struct {
	RTOInitial, RTOMin, RTOMax time.Duration
	AssocMaxRetrans            int
	SackDelay                  time.Duration
	SackEvery                  int
	MaxSegment, MaxBurst       int
	Fragmentation              Fragmentation
	Scheduler                  Scheduler
	SendBuffer, ReceiveWindow  int
	Linger                     time.Duration
}

// Parameters returns those in force.
func (a *Association) Parameters() Parameters {
	p := a.conn.Params()
	return Parameters{
		RTOInitial: p.RTO.Initial, RTOMin: p.RTO.Min, RTOMax: p.RTO.Max, AssocMaxRetrans: p.AssocMaxRetrans,
		SackDelay: p.SackDelay, SackEvery: p.SackEvery, MaxSegment: p.MaxSegment, MaxBurst: p.MaxBurst,
		Fragmentation: fragmentationOf(p.NoFragments), Scheduler: schedulerOf(p.Scheduler),
		SendBuffer: p.SendBuffer, ReceiveWindow: p.Window, Linger: time.Duration(a.linger.Load()),
	}
}

// SetParameters puts others in force; a zero field leaves its parameter as it is. It fails with an error that wraps
// ErrConfig, changing nothing, if one is out of its range.
func (a *Association) SetParameters(p Parameters) error {
	c := Config{
		RTOInitial: p.RTOInitial, RTOMin: p.RTOMin, RTOMax: p.RTOMax, AssocMaxRetrans: p.AssocMaxRetrans,
		SackDelay: p.SackDelay, SackEvery: p.SackEvery, MaxSegment: p.MaxSegment, MaxBurst: p.MaxBurst, Fragmentation: p.Fragmentation, Scheduler: p.Scheduler,
		SendBuffer: p.SendBuffer, ReceiveWindow: p.ReceiveWindow, Linger: p.Linger,
	}
	had := a.Parameters()
	or(&c.RTOMin, had.RTOMin)
	or(&c.RTOMax, had.RTOMax)
	if err := c.Check(); err != nil {
		return a.opError("set", err)
	}
	err := a.conn.SetParams(func(d *driver.Params) {
		set(&d.RTO, rto.Config{
			Initial: orElse(p.RTOInitial, d.RTO.Initial), Min: orElse(p.RTOMin, d.RTO.Min), Max: orElse(p.RTOMax, d.RTO.Max),
		})
		set(&d.AssocMaxRetrans, p.AssocMaxRetrans)
		set(&d.SackDelay, p.SackDelay)
		set(&d.SackEvery, p.SackEvery)
		set(&d.MaxSegment, p.MaxSegment)
		set(&d.MaxBurst, p.MaxBurst)
		if p.Fragmentation != FragmentationDefault {
			d.NoFragments = p.Fragmentation == RefuseMessages
		}
		if p.Scheduler != SchedulerDefault {
			d.Scheduler = p.Scheduler.core()
		}
		set(&d.SendBuffer, p.SendBuffer)
		set(&d.Window, p.ReceiveWindow)
	})
	if err == nil && p.Linger != 0 {
		a.linger.Store(int64(p.Linger))
	}
	return a.opError("set", err)
}

// set changes what is given a value.
func set[T comparable](v *T, to T) {
	var zero T
	if to != zero {
		*v = to
	}
}

func orElse[T comparable](v, other T) T {
	var zero T
	if v == zero {
		return other
	}
	return v
}

// SetHeartbeat changes how the named paths are watched: the interval and whether there are heartbeats at all, and
// Path.Max.Retrans. Without a path it counts for all, those to come included. IDs come from Paths, which also tells what is
// in force. It fails with an error that wraps ErrConfig if a value is out of its range.
func (a *Association) SetHeartbeat(cfg heartbeat.Config, paths ...locator.PathID) error {
	if err := cfg.Check(); err != nil {
		return a.opError("set heartbeat", fmt.Errorf("%w: %w", ErrConfig, err))
	}
	return a.opError("set heartbeat", a.conn.SetHeartbeat(&cfg, paths))
}

// PathMTU says how large the packets of a path may be.
type PathMTU struct {
	// Payload is the size from now on, in bytes of UDP payload: the MTU less 28 with IPv4, less 48 with IPv6. Range 512 to 65504;
	// 0 leaves the size as it is. What was cut for larger packets travels in such still, which IP may fragment.
	Payload int

	// MaxPayload is the largest size searched for (RFC 8899) once the association has carried more than 64 KiB of data. A
	// negative number means no search, 0 leaves this as it is. Range Payload to 65504.
	MaxPayload int
}

// SetPathMTU changes how large the packets of the named paths may be; without a path, of all, those to come included. DATA is cut
// to the smallest of them, see Stats.FragmentSize. A path that is found not to carry that much is reduced nevertheless. PathInfo
// tells what is in force. It fails with an error that wraps ErrConfig if a value is out of its range.
func (a *Association) SetPathMTU(m PathMTU, paths ...locator.PathID) error {
	if m.Payload != 0 && (m.Payload < 512 || m.Payload > 65504) {
		return a.opError("set path MTU", fmt.Errorf("%w: Payload is %d, want 512 to 65504", ErrConfig, m.Payload))
	}
	if least := max(m.Payload, 512); m.MaxPayload > 0 && (m.MaxPayload < least || m.MaxPayload > 65504) {
		return a.opError("set path MTU", fmt.Errorf("%w: MaxPayload is %d, want %d to 65504", ErrConfig, m.MaxPayload, least))
	}
	return a.opError("set path MTU", a.conn.SetSize(m.Payload, m.MaxPayload, paths))
}

// Flush waits until the peer has acknowledged everything written so far on all streams, or until ctx ends. It fails when the
// association was lost before.
func (a *Association) Flush(ctx context.Context) error {
	return a.opError("flush", contextError(a.conn.WaitSent(ctx)))
}

// PeerInfo is what the peer announced when the association was set up.
type PeerInfo struct {
	OutStreams, InStreams int    // asked for, allowed: before the least of both sides was taken
	Window                uint32 // initial receive window in bytes
	Addresses             int    // it listed, beside the one its packet came from

	PartialReliability bool // RFC 3758: messages may be given up
	StreamReset        bool // RFC 6525: streams can be ended and added
	Interleaving       bool // RFC 8260
	Padding            bool // RFC 4820

	Adaptation *uint32 // its adaptation layer indication (RFC 5061 section 4.2.6), nil without one
}

// Peer returns what the peer announced.
func (a *Association) Peer() PeerInfo {
	i := a.conn.Info()
	p := &i.Peer
	info := PeerInfo{
		OutStreams: int(p.OutStreams), InStreams: int(p.InStreams), Window: p.Window, Addresses: int(p.Listed),
		PartialReliability: p.ForwardTSN, StreamReset: p.Reconfig, Interleaving: p.Interleaving, Padding: p.Pad,
	}
	if p.Adapted {
		info.Adaptation = &p.Adaptation
	}
	return info
}
