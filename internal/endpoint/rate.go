package endpoint

import (
	"net/netip"
	"time"

	"github.com/go-multihome/multihome/internal/mono"
)

// rate counts events per second.
type rate struct {
	since mono.Time
	n     int
}

// allow counts one event and reports whether it is within limit for the running second.
func (r *rate) allow(now mono.Time, limit int) bool {
	if r.since == 0 || now.Sub(r.since) >= time.Second {
		*r = rate{since: now}
	}
	r.n++
	return r.n <= limit
}

// rateTable counts per source in a table of fixed size. Sources that fall into one slot share it: the limit is meant for
// floods, and a flood from many sources must not grow memory.
type rateTable struct {
	seed  uint64
	slots []rate
}

const rateSlots = 1024

func (t *rateTable) allow(now mono.Time, src netip.Addr, limit int, random func() uint64) bool {
	if t.slots == nil {
		t.slots = make([]rate, rateSlots)
		t.seed = random() | 1
	}
	return t.of(src).allow(now, limit)
}

// forgive takes back one event of the source, which has turned out to be no part of a flood.
func (t *rateTable) forgive(now mono.Time, src netip.Addr) {
	if t.slots == nil {
		return
	}
	if r := t.of(src); r.n > 0 && now.Sub(r.since) < time.Second {
		r.n--
	}
}

// of returns the slot of a source.
func (t *rateTable) of(src netip.Addr) *rate {
	b := src.As16()
	n := 16
	if src.Is6() && !src.Is4In6() {
		n = 8 // one site
	}
	h := t.seed
	for _, c := range b[:n] {
		h = (h ^ uint64(c)) * 0x9E3779B97F4A7C15
		h ^= h >> 29
	}
	return &t.slots[h%rateSlots]
}
