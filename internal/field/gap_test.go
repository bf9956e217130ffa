package field

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/transport"
)

// faults are what may happen to the path in use. A sends to B; "forth" is the direction of the records.
var faults = []struct {
	name   string
	rtt    time.Duration
	happen func(l *netlab.Lab, path int) error
}{
	{"cut", 0, func(l *netlab.Lab, path int) error { return l.Cut(path, netlab.Both) }},
	{"cut forth", 0, func(l *netlab.Lab, path int) error { return l.Cut(path, netlab.Forth) }},
	{"cut back", 0, func(l *netlab.Lab, path int) error { return l.Cut(path, netlab.Back) }},
	{"cut, RTT 20", 20 * time.Millisecond, func(l *netlab.Lab, path int) error { return l.Cut(path, netlab.Both) }},
	{"cut forth, RTT 20", 20 * time.Millisecond, func(l *netlab.Lab, path int) error { return l.Cut(path, netlab.Forth) }},
	{"cut back, RTT 20", 20 * time.Millisecond, func(l *netlab.Lab, path int) error { return l.Cut(path, netlab.Back) }},
	{"cut, RTT 100", 100 * time.Millisecond, func(l *netlab.Lab, path int) error { return l.Cut(path, netlab.Both) }},
	{"link down at the sender", 0, func(l *netlab.Lab, path int) error { return l.A.LinkDown(path) }},
	{"carrier lost at the sender", 0, func(l *netlab.Lab, path int) error { return l.A.CarrierDown(path) }},
	{"address removed at the sender", 0, func(l *netlab.Lab, path int) error { return l.A.AddrDel(path) }},
	{"link down at the sender, RTT 20", 20 * time.Millisecond, func(l *netlab.Lab, path int) error { return l.A.LinkDown(path) }},
	{"carrier lost at the sender, RTT 20", 20 * time.Millisecond, func(l *netlab.Lab, path int) error { return l.A.CarrierDown(path) }},
	{"address removed at the sender, RTT 20", 20 * time.Millisecond, func(l *netlab.Lab, path int) error { return l.A.AddrDel(path) }},
	{"link down and address removed at the sender, RTT 20", 20 * time.Millisecond, func(l *netlab.Lab, path int) error {
		return errors.Join(l.A.LinkDown(path), l.A.AddrDel(path))
	}},
	{"link down at the receiver", 0, func(l *netlab.Lab, path int) error { return l.B.LinkDown(path) }},
	{"address removed at the receiver", 0, func(l *netlab.Lab, path int) error { return l.B.AddrDel(path) }},
}

// gap sends records for half a second before the fault, longer on long paths, whose windows take that to open, and for a
// second after it, however late either comes. It asserts that all of them arrive once and in order, after the fault on another
// path.
func gap(t testing.TB, rtt time.Duration, happen func(l *netlab.Lab, path int) error) figures {
	t.Helper()
	l := lab(t, netlab.Options{Delay: rtt / 2})
	p := connect(t, l, transport.Config{})
	settled := 100*time.Millisecond + 10*rtt
	before, after := settled+500*time.Millisecond, time.Second+2*rtt
	s := p.records()
	time.Sleep(before)
	path := p.current(p.a)
	fault := time.Since(epoch)
	require.NoError(t, happen(l, path))
	time.Sleep(after)
	s.moved(t, path, false)
	if late := l.Lateness(); late > rtt/4 {
		t.Logf("the emulated delay was late by up to %v", late.Round(time.Millisecond))
	}
	s.finish(t)
	f := measure(s.as, s.start+settled, fault)
	f.shutdown = s.shutdown
	if f.gap > f.pause+100*time.Millisecond+3*rtt {
		p.tell(t)
	}
	return f
}

func TestGap(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel() // they mostly wait; figures are the benchmark's to take
			t.Logf("%v", gap(t, f.rtt, f.happen))
		})
	}
}

// BenchmarkGap runs each fault b.N times and reports medians, and the worst gap of all.
func BenchmarkGap(b *testing.B) {
	for _, f := range faults {
		b.Run(f.name, func(b *testing.B) {
			needs.Netns(b)
			metrics := []struct {
				unit string
				of   func(f *figures) time.Duration
				all  []time.Duration
			}{
				{unit: "gap-ms", of: func(f *figures) time.Duration { return f.gap }},
				{unit: "delay-ms", of: func(f *figures) time.Duration { return f.delay }},
				{unit: "before:gap-ms", of: func(f *figures) time.Duration { return f.gapBefore }},
				{unit: "before:delay-ms", of: func(f *figures) time.Duration { return f.delayBefore }},
				{unit: "shutdown-ms", of: func(f *figures) time.Duration { return f.shutdown }},
				{unit: "pause-ms", of: func(f *figures) time.Duration { return f.pause }},
			}
			for range b.N {
				g := gap(b, f.rtt, f.happen)
				for i := range metrics {
					metrics[i].all = append(metrics[i].all, metrics[i].of(&g))
				}
			}
			b.ReportMetric(0, "ns/op")
			for _, m := range metrics {
				slices.Sort(m.all)
				b.ReportMetric(ms(m.all[len(m.all)/2]), m.unit)
			}
			b.ReportMetric(ms(slices.Max(metrics[0].all)), "worst:gap-ms")
		})
	}
}
