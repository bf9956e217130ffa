package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/driver"
	"github.com/go-multihome/multihome/locator"
)

// Errors that calls wrap in a *net.OpError. Beside them stand net.ErrClosed after an own Close, os.ErrDeadlineExceeded at
// a deadline, the context's error when a context ended a call, and *AssociationError. io.EOF is never wrapped.
var (
	// ErrPeerClosed is what writing gives once the peer has ended the association in order.
	ErrPeerClosed = driver.ErrPeerClosed
	// ErrShutdown is what writing gives after Shutdown was called on this side.
	ErrShutdown = driver.ErrShutdown
	// ErrLinger is what Close gives when the peer had not acknowledged everything within Config.Linger. The association
	// was aborted.
	ErrLinger = driver.ErrLinger
	// ErrNoStreams is what OpenStream gives when every stream of our parity that both sides allow is in use, and the peer
	// adds none.
	ErrNoStreams = driver.ErrNoStreams
	// ErrStreamID is what writing gives on a stream whose number the peer does not take.
	ErrStreamID = driver.ErrStreamID
	// ErrStreamBusy is what Association.Stream gives for a stream that was closed here, as long as the peer has not ended it.
	ErrStreamBusy = driver.ErrStreamBusy
	// ErrWriteEnded is what writing gives after CloseWrite. It is syscall.EPIPE, too, as with TCP.
	ErrWriteEnded = driver.ErrWriteEnded
	// ErrStopAsked is what writing gives when the peer asked for the end of the stream (RFC 6525 section 4.2). It is
	// syscall.EPIPE, too.
	ErrStopAsked = driver.ErrStopAsked
	// ErrMessageSize is what WriteMessage gives for a message larger than Config.MaxSendBuffer, or larger than a chunk where
	// MessageOptions.Whole or the Fragmentation RefuseMessages is set. It is syscall.EMSGSIZE, too.
	ErrMessageSize = driver.ErrMessageSize
	// ErrEmptyMessage is what WriteMessage gives for a message without a byte, which SCTP cannot carry.
	ErrEmptyMessage = driver.ErrEmptyMessage
	// ErrBroken is what reading gives once when the rest of a message of which a part was read will not come: the peer has
	// given it up (RFC 3758). The next message can be read.
	ErrBroken = driver.ErrBroken
	// ErrConfig is wrapped by every error about a Config.
	ErrConfig = errors.New("bad configuration")
	// ErrAddress is wrapped by every error about the text of an address.
	ErrAddress = errors.New("bad address")
)

// UnsentError reports how many bytes were written but not acknowledged by the peer when the association ended, beside
// the reason, which it wraps. What was not acknowledged may still have arrived.
type UnsentError = driver.UnsentError

// EndKind says how an association ended otherwise than in order.
type EndKind uint8

// The ways to end.
const (
	EndSetup       EndKind = iota + 1 // nobody answered
	EndRefused                        // every peer locator refused, or the peer aborted the setup
	EndAborted                        // the peer aborted
	EndUnreachable                    // no path was answered any more (RFC 9260 section 8.1)
	EndLocalAbort                     // this side aborted
	EndViolation                      // the peer broke the protocol
	EndGuard                          // the peer did not finish the shutdown (RFC 9260 section 9.2, T5-shutdown-guard)
	EndRestart                        // the peer began anew and remembers nothing (RFC 9260 section 5.2)
)

var endText = [...]string{"", "no answer", "refused", "aborted by peer", "peer unreachable", "aborted", "protocol violation by peer", "shutdown timed out", "peer restarted"}

// String names the kind.
func (k EndKind) String() string {
	if int(k) < len(endText) && k > 0 {
		return endText[k]
	}
	return "unknown end"
}

// AssociationError is why an association could not be made, or ended otherwise than in order.
// errors.Is finds syscall.ECONNREFUSED, ECONNRESET, ECONNABORTED and ETIMEDOUT in it where TCP would return those.
type AssociationError struct {
	Kind   EndKind
	Cause  uint16 // code of the ABORT's error cause (RFC 9260 section 3.3.10), 0 without one
	Info   []byte // of the error cause of the peer's ABORT, as it came: of a user's abort the reason
	Detail string // what was seen, on which path
	Unsent int    // bytes written and not acknowledged
	Paths  []PathError
}

// PathError is what one path had seen when the association ended.
type PathError struct {
	Path   locator.Path
	State  heartbeat.State
	Errors int // in a row, RFC 9260 section 8.2
}

// Error says what happened, what was seen on which path, and how much was not delivered.
func (e *AssociationError) Error() string {
	var b strings.Builder
	b.WriteString(e.Kind.String())
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Unsent > 0 {
		fmt.Fprintf(&b, "; %d bytes not acknowledged", e.Unsent)
	}
	if e.Kind == EndUnreachable && e.Detail != "" {
		return b.String() // which tells the paths already
	}
	for i, p := range e.Paths {
		sep := ", "
		if i == 0 {
			sep = " ["
		}
		fmt.Fprintf(&b, "%s%v %v", sep, p.Path.Pair, p.State)
		if p.Errors > 0 {
			fmt.Fprintf(&b, " after %d errors", p.Errors)
		}
	}
	if len(e.Paths) > 0 {
		b.WriteByte(']')
	}
	return b.String()
}

// Timeout reports whether the association failed because nobody answered.
func (e *AssociationError) Timeout() bool {
	return e.Kind == EndSetup || e.Kind == EndUnreachable || e.Kind == EndGuard
}

// Is makes errors.Is find the error that TCP would return.
func (e *AssociationError) Is(target error) bool {
	switch target {
	case syscall.ECONNREFUSED:
		return e.Kind == EndRefused
	case syscall.ECONNRESET:
		return e.Kind == EndAborted || e.Kind == EndRestart
	case syscall.ECONNABORTED:
		return e.Kind == EndLocalAbort || e.Kind == EndViolation
	case syscall.ETIMEDOUT:
		return e.Timeout()
	}
	return false
}

// endError turns the core's reason into the public one, with what the paths had seen. Other errors stay as they are.
func endError(c *driver.Conn, err error) error {
	err = plainError(err)
	e, ok := err.(*AssociationError)
	if !ok {
		return err
	}
	if e.Kind == EndUnreachable || e.Kind == EndAborted {
		for _, p := range c.Paths() {
			if !p.Retired {
				e.Paths = append(e.Paths, PathError{Path: p.Path, State: p.State, Errors: p.Errors})
			}
		}
	}
	return e
}

// plainError is endError without asking the association.
func plainError(err error) error {
	unsent := 0
	reason := err
	var u *driver.UnsentError
	if errors.As(err, &u) {
		unsent, reason = u.Bytes, u.Err
	}
	if reason == driver.ErrRestarted {
		return &AssociationError{Kind: EndRestart, Unsent: unsent}
	}
	f, ok := reason.(*assoc.Failure)
	if !ok {
		return err
	}
	return &AssociationError{Kind: EndKind(f.Kind), Cause: uint16(f.Cause), Info: f.Info, Detail: f.Detail, Unsent: f.Unsent}
}

// opError wraps what a call failed with. io.EOF and nil stay bare.
func (a *Association) opError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	e := &net.OpError{Op: op, Net: "sctp", Err: endError(a.conn, err)}
	e.Source, e.Addr = a.LocalAddr(), a.RemoteAddr()
	return e
}

// contextError makes an ended context look as in package net: its deadline is a timeout.
func contextError(err error) error {
	if err == context.DeadlineExceeded {
		return errDialTimeout{}
	}
	return err
}

// errDialTimeout is a context's deadline as a net.Error.
type errDialTimeout struct{}

func (errDialTimeout) Error() string        { return "i/o timeout" }
func (errDialTimeout) Timeout() bool        { return true }
func (errDialTimeout) Temporary() bool      { return true }
func (errDialTimeout) Is(target error) bool { return target == context.DeadlineExceeded }
