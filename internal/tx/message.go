package tx

import (
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/serial"
)

// Message is one user message on its way out. The user fills the exported fields before Push; from then on the message
// belongs to the Sender, which frees it when the peer has acknowledged all of it.
//
// Its bytes lie in one chain of any length. They are copied from there into a packet at every transmission, so nothing
// is cloned for a resend.
type Message struct {
	SID       uint16    // outbound stream
	PPID      uint32    // payload protocol identifier, passed through (RFC 9260 section 3.3.1)
	Unordered bool      // delivered without regard to the stream's order (RFC 9260 section 6.6)
	Context   uint32    // comes back with Abandoned
	Immediate bool      // the last fragment carries the I bit: the peer should acknowledge at once (RFC 9260 section 6.1)
	Expires   mono.Time // given up from here on, unless all of it was sent by then (RFC 3758 section 4.1); zero: never
	LimitRtx  bool      // given up when a part of it would be sent more than MaxRtx times again (RFC 7496 section 3.1)
	MaxRtx    uint16
	Priority  uint32       // given up for a message of a lower number when there is no room (RFC 7496 section 3.2), see MakeRoom; 0: never
	Redundant bool         // its chunks go out on several paths at once, see AppendCopy
	Wish      uint8        // what path it wants, for the owner to understand: a Grant takes messages of one wish only
	Data      pktbuf.Chain // the payload; at least one byte

	next *Message // behind it in its stream's queue
	st   *stream

	// How far it is cut: the next fragment begins at cutOff in cutBuf. The cursor never rests at the end of a buffer,
	// so it cannot point into one that was acknowledged and freed.
	cutBuf *pktbuf.Buf
	cutOff int
	left   int // bytes not yet cut

	headLeft int        // bytes of Data.Head not yet acknowledged
	seq      uint32     // SSN (DATA) or MID (I-DATA), given when the first fragment is cut
	fsn      serial.FSN // of the next fragment (RFC 8260 section 2.1)

	order uint64 // number of its Push
	slot  int    // where the heap of those that give way has it, from 1 on; 0: not there

	first     uint64 // TSN of the first fragment
	cuts      int    // fragments cut
	size      int    // bytes it had
	abandoned bool

	bundled   int32 // not zero: this is a bundle of so many messages, see bundle.go,
	forgotten int32 // of which the cumulative TSN covers so many

	own  pktbuf.Buf // over room: the payload of a small message lies in the message itself
	room [SmallMessage]byte
}

// SmallMessage is up to how many bytes a message needs no memory beside its own.
const SmallMessage = 128

var messages pktbuf.Pool[Message]

// NewMessage returns an empty message from the pool. Push hands it over; a message that is not pushed goes back with Free.
func NewMessage() *Message { return messages.Get() }

// NewMessage returns an empty message, one that was acknowledged lately if there is one. The caller pushes it or frees it.
func (s *Sender) NewMessage() *Message {
	s.begin()
	s.lent++
	if s.spare == nil {
		return NewMessage()
	}
	m := s.spare
	s.spare, m.next = m.next, nil
	s.spares--
	return m
}

// maxSpares is how many messages a Sender keeps for the next ones.
const maxSpares = 256

// recycle frees a message. It is kept for NewMessage if one of NewMessage is missing: those from elsewhere go back there.
func (s *Sender) recycle(m *Message) {
	if s.lent == 0 {
		m.Free()
		return
	}
	if s.lent--; s.spares >= maxSpares {
		m.Free()
		return
	}
	m.Data.Free()
	*m = Message{next: s.spare}
	s.spare = m
	s.spares++
}

// Write adds p to the payload.
func (m *Message) Write(p []byte) {
	if m.Data.Head == nil && len(p) <= SmallMessage {
		m.own.Lend(m.room[:])
		m.own.Append(p)
		m.Data.Push(&m.own)
		return
	}
	m.Data.Write(p)
}

// Free gives the message and its bytes back. Only the owner may call it: after a successful Push that is the Sender.
func (m *Message) Free() {
	m.Data.Free()
	*m = Message{}
	messages.Put(m)
}

// begin sets the cursors of a message that enters a queue.
func (m *Message) begin() {
	m.left, m.size = m.Data.Len, m.Data.Len
	m.headLeft = m.Data.Head.Len()
	m.cutBuf, m.cutOff = m.Data.Head, 0
	m.skip()
}

// skip moves the cut cursor off buffers that have nothing left.
func (m *Message) skip() {
	for m.cutBuf != nil && m.cutOff >= m.cutBuf.Len() {
		m.cutOff -= m.cutBuf.Len()
		m.cutBuf = m.cutBuf.Next()
	}
}

// started reports whether a fragment of it was cut.
func (m *Message) started() bool { return m.cuts > 0 }

// advance moves the cut cursor over n bytes.
func (m *Message) advance(n int) {
	m.left -= n
	m.cutOff += n
	m.skip()
}

// acked gives back the buffers that hold only bytes acknowledged up to and including the next n. Acknowledgement is
// cumulative and fragments are cut in order, so the bytes go from the front: a message larger than memory allows in one
// piece shrinks while it is being sent.
func (m *Message) acked(n int) {
	m.headLeft -= n
	for m.headLeft <= 0 && m.Data.Head != nil {
		b := m.Data.Head
		m.Data.Head = b.Next()
		b.Free()
		if m.Data.Head == nil {
			m.Data.Tail = nil
			return
		}
		m.headLeft += m.Data.Head.Len()
	}
}

// copyOut fills dst with the payload that begins at off in b and may run on into the buffers behind it.
func copyOut(dst []byte, b *pktbuf.Buf, off int) {
	for n := copy(dst, b.Bytes()[off:]); n < len(dst); {
		b = b.Next()
		n += copy(dst[n:], b.Bytes())
	}
}
