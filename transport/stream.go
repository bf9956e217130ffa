package transport

import (
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
// larger than the receive window is read while it still arrives. Behind the last byte of a peer that ended the stream, or the
// association in order, comes io.EOF. A peer that gives up a message (RFC 3758) leaves a gap; if a part of that message was
// read already, ErrBroken says so once.
func (s *Stream) Read(p []byte) (int, error) {
	if s.a.merged {
		return 0, s.a.opError("read", errMerged)
	}
	n, err := s.s.Read(p)
	return n, s.a.opError("read", err)
}

// Write queues p for sending, as messages of at most Config.MessageSize, or of what fits one chunk if Config.Fragmentation is
// RefuseMessages; two Writes never share a message. It waits
// while the association's send buffer is full, and returns how many bytes were queued: those are sent even when an error
// comes with them. Concurrent Writes do not mix.
func (s *Stream) Write(p []byte) (int, error) {
	n, err := s.s.Write(p, s.a.message, &s.a.options)
	return n, s.a.opError("write", err)
}

// CloseWrite ends the outgoing direction: everything written is delivered, and behind it the peer reads io.EOF. Reading goes
// on. It does not wait; writes after it fail with an error that wraps ErrWriteEnded. SCTP ends a stream by resetting it
// (RFC 6525); with a peer that cannot do that CloseWrite changes nothing and fails with errors.ErrUnsupported.
func (s *Stream) CloseWrite() error { return s.a.opError("close", s.s.CloseWrite()) }

// Close closes the stream on this side. What was written is still delivered, and the peer then reads io.EOF, as after
// CloseWrite; a peer that cannot be told so learns nothing. What arrived and was not read, and what still arrives, is
// discarded. Calls that wait fail with net.ErrClosed. Once both sides have ended the stream, its number is used again.
// Closing stream 0 of an association leaves the association open.
func (s *Stream) Close() error { return s.a.opError("close", s.s.Close()) }

// CloseRead closes the incoming direction on this side: what arrived and was not read, and what still arrives, is discarded,
// and the peer is asked to end its side (RFC 6525 section 4.2): its writes fail with ErrStopAsked. Writing goes on. With a peer
// that cannot be asked the direction is closed all the same, and the error is errors.ErrUnsupported. OpenStream does not use
// the number of such a stream again.
func (s *Stream) CloseRead() error { return s.a.opError("close", s.s.CloseRead()) }

// ResetWrite ends the outgoing direction as CloseWrite does and begins it anew: to the peer what is written from now on is
// another stream with the same number. Writes wait until the peer knows of the end. OpenStream does not use the number of
// such a stream again.
func (s *Stream) ResetWrite() error { return s.a.opError("reset", s.s.ResetWrite()) }

// LocalAddr returns the association's local address.
func (s *Stream) LocalAddr() net.Addr { return s.a.LocalAddr() }

// RemoteAddr returns the association's remote address.
func (s *Stream) RemoteAddr() net.Addr { return s.a.RemoteAddr() }

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

// SetReadDeadline sets the instant from which Read fails with os.ErrDeadlineExceeded, also for a Read that waits. The
// zero time means never.
func (s *Stream) SetReadDeadline(t time.Time) error {
	if s.a.merged && s.ID() == 0 {
		return s.a.opError("set", s.a.conn.SetAnyDeadline(t))
	}
	return s.a.opError("set", s.s.SetReadDeadline(t))
}

// SetWriteDeadline does the same for Write. A Write that fails so may have queued a part, which is sent.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	return s.a.opError("set", s.s.SetWriteDeadline(t))
}
