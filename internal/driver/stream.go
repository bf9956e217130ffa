package driver

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/go-multihome/multihome/internal/gate"
	"github.com/go-multihome/multihome/internal/rx"
	"github.com/go-multihome/multihome/internal/tx"
)

// Stream is one SCTP stream as its user sees it: what arrived and waits to be read, and the turn of its writers. Both
// directions are safe for concurrent use.
type Stream struct {
	c   *Conn
	id  uint16
	in  inbox
	out gate.Gate // condition: there may be room, or an end
	// turn's condition is "nobody is inside Write", so that two large Writes do not mix their messages.
	turn gate.Gate

	waits bool // in Conn.waiting; guarded by Conn.mu
	shut  bool // closed by the user; guarded by Conn.mu
}

// mux is the streams of an association that have been used.
type mux struct {
	streams map[uint16]*Stream // guarded by Conn.mu
	last    *Stream            // found last; guarded by Conn.mu
	next    int                // the next identifier of our parity to open; guarded by Conn.mu

	gate    gate.Gate // condition: a stream waits for Accept, or the end
	pending []*Stream // guarded by gate
	end     error     // guarded by gate
}

func (c *Conn) streams() *mux {
	if c.mux == nil {
		m := &mux{streams: make(map[uint16]*Stream), next: 1}
		if c.client {
			m.next = 2 // stream 0 is the association itself
		}
		m.end = c.readEnd()
		m.gate.Lock()
		m.gate.Unlock(m.end != nil)
		c.mux = m
	}
	return c.mux
}

// readEnd is what readers find behind the last byte, nil while more may come.
func (c *Conn) readEnd() error {
	switch {
	case c.userClosed:
		return net.ErrClosed
	case c.noMore, c.ended && c.err == nil:
		return io.EOF
	case c.ended:
		return c.err
	}
	return nil
}

// stream returns the stream with that identifier, made if it is new.
func (c *Conn) stream(id uint16) (s *Stream, made bool) {
	m := c.streams()
	if m.last != nil && m.last.id == id {
		return m.last, false
	}
	s = m.streams[id]
	if s == nil {
		s = &Stream{c: c, id: id}
		if end := c.readEnd(); end != nil {
			s.in.finish(end)
		}
		s.out.Lock()
		s.out.Unlock(true)
		s.turn.Lock()
		s.turn.Unlock(true)
		m.streams[id] = s
		made = true
	}
	m.last = s
	return s, made
}

// Stream returns the stream with that identifier, and opens it.
func (c *Conn) Stream(id uint16) *Stream {
	c.mu.Lock()
	defer c.unlock()
	s, _ := c.stream(id)
	return s
}

// OpenStream opens the next unused stream of our parity: even identifiers are the dialler's, odd ones the acceptor's.
func (c *Conn) OpenStream() (*Stream, error) {
	c.mu.Lock()
	defer c.unlock()
	if err := c.writeEnd(); err != nil {
		return nil, err
	}
	out, in := c.a.Streams()
	m := c.streams()
	for id := m.next; id < min(out, in); id += 2 {
		m.next = id + 2
		if m.streams[uint16(id)] == nil {
			s, _ := c.stream(uint16(id))
			return s, nil
		}
	}
	return nil, ErrNoStreams
}

// AcceptStream waits for a message of the peer on a stream that has not been opened here.
func (c *Conn) AcceptStream(ctx context.Context) (*Stream, error) {
	c.mu.Lock()
	m := c.streams()
	c.unlock()
	if err := m.gate.WaitContext(ctx); err != nil {
		return nil, err
	}
	defer func() { m.gate.Unlock(len(m.pending) > 0 || m.end != nil) }()
	if len(m.pending) == 0 {
		return nil, m.end
	}
	s := m.pending[0]
	m.pending[0] = nil
	m.pending = m.pending[1:]
	return s, nil
}

// deliver puts a part into its stream's inbox. The core lock is held; the order is association, then stream.
func (c *Conn) deliver(p *rx.Part) {
	if c.userClosed {
		c.discard(p)
		return
	}
	s, made := c.stream(p.SID)
	if made && p.SID != 0 {
		m := c.mux
		m.gate.Lock()
		m.pending = append(m.pending, s)
		m.gate.Unlock(true)
	}
	if !s.in.put(p) {
		c.discard(p)
	}
}

// discard gives an unwanted part's memory back at once.
func (c *Conn) discard(p *rx.Part) {
	held := p.Data.Held
	p.Data.Free()
	if !c.restarted {
		c.a.Consumed(c.now, held)
	}
}

// endStreams tells the streams that nothing more will arrive.
func (c *Conn) endStreams() {
	m := c.mux
	if m == nil {
		return
	}
	end := c.readEnd()
	for _, s := range m.streams {
		s.in.finish(end)
	}
	m.gate.Lock()
	if m.end == nil || c.userClosed {
		m.end = end
	}
	m.gate.Unlock(true)
}

// writeEnd is why nothing can be sent any more, nil while it can.
func (c *Conn) writeEnd() error {
	switch {
	case c.userClosed:
		return net.ErrClosed
	case c.ended && c.err != nil:
		return c.err
	case c.noMore, c.ended:
		return ErrPeerClosed
	case c.shutdown:
		return ErrShutdown
	}
	return nil
}

// hasRoom reports whether the send buffer takes another message.
func (c *Conn) hasRoom() bool { return c.a.SendHeld() < c.node.budget.send(c.limit) }

// wakeWriters lets waiting writers look again once a quarter of the send buffer is free, or the end has come.
func (c *Conn) wakeWriters() {
	if len(c.waiting) == 0 {
		return
	}
	if limit := c.node.budget.send(c.limit); c.writeEnd() == nil && c.a.SendHeld() > limit-limit>>2 {
		return
	}
	for i, s := range c.waiting {
		s.waits = false
		s.out.Lock()
		s.out.Unlock(true)
		c.waiting[i] = nil
	}
	c.waiting = c.waiting[:0]
}

// ID returns the stream identifier.
func (s *Stream) ID() uint16 { return s.id }

// Conn returns the association the stream belongs to.
func (s *Stream) Conn() *Conn { return s.c }

// Read copies received bytes into p, waiting for the first. Message bounds do not show.
func (s *Stream) Read(p []byte) (int, error) {
	if err := s.in.gate.WaitAndLock(); err != nil {
		return 0, s.closedOr(err)
	}
	if s.in.shut {
		s.in.gate.Unlock(true)
		return 0, net.ErrClosed
	}
	n, held := s.in.read(p)
	var err error
	drained := s.in.head == nil
	if n == 0 && len(p) > 0 {
		err = s.in.end
	}
	s.in.gate.Unlock(s.in.ready())
	s.c.giveBack(held, drained)
	return n, err
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

// Write queues p, cut into messages of at most max bytes that carry ppid, and waits for room in the send buffer where
// needed. It returns how many bytes were queued; those are on their way even when the rest failed.
func (s *Stream) Write(p []byte, max int, ppid uint32) (n int, err error) {
	if err := s.turn.WaitAndLock(); err != nil {
		return 0, s.closedOr(err)
	}
	s.turn.Unlock(false)
	for first := true; first || n < len(p); first = false {
		piece := p[n:min(n+max, len(p))]
		if err = s.send(piece, ppid); err != nil {
			break
		}
		n += len(piece)
	}
	s.turn.Lock()
	s.turn.Unlock(true)
	return n, err
}

// send queues one message. An empty one only looks whether it could.
func (s *Stream) send(p []byte, ppid uint32) error {
	c := s.c
	var m *tx.Message
	for {
		if err := s.out.WaitAndLock(); err != nil {
			return s.failed(m, s.closedOr(err))
		}
		s.out.Unlock(true)
		if m == nil && len(p) > 0 {
			m = tx.NewMessage()
			m.SID, m.PPID = s.id, ppid
			m.Data.Write(p) // copied before the lock is taken
		}
		now := c.enter()
		err := c.writeEnd()
		if s.shut {
			err = net.ErrClosed
		}
		if err != nil || m == nil {
			c.unlock()
			return s.failed(m, err)
		}
		if c.hasRoom() {
			if err := c.a.Send(now, m); err != nil {
				c.leave(nil)
				return s.failed(m, err)
			}
			c.leave(nil)
			return nil
		}
		s.out.Lock()
		s.out.Unlock(false)
		if !s.waits {
			s.waits = true
			c.waiting = append(c.waiting, s)
		}
		c.unlock()
	}
}

// failed frees a message that was not sent.
func (s *Stream) failed(m *tx.Message, err error) error {
	if m != nil {
		m.Free()
	}
	return err
}

// Close closes the stream on this side: what waits to be read and what still arrives is discarded, calls that wait fail
// with net.ErrClosed. What was written is still delivered.
func (s *Stream) Close() error {
	c := s.c
	now := c.enter()
	held, first := s.in.close()
	s.shut = true
	s.out.Lock()
	s.out.Unlock(true)
	if held > 0 && !c.restarted {
		c.a.Consumed(now, held)
	}
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
	s.turn.SetDeadline(t)
	s.out.SetDeadline(t)
	return s.closedOr(nil)
}
