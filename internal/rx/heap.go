package rx

// A pairing heap over the items of an arena, its links kept in the items: the lowest ord at the root. Insertion is O(1),
// taking an item out anywhere is O(log n) amortized, and an empty heap is a zero. Order of arrival costs nothing, so no
// order a peer may choose makes it slow.

// meld joins two heaps and returns the root.
func (s *items) meld(a, b uint32) uint32 {
	if a == 0 {
		return b
	}
	if b == 0 {
		return a
	}
	if s.a[b].ord < s.a[a].ord {
		a, b = b, a
	}
	p, c := &s.a[a], &s.a[b]
	c.prev = a
	c.next = p.child
	if p.child != 0 {
		s.a[p.child].prev = b
	}
	p.child = b
	return a
}

// push adds item i, which is in no heap.
func (s *items) push(root *uint32, i uint32) {
	it := &s.a[i]
	it.child, it.next, it.prev = 0, 0, 0
	*root = s.meld(*root, i)
}

// remove takes item i out of the heap.
func (s *items) remove(root *uint32, i uint32) {
	it := &s.a[i]
	rest := s.meldPairs(it.child)
	if i == *root {
		*root = rest
	} else {
		if prev := &s.a[it.prev]; prev.child == i {
			prev.child = it.next
		} else {
			prev.next = it.next
		}
		if it.next != 0 {
			s.a[it.next].prev = it.prev
		}
		*root = s.meld(*root, rest)
	}
	it.child, it.next, it.prev = 0, 0, 0
}

// meldPairs joins a list of siblings in two passes: pairs from the left, then all of those from the right.
func (s *items) meldPairs(i uint32) uint32 {
	var done uint32 // the pairs, linked through next, last one first
	for i != 0 {
		a := i
		b := s.a[a].next
		i = 0
		s.a[a].next, s.a[a].prev = 0, 0
		if b != 0 {
			i = s.a[b].next
			s.a[b].next, s.a[b].prev = 0, 0
		}
		p := s.meld(a, b)
		s.a[p].next = done
		done = p
	}
	var root uint32
	for done != 0 {
		p := done
		done = s.a[p].next
		s.a[p].next = 0
		root = s.meld(root, p)
	}
	return root
}
