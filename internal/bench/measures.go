package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// figures are what one measurement of one transport gave, by name of the metric.
type figures map[string]float64

// measure is one thing that is measured, in one place, of several transports in turn.
type measure struct {
	key     string
	title   string
	apart   bool // between the namespaces
	stacks  []string
	metrics []metric
	run     func(*job) (figures, error)
}

type metric struct {
	key, unit string
	digits    int
}

// job is one measurement of one transport.
type job struct {
	ctx   context.Context
	stack *stack
	place *place

	warm, lasts time.Duration // before, and while it counts
	block       int           // bytes of a write in bulk
	ends        int           // idle associations
}

const small = 64 // bytes of a small message

var (
	rateMetrics = []metric{{"rate", "Gbit/s", 2}, {"cpu", "CPU s/GB", 2}}
	everyone    = []string{"multihome", "pion", "quic", "tcp", "mptcp"}
)

// measures are in the order of the report.
var measures = []*measure{
	{
		key: "bulk", title: "bulk, one stream", stacks: everyone, metrics: rateMetrics, run: bulk,
	},
	{
		key: "bulk-mtu1500", title: "bulk, one stream", apart: true, stacks: everyone, metrics: rateMetrics, run: bulk,
	},
	{
		key: "messages", title: "messages of 64 bytes, one stream (of QUIC and TCP: writes)", stacks: everyone,
		metrics: []metric{{"rate", "thousand/s", 1}, {"cpu", "CPU µs each", 2}}, run: messages,
	},
	{
		key: "ping-pong", title: "64 bytes there and back", stacks: append([]string{"udp"}, everyone...),
		metrics: []metric{{"p50", "µs", 1}, {"p99", "µs", 1}, {"cpu", "CPU µs each", 1}}, run: pingPong,
	},
	{
		key: "handshakes", title: "dial and close, one client", stacks: everyone,
		metrics: []metric{{"rate", "per s", 0}, {"p50", "dial µs", 1}, {"cpu", "CPU µs each", 1}}, run: handshakes,
	},
	{
		key: "idle", title: "idle; multihome with four pairs of addresses", stacks: []string{"multihome", "pion", "quic"},
		metrics: []metric{{"memory", "KiB per end, never used", 2}, {"used", "KiB per end, after 1 KiB each way", 2}, {"goroutines", "per end", 2}},
		run:     idle,
	},
}

// span is a stretch of time and of processor time.
type span struct {
	at  time.Time
	cpu time.Duration
}

func mark() (span, error) {
	cpu, err := processorTime()
	return span{time.Now(), cpu}, err
}

func (s span) until(e span) (wall, cpu float64) {
	return e.at.Sub(s.at).Seconds(), (e.cpu - s.cpu).Seconds()
}

// flow writes at the end that dialled and counts at the other, and returns how much was counted in how much time.
func (j *job) flow(block int, count func(conn) (int, error)) (n, wall, cpu float64, err error) {
	srv, err := j.stack.listen(j.place, 1)
	if err != nil {
		return 0, 0, 0, err
	}
	defer srv.Close()
	from, to, err := connect(j.ctx, srv)
	if err != nil {
		return 0, 0, 0, err
	}
	var got atomic.Int64
	var wg sync.WaitGroup
	failed := make(chan error, 2)
	wg.Go(func() {
		p := make([]byte, block)
		for {
			if _, err := from.Write(p); err != nil {
				failed <- fmt.Errorf("writing: %w", err)
				return
			}
		}
	})
	wg.Go(func() {
		for {
			n, err := count(to)
			got.Add(int64(n))
			if err != nil {
				failed <- fmt.Errorf("reading: %w", err)
				return
			}
		}
	})
	defer wg.Wait()
	defer to.abort()
	defer from.abort()
	// A machine that stands still makes both longer, until something has arrived.
	counted := func(d time.Duration) (int64, error) {
		before := got.Load()
		for {
			if err := j.sleep(d, failed); err != nil {
				return 0, err
			}
			if n := got.Load() - before; n > 0 {
				return n, nil
			}
			d = 10 * time.Millisecond
		}
	}
	if _, err := counted(j.warm); err != nil {
		return 0, 0, 0, err
	}
	first, err := mark()
	if err != nil {
		return 0, 0, 0, err
	}
	arrived, err := counted(j.lasts)
	if err != nil {
		return 0, 0, 0, err
	}
	last, err := mark()
	wall, cpu = first.until(last)
	return float64(arrived), wall, cpu, err
}

// sleep lets the others work.
func (j *job) sleep(d time.Duration, failed <-chan error) error {
	select {
	case err := <-failed:
		return err
	case <-j.ctx.Done():
		return j.ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// bulk is bytes in one direction.
func bulk(j *job) (figures, error) {
	in := make([]byte, 64<<10)
	n, wall, cpu, err := j.flow(j.block, func(c conn) (int, error) { return c.Read(in) })
	return figures{"rate": n * 8 / wall / 1e9, "cpu": cpu / (n / 1e9)}, err
}

// messages is small messages in one direction, each written by itself. Where there are none, writes.
func messages(j *job) (figures, error) {
	in := make([]byte, 64<<10)
	rest := 0
	n, wall, cpu, err := j.flow(small, func(c conn) (int, error) {
		if m, ok := c.(messenger); ok {
			n, err := m.readMessage(in)
			if err == nil && n != small {
				err = fmt.Errorf("a message of %d bytes", n)
			}
			if err != nil {
				return 0, err
			}
			return 1, nil
		}
		n, err := c.Read(in)
		rest += n
		whole := rest / small
		rest %= small
		return whole, err
	})
	return figures{"rate": n / wall / 1e3, "cpu": cpu / n * 1e6}, err
}

// pingPong is one small message there and back at a time.
func pingPong(j *job) (figures, error) {
	srv, err := j.stack.listen(j.place, 1)
	if err != nil {
		return nil, err
	}
	defer srv.Close()
	near, far, err := connect(j.ctx, srv)
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		p := make([]byte, small)
		for {
			if _, err := io.ReadFull(far, p); err != nil {
				return
			}
			if _, err := far.Write(p); err != nil {
				return
			}
		}
	})
	defer wg.Wait()
	defer far.abort()
	defer near.abort()
	defer context.AfterFunc(j.ctx, near.abort)()
	p := make([]byte, small)
	turns := func(d time.Duration, took []time.Duration) ([]time.Duration, error) {
		start := time.Now()
		for at, first := start, true; first || at.Sub(start) < d; at, first = time.Now(), false {
			if _, err := near.Write(p); err != nil {
				return nil, err
			}
			if _, err := io.ReadFull(near, p); err != nil {
				return nil, err
			}
			if took != nil {
				took = append(took, time.Since(at))
			}
		}
		return took, nil
	}
	if _, err := turns(j.warm, nil); err != nil {
		return nil, err
	}
	took := make([]time.Duration, 0, int(j.lasts/time.Microsecond)/4+1)
	first, err := mark()
	if err != nil {
		return nil, err
	}
	if took, err = turns(j.lasts, took); err != nil {
		return nil, err
	}
	last, err := mark()
	_, cpu := first.until(last)
	return figures{"p50": micros(quantile(took, 0.5)), "p99": micros(quantile(took, 0.99)), "cpu": cpu / float64(len(took)) * 1e6}, err
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }

// quantile sorts.
func quantile(all []time.Duration, q float64) time.Duration {
	slices.Sort(all)
	return all[min(int(q*float64(len(all))), len(all)-1)]
}

// handshakes is connections one after the other, each closed in order before the next is dialled. Nothing is sent over them.
func handshakes(j *job) (figures, error) {
	srv, err := j.stack.listen(j.place, 1)
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer srv.Close()
	ctx, cancel := context.WithCancel(j.ctx)
	defer cancel()
	wg.Go(func() {
		for ctx.Err() == nil {
			c, err := srv.accept(ctx)
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					return
				}
				continue // of one connection only
			}
			wg.Go(func() {
				defer context.AfterFunc(ctx, c.abort)()
				var p [1]byte
				c.Read(p[:])
				c.Close()
			})
		}
	})
	took := make([]time.Duration, 0, 1<<16)
	turns := func(d time.Duration) error {
		took = took[:0]
		for start := time.Now(); len(took) == 0 || time.Since(start) < d; {
			at := time.Now()
			c, err := srv.dial(ctx)
			if err != nil {
				return err
			}
			took = append(took, time.Since(at))
			if err := c.Close(); err != nil {
				return fmt.Errorf("closing: %w", err)
			}
		}
		return nil
	}
	if err := turns(j.warm); err != nil {
		return nil, err
	}
	first, err := mark()
	if err == nil {
		err = turns(j.lasts)
	}
	if err != nil {
		return nil, err
	}
	last, err := mark()
	wall, cpu := first.until(last)
	n := float64(len(took))
	return figures{"rate": n / wall, "p50": micros(quantile(took, 0.5)), "cpu": cpu / n * 1e6}, err
}

// idle is what connections hold on which nothing happens, before and after they have carried something. The first ones are not
// counted: what is there once for all is not theirs.
func idle(j *job) (figures, error) {
	srv, err := j.stack.listen(j.place, 2)
	if err != nil {
		return nil, err
	}
	defer srv.Close()
	held := make([]conn, 0, 2*j.ends+2*idleBefore)
	defer func() {
		for _, c := range held {
			c.abort()
		}
	}()
	add := func(n int) error {
		for range n {
			a, b, err := connect(j.ctx, srv)
			if err != nil {
				return err
			}
			held = append(held, a, b)
		}
		return j.settle(held)
	}
	use := func(held []conn) error {
		for pair := range slices.Chunk(held, 2) {
			if err := exchange(pair[0], pair[1]); err != nil {
				return err
			}
		}
		return j.settle(held)
	}
	if err := errors.Join(add(idleBefore), use(held)); err != nil {
		return nil, err
	}
	before, goroutines := inUse(), runtime.NumGoroutine()
	if err := add(j.ends); err != nil {
		return nil, err
	}
	fresh := inUse()
	if err := use(held[2*idleBefore:]); err != nil {
		return nil, err
	}
	used := inUse()
	n := float64(2 * j.ends)
	f := figures{"memory": (fresh - before) / n / 1024, "used": (used - before) / n / 1024,
		"goroutines": float64(runtime.NumGoroutine()-goroutines) / n}
	runtime.KeepAlive(held)
	return f, nil
}

// idleBefore is how many pairs are made before those that count.
const idleBefore = 4

// exchange passes a message each way.
func exchange(a, b conn) error {
	p := make([]byte, 1024)
	for _, way := range [][2]conn{{a, b}, {b, a}} {
		if _, err := way[0].Write(p); err != nil {
			return err
		}
		if _, err := io.ReadFull(way[1], p); err != nil {
			return err
		}
	}
	return nil
}

// settle waits until nothing is left to do: until every path of ours is known to work, and acknowledgements are through.
func (j *job) settle(held []conn) error {
	for _, c := range held {
		m, ok := c.(multihomeConn)
		for ok && m.active() < 4 {
			if err := j.sleep(10*time.Millisecond, nil); err != nil {
				return fmt.Errorf("%d of 4 paths active: %w", m.active(), err)
			}
		}
	}
	return j.sleep(300*time.Millisecond, nil)
}

// inUse is the memory in use on the heap and as stacks, in bytes.
func inUse() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools held lives through the first
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}
