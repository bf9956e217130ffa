package heartbeat

import (
	"strconv"
	"time"
)

// Purpose says what a heartbeat is sent for. It stays local, like the sending time: nothing but the nonce need travel.
type Purpose uint8

// The purposes of heartbeats.
const (
	Keepalive Purpose = iota // the path is idle
	Verify                   // the path is Unconfirmed (RFC 9260 section 5.4)
	Recheck                  // the path is PotentiallyFailed or Inactive
	Demand                   // somebody asked (Monitor.Probe)
	Size                     // a padded search for the path MTU (RFC 8899); its loss says nothing about life
)

var purposeNames = [...]string{"keepalive", "verify", "recheck", "demand", "size"}

// String returns the purpose as one word.
func (p Purpose) String() string {
	if int(p) < len(purposeNames) {
		return purposeNames[p]
	}
	return "Purpose(" + strconv.Itoa(int(p)) + ")"
}

// instant counts nanoseconds from the monitor's start, plus one so that 0 can mean "not set". A third of the size of a
// time.Time, of which a monitor would need a dozen.
type instant int64

// outstanding is how many heartbeats are remembered until their answers come.
const outstanding = 4

// probe is one heartbeat that may still be answered.
type probe struct {
	nonce   uint64
	sent    instant // 0: the slot is free
	rto     uint32  // microseconds the answer may take
	purpose Purpose
	waiting bool // its time has not run out; a late answer is still recognised
}

func (p *probe) until() instant { return p.sent + instant(p.rto)*instant(time.Microsecond) }

// remember files a heartbeat, in place of the oldest one when all slots are taken; one that nobody waits for any more
// goes first.
func (m *Monitor) remember(t instant, nonce uint64, purpose Purpose, rto time.Duration) {
	if m.probe.sent != 0 && m.more == nil {
		m.more = new([outstanding - 1]probe)
	}
	slot := &m.probe
	for i := range m.slots() {
		p := m.slot(i)
		switch {
		case p.sent == 0:
			slot = p
		case slot.sent == 0:
		case slot.waiting != p.waiting:
			if slot.waiting {
				slot = p
			}
		case p.sent < slot.sent:
			slot = p
		}
	}
	*slot = probe{nonce: nonce, sent: t, rto: micros(rto), purpose: purpose, waiting: true}
}

// take finds the heartbeat with this nonce and frees its slot. Those sent before it are not waited for any longer: the
// path has answered since, so their loss is no failure in a row.
func (m *Monitor) take(nonce uint64) (probe, bool) {
	for i := range m.slots() {
		p := m.slot(i)
		if p.sent == 0 || p.nonce != nonce {
			continue
		}
		got := *p
		*p = probe{}
		m.answeredBy(&got)
		return got, true
	}
	return probe{}, false
}

// tooLate is how many times its timeout after it was sent a heartbeat is forgotten, once a later one has been answered.
const tooLate = 4

// answeredBy ends the waiting for heartbeats sent before got. On a healthy path one slot is enough, so the others are given
// back when nothing worth knowing is in them.
func (m *Monitor) answeredBy(got *probe) {
	kept := false
	for i := range m.slots() {
		p := m.slot(i)
		if p.sent <= got.sent {
			p.waiting = false
		}
		if !p.waiting && got.sent-p.sent >= tooLate*(p.until()-p.sent) {
			*p = probe{}
		}
		kept = kept || i > 0 && p.sent != 0
	}
	if !kept {
		m.more = nil
	}
}

// slots is how many heartbeats can be remembered without more memory.
func (m *Monitor) slots() int {
	if m.more == nil {
		return 1
	}
	return outstanding
}

func (m *Monitor) slot(i int) *probe {
	if i == 0 {
		return &m.probe
	}
	return &m.more[i-1]
}

// lapse stops waiting for the heartbeats whose time has run out by t. It reports whether one of them says something about
// the path's life.
func (m *Monitor) lapse(t instant) bool {
	lost := false
	for i := range m.slots() {
		p := m.slot(i)
		if p.waiting && t >= p.until() {
			p.waiting = false
			if p.purpose != Size {
				lost = true
				m.have().unanswered++
			}
		}
	}
	return lost
}
