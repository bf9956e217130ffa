package script

import (
	"net/netip"
	"time"

	"github.com/go-multihome/multihome/internal/simnet"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// mischief plans what users, machines and strangers do to an association in the middle of a storm. None of it may cost a
// byte.
func (s *storm) mischief(ca, cb *Conn) {
	both := [2]*Conn{ca, cb}
	plan := func(most int, f func(c *Conn)) {
		for range s.rng.IntN(most + 1) {
			c := both[s.rng.IntN(2)]
			s.w.Net.At(s.w.Now.Add(time.Duration(s.rng.Int64N(int64(12*time.Second)))), func() {
				if !c.Closed {
					f(c)
				}
			})
		}
	}
	plan(2, s.pause)
	plan(3, s.choose)
	if s.paths > 1 {
		plan(2, s.localFault)
	}
	s.keepOld()
	plan(20, s.replay)
	plan(20, s.forge)
}

// pause stops a user from reading for up to three seconds.
func (s *storm) pause(c *Conn) {
	s.result.Pauses++
	c.Paused = true
	s.w.Net.At(s.w.Now.Add(time.Duration(s.rng.IntN(3000))*time.Millisecond), func() {
		if !c.Closed {
			c.Resume()
		}
	})
}

// choose makes some path the primary and asks another for a heartbeat.
func (s *storm) choose(c *Conn) {
	s.result.Choices++
	_ = c.A.SetPrimary(s.w.Now, locator.PathID(s.rng.IntN(s.paths)))
	_ = c.A.Heartbeat(s.w.Now, locator.PathID(s.rng.IntN(s.paths)))
	c.Host.flush(c)
}

// localFault takes one address of a host away for up to three seconds. Sometimes the host is told, sometimes it only sees
// that sends fail.
func (s *storm) localFault(c *Conn) {
	s.result.Faults++
	i := s.rng.IntN(s.paths)
	told := s.rng.IntN(2) == 0
	set := func(up bool) {
		s.w.Net.SetInterface(c.Host.Sim.Addrs[i], up)
		if told && !c.Closed {
			c.A.LocalDown(s.w.Now, i, !up)
			c.Host.flush(c)
		}
	}
	set(false)
	s.w.Net.At(s.w.Now.Add(time.Duration(s.rng.IntN(3000))*time.Millisecond), func() { set(true) })
}

// keepOld remembers some packets of the association for replay, but no ABORT: that one is as good the second time.
func (s *storm) keepOld() {
	tap := s.w.Net.Tap
	s.w.Net.Tap = func(e simnet.TapEvent) {
		tap(e)
		if e.Fate != simnet.Passed || s.replaying || s.rng.IntN(20) != 0 || holds(e.Data, wire.TypeAbort) {
			return
		}
		e.Data = append([]byte(nil), e.Data...)
		if len(s.old) < 50 {
			s.old = append(s.old, e.Datagram)
		} else {
			s.old[s.rng.IntN(len(s.old))] = e.Datagram
		}
	}
}

// replay sends an old packet again, as it was, seconds later.
func (s *storm) replay(*Conn) {
	if len(s.old) == 0 {
		return
	}
	s.result.Replays++
	s.replaying = true
	_ = s.w.Net.Send(s.w.Now, s.old[s.rng.IntN(len(s.old))])
	s.replaying = false
}

// forge sends c a packet from the peer's address with the right ports and well-formed chunks, but a tag that is guessed:
// blind attackers must not get anywhere (RFC 9260 section 8.5, RFC 5062).
func (s *storm) forge(c *Conn) {
	s.result.Forgeries++
	own, peer := c.A.Ports()
	var b wire.Builder
	b.Open(make([]byte, 0, 1000), wire.Header{SrcPort: peer, DstPort: own, Tag: s.rng.Uint32()})
	value := make([]byte, s.rng.IntN(60))
	for i := range value {
		value[i] = byte(s.rng.Uint32())
	}
	for range 1 + s.rng.IntN(3) {
		b.Chunk(wire.ChunkType(s.rng.IntN(16)), uint8(s.rng.IntN(4)), value)
	}
	from := c.peer.Sim.Addrs[s.rng.IntN(s.paths)]
	to := c.Host.Sim.Addrs[s.rng.IntN(s.paths)]
	_ = s.w.Net.Send(s.w.Now, simnet.Datagram{From: netip.AddrPortFrom(from, UDPPort), To: netip.AddrPortFrom(to, UDPPort), Data: b.Seal()})
}
