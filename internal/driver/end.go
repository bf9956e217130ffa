package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/gate"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/wire"
)

// Errors of ends. net.ErrClosed, io.EOF and os.ErrDeadlineExceeded stand beside them.
var (
	// ErrShutdown is what writes get after Shutdown was called on this side.
	ErrShutdown = errors.New("the association is shutting down")
	// ErrPeerClosed is what writes get once the peer has ended the association in order.
	ErrPeerClosed = errors.New("the peer has shut the association down")
	// ErrLinger says that the peer had not acknowledged everything when Close stopped waiting.
	ErrLinger = errors.New("linger time is over")
	// ErrRestarted says that the peer began the association anew and knows nothing of what was before.
	ErrRestarted = errors.New("the peer restarted the association")
)

// UnsentError reports bytes that were written and not acknowledged by the peer when the association ended.
type UnsentError struct {
	Bytes int
	Err   error
}

func (e *UnsentError) Error() string {
	return fmt.Sprintf("%v (%d bytes not delivered)", e.Err, e.Bytes)
}
func (e *UnsentError) Unwrap() error { return e.Err }

func unsent(n int, err error) error {
	if n == 0 || err == nil {
		return err
	}
	return &UnsentError{n, err}
}

// Shutdown ends the association in order: what was written is delivered first, no more can be written, reading goes on
// until the end. It returns nil once the association has ended so, and ctx.Err() when ctx ends first; the association
// goes on ending then.
func (c *Conn) Shutdown(ctx context.Context) error {
	now := c.enter()
	if c.userClosed {
		c.unlock()
		return net.ErrClosed
	}
	c.beginShutdown(now)
	e := c.awaitEnd()
	c.leave(nil)
	if err := e.gone.WaitContext(ctx); err != nil {
		return err
	}
	e.gone.Unlock(true)
	return c.outcome()
}

func (c *Conn) beginShutdown(now mono.Time) {
	if !c.shutdown && !c.ended {
		c.a.Shutdown(now)
	}
	c.shutdown = true
	c.wakeWriters()
	if c.mux != nil {
		c.mux.growth.changed()
	}
}

// Close discards what arrived and was not read, ends the association in order, and waits at most linger for that (a
// negative linger: as long as it takes). When the time is over it aborts the association and returns ErrLinger.
// It returns an error, too, when the association was lost while data was on its way.
func (c *Conn) Close(linger time.Duration) error {
	now := c.enter()
	if c.userClosed {
		c.unlock()
		return net.ErrClosed
	}
	ended := c.ended
	c.userClosed = true
	c.shutStreams()
	c.beginShutdown(now)
	e := c.awaitEnd()
	if !ended && linger >= 0 {
		e.at = now.Add(linger)
	}
	c.leave(nil)
	e.wait()
	c.node.settle()
	if ended {
		return c.outcomeUnsent()
	}
	return c.outcome()
}

// giveUp ends an association whose linger time is over. If nothing but the last word of the peer is missing, its SHUTDOWN
// COMPLETE, all data has arrived in both directions and there is no error to report.
// The caller holds the lock and flushes.
func (c *Conn) giveUp(now mono.Time) {
	c.ending.at = 0
	c.complete = c.a.State() == assoc.ShutdownAckSent
	c.aborted = ErrLinger
	c.a.Abort(now, wire.CauseUserAbort, "linger time is over")
}

// Abort ends the association at once. The peer is told the reason.
func (c *Conn) Abort(reason string) error {
	c.enter()
	if c.userClosed {
		// Close may be waiting: this ends the waiting.
		c.unlock()
		c.abort(wire.CauseUserAbort, reason, net.ErrClosed)
		return net.ErrClosed
	}
	c.userClosed = true
	c.shutStreams()
	e := c.awaitEnd()
	c.unlock()
	c.abort(wire.CauseUserAbort, reason, nil)
	e.wait()
	c.node.settle()
	return nil
}

// drop ends an association that nobody will accept.
func (c *Conn) drop() {
	c.enter()
	c.userClosed = true
	c.shutStreams()
	c.unlock()
	c.abort(wire.CauseUserAbort, "not accepted", nil)
}

// abort ends the association; why is what Close returns then.
func (c *Conn) abort(cause wire.CauseCode, reason string, why error) {
	now := c.enter()
	if !c.ended {
		c.aborted = why
		c.a.Abort(now, cause, reason)
	}
	c.leave(nil)
}

// ending is for those who wait until an association is gone: ended, its last packet sent.
type ending struct {
	gone gate.Gate // condition: it is gone
	at   mono.Time // when Close waits no longer and the alarm goes off; 0: as long as it takes. Guarded by Conn.mu
}

func (c *Conn) awaitEnd() *ending {
	if c.ending == nil {
		c.ending = new(ending)
		if c.isGone {
			c.ending.gone.Lock()
			c.ending.gone.Unlock(true)
		}
	}
	return c.ending
}

// wait has no deadline and cannot fail.
func (e *ending) wait() {
	if e.gone.WaitAndLock() == nil {
		e.gone.Unlock(true)
	}
}

// lingered reports whether Close waits for the end, for a time.
func (c *Conn) lingered() bool { return c.ending != nil && c.ending.at != 0 && !c.ended }

// outcome is how the association ended: nil in order, or why not, with what was not delivered.
func (c *Conn) outcome() error {
	c.mu.Lock()
	defer c.unlock()
	if c.complete {
		return nil
	}
	if c.aborted != nil {
		return unsent(c.unsent, c.aborted)
	}
	return unsent(c.unsent, c.err)
}

// outcomeUnsent is outcome for an association that had ended before Close was called: its readers and writers have seen
// the error, so only undelivered data is worth another.
func (c *Conn) outcomeUnsent() error {
	c.mu.Lock()
	defer c.unlock()
	if c.unsent == 0 {
		return nil
	}
	return unsent(c.unsent, c.err)
}

// Err returns why the association ended: nil while it lives and after an orderly end.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.unlock()
	return c.err
}
