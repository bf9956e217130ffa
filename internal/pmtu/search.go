// Package pmtu searches the size of packets one path carries: packetization layer path MTU discovery for datagram
// transports (RFC 8899), with sizes counted in UDP payload. It never relies on ICMP; a "packet too big" is a hint.
//
// A Search says what size to try next and when, and is told what came of it. It sends nothing, reads no clock, and knows
// no paths.
package pmtu

import (
	"time"

	"github.com/go-multihome/multihome/internal/mono"
)

// Base is the size every path is taken to carry before anything was tried: BASE_PLPMTU of RFC 8899 section 5.1.2.
const Base = 1200

// Limits of RFC 8899 section 5.1.
const (
	maxProbes  = 3                // MAX_PROBES: a size that was tried this often in vain is too large
	raiseTimer = 10 * time.Minute // PMTU_RAISE_TIMER: after a complete search it is tried again whether more passes
)

// steps are the sizes worth trying, in UDP payload: what common links leave of their MTU after IP and UDP headers
// (IPv6: 48 bytes, IPv4: 28). The first is for a path that was reduced below the base, the last what IPv4 can carry at all.
var steps = [...]int{Base, 1232, 1352, 1392, 1412, 1432, 1444, 1452, 1464, 1472, 1972, 4304, 8952, 8972, 16336, 32720, 65488, 65504}

// Search is the state of one path's search. The zero Search finds nothing; use Init.
type Search struct {
	size  uint16 // what the path is known to carry
	low   uint16 // smallest size known to fail, 0: none
	most  uint16 // never tried above
	probe uint16 // size under way, 0: none
	named uint16 // size that somebody on the way says passes: tried before others, 0: none
	tries uint8
	done  bool
	next  mono.Time // not before this instant
}

// Init begins at base bytes and never goes above most. Probes are of a multiple of four bytes, as SCTP packets are.
func (s *Search) Init(base, most int) {
	*s = Search{size: uint16(min(base, 65504)), most: uint16(min(max(base, most&^3), 65504)), named: s.named}
}

// Size returns what the path is known to carry.
func (s *Search) Size() int { return int(s.size) }

// Done reports whether the search is complete for now.
func (s *Search) Done() bool { return s.done }

// Due returns the size to try at now, false when none is due.
func (s *Search) Due(now mono.Time) (size int, ok bool) {
	if s.most <= s.size || s.probe != 0 || now.Before(s.next) {
		return 0, false
	}
	if s.done {
		s.done, s.low = false, 0 // the raise timer: from the size found upwards
	}
	n := s.candidate()
	if n == 0 {
		s.complete(now)
		return 0, false
	}
	return n, true
}

// Probing reports whether a probe is under way.
func (s *Search) Probing() bool { return s.probe != 0 }

// Trying returns the size that is under way or comes next, for whoever must have room for it; zero when there is none.
func (s *Search) Trying() int {
	if s.probe != 0 {
		return int(s.probe)
	}
	if s.most <= s.size || s.done {
		return 0
	}
	return s.candidate()
}

// Next returns when Due is worth asking again, zero while an answer is awaited or nothing is left to try.
func (s *Search) Next() mono.Time {
	if s.most <= s.size || s.probe != 0 {
		return 0
	}
	return max(s.next, 1)
}

// candidate returns the next size: the first of the steps goes to the Ethernet size, which most paths have; above it upwards, below it
// downwards from what failed, so that the last steps are small.
func (s *Search) candidate() int {
	if s.named > s.size && s.named <= s.most && (s.low == 0 || s.named < s.low) {
		return int(s.named)
	}
	best := 0
	for _, n := range steps {
		n = min(n, int(s.most))
		if n <= int(s.size) || s.low != 0 && n >= int(s.low) {
			continue
		}
		switch {
		case best == 0:
			best = n
		case s.low == 0 && n <= 1452:
			best = n // nothing failed yet: straight to Ethernet's size
		case s.low != 0:
			best = n // the largest that is not known to fail
		}
	}
	return best
}

// Sent notes that a probe of the size Due returned is under way.
func (s *Search) Sent(size int) {
	s.probe = uint16(size)
}

// Acked notes that the probe of this size was answered: the path carries it. It reports whether the size grew.
func (s *Search) Acked(now mono.Time, size int) bool {
	if int(s.probe) == size {
		s.probe, s.tries = 0, 0
		s.next = now
	}
	if size <= int(s.size) {
		return false
	}
	s.size = uint16(size)
	s.done = s.done || s.size >= s.most
	return true
}

// Lost notes that the probe under way was not answered in time. wait is how long to keep the path in peace: a lost probe may
// be a sign of congestion.
func (s *Search) Lost(now mono.Time, wait time.Duration) {
	if s.probe == 0 {
		return
	}
	s.tries++
	if s.tries >= maxProbes {
		s.fail(now)
		return
	}
	s.probe = 0
	s.next = now.Add(wait)
}

// Refused notes that packets of the size do not leave this host or do not pass, which is certain. A probe of that size has
// failed. It reports whether the size in use is refused as well, which the owner must reduce (Reduce).
func (s *Search) Refused(now mono.Time, size int) (inUse bool) {
	if int(s.probe) >= size {
		s.probe = uint16(size)
		s.fail(now)
	}
	return size <= int(s.size)
}

// Hint takes a validated "packet too big" which says that size bytes pass, zero if it does not say. It is believed as far as
// RFC 8899 section 4.6.2 goes: it ends a larger probe, and the size it names is tried next. What it never does is to set
// the size. It reports whether the size in use is larger, so that packets may vanish: the owner reduces it then (Reduce).
func (s *Search) Hint(now mono.Time, size int) (inUse bool) {
	size &^= 3
	switch {
	case size == 0 && s.probe != 0:
		s.fail(now)
	case size >= int(s.probe) && size >= int(s.size):
		return false // says nothing about what we send
	case size >= int(s.size):
		s.named = uint16(size)
		s.fail(now)
	case size > 0:
		s.named = uint16(size)
		return true
	}
	return false
}

// Reduce begins anew from a smaller size, at once: larger ones up to the present one are tried again, the one that was
// named first. What was in use is known to fail.
func (s *Search) Reduce(now mono.Time, size int) {
	s.low, s.size = s.size, uint16(size)
	s.probe, s.tries, s.done = 0, 0, false
	s.next = now
}

func (s *Search) fail(now mono.Time) {
	s.low = s.probe
	s.probe, s.tries = 0, 0
	s.next = now
}

func (s *Search) complete(now mono.Time) {
	s.done = true
	s.next = now.Add(raiseTimer)
}

// Shrink begins anew from a smaller size: packets of the present one do not get through any more, a black hole
// (RFC 8899 section 4.3). What is larger is tried again after the raise timer.
func (s *Search) Shrink(now mono.Time, size int) {
	s.size = uint16(size)
	s.low, s.probe, s.tries, s.done = 0, 0, 0, true
	s.next = now.Add(raiseTimer)
}
