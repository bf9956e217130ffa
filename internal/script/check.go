package script

import (
	"fmt"
	"net/netip"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/wire"
)

// What every world watches, whatever it was made for: promises that can be seen from outside.

// checkPacket looks at a packet that an association is about to send.
func (c *Conn) checkPacket(p *pktbuf.Packet) {
	if p.Path == pktbuf.NoPath {
		return
	}
	c.infos = c.A.Paths(c.infos[:0])
	info := &c.infos[p.Path]
	probe := len(p.Buf) > wire.HeaderLen && wire.ChunkType(p.Buf[wire.HeaderLen]) == wire.TypeHeartbeat // asks for a larger size
	if len(p.Buf) > info.Payload && !p.NoDF && !probe {
		c.Host.World.fail(fmt.Errorf("%s: a packet of %d bytes on path %d, which carries %d", c.Name, len(p.Buf), p.Path, info.Payload))
	}
	if info.State == heartbeat.Unconfirmed && (holds(p.Buf, wire.TypeData) || holds(p.Buf, wire.TypeSack)) {
		// RFC 9260 section 5.4: only handshake, heartbeats and their answers.
		c.Host.World.fail(fmt.Errorf("%s: DATA or SACK on path %d, which is not confirmed", c.Name, p.Path))
	}
}

// checkAnswer looks at what an endpoint answers to a packet from a source that has proved nothing: at most three times the
// bytes, IP and UDP headers included, so that nobody can use it to amplify a flood.
func (h *Host) checkAnswer(from assoc.Arrival, pkt []byte) {
	const headers = 28
	n := 0
	for _, p := range h.batch.Packets() {
		n += len(p.Buf) + headers
	}
	if n > 3*(len(pkt)+headers) {
		h.World.fail(fmt.Errorf("%s answers %d bytes from %v with %d", h.Name, len(pkt)+headers, from.Peer, n))
	}
}

// hostAt returns the host that an address belongs to, looking through the NAT if there is one.
func (w *World) hostAt(a netip.AddrPort) *Host {
	if w.nat != nil && a.Addr() == w.nat.Outside {
		if owner, ok := w.nat.Owner(a.Port()); ok {
			a = owner
		}
	}
	for _, h := range w.Hosts {
		for _, l := range h.locals {
			if l.AddrPort() == a {
				return h
			}
		}
	}
	return nil
}
