package heartbeat

import (
	"errors"
	"fmt"
	"time"
)

// Config holds what a [Monitor] is tuned by. Start from [DefaultConfig] or [RFC9260Config] and change fields; the zero
// Config is refused by [Config.Check]. A Config is shared by pointer among all monitors that have the same tuning and
// must not change while one of them uses it.
type Config struct {
	// Interval is the time between heartbeats on an Active path that carries no data, to which the timeout with its
	// jitter is added (HB.interval of RFC 9260 section 8.3). Default 1 s, RFC 9260: 30 s.
	Interval time.Duration

	// IdleAfter is how long after the last use (see Monitor.Used) Interval holds; from then on each heartbeat doubles it,
	// up to MaxInterval. Default 1 minute and 15 s. With Fixed it never stretches.
	IdleAfter   time.Duration
	MaxInterval time.Duration

	// InactiveInterval is the time between heartbeats on an Inactive path. Default 30 s.
	InactiveInterval time.Duration

	// PathMaxRetrans is how many consecutive errors a path may have before it becomes Inactive (Path.Max.Retrans of
	// RFC 9260 section 8.2). Default 5, range 0 to 255.
	PathMaxRetrans int

	// PFThreshold is how many consecutive errors a path may have before it becomes PotentiallyFailed
	// (PotentiallyFailed.Max.Retrans of RFC 7829 section 3.2). Default 0: the first error does. A value of PathMaxRetrans
	// or more means that errors alone never lead to PotentiallyFailed, which is RFC 9260 without RFC 7829.
	PFThreshold int

	// ReturnAcks is how many heartbeats in a row must be answered before a path that failed is Active again. Default 2,
	// RFC 9260 and RFC 7829: 1.
	ReturnAcks int

	// MaxReturnAcks bounds what ReturnAcks is doubled to for a path that keeps failing. Default 32. Equal to ReturnAcks it
	// switches the damping off.
	MaxReturnAcks int

	// FlapMemory is how long a path must stay Active for one earlier failure to be forgotten. Default 1 minute.
	FlapMemory time.Duration

	// Fixed keeps Interval from stretching on an idle path, and lets a timeout that was backed off delay the heartbeats of
	// an Inactive path, as in RFC 9260 section 8.3. Default false.
	Fixed bool

	// Disabled switches the periodic heartbeats off (RFC 9260 section 8.3, function A). Unconfirmed paths are still
	// verified, and Monitor.Probe still works. A path that failed then returns by acknowledged data only.
	Disabled bool
}

// DefaultConfig returns the tuning for quick detection: see the fields of [Config].
func DefaultConfig() Config {
	return Config{
		Interval:         time.Second,
		IdleAfter:        time.Minute,
		MaxInterval:      15 * time.Second,
		InactiveInterval: 30 * time.Second,
		PathMaxRetrans:   5,
		PFThreshold:      0,
		ReturnAcks:       2,
		MaxReturnAcks:    32,
		FlapMemory:       time.Minute,
	}
}

// RFC9260Config returns the values of RFC 9260 section 16 and what RFC 9260 section 8.3 does: one heartbeat each 30 s and
// RTO on every idle path, one answer brings a path back, and no PotentiallyFailed state from errors.
func RFC9260Config() Config {
	return Config{
		Interval:         30 * time.Second,
		IdleAfter:        time.Minute,
		MaxInterval:      30 * time.Second,
		InactiveInterval: 30 * time.Second,
		PathMaxRetrans:   5,
		PFThreshold:      5,
		ReturnAcks:       1,
		MaxReturnAcks:    1,
		FlapMemory:       time.Minute,
		Fixed:            true,
	}
}

// ErrConfig is wrapped by all errors of [Config.Check].
var ErrConfig = errors.New("heartbeat: bad configuration")

// Check returns nil or an error that wraps [ErrConfig] and names the first field out of its range.
func (c *Config) Check() error {
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"Interval", c.Interval}, {"IdleAfter", c.IdleAfter}, {"MaxInterval", c.MaxInterval},
		{"InactiveInterval", c.InactiveInterval}, {"FlapMemory", c.FlapMemory},
	} {
		if d.v <= 0 || d.v > 24*time.Hour {
			return fmt.Errorf("%w: %s is %v, want more than 0 and at most 24h", ErrConfig, d.name, d.v)
		}
	}
	if c.MaxInterval < c.Interval {
		return fmt.Errorf("%w: MaxInterval %v is less than Interval %v", ErrConfig, c.MaxInterval, c.Interval)
	}
	for _, n := range []struct {
		name     string
		v, least int
	}{
		{"PathMaxRetrans", c.PathMaxRetrans, 0}, {"PFThreshold", c.PFThreshold, 0},
		{"ReturnAcks", c.ReturnAcks, 1}, {"MaxReturnAcks", c.MaxReturnAcks, c.ReturnAcks},
	} {
		if n.v < n.least || n.v > 255 {
			return fmt.Errorf("%w: %s is %d, want %d to 255", ErrConfig, n.name, n.v, n.least)
		}
	}
	return nil
}
