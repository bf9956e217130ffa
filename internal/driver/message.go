package driver

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/go-multihome/multihome/internal/tx"
)

// Errors of WriteMessage.
var (
	// ErrMessageSize says that a message is larger than the send buffer, or than one chunk where it must not be cut.
	ErrMessageSize = fmt.Errorf("the message is too large: %w", syscall.EMSGSIZE)
	// ErrEmptyMessage says that a message has no byte: SCTP cannot carry that (RFC 9260 section 3.3.1).
	ErrEmptyMessage = errors.New("a message has at least one byte")
)

// WriteMessage queues p as one message and waits for room in the send buffer, which the message need not fit into as long
// as it is no larger than all of it. With Options.More the message is only collected until a call without it brings the
// end; that call's options count. Nil options are those of the stream, or else the defaults given.
func (s *Stream) WriteMessage(p []byte, o, def *Options) error {
	if s.quick(p, o, def) {
		return nil
	}
	s.slow.Add(1)
	defer s.slow.Add(-1)
	if err := s.turn.WaitAndLock(); err != nil {
		return s.writeClosedOr(err)
	}
	s.turn.Unlock(false)
	err := s.writeMessage(p, o, def)
	s.turn.Lock()
	s.turn.Unlock(true)
	return err
}

// writeMessage is WriteMessage for whoever has the turn.
func (s *Stream) writeMessage(p []byte, o, def *Options) error {
	m := s.partial
	n := len(p)
	if m != nil {
		n += m.Data.Len
	}
	more := o != nil && o.More
	switch {
	case n > s.c.sendLimit():
		return ErrMessageSize
	case n == 0 && !more:
		return ErrEmptyMessage
	}
	if m == nil {
		m = tx.NewMessage()
	}
	m.Write(p)
	s.collect(m)
	var err error
	if more {
		s.c.mu.Lock()
		err = s.writable()
		s.c.unlock()
		if err == nil {
			return nil
		}
	} else {
		err = s.push(m, o, def)
	}
	s.collect(nil)
	if err != nil {
		m.Free()
	}
	return err
}

// collect keeps a message until its end is written, or forgets the one that was kept.
func (s *Stream) collect(m *tx.Message) {
	switch {
	case s.partial == nil && m != nil:
		s.slow.Add(1)
	case s.partial != nil && m == nil:
		s.slow.Add(-1)
	}
	s.partial = m
}

// dropPartial frees a message that will not be written to its end. Whoever is writing at this moment finds the end itself.
func (s *Stream) dropPartial() {
	if !s.turn.LockIfSet() {
		return
	}
	if s.partial != nil {
		s.partial.Free()
		s.collect(nil)
	}
	s.turn.Unlock(true)
}

// sendLimit is the size up to which the send buffer grows.
func (c *Conn) sendLimit() int {
	c.mu.Lock()
	defer c.unlock()
	return c.most
}
