package driver

import (
	"errors"
	"fmt"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/mono"
)

// epoch is what is written on a number between two resets of its outgoing side (RFC 6525). Streams that follow each other on
// the number share it when only the incoming side ended between them; it ends when all of them have closed it. Guarded by
// Conn.mu.
type epoch struct {
	holders int    // streams in their users' hands that may write
	pending bool   // the end of the epoch before is not known to the peer yet: writers wait
	ending  bool   // nothing more is written
	asked   bool   // because the peer asked for it
	ended   bool   // the peer knows
	next    *epoch // begins behind it, if it is pending and already ending
}

// passage is a number between two epochs: ends of its outgoing side are under way.
type passage struct {
	ends int    // how many
	then *epoch // begins when the peer knows of them; nil until somebody has something to write
}

// errUnsupported is CloseWrite's answer where one side has not announced RFC 6525.
var errUnsupported = fmt.Errorf("one side does not support the reset of streams (RFC 6525): %w", errors.ErrUnsupported)

// supported names the want of RFC 6525 as package errors does.
func supported(err error) error {
	if err == assoc.ErrNoReconfig {
		return errUnsupported
	}
	return err
}

// passage returns that of a number, made if there is none.
func (m *mux) passage(id uint16) *passage {
	p := m.passages[id]
	if p == nil {
		if m.passages == nil {
			m.passages = make(map[uint16]*passage)
		}
		p = new(passage)
		m.passages[id] = p
	}
	return p
}

// last returns the epoch that whoever comes now writes, made if there is none.
func (p *passage) last() *epoch {
	e := &p.then
	for *e != nil && (*e).ending {
		e = &(*e).next
	}
	if *e == nil {
		*e = &epoch{pending: true}
	}
	return *e
}

// enterEpoch gives a new stream its epoch. prev is the stream before it on its number, if that has not ended altogether.
func (m *mux) enterEpoch(s, prev *Stream) {
	switch p := m.passages[s.id]; {
	case prev != nil && !prev.out.ending:
		s.out = prev.out
	case p != nil:
		s.out = p.last()
	default:
		s.out = &s.own
	}
}

// hold notes that a stream is in its user's hands.
func (c *Conn) hold(s *Stream) {
	if s.held {
		return
	}
	s.held = true
	if s.out.ending && s.out != &s.own {
		// It shared the epoch of older streams, which ended it while this one waited to be accepted.
		if y := c.mux.streams[s.id]; y != nil && y != s {
			c.mux.enterEpoch(s, y)
		}
	}
	s.out.holders++
}

// closeOut ends the outgoing side of s, unless others write it.
func (c *Conn) closeOut(now mono.Time, s *Stream) error {
	if s.noWrite {
		return nil
	}
	if e := s.out; e.holders <= 1 && !e.ending {
		if err := c.endEpoch(now, s, e); err != nil {
			return err
		}
	}
	s.out.holders--
	s.noWrite = true
	s.dropPartial()
	s.wake()
	return nil
}

// endEpoch ends what s writes.
func (c *Conn) endEpoch(now mono.Time, s *Stream, e *epoch) error {
	refused := -1
	switch ok, _, err := c.reaches(now, s, &refused); {
	case err != nil:
		e.ending, e.ended = true, true // a side that does not exist has no end to tell
		c.release(s)
		return nil
	case e.pending:
		e.ending = true // its end follows its beginning
	case !ok:
		c.mux.endLater = append(c.mux.endLater, s.id)
		c.mux.passage(s.id).ends++
	default:
		if err := supported(c.a.EndStream(now, s.id)); err != nil {
			return err
		}
		c.mux.passage(s.id).ends++
	}
	e.ending = true
	if y := c.mux.streams[s.id]; y != nil && y != s && y.out == e && !y.held {
		y.out = c.mux.passage(s.id).last() // a younger one that waits to be accepted has the next
	}
	return nil
}

// resetEpoch ends what s writes and lets it write the next.
func (c *Conn) resetEpoch(now mono.Time, s *Stream) error {
	e := s.out
	if e.pending {
		return nil // nothing was written in it yet
	}
	if err := supported(c.a.EndStream(now, s.id)); err != nil {
		return err
	}
	p := c.mux.passage(s.id)
	p.ends++
	e.ending = true
	s.out = p.last()
	s.out.holders++
	if y := c.mux.streams[s.id]; y != nil && y != s && y.out == e {
		if y.out = s.out; y.held {
			y.out.holders++
		}
	}
	c.mux.spoil(s.id)
	return nil
}

// streamsEnded takes the news that the peer knows the end of outgoing sides, or (refused) has refused to take note of it.
func (c *Conn) streamsEnded(ids []uint16, refused bool) {
	m := c.streams()
	for _, id := range ids {
		p := m.passages[id]
		if p == nil {
			continue
		}
		if p.ends--; p.ends > 0 {
			continue
		}
		e := p.then
		if e == nil {
			delete(m.passages, id)
			if s := m.streams[id]; s != nil && s.out.ending && !refused {
				s.out.ended = true
				c.release(s)
			}
			continue
		}
		e.pending = false // its turn has come
		if p.then = e.next; e.ending && c.a.EndStream(c.now, id) == nil {
			p.ends = 1 // and its end was asked for already
		} else {
			delete(m.passages, id)
		}
		c.wakeWaiting()
	}
	m.growth.changed() // a number may be free
}

// stopAsked takes the news that the peer asked for the end of outgoing sides, which is under way.
func (c *Conn) stopAsked(ids []uint16) {
	m := c.streams()
	for _, id := range ids {
		m.passage(id).ends++
		if s := m.streams[id]; s != nil && !s.out.ending && !s.out.pending {
			s.out.ending, s.out.asked = true, true
			s.wake()
		}
	}
	c.wakeWaiting()
}
