package rx

import (
	"encoding/binary"

	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

// RunHeader is how many bytes stand before each message of a run: its size.
const RunHeader = 2

const (
	runMessage = 256  // payload bytes of the largest message in a run
	runBytes   = 4096 // of the largest run
)

// join puts a whole message behind the youngest part if that is the message, or the run of messages, right before it. So small
// messages that come in one packet share one buffer, one part, and one look at everything behind it.
func (r *Receiver) join(sid uint16, seq uint32, d *wire.Data) bool {
	p := r.ready.last()
	if p == nil || p.SID != sid || !p.Begin || !p.End || p.PPID != d.PPID || p.Unordered != d.Unordered || len(d.Payload) > runMessage ||
		d.TSN != p.TSN+serial.TSN(max(1, p.Run)) {
		return false
	}
	if p.Run == 0 {
		if p.Data.Len > runMessage || seq != p.Seq+1 && (seq != p.Seq || !d.Unordered) {
			return false
		}
		first := p.Data.Head
		b := pktbuf.Get(2*RunHeader + first.Len() + len(d.Payload))
		appendFrame(b, first.Bytes())
		first.Free()
		p.Data.Head, p.Data.Tail = b, b
		p.Run, p.Counts = 1, seq != p.Seq
	} else {
		next := p.Seq
		if p.Counts {
			next += uint32(p.Run)
		}
		if seq != next || !widen(p, len(d.Payload)) {
			return false
		}
	}
	appendFrame(p.Data.Head, d.Payload)
	p.Run++
	p.Data.Len += len(d.Payload)
	grown := p.Data.Head.Held() - p.Data.Held
	p.Data.Held += grown
	r.unread += grown
	r.held += grown
	r.told = max(0, r.told-len(d.Payload))
	r.learn(p.Data.Len, p.Data.Held) // what is still free of the buffer counts against the peer
	s := r.count()
	s.Chunks++
	s.Bytes += uint64(len(d.Payload))
	s.Messages++
	return true
}

// widen makes room for a message of n bytes in a run, and reports whether there is.
func widen(p *Part, n int) bool {
	b := p.Data.Head
	if b.Room() >= RunHeader+n {
		return true
	}
	need := b.Len() + RunHeader + n
	if need > runBytes {
		return false
	}
	larger := pktbuf.Get(need)
	larger.Append(b.Bytes())
	b.Free()
	p.Data.Head, p.Data.Tail = larger, larger
	return true
}

func appendFrame(b *pktbuf.Buf, payload []byte) {
	var size [RunHeader]byte
	binary.BigEndian.PutUint16(size[:], uint16(len(payload)))
	b.Append(size[:])
	b.Append(payload)
}
