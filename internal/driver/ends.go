package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/gate"
	"github.com/go-multihome/multihome/internal/mono"
)

// How streams end, and how there become more of them (RFC 6525).

// Errors of writing to a stream, both of which are syscall.EPIPE.
var (
	// ErrWriteEnded is what writes get after CloseWrite.
	ErrWriteEnded = fmt.Errorf("the stream was ended on this side: %w", syscall.EPIPE)
	// ErrStopAsked is what writes get once the peer has asked for the end of the stream.
	ErrStopAsked = fmt.Errorf("the peer asked for the end of the stream: %w", syscall.EPIPE)
)

// ErrStreamID says that a stream's number lies beyond the outgoing streams, and that the peer adds none.
var ErrStreamID = errors.New("stream number beyond the streams agreed on")

// ErrNoStreams says that every stream of our parity that both sides allow is in use, and that the peer adds none.
var ErrNoStreams = errors.New("no unused stream is left")

// errUnsupported is CloseWrite's answer where one side has not announced RFC 6525.
var errUnsupported = fmt.Errorf("one side does not support the reset of streams (RFC 6525): %w", errors.ErrUnsupported)

// outgoing is one epoch of a stream's outgoing side. Streams that follow each other on one number share it when only the
// incoming side ended between them. Guarded by Conn.mu.
type outgoing struct {
	pending bool // the end of the epoch before is not known to the peer yet: writers wait
	ending  bool // nothing more is written
	asked   bool // because the peer asked for it
	ended   bool // the peer knows
}

// CloseWrite ends the outgoing side: behind everything written the peer reads io.EOF. It fails with errors.ErrUnsupported
// if the peer does not know how to end streams; the stream stays open then.
func (s *Stream) CloseWrite() error {
	c := s.c
	now := c.enter()
	var err error
	switch {
	case s.shut:
		err = net.ErrClosed
	case !s.noWrite:
		if err = c.writeEnd(); err == nil {
			err = c.closeOut(now, s)
		}
	}
	c.leave(nil)
	return err
}

// closeOut ends the outgoing side of s. A stream whose number has a younger one closes itself only: the side is that one's.
func (c *Conn) closeOut(now mono.Time, s *Stream) error {
	if s.noWrite {
		return nil
	}
	if c.mux.streams[s.id] == s {
		if err := c.endOut(now, s); err != nil {
			return err
		}
	}
	s.noWrite = true
	s.dropPartial()
	s.wake()
	return nil
}

func (c *Conn) endOut(now mono.Time, s *Stream) error {
	o := s.out
	if o.ending {
		return nil
	}
	refused := -1
	switch ok, _, err := c.reaches(now, s, &refused); {
	case err != nil:
		o.ending, o.ended = true, true // a side that does not exist has no end to tell
		c.release(s)
		return nil
	case !ok:
		o.ending = true
		c.mux.endLater = append(c.mux.endLater, s)
		return nil
	case !o.pending:
		if err := c.endStream(now, s.id); err != nil {
			return err
		}
	}
	o.ending = true
	return nil
}

func (c *Conn) endStream(now mono.Time, id uint16) error {
	if err := supported(c.a.EndStream(now, id)); err != nil {
		return err
	}
	c.endingMore(id)
	return nil
}

// supported names the want of RFC 6525 as package errors does.
func supported(err error) error {
	if err == assoc.ErrNoReconfig {
		return errUnsupported
	}
	return err
}

// ResetWrite ends the outgoing side, as CloseWrite does, and begins it anew for the same user: writes wait until the peer
// knows.
func (s *Stream) ResetWrite() error {
	c := s.c
	now := c.enter()
	err := s.writable()
	if err == nil && !s.out.pending {
		if err = c.endStream(now, s.id); err == nil {
			s.out.ending = true // for those who shared it
			s.out = &outgoing{pending: true}
		}
	}
	c.leave(nil)
	return err
}

// CloseRead closes the incoming side here, and asks the peer to end it there. Without RFC 6525 the peer is not asked, and
// what it sends is discarded.
func (s *Stream) CloseRead() error {
	c := s.c
	now := c.enter()
	held, first := s.in.close()
	c.consumed(held)
	var err error
	switch {
	case !first:
		err = net.ErrClosed
	case s.over || c.writeEnd() != nil || c.mux.streams[s.id] != s:
		// there is nothing more to come, or nobody to ask
	default:
		err = supported(c.a.StopStream(now, s.id))
	}
	c.leave(nil)
	return err
}

func (c *Conn) endingMore(id uint16) {
	m := c.streams()
	if m.ending == nil {
		m.ending = make(map[uint16]int)
	}
	m.ending[id]++
}

// streamsEnded takes the news that the peer knows the end of outgoing sides, or (refused) has refused to take note of it.
func (c *Conn) streamsEnded(ids []uint16, refused bool) {
	m := c.streams()
	for _, id := range ids {
		if n := m.ending[id]; n > 1 {
			m.ending[id] = n - 1
			continue
		}
		delete(m.ending, id)
		if s := m.streams[id]; s != nil {
			c.outEnded(s, refused)
		}
	}
	m.growth.changed() // a number may be free
}

func (c *Conn) outEnded(s *Stream, refused bool) {
	o := s.out
	switch {
	case o.pending:
		o.pending = false // the turn of this epoch has come
		if o.ending {     // and its end was asked for already
			o.ending = c.endStream(c.now, s.id) == nil
		}
		c.wakeWaiting()
	case o.ending && !refused:
		o.ended = true
		c.release(s)
	}
}

// stopAsked takes the news that the peer asked for the end of outgoing sides, which is under way.
func (c *Conn) stopAsked(ids []uint16) {
	m := c.streams()
	for _, id := range ids {
		c.endingMore(id)
		if s := m.streams[id]; s != nil && !s.out.ending && !s.out.pending {
			s.out.ending, s.out.asked = true, true
			s.wake()
		}
	}
	c.wakeWaiting()
}

// streamsReset takes the news that the peer has ended streams; none named means all. What was read before the end is in the
// inboxes already.
func (c *Conn) streamsReset(ids []uint16) {
	m := c.streams()
	if len(ids) == 0 {
		for _, s := range m.streams {
			c.inEnded(s)
		}
		return
	}
	for _, id := range ids {
		s := m.streams[id]
		if s == nil && id == 0 && !m.zeroOver {
			s = c.newStream(0, nil)
		}
		if s == nil && !c.userClosed && !c.ours(id) && id != 0 && m.all == nil && c.node.budget.window(1) > 0 {
			// Opened and ended by the peer without a message. Of our own parity it would be the echo of an end of ours. A peer
			// must not fill memory so that its data may not.
			s = c.newStream(id, nil)
			m.accept(s)
		}
		if s != nil {
			c.inEnded(s)
		}
	}
}

func (c *Conn) inEnded(s *Stream) {
	if s.over {
		return
	}
	s.over = true
	c.mux.zeroOver = c.mux.zeroOver || s.id == 0
	s.in.finish(io.EOF)
	c.release(s)
}

// release frees the number of a stream that has ended on both sides.
func (c *Conn) release(s *Stream) {
	m := c.mux
	if !s.over || !s.out.ended || m.streams[s.id] != s {
		return
	}
	delete(m.streams, s.id)
	c.loosen(s)
	if c.ours(s.id) {
		m.free = append(m.free, s.id)
		m.growth.changed()
	}
}

// growth is how streams become more.
type growth struct {
	gate    gate.Gate // condition: something changed since somebody found no stream
	out, in int       // numbers of streams asked for; zero: nothing is under way
	refused int       // times the peer refused
	why     string
}

func (g *growth) changed() {
	g.gate.Lock()
	g.gate.Unlock(true)
}

// OpenStream opens the next unused stream of our parity. When all are in use and the peer can add some, it asks for more
// and waits. When the peer adds none it waits only while a number is about to come back.
func (c *Conn) OpenStream(ctx context.Context) (*Stream, error) {
	refused := -1
	for {
		now := c.enter()
		if err := c.writeEnd(); err != nil {
			c.unlock()
			return nil, err
		}
		g := &c.streams().growth
		if s := c.unused(); s != nil {
			c.unlock()
			return s, nil
		}
		if refused < 0 {
			refused = g.refused
		}
		var err error
		if g.refused != refused {
			err = fmt.Errorf("%w: %s", ErrNoStreams, g.why)
		} else {
			out, in := c.a.Streams()
			if err = c.grow(now, max(16, 2*min(out, in))); err != nil {
				err = fmt.Errorf("%w: %w", ErrNoStreams, err)
			}
		}
		if err != nil && !c.comingBack() {
			c.unlock()
			return nil, err
		}
		g.gate.Lock()
		g.gate.Unlock(false)
		c.leave(nil)
		if err := g.gate.WaitContext(ctx); err != nil {
			return nil, err
		}
		g.gate.Unlock(true)
	}
}

// comingBack reports whether a number of our parity is free as soon as the peer knows of an end of ours.
func (c *Conn) comingBack() bool {
	for id := range c.mux.ending {
		if s := c.mux.streams[id]; c.ours(id) && (s == nil || s.over) {
			return true
		}
	}
	return false
}

// unused opens a stream that nobody uses, nil if there is none. Numbers that come back go first: what both sides remember
// of a number is there already.
func (c *Conn) unused() *Stream {
	m := c.mux
	for len(m.free) > 0 {
		id := m.free[0]
		m.free = m.free[1:]
		if m.streams[id] == nil && m.ending[id] == 0 {
			return c.newStream(id, nil)
		}
	}
	out, in := c.a.Streams()
	for id := m.next; id < min(out, in); id += 2 {
		m.next = id + 2
		if m.streams[uint16(id)] == nil && m.ending[uint16(id)] == 0 {
			return c.newStream(uint16(id), nil)
		}
	}
	return nil
}

// maxStreams is how many streams there can be each way (RFC 9260 section 3.3.2).
const maxStreams = 1<<16 - 1

// grow asks the peer for as many streams in both directions, unless that is under way.
func (c *Conn) grow(now mono.Time, to int) error {
	g := &c.mux.growth
	to = min(to, maxStreams)
	out, in := c.a.Streams()
	if out >= to && in >= to {
		return assoc.ErrTooMany
	}
	if have := max(out, g.out); have < to {
		if err := c.a.AddStreams(now, to-have); err != nil {
			return err
		}
		g.out = to
	}
	if have := max(in, g.in); have < to {
		if err := c.a.AskStreams(now, to-have); err != nil {
			return err
		}
		g.in = to
	}
	return nil
}

// reaches reports whether our outgoing streams reach up to the number of s. If not it asks the peer for more, unless that is
// under way; when it is refused or cannot be asked, an error comes back.
func (c *Conn) reaches(now mono.Time, s *Stream, refused *int) (ok, asked bool, err error) {
	out, _ := c.a.Streams()
	if int(s.id) < out {
		return true, false, nil
	}
	g := &c.mux.growth
	if *refused < 0 {
		*refused = g.refused
	}
	if g.refused != *refused {
		return false, false, fmt.Errorf("%w: %d: %s", ErrStreamID, s.id, g.why)
	}
	if have := max(out, g.out); have <= int(s.id) {
		if err := c.a.AddStreams(now, int(s.id)+1-have); err != nil {
			return false, false, fmt.Errorf("%w: %d: %w", ErrStreamID, s.id, err)
		}
		g.out, asked = int(s.id)+1, true
	}
	return false, asked, nil
}

// streamsAdded takes the news that there are more streams, or (why) that the peer refused to add any.
func (c *Conn) streamsAdded(why string) {
	g := &c.streams().growth
	if why != "" {
		g.out, g.in, g.why = 0, 0, why
		g.refused++
	}
	m := c.mux
	later := m.endLater
	m.endLater = nil
	out, _ := c.a.Streams()
	for _, s := range later {
		switch {
		case int(s.id) < out:
			s.out.ending = c.endStream(c.now, s.id) == nil
		case why != "":
			s.out.ended = true
			c.release(s)
		default:
			m.endLater = append(m.endLater, s)
		}
	}
	g.changed()
	c.wakeWaiting()
}

// AddStreams asks the peer for more streams each way and waits for its answer.
func (c *Conn) AddStreams(ctx context.Context, out, in int) error {
	now := c.enter()
	if err := c.writeEnd(); err != nil {
		c.unlock()
		return err
	}
	g := &c.streams().growth
	refused := g.refused
	haveOut, haveIn := c.a.Streams()
	wantOut, wantIn := haveOut+out, haveIn+in
	var err error
	if wantOut > maxStreams || wantIn > maxStreams || out < 0 || in < 0 {
		err = assoc.ErrTooMany
	}
	if err == nil && out > 0 {
		err = c.a.AddStreams(now, out)
	}
	if err == nil && in > 0 {
		err = c.a.AskStreams(now, in)
	}
	for {
		g.gate.Lock()
		g.gate.Unlock(false)
		haveOut, haveIn = c.a.Streams()
		if err == nil && g.refused != refused {
			err = fmt.Errorf("%w: %s", ErrNoStreams, g.why)
		}
		if err == nil {
			err = c.writeEnd()
		}
		c.leave(nil)
		switch {
		case err != nil:
			return supported(err)
		case haveOut >= wantOut && haveIn >= wantIn:
			return nil
		}
		if err = g.gate.WaitContext(ctx); err != nil {
			return err
		}
		g.gate.Unlock(true)
		c.enter()
	}
}
