package tx

import (
	"errors"
	"time"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// Errors of Sack. Nothing has changed when one comes back.
var (
	ErrAckUnsent = errors.New("tx: SACK acknowledges a TSN that was never sent")                 // the caller aborts
	ErrStale     = errors.New("tx: SACK is older than one before it (RFC 9260 section 6.2.1 D)") // the caller drops it
)

// RTT is what RACK needs to know of a path. Zero values: no sample yet.
type RTT struct{ SRTT, Min time.Duration }

// AckResult is what a SACK or a reordering timeout meant, by path. The caller keeps one and passes it every time; what is
// in it holds until the next call. Paths not in Touched are all zero.
type AckResult struct {
	Paths       [locator.MaxPaths]PathAck
	Touched     uint16 // bit per path that something below is said about
	CumAdvanced bool   // the cumulative TSN moved
	Acked       int    // payload bytes acknowledged for the first time
	Chunks      int    // chunks acknowledged for the first time
	Freed       int    // payload bytes covered by the cumulative TSN: what Held went down by
	Reneged     int    // chunks acknowledged by a gap block earlier and not any more
	DupTSNs     int    // duplicates the peer reports
	Spurious    int    // chunks among them that had been sent more than once: one copy was not needed
	Tried       bool   // the copy of AppendTrial arrived,
	TriedOn     locator.PathID

	unsure mono.Time // no RTT samples of what was sent before: it may have arrived long ago
}

// PathAck is the part of an AckResult about one path.
type PathAck struct {
	Bytes       int           // payload bytes newly acknowledged whose latest transmission was on this path
	Flight      int           // payload bytes in flight on it before
	Lost        int           // payload bytes of transmissions newly found lost on it
	LostSent    mono.Time     // sending time of the latest of those
	AckSent     mono.Time     // sending time of the latest transmission on it known to have arrived by this; zero: none
	RTT         time.Duration // of the latest sent TSN that was sent exactly once; zero: no sample
	Sole        bool          // a TSN that never travelled on another path was acknowledged: this one works forward
	OldestAcked bool          // the oldest transmission in flight was acknowledged: T3-rtx restarts (RFC 9260 section 6.3.2 R3)

	sample mono.Time // sending time behind RTT
}

// reset clears what the last use left.
func (r *AckResult) reset() {
	paths := r.Paths[:]
	for set := pathSet(r.Touched); set != 0; set &= set - 1 {
		paths[set.lowest()] = PathAck{}
	}
	r.Touched, r.CumAdvanced, r.unsure = 0, false, 0
	r.Tried = false
	r.Acked, r.Chunks, r.Freed, r.Reneged, r.DupTSNs, r.Spurious = 0, 0, 0, 0, 0, 0
}

// touch returns the result of path p, which must have a track, noting what is in flight on it at first touch.
func (s *Sender) touch(p int, res *AckResult) *PathAck {
	pa := &res.Paths[p]
	if res.Touched>>p&1 == 0 {
		res.Touched |= 1 << p
		pa.Flight = s.tracks[p].flight
	}
	return pa
}

// Sack takes in a SACK (RFC 9260 section 6.2.1) that arrived at now: frees what the cumulative TSN covers, credits what is
// newly acknowledged to the paths, takes back what the peer reneged on, finds losses, and sets the peer's window.
// rtt is read by path, for the loss detection; res is overwritten. The cost follows the number of newly acknowledged chunks
// and of gap blocks, never the size of the window.
func (s *Sender) Sack(now mono.Time, k *wire.Sack, rtt *[locator.MaxPaths]RTT, res *AckResult) error {
	res.reset()
	cum, err := s.checkCum(k.CumTSN)
	if err != nil {
		return err
	}
	s.begin()
	s.ends++
	if !s.readGaps(cum, k) {
		return ErrAckUnsent
	}
	s.advance(cum, now, rtt, res)
	if len(s.gaps) > 0 || len(s.newGaps) > 0 {
		s.compareGaps(now, k.Gaps(), rtt, res)
	} else {
		s.cutShort = false
	}
	s.readDups(k, res)
	s.arwnd = int(k.ARwnd)
	s.settle(now, rtt, res)
	return nil
}

// CumAck takes in the cumulative TSN of a SHUTDOWN chunk. It is Sack without gap blocks, whose absence is no reneging, and
// without a window (RFC 9260 section 9.2). Errors and results are those of Sack.
func (s *Sender) CumAck(now mono.Time, tsn serial.TSN, rtt *[locator.MaxPaths]RTT, res *AckResult) error {
	res.reset()
	cum, err := s.checkCum(tsn)
	if err != nil {
		return err
	}
	s.begin()
	s.ends++
	s.advance(cum, now, rtt, res)
	s.settle(now, rtt, res)
	return nil
}

// checkCum widens a cumulative TSN and says whether it can be: not below the latest, not above what was sent.
func (s *Sender) checkCum(tsn serial.TSN) (uint64, error) {
	cum := serial.Unwrap(s.base-1, uint32(tsn))
	if cum+1 < s.base {
		return 0, ErrStale
	}
	if cum >= s.next {
		return 0, ErrAckUnsent
	}
	return cum, nil
}

// advance moves the cumulative TSN to cum and forgets what it covers.
func (s *Sender) advance(cum uint64, now mono.Time, rtt *[locator.MaxPaths]RTT, res *AckResult) {
	res.CumAdvanced = cum >= s.base
	for idx := s.base; idx <= cum; idx++ {
		c := s.at(idx)
		if c.fate != fateAcked && c.fate != fateAbandoned {
			if s.cutShort && c.flags&(flagResent|flagCopies) == flagResent {
				// A resend closes a gap, and the cumulative TSN jumps over chunks that had arrived above it. Since the
				// peer's list of gap blocks had no room for them, this first news of them tells nothing about a round trip.
				res.unsure = max(res.unsure, c.sent)
			}
			s.ack(c, idx, now, rtt, res)
		}
		res.Freed += int(c.size)
		s.forget(c)
	}
	s.base = cum + 1
}

// settle draws the conclusions once all that arrived is marked: a zero window probe that is due again, losses, RTT samples.
func (s *Sender) settle(now mono.Time, rtt *[locator.MaxPaths]RTT, res *AckResult) {
	s.windowOpened()
	if s.missing != nil {
		s.countMissing(res)
	}
	for set := pathSet(res.Touched); set != 0; set &= set - 1 {
		p := set.lowest()
		if s.missing == nil {
			s.detect(p, now, &rtt[p], res)
		}
		if pa := &res.Paths[p]; !pa.sample.IsZero() && !pa.sample.Before(res.unsure) {
			pa.RTT = max(1, now.Sub(pa.sample)) // zero would read as no sample
		}
	}
	s.doom()
}

// ack notes the first news that the chunk of TSN idx has arrived.
func (s *Sender) ack(c *chunk, idx uint64, now mono.Time, rtt *[locator.MaxPaths]RTT, res *AckResult) {
	size := int(c.size)
	pos := s.pos(idx)
	if c.fate == fateLost {
		s.lost.clear(pos)
		s.lostBytes -= size
		if c.lostOn != noPath { // reordering had been taken for loss; no resend was wasted yet
			s.tracks[c.lostOn].rack.spurious(s.base, s.next)
		}
	} else {
		s.out -= size
		if s.cand.has(pos) {
			s.cand.clear(pos)
		}
	}
	for set := c.live; set != 0; set &= set - 1 {
		p := set.lowest()
		t := s.tracks[p]
		pa := s.touch(p, res)
		if t.front().tsn == uint32(idx) {
			pa.OldestAcked = true
		}
		t.flight -= size
		if c.flags&(flagCopies|flagCredited) == flagCopies && p != int(c.last) {
			pa.Bytes += size // each path carried its copy
			pa.AckSent = max(pa.AckSent, c.sent)
		}
	}
	c.live = 0
	c.move(fateAcked)

	p := int(c.last)
	pa := s.touch(p, res)
	if c.flags&flagDoubt == 0 && s.answers(c, now, &rtt[p]) {
		pa.AckSent = max(pa.AckSent, c.sent)
		s.tracks[p].rack.arrived(c.sent, serial.TSN(idx), now)
	}
	if c.flags&flagCredited != 0 {
		return // reneged and here again: was counted the first time
	}
	c.flags |= flagCredited
	if s.missing != nil {
		s.missing.highest = max(s.missing.highest, idx)
	}
	pa.Bytes += size
	res.Acked += size
	res.Chunks++
	if c.paths.single() {
		pa.Sole = true
	} else if before := c.paths &^ (1 << p); c.n == 2 && rtt[p].tooSoon(c, now) {
		// The copy on path p is younger than any round trip there: what was answered is the transmission before it.
		s.touch(before.lowest(), res).Sole = true
	}
	if c.flags&flagResent == 0 {
		pa.sample = max(pa.sample, c.sent)
	}
}

// answers reports whether an acknowledgement at now can be about the latest transmission of c. When the chunk was sent
// before and its latest transmission is younger than any round trip on that path took, an earlier one arrived (RFC 8985
// section 6.2 step 2).
func (s *Sender) answers(c *chunk, now mono.Time, rtt *RTT) bool {
	return c.flags&flagResent == 0 || !rtt.tooSoon(c, now)
}

// tooSoon reports whether an acknowledgement at now is too early to be about the latest transmission of c. A repetition may be
// smaller than what was measured, or its path emptier by now: a part of the round trip is left for that, as being wrong here
// leaves loss detection waiting for another answer.
func (r *RTT) tooSoon(c *chunk, now mono.Time) bool { return now.Sub(c.sent) < r.Min-r.Min/8 }

// renege takes back the acknowledgement of the chunk of TSN idx. It counts as in flight again where it was sent last, as
// if sent at now, so that T3-rtx runs for it (RFC 9260 section 6.2.1 D iii) and loss detection gives it a round trip: an
// older SACK that came late looks the same as a peer that reneged.
func (s *Sender) renege(c *chunk, idx uint64, now mono.Time, res *AckResult) {
	sent := c.sent
	s.touch(int(c.last), res)
	c.move(fateOutstanding)
	s.out += int(c.size)
	s.launch(c, idx, locator.PathID(c.last), now)
	c.sent = sent
	c.flags |= flagDoubt | flagResent
	res.Reneged++
}

// readDups counts duplicate reports. A chunk that was sent more than once and reported arrived more than once: if RACK had
// called its first transmission lost, the window of that path was too small (RFC 8985 section 6.2 step 4).
func (s *Sender) readDups(k *wire.Sack, res *AckResult) {
	n := k.Dups()
	res.DupTSNs = n
	for i := range n {
		idx := serial.Unwrap(s.base, uint32(k.Dup(i)))
		if idx >= s.next || idx+uint64(len(s.ring)) < s.next {
			continue // its slot holds another chunk by now
		}
		s.tried(idx, res)
		c := s.at(idx)
		if c.flags&(flagResent|flagReported|flagCopies) != flagResent {
			continue // sent once, counted already, or meant to arrive more than once
		}
		c.flags |= flagReported
		res.Spurious++
		if c.lostOn != noPath {
			s.tracks[c.lostOn].rack.spurious(s.base, s.next)
		}
	}
}

// windowOpened sends a zero window probe again at once when the peer now has room for it and has not taken it: it was
// dropped for want of room, and waiting for a timeout that has backed off for long would leave the open window unused.
func (s *Sender) windowOpened() {
	if !s.probing {
		return
	}
	if s.base == s.next {
		s.probing = false
		return
	}
	c := s.at(s.base)
	if s.arwnd < int(c.size) {
		return
	}
	s.probing = false
	if c.fate != fateOutstanding {
		return
	}
	for set := c.live; set != 0; set &= set - 1 {
		p := set.lowest()
		s.tracks[p].flight -= int(c.size)
		c.live &^= 1 << p
		s.trim(s.tracks[p], 1<<p)
	}
	c.lostOn = noPath
	s.markLost(c, s.pos(s.base))
}

// PeerWindow returns the payload bytes the peer has room for beyond what is under way (RFC 9260 section 6.2.1): its latest
// a_rwnd less what is outstanding and not marked lost; never below zero.
func (s *Sender) PeerWindow() int { return max(0, s.arwnd-s.out) }
