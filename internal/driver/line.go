package driver

// line is where writers stand who wait for room in the send buffer, first come, first served. As room becomes free it is
// promised to as many of them as it is enough for, and those alone are woken: of ten thousand streams with something to
// write that is a handful each time, not all. Guarded by Conn.mu.
//
// Whoever is let in may write for a turn, if there is room, before it stands in line again: so small messages do not cost a
// change of goroutines each.
//
// Whoever is woken comes back to Conn.mu, by arrived, whether it then writes or has given up. Until then nobody else takes
// the room, nor does anybody pass by the line. So while somebody stands in line, three quarters of the buffer are in use or
// promised, and whoever changes that calls wakeWriters.
type line struct {
	first, last *Stream
	promised    int // bytes, to streams that were woken and have not come back
}

// place is a stream's place in the line. A stream has one writer at a time, see Stream.turn.
type place struct {
	prev, next *Stream
	wants      int // bytes; not zero while it stands in line or has a promise
	promised   bool
	turn       int // bytes that it may still write though others wait
}

// turnSize is how many bytes a writer may have a turn of, but at most turnShare of the send buffer.
const (
	turnSize  = 64 << 10
	turnShare = 4 // as a shift
)

// add puts a stream into the line, at its end or its beginning.
func (l *line) add(s *Stream, wants int, front bool) {
	s.place = place{wants: max(1, wants)}
	switch {
	case l.first == nil:
		l.first, l.last = s, s
	case front:
		s.place.next = l.first
		l.first.place.prev = s
		l.first = s
	default:
		s.place.prev = l.last
		l.last.place.next = s
		l.last = s
	}
}

// remove takes a stream out of the line.
func (l *line) remove(s *Stream) {
	p := &s.place
	if p.prev != nil {
		p.prev.place.next = p.next
	} else {
		l.first = p.next
	}
	if p.next != nil {
		p.next.place.prev = p.prev
	} else {
		l.last = p.prev
	}
	p.prev, p.next = nil, nil
}

// arrived takes a writer out of the line, or its promise back, and reports whether it had one.
func (l *line) arrived(s *Stream) bool {
	had := s.place.promised
	switch {
	case s.place.wants == 0:
	case had:
		l.promised -= s.place.wants
	default:
		l.remove(s)
	}
	s.place = place{turn: s.place.turn}
	return had
}

// promise wakes the first in line while there is room for a turn of each.
func (l *line) promise(room, turn int) {
	for room -= l.promised; room > 0 && l.first != nil; {
		s := l.first
		l.remove(s)
		s.place.promised, s.place.turn = true, max(turn, s.place.wants)
		l.promised += s.place.wants
		room -= s.place.turn
		s.wake()
	}
}

// wakeWriters lets waiting writers look again once a quarter of the send buffer is free, or the end has come.
func (c *Conn) wakeWriters() {
	m := c.mux
	if m == nil || m.line.first == nil && len(m.waiting) == 0 {
		return
	}
	if c.writeEnd() != nil {
		c.wakeWaiting()
		for s := m.line.first; s != nil; s = m.line.first {
			m.line.arrived(s)
			s.wake()
		}
		return
	}
	limit := c.sendRoom()
	if held := c.a.SendHeld(); held+m.line.promised <= limit-limit>>2 {
		m.line.promise(limit-held, min(turnSize, limit>>turnShare))
	}
}

// wakeWaiting lets writers look again who wait for something else than room.
func (c *Conn) wakeWaiting() {
	m := c.mux
	if m == nil {
		return
	}
	for i, s := range m.waiting {
		s.waits = false
		s.wake()
		m.waiting[i] = nil
	}
	m.waiting = m.waiting[:0]
}

// hasRoom reports whether the send buffer takes another message of s, which has the promise of room, or else a turn or none.
func (c *Conn) hasRoom(s *Stream, promised bool) bool {
	room := c.sendRoom() - c.a.SendHeld()
	return room > 0 && (promised || room > c.mux.line.promised && (c.mux.line.first == nil || s.place.turn > 0))
}
