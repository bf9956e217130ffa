package simnet

import (
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/udp"
)

// batchSlots is how many datagrams one ReadBatch returns at most.
const batchSlots = 64

// maxCoalesced is how many datagrams one slot holds when the socket coalesces, as a kernel's GRO.
const maxCoalesced = 16

// Socket is a udp.Socket of a Lab, and a net.PacketConn as well: it can stand wherever an application hands in a socket of
// its own.
type Socket struct {
	lab      *Lab
	in       *inbox
	lent     [][]byte // memory the reader may look at until its next ReadBatch
	coalesce atomic.Bool
	blocked  atomic.Bool
	wuntil   atomic.Int64 // write deadline in Unix nanoseconds, 0: none
}

var _ udp.Socket = (*Socket)(nil)

// Listen opens a socket on a host's address. Port 0 picks a free one.
func (l *Lab) Listen(ap netip.AddrPort) (*Socket, error) {
	q, err := l.bind(ap)
	if err != nil {
		return nil, err
	}
	return &Socket{lab: l, in: q}, nil
}

// Coalesce makes ReadBatch lay equal-size datagrams from one peer side by side in one slot, as GRO does.
func (s *Socket) Coalesce(on bool) { s.coalesce.Store(on) }

// Block makes writes fail with udp.ErrBlocked, as a full send buffer does.
func (s *Socket) Block(on bool) { s.blocked.Store(on) }

// Fail makes the next ReadBatch return err, as a kernel reports the ICMP answer to an earlier send.
func (s *Socket) Fail(err error) {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	s.in.fail = err
	s.in.cond.Broadcast()
}

// Overflow returns how many datagrams were dropped because the reader was slow.
func (s *Socket) Overflow() int {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	return s.in.overflow
}

// ReadBatch waits for at least one datagram and fills b.
func (s *Socket) ReadBatch(b *udp.Batch) error {
	q := s.in
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range s.lent {
		q.spare = append(q.spare, m[:0])
	}
	s.lent = s.lent[:0]
	b.Slots = b.Slots[:0]
	if err := q.waitLocked(); err != nil {
		return err
	}
	for len(b.Slots) < batchSlots && len(q.queue) > 0 {
		r := q.takeLocked()
		slot := udp.Slot{Buf: r.data, Peer: r.from}
		if s.coalesce.Load() {
			s.gatherLocked(&slot)
		}
		s.lent = append(s.lent, slot.Buf)
		b.Slots = append(b.Slots, slot)
	}
	return nil
}

// gatherLocked appends the datagrams that follow from the same peer, the last of which may be shorter.
func (s *Socket) gatherLocked(slot *udp.Slot) {
	size := len(slot.Buf)
	for n := 1; n < maxCoalesced && len(s.in.queue) > 0; n++ {
		head := &s.in.queue[0]
		if head.from != slot.Peer || len(head.data) > size || size == 0 || len(head.data) == 0 {
			return
		}
		r := s.in.takeLocked()
		slot.Segment = size
		slot.Buf = append(slot.Buf, r.data...)
		s.lent = append(s.lent, r.data)
		if len(r.data) < size {
			return
		}
	}
}

// WriteBatch sends packets in order and never waits.
func (s *Socket) WriteBatch(pkts []pktbuf.Packet) (int, error) {
	for i := range pkts {
		if s.blocked.Load() {
			return i, udp.ErrBlocked
		}
		if err := s.write(&pkts[i]); err != nil {
			return i, err
		}
	}
	return len(pkts), nil
}

func (s *Socket) write(p *pktbuf.Packet) error {
	if s.isClosed() {
		return net.ErrClosed
	}
	return s.lab.send(Datagram{From: s.in.local, To: p.Peer, Data: p.Buf, NoDF: p.NoDF})
}

func (s *Socket) isClosed() bool {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	return s.in.closed
}

// Local returns the bound address.
func (s *Socket) Local() netip.AddrPort { return s.in.local }

// Close frees the address and wakes the reader.
func (s *Socket) Close() error {
	if s.isClosed() {
		return net.ErrClosed
	}
	s.lab.unbind(s.in)
	return nil
}
