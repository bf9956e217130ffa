package script

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/simnet"
	"github.com/go-multihome/multihome/internal/wire"
)

// ends reads "a1>b1" into two addresses with the encapsulation port.
func (c *call) ends(s string) (from, to netip.AddrPort, err error) {
	x, y, ok := strings.Cut(s, ">")
	a, okA := c.w.Net.Addr(x)
	b, okB := c.w.Net.Addr(y)
	if !ok || !okA || !okB {
		return from, to, fmt.Errorf("%q is not a direction between two addresses", s)
	}
	return netip.AddrPortFrom(a, UDPPort), netip.AddrPortFrom(b, UDPPort), nil
}

// owner returns the first association of the host an address belongs to, nil when it has none.
func (c *call) owner(a netip.AddrPort) *Conn {
	if h := c.w.host(c.w.Net.AddrName(a.Addr())[:1]); h != nil && len(h.Conns) > 0 {
		return h.Conns[0]
	}
	return nil
}

func (c *call) number(key string, fallback uint64) (uint64, error) {
	v := c.key(key, "")
	if v == "" {
		return fallback, nil
	}
	return strconv.ParseUint(v, 0, 32)
}

// cmdInject sends a packet that no endpoint made: from an address to another, with the ports and the tag the receiving
// host's association expects unless told otherwise. tag=peer takes the tag the receiver itself sends with, tag=@a2 the one
// that traces print so.
func cmdInject(c *call) error {
	from, to, err := c.ends(c.arg(0))
	if err != nil {
		return err
	}
	var sport, dport, tag uint64 = SCTPPort, SCTPPort, 0
	if conn := c.owner(to); conn != nil {
		own, peer := conn.A.Ports()
		dport, sport = uint64(own), uint64(peer)
		mine, theirs := conn.A.Tags()
		tag = uint64(mine)
		if c.Keys["tag"] == "peer" {
			c.used["tag"] = true
			delete(c.Keys, "tag")
			tag = uint64(theirs)
		}
	}
	if sport, err = c.number("sport", sport); err != nil {
		return err
	}
	if dport, err = c.number("dport", dport); err != nil {
		return err
	}
	if name, ok := strings.CutPrefix(c.Keys["tag"], "@"); ok {
		if tag, err = c.w.rename.find(name); err != nil {
			return err
		}
	} else if tag, err = c.number("tag", tag); err != nil {
		return err
	}
	c.used["tag"] = true
	var b wire.Builder
	b.Open(make([]byte, 0, 1400), wire.Header{SrcPort: uint16(sport), DstPort: uint16(dport), Tag: uint32(tag)})
	for _, spec := range c.Args[1:] {
		if err := c.appendChunk(&b, uint32(tag), spec); err != nil {
			return err
		}
	}
	pkt := b.Seal()
	if c.key("checksum", "") == "bad" {
		pkt[8] ^= 0xff
	}
	return c.w.Net.Send(c.w.Now, simnet.Datagram{From: from, To: to, Data: pkt})
}

// appendChunk appends a chunk given as type, type:flags or type:flags:value. The value is hexadecimal; among underscores it
// may hold TSNs of the association the tag belongs to, as traces print them: r7 is the seventh of the receiving side, s7
// of the sending side.
func (c *call) appendChunk(b *wire.Builder, tag uint32, spec string) error {
	parts := strings.Split(spec, ":")
	t, err := chunkType(parts[0])
	if err != nil {
		return err
	}
	var flags uint64
	var value []byte
	if len(parts) > 1 && parts[1] != "" {
		if flags, err = strconv.ParseUint(parts[1], 0, 8); err != nil {
			return err
		}
	}
	if len(parts) > 2 {
		if value, err = c.value(tag, parts[2]); err != nil {
			return err
		}
	}
	if !b.Chunk(t, uint8(flags), value) {
		return errors.New("the packet is full")
	}
	return nil
}

func (c *call) value(tag uint32, spec string) (value []byte, err error) {
	sender, receiver := c.w.rename.bases(tag)
	for piece := range strings.SplitSeq(spec, "_") {
		base := receiver
		if num, ok := strings.CutPrefix(piece, "s"); ok {
			base, piece = sender, "r"+num
		}
		num, isTSN := strings.CutPrefix(piece, "r")
		if !isTSN {
			b, err := hex.DecodeString(piece)
			if err != nil {
				return nil, err
			}
			value = append(value, b...)
			continue
		}
		n, err := strconv.ParseInt(num, 10, 32)
		if err != nil {
			return nil, err
		}
		value = binary.BigEndian.AppendUint32(value, base+uint32(n))
	}
	return value, nil
}

// cmdReplay sends the last packet that held a chunk of that type on that direction once more, perhaps from elsewhere.
func cmdReplay(c *call) error {
	from, to, err := c.ends(c.arg(0))
	if err != nil {
		return err
	}
	t, err := chunkType(c.arg(1))
	if err != nil {
		return err
	}
	pkt := c.w.seen[c.arg(0)][t]
	if pkt == nil {
		return errors.New("no such packet was seen")
	}
	if alias := c.key("from", ""); alias != "" {
		a, ok := c.w.Net.Addr(alias)
		if !ok {
			return fmt.Errorf("no address %q", alias)
		}
		from = netip.AddrPortFrom(a, UDPPort)
	}
	return c.w.Net.Send(c.w.Now, simnet.Datagram{From: from, To: to, Data: pkt})
}

// cmdICMP answers the last packet that held a chunk of that type on that direction with an ICMP message, whose quotation
// holds the given number of bytes behind the UDP header: port (by the peer's host, or by a router), net, or big,
// which names an MTU, or none if that is 0.
func cmdICMP(c *call) error {
	from, to, err := c.ends(c.arg(0))
	if err != nil {
		return err
	}
	t, err := chunkType(c.arg(1))
	if err != nil {
		return err
	}
	pkt := c.w.seen[c.arg(0)][t]
	h := c.w.hostAt(from)
	if pkt == nil || h == nil {
		return errors.New("no such packet was seen")
	}
	n := assoc.Notice{ByPeer: c.key("by", "peer") == "peer", Text: "ICMP " + c.arg(2) + " unreachable"}
	switch c.arg(2) {
	case "port":
		n.Kind = assoc.NoPort
	case "net":
		n.Kind = assoc.NoRoute
	case "big":
		mtu, err := c.number("mtu", 1280)
		if err != nil {
			return err
		}
		n.Kind, n.MTU, n.Text = assoc.TooBig, int(mtu), "ICMP packet too big"
	default:
		return fmt.Errorf("unknown message %q", c.arg(2))
	}
	bytes, err := c.number("bytes", uint64(len(pkt)))
	if err != nil {
		return err
	}
	n.Quote = append([]byte(nil), pkt[:min(int(bytes), len(pkt))]...)
	if c.key("tag", "") == "bad" {
		at := 7 // the last byte of the verification tag
		if t == wire.TypeInit {
			at = 19 // of the initiate tag
		}
		n.Quote[at] ^= 1
	}
	at := assoc.Arrival{Local: slices.Index(h.Sim.Addrs, from.Addr()), Peer: to}
	taken := false
	if e := h.EP.Quoted(at, n.Quote); e != nil {
		for _, conn := range h.Conns {
			if conn.Entry == e {
				taken = conn.A.Unreachable(c.w.Now, at, &n)
				h.flush(conn)
			}
		}
	}
	if !taken {
		c.w.say("%s: the ICMP message is ignored", h.Name)
	}
	return nil
}
