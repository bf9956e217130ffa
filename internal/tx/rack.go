package tx

import (
	"time"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/locator"
)

// Loss detection is RACK (RFC 8985 section 6.2), kept per path, since only transmissions of one path arrive in the order
// they were sent. It replaces the counting of missing reports (RFC 9260 section 7.2.4) on our side; the peer sees no
// difference. A transmission is lost when one sent later on the same path has arrived and the reordering window, counted
// from when its own acknowledgement could have been here, has passed.
type rack struct {
	sent     mono.Time     // latest sent transmission known to have arrived,
	tsn      serial.TSN    // its TSN, which orders transmissions of one instant,
	rtt      time.Duration // and what its round trip took
	deadline mono.Time     // when the oldest transmission overtaken becomes lost; zero: none is

	round   uint64    // TSN from which on a duplicate report may widen the window again: once per round trip
	episode mono.Time // a loss of something sent from here on begins a new recovery
	mult    uint8     // reordering window in quarters of the smallest RTT; zero counts as one
	persist uint8     // recoveries until mult returns to one
}

// Bounds of the reordering window.
const (
	minReorder  = time.Millisecond // timers and batches of both hosts are no finer
	maxMult     = 64
	persistence = 16 // recoveries (RFC 8985 section 6.2 step 4)
)

// window returns the reordering window: a quarter of the smallest RTT, more after spurious resends, at most SRTT. Before
// the first sample the round trip just seen stands for the smallest.
func (k *rack) window(rtt *RTT) time.Duration {
	least := rtt.Min
	if least <= 0 {
		least = k.rtt
	}
	w := least / 4 * time.Duration(max(1, k.mult))
	if rtt.SRTT > 0 {
		w = min(w, rtt.SRTT)
	}
	return max(w, minReorder)
}

// arrived notes that the transmission of tsn, sent at the given time, has arrived.
func (k *rack) arrived(sent mono.Time, tsn serial.TSN, now mono.Time) {
	if sent.After(k.sent) || sent == k.sent && k.tsn.Less(tsn) {
		k.sent, k.tsn, k.rtt = sent, tsn, now.Sub(sent)
	}
}

// overtaken reports whether r was sent before the latest arrived one.
func (k *rack) overtaken(r *record) bool {
	return r.at.Before(k.sent) || r.at == k.sent && serial.TSN(r.tsn).Less(k.tsn)
}

// spurious widens the window: reordering was taken for loss. Once per round trip (RFC 8985 section 6.2 step 4).
func (k *rack) spurious(base, next uint64) {
	if base < k.round {
		return
	}
	k.round = next
	k.mult = min(max(1, k.mult)+1, maxMult)
	k.persist = persistence
}

// recovering notes losses found at now, the latest of them sent at sent.
func (k *rack) recovering(sent, now mono.Time) {
	if sent.Before(k.episode) {
		return // the same recovery goes on
	}
	k.episode = now
	if k.persist > 0 {
		if k.persist--; k.persist == 0 {
			k.mult = 1
		}
	}
}

// detect marks what is lost on path p, and arms the path's deadline when something overtaken may still come. Every record
// is looked at until it is dropped or found too young, so the cost follows what changed, not what is in flight.
func (s *Sender) detect(p int, now mono.Time, rtt *RTT, res *AckResult) {
	t, bit := s.tracks[p], pathSet(1)<<p
	k := &t.rack
	k.deadline = 0
	if k.sent.IsZero() {
		s.trim(t, bit)
		return
	}
	wait := k.rtt + k.window(rtt)
	lost := false
	for ; !t.empty(); t.head++ {
		r := t.front()
		c := s.live(r, bit)
		if c == nil {
			continue
		}
		if !k.overtaken(r) {
			break
		}
		if due := r.at.Add(wait); now.Before(due) {
			k.deadline = due
			break
		}
		lost = true
		pa := s.touch(p, res)
		pa.Lost += int(c.size)
		pa.LostSent = max(pa.LostSent, r.at)
		t.flight -= int(c.size)
		if c.live &^= bit; c.live == 0 {
			c.lostOn = uint8(p)
			s.markLost(c, s.pos(uint64(r.tsn)))
		}
	}
	if lost {
		k.recovering(res.Paths[p].LostSent, now)
	}
}

// RackDeadline returns when the earliest reordering timer of any path fires (RFC 8985 section 6.3); call RackTimeout then.
func (s *Sender) RackDeadline() (mono.Time, bool) {
	if s.work == nil {
		return 0, false
	}
	var at mono.Time
	for _, t := range s.tracks {
		if t != nil {
			at = mono.Min(at, t.rack.deadline)
		}
	}
	return at, at != 0
}

// RackTimeout marks what has become lost by now. Of res it sets Touched, and Flight, Lost and LostSent of those paths.
func (s *Sender) RackTimeout(now mono.Time, rtt *[locator.MaxPaths]RTT, res *AckResult) {
	res.reset()
	if s.work == nil {
		return
	}
	s.ends++
	for p, t := range s.tracks {
		if t != nil && t.rack.deadline != 0 && !now.Before(t.rack.deadline) {
			s.detect(p, now, &rtt[p], res)
		}
	}
	s.doom()
}
