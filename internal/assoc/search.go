package assoc

import (
	"encoding/binary"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// The search for larger packets (RFC 8899 section 6.2): a HEARTBEAT of its own, padded by a PAD chunk to the size in question
// where the peer knows it (RFC 4820), else enlarged itself. It goes out with DF, is not counted in flight, and its loss
// says nothing about the path's life. It begins once the association carries data in earnest, and on every Active path:
// DATA is cut to the smallest of them.

// searchAfter is how much data makes the search worth its packets.
const searchAfter = 64 << 10

// searching reports whether the search runs.
func (a *Assoc) searching() bool { return a.bulk && a.maySearch() }

// maySearch reports whether there is a path to search on: all of them, or those the user has said so of.
func (a *Assoc) maySearch() bool { return a.sized || a.cfg.MaxPayload > a.cfg.Payload }

// SetSize puts a size of packets in force on one path, in bytes of UDP payload; zero leaves it as it is. The search goes up to
// most, at once if the association carries data in earnest; with most below zero there is none, and zero leaves that bound.
// The fault that packets do not pass makes them smaller all the same.
func (a *Assoc) SetSize(now mono.Time, id locator.PathID, payload, most int) error {
	p := a.paths.Get(id)
	if p == nil || a.paths.Retired(p) {
		return ErrNoPath
	}
	if payload == 0 {
		payload = p.Payload
	}
	switch {
	case most < 0:
		most = payload
	case most == 0:
		most = a.searchEnd(p)
	}
	most = max(most, payload)
	s := p.Size()
	s.Init(payload, most)
	s.Most, s.At, s.Nonce = most, 0, 0
	a.sized = true
	if payload != p.Payload {
		p.Resize(payload)
	}
	return nil
}

// SetSizes does that for all paths, those to come included.
func (a *Assoc) SetSizes(now mono.Time, payload, most int) {
	c := a.ownConfig()
	if payload != 0 {
		c.Payload = payload
	}
	if most != 0 {
		c.MaxPayload = max(most, c.Payload)
		c.OnLoopback = c.MaxPayload
	}
	c.fillPaths()
	for _, p := range a.paths.All() {
		p.Configure(c.forPaths())
		_ = a.SetSize(now, p.ID, payload, most)
	}
}

// searchEnd is up to where the search goes on a path.
func (a *Assoc) searchEnd(p *path.Path) int {
	if s := p.Sizing(); s != nil && s.Most > 0 {
		return max(s.Most, p.Payload)
	}
	if p.Dest().Addr().IsLoopback() {
		return max(a.cfg.OnLoopback, p.Payload)
	}
	return max(a.cfg.MaxPayload, p.Payload)
}

// noteBulk begins the search on every path once one of them has carried enough.
func (a *Assoc) noteBulk(p *path.Path) {
	if a.bulk || p.Load().DataSent < searchAfter || !a.maySearch() {
		return
	}
	a.bulk = true
	for _, q := range a.paths.All() {
		q.Size().Init(q.Payload, a.searchEnd(q))
	}
}

// emitSearch writes one padded probe.
func (a *Assoc) emitSearch(now mono.Time, out *pktbuf.Batch) bool {
	if !a.searching() || a.state != Established {
		return false
	}
	for _, p := range a.paths.All() {
		if p.State() != heartbeat.Active || a.paths.Retired(p) || p.Suspected() {
			continue
		}
		size, ok := p.Size().Due(now)
		if !ok {
			continue
		}
		buf := out.Open(size)
		if buf == nil {
			return false
		}
		var b wire.Builder
		b.Open(buf, a.header())
		if !a.appendSearch(p, size, &b) {
			continue
		}
		p.Size().At = now
		p.Size().Sent(size)
		pkt := b.Seal()
		p.Traffic.PacketsSent++
		p.Traffic.BytesSent += uint64(len(pkt))
		p.Load().SizeProbes++
		a.stats.PacketsSent++
		out.Commit(pktbuf.Packet{Buf: pkt, Socket: p.Socket(), Peer: p.Dest(), Path: uint8(p.ID)})
		return true
	}
	return false
}

// sizeMark distinguishes a size probe's information from that of other heartbeats.
const sizeMark = 1

func (a *Assoc) appendSearch(p *path.Path, size int, b *wire.Builder) bool {
	p.Size().Nonce = a.cfg.Random()
	var small [infoLen]byte
	info := small[:]
	if !a.peer.Pad {
		info = make([]byte, size-b.Len()-2*wire.ChunkHeaderLen) // a handful in an association's life
	}
	binary.BigEndian.PutUint64(info, p.Size().Nonce)
	info[8], info[9] = byte(p.ID), sizeMark
	binary.BigEndian.PutUint16(info[10:], uint16(size))
	return b.Heartbeat(info) && (!a.peer.Pad || b.PadTo(size))
}

// sizeAnswered takes the answer to a size probe: the path carries packets of that size.
func (a *Assoc) sizeAnswered(now mono.Time, info []byte) {
	p := a.paths.Get(locator.PathID(info[8]))
	if p == nil || p.Size().Nonce == 0 || p.Size().Nonce != binary.BigEndian.Uint64(info) {
		a.stats.Discarded++
		return
	}
	s := p.Size()
	s.Nonce, s.At = 0, 0
	if s.Acked(now, int(binary.BigEndian.Uint16(info[10:]))) {
		p.Resize(s.Size())
	}
}

// searchDeadline returns when the search on a path wants attention.
func (a *Assoc) searchDeadline(p *path.Path) mono.Time {
	switch {
	case !a.searching() || a.state != Established || p.State() != heartbeat.Active || p.Suspected():
		return 0
	case p.Size().At != 0:
		return p.Size().At.Add(p.RTO.RTO())
	}
	return p.Size().Next()
}

// searchTimeout takes an unanswered size probe.
func (a *Assoc) searchTimeout(now mono.Time, p *path.Path) {
	if s := p.Sizing(); s != nil && s.At != 0 && now.Sub(s.At) >= p.RTO.RTO() {
		s.At, s.Nonce = 0, 0
		s.Lost(now, p.RTO.RTO())
	}
}

// TooBig tells that the system did not take a packet of a path, for its size: the link it leaves by is smaller.
func (a *Assoc) TooBig(now mono.Time, id locator.PathID, size int) {
	p := a.paths.Get(id)
	if p == nil || a.state == Closed {
		return
	}
	p.Load().TooBig++
	a.knowSize(p)
	if s := p.Size(); !s.Refused(now, size) {
		s.At, s.Nonce = 0, 0
		return
	}
	if a.smaller(now, p, size-1, "the link takes no packets that large") {
		// It did not leave. Chunks cut before travel in packets that IP may fragment.
		a.retargeted(a.tx.RetargetSince(p.ID, p.LastData(), wholeFlight))
	}
}

// tooBig takes a validated ICMP message about a path, which says that IP packets of mtu bytes pass. Tag or not, it is a hint
// (RFC 8899 section 4.6.2): the search asks the path itself.
func (a *Assoc) tooBig(now mono.Time, p *path.Path, mtu int, text string) {
	p.Load().TooBig++
	if mtu != 0 && mtu < p.MinMTU() {
		return // no link is that small, or none that DF could do anything for
	}
	a.knowSize(p)
	size := 0
	if mtu > 0 {
		size = p.PayloadOf(mtu)
	}
	s := p.Size()
	probing := s.Probing()
	if s.Hint(now, size) {
		a.smaller(now, p, size, text)
	} else if probing && !s.Probing() {
		s.At, s.Nonce = 0, 0
	}
}

// knowSize lets a search that has not begun know the size in use.
func (a *Assoc) knowSize(p *path.Path) {
	if s := p.Size(); s.Size() == 0 {
		s.Init(p.Payload, p.Payload)
	}
}

func (a *Assoc) smaller(now mono.Time, p *path.Path, most int, why string) bool {
	if !p.TooBig(now, most) {
		return false
	}
	a.note().Shrunk++
	a.events.add(Event{Kind: EventPath, Path: p.Name(), From: p.State(), To: p.State(), Reason: "packets become small: " + why})
	return true
}
