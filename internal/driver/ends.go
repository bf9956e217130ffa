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

// ResetWrite ends the outgoing side, as CloseWrite does, and begins it anew for the same user: writes wait until the peer
// knows.
func (s *Stream) ResetWrite() error {
	c := s.c
	now := c.enter()
	err := s.writable()
	if err == nil {
		err = c.resetEpoch(now, s)
	}
	c.leave(nil)
	return err
}

// spoil takes a number out of use by OpenStream. The peer may answer each of several epochs with one of its own, and may end
// its side both by itself and because it was asked: nobody can tell how many ends are still to come.
func (m *mux) spoil(id uint16) {
	if m.spoilt == nil {
		m.spoilt = make(map[uint16]bool)
	}
	m.spoilt[id] = true
}

// usable reports whether a number is free for OpenStream.
func (m *mux) usable(id uint16) bool {
	return m.streams[id] == nil && m.passages[id] == nil && !m.spoilt[id]
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
		if err = supported(c.a.StopStream(now, s.id)); err == nil {
			c.mux.spoil(s.id)
		}
	}
	c.leave(nil)
	return err
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
		if (s == nil || s.over && s.held) && c.mayAnnounce(id) {
			// Begun and ended by the peer without a message.
			if s != nil {
				c.loosen(s)
			}
			s = c.newStream(id, s)
			m.accept(s)
		}
		if s != nil {
			c.inEnded(s)
		}
	}
}

// mayAnnounce reports whether a stream on which the peer sent nothing is to be accepted. On a number of our parity its end is
// the echo of one of ours. And a peer must not fill more memory with such streams than it may with data.
func (c *Conn) mayAnnounce(id uint16) bool {
	m := c.mux
	return id != 0 && !c.ours(id) && !c.userClosed && m.all == nil && len(m.streams)*streamCost < c.window
}

func (c *Conn) inEnded(s *Stream) {
	if s.over {
		return
	}
	s.over = true
	c.mux.zeroOver = c.mux.zeroOver || s.id == 0
	s.in.finish(io.EOF, c.quiet)
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
			c.hold(s)
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
	for id := range c.mux.passages {
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
		if m.usable(id) {
			return c.newStream(id, nil)
		}
	}
	out, in := c.a.Streams()
	for id := m.next; id < min(out, in); id += 2 {
		m.next = id + 2
		if m.usable(uint16(id)) {
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
	for _, id := range later {
		switch {
		case int(id) < out && c.a.EndStream(c.now, id) == nil:
		case int(id) < out || why != "":
			c.streamsEnded([]uint16{id}, false) // nothing was written, so nobody misses the end
		default:
			m.endLater = append(m.endLater, id)
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
