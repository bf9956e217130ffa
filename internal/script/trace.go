package script

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/internal/wire/debug"
)

// renamer makes traces independent of what the random source gave: verification tags are numbered in the order they are
// seen (a1 is the first tag that host a chose), and TSNs count from 1 at the initial TSN of the association they belong to.
type renamer struct {
	tags  map[uint32]*tagInfo
	count map[string]uint32
}

// tagInfo is what is known of a verification tag.
type tagInfo struct {
	name uint32 // 0xa1: what it is printed as
	tsn  uint32 // initial TSN of the side that chose it
	peer uint32 // the other side's tag
}

func newRenamer() *renamer {
	return &renamer{tags: map[uint32]*tagInfo{}, count: map[string]uint32{}}
}

// learn takes the tags and initial TSNs out of a packet that host sends.
func (r *renamer) learn(host string, pkt []byte) {
	h, err := wire.ParseHeader(pkt)
	if err != nil || !wire.ChecksumOK(pkt) {
		return
	}
	it := wire.Chunks(pkt)
	for c, ok := it.Next(); ok; c, ok = it.Next() {
		if c.Type != wire.TypeInit && c.Type != wire.TypeInitAck {
			continue
		}
		in, err := wire.ParseInit(c)
		if err != nil || in.Tag == 0 {
			continue
		}
		t := r.tags[in.Tag]
		if t == nil {
			r.count[host]++
			t = &tagInfo{name: uint32(host[0]-'a'+10)<<4 | r.count[host]&0xf}
			r.tags[in.Tag] = t
		}
		t.tsn = uint32(in.TSN)
		if peer := r.tags[h.Tag]; peer != nil {
			t.peer, peer.peer = h.Tag, in.Tag
		}
	}
}

// tag returns what a tag is printed as.
func (r *renamer) tag(t uint32) uint32 {
	if i := r.tags[t]; i != nil {
		return i.name
	}
	return t
}

// find returns the tag that is printed as name.
func (r *renamer) find(name string) (uint64, error) {
	want, err := strconv.ParseUint(name, 16, 32)
	for tag, i := range r.tags {
		if uint64(i.name) == want {
			return uint64(tag), err
		}
	}
	return 0, fmt.Errorf("no tag was seen that prints as %q", name)
}

// bases returns the initial TSN of the side that sends packets with that tag, and of the side that receives them, each
// less one.
func (r *renamer) bases(t uint32) (sender, receiver uint32) {
	i := r.tags[t]
	if i == nil {
		return 0, 0
	}
	receiver = i.tsn - 1
	if p := r.tags[i.peer]; p != nil {
		sender = p.tsn - 1
	}
	return sender, receiver
}

// text prints a packet on one line.
func (r *renamer) text(pkt []byte) string {
	if len(pkt) < wire.HeaderLen {
		return "runt"
	}
	intact := wire.ChecksumOK(pkt)
	p := append([]byte(nil), pkt...)
	tag := binary.BigEndian.Uint32(p[4:])
	it := wire.Chunks(p)
	for c, ok := it.Next(); ok; c, ok = it.Next() {
		r.patch(tag, c)
	}
	binary.BigEndian.PutUint32(p[4:], r.tag(tag))
	if intact {
		wire.SetChecksum(p)
	}
	d, err := debug.Decode(p)
	if err != nil {
		return "undecodable: " + err.Error()
	}
	return d.Line()
}

// patch replaces the tags and TSNs of one chunk in place.
func (r *renamer) patch(tag uint32, c wire.Chunk) {
	sender, receiver := r.bases(tag)
	sub := func(at int, base uint32) {
		if len(c.Value) >= at+4 {
			v := c.Value[at:]
			binary.BigEndian.PutUint32(v, binary.BigEndian.Uint32(v)-base)
		}
	}
	switch c.Type {
	case wire.TypeInit, wire.TypeInitAck:
		if in, err := wire.ParseInit(c); err == nil && in.Tag != 0 {
			own := r.tags[in.Tag]
			binary.BigEndian.PutUint32(c.Value, r.tag(in.Tag))
			if own != nil {
				sub(12, own.tsn-1)
			}
		}
	case wire.TypeData, wire.TypeIData, wire.TypeForwardTSN, wire.TypeIForwardTSN:
		sub(0, sender)
	case wire.TypeShutdown:
		sub(0, receiver)
	case wire.TypeSack:
		s, err := wire.ParseSack(c)
		if err != nil {
			return
		}
		sub(0, receiver)
		for i := range s.Dups() {
			sub(12+4*s.Gaps()+4*i, receiver)
		}
	}
}
