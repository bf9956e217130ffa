package tx

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/locator"
)

// driver turns random numbers into calls. The peer it plays holds any subset of what was sent.
type driver struct {
	*model
	r    *rand.Rand
	now  mono.Time
	have map[uint64]bool
	max  int // gap blocks the peer lists at most
	res  AckResult
}

func newDriver(t testing.TB, r *rand.Rand, first serial.TSN, interleaving bool) *driver {
	cfg := &Config{InitialTSN: first, Streams: 20, PeerWindow: 40000, Interleaving: interleaving}
	return &driver{model: newModel(t, cfg), r: r, now: 1e9, have: map[uint64]bool{}, max: [...]int{1 << 16, 20, 17, 3}[r.IntN(4)]}
}

func (d *driver) path() int { return [...]int{0, 0, 0, 1, 1, 3, 15}[d.r.IntN(7)] }

func (d *driver) cum() uint64 {
	cum := d.base - 1
	for cum+1 < d.next && d.have[cum+1] {
		cum++
	}
	return cum
}

// report builds the SACK of what the peer has.
func (d *driver) report() *mSack {
	k := &mSack{cum: d.cum(), arwnd: 1 << 20}
	for idx := k.cum + 1; idx < d.next; idx++ {
		if !d.have[idx] {
			continue
		}
		off := uint16(idx - k.cum)
		if n := len(k.gaps); n > 0 && k.gaps[n-1][1]+1 == off {
			k.gaps[n-1][1] = off
		} else {
			k.gaps = append(k.gaps, [2]uint16{off, off})
		}
	}
	k.gaps = k.gaps[:min(len(k.gaps), d.max)]
	return k
}

// step runs one command.
func (d *driver) step(op, arg byte) {
	r := d.r
	switch op % 16 {
	case 0, 1:
		sizes := [...]int{1, 3, 100, 984, 1000, 1100, 2500, 5000, 20000}
		d.push(r, uint16(r.IntN(20)), sizes[int(arg)%len(sizes)], arg&16 != 0)
	case 2, 3, 4:
		room := [...]int{1200, 1200, 1460, 400, 9000}[arg%5]
		for range 1 + arg%4 {
			d.sendNew(d.now, d.path(), 1+int(arg)*50, [...]int{1000, 1001, 1200}[arg%3], room)
		}
	case 5:
		d.resend(d.now, d.path(), 1+int(arg)*50, [...]int{1200, 1460, 600, 9000}[arg%4])
	case 6, 7: // some arrive
		for idx := d.base; idx != d.next; idx++ {
			if r.IntN(256) < int(arg) {
				d.have[idx] = true
			}
		}
		d.now = d.now.Add(time.Duration(r.IntN(30)) * time.Millisecond)
		d.sack(d.now, d.report(), &d.res)
	case 8:
		d.oddSack(arg)
	case 9:
		d.now = d.now.Add(time.Duration(arg) * time.Millisecond / 4)
	case 10:
		d.rackTimeout(d.now, &d.res)
	case 11:
		p := d.path()
		want := 0
		for idx := d.base; idx != d.next; idx++ {
			if c := d.chunks[idx]; c.live[p] && len(c.live) == 1 {
				want++
			}
		}
		require.Equal(d.t, want, d.s.StartProbe(locator.PathID(p)))
		require.GreaterOrEqual(d.t, d.s.candidates(), want)
	case 12:
		d.probe(d.now, d.path(), 1+int(arg)*50, 9000)
	case 13:
		if arg < 64 {
			d.s.StopProbe(locator.PathID(d.path()))
			return
		}
		p := d.path()
		if arg < 128 {
			since, most := d.now.Add(-time.Duration(arg-64)*time.Millisecond), 1+int(arg&7)*700
			require.Equal(d.t, d.evictSince(p, since, most), d.s.RetargetSince(locator.PathID(p), since, most))
			return
		}
		n, _ := d.evict(p)
		require.Equal(d.t, n, d.s.Retarget(locator.PathID(p)))
	case 14:
		p := d.path()
		_, size := d.evict(p)
		require.Equal(d.t, size, d.s.Timeout(locator.PathID(p)))
	case 15:
		if arg >= 128 { // many small ones
			for range 60 {
				d.push(r, 3, 1+r.IntN(50), false)
			}
			d.sendNew(d.now, d.path(), 1<<20, 1200, 9000)
			return
		}
		if d.base == d.next && arg&1 == 0 {
			d.s.Trim()
		}
		if arg&2 == 0 {
			d.s.SetScheduler(Scheduling(arg>>2) % Schedulings)
		} else {
			require.NoError(d.t, d.s.SetStreamValue(uint16(arg)%20, uint16(r.IntN(5))))
		}
	}
}

// oddSack is everything but the honest newest report.
func (d *driver) oddSack(arg byte) {
	k := d.report()
	switch arg % 8 {
	case 0: // reneging
		for idx := range d.have {
			if idx > k.cum && d.r.IntN(2) == 0 {
				delete(d.have, idx)
			}
		}
		k = d.report()
	case 1: // nothing but the cumulative TSN, perhaps an old one
		k.gaps, k.only = nil, arg >= 64
		k.cum -= uint64(d.r.IntN(5))
	case 2: // a list that ends early
		k.gaps = k.gaps[:d.r.IntN(len(k.gaps)+1)]
	case 3: // never sent
		k.cum = d.next + uint64(d.r.IntN(3))
		k.gaps = nil
	case 4:
		k.gaps = append(k.gaps, [2]uint16{uint16(d.next - k.cum), uint16(d.next - k.cum)})
	case 5: // blocks in any order, overlapping, backwards
		for range d.r.IntN(5) {
			if span := int(d.next - k.cum); span > 1 {
				k.gaps = append(k.gaps, [2]uint16{uint16(d.r.IntN(span)), uint16(d.r.IntN(span))})
			}
		}
		d.r.Shuffle(len(k.gaps), func(i, j int) { k.gaps[i], k.gaps[j] = k.gaps[j], k.gaps[i] })
	case 6: // small windows
		k.arwnd = [...]uint32{0, 1, 500, 1500, 5000}[d.r.IntN(5)]
	case 7:
		for range d.r.IntN(6) {
			k.dups = append(k.dups, d.next-1-uint64(d.r.IntN(40)))
		}
	}
	d.sack(d.now, k, &d.res)
}

// finish lets everything arrive and checks that nothing is left.
func (d *driver) finish() {
	for i := 0; !d.s.Done(); i++ {
		require.Less(d.t, i, 10000, "never done")
		for p := range locator.MaxPaths {
			_, size := d.evict(p)
			require.Equal(d.t, size, d.s.Timeout(locator.PathID(p)))
		}
		for d.s.Resends() {
			d.resend(d.now, 1, 1<<20, 9000)
		}
		for idx := d.base; idx != d.next; idx++ {
			d.have[idx] = true
		}
		d.now = d.now.Add(time.Millisecond)
		d.sack(d.now, d.report(), &d.res)
		d.sendNew(d.now, 0, 1<<20, 1200, 9000)
		d.compare()
	}
	require.Zero(d.t, d.s.Held())
	require.Empty(d.t, d.current)
}

func run(t testing.TB, seed uint64, ops []byte) {
	t.Logf("seed %d", seed)
	start := pktbuf.Live()
	r := rand.New(rand.NewPCG(seed, 1))
	// Every other run wraps the TSN in the middle.
	first := serial.TSN(r.Uint32())
	if seed%2 == 0 {
		first = ^serial.TSN(0) - serial.TSN(r.IntN(300))
	}
	d := newDriver(t, r, first, seed%3 == 0)
	for i := 0; i+1 < len(ops); i += 2 {
		d.step(ops[i], ops[i+1])
		d.compare()
	}
	if seed%5 == 0 {
		require.Equal(t, d.s.Held(), d.s.Drop())
	} else {
		d.finish()
	}
	require.Equal(t, start, pktbuf.Live(), "buffers leaked")
}

// seed returns the seed of a random test: MULTIHOME_SEED, or the given one.
func seed(or uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv("MULTIHOME_SEED"), 10, 64); err == nil {
		return n
	}
	return or
}

func TestSenderAgainstModel(t *testing.T) {
	n := uint64(100)
	if testing.Short() {
		n = 30
	}
	for i := range n {
		s := seed(i)
		r := rand.New(rand.NewPCG(s, 2))
		ops := make([]byte, 600)
		for i := range ops {
			ops[i] = byte(r.Uint32())
		}
		run(t, s, ops)
		if os.Getenv("MULTIHOME_SEED") != "" {
			return
		}
	}
}

func FuzzSender(f *testing.F) {
	f.Add(uint64(0), []byte{0, 8, 2, 255, 6, 128, 10, 0, 5, 255, 6, 255})
	f.Add(uint64(1), []byte{0, 7, 2, 200, 11, 0, 12, 255, 6, 100, 13, 255, 5, 255})
	f.Add(uint64(3), []byte{0, 24, 0, 8, 2, 255, 8, 6, 2, 10, 8, 0, 14, 0, 5, 90})
	f.Fuzz(func(t *testing.T, seed uint64, ops []byte) {
		run(t, seed, ops[:min(len(ops), 1000)])
	})
}
