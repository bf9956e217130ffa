package transport

import (
	"errors"
	"net"
	"time"

	"github.com/go-multihome/multihome/internal/driver"
)

// Stream is one SCTP stream of an association as a byte stream, a net.Conn. Streams do not wait for each other: a lost
// packet holds up only the streams whose bytes it carried. All methods may be called by several goroutines at a time.
type Stream struct {
	a *Association
	s *driver.Stream
}

var _ net.Conn = (*Stream)(nil)

// ID returns the stream identifier, the same on both sides.
func (s *Stream) ID() uint16 { return s.s.ID() }

// Association returns the association the stream belongs to.
func (s *Stream) Association() *Association { return s.a }

// Read waits for received bytes and copies as many into p as there are and fit. Message bounds do not show; a message
// larger than the receive window is read while it still arrives. Behind the last byte of a peer that ended the
// association in order comes io.EOF.
func (s *Stream) Read(p []byte) (int, error) {
	n, err := s.s.Read(p)
	return n, s.a.opError("read", err)
}

// Write queues p for sending, as messages of at most Config.MessageSize; two Writes never share a message. It waits
// while the association's send buffer is full, and returns how many bytes were queued: those are sent even when an error
// comes with them. Concurrent Writes do not mix.
func (s *Stream) Write(p []byte) (int, error) {
	n, err := s.s.Write(p, s.a.message, s.a.ppid)
	return n, s.a.opError("write", err)
}

// Close closes the stream on this side. What was written is still delivered; what arrived and was not read, and what
// still arrives, is discarded. Calls that wait fail with net.ErrClosed. The peer does not learn of it, and the identifier
// is not used again by this association. Closing stream 0 of an association leaves the association open.
func (s *Stream) Close() error { return s.a.opError("close", s.s.Close()) }

// CloseWrite would tell the peer that nothing more is written on this stream. SCTP needs the stream reset of RFC 6525
// for that, which is not there yet: the error is errors.ErrUnsupported.
func (s *Stream) CloseWrite() error { return s.a.opError("close", errors.ErrUnsupported) }

// LocalAddr returns the association's local address.
func (s *Stream) LocalAddr() net.Addr { return s.a.LocalAddr() }

// RemoteAddr returns the association's remote address.
func (s *Stream) RemoteAddr() net.Addr { return s.a.RemoteAddr() }

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(t time.Time) error { return s.a.opError("set", s.s.SetDeadline(t)) }

// SetReadDeadline sets the instant from which Read fails with os.ErrDeadlineExceeded, also for a Read that waits. The
// zero time means never.
func (s *Stream) SetReadDeadline(t time.Time) error {
	return s.a.opError("set", s.s.SetReadDeadline(t))
}

// SetWriteDeadline does the same for Write. A Write that fails so may have queued a part, which is sent.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	return s.a.opError("set", s.s.SetWriteDeadline(t))
}
