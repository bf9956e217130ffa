package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	recordEvery = time.Millisecond
	recordHead  = 16 // a number and an instant

	// tooLate is the delay from which a record counts as late in the table.
	tooLate = 200 * time.Millisecond
)

// epoch is what instants here count from. They compare within this process only.
var epoch = time.Now()

func now() time.Duration { return time.Since(epoch) }

// load is one stream of records, from both ends.
type load struct {
	size, count int
	start       time.Duration

	mu   sync.Mutex
	due  []time.Duration // when each record that was written had to be written
	put  []time.Duration // when Write was called with it
	read []time.Duration // when each record that arrived was read
	late []pause         // by how much the sender overslept
	lost error           // what ended the connection before all had arrived
	bad  error           // a record was damaged, repeated or out of order: not a matter of time
}

type pause struct{ at, late time.Duration }

// send writes the records in step. A record is due at its millisecond, or when the sender wakes up after having overslept
// it, which is the machine's doing. While Write blocks records become due and wait, which is the transport's.
func (l *load) send(w io.Writer) error {
	rec := make([]byte, l.size)
	for i := range rec {
		rec[i] = byte(i)
	}
	var woken time.Duration
	for i := range l.count {
		at := l.start + time.Duration(i)*recordEvery
		if wait := at - now(); wait > 0 {
			time.Sleep(wait)
			woken = now()
			l.mu.Lock()
			l.late = append(l.late, pause{woken, woken - at})
			l.mu.Unlock()
		}
		due := max(at, woken)
		binary.BigEndian.PutUint64(rec, uint64(i))
		binary.BigEndian.PutUint64(rec[8:], uint64(due))
		l.mu.Lock()
		l.due, l.put = append(l.due, due), append(l.put, now())
		l.mu.Unlock()
		if _, err := w.Write(rec); err != nil {
			return fmt.Errorf("writing record %d: %w", i, err)
		}
	}
	return nil
}

// receive reads the records and checks that each comes once, in order and whole.
func (l *load) receive(r io.Reader) error {
	rec := make([]byte, l.size)
	for i := range l.count {
		if _, err := io.ReadFull(r, rec); err != nil {
			return fmt.Errorf("reading record %d: %w", i, err)
		}
		at := now()
		n, due := binary.BigEndian.Uint64(rec), time.Duration(binary.BigEndian.Uint64(rec[8:]))
		l.mu.Lock()
		if n != uint64(i) || due != l.due[i] {
			l.bad = fmt.Errorf("record %d came in place of record %d", n, i)
		}
		for k := recordHead; k < l.size && l.bad == nil; k++ {
			if rec[k] != byte(k) {
				l.bad = fmt.Errorf("record %d is damaged at byte %d", i, k)
			}
		}
		l.read = append(l.read, at)
		bad := l.bad
		l.mu.Unlock()
		if bad != nil {
			return bad
		}
	}
	return nil
}

// run sends and receives until every record has arrived or the context ends, in which case stop must make both ends
// return.
func (l *load) run(done <-chan struct{}, w io.Writer, r io.Reader, stop func()) {
	sent, got := make(chan error, 1), make(chan error, 1)
	go func() { sent <- l.send(w) }()
	go func() { got <- l.receive(r) }()
	stopped := false
	halt := func() {
		if !stopped {
			stopped = true
			stop()
		}
	}
	for sent != nil || got != nil {
		var err error
		select {
		case err = <-sent:
			sent = nil
		case err = <-got:
			got = nil
		case <-done:
			done = nil
			halt()
		}
		if err != nil && !stopped { // what comes after the end of patience is our own doing
			l.lost = err
			halt()
		}
	}
}

// figures are what one run gives. All times are milliseconds.
type figures struct {
	Gap         float64 `json:"gap"`            // the longest time between two arrivals after the fault
	Delay       float64 `json:"delay"`          // the longest time from due to read after the fault
	FromWrite   float64 `json:"delayFromWrite"` // the same from the call of Write, which hides what waits for Write
	Stalled     bool    `json:"stalled,omitempty"`
	GapBefore   float64 `json:"gapBefore"`
	DelayBefore float64 `json:"delayBefore"`
	Records     int     `json:"records"` // due after the fault
	TooLate     int     `json:"tooLate"` // of these, later than 200 ms
	Missing     int     `json:"missing"` // of these, not there when patience ended: Gap and Delay are lower bounds
	SenderLate  float64 `json:"senderLate"`
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// dueAt is when record i had to be written.
func (l *load) dueAt(i int) time.Duration {
	if i < len(l.due) {
		return l.due[i]
	}
	return l.start + time.Duration(i)*recordEvery
}

// figures measures a load that has ended. What came before from is left out. A record that did not arrive was on its way
// until end.
func (l *load) figures(from, fault, end time.Duration) (f figures) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var gap, delay, written, gapBefore, delayBefore, late time.Duration
	for i := range l.count {
		missing, at := i >= len(l.read), end
		if !missing {
			at = l.read[i]
		}
		wait := at - l.dueAt(i)
		var since time.Duration
		if i > 0 && i <= len(l.read) {
			since = at - l.read[i-1]
		}
		switch {
		case at >= fault:
			gap, delay = max(gap, since), max(delay, wait)
			if i < len(l.put) {
				written = max(written, at-l.put[i])
			}
		case at >= from:
			gapBefore, delayBefore = max(gapBefore, since), max(delayBefore, wait)
		}
		if l.dueAt(i) >= fault || missing {
			f.Records++
			if wait > tooLate {
				f.TooLate++
			}
			if missing {
				f.Missing++
			}
		}
	}
	for _, p := range l.late {
		if p.at >= fault {
			late = max(late, p.late)
		}
	}
	f.Gap, f.Delay, f.FromWrite = ms(gap), ms(delay), ms(written)
	f.GapBefore, f.DelayBefore, f.SenderLate = ms(gapBefore), ms(delayBefore), ms(late)
	f.Stalled = f.Missing > 0
	return f
}

// trace is the course of one run: when each record was due, counted from the fault, and its delay, in microseconds. Records
// that did not arrive have a delay below zero; the end of patience tells how long they waited at least.
type trace struct {
	Due   []int64 `json:"due"`
	Delay []int64 `json:"delay"`
	End   int64   `json:"end"`
}

func (l *load) trace(fault, end time.Duration) *trace {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &trace{End: (end - fault).Microseconds()}
	for i := range l.count {
		due, delay := l.dueAt(i), time.Duration(-1000)
		if i < len(l.read) {
			delay = l.read[i] - due
		}
		t.Due = append(t.Due, (due - fault).Microseconds())
		t.Delay = append(t.Delay, delay.Microseconds())
	}
	return t
}
