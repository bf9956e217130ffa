package driver

import (
	"time"

	"github.com/go-multihome/multihome/internal/mono"
)

// clock is where the instants of the core come from: the monotonic clock, counted from when the node began. It starts at
// one second because the zero instant means "not set".
type clock struct{ base time.Time }

const clockStart = mono.Time(time.Second)

func newClock() clock { return clock{base: time.Now()} }

func (c clock) now() mono.Time { return clockStart.Add(time.Since(c.base)) }

// wall turns an instant into real time.
func (c clock) wall(t mono.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return c.base.Add(t.Sub(clockStart))
}
