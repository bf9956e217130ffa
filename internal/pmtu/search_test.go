package pmtu

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
)

// run searches a path that carries real bytes and returns the probes it took.
func run(t *testing.T, s *Search, now mono.Time, real int) (probes []int) {
	for range 200 {
		size, ok := s.Due(now)
		if !ok {
			if s.Done() {
				return probes
			}
			now = max(now, s.Next())
			continue
		}
		probes = append(probes, size)
		s.Sent(size)
		_, again := s.Due(now)
		require.False(t, again, "one probe at a time")
		now = now.Add(20 * time.Millisecond)
		if size <= real {
			require.True(t, s.Acked(now, size))
		} else {
			s.Lost(now, 100*time.Millisecond)
		}
	}
	t.Fatalf("the search does not end: %v", probes)
	return nil
}

func TestSearch(t *testing.T) {
	for _, c := range []struct {
		name             string
		most, real, want int
		probes           int // at most
	}{
		{"Ethernet over IPv4", 65504, 1472, 1472, 22},
		{"Ethernet over IPv6", 65504, 1452, 1452, 20},
		{"tunnel", 65504, 1392, 1392, 24},
		{"nothing but the base", 65504, 1200, 1200, 30},
		{"jumbo", 65504, 8972, 8972, 16},
		{"loopback", 65504, 65507, 65504, 12},
		{"bounded", 1452, 65507, 1452, 1},
		{"bounded below every step", 1211, 65507, 1208, 1},
		{"odd", 65504, 5000, 4304, 16},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s Search
			s.Init(Base, c.most)
			probes := run(t, &s, mono.Time(time.Hour), c.real)
			require.Equal(t, c.want, s.Size(), "%v", probes)
			require.LessOrEqual(t, len(probes), c.probes, "%v", probes)
		})
	}
}

func TestRaiseAndShrink(t *testing.T) {
	var s Search
	s.Init(Base, 65504)
	now := mono.Time(time.Hour)
	run(t, &s, now, 1400)
	require.Equal(t, 1392, s.Size())
	now = s.Next()
	require.GreaterOrEqual(t, now.Sub(mono.Time(time.Hour)), raiseTimer)
	_, ok := s.Due(now - 1)
	require.False(t, ok)
	run(t, &s, now, 1472)
	require.Equal(t, 1472, s.Size(), "the path grew")

	s.Shrink(now, 548)
	require.Equal(t, 548, s.Size())
	_, ok = s.Due(now.Add(time.Minute))
	require.False(t, ok, "not at once")
	run(t, &s, s.Next(), 1300)
	require.Equal(t, 1232, s.Size())
}

func TestTooBigAndStrayAnswers(t *testing.T) {
	var s Search
	s.Init(Base, 9000)
	now := mono.Time(time.Hour)
	size, ok := s.Due(now)
	require.True(t, ok)
	s.Sent(size)
	require.False(t, s.Refused(now, size), "the probe alone")
	next, ok := s.Due(now)
	require.True(t, ok)
	require.Less(t, next, size)
	require.False(t, s.Hint(now, 0), "none under way")
	require.False(t, s.Acked(now, 1000), "smaller than known")
	s.Lost(now, 0)
	require.Equal(t, Base, s.Size())
	var zero Search
	_, ok = zero.Due(now)
	require.False(t, ok)
	require.Zero(t, zero.Next())
}

// TestHint goes through the cases of RFC 8899 section 4.6.2.
func TestHint(t *testing.T) {
	now := mono.Time(time.Hour)
	at := func(size, probe int) *Search {
		s := new(Search)
		s.Init(Base, 9000)
		s.size = uint16(size)
		if probe > 0 {
			s.Sent(probe)
		}
		return s
	}
	s := at(1392, 1452)
	require.False(t, s.Hint(now, 1452), "no smaller than the probe")
	require.False(t, s.Hint(now, 1500))
	require.True(t, s.Probing())

	require.False(t, s.Hint(now, 1402), "between what is in use and the probe")
	require.False(t, s.Probing(), "which has failed")
	next, ok := s.Due(now)
	require.True(t, ok)
	require.Equal(t, 1400, next, "what was named is tried next, as a multiple of four")
	require.Equal(t, 1392, s.Size(), "nobody sets the size")
	s.Sent(next)
	require.True(t, s.Acked(now, next))
	next, ok = s.Due(now)
	require.True(t, ok)
	require.Greater(t, next, 1400)
	require.Less(t, next, 1452)

	s = at(1452, 0)
	require.False(t, s.Hint(now, 0), "says nothing")
	require.False(t, s.Hint(now, 1452))
	require.True(t, s.Hint(now, 1372), "less than what is in use")
	require.Equal(t, 1452, s.Size(), "the owner reduces")
	s.Reduce(now, Base)
	require.Equal(t, []int{1372, 1372, 1372, 1352}, run(t, s, now, 1360), "at once, and what was named first, though it was a lie")

	s = at(1452, 1472)
	require.False(t, s.Hint(now, 0), "which probe it was about is not said: the one under way")
	next, ok = s.Due(now)
	require.True(t, ok)
	require.Less(t, next, 1472)

	// What the link refuses.
	s = at(Base, 1452)
	require.True(t, s.Refused(now, 1100))
	s.Reduce(now, 548)
	_, ok = s.Due(now)
	require.False(t, ok, "no step lies between")
	require.True(t, s.Done())
}

// TestReducedBelowBase: a path that was thought to carry less comes back to the base, too.
func TestReducedBelowBase(t *testing.T) {
	s := new(Search)
	s.Init(548, 9000)
	run(t, s, mono.Time(time.Hour), Base)
	require.Equal(t, Base, s.Size())
}
