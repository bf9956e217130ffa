// Package mono holds the instant the protocol core counts with: eight bytes, monotonic, never read from a clock here.
//
// The core receives every instant as an argument, so hours of protocol run in milliseconds of test. Only the driver's
// clock and the simulated network make new ones.
package mono

import "time"

// Time is an instant in nanoseconds. The zero value means "not set"; a clock never yields it.
// Instants of one process compare with each other; they have no meaning outside it.
type Time int64

// Add returns t moved by d. Adding to an unset instant is a mistake of the caller and not detected.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Sub returns the time elapsed from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Before reports whether t lies before u.
func (t Time) Before(u Time) bool { return t < u }

// After reports whether t lies after u.
func (t Time) After(u Time) bool { return t > u }

// IsZero reports whether t is unset.
func (t Time) IsZero() bool { return t == 0 }

// Std converts to a time.Time for the public packages, which take standard types only.
// An unset instant becomes the zero time.Time.
func (t Time) Std() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(t))
}

// FromStd is the inverse of Std.
func FromStd(t time.Time) Time {
	if t.IsZero() {
		return 0
	}
	return Time(t.UnixNano())
}

// Min returns the earlier of two instants, where an unset one counts as never.
func Min(a, b Time) Time {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}
