package main

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// histogram counts times in buckets that grow with the time: 128 for each doubling, so a time read from it is off by less
// than 0.8 %, whether it is of microseconds or of minutes. Least and most are exact. It may be written by many at a time.
type histogram struct {
	counts [buckets]atomic.Uint64
	sum    atomic.Int64
	most   atomic.Int64
	least  atomic.Int64 // plus 1; 0: none yet
}

const (
	bucketBits = 7
	buckets    = (64 - bucketBits) << bucketBits
)

// bucket returns the number of the bucket of v nanoseconds.
func bucket(v int64) int {
	v = max(v, 0)
	if v < 1<<bucketBits {
		return int(v)
	}
	shift := bits.Len64(uint64(v)) - bucketBits - 1
	return (shift+1)<<bucketBits + int(v>>shift) - 1<<bucketBits
}

// middle returns what stands for the times of a bucket.
func middle(i int) int64 {
	if i < 1<<bucketBits {
		return int64(i)
	}
	shift := i>>bucketBits - 1
	low := (int64(i&(1<<bucketBits-1)) + 1<<bucketBits) << shift
	return low + 1<<shift>>1
}

func (h *histogram) add(d time.Duration) {
	v := max(int64(d), 0)
	h.counts[bucket(v)].Add(1)
	h.sum.Add(v)
	for m := h.most.Load(); v > m && !h.most.CompareAndSwap(m, v); m = h.most.Load() {
	}
	for l := h.least.Load(); (l == 0 || v+1 < l) && !h.least.CompareAndSwap(l, v+1); l = h.least.Load() {
	}
}

// snapshot is a histogram at one moment.
type snapshot struct {
	counts     [buckets]uint64
	n          uint64
	sum        int64
	least, max int64
}

// read copies the counts. What is added meanwhile may be in them or not.
func (h *histogram) read() *snapshot {
	s := &snapshot{sum: h.sum.Load(), least: max(0, h.least.Load()-1), max: h.most.Load()}
	for i := range h.counts {
		s.counts[i] = h.counts[i].Load()
		s.n += s.counts[i]
	}
	return s
}

// since returns what came after an earlier snapshot. Its least and most are those of the buckets.
func (s *snapshot) since(before *snapshot) *snapshot {
	d := &snapshot{n: s.n - before.n, sum: s.sum - before.sum, least: -1}
	for i := range s.counts {
		if d.counts[i] = s.counts[i] - before.counts[i]; d.counts[i] > 0 {
			if d.max = middle(i); d.least < 0 {
				d.least = d.max
			}
		}
	}
	d.least = max(d.least, 0)
	return d
}

// quantile returns the time that the share q of all did not exceed.
func (s *snapshot) quantile(q float64) time.Duration {
	if s.n == 0 || q >= 1 {
		return time.Duration(s.max)
	}
	rank := uint64(q * float64(s.n))
	if float64(rank) < q*float64(s.n) {
		rank++
	}
	rank = max(rank, 1)
	var sum uint64
	for i, c := range s.counts {
		if sum += c; sum >= rank {
			return time.Duration(min(max(middle(i), s.least), s.max))
		}
	}
	return time.Duration(s.max)
}

func (s *snapshot) mean() time.Duration {
	if s.n == 0 {
		return 0
	}
	return time.Duration(s.sum / int64(s.n))
}
