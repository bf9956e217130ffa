package tx

// Messages that give way to others when the send buffer is full (RFC 7496 section 3.2) wait in a heap, the one to give way
// first at its root: the lowest priority, which is the largest number, and of equals the oldest. They are in it as long as
// nothing of them was sent. What is under way needs its room until the peer has acknowledged it or its FORWARD-TSN, so giving
// that up would make no room now.

// MakeRoom gives up messages of a lower priority than the number pri, 0 being above all numbers a Message can have, until
// bytes of payload are freed, and returns how many were. Nothing happens if the peer does not take FORWARD-TSN: then all
// messages are reliable.
func (s *Sender) MakeRoom(pri uint32, bytes int) (freed int) {
	for s.partial && freed < bytes && s.up != nil && len(s.up.low) > 0 {
		m := s.up.low[0]
		if m.Priority <= pri {
			break
		}
		freed += m.left
		s.abandon(m, WhyPriority)
	}
	return freed
}

// yields enters a message that was queued.
func (s *Sender) yields(m *Message) {
	if m.Priority == 0 || !s.partial {
		return
	}
	up := s.upOf()
	up.low = append(up.low, m)
	m.slot = len(up.low)
	up.rise(m.slot)
}

// stays takes a message off the heap that was begun, or is over.
func (s *Sender) stays(m *Message) {
	if m.slot == 0 {
		return
	}
	up := s.up
	i, n := m.slot, len(up.low)
	last := up.low[n-1]
	up.low[n-1] = nil
	up.low = up.low[:n-1]
	m.slot = 0
	if last != m {
		up.low[i-1], last.slot = last, i
		up.sink(up.rise(i))
	}
}

// before reports whether m gives way before x.
func (m *Message) before(x *Message) bool {
	return m.Priority > x.Priority || m.Priority == x.Priority && m.order < x.order
}

// rise moves the message of slot i, counted from 1, up to its place and returns that.
func (u *givenUp) rise(i int) int {
	for ; i > 1 && u.low[i-1].before(u.low[i/2-1]); i /= 2 {
		u.swap(i, i/2)
	}
	return i
}

// sink moves the message of slot i down to its place.
func (u *givenUp) sink(i int) {
	for {
		c := 2 * i
		if c > len(u.low) {
			return
		}
		if c < len(u.low) && u.low[c].before(u.low[c-1]) {
			c++
		}
		if !u.low[c-1].before(u.low[i-1]) {
			return
		}
		u.swap(i, c)
		i = c
	}
}

func (u *givenUp) swap(i, j int) {
	a, b := u.low[i-1], u.low[j-1]
	u.low[i-1], b.slot = b, i
	u.low[j-1], a.slot = a, j
}

// Why says what a message was given up for.
type Why uint8

// The reasons.
const (
	WhyEnd      Why = iota // not given up: the association ended
	WhyLifetime            // Message.Expires
	WhyResends             // Message.LimitRtx
	WhyPriority            // MakeRoom
	whys
)

// Count counts messages given up, by whether a part of them was sent before (RFC 7496 sections 4.3 and 4.4).
type Count struct{ Unsent, Sent uint64 }

// Counts holds a Count for each Why but WhyEnd, which stays zero.
type Counts [whys]Count

// note counts a message that is given up, in all and for its stream.
func (u *givenUp) note(m *Message, why Why) {
	if why == WhyEnd {
		return
	}
	c := u.streams[m.SID]
	if c == nil {
		if u.streams == nil {
			u.streams = map[uint16]*Counts{}
		}
		c = new(Counts)
		u.streams[m.SID] = c
	}
	if m.cuts > 0 {
		u.counts[why].Sent++
		c[why].Sent++
	} else {
		u.counts[why].Unsent++
		c[why].Unsent++
	}
}

// GivenUp returns how many messages were given up.
func (s *Sender) GivenUp() Counts {
	if s.up == nil {
		return Counts{}
	}
	return s.up.counts
}

// StreamGivenUp is GivenUp for one stream.
func (s *Sender) StreamGivenUp(sid uint16) Counts {
	if s.up != nil {
		if c := s.up.streams[sid]; c != nil {
			return *c
		}
	}
	return Counts{}
}
