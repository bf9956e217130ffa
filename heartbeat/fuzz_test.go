package heartbeat

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzMonitor gives a monitor arbitrary events and checks what must hold whatever happens. Two bytes make an event: what,
// and how much time passes before it.
func FuzzMonitor(f *testing.F) {
	f.Add([]byte{0, 0, 10, 20, 0, 1, 10, 20})
	f.Add([]byte{1, 1, 2, 200, 2, 255, 2, 255, 2, 255, 2, 255, 2, 255, 0, 9, 3, 9})
	f.Add([]byte{0, 4, 10, 5, 3, 6, 3, 0, 200, 6, 3, 7, 3, 0, 9, 3, 4})
	f.Add([]byte{3, 8, 250, 9, 250, 10, 250, 11, 250, 0, 250, 2, 250})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) == 0 || len(script) > 4000 {
			return
		}
		cfg := DefaultConfig()
		if script[0]&2 != 0 {
			cfg = RFC9260Config()
		}
		cfg.Disabled = script[0]&4 != 0
		c := &checker{t: t, cfg: &cfg, now: epoch, rto: 400 * time.Millisecond}
		c.m.Init(&cfg, c.now, script[0]&1 != 0)
		for i := 1; i+1 < len(script); i += 2 {
			b := time.Duration(script[i+1])
			c.now = c.now.Add(b * b * time.Millisecond)
			c.step(script[i])
		}
	})
}

// checker is the owner, and the invariants.
type checker struct {
	t       *testing.T
	cfg     *Config
	m       Monitor
	now     time.Time
	rto     time.Duration
	nonce   uint64
	erred   time.Time
	pending map[uint64]bool
}

func (c *checker) step(b byte) {
	switch b % 14 {
	case 0:
		c.ack(c.nonce)
	case 1:
		c.ack(c.nonce - uint64(b/14)%6)
	case 2:
		c.attend()
	case 3:
		c.check(func() Verdict { return c.m.DataAcked(c.now) }, Active)
	case 4:
		c.check(func() Verdict { return c.m.Suspect(c.now) }, PotentiallyFailed)
	case 5:
		c.check(func() Verdict { return c.m.DataTimeout(c.now, c.rto) }, PotentiallyFailed, Inactive)
	case 6:
		c.check(func() Verdict { return c.m.Fault(c.now, true) }, Inactive)
		require.True(c.t, c.m.Faulted())
	case 7:
		c.check(func() Verdict { return c.m.Fault(c.now, false) }, PotentiallyFailed, Unconfirmed)
	case 8:
		c.check(func() Verdict { return c.m.SendFailed(c.now) }, PotentiallyFailed)
	case 9:
		c.m.Used(c.now)
	case 10:
		c.m.DataSent(c.now)
	case 11:
		c.m.Probe(c.now)
		require.True(c.t, c.m.Due(c.now))
	case 12:
		c.send(Size)
	case 13:
		c.check(func() Verdict { return c.m.Confirm(c.now) }, Active)
		require.True(c.t, c.m.Confirmed())
	}
	require.False(c.t, c.m.Faulted() && c.m.State() != Inactive)
	require.False(c.t, c.m.State() == Active && !c.m.Confirmed())
	require.Equal(c.t, c.m.State() == Active, c.m.ReturnsLeft() == 0)
}

func (c *checker) send(p Purpose) {
	c.nonce++
	if c.pending == nil {
		c.pending = make(map[uint64]bool)
	}
	c.pending[c.nonce] = true
	c.m.Sent(c.now, c.nonce, p, c.rto, 0.7)
}

// attend is what the owner does at a deadline. Afterwards the next one must lie ahead, or the owner would spin.
func (c *checker) attend() {
	c.check(func() Verdict { return c.m.Expire(c.now, c.rto) }, PotentiallyFailed, Inactive)
	if c.m.Due(c.now) {
		if c.nonce%7 == 3 {
			c.nonce++
			c.check(func() Verdict { return c.m.SendFailed(c.now) }, PotentiallyFailed)
		} else {
			c.send(c.m.Purpose())
		}
	}
	if at, ok := c.m.Next(); ok {
		require.True(c.t, at.After(c.now), "next %v is not after now", at.Sub(c.now))
	}
}

func (c *checker) ack(nonce uint64) {
	errors := c.m.Errors()
	var ok bool
	var rtt time.Duration
	v := c.check(func() Verdict {
		var v Verdict
		rtt, v, ok = c.m.Ack(c.now, nonce)
		return v
	}, Active, PotentiallyFailed)
	if !ok {
		require.Equal(c.t, errors, c.m.Errors())
		require.False(c.t, v.Changed())
		return
	}
	require.True(c.t, c.pending[nonce], "answered twice, or never sent")
	delete(c.pending, nonce)
	require.GreaterOrEqual(c.t, rtt, time.Duration(0))
	require.Zero(c.t, c.m.Errors())
	require.True(c.t, c.m.Confirmed() || c.m.Faulted())
	c.rto = 400 * time.Millisecond
}

// check runs an event and judges its verdict: it tells the truth about the states, moves legally and only to where this
// event may lead, and counts at most one error per timeout.
func (c *checker) check(event func() Verdict, may ...State) Verdict {
	from, confirmed := c.m.State(), c.m.Confirmed()
	v := event()
	require.Equal(c.t, from, v.From)
	require.Equal(c.t, c.m.State(), v.To)
	if v.Changed() {
		require.True(c.t, from.CanMove(v.To), "%v", v)
		require.True(c.t, contains(may, v.To), "%v", v)
		require.NotEqual(c.t, NoReason, v.Reason)
		require.False(c.t, from == Unconfirmed && v.To == Active && v.Reason != Confirmed)
		require.Equal(c.t, c.now, c.m.Since())
	}
	require.False(c.t, confirmed && !c.m.Confirmed())
	if v.Counted {
		if !c.erred.IsZero() {
			require.GreaterOrEqual(c.t, c.now.Sub(c.erred), c.rto)
		}
		c.erred = c.now
		require.Positive(c.t, c.m.Errors())
		c.rto = min(2*c.rto, 30*time.Second)
	}
	require.LessOrEqual(c.t, c.m.Errors(), 10*(c.cfg.PathMaxRetrans+1))
	if c.m.State() == Active {
		require.LessOrEqual(c.t, c.m.Errors(), c.cfg.PFThreshold)
	}
	return v
}
