package transport

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/go-multihome/multihome/internal/driver"
	"github.com/go-multihome/multihome/locator"
)

// Association is a connection between two endpoints over all the paths between them. As a net.Conn it is the byte stream
// of SCTP stream 0; OpenStream and AcceptStream give more. All methods may be called by several goroutines at a time.
type Association struct {
	conn *driver.Conn

	// Of the configuration, which would be hundreds of bytes per dialled association.
	linger  time.Duration
	message int
	ppid    uint32

	mu     sync.Mutex
	zero   *Stream    // stream 0, made when it is first used
	events chan Event // made by Events
}

var _ net.Conn = (*Association)(nil)

func newAssociation(c *driver.Conn, cfg *Config) *Association {
	return &Association{conn: c, linger: cfg.Linger, message: cfg.MessageSize, ppid: cfg.PPID}
}

// stream0 returns the stream that the association is as a net.Conn.
func (a *Association) stream0() *Stream {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.zero == nil {
		a.zero = &Stream{a: a, s: a.conn.Stream(0)}
	}
	return a.zero
}

// Read reads from stream 0. See [Stream.Read].
func (a *Association) Read(p []byte) (int, error) { return a.stream0().Read(p) }

// Write writes to stream 0. See [Stream.Write].
func (a *Association) Write(p []byte) (int, error) { return a.stream0().Write(p) }

// CloseWrite would end the outgoing direction of stream 0 alone. See [Stream.CloseWrite].
func (a *Association) CloseWrite() error { return a.stream0().CloseWrite() }

// Close ends the association in order: everything that was written is delivered, what has arrived and was not read is
// discarded, and all streams are closed. It waits until the peer has confirmed the end, at most Config.Linger; then it
// aborts the association and returns an error that wraps ErrLinger and reports what was not acknowledged. An association
// that is lost meanwhile gives an error, too, so a program that writes, closes and exits loses nothing silently.
// A second Close returns net.ErrClosed.
func (a *Association) Close() error {
	err := a.conn.Close(a.linger)
	return a.opError("close", err)
}

// Shutdown ends the association in order, as Close does, but lets the program read on until io.EOF, and waits under ctx
// instead of the linger time. When ctx ends first its error is returned and the association goes on ending; Close or
// Abort may follow, and one of them must, to free what has not been read.
func (a *Association) Shutdown(ctx context.Context) error {
	return a.opError("shutdown", a.conn.Shutdown(ctx))
}

// Abort ends the association at once. What was written and not acknowledged may be lost. The peer is told the reason,
// which may be empty; at most 512 bytes of it are sent.
func (a *Association) Abort(reason string) error {
	return a.opError("abort", a.conn.Abort(reason[:min(len(reason), 512)]))
}

// OpenStream opens a stream that is not used yet: even identifiers belong to the side that dialled, odd ones to the
// other. The peer learns of it by the first message. It fails with an error that wraps ErrNoStreams when all are used.
func (a *Association) OpenStream() (*Stream, error) {
	s, err := a.conn.OpenStream()
	if err != nil {
		return nil, a.opError("open", err)
	}
	return &Stream{a: a, s: s}, nil
}

// AcceptStream waits for the first message of the peer on a stream that is not open here, and opens it. It returns
// io.EOF when the peer has ended the association in order.
func (a *Association) AcceptStream(ctx context.Context) (*Stream, error) {
	s, err := a.conn.AcceptStream(ctx)
	if err != nil {
		return nil, a.opError("accept", err)
	}
	return &Stream{a: a, s: s}, nil
}

// LocalAddr returns our side, an *Addr: the SCTP port and the local locators in use, the current one first.
func (a *Association) LocalAddr() net.Addr {
	local, _ := a.addrs()
	return local
}

// RemoteAddr returns the peer's side, an *Addr: its SCTP port and the locators known, the current one first.
func (a *Association) RemoteAddr() net.Addr {
	_, remote := a.addrs()
	return remote
}

// SetDeadline sets the deadlines of stream 0.
func (a *Association) SetDeadline(t time.Time) error { return a.stream0().SetDeadline(t) }

// SetReadDeadline sets the read deadline of stream 0.
func (a *Association) SetReadDeadline(t time.Time) error { return a.stream0().SetReadDeadline(t) }

// SetWriteDeadline sets the write deadline of stream 0.
func (a *Association) SetWriteDeadline(t time.Time) error { return a.stream0().SetWriteDeadline(t) }

// SetPrimary prefers a path for data from now on, if it is well or as soon as it is. IDs come from Paths.
func (a *Association) SetPrimary(id locator.PathID) error {
	return a.opError("set primary", a.conn.SetPrimary(id))
}

// Heartbeat asks a path at once whether it is alive. The answer shows in Paths and Events.
func (a *Association) Heartbeat(id locator.PathID) error {
	return a.opError("heartbeat", a.conn.Heartbeat(id))
}

// Err returns why the association ended: nil while it lives and after an orderly end, else an *AssociationError.
func (a *Association) Err() error { return endError(a.conn, a.conn.Err()) }
