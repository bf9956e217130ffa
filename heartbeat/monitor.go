package heartbeat

import "time"

// Stats counts what a monitor has seen.
type Stats struct {
	Sent       uint32 // heartbeats sent
	Answered   uint32 // heartbeats answered, late ones included
	Late       uint32 // answered after their time had run out
	Unanswered uint32 // heartbeats whose time ran out, Size not included
	Failures   uint32 // times the path left Active
}

// Monitor is the health of one path. Init it before use. It is not to be copied while it is in use, and not safe
// for concurrent use. Time must not run backwards between calls.
type Monitor struct {
	cfg      *Config
	base     *time.Time              // all instants count from here; may be shared
	next     instant                 // next periodic heartbeat
	asked    instant                 // a heartbeat is wanted since then
	lastUse  instant                 // the association carried data
	lastData instant                 // this path carried data that measures it
	entered  instant                 // the present state began
	past     *past                   // nil while there never was any trouble
	probe    probe                   // the heartbeat that may still be answered
	more     *[outstanding - 1]probe // and others; nil while there are none
	sent     uint32
	acked    uint32
	micros   uint32 // the timeout given with the last heartbeat
	jitter   float32
	errors   uint16
	streak   uint8 // heartbeats answered in a row since the failure
	flaps    uint8 // recent failures
	stretch  uint8 // doublings of the idle interval
	state    State
	held     bool // heartbeats alone do not bring the path back: data was stuck on it
	// confirmed stays true once the path was proved; an Inactive path may be either.
	confirmed bool
}

// past is the trouble a path has had.
type past struct {
	failed instant // Active was left, or a local fault ended; only heartbeats sent since count for the return
	fault  instant // a local fault stands since then
	erred  instant // the last counted error

	late, unanswered, failures uint32 // see Stats
}

// had returns it.
func (m *Monitor) had() past {
	if m.past == nil {
		return past{}
	}
	return *m.past
}

// have is for changing it.
func (m *Monitor) have() *past {
	if m.past == nil {
		m.past = new(past)
	}
	return m.past
}

// maxFlaps bounds the memory of failures; 2^8 answers are past any MaxReturnAcks.
const maxFlaps = 9

// Init starts the life of a path at now. confirmed says that the path needs no proof: it begins Active, otherwise
// Unconfirmed with a heartbeat due at once. cfg is kept, not copied; nil takes DefaultConfig.
func (m *Monitor) Init(cfg *Config, now time.Time, confirmed bool) {
	if cfg == nil {
		cfg = &defaults
	}
	own := now
	m.begin(cfg, &own, 1, confirmed)
}

// InitLike is Init for one more path of the same owner, with which first shares what all of them need: first must have been
// initialised before and with the same clock.
func (m *Monitor) InitLike(first *Monitor, cfg *Config, now time.Time, confirmed bool) {
	if cfg == nil {
		cfg = &defaults
	}
	m.begin(cfg, first.base, first.since(now), confirmed)
}

func (m *Monitor) begin(cfg *Config, base *time.Time, t instant, confirmed bool) {
	*m = Monitor{cfg: cfg, base: base, confirmed: confirmed, lastUse: t, entered: t}
	m.setRTO(startRTO)
	if confirmed {
		m.state = Active
		m.plan(t)
	} else {
		m.asked = t
	}
}

var defaults = DefaultConfig()

// startRTO stands in for the path's timeout until the first heartbeat tells it (RTO.Initial of RFC 9260 section 16).
const startRTO = time.Second

// SetConfig changes the tuning, for example to switch the heartbeats on or off, and plans the next heartbeat by it.
func (m *Monitor) SetConfig(now time.Time, cfg *Config) {
	if cfg == nil {
		cfg = &defaults
	}
	m.cfg = cfg
	m.plan(m.since(now))
}

// Config returns the tuning in force.
func (m *Monitor) Config() Config { return *m.cfg }

// since converts an instant of the caller.
func (m *Monitor) since(now time.Time) instant { return instant(now.Sub(*m.base)) + 1 }

// State returns the state of the path.
func (m *Monitor) State() State { return m.state }

// Confirmed reports whether the path was ever proved to lead to the peer. It tells an Inactive path that worked from one
// that never did; the latter must carry no data even when nothing else is left (RFC 9260 section 5.4).
func (m *Monitor) Confirmed() bool { return m.confirmed }

// Errors returns the number of consecutive errors: timeouts of heartbeats and data since the last sign of life. It goes
// on counting on an Inactive path, to ten times PathMaxRetrans+1, so that the least bad of several failed paths can be
// told (RFC 7829 section 4.1, 3).
func (m *Monitor) Errors() int { return int(m.errors) }

// Since returns when the present state began.
func (m *Monitor) Since() time.Time { return m.base.Add(time.Duration(m.entered - 1)) }

// Faulted reports whether a local fault stands.
func (m *Monitor) Faulted() bool { return m.had().fault != 0 }

// Flaps returns the number of recent failures, at most 9; see Config.FlapMemory.
func (m *Monitor) Flaps() int { return int(m.flaps) }

// Stats returns the counters.
func (m *Monitor) Stats() Stats {
	p := m.had()
	return Stats{Sent: m.sent, Answered: m.acked, Late: p.late, Unanswered: p.unanswered, Failures: p.failures}
}

// rto returns the timeout given with the last heartbeat.
func (m *Monitor) rto() time.Duration { return time.Duration(m.micros) * time.Microsecond }

func (m *Monitor) setRTO(d time.Duration) { m.micros = micros(d) }

// micros rounds up, to somewhat more than an hour at most.
func micros(d time.Duration) uint32 {
	return uint32(min((d+time.Microsecond-1)/time.Microsecond, 1<<32-1))
}

// ReturnsLeft returns how many more heartbeats in a row must be answered for the path to be Active, 0 when it is, or when
// heartbeats have done what they can (AwaitsData).
func (m *Monitor) ReturnsLeft() int {
	switch {
	case m.state == Active, m.AwaitsData():
		return 0
	case !m.confirmed:
		return 1
	}
	return max(m.need()-int(m.streak), 0)
}

// Answering reports whether the latest heartbeats since the path failed were answered, though not yet enough of them: of
// several paths in doubt such a one is the better.
func (m *Monitor) Answering() bool { return m.state != Active && m.confirmed && m.streak > 0 }

// need is how many answers in a row bring the path back, doubled for each recent failure after the first.
func (m *Monitor) need() int {
	n := max(m.cfg.ReturnAcks, 1)
	if m.flaps > 1 {
		n <<= m.flaps - 1
	}
	return max(min(n, m.cfg.MaxReturnAcks), 1)
}

// stay is the verdict that nothing moved.
func (m *Monitor) stay(r Reason) Verdict { return Verdict{From: m.state, To: m.state, Reason: r} }

// move changes the state at t and plans accordingly. A move the table does not have is not made.
func (m *Monitor) move(t instant, to State, r Reason) Verdict {
	v := Verdict{From: m.state, To: to, Reason: r}
	if !m.state.CanMove(to) {
		v.To = m.state
		return v
	}
	if m.state == Active {
		m.leaveActive(t)
	}
	m.state = to
	m.entered = t
	switch to {
	case Active:
		m.streak = 0
		m.plan(t)
	case PotentiallyFailed:
		// The first heartbeat goes out at once (RFC 7829 section 3.2, 6), unless heartbeats are switched off (5).
		m.plan(t)
		if m.next != 0 {
			m.next = t
		}
	case Unconfirmed:
		m.next = t
	case Inactive:
		m.streak = 0
		m.asked = 0
		m.plan(t)
	}
	return v
}

// leaveActive keeps the memory of failures: one more, less one for each FlapMemory spent Active since the last.
func (m *Monitor) leaveActive(t instant) {
	forgiven := int64(t-m.entered) / int64(max(m.cfg.FlapMemory, 1))
	m.flaps -= uint8(min(forgiven, int64(m.flaps)))
	if m.flaps < maxFlaps {
		m.flaps++
	}
	m.have().failed = t
	m.streak = 0
	m.have().failures++
}

// Ack takes the nonce of an answer. ok is false when the nonce belongs to none of the heartbeats this monitor remembers
// (the last four); then nothing happened. rtt is the round trip, never negative; an answer that came after its time is
// still one, and still measures. The verdict carries the purpose of the heartbeat.
//
// An answer clears the errors (RFC 9260 section 8.2). It confirms an Unconfirmed path. It counts towards the return of a
// failed one when it is in time and was asked for after the failure; with ReturnAcks 1 it need not be in time.
// An answer to a heartbeat from before a local fault moves nothing.
func (m *Monitor) Ack(now time.Time, nonce uint64) (rtt time.Duration, v Verdict, ok bool) {
	p, ok := m.take(nonce)
	if !ok {
		return 0, m.stay(NoReason), false
	}
	t := m.since(now)
	rtt = max(time.Duration(t-p.sent), 0)
	m.acked++
	if !p.waiting {
		m.have().late++
	}
	// The timeout known here may hold a backoff, which the answer has ended; three round trips is what a first sample makes.
	m.setRTO(min(m.rto(), max(startRTO, 3*rtt)))
	v = m.answered(t, &p)
	v.Purpose = p.purpose
	return rtt, v, true
}

func (m *Monitor) answered(t instant, p *probe) Verdict {
	m.errors = 0
	if m.had().fault != 0 {
		if p.sent <= m.had().fault {
			return m.stay(NoReason)
		}
		m.have().fault = 0 // asked and answered since: the fault is over, whoever forgot to say so
	}
	if !m.confirmed {
		m.confirmed = true
		return m.move(t, Active, Confirmed)
	}
	if m.state == Active {
		return m.stay(HeartbeatAcked)
	}
	need := m.need()
	counts := p.sent >= m.had().failed && (p.waiting || need == 1)
	if m.state == Inactive && need == 1 {
		counts = true // any answer will do (RFC 9260 section 8.3)
	}
	if counts && m.streak < 255 {
		m.streak++
	}
	if int(m.streak) >= need && !m.held {
		return m.move(t, Active, HeartbeatAcked)
	}
	v := m.stay(HeartbeatAcked)
	if m.state == Inactive {
		streak := m.streak
		v = m.move(t, PotentiallyFailed, HeartbeatAcked)
		m.streak = streak
		m.plan(p.sent)
	}
	if m.next != 0 {
		m.next = min(m.next, p.sent+instant(m.rto()))
	}
	if m.AwaitsData() && m.next != 0 {
		m.next = p.sent + instant(m.interval()+m.jittered(m.rto())) // it is known to be alive
	}
	return v
}

// Expire takes the passing of time: heartbeats that were not answered within the timeout they were sent with are errors
// of the path (RFC 9260 section 8.3), at most one per rto, which is the present timeout with its backoff. When the
// verdict has Counted, the owner doubles that timeout.
func (m *Monitor) Expire(now time.Time, rto time.Duration) Verdict {
	t := m.since(now)
	if !m.lapse(t) {
		return m.stay(NoReason)
	}
	m.streak = 0
	return m.fail(t, rto, HeartbeatTimeouts)
}

// DataTimeout tells that the retransmission timer of the path (T3) expired. rto is the timeout that ran out, before it is
// doubled. It is an error like an unanswered heartbeat, and not counted within one rto of another (RFC 9260 section 8.2).
func (m *Monitor) DataTimeout(now time.Time, rto time.Duration) Verdict {
	m.streak = 0
	return m.fail(m.since(now), rto, DataTimeouts)
}

// fail counts an error and draws the consequence. Silence while a local fault stands is no news.
func (m *Monitor) fail(t instant, rto time.Duration, r Reason) Verdict {
	if m.had().fault != 0 || m.had().erred != 0 && t-m.had().erred < instant(rto) {
		return m.stay(r)
	}
	m.have().erred = t
	if int(m.errors) < 10*(m.cfg.PathMaxRetrans+1) {
		m.errors++
	}
	v := m.stay(r)
	switch {
	case m.state == Inactive:
	case int(m.errors) > m.cfg.PathMaxRetrans:
		v = m.move(t, Inactive, r)
	case m.state == Active && int(m.errors) > m.cfg.PFThreshold:
		v = m.move(t, PotentiallyFailed, r)
	}
	v.Counted = true
	return v
}

// DataAcked tells that something was acknowledged that had travelled by this path alone, which proves that the path works
// (RFC 9260 section 8.2). It clears the errors and brings a failed path back at once (RFC 7829 section 3.2, 10). Never
// call it for data that was sent on two paths: nobody knows which copy arrived (9). While a local fault stands, what
// comes in now was sent before it, and moves nothing.
func (m *Monitor) DataAcked(now time.Time) Verdict {
	m.errors = 0
	for i := range m.slots() {
		m.slot(i).waiting = false // answered in another way
	}
	m.setRTO(min(m.rto(), startRTO)) // as in Ack
	if m.had().fault != 0 || !m.confirmed || m.state == Active {
		return m.stay(DataAcked)
	}
	if m.state == PotentiallyFailed && m.flaps > 0 && !m.held {
		m.flaps-- // the doubt was unfounded
	}
	m.held = false
	return m.move(m.since(now), Active, DataAcked)
}

// Confirm tells that the path was proved to lead to the peer by other means than a heartbeat: the handshake ran on it
// (RFC 9260 section 5.4). Heartbeats under way stay known. It moves nothing on a path that was confirmed before, nor while a
// local fault stands.
func (m *Monitor) Confirm(now time.Time) Verdict {
	if m.confirmed {
		return m.stay(Confirmed)
	}
	m.confirmed = true
	m.errors = 0
	if m.had().fault != 0 {
		return m.stay(Confirmed)
	}
	v := m.move(m.since(now), Active, Confirmed)
	m.asked = 0
	return v
}

// Suspect tells that a detector faster than the timeout has cause to doubt an Active path: it becomes PotentiallyFailed,
// and a heartbeat is due at once. No error is counted, so doubts alone never make a path Inactive.
func (m *Monitor) Suspect(now time.Time) Verdict { return m.doubt(now, ProbeVerdict) }

// SendFailed tells that a packet could not be handed to the network on this path (no route, a full socket), which the
// system may or may not mean for long. It is treated like Suspect, but the next heartbeat is tried after a timeout only.
// When the packet was a heartbeat, call it in place of Sent.
func (m *Monitor) SendFailed(now time.Time) Verdict {
	t := m.since(now)
	at := m.due()
	v := m.doubt(now, SendError)
	if v.Changed() || at != 0 && at <= t {
		m.asked = 0
		m.plan(t) // other failures must not put off what is planned
	}
	return v
}

// Stuck tells that data makes no progress on the path although heartbeats are answered: alive is not the same as working
// (a filter, an MTU black hole). It is treated like Suspect, but answered heartbeats do not bring such a path back, since
// they were answered all along: it stays PotentiallyFailed until data is acknowledged on it (DataAcked) or its local link
// comes back, and when enough heartbeats in a row are answered AwaitsData says so. They go on at Interval then.
func (m *Monitor) Stuck(now time.Time) Verdict {
	v := m.doubt(now, DataStuck)
	m.held = m.held || v.Changed()
	return v
}

// AwaitsData reports whether nothing but acknowledged data is missing for the path to be Active again, see Stuck: a copy of
// something that travels elsewhere may try it.
func (m *Monitor) AwaitsData() bool {
	return m.held && m.state == PotentiallyFailed && int(m.streak) >= m.need()
}

// Unreachable tells that the network itself reports the peer unreachable on the path, by ICMP (RFC 9260 section 10, ICMP9).
// Such a report may be wrong or out of date. It is treated like Suspect.
func (m *Monitor) Unreachable(now time.Time) Verdict { return m.doubt(now, Unreachable) }

func (m *Monitor) doubt(now time.Time, r Reason) Verdict {
	m.streak = 0
	if m.state != Active {
		return m.stay(r)
	}
	return m.move(m.since(now), PotentiallyFailed, r)
}

// Fault tells that the local link or address of the path is gone (down true) or back (false). A path whose link is gone
// is Inactive until it is told to be back or a heartbeat sent since is answered after all. When it is back, it must
// answer before it is Active: it becomes PotentiallyFailed, or Unconfirmed if it was never confirmed, with a heartbeat
// due at once and no errors held against it.
func (m *Monitor) Fault(now time.Time, down bool) Verdict {
	t := m.since(now)
	if down {
		if m.had().fault == 0 {
			m.have().fault = t
		}
		return m.move(t, Inactive, LocalFault)
	}
	if m.had().fault == 0 {
		return m.stay(LocalRepair)
	}
	m.have().fault = 0
	m.held = false
	m.errors = 0
	m.have().failed = t
	if !m.confirmed {
		return m.move(t, Unconfirmed, LocalRepair)
	}
	return m.move(t, PotentiallyFailed, LocalRepair)
}
