// Package ranges keeps a sorted set of disjoint half-open ranges of unwrapped sequence numbers: gap reports of what
// arrived, and records of what was acknowledged.
//
// The set is made for the way such numbers come: mostly at the upper end, with removal at the lower end. Both cost O(1).
// A range in the middle is found by binary search, and the shorter side of the list moves to make room.
package ranges

// minSlack is the length from which on the list makes room at its front.
const minSlack = 16

// span is one range: lo is in it, hi is not.
type span struct{ lo, hi uint64 }

// Set is a sorted set of uint64 numbers, kept as disjoint ranges with at least one missing number between neighbours.
// The zero Set is empty and ready. A Set allocates only when it holds more ranges than ever before.
type Set struct {
	spans []span // spans[:head] are spent, the rest is sorted
	head  int
	sum   uint64
}

// Len returns the number of ranges.
func (s *Set) Len() int { return len(s.spans) - s.head }

// Sum returns how many numbers are in the set.
func (s *Set) Sum() uint64 { return s.sum }

// At returns the i-th range from below, i in [0, Len), as the half-open [lo, hi).
func (s *Set) At(i int) (lo, hi uint64) {
	r := s.spans[s.head+i]
	return r.lo, r.hi
}

// Min returns the lowest number in the set; false when it is empty.
func (s *Set) Min() (uint64, bool) {
	if s.Len() == 0 {
		return 0, false
	}
	return s.spans[s.head].lo, true
}

// Max returns the highest number in the set; false when it is empty.
func (s *Set) Max() (uint64, bool) {
	if s.Len() == 0 {
		return 0, false
	}
	return s.spans[len(s.spans)-1].hi - 1, true
}

// Find returns the index of the first range that ends above v: the one that contains v, or else the next one.
// It is Len when every range lies below v.
func (s *Set) Find(v uint64) int { return s.find(v) - s.head }

// find is Find on the underlying slice. The last range is tried first because most questions are about it.
func (s *Set) find(v uint64) int {
	lo, hi := s.head, len(s.spans)
	if lo == hi || s.spans[hi-1].hi <= v {
		return hi
	}
	if s.spans[hi-1].lo <= v {
		return hi - 1
	}
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if s.spans[m].hi > v {
			hi = m
		} else {
			lo = m + 1
		}
	}
	return lo
}

// Contains reports whether v is in the set.
func (s *Set) Contains(v uint64) bool {
	i := s.find(v)
	return i < len(s.spans) && s.spans[i].lo <= v
}

// Add puts [lo, hi) into the set and returns how many of its numbers were not in it before. An empty range adds nothing.
func (s *Set) Add(lo, hi uint64) (added uint64) {
	if lo >= hi {
		return 0
	}
	// i is the first range that touches or follows [lo, hi): touching ranges join, so compare with lo-1.
	i := s.head
	if lo > 0 {
		i = s.find(lo - 1)
	}
	if i == len(s.spans) || s.spans[i].lo > hi {
		s.insert(i, span{lo, hi})
		s.sum += hi - lo
		return hi - lo
	}
	// Join everything up to j, exclusive.
	n := span{min(lo, s.spans[i].lo), hi}
	j := i
	var had uint64
	for j < len(s.spans) && s.spans[j].lo <= hi {
		had += s.spans[j].hi - s.spans[j].lo
		n.hi = max(n.hi, s.spans[j].hi)
		j++
	}
	s.spans[i] = n
	s.cut(i+1, j)
	added = n.hi - n.lo - had
	s.sum += added
	return added
}

// Remove takes [lo, hi) out of the set and returns how many of its numbers were in it.
func (s *Set) Remove(lo, hi uint64) (removed uint64) {
	if lo >= hi {
		return 0
	}
	i := s.find(lo)
	if i < len(s.spans) && s.spans[i].lo < lo {
		if s.spans[i].hi > hi { // a hole inside one range
			tail := span{hi, s.spans[i].hi}
			s.spans[i].hi = lo
			s.insert(i+1, tail)
			s.sum -= hi - lo
			return hi - lo
		}
		removed += s.spans[i].hi - lo
		s.spans[i].hi = lo
		i++
	}
	j := i
	for j < len(s.spans) && s.spans[j].hi <= hi {
		removed += s.spans[j].hi - s.spans[j].lo
		j++
	}
	if j < len(s.spans) && s.spans[j].lo < hi {
		removed += hi - s.spans[j].lo
		s.spans[j].lo = hi
	}
	s.cut(i, j)
	s.sum -= removed
	return removed
}

// RemoveBelow takes every number below v out of the set.
func (s *Set) RemoveBelow(v uint64) {
	for s.head < len(s.spans) {
		r := &s.spans[s.head]
		if r.hi > v {
			if r.lo < v {
				s.sum -= v - r.lo
				r.lo = v
			}
			return
		}
		s.sum -= r.hi - r.lo
		s.head++
	}
	s.Clear()
}

// Clear empties the set and keeps its memory.
func (s *Set) Clear() {
	s.spans = s.spans[:0]
	s.head = 0
	s.sum = 0
}

// insert places r before index i of the underlying slice, moving the shorter side.
func (s *Set) insert(i int, r span) {
	n := len(s.spans)
	if n == cap(s.spans) && s.head > n/2 {
		// Slide down over the spent entries instead of growing: they are the majority, so this is paid for by their removal.
		copy(s.spans, s.spans[s.head:])
		s.spans = s.spans[:n-s.head]
		i, n, s.head = i-s.head, n-s.head, 0
	}
	if s.head == 0 && i < n/2 && n >= minSlack {
		// Numbers that come from above downwards would move the whole list each time: move it once, by half its length.
		s.spans = append(s.spans, s.spans[:n/2]...)
		copy(s.spans[n/2:], s.spans[:n])
		s.head = n / 2
		i, n = i+s.head, n+s.head
	}
	if s.head > 0 && i-s.head < n-i {
		copy(s.spans[s.head-1:i-1], s.spans[s.head:i])
		s.head--
		s.spans[i-1] = r
		return
	}
	s.spans = append(s.spans, r)
	if i < n {
		copy(s.spans[i+1:], s.spans[i:n])
		s.spans[i] = r
	}
}

// cut removes the entries [i, j) of the underlying slice, moving the shorter side.
func (s *Set) cut(i, j int) {
	if i == j {
		return
	}
	if i-s.head < len(s.spans)-j {
		copy(s.spans[s.head+j-i:j], s.spans[s.head:i])
		s.head += j - i
	} else {
		s.spans = append(s.spans[:i], s.spans[j:]...)
	}
	if s.head == len(s.spans) {
		s.spans, s.head = s.spans[:0], 0
	}
}
