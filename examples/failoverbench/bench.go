package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-multihome/multihome/internal/netlab"
)

// result is one run.
type result struct {
	figures
	Path         int      `json:"path"`         // that the fault hit
	FaultTook    float64  `json:"faultTook"`    // ms from the fault's beginning to its end, within which it took effect
	EmulatorLate float64  `json:"emulatorLate"` // ms after the fault
	Lost         string   `json:"lost,omitempty"`
	Why          []string `json:"why,omitempty"`
	Trace        *trace   `json:"trace,omitempty"`
	bad          error
}

// measure does everything that the options ask for. An interruption ends it with what there is.
func (o *options) measure(ctx context.Context, progress io.Writer) (*report, error) {
	rep := newReport(o)
	var most time.Duration
	for _, s := range o.stories {
		for _, rtt := range o.rtts {
			most += o.bound(s, rtt) * time.Duration(len(o.lanes)*o.rounds)
		}
	}
	fmt.Fprintf(progress, "at most %v, repetitions aside\n", most.Round(time.Second))
	for _, s := range o.stories {
		for _, rtt := range o.rtts {
			cells := rep.add(s, rtt, o.lanes)
			if err := o.cells(ctx, s, rtt, cells, progress); err != nil {
				return rep, err
			}
		}
	}
	return rep, nil
}

// bound is about how long one run may take.
func (o *options) bound(s *story, rtt time.Duration) time.Duration {
	settled, before, after, patience := o.times(s, rtt)
	return time.Second + settled + before + after + patience
}

// times are the parts of a run: until windows have opened, until the fault, until the load ends, until the last record is
// given up.
func (o *options) times(s *story, rtt time.Duration) (settled, before, after, patience time.Duration) {
	settled, before, after, patience = 100*time.Millisecond+10*rtt, 500*time.Millisecond, s.lasts, o.patience+5*rtt
	if after == 0 {
		after = o.after + 5*rtt
	}
	return settled, before, after, patience
}

// cells measures one story at one round trip in rounds, in which the transports take turns.
func (o *options) cells(ctx context.Context, s *story, rtt time.Duration, cells []*cell, progress io.Writer) error {
	repeats := make([]int, len(cells))
	for round := range o.rounds {
		for k := range cells {
			k = (k + round) % len(cells)
			c := cells[k]
			for {
				r, err := o.once(ctx, s, rtt, o.lanes[k])
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					c.Failed = append(c.Failed, err.Error())
					fmt.Fprintf(progress, "%s, %s: %v\n", c.title(), c.Name, err)
					break
				}
				fmt.Fprintf(progress, "%s, %s: %v\n", c.title(), c.Name, r)
				if o.explain {
					for _, line := range r.Why {
						fmt.Fprintln(progress, "   ", line)
					}
				} else {
					r.Why = nil
				}
				if r.counts() || repeats[k] == o.repeats {
					c.keep(r)
					break
				}
				repeats[k]++
				c.Repeated++
			}
		}
	}
	return nil
}

// counts reports whether the effect can be seen at all: whether the emulated delay was not later than it.
func (r *result) counts() bool { return r.bad != nil || r.Lost != "" || r.EmulatorLate <= r.Gap }

// once builds the network, sends a load over it, makes the fault and measures.
func (o *options) once(ctx context.Context, s *story, rtt time.Duration, ln *lane) (*result, error) {
	net, err := netlab.New(netlab.Options{Delay: rtt / 2})
	if err != nil {
		return nil, err
	}
	defer net.Close()
	connecting, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	road, err := ln.connect(connecting, net)
	if err != nil {
		return nil, err
	}
	defer road.stop()

	settled, before, after, patience := o.times(s, rtt)
	l := &load{size: o.record, count: int((settled + before + after) / recordEvery), start: now()}
	watch, cancel := context.WithTimeout(ctx, settled+before+after+patience)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer cancel() // all has arrived
		l.run(watch.Done(), road.w, road.r, road.stop)
	}()
	fault := make(chan error, 1)
	r := &result{}
	var at time.Duration
	go func() { fault <- s.strike(watch, net, l.start+settled+before, r, &at) }()
	<-ended
	end := now()
	if err := <-fault; err != nil {
		return nil, errors.Join(err, l.lost)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	road.stop()
	r.EmulatorLate = ms(net.Lateness())
	r.figures, r.Trace, r.bad = l.figures(l.start+settled, at, end), l.trace(at, end), l.bad
	if l.lost != nil {
		r.Lost = l.lost.Error()
	}
	if road.why != nil {
		r.Why = append([]string{fmt.Sprintf("fault %8.1f ms, %.1f ms to make it, on path %d", ms(at), r.FaultTook, r.Path)}, road.why()...)
	}
	return r, nil
}

// sampling is how long the interfaces' counters are watched to tell the path that carries the data.
const sampling = 100 * time.Millisecond

// strike makes the fault at an instant, on the path that carries the data, and what follows it.
func (s *story) strike(ctx context.Context, l *netlab.Lab, when time.Duration, r *result, at *time.Duration) error {
	if err := nap(ctx, when-sampling-now()); err != nil {
		return fmt.Errorf("before the fault: %w", err)
	}
	first, err := carried(l.A, l.Paths())
	if err != nil {
		return err
	}
	if err := nap(ctx, when-now()); err != nil {
		return fmt.Errorf("before the fault: %w", err)
	}
	second, err := carried(l.A, l.Paths())
	if err != nil {
		return err
	}
	for i := range second {
		if second[i]-first[i] > second[r.Path]-first[r.Path] {
			r.Path = i
		}
	}
	l.Lateness() // what was before does not count
	*at = now()
	if err := s.happen(l, r.Path); err != nil {
		return err
	}
	r.FaultTook = ms(now() - *at)
	if s.goOn == nil {
		return nil
	}
	return s.goOn(ctx, l, r.Path)
}

// String says it in one line.
func (r *result) String() string {
	more, lost := "", ""
	if r.Stalled {
		more = ">"
	}
	if r.Lost != "" {
		lost = "; connection lost: " + r.Lost
	}
	if r.bad != nil {
		lost = "; BAD: " + r.bad.Error()
	}
	return fmt.Sprintf("gap %s%.1f ms, delay %s%.1f ms; before %.1f and %.1f ms; emulator late %.1f ms, sender %.1f ms; %d of %d records later than 200 ms%s",
		more, r.Gap, more, r.Delay, r.GapBefore, r.DelayBefore, r.EmulatorLate, r.SenderLate, r.TooLate, r.Records, lost)
}
