package driver

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/gate"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/rx"
	"github.com/go-multihome/multihome/internal/tx"
)

// Stream is one SCTP stream as its user sees it: what arrived and waits to be read, and the turn of its writers. Both
// directions are safe for concurrent use. See mux for how streams of one number follow each other.
type Stream struct {
	c    *Conn
	id   uint16
	in   inbox
	room gate.Gate // condition: there may be room to write, or an end
	// turn's condition is "nobody is inside a write", so that two large ones do not mix their messages.
	turn    gate.Gate
	partial *tx.Message // a message written in pieces; whoever has the turn owns it

	messages atomic.Bool  // the last reader asked for messages
	slow     atomic.Int32 // writers inside, and whatever else forbids quick writes
	dated    atomic.Bool  // there is a deadline for writing

	// guarded by Conn.mu
	waits   bool     // in mux.waiting
	place   place    // in mux.line
	shut    bool     // closed by the user
	noWrite bool     // CloseWrite was called
	over    bool     // the peer has ended its side
	held    bool     // in its user's hands
	own     epoch    // used unless another stream's is shared
	out     *epoch   // what is written
	opts    *Options // set by SetOptions
}

// Options say how a message travels.
type Options struct {
	PPID      uint32        // payload protocol identifier
	Context   uint32        // comes back with a message that was not delivered
	Lifetime  time.Duration // given up when it is older; 0: never
	Priority  uint32        // given up, when the buffer is full, for messages with a lower number; 0: never
	Resends   int           // given up when one of its chunks was sent again so often; below zero: never
	Unordered bool
	Immediate bool // ask the peer to acknowledge it at once
	OwnPolicy bool // Policy counts, not that of the stream
	Policy    path.Policy
	More      bool // the message goes on with the next write
	Whole     bool // fail rather than cut it into several chunks
}

// defaults are used where neither the stream nor the caller has set options.
var defaults = Options{Resends: -1}

// ID returns the stream identifier.
func (s *Stream) ID() uint16 { return s.id }

// Conn returns the association the stream belongs to.
func (s *Stream) Conn() *Conn { return s.c }

// SetOptions sets what writes use that bring no options of their own.
func (s *Stream) SetOptions(o Options) {
	s.c.mu.Lock()
	defer s.c.unlock()
	s.opts = &o
}

// Options returns what SetOptions set, nil before.
func (s *Stream) Options() *Options {
	s.c.mu.Lock()
	defer s.c.unlock()
	return s.opts
}

// Read copies received bytes into p, waiting for the first. Message bounds do not show.
func (s *Stream) Read(p []byte) (int, error) {
	if s.messages.Load() {
		s.messages.Store(false)
		s.in.expect(0, 0)
	}
	if err := s.in.gate.WaitAndLock(); err != nil {
		return 0, s.closedOr(err)
	}
	if s.in.shut {
		s.in.gate.Unlock(true)
		return 0, net.ErrClosed
	}
	n, held, err := s.in.read(p)
	drained := s.in.head == nil
	if n == 0 && len(p) > 0 && err == nil {
		err = s.in.end
	}
	s.in.gate.Unlock(s.in.ready())
	s.c.giveBack(held, drained)
	return n, err
}

// ReadMessage waits for a message and copies it into p. One that does not fit, or that the receive window has no room to
// hold until it is whole, comes in pieces: more says that the next call goes on with it. part is told of the message; its
// Data is not to be used.
func (s *Stream) ReadMessage(p []byte, part *rx.Part) (n int, more bool, err error) {
	if !s.messages.Load() {
		s.messages.Store(true)
	}
	if err := s.in.wait(max(1, len(p)), int(s.c.half.Load())); err != nil {
		return 0, false, s.closedOr(err)
	}
	var held int
	switch {
	case s.in.shut:
		err = net.ErrClosed
	case s.in.head == nil:
		err = s.in.end
	default:
		n, held, more, err = s.in.message(p, part)
	}
	drained := s.in.head == nil
	s.in.gate.Unlock(s.in.ready())
	s.c.giveBack(held, drained)
	return n, more, err
}

// closedOr returns net.ErrClosed when the stream was closed, which is a better answer than err.
func (s *Stream) closedOr(err error) error {
	s.in.gate.Lock()
	if s.in.shut {
		err = net.ErrClosed
	}
	s.in.gate.Unlock(s.in.ready())
	return err
}

// writeClosedOr is closedOr for the other direction.
func (s *Stream) writeClosedOr(err error) error {
	s.c.mu.Lock()
	defer s.c.unlock()
	if s.shut || s.c.userClosed {
		return net.ErrClosed
	}
	return err
}

// Write queues p, cut into messages of at most max bytes, and waits for room in the send buffer where needed. It returns
// how many bytes were queued; those are on their way even when the rest failed. def is used unless the stream has options
// of its own.
func (s *Stream) Write(p []byte, max int, def *Options) (n int, err error) {
	if len(p) <= max && s.quick(p, nil, def) {
		return len(p), nil
	}
	s.slow.Add(1)
	defer s.slow.Add(-1)
	if err := s.turn.WaitAndLock(); err != nil {
		return 0, s.writeClosedOr(err)
	}
	s.turn.Unlock(false)
	for first := true; first || n < len(p); first = false {
		piece := p[n:min(n+s.c.piece(max), len(p))]
		if err = s.send(piece, def); err != nil {
			if errors.Is(err, ErrMessageSize) && len(piece) > s.c.piece(max) {
				continue // the path has shrunk meanwhile
			}
			break
		}
		n += len(piece)
	}
	s.turn.Lock()
	s.turn.Unlock(true)
	return n, err
}

// send queues one message. An empty one only looks whether it could.
func (s *Stream) send(p []byte, def *Options) error {
	var m *tx.Message
	if len(p) > 0 {
		m = tx.NewMessage()
		m.Write(p) // copied before the lock is taken
	}
	err := s.push(m, nil, def)
	if err != nil && m != nil {
		m.Free()
	}
	return err
}

// push waits for room and gives the message to the core. On an error it stays the caller's. Without options it takes those of
// the stream, or else def.
func (s *Stream) push(m *tx.Message, o, def *Options) error {
	c := s.c
	refused := -1
	for {
		if err := s.room.WaitAndLock(); err != nil {
			return s.giveUp(err)
		}
		s.room.Unlock(true)
		now := c.enter()
		promised := c.mux.line.arrived(s)
		err := s.writable()
		if err == nil && m != nil {
			err = c.fits(m, s.resolve(o, def))
		}
		ok, asked := !s.out.pending, false
		if err == nil && m != nil && ok {
			ok, asked, err = c.reaches(now, s, &refused)
		}
		if err != nil || m == nil {
			c.passOn(promised)
			c.unlock()
			return err
		}
		if ok && !c.hasRoom(s, promised) && c.makeRoom(s.resolve(o, def)) { // it has run out since
			promised, asked = true, true
		}
		if ok && c.hasRoom(s, promised) {
			s.place.turn = max(0, s.place.turn-m.Data.Len)
			c.pushed(now, s, m, o, def)
			behind := !promised && c.behind(s)
			if err = c.a.Send(now, m); behind {
				c.unlock()
			} else {
				c.leave(nil)
			}
			return err
		}
		s.room.Lock()
		s.room.Unlock(false)
		if ok {
			c.mux.line.add(s, m.Data.Len, promised)
		} else {
			c.passOn(promised)
			if !s.waits {
				s.waits = true
				c.mux.waiting = append(c.mux.waiting, s)
			}
		}
		if asked {
			c.leave(nil)
		} else {
			c.unlock()
		}
	}
}

// giveUp is the end of a write whose time is over. It returns net.ErrClosed where that is a better answer than err.
func (s *Stream) giveUp(err error) error {
	c := s.c
	c.mu.Lock()
	defer c.unlock()
	s.wake() // the next write looks for itself
	c.passOn(c.mux.line.arrived(s))
	if s.shut || c.userClosed {
		return net.ErrClosed
	}
	return err
}

// passOn gives to others the room that was promised to a writer who does not take it.
func (c *Conn) passOn(promised bool) {
	if promised && !c.removed {
		c.wakeWriters()
	}
}

// resolve returns the options that count: those given, or else the stream's, or else def.
func (s *Stream) resolve(o, def *Options) *Options {
	switch {
	case o != nil:
		return o
	case s.opts != nil:
		return s.opts
	case def != nil:
		return def
	}
	return &defaults
}

// fits is why a message cannot be sent, whatever room there is: it must not be cut, and is too large for a chunk.
func (c *Conn) fits(m *tx.Message, o *Options) error {
	if !o.Whole && !c.whole.Load() {
		return nil
	}
	if size := c.a.FragmentSize(); m.Data.Len > size {
		return fmt.Errorf("%w: %d bytes where a chunk holds %d and must not be cut", ErrMessageSize, m.Data.Len, size)
	}
	return nil
}

// piece returns how much of a write of any size goes into one message.
func (c *Conn) piece(most int) int {
	if !c.whole.Load() {
		return most
	}
	c.mu.Lock()
	defer c.unlock()
	if c.ended {
		return most
	}
	return max(1, min(most, c.a.FragmentSize()))
}

// makeRoom has messages of lower priority given up for one with these options (RFC 7496 section 3.2), and reports whether
// there were any.
func (c *Conn) makeRoom(o *Options) bool {
	return c.a.MakeRoom(o.Priority, c.a.SendHeld()-c.sendRoom()+1) > 0
}

// pushed fills in how the message travels.
func (c *Conn) pushed(now mono.Time, s *Stream, m *tx.Message, o, def *Options) {
	def = s.resolve(nil, def)
	if o == nil {
		o = def
	}
	m.SID, m.PPID, m.Context = s.id, o.PPID, o.Context
	m.Unordered, m.Immediate, m.Priority = o.Unordered, o.Immediate, o.Priority
	if o.Lifetime > 0 {
		m.Expires = now.Add(o.Lifetime)
	}
	if o.Resends >= 0 {
		m.LimitRtx, m.MaxRtx = true, uint16(min(o.Resends, 1<<16-1))
	}
	if o != def && !o.OwnPolicy {
		assoc.SetPolicy(m, def.Policy)
	} else {
		assoc.SetPolicy(m, o.Policy)
	}
}

// writable is why the stream cannot be written, nil if it can or will be.
func (s *Stream) writable() error {
	switch err := s.c.writeEnd(); {
	case s.shut:
		return net.ErrClosed
	case err != nil:
		return err
	case s.out.asked:
		return ErrStopAsked
	case s.noWrite || s.out.ending:
		return ErrWriteEnded
	}
	return nil
}

// wake lets writers of the stream look again.
func (s *Stream) wake() {
	s.room.Lock()
	s.room.Unlock(true)
}

// Close closes the stream on this side: what waits to be read and what still arrives is discarded, calls that wait fail
// with net.ErrClosed. What was written is still delivered; then the peer learns of the end, if it knows how.
func (s *Stream) Close() error {
	c := s.c
	now := c.enter()
	held, _ := s.in.close()
	first := !s.shut
	if first {
		if c.writeEnd() == nil {
			_ = c.closeOut(now, s) // a peer that cannot be told stays open
		}
		s.shut = true
	}
	s.wake()
	c.consumed(held)
	c.leave(nil)
	if !first {
		return net.ErrClosed
	}
	return nil
}

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

// SetReadDeadline sets the instant from which Read fails with os.ErrDeadlineExceeded, for waiting calls too.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.in.gate.SetDeadline(t)
	return s.closedOr(nil)
}

// SetWriteDeadline is SetReadDeadline for Write.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.dated.Store(!t.IsZero())
	s.turn.SetDeadline(t)
	s.room.SetDeadline(t)
	return s.writeClosedOr(nil)
}
