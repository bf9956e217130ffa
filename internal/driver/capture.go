package driver

import (
	"net/netip"
	"time"

	"github.com/go-multihome/multihome/internal/pktbuf"
)

// Capture is told of every datagram that passes the sockets. It is called by several goroutines, and must not keep the
// payload nor wait.
type Capture interface {
	Datagram(at time.Time, sent bool, local, peer netip.AddrPort, payload []byte)
}

// captureSent tells of packets about to be sent: before they are, so that no answer comes before its question.
func (n *Node) captureSent(pkts []pktbuf.Packet) {
	now := time.Now()
	for i := range pkts {
		p := &pkts[i]
		n.cfg.Capture.Datagram(now, true, n.socks[p.Socket].Local(), p.Peer, p.Buf)
	}
}

// captureReceived tells of the packets of a batch.
func (r *reader) captureReceived() {
	now, local := time.Now(), r.sock.Local()
	for i := range r.pkts {
		r.node.cfg.Capture.Datagram(now, false, local, r.pkts[i].peer, r.pkts[i].buf)
	}
}
