package rto

import (
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
)

const ms = time.Millisecond

func estimator(cfg Config, samples ...time.Duration) *Estimator {
	e := new(Estimator)
	e.Init(&cfg)
	for _, s := range samples {
		e.Sample(s)
	}
	return e
}

func TestRules(t *testing.T) {
	wide := Config{Initial: time.Second, Min: 1, Max: time.Hour}
	for _, c := range []struct {
		name    string
		cfg     Config
		samples []time.Duration
		srtt    time.Duration
		rttvar  time.Duration
		rto     time.Duration
	}{
		{"C1 no sample", wide, nil, 0, 0, time.Second},
		{"C2 first sample", wide, []time.Duration{100 * ms}, 100 * ms, 50 * ms, 300 * ms},
		{"C3 equal sample", wide, []time.Duration{100 * ms, 100 * ms}, 100 * ms, 37500 * time.Microsecond, 250 * ms},
		{"C3 longer sample", wide, []time.Duration{100 * ms, 180 * ms}, 110 * ms, 57500 * time.Microsecond, 340 * ms},
		{"C3 shorter sample", wide, []time.Duration{100 * ms, 20 * ms}, 90 * ms, 57500 * time.Microsecond, 320 * ms},
		{"C6 minimum", Default(), []time.Duration{10 * ms}, 10 * ms, 5 * ms, 400 * ms},
		{"C6 minimum of the standard", RFC9260(), []time.Duration{10 * ms}, 10 * ms, 5 * ms, time.Second},
		{"C7 maximum", Default(), []time.Duration{20 * time.Second}, 20 * time.Second, 10 * time.Second, 30 * time.Second},
		{"G1 no variance", wide, []time.Duration{0}, 0, ms, 4 * ms},
		{"negative ignored", wide, []time.Duration{-1}, 0, 0, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := estimator(c.cfg, c.samples...)
			require.Equal(t, c.srtt, e.SRTT())
			require.Equal(t, c.rttvar, e.RTTVar())
			require.Equal(t, c.rto, e.RTO())
		})
	}
}

func TestBackoff(t *testing.T) {
	e := estimator(Default())
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30, 30} {
		require.Equal(t, want*time.Second, e.RTO())
		e.Backoff()
	}
	for range 1000 {
		e.Backoff()
	}
	require.Equal(t, 30*time.Second, e.RTO())
	require.Equal(t, 16, e.Backoffs())
	e.ResetBackoff()
	require.Equal(t, time.Second, e.RTO())

	e.Backoff()
	e.Sample(200 * ms)
	require.Equal(t, 600*ms, e.RTO(), "a sample computes the timeout anew")
	require.Zero(t, e.Backoffs())
}

func TestBoundsAreMadeConsistent(t *testing.T) {
	e := estimator(Config{Initial: 5 * time.Second, Min: 10 * time.Second, Max: time.Second})
	require.Equal(t, 5*time.Second, e.RTO())
	e.Sample(ms)
	require.Equal(t, 10*time.Second, e.RTO())
	e = estimator(Config{Initial: -1, Min: -1, Max: -1})
	require.Equal(t, estimator(Default()), e)
}

func TestPTO(t *testing.T) {
	e := estimator(Default())
	require.Equal(t, time.Second, e.PTO(0))
	e.Sample(20 * ms)
	require.Equal(t, 60*ms, e.PTO(0))
	require.Equal(t, 80*ms, e.PTO(20*ms))
	require.Equal(t, 60*ms, e.PTO(-20*ms))
	for range 100 {
		e.Sample(20 * ms)
	}
	require.InDelta(t, 21*ms, e.PTO(0), float64(100*time.Microsecond), "the variance term is at least a millisecond")
	e.Backoff()
	require.InDelta(t, 21*ms, e.PTO(0), float64(100*time.Microsecond), "no backoff")
}

func TestMinimumSlides(t *testing.T) {
	e := estimator(Default(), 10*ms)
	require.Equal(t, 10*ms, e.MinRTT())
	e.Sample(5 * ms)
	require.Equal(t, 5*ms, e.MinRTT())
	now := mono.Time(time.Second)
	for range 10 * minEpoch { // within a moment
		now = now.Add(ms)
		e.SampleAt(now, 40*ms)
	}
	require.Equal(t, 5*ms, e.MinRTT())
	now = now.Add(minEpochTime)
	e.SampleAt(now, 40*ms)
	require.Equal(t, 5*ms, e.MinRTT(), "the epoch before still counts")
	for range minEpoch {
		now = now.Add(minEpochTime / minEpoch)
		e.SampleAt(now, 40*ms)
	}
	require.Equal(t, 40*ms, e.MinRTT())
	e.Sample(30 * ms)
	require.Equal(t, 30*ms, e.MinRTT())
	for range minEpoch - 2 { // rarely
		now = now.Add(minEpochTime)
		e.SampleAt(now, 50*ms)
	}
	require.Equal(t, 30*ms, e.MinRTT(), "too few to forget it")
}

func TestSampleAtOncePerRoundTrip(t *testing.T) {
	e := estimator(Default())
	now := mono.Time(time.Hour)
	e.SampleAt(now, 100*ms)
	for i := range 99 {
		e.SampleAt(now.Add(time.Duration(i)*ms), 20*ms)
	}
	require.Equal(t, 100*ms, e.SRTT())
	require.Equal(t, 50*ms, e.RTTVar())
	require.Equal(t, 20*ms, e.MinRTT(), "the minimum sees all")
	e.Backoff()
	e.SampleAt(now.Add(100*ms), 20*ms)
	require.Equal(t, 90*ms, e.SRTT())
	require.Zero(t, e.Backoffs())
	e.SampleAt(now.Add(200*ms), -1)
	require.Equal(t, 90*ms, e.SRTT())
}

func TestSizeAndAllocations(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(Estimator{}), uintptr(80))
	e := estimator(Default())
	require.Zero(t, testing.AllocsPerRun(100, func() {
		e.SampleAt(1, ms)
		e.Sample(ms)
		e.Backoff()
		_ = e.RTO() + e.PTO(ms)
	}))
}

func TestLatest(t *testing.T) {
	e := estimator(Default())
	require.Zero(t, e.Latest())
	e.Sample(20 * ms)
	e.SampleAt(1, 30*ms) // too early for the averages
	require.Equal(t, 30*ms, e.Latest())
	e.SampleAt(2, -1)
	require.Equal(t, 30*ms, e.Latest())
}

// TestGuess: what may hold a timeout of the peer's counts until something is measured.
func TestGuess(t *testing.T) {
	var e Estimator
	cfg := Default()
	e.Init(&cfg)
	e.Guess(-1)
	require.False(t, e.HasSample())
	e.Guess(820 * time.Millisecond)
	require.Equal(t, 2460*time.Millisecond, e.RTO())
	require.Zero(t, e.MinRTT(), "losses are not found by it")
	e.Guess(900 * time.Millisecond)
	require.Equal(t, 820*time.Millisecond, e.SRTT(), "the first one")
	e.SampleAt(mono.Time(time.Second), 20*time.Millisecond)
	require.Equal(t, 20*time.Millisecond, e.SRTT())
	require.Equal(t, cfg.Min, e.RTO())
	e.Guess(time.Second)
	require.Equal(t, 20*time.Millisecond, e.SRTT())
}
