package rx

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/wire"
)

// flow is a steady stream of chunks into a receiver, with reading and acknowledging beside it.
type flow struct {
	r   *Receiver
	d   wire.Data
	b   wire.Builder
	buf []byte
	now mono.Time
}

func newFlow(t testing.TB, cfg Config, size int) *flow {
	f := &flow{r: newReceiver(t, cfg), buf: make([]byte, 0, 1500), now: 1}
	f.d = wire.Data{TSN: 1000, Begin: true, End: true, Payload: make([]byte, size), Interleaved: cfg.Interleaving}
	return f
}

func (f *flow) put(t testing.TB) {
	if out := f.r.Data(f.now, &f.d); out != Accepted {
		t.Fatal(out, f.d.TSN)
	}
	f.now++
	f.r.PacketDone(f.now, false)
	if _, must := f.r.AckWanted(f.now); must {
		f.b.Open(f.buf, wire.Header{})
		if !f.r.AppendSack(&f.b) {
			t.Fatal("no SACK")
		}
	}
}

func (f *flow) read() {
	for {
		p, ok := f.r.NextPart()
		if !ok {
			return
		}
		held := p.Data.Held
		p.Data.Free()
		f.r.Consumed(held)
	}
}

// flows are the ways data comes; each function is one step that leaves nothing behind.
func flows(t testing.TB) map[string]func() {
	out := map[string]func(){}
	in := newFlow(t, Config{Window: 1 << 20}, 1200)
	out["in order"] = func() {
		in.put(t)
		in.d.TSN, in.d.SSN = in.d.TSN+1, in.d.SSN+1
		in.read()
	}
	frag := newFlow(t, Config{Window: 1 << 20}, 1200)
	out["fragments in order"] = func() {
		for i := range 14 {
			frag.d.Begin, frag.d.End = i == 0, i == 13
			frag.put(t)
			frag.d.TSN++
			frag.read()
		}
		frag.d.SSN++
	}
	inter := newFlow(t, Config{Window: 1 << 20, Interleaving: true}, 1200)
	out["two streams interleaved"] = func() {
		for i := range 14 {
			for s := range uint16(2) {
				inter.d.Begin, inter.d.End, inter.d.SID, inter.d.FSN = i == 0, i == 13, s, fsn(i)
				inter.put(t)
				inter.d.TSN++
				inter.read()
			}
		}
		inter.d.MID++
	}
	lossy := newFlow(t, Config{Window: 1 << 20}, 1200)
	out["every fourth chunk late"] = func() {
		// 32 messages, first without every fourth, then those.
		base := lossy.d
		for round := range 2 {
			for i := range 32 {
				if (i%4 == 0) == (round == 1) {
					lossy.d.TSN, lossy.d.SSN = base.TSN+tsn(i), base.SSN+ssn(i)
					lossy.put(t)
				}
			}
			lossy.read()
		}
		lossy.d.TSN, lossy.d.SSN = base.TSN+32, base.SSN+32
	}
	late := newFlow(t, Config{Window: 1 << 20, Interleaving: true}, 1200)
	out["fragments backwards"] = func() {
		base := late.d
		for i := 15; i >= 0; i-- {
			late.d.TSN, late.d.FSN = base.TSN+tsn(i), fsn(i)
			late.d.Begin, late.d.End = i == 0, i == 15
			late.put(t)
		}
		late.read()
		late.d = base
		late.d.TSN, late.d.MID = base.TSN+16, base.MID+1
	}
	return out
}

func TestSteadyStateAllocs(t *testing.T) {
	for name, step := range flows(t) {
		t.Run(name, func(t *testing.T) {
			for range 300 {
				step()
			}
			n := testing.AllocsPerRun(300, step)
			if !needs.Race { // its pools drop records on purpose
				require.Zero(t, n)
			}
		})
	}
}

func BenchmarkFlows(b *testing.B) {
	for name, step := range flows(b) {
		b.Run(name, func(b *testing.B) {
			for range 100 {
				step()
			}
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}

// BenchmarkHeld takes a chunk while many are held out of order: the cost must not depend on how many.
func BenchmarkHeld(b *testing.B) {
	for name, held := range map[string]int{"100 held": 100, "1000 held": 1000, "8000 held": 8000} {
		b.Run(name, func(b *testing.B) {
			f := newFlow(b, Config{Window: 64 << 20, MaxOutOfOrder: MaxOutOfOrder}, 100)
			for b.Loop() {
				// Messages of two fragments: all second ones from above, then all first ones but the front, then the front.
				base := f.d
				for half := 1; half >= 0; half-- {
					f.d.Begin, f.d.End = half == 0, half == 1
					for i := held/2 - 1; i >= 0; i-- {
						f.d.TSN, f.d.SSN = base.TSN+tsn(2*i+half), base.SSN+ssn(i)
						if f.r.Data(1, &f.d) != Accepted {
							b.Fatal("not taken")
						}
					}
				}
				f.read()
				f.d = base
				f.d.TSN, f.d.SSN = base.TSN+tsn(held), base.SSN+ssn(held/2)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(held), "ns/chunk")
		})
	}
}
