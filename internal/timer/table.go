// Package timer keeps a fixed table of named deadlines as plain values: no callback, no goroutine, no clock.
// The owner asks for the earliest one, sleeps until then elsewhere, and asks which have come.
package timer

import "github.com/go-multihome/multihome/internal/mono"

// Table holds up to N deadlines, named by small constants of the owner. The zero Table has none armed. Neither has a nil one,
// on which nothing can be set.
type Table struct {
	at [N]mono.Time
}

// N is how many deadlines a Table names.
const N = 6

// Set arms deadline i, replacing an earlier setting.
func (t *Table) Set(i int, at mono.Time) { t.at[i] = at }

// SetEarlier arms deadline i unless it is armed for an earlier instant.
func (t *Table) SetEarlier(i int, at mono.Time) { t.at[i] = mono.Min(t.at[i], at) }

// Stop disarms deadline i.
func (t *Table) Stop(i int) {
	if t != nil {
		t.at[i] = 0
	}
}

// At returns the instant deadline i is armed for.
func (t *Table) At(i int) (mono.Time, bool) {
	if t == nil {
		return 0, false
	}
	return t.at[i], t.at[i] != 0
}

// Fired reports whether deadline i has come, and disarms it if so.
func (t *Table) Fired(i int, now mono.Time) bool {
	if t == nil || t.at[i] == 0 || now.Before(t.at[i]) {
		return false
	}
	t.at[i] = 0
	return true
}

// Next returns the earliest armed deadline.
func (t *Table) Next() (mono.Time, bool) {
	if t == nil {
		return 0, false
	}
	var min mono.Time
	for _, at := range t.at {
		min = mono.Min(min, at)
	}
	return min, min != 0
}

// StopAll disarms every deadline.
func (t *Table) StopAll() {
	if t != nil {
		t.at = [N]mono.Time{}
	}
}
