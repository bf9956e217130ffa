package driver

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/go-multihome/multihome/internal/gate"
)

// mux is the streams of an association that have been used.
//
// An SCTP stream is two directions under one number, and each direction has epochs: the reset that ends one (RFC 6525) lets
// the next begin. A Stream is what its user sees of both: it reads one epoch of the incoming side and writes one of the
// outgoing side. When both have ended, the number is free for another Stream. A peer that goes on sending on a number whose
// end was read makes a new Stream, which waits for AcceptStream; the old one never sees its messages.
type mux struct {
	streams  map[uint16]*Stream  // the present one of each number; guarded by Conn.mu, as everything up to the next heading
	last     *Stream             // found last
	next     int                 // the next number of our parity that was never opened
	free     []uint16            // numbers of our parity whose streams have ended, oldest first
	passages map[uint16]*passage // of numbers whose outgoing side is being ended
	loose    []*Stream           // no longer the present one, but not read to their end
	growth   growth
	waiting  []*Stream // whose writers wait for something else than room: more streams, the end of an epoch
	line     line      // of those who wait for room

	spoilt   map[uint16]bool // numbers that OpenStream must not take
	endLater []uint16        // to be ended once our outgoing streams reach up to them

	zeroOver bool // the association's own stream has ended: what comes next on its number is for AcceptStream

	all *merged // set when messages of all streams are read together

	gate    gate.Gate // condition: a stream waits for Accept, or the end
	pending []*Stream // guarded by gate
	end     error     // guarded by gate
}

// ErrStreamBusy is returned for a stream that was closed here and not yet by the peer.
var ErrStreamBusy = errors.New("the stream is ending; its number is not free yet")

func (c *Conn) streams() *mux {
	if c.mux == nil {
		m := &mux{streams: make(map[uint16]*Stream), next: 1}
		if c.client {
			m.next = 2 // stream 0 is the association itself
		}
		if c.node.cfg.Merge {
			m.all = new(merged)
			if end := c.readEnd(); end != nil {
				m.all.in.finish(end, c.quiet)
			}
		}
		m.end = c.readEnd()
		m.gate.Lock()
		m.gate.Unlock(m.end != nil)
		c.mux = m
	}
	return c.mux
}

// ours reports whether OpenStream may take the number: even ones are the dialler's, odd ones the acceptor's, and stream 0
// is the association itself.
func (c *Conn) ours(id uint16) bool { return id != 0 && (id&1 == 0) == c.client }

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

// stream returns the present stream of a number, made if there is none.
func (c *Conn) stream(id uint16) (s *Stream, made bool) {
	m := c.streams()
	if m.last != nil && m.last.id == id {
		return m.last, false
	}
	if s = m.streams[id]; s == nil {
		s = c.newStream(id, nil)
		made = true
	}
	m.last = s
	return s, made
}

// calmReads is how many reads in a row must have waited for just one message each before the reader is woken quietly.
const calmReads = 4

// newStream makes the stream of a number. prev is the one before it, whose incoming side has ended while its outgoing side
// has not: that goes on, unless its end is under way.
func (c *Conn) newStream(id uint16, prev *Stream) *Stream {
	m := c.mux
	s := &Stream{c: c, id: id}
	if s.in.pressed = c.pressed; c.node.quiet {
		s.in.gate.AllowQuiet(calmReads)
	}
	if end := c.readEnd(); end != nil {
		s.in.finish(end, c.quiet)
	}
	s.room.Lock()
	s.room.Unlock(true)
	s.turn.Lock()
	s.turn.Unlock(true)
	m.enterEpoch(s, prev)
	m.streams[id] = s
	m.last = nil
	return s
}

// Stream opens the stream of a number that its user chose, or returns the one that is open. It fails with ErrStreamBusy
// when that was closed here and is still open on the peer's side.
func (c *Conn) Stream(id uint16) (*Stream, error) {
	c.mu.Lock()
	defer c.unlock()
	if err := c.writeEnd(); err != nil && err != ErrShutdown && err != ErrPeerClosed {
		return nil, err
	}
	s, made := c.stream(id)
	if s.shut {
		return nil, ErrStreamBusy
	}
	if !made {
		c.mux.take(s)
	}
	c.hold(s)
	return s, nil
}

// Zero returns stream 0, open or not.
func (c *Conn) Zero() *Stream {
	c.mu.Lock()
	defer c.unlock()
	s, _ := c.stream(0)
	c.hold(s)
	return s
}

// take removes a stream from those that wait for Accept.
func (m *mux) take(s *Stream) {
	m.gate.Lock()
	for i, p := range m.pending {
		if p == s {
			m.pending = append(m.pending[:i], m.pending[i+1:]...)
			break
		}
	}
	m.gate.Unlock(len(m.pending) > 0 || m.end != nil)
}

// AcceptStream waits for a message of the peer on a stream that has not been opened here.
func (c *Conn) AcceptStream(ctx context.Context) (*Stream, error) {
	c.mu.Lock()
	m := c.streams()
	c.unlock()
	if err := m.gate.WaitContext(ctx); err != nil {
		return nil, err
	}
	if len(m.pending) == 0 {
		end := m.end
		m.gate.Unlock(end != nil)
		return nil, end
	}
	s := m.pending[0]
	m.pending[0] = nil
	m.pending = m.pending[1:]
	m.gate.Unlock(len(m.pending) > 0 || m.end != nil)
	c.mu.Lock()
	c.hold(s)
	c.unlock()
	return s, nil
}

// accept lets a stream wait for AcceptStream.
func (m *mux) accept(s *Stream) {
	m.gate.Lock()
	m.pending = append(m.pending, s)
	m.gate.Unlock(true)
}

// loosen keeps hold of a stream that is no longer the present one of its number while its data waits to be read.
func (c *Conn) loosen(s *Stream) {
	m := c.mux
	m.last = nil
	if s.in.empty() {
		return
	}
	if len(m.loose) >= 16 && len(m.loose) == cap(m.loose) {
		kept := m.loose[:0]
		for _, l := range m.loose {
			if !l.in.empty() {
				kept = append(kept, l)
			}
		}
		clear(m.loose[len(kept):])
		m.loose = kept
	}
	m.loose = append(m.loose, s)
}

// endStreams tells the streams that nothing more will arrive.
func (c *Conn) endStreams() {
	m := c.mux
	if m == nil {
		return
	}
	end := c.readEnd()
	for _, s := range m.streams {
		s.in.finish(end, c.quiet)
	}
	if m.all != nil {
		m.all.flush(c)
		m.all.in.finish(end, c.quiet)
	}
	m.gate.Lock()
	if m.end == nil || c.userClosed {
		m.end = end
	}
	m.gate.Unlock(true)
	m.growth.changed()
}

// shutStreams discards what the streams hold and frees everybody who waits on them.
func (c *Conn) shutStreams() {
	m := c.mux
	if m == nil {
		return
	}
	held := 0
	for _, s := range m.streams {
		n, _ := s.in.close()
		held += n
	}
	for _, s := range m.loose {
		n, _ := s.in.close()
		held += n
	}
	m.loose = nil
	if m.all != nil {
		held += m.all.close()
	}
	c.consumed(held)
	m.gate.Lock()
	m.end = net.ErrClosed
	m.pending = nil
	m.gate.Unlock(true)
	m.growth.changed()
	c.wakeWriters()
}

// press tells the streams whether the receive window is nearly used up: then messages whose end is missing are handed out
// as far as they are here, since nothing else would make room for the rest.
func (c *Conn) press(used int) {
	on := used > c.window-c.window>>2 || c.pressed && used > c.window>>1
	if on == c.pressed || c.mux == nil {
		return
	}
	c.pressed = on
	for _, s := range c.mux.streams {
		s.in.press(on)
	}
	if c.mux.all != nil && on {
		c.mux.all.flush(c)
	}
}
