package udp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/go-multihome/multihome/internal/pktbuf"
)

// MaxShards is the most sockets that share one address and port.
const MaxShards = 64

// Steering says which socket of a group gets a datagram: the big-endian word of 32 bits at offset Word of its payload, or, where
// that is zero, the one at offset Otherwise, modulo the number of sockets. What is too short for that is the first one's.
type Steering struct{ Word, Otherwise int }

// Shard is the rule in Go. The kernel applies it to the first of several datagrams that it, or a device, has joined: what has
// been joined of several flows' datagrams comes to one socket.
func (s Steering) Shard(payload []byte, shards int) int {
	for _, at := range [...]int{s.Word, s.Otherwise} {
		if len(payload) < at+4 {
			return 0
		}
		if v := binary.BigEndian.Uint32(payload[at:]); v != 0 {
			return int(v % uint32(shards))
		}
	}
	return 0
}

// Shards returns the sockets that stand for the same address and port as s: each is to be read, any may be written. Of most
// sockets that is the socket itself.
func Shards(s Socket) []Socket {
	if g, ok := s.(*group); ok {
		return g.shards
	}
	return []Socket{s}
}

// group is several sockets on one address and port. It is a Socket itself, the first one, but for Close and Stats, which
// concern them all.
type group struct {
	shards []Socket
	guards []*net.UDPConn // keep others from the port, see group_linux.go
}

func (g *group) ReadBatch(b *Batch) error { return g.shards[0].ReadBatch(b) }

func (g *group) WriteBatch(pkts []pktbuf.Packet) (int, error) { return g.shards[0].WriteBatch(pkts) }

func (g *group) Local() netip.AddrPort { return g.shards[0].Local() }

func (g *group) kernel() syscall.RawConn { return Kernel(g.shards[0]) }

// Close closes the guards last, so that the port is never anybody else's while one of the group is open.
func (g *group) Close() error {
	var errs []error
	for _, s := range g.shards {
		errs = append(errs, s.Close())
	}
	for _, c := range g.guards {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Stats returns the sums over all sockets of the group; what the kernel agreed to is the first one's.
func (g *group) Stats() Stats {
	sum, _ := StatsOf(g.shards[0])
	for _, s := range g.shards[1:] {
		st, _ := StatsOf(s)
		sum.add(&st)
	}
	return sum
}
