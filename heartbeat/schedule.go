package heartbeat

import "time"

// pace is the least time taken for a timeout, so that a caller's zero cannot turn into a flood.
const pace = time.Millisecond

// plan sets when the next periodic heartbeat goes out, counted from t, by the state the path is in. 0 is never.
//
//   - Unconfirmed: once per timeout with its backoff (RFC 9260 section 5.4).
//   - PotentiallyFailed: once per timeout with its backoff (RFC 7829 section 3.2, 5).
//   - Active: interval + timeout, jittered by half the timeout either way (RFC 9260 section 8.3).
//   - Inactive: the same with its own interval; see inactiveRTO.
func (m *Monitor) plan(t instant) {
	m.next = 0
	switch m.state {
	case Unconfirmed:
		m.next = t + instant(m.rto())
	case PotentiallyFailed:
		if !m.cfg.Disabled {
			m.next = t + instant(m.rto())
		}
	case Active:
		if !m.cfg.Disabled {
			m.next = t + instant(m.interval()+m.jittered(m.rto()))
		}
	case Inactive:
		if !m.cfg.Disabled || !m.confirmed {
			m.next = t + instant(m.cfg.InactiveInterval+m.jittered(m.inactiveRTO()))
		}
	}
}

// jittered returns 0.5 to 1.5 times d, by the random number given with the last heartbeat.
func (m *Monitor) jittered(d time.Duration) time.Duration {
	return d/2 + time.Duration(float64(m.jitter)*float64(d))
}

// inactiveRTO is the timeout's share in the interval of an Inactive path. The timeout of such a path has been doubled
// several times and would delay the discovery that it is back by tens of seconds; so unless Fixed, no more than
// Interval of it counts.
func (m *Monitor) inactiveRTO() time.Duration {
	if m.cfg.Fixed {
		return m.rto()
	}
	return min(m.rto(), m.cfg.Interval)
}

// interval returns Interval, doubled once for each heartbeat since the path's owner fell idle, up to MaxInterval.
func (m *Monitor) interval() time.Duration {
	d := m.cfg.Interval
	for i := uint8(0); i < m.stretch && d < m.cfg.MaxInterval; i++ {
		d *= 2
	}
	return max(min(d, m.cfg.MaxInterval), m.cfg.Interval)
}

// due returns when the next heartbeat should go out, 0 for never. On an Active path data takes the place of heartbeats:
// a path is idle only when nothing that measures its round trip was sent for an interval (RFC 9260 section 8.3).
func (m *Monitor) due() instant {
	if m.asked != 0 {
		return m.asked
	}
	if m.state == Active && m.next != 0 && m.lastData != 0 {
		return max(m.next, m.lastData+instant(m.cfg.Interval))
	}
	return m.next
}

// Next returns the earliest instant at which the monitor wants attention: a heartbeat is to be sent, or one that was
// sent runs out of time. Call Expire and then Due at or after it. false means nothing is to come by itself.
func (m *Monitor) Next() (time.Time, bool) {
	at := m.due()
	for i := range m.slots() {
		if p := m.slot(i); p.waiting && (at == 0 || p.until() < at) {
			at = p.until()
		}
	}
	if at == 0 {
		return time.Time{}, false
	}
	return m.base.Add(time.Duration(at - 1)), true
}

// Due reports whether a heartbeat should be sent now.
func (m *Monitor) Due(now time.Time) bool {
	at := m.due()
	return at != 0 && m.since(now) >= at
}

// Purpose returns what a heartbeat sent now would be for.
func (m *Monitor) Purpose() Purpose {
	switch {
	case m.state == Unconfirmed, !m.confirmed:
		return Verify
	case m.state != Active:
		return Recheck
	case m.asked != 0:
		return Demand
	}
	return Keepalive
}

// Sent records that a heartbeat was sent. nonce must be unguessable where answers can be forged, and unique among the
// monitors it will be offered to. rto is how long the answer may take, backoff included; jitter is a random number in
// [0, 1) that spreads the next heartbeat. A heartbeat for Size leaves the schedule alone.
func (m *Monitor) Sent(now time.Time, nonce uint64, purpose Purpose, rto time.Duration, jitter float64) {
	t := m.since(now)
	rto = max(rto, pace)
	m.remember(t, nonce, purpose, rto)
	m.sent++
	if purpose == Size {
		return
	}
	m.asked = 0
	m.setRTO(rto)
	m.jitter = 0
	if jitter > 0 {
		m.jitter = float32(min(jitter, 1))
	}
	m.stretchAt(t)
	m.plan(t)
}

// stretchAt doubles the interval of a path whose owner has been idle for long.
func (m *Monitor) stretchAt(t instant) {
	switch {
	case m.cfg.Fixed || t-m.lastUse < instant(m.cfg.IdleAfter):
		m.stretch = 0
	case m.state == Active && m.interval() < m.cfg.MaxInterval:
		m.stretch++
	}
}

// Probe asks for a heartbeat at once (RFC 9260 section 8.3, function D). It works in every state, Disabled included.
func (m *Monitor) Probe(now time.Time) {
	if m.asked == 0 {
		m.asked = m.since(now)
	}
}

// Used tells that the association the path belongs to carries data, on whichever path: the heartbeats keep to Interval,
// so that the alternates are known when they are needed. Cheap enough for every packet; once per batch or
// acknowledgement is enough.
func (m *Monitor) Used(now time.Time) {
	t := m.since(now)
	m.lastUse = t
	if m.stretch == 0 {
		return
	}
	m.stretch = 0
	if m.state == Active && m.next != 0 {
		m.next = min(m.next, t+instant(m.cfg.Interval+m.jittered(m.rto())))
	}
}

// DataSent tells that data which will measure the path's round trip was sent on it. It is a use, and it takes the place
// of a heartbeat on an Active path.
func (m *Monitor) DataSent(now time.Time) {
	m.Used(now)
	m.lastData = m.since(now)
}
