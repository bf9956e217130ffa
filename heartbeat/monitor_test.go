package heartbeat

import (
	"errors"
	"math"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

const ms = time.Millisecond

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestLegalMoves(t *testing.T) {
	all := []State{Unconfirmed, Active, PotentiallyFailed, Inactive}
	want := map[State][]State{
		Unconfirmed:       {Active, Inactive},
		Active:            {PotentiallyFailed, Inactive},
		PotentiallyFailed: {Active, Inactive},
		Inactive:          {Unconfirmed, Active, PotentiallyFailed},
	}
	for _, from := range all {
		for _, to := range all {
			require.Equal(t, contains(want[from], to), from.CanMove(to), "%v to %v", from, to)
		}
		require.False(t, from.CanMove(4))
	}
	require.False(t, State(4).CanMove(Active))
}

func contains(list []State, s State) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

func TestNames(t *testing.T) {
	require.Equal(t, "PotentiallyFailed", PotentiallyFailed.String())
	require.Equal(t, "State(9)", State(9).String())
	require.Equal(t, "local repair", LocalRepair.String())
	require.Equal(t, "Reason(99)", Reason(99).String())
	require.Equal(t, "size", Size.String())
	require.Equal(t, "Purpose(9)", Purpose(9).String())
	require.Equal(t, "Active to Inactive (local fault)", Verdict{From: Active, To: Inactive, Reason: LocalFault}.String())
	require.Equal(t, "Active (data timeouts)", Verdict{From: Active, To: Active, Reason: DataTimeouts}.String())
}

func TestConfigCheck(t *testing.T) {
	for name, cfg := range map[string]Config{"default": DefaultConfig(), "rfc9260": RFC9260Config()} {
		require.NoError(t, cfg.Check(), name)
	}
	for name, spoil := range map[string]func(*Config){
		"Interval":         func(c *Config) { c.Interval = 0 },
		"IdleAfter":        func(c *Config) { c.IdleAfter = -1 },
		"MaxInterval":      func(c *Config) { c.MaxInterval = 25 * time.Hour },
		"is less than":     func(c *Config) { c.MaxInterval = time.Millisecond },
		"InactiveInterval": func(c *Config) { c.InactiveInterval = 0 },
		"FlapMemory":       func(c *Config) { c.FlapMemory = 0 },
		"PathMaxRetrans":   func(c *Config) { c.PathMaxRetrans = -1 },
		"PFThreshold":      func(c *Config) { c.PFThreshold = 256 },
		"ReturnAcks":       func(c *Config) { c.ReturnAcks = 0 },
		"MaxReturnAcks":    func(c *Config) { c.MaxReturnAcks = 1 },
	} {
		cfg := DefaultConfig()
		spoil(&cfg)
		err := cfg.Check()
		require.ErrorContains(t, err, name)
		require.True(t, errors.Is(err, ErrConfig))
	}
	var zero Config
	require.Error(t, zero.Check())
}

func TestSize(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(Monitor{}), uintptr(300))
	t.Logf("a Monitor is %d bytes", unsafe.Sizeof(Monitor{}))
}

func TestNothingIsAllocated(t *testing.T) {
	var m Monitor
	m.Init(nil, epoch, false)
	now, nonce := epoch, uint64(0)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		nonce++
		m.Sent(now, nonce, m.Purpose(), 400*ms, 0.3)
		now = now.Add(20 * ms)
		m.Ack(now, nonce)
		m.DataSent(now)
		m.DataAcked(now)
		m.Suspect(now)
		m.DataTimeout(now, time.Second)
		at, _ := m.Next()
		m.Expire(at, 400*ms)
	}))
}

// TestNonces: only the last four are known, each once, and an answer says which purpose it was for.
func TestNonces(t *testing.T) {
	var m Monitor
	m.Init(nil, epoch, true)
	now := epoch
	for n := uint64(1); n <= 6; n++ {
		m.Sent(now, n, Purpose(n%5), time.Second, 0)
		now = now.Add(10 * ms)
	}
	for _, gone := range []uint64{0, 1, 2, 7, math.MaxUint64} {
		_, v, ok := m.Ack(now, gone)
		require.False(t, ok, gone)
		require.False(t, v.Changed())
	}
	require.Zero(t, m.Stats().Answered)
	for n := uint64(3); n <= 6; n++ {
		rtt, v, ok := m.Ack(now, n)
		require.True(t, ok)
		require.Equal(t, time.Duration(7-n)*10*ms, rtt)
		require.Equal(t, Purpose(n%5), v.Purpose)
		_, _, ok = m.Ack(now, n)
		require.False(t, ok, "an answer counts once")
	}
	require.Equal(t, Stats{Sent: 6, Answered: 4}, m.Stats())
}

// TestTheOneNobodyWaitsForGoesFirst: a heartbeat whose time has run out makes room before an older one that may still be
// answered in time.
func TestTheOneNobodyWaitsForGoesFirst(t *testing.T) {
	var m Monitor
	m.Init(nil, epoch, true)
	m.Sent(epoch, 1, Keepalive, 10*time.Second, 0)
	for n := uint64(2); n <= 4; n++ {
		m.Sent(epoch.Add(time.Duration(n)*ms), n, Keepalive, time.Second, 0)
	}
	m.Expire(epoch.Add(2*time.Second), time.Second)
	m.Sent(epoch.Add(3*time.Second), 5, Recheck, time.Second, 0)
	_, _, ok := m.Ack(epoch.Add(3*time.Second), 2)
	require.False(t, ok)
	_, _, ok = m.Ack(epoch.Add(3*time.Second), 1)
	require.True(t, ok)
}

func TestAnAnswerExcusesEarlierSilence(t *testing.T) {
	var m Monitor
	m.Init(nil, epoch, true)
	m.Sent(epoch, 1, Keepalive, 400*ms, 0)
	m.Sent(epoch.Add(100*ms), 2, Demand, 400*ms, 0)
	m.Ack(epoch.Add(150*ms), 2)
	v := m.Expire(epoch.Add(time.Second), 400*ms)
	require.False(t, v.Counted)
	require.Zero(t, m.Errors())
	rtt, _, ok := m.Ack(epoch.Add(time.Second), 1)
	require.True(t, ok, "it is still recognised")
	require.Equal(t, time.Second, rtt)
	require.EqualValues(t, 1, m.Stats().Late)
}

// TestJitter: the next heartbeat comes after interval + 0.5 to 1.5 times the timeout.
func TestJitter(t *testing.T) {
	for _, c := range []struct {
		jitter float64
		want   time.Duration
	}{
		{0, 1200 * ms}, {0.25, 1300 * ms}, {0.5, 1400 * ms}, {1, 1600 * ms},
		{-1, 1200 * ms}, {7, 1600 * ms}, {math.NaN(), 1200 * ms}, {math.Inf(1), 1600 * ms},
	} {
		var m Monitor
		m.Init(nil, epoch, true)
		m.Sent(epoch, 1, Keepalive, 400*ms, c.jitter)
		m.Ack(epoch, 1)
		at, ok := m.Next()
		require.True(t, ok)
		require.InDelta(t, c.want, at.Sub(epoch), 1000, "jitter %v", c.jitter)
		require.False(t, m.Due(at.Add(-1)))
		require.True(t, m.Due(at))
	}
}

func TestOneErrorPerTimeout(t *testing.T) {
	cfg := DefaultConfig()
	cfg.PathMaxRetrans = 2
	var m Monitor
	m.Init(&cfg, epoch, true)
	at := func(d time.Duration) time.Time { return epoch.Add(d) }
	require.True(t, m.DataTimeout(at(0), 400*ms).Counted)
	require.False(t, m.DataTimeout(at(799*ms), 800*ms).Counted)
	v := m.DataTimeout(at(800*ms), 800*ms)
	require.True(t, v.Counted)
	require.Equal(t, 2, m.Errors())
	v = m.DataTimeout(at(2400*ms), 1600*ms)
	require.Equal(t, Verdict{From: PotentiallyFailed, To: Inactive, Reason: DataTimeouts, Counted: true}, v)
	now := at(2400 * ms)
	for range 100 {
		now = now.Add(time.Minute)
		v = m.DataTimeout(now, time.Minute)
		require.False(t, v.Changed())
	}
	require.Equal(t, 30, m.Errors(), "ten times the limit plus one")
	require.Equal(t, Inactive, m.State())
}

func TestThresholds(t *testing.T) {
	for _, c := range []struct {
		pf, max int
		want    []State // after each error
	}{
		{0, 0, []State{Inactive, Inactive}},
		{0, 2, []State{PotentiallyFailed, PotentiallyFailed, Inactive}},
		{1, 3, []State{Active, PotentiallyFailed, PotentiallyFailed, Inactive}},
		{3, 3, []State{Active, Active, Active, Inactive}},
	} {
		cfg := DefaultConfig()
		cfg.PFThreshold, cfg.PathMaxRetrans = c.pf, c.max
		require.NoError(t, cfg.Check())
		var m Monitor
		m.Init(&cfg, epoch, true)
		for i, want := range c.want {
			m.DataTimeout(epoch.Add(time.Duration(i+1)*time.Hour), time.Second)
			require.Equal(t, want, m.State(), "%+v error %d", c, i+1)
		}
	}
}

func TestDampingIsBounded(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxReturnAcks = 5
	var m Monitor
	m.Init(&cfg, epoch, true)
	now, nonce := epoch, uint64(0)
	for round, want := range []int{2, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5} {
		now = now.Add(10 * ms)
		require.True(t, m.Suspect(now).Changed(), "round %d", round)
		require.Equal(t, want, m.ReturnsLeft())
		for m.State() != Active {
			nonce++
			m.Sent(now, nonce, Recheck, 400*ms, 0)
			m.Ack(now.Add(ms), nonce)
			now = now.Add(400 * ms)
			want--
		}
		require.Zero(t, want)
	}
	require.Equal(t, maxFlaps, m.Flaps())
	require.True(t, m.Suspect(now.Add(time.Hour)).Changed())
	require.Equal(t, 1, m.Flaps(), "an hour forgives all")
}

func TestAnUnansweredHeartbeatBreaksTheRow(t *testing.T) {
	var m Monitor
	m.Init(nil, epoch, true)
	m.Suspect(epoch)
	m.Sent(epoch, 1, Recheck, 400*ms, 0)
	m.Ack(epoch.Add(ms), 1)
	require.Equal(t, 1, m.ReturnsLeft())
	m.Sent(epoch.Add(400*ms), 2, Recheck, 400*ms, 0)
	m.Expire(epoch.Add(800*ms), 400*ms)
	require.Equal(t, 2, m.ReturnsLeft())
	m.Suspect(epoch)
	require.Equal(t, PotentiallyFailed, m.State())
}

// TestAnswersFromBeforeTheFailure do not count towards the return: they tell of the time before.
func TestAnswersFromBeforeTheFailure(t *testing.T) {
	var m Monitor
	m.Init(nil, epoch, true)
	m.Sent(epoch, 1, Keepalive, 400*ms, 0)
	m.Suspect(epoch.Add(100 * ms))
	_, v, ok := m.Ack(epoch.Add(110*ms), 1)
	require.True(t, ok)
	require.False(t, v.Changed())
	require.Equal(t, 2, m.ReturnsLeft())
}

func TestFaultOutlastsWhatWasUnderWay(t *testing.T) {
	var m Monitor
	m.Init(nil, epoch, true)
	m.Sent(epoch, 1, Keepalive, 400*ms, 0)
	m.Fault(epoch.Add(10*ms), true)
	require.True(t, m.Faulted())
	require.False(t, m.Fault(epoch.Add(11*ms), true).Changed(), "told twice")
	m.Ack(epoch.Add(20*ms), 1)
	m.DataAcked(epoch.Add(20 * ms))
	require.Equal(t, Inactive, m.State())
	m.Sent(epoch.Add(30*ms), 2, Recheck, 400*ms, 0)
	require.False(t, m.Expire(epoch.Add(time.Second), 400*ms).Counted, "silence is no news")
	require.Equal(t, epoch.Add(10*ms), m.Since())
	require.True(t, m.Fault(epoch.Add(2*time.Second), false).Changed())
	require.False(t, m.Faulted())
	require.False(t, m.Fault(epoch.Add(2*time.Second), false).Changed())
	require.True(t, m.Due(epoch.Add(2*time.Second)))
}

func TestSetConfig(t *testing.T) {
	off := DefaultConfig()
	off.Disabled = true
	var m Monitor
	m.Init(nil, epoch, true)
	m.SetConfig(epoch, &off)
	_, ok := m.Next()
	require.False(t, ok)
	m.SetConfig(epoch.Add(time.Hour), nil)
	at, ok := m.Next()
	require.True(t, ok)
	require.InDelta(t, 1500*ms, at.Sub(epoch.Add(time.Hour)), 1000)
}

func TestAZeroTimeoutDoesNotFlood(t *testing.T) {
	var m Monitor
	m.Init(nil, epoch, false)
	m.Sent(epoch, 1, Verify, 0, 0)
	require.False(t, m.Due(epoch.Add(pace-1)))
	m.SendFailed(epoch.Add(pace))
	require.False(t, m.Due(epoch.Add(pace)))
}

// TestConfirmByOtherMeans: the handshake proves the pair it ran on, and what was asked meanwhile is still recognised.
func TestConfirmByOtherMeans(t *testing.T) {
	var m Monitor
	m.Init(nil, epoch, false)
	m.Sent(epoch, 1, m.Purpose(), time.Second, 0)
	v := m.Confirm(epoch.Add(ms))
	require.Equal(t, Verdict{From: Unconfirmed, To: Active, Reason: Confirmed}, v)
	require.False(t, m.Confirm(epoch.Add(ms)).Changed())
	require.False(t, m.Due(epoch.Add(ms)))
	_, _, ok := m.Ack(epoch.Add(2*ms), 1)
	require.True(t, ok)

	m.Init(nil, epoch, false)
	m.Fault(epoch, true)
	require.False(t, m.Confirm(epoch).Changed())
	require.Equal(t, PotentiallyFailed, m.Fault(epoch.Add(ms), false).To, "proved while the link was gone")
}

// TestSendErrorsDoNotPutOffHeartbeats: a stream of refused packets leaves the plan alone.
func TestSendErrorsDoNotPutOffHeartbeats(t *testing.T) {
	var m Monitor
	m.Init(nil, epoch, true)
	require.True(t, m.SendFailed(epoch).Changed())
	at, ok := m.Next()
	require.True(t, ok)
	for now := epoch.Add(ms); now.Before(at); now = now.Add(ms) {
		m.SendFailed(now)
	}
	require.True(t, m.Due(at))
	m.SendFailed(at)
	require.False(t, m.Due(at))
}

// TestReports are what others say of a path: each puts an Active one in doubt without counting an error, asks it at once, and
// moves no other state.
func TestReports(t *testing.T) {
	for _, tt := range []struct {
		say    func(m *Monitor) Verdict
		reason Reason
	}{
		{func(m *Monitor) Verdict { return m.Suspect(epoch) }, ProbeVerdict},
		{func(m *Monitor) Verdict { return m.Stuck(epoch) }, DataStuck},
		{func(m *Monitor) Verdict { return m.Unreachable(epoch) }, Unreachable},
	} {
		var m Monitor
		m.Init(nil, epoch, true)
		require.Equal(t, Verdict{From: Active, To: PotentiallyFailed, Reason: tt.reason}, tt.say(&m))
		require.True(t, m.Due(epoch), tt.reason)
		require.Zero(t, m.Errors())
		require.False(t, tt.say(&m).Changed())
		m.Fault(epoch, true)
		require.Equal(t, Verdict{From: Inactive, To: Inactive, Reason: tt.reason}, tt.say(&m))
		m.Init(nil, epoch, false)
		require.False(t, tt.say(&m).Changed(), "nothing is expected of an unconfirmed path")
	}
}

// TestStuckAwaitsData: a path that answered heartbeats all the while data was stuck on it is not brought back by more of them.
func TestStuckAwaitsData(t *testing.T) {
	var m Monitor
	m.Init(nil, epoch, true)
	now := epoch.Add(time.Second)
	require.True(t, m.Stuck(now).Changed())
	answer := func(nonce uint64) Verdict {
		t.Helper()
		m.Sent(now, nonce, m.Purpose(), 400*ms, 0.5)
		now = now.Add(20 * ms)
		_, v, ok := m.Ack(now, nonce)
		require.True(t, ok)
		return v
	}
	require.False(t, m.AwaitsData(), "it does not answer yet")
	for i := range uint64(5) {
		require.Equal(t, Verdict{From: PotentiallyFailed, To: PotentiallyFailed, Reason: HeartbeatAcked, Purpose: Recheck}, answer(i))
		require.Equal(t, i > 0, m.AwaitsData(), "heartbeat %d", i)
	}
	require.Zero(t, m.ReturnsLeft())
	at, ok := m.Next()
	require.True(t, ok)
	require.Equal(t, time.Second+400*ms-20*ms, at.Sub(now), "known to be alive: heartbeats go on as on an Active path")
	require.Equal(t, Verdict{From: PotentiallyFailed, To: Active, Reason: DataAcked}, m.DataAcked(now))
	require.False(t, m.AwaitsData())
	require.Equal(t, 1, m.Flaps(), "the doubt was not unfounded")

	// Another failure afterwards is an ordinary one.
	m.Suspect(now)
	for i := range uint64(4) {
		answer(10 + i)
	}
	require.Equal(t, Active, m.State())

	// A repaired link is a new start.
	m.Stuck(now)
	m.Fault(now, true)
	m.Fault(now, false)
	now = now.Add(ms)
	for i := range uint64(8) {
		answer(20 + i)
	}
	require.Equal(t, Active, m.State())

	// Silence makes it an ordinary dead path as well, which data must bring back all the same.
	m.Stuck(now)
	answer(40)
	m.Expire(now, 400*ms)
	m.DataTimeout(now.Add(time.Second), 400*ms)
	require.False(t, m.AwaitsData())
}
