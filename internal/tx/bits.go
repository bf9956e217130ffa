package tx

import "math/bits"

// bitring marks positions of the chunk ring: those lost, those worth a probe. A second level marks the words that are not
// empty, so the nearest mark is found in a few steps however large the ring. Nothing is allocated before the first mark.
type bitring struct {
	words, sums []uint64
	n           int // marks set
}

// size makes room for a ring of n positions. Marks are lost.
func (b *bitring) size(n int) {
	w := (n + 63) / 64
	*b = bitring{words: make([]uint64, w), sums: make([]uint64, (w+63)/64)}
}

func (b *bitring) has(i uint32) bool {
	return b.n > 0 && b.words[i/64]>>(i%64)&1 != 0
}

// set marks i, which must not be marked.
func (b *bitring) set(i uint32) {
	b.words[i/64] |= 1 << (i % 64)
	b.sums[i/4096] |= 1 << (i / 64 % 64)
	b.n++
}

// clear takes the mark off i, which must be marked.
func (b *bitring) clear(i uint32) {
	b.words[i/64] &^= 1 << (i % 64)
	if b.words[i/64] == 0 {
		b.sums[i/4096] &^= 1 << (i / 64 % 64)
	}
	b.n--
}

// first returns the nearest mark at or after from, going round. There must be one.
func (b *bitring) first(from uint32) uint32 {
	if i, ok := b.scan(from); ok {
		return i
	}
	i, _ := b.scan(0)
	return i
}

// last returns the nearest mark before from, going round backwards: the end of an order that starts at from.
func (b *bitring) last(from uint32) uint32 {
	if from > 0 {
		if i, ok := b.scanBack(from - 1); ok {
			return i
		}
	}
	i, _ := b.scanBack(uint32(len(b.words)*64 - 1))
	return i
}

// scan finds the lowest mark at or above i.
func (b *bitring) scan(i uint32) (uint32, bool) {
	w := i / 64
	if x := b.words[w] >> (i % 64); x != 0 {
		return i + uint32(bits.TrailingZeros64(x)), true
	}
	w++
	for s := w / 64; s < uint32(len(b.sums)); s++ {
		x := b.sums[s]
		if s == w/64 {
			x &= ^uint64(0) << (w % 64)
		}
		if x != 0 {
			w = s*64 + uint32(bits.TrailingZeros64(x))
			return w*64 + uint32(bits.TrailingZeros64(b.words[w])), true
		}
	}
	return 0, false
}

// scanBack finds the highest mark at or below i.
func (b *bitring) scanBack(i uint32) (uint32, bool) {
	w := i / 64
	if x := b.words[w] << (63 - i%64); x != 0 {
		return i - uint32(bits.LeadingZeros64(x)), true
	}
	if w == 0 {
		return 0, false
	}
	w--
	for s := int(w / 64); s >= 0; s-- {
		x := b.sums[s]
		if s == int(w/64) {
			x <<= 63 - w%64
			x >>= 63 - w%64
		}
		if x != 0 {
			w = uint32(s)*64 + 63 - uint32(bits.LeadingZeros64(x))
			return w*64 + 63 - uint32(bits.LeadingZeros64(b.words[w])), true
		}
	}
	return 0, false
}
