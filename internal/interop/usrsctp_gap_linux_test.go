package interop

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/netlab"
)

// The load of failover figures: a record of 1 KiB each millisecond.
const (
	recordSize  = 1024
	recordEvery = time.Millisecond
)

// usrsctpFaults are what happens to the path we send on. The peer has its default settings, by which it acknowledges every
// second packet and a lone one after 200 ms, takes a minute to find a path dead, and knows nothing of us.
var usrsctpFaults = []struct {
	name string
	rtt  time.Duration
	dir  netlab.Direction
}{
	{"cut", 0, netlab.Both},
	{"cut, RTT 20", 20 * time.Millisecond, netlab.Both},
	{"cut, RTT 100", 100 * time.Millisecond, netlab.Both},
	{"cut forth, RTT 20", 20 * time.Millisecond, netlab.Forth},
	{"cut back, RTT 20", 20 * time.Millisecond, netlab.Back},
}

// monotonic is the clock that the peer tells times by.
func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

// gapFigures are the longest times between two arrivals at the peer and from when a record was due to its arrival, before
// the fault and after it, and by how much the emulated delay was late.
type gapFigures struct {
	gap, delay, gapBefore, delayBefore, late time.Duration
}

func (f gapFigures) String() string {
	return fmt.Sprintf("gap %.1f ms, delay %.1f ms; before the fault %.1f and %.1f ms; emulator late %.1f ms",
		millis(f.gap), millis(f.delay), millis(f.gapBefore), millis(f.delayBefore), millis(f.late))
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// usrsctpGap sends records to usrsctp and cuts the path they take. Every one of them arrives, by the other path.
func usrsctpGap(t testing.TB, rtt time.Duration, dir netlab.Direction) (f gapFigures) {
	l := lab(t, netlab.Options{Delay: rtt / 2})
	u := connect(t, l, true, opts{args: []string{"-T", "-r", "1000000"}})
	settled, before, after := 100*time.Millisecond+10*rtt, 500*time.Millisecond, time.Second+5*rtt
	type fault struct {
		at   time.Duration
		path int
		err  error
	}
	struck := make(chan fault, 1)
	start := monotonic()
	time.AfterFunc(settled+before, func() {
		l.Lateness()
		f := fault{at: monotonic(), path: u.current()}
		f.err = l.Cut(f.path, dir)
		struck <- f
	})
	var due []time.Duration
	var hit fault
	rec := make([]byte, recordSize)
	end := time.Duration(math.MaxInt64)
	for i := 0; monotonic() < end; i++ { // however long the fault was in coming
		at := start + time.Duration(i)*recordEvery
		if wait := at - monotonic(); wait > 0 {
			time.Sleep(wait)
			at = max(at, monotonic())
		}
		due = append(due, at)
		_, err := u.ours.Write(rec)
		require.NoError(t, err)
		select {
		case hit = <-struck:
			require.NoError(t, hit.err)
			end = monotonic() + after
		default:
		}
	}
	count := len(due)
	u.peer.say("1 wait %d", count*recordSize)
	u.peer.await("1 received")
	f.late = l.Lateness()
	u.peer.say("1 times")
	times := strings.Fields(u.peer.await("1 times"))[2:]
	require.Len(t, times, count, "every record is a message")
	var last time.Duration
	for i, text := range times {
		us, err := strconv.ParseInt(text, 10, 64)
		require.NoError(t, err)
		at := time.Duration(us) * time.Microsecond
		switch gap := at - last; {
		case i > 0 && at >= hit.at:
			f.gap, f.delay = max(f.gap, gap), max(f.delay, at-due[i])
		case i > 0 && at >= start+settled:
			f.gapBefore, f.delayBefore = max(f.gapBefore, gap), max(f.delayBefore, at-due[i])
		}
		last = at
	}
	u.leaves(t, hit.path)
	u.end(t)
	return f
}

// TestUsrsctpGap: how long that takes is the benchmark's to tell.
func TestUsrsctpGap(t *testing.T) {
	for _, f := range usrsctpFaults {
		t.Run(f.name, func(t *testing.T) {
			t.Logf("%v", usrsctpGap(t, f.rtt, f.dir))
		})
	}
}

// BenchmarkUsrsctpGap runs each fault b.N times and reports medians.
func BenchmarkUsrsctpGap(b *testing.B) {
	for _, f := range usrsctpFaults {
		b.Run(f.name, func(b *testing.B) {
			needs.Netns(b)
			var all []gapFigures
			for range b.N {
				all = append(all, usrsctpGap(b, f.rtt, f.dir))
			}
			median := func(unit string, of func(f gapFigures) time.Duration) {
				slices.SortFunc(all, func(x, y gapFigures) int { return int(of(x) - of(y)) })
				b.ReportMetric(millis(of(all[len(all)/2])), unit)
			}
			b.ReportMetric(0, "ns/op")
			median("gap-ms", func(f gapFigures) time.Duration { return f.gap })
			median("delay-ms", func(f gapFigures) time.Duration { return f.delay })
			median("before:gap-ms", func(f gapFigures) time.Duration { return f.gapBefore })
			median("before:delay-ms", func(f gapFigures) time.Duration { return f.delayBefore })
			median("emulator-late-ms", func(f gapFigures) time.Duration { return f.late })
		})
	}
}
