package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/go-multihome/multihome/transport"
)

// run is one measurement at the client.
type run struct {
	*perf
	conf     *transport.Config
	sessions []*session
	latency  *histogram
	setup    time.Duration // until all were ready
	begin    time.Time
	cpu      time.Duration
	mu       sync.Mutex // guards the rest
	events   []event
	rows     []row
}

const (
	crowd     = 64   // so many are set up and ended at a time
	shown     = 8    // so many associations are told about one by one
	maxEvents = 1000 // of these that are kept
)

// measure is the client.
func (p *perf) measure(ctx context.Context) error {
	r := &run{perf: p, latency: new(histogram), sessions: make([]*session, p.associations)}
	var err error
	if r.conf, err = p.tune.config(); err != nil {
		return err
	}
	r.conf.Local = p.local
	defer r.drop()
	err = r.connect(ctx)
	if ctx.Err() != nil {
		return errInterrupted
	}
	if err != nil {
		return err
	}
	p.tell("%s\n", r.headline())
	if err = r.flows(ctx); err != nil {
		return err
	}
	report := r.report(ctx.Err() != nil)
	err = each(len(r.sessions), func(i int) error { return r.sessions[i].end(0) })
	if err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	if p.json {
		return report.json(p.out)
	}
	p.tell("%s", report.text())
	return report.check()
}

// each calls f for all numbers below n, some at a time, and returns the first error. After that no more are begun.
func each(n int, f func(i int) error) error {
	var all sync.WaitGroup
	var mu sync.Mutex
	var first error
	next := 0
	for range min(n, crowd) {
		all.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				stop := i >= n || first != nil
				mu.Unlock()
				if stop {
					return
				}
				if err := f(i); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return first
}

// connect sets the associations up, and tells the server what each is for. It does so one by one, as the server does not wait
// for long.
func (r *run) connect(ctx context.Context) error {
	begin := time.Now()
	defer func() { r.setup = time.Since(begin) }()
	return each(len(r.sessions), func(i int) error {
		ctx, cancel := context.WithTimeout(ctx, r.timeout)
		defer cancel()
		l, err := r.dial(ctx)
		if err != nil {
			return err
		}
		r.sessions[i] = newSession(l, r.timeout)
		o := r.order
		o.Bytes = r.share(i)
		return r.sessions[i].propose(ctx, o, r.latency)
	})
}

func (r *run) dial(ctx context.Context) (link, error) {
	if !r.tcp {
		a, err := transport.Dial(ctx, r.address, r.conf)
		if err != nil {
			return nil, err
		}
		return &sctpLink{a: a}, nil
	}
	d := net.Dialer{Timeout: r.timeout}
	d.SetMultipathTCP(false)
	if r.local != "" {
		a, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(r.local, "0"))
		if err != nil {
			return nil, err
		}
		d.LocalAddr = a
	}
	c, err := d.DialContext(ctx, "tcp", r.address)
	if err != nil {
		return nil, err
	}
	return &tcpLink{ctl: c, dial: func() (net.Conn, error) { return d.Dial("tcp", r.address) }}, nil
}

// drop ends what has not ended in order.
func (r *run) drop() {
	for _, s := range r.sessions {
		if s != nil {
			s.drop("perf: the client has given up")
		}
	}
}

// flows lets all sessions run at a time, tells how they do, and returns when all are at their end.
func (r *run) flows(ctx context.Context) error {
	hard, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	defer context.AfterFunc(hard, r.abort)()
	var watchers sync.WaitGroup
	defer watchers.Wait()
	done := make(chan struct{})
	defer close(done)
	r.cpu, r.begin = processorTime(), time.Now()
	r.watch(&watchers, done)

	var all sync.WaitGroup
	errs := make([]error, len(r.sessions))
	for i, s := range r.sessions {
		all.Go(func() {
			err := s.ctl.say(word{Do: "start"})
			if err == nil {
				err = s.run(hard, ctx.Done())
			}
			if err != nil {
				errs[i] = err
				if len(r.sessions) > 1 {
					errs[i] = fmt.Errorf("association %d: %w", i, err)
				}
				cancel(errs[i]) // the others end, too
			}
		})
	}
	watchers.Go(func() { r.progress(done) })
	all.Wait()
	r.cpu = processorTime() - r.cpu
	if hard.Err() != nil {
		return context.Cause(hard)
	}
	return errors.Join(errs...)
}

func (r *run) abort() {
	for _, s := range r.sessions {
		s.link.abort("perf: the client has given up")
	}
}

// watch tells of what happens to the paths of the first associations.
func (r *run) watch(all *sync.WaitGroup, done <-chan struct{}) {
	for i, s := range r.sessions[:min(shown, len(r.sessions))] {
		l, ok := s.link.(*sctpLink)
		if !ok {
			return
		}
		events := l.a.Subscribe(transport.EventPathState, transport.EventPathChosen)
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				case ev, ok := <-events:
					if !ok {
						return
					}
					r.event(i, ev)
				}
			}
		})
	}
}

func (r *run) event(i int, ev transport.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := ev.Time.Sub(r.begin).Seconds()
	if len(r.events) < maxEvents {
		r.events = append(r.events, event{at, i, ev.String()})
	}
	if len(r.sessions) > 1 {
		r.tell("%8.3f s  association %d: %v\n", at, i, ev)
	} else {
		r.tell("%8.3f s  %v\n", at, ev)
	}
}

// progress tells at intervals what has gone since the last time.
func (r *run) progress(done <-chan struct{}) {
	tick := time.NewTicker(r.every)
	defer tick.Stop()
	last, before := r.sum(), r.begin
	times := r.latency.read()
	for {
		select {
		case <-done:
			return
		case now := <-tick.C:
			sum := r.sum()
			x := row{At: now.Sub(r.begin).Seconds(), Seconds: now.Sub(before).Seconds(), Up: sum.up.less(last.up), Down: sum.down.less(last.down)}
			if r.order.Mode == requests {
				t := r.latency.read()
				x.Latency = latencyOf(t.since(times))
				times = t
			}
			last, before = sum, now
			r.mu.Lock()
			r.rows = append(r.rows, x)
			r.mu.Unlock()
			r.tell("%s\n", x.text(&r.order))
		}
	}
}

// both is what went up and down so far, as the client has counted it.
type both struct{ up, down count }

func (r *run) sum() (b both) {
	for _, s := range r.sessions {
		b.up.plus(s.flow.out.count())
		b.down.plus(s.flow.in.count())
	}
	return b
}

func (c *count) plus(d *count) {
	c.Bytes += d.Bytes
	c.Messages += d.Messages
}

func (c count) less(d count) count { return count{c.Bytes - d.Bytes, c.Messages - d.Messages} }
