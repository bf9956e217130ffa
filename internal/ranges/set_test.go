package ranges

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// seed returns a fresh seed, or the one of a run to be repeated, and prints it.
func seed(t testing.TB) uint64 {
	s := rand.Uint64()
	if v := os.Getenv("MULTIHOME_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 0, 64)
		require.NoError(t, err)
		s = n
	}
	t.Logf("MULTIHOME_SEED=%d", s)
	return s
}

func (s *Set) String() string {
	var b strings.Builder
	for i := range s.Len() {
		lo, hi := s.At(i)
		fmt.Fprintf(&b, "%d-%d ", lo, hi)
	}
	return strings.TrimSpace(b.String())
}

func TestAdd(t *testing.T) {
	for _, c := range []struct {
		name  string
		add   [][2]uint64
		want  string
		added uint64 // by the last one
	}{
		{"one", [][2]uint64{{5, 7}}, "5-7", 2},
		{"empty range", [][2]uint64{{5, 5}}, "", 0},
		{"turned range", [][2]uint64{{7, 5}}, "", 0},
		{"above", [][2]uint64{{5, 7}, {9, 10}}, "5-7 9-10", 1},
		{"below", [][2]uint64{{5, 7}, {2, 3}}, "2-3 5-7", 1},
		{"touches from above", [][2]uint64{{5, 7}, {7, 9}}, "5-9", 2},
		{"touches from below", [][2]uint64{{5, 7}, {3, 5}}, "3-7", 2},
		{"closes a gap", [][2]uint64{{5, 7}, {8, 10}, {7, 8}}, "5-10", 1},
		{"again", [][2]uint64{{5, 7}, {5, 7}}, "5-7", 0},
		{"inside", [][2]uint64{{5, 10}, {6, 7}}, "5-10", 0},
		{"over several", [][2]uint64{{5, 6}, {8, 9}, {11, 12}, {14, 15}, {7, 12}}, "5-6 7-12 14-15", 3},
		{"over all", [][2]uint64{{5, 6}, {8, 9}, {0, 20}}, "0-20", 18},
		{"from zero", [][2]uint64{{0, 1}, {2, 3}, {1, 2}}, "0-3", 1},
		{"between", [][2]uint64{{1, 2}, {9, 10}, {5, 6}}, "1-2 5-6 9-10", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s Set
			var added uint64
			for _, r := range c.add {
				added = s.Add(r[0], r[1])
			}
			require.Equal(t, c.want, s.String())
			require.Equal(t, c.added, added)
		})
	}
}

func TestRemove(t *testing.T) {
	for _, c := range []struct {
		name    string
		lo, hi  uint64
		want    string
		removed uint64
	}{
		{"nothing there", 0, 10, "10-20 30-40 50-60", 0},
		{"empty range", 15, 15, "10-20 30-40 50-60", 0},
		{"hole", 12, 15, "10-12 15-20 30-40 50-60", 3},
		{"whole range", 30, 40, "10-20 50-60", 10},
		{"lower end", 30, 33, "10-20 33-40 50-60", 3},
		{"upper end", 35, 40, "10-20 30-35 50-60", 5},
		{"across", 15, 55, "10-15 55-60", 20},
		{"all", 0, 100, "", 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s Set
			s.Add(10, 20)
			s.Add(30, 40)
			s.Add(50, 60)
			require.Equal(t, c.removed, s.Remove(c.lo, c.hi))
			require.Equal(t, c.want, s.String())
			require.Equal(t, 30-c.removed, s.Sum())
		})
	}
}

func TestEnds(t *testing.T) {
	var s Set
	_, ok := s.Min()
	require.False(t, ok)
	_, ok = s.Max()
	require.False(t, ok)
	s.Add(5, 8)
	s.Add(10, 12)
	lo, _ := s.Min()
	hi, _ := s.Max()
	require.Equal(t, []uint64{5, 11}, []uint64{lo, hi})
	require.Equal(t, 0, s.Find(0))
	require.Equal(t, 0, s.Find(7))
	require.Equal(t, 1, s.Find(8))
	require.Equal(t, 2, s.Find(12))
	s.RemoveBelow(6)
	require.Equal(t, "6-8 10-12", s.String())
	s.RemoveBelow(9)
	require.Equal(t, "10-12", s.String())
	s.RemoveBelow(12)
	require.Equal(t, "", s.String())
	require.Zero(t, s.Sum())
}

// model is the same set, kept without any cleverness.
type model [256]bool

func (m *model) String() string {
	var b strings.Builder
	for i := 0; i < len(m); i++ {
		if !m[i] {
			continue
		}
		j := i
		for j < len(m) && m[j] {
			j++
		}
		fmt.Fprintf(&b, "%d-%d ", i, j)
		i = j
	}
	return strings.TrimSpace(b.String())
}

// run plays three-byte commands against the set and the model.
func run(t *testing.T, cmds []byte) {
	var s Set
	var m model
	for ; len(cmds) >= 3; cmds = cmds[3:] {
		lo, hi := int(cmds[1]), min(int(cmds[1])+int(cmds[2])%12, len(m))
		var n uint64
		switch cmds[0] % 8 {
		default:
			for i := lo; i < hi; i++ {
				if !m[i] {
					m[i], n = true, n+1
				}
			}
			require.Equal(t, n, s.Add(uint64(lo), uint64(hi)))
		case 5, 6:
			for i := lo; i < hi; i++ {
				if m[i] {
					m[i], n = false, n+1
				}
			}
			require.Equal(t, n, s.Remove(uint64(lo), uint64(hi)))
		case 7:
			clear(m[:lo/4])
			s.RemoveBelow(uint64(lo / 4))
		}
		require.Equal(t, m.String(), s.String())
		var sum uint64
		for i, in := range m {
			if in {
				sum++
			}
			require.Equal(t, in, s.Contains(uint64(i)))
		}
		require.Equal(t, sum, s.Sum())
	}
}

func TestAgainstModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 1))
	for range 50 {
		cmds := make([]byte, 300)
		for i := range cmds {
			cmds[i] = byte(rnd.Uint32())
		}
		run(t, cmds)
	}
}

func FuzzSet(f *testing.F) {
	f.Add([]byte{0, 5, 2, 0, 9, 1, 0, 7, 2, 5, 6, 1, 7, 40, 0})
	f.Add([]byte{0, 255, 11, 0, 0, 11, 6, 0, 11})
	f.Fuzz(func(t *testing.T, cmds []byte) {
		if len(cmds) > 900 {
			cmds = cmds[:900]
		}
		run(t, cmds)
	})
}

// TestManyRanges puts enough ranges in, from every side, that the list grows and slides at both ends.
func TestManyRanges(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 2))
	for _, order := range []string{"up", "down", "random"} {
		var s Set
		naive := map[uint64]bool{}
		at := rnd.Perm(2000)
		for i, v := range at {
			switch order {
			case "up":
				v = i
			case "down":
				v = len(at) - i
			}
			s.Add(uint64(2*v), uint64(2*v+1))
			naive[uint64(2*v)] = true
			if i%100 == 99 {
				low := rnd.Uint64N(400) + uint64(i)
				if order != "down" {
					s.RemoveBelow(low)
					for k := range naive {
						if k < low {
							delete(naive, k)
						}
					}
				}
			}
		}
		require.Equal(t, len(naive), s.Len(), order)
		last := int64(-1)
		for i := range s.Len() {
			lo, hi := s.At(i)
			require.Greater(t, int64(lo), last)
			require.Equal(t, lo+1, hi)
			require.True(t, naive[lo])
			last = int64(lo)
		}
	}
}

// TestSteadyStateAllocs slides a lossy window upwards: no allocation once the list has its size.
func TestSteadyStateAllocs(t *testing.T) {
	var s Set
	at := uint64(0)
	step := func() {
		for range 100 {
			s.Add(at+200, at+201) // every second number, so each is a range of its own
			s.Add(at+101, at+102) // one in the middle closes a gap
			at += 2
			s.RemoveBelow(at)
		}
	}
	step()
	require.Zero(t, testing.AllocsPerRun(20, step))
}

func BenchmarkAddBottom(b *testing.B) {
	var s Set
	for i := uint64(b.N); i > 0; i-- {
		s.Add(2*i, 2*i+1)
	}
}

func BenchmarkAddTop(b *testing.B) {
	var s Set
	for i := range uint64(b.N) {
		s.Add(2*i, 2*i+1)
		if i > 1000 {
			s.RemoveBelow(2*i - 2000)
		}
	}
}
