package transport

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-multihome/multihome/internal/driver"
	"github.com/go-multihome/multihome/locator"
)

// Association is a connection between two endpoints over all the paths between them. As a net.Conn it is the byte stream
// of SCTP stream 0; OpenStream and AcceptStream give more. All methods may be called by several goroutines at a time.
type Association struct {
	conn *driver.Conn

	// Of the configuration, which would be hundreds of bytes per dialled association.
	linger  atomic.Int64 // a time.Duration
	message int
	options driver.Options
	merged  bool // Config.AllStreams

	zero atomic.Pointer[Stream] // stream 0, made when it is first used

	mu     sync.Mutex
	events chan Event // made by Events

	eventsDropped atomic.Uint64
}

var _ net.Conn = (*Association)(nil)

func newAssociation(c *driver.Conn, cfg *Config) *Association {
	a := &Association{conn: c, message: cfg.MessageSize, options: cfg.options(), merged: cfg.AllStreams}
	a.linger.Store(int64(cfg.Linger))
	return a
}

// stream0 returns the stream that the association is as a net.Conn.
func (a *Association) stream0() *Stream {
	if s := a.zero.Load(); s != nil {
		return s
	}
	a.zero.CompareAndSwap(nil, &Stream{a: a, s: a.conn.Zero()})
	return a.zero.Load()
}

// Read reads from stream 0. See [Stream.Read].
func (a *Association) Read(p []byte) (int, error) { return a.stream0().Read(p) }

// Write writes to stream 0. See [Stream.Write].
func (a *Association) Write(p []byte) (int, error) { return a.stream0().Write(p) }

// CloseWrite ends the outgoing direction of stream 0: the peer reads io.EOF behind the last byte, and writes of its own still
// arrive here. See [Stream.CloseWrite].
func (a *Association) CloseWrite() error { return a.stream0().CloseWrite() }

// Close ends the association in order: everything that was written is delivered, what has arrived and was not read is
// discarded, and all streams are closed. It waits until the peer has confirmed the end, at most Config.Linger; then it
// aborts the association and returns an error that wraps ErrLinger and reports what was not acknowledged. An association
// that is lost meanwhile gives an error, too, so a program that writes, closes and exits loses nothing silently.
// A second Close returns net.ErrClosed.
func (a *Association) Close() error {
	err := a.conn.Close(time.Duration(a.linger.Load()))
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

// OpenStream is [Association.OpenStreamContext] without a context.
func (a *Association) OpenStream() (*Stream, error) { return a.OpenStreamContext(context.Background()) }

// OpenStreamContext opens a stream that is not used yet: even numbers belong to the side that dialled, odd ones to the
// other, 0 to the association itself. Numbers of streams that both sides have ended are used again. The peer learns of the
// stream by its first message, or by its end. When all streams are in use, the peer is asked for more (RFC 6525), and the call
// waits for its answer or for a stream to become free, at most until ctx ends. It fails with an error that wraps ErrNoStreams
// when the peer refuses, or cannot be asked.
func (a *Association) OpenStreamContext(ctx context.Context) (*Stream, error) {
	s, err := a.conn.OpenStream(ctx)
	if err != nil {
		return nil, a.opError("open", contextError(err))
	}
	return &Stream{a: a, s: s}, nil
}

// Stream opens the stream with that number, or returns the one that is open: for protocols in which a number has a meaning,
// as programs of the sockets API (RFC 6458) use them. A stream opened so is not offered by AcceptStream. When the number lies
// beyond the streams agreed on, the peer is asked for more by the first write. It fails with an error that wraps
// ErrStreamBusy when the stream was closed here and the peer has not ended its side yet.
func (a *Association) Stream(id uint16) (*Stream, error) {
	if id == 0 {
		return a.stream0(), nil
	}
	s, err := a.conn.Stream(id)
	if err != nil {
		return nil, a.opError("open", err)
	}
	return &Stream{a: a, s: s}, nil
}

// Streams returns how many outgoing and incoming streams both sides have agreed on: the least of what one side asked for and
// the other allows (RFC 9260 section 5.1.1), and what was added since.
func (a *Association) Streams() (out, in int) {
	i := a.conn.Info()
	return i.OutStreams, i.InStreams
}

// AddStreams asks for more outgoing and incoming streams (RFC 6525 sections 4.5 and 4.6) and waits until they are there. It
// fails with an error that wraps ErrNoStreams when the peer refuses, errors.ErrUnsupported when it cannot be asked.
// OpenStream does this by itself.
func (a *Association) AddStreams(ctx context.Context, out, in int) error {
	return a.opError("add streams", contextError(a.conn.AddStreams(ctx, out, in)))
}

// AcceptStream waits for the first message of the peer on a stream that is not open here, and opens it. A stream that both
// sides have ended, and on which the peer begins anew, is such a stream. It returns io.EOF when the peer has ended the
// association in order.
func (a *Association) AcceptStream(ctx context.Context) (*Stream, error) {
	s, err := a.conn.AcceptStream(ctx)
	if err != nil {
		return nil, a.opError("accept", contextError(err))
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

// SetReadDeadline sets the read deadline of stream 0, or with Config.AllStreams that of ReadMessage.
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
