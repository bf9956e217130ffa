package rx

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// runs takes everything deliverable and prints how many messages each part holds.
func runs(t *testing.T, r *Receiver) (out []int) {
	for {
		p, ok := r.NextPart()
		if !ok {
			return out
		}
		out = append(out, max(1, int(p.Run)))
		held := p.Data.Held
		for _, one := range apart(t, &p) {
			one.Data.Free()
		}
		r.Consumed(held)
	}
}

func TestRun(t *testing.T) {
	for _, c := range []struct {
		name  string
		inter bool
		steps string
		want  []int
	}{
		{"a message alone", false, "1000 s0 n0 BE a", []int{1}},
		{"two", false, "1000 s0 n0 BE a, 1001 s0 n1 BE b", []int{2}},
		{"three of different sizes", false, "1000 s0 n0 BE a, 1001 s0 n1 BE bbbb, 1002 s0 n2 BE cc", []int{3}},
		{"of two streams", false, "1000 s0 n0 BE a, 1001 s1 n0 BE b, 1002 s1 n1 BE c, 1003 s0 n1 BE d", []int{1, 2, 1}},
		{"unordered", false, "1000 s0 UBE a, 1001 s0 UBE b, 1002 s0 n0 BE c, 1003 s0 n1 BE d", []int{2, 2}},
		{"PPID changes", false, "1000 s0 n0 p1 BE a, 1001 s0 n1 p2 BE b, 1002 s0 n2 p2 BE c", []int{1, 2}},
		{"a fragment between", false, "1000 s0 n0 BE a, 1001 s0 n1 B b, 1002 s0 n1 E c, 1003 s0 n2 BE d, 1004 s0 n3 BE e", []int{1, 1, 2}},
		{"what waited for a gap comes as it came", false, "1001 s0 n1 BE b, 1002 s0 n2 BE c, 1000 s0 n0 BE a, 1003 s0 n3 BE d", []int{1, 1, 2}},
		{"a gap of another stream", false, "1000 s0 n0 BE a, 1002 s0 n1 BE b, 1003 s0 n2 BE c", []int{1, 2}},
		{"I-DATA", true, "1000 s0 n0 i BE a, 1001 s0 n1 i BE b, 1002 s0 n2 i BE c", []int{3}},
		{"I-DATA unordered", true, "1000 s0 n0 i UBE a, 1001 s0 n1 i UBE b", []int{2}},
		{"large ones", false, "1000 s0 n0 BE a, 1001 s0 n1 BE " + strings.Repeat("x", runMessage+1) + ", 1002 s0 n2 BE c, 1003 s0 n3 BE " + strings.Repeat("y", runMessage), []int{1, 1, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, on := range []bool{true, false} {
				r := newReceiver(t, Config{Interleaving: c.inter, Runs: on})
				feed(t, r, Accepted, strings.Split(c.steps, ", ")...)
				var messages uint64
				for _, n := range c.want {
					messages += uint64(n)
				}
				require.Equal(t, messages, r.Stats().Messages)
				if got := runs(t, r); on {
					require.Equal(t, c.want, got)
				} else {
					require.Len(t, got, int(messages))
				}
				require.Zero(t, r.Held())
			}
		})
	}
}

// TestRunNumbers looks at a run across the ends of both counters.
func TestRunNumbers(t *testing.T) {
	r := newReceiver(t, Config{InitialTSN: 1<<32 - 3, Runs: true, Window: 64 << 20})
	steps := []string{}
	for i := range 1<<16 + 5 {
		steps = append(steps[:0], fmt.Sprintf("%d s0 n%d BE", uint32(1<<32-3+i), uint16(i)))
		require.Equal(t, Accepted, r.Data(1, chunk(steps[0])))
		r.PacketDone(1, false)
	}
	n := 0
	for p, ok := r.NextPart(); ok; p, ok = r.NextPart() {
		for _, one := range apart(t, &p) {
			require.EqualValues(t, uint32(1<<32-3+n), one.TSN)
			require.EqualValues(t, uint16(n), one.Seq)
			require.Equal(t, fmt.Sprint(uint32(1<<32-3+n)), string(one.Data.Head.Bytes()))
			one.Data.Free()
			n++
		}
	}
	require.Equal(t, 1<<16+5, n)
	r.Consumed(r.Held())
}

// TestRunMemory fills a window with tiny messages: what a run holds is charged, and the peer is told of no more window than
// they fit into.
func TestRunMemory(t *testing.T) {
	const window = 100000
	r := newReceiver(t, Config{Runs: true, Window: window})
	taken := 0
	for r.Data(1, chunk(fmt.Sprintf("%d s0 n%d BE x", 1000+taken, taken))) == Accepted {
		taken++
		require.LessOrEqual(t, r.Held(), window+runBytes)
		if taken%16 == 0 {
			r.PacketDone(1, false)
			check(t, r)
			require.LessOrEqual(t, int(r.Window()), max(0, window-r.Held()), "as if they had no cost")
		}
	}
	require.Greater(t, taken, window/4, "one byte costs three, and a little")
	held := 0
	for p, ok := r.NextPart(); ok; p, ok = r.NextPart() {
		require.LessOrEqual(t, p.Data.Head.Len(), runBytes)
		held += p.Data.Held
		p.Data.Free()
	}
	require.Equal(t, r.Held(), held)
	r.Consumed(held)
	require.Zero(t, r.Held())
}
