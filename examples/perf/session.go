package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// link is what a session runs over: an association, or a handful of TCP connections.
type link interface {
	control() net.Conn
	// prepare makes ready, at the server, for n streams and returns a token if the client must show one.
	prepare(n int) (token string, err error)
	// streams opens or awaits n streams. The client has the token of the server.
	streams(ctx context.Context, n int, token string) ([]net.Conn, error)
	close() error
	abort(reason string)
}

// session is one measurement over one association, at one end.
type session struct {
	link   link
	ctl    *control
	order  order
	flow   flow
	wait   time.Duration
	first  word  // the peer's "ready"; at the client
	sent   count // what the peer has sent
	result word  // what the peer has received
	took   time.Duration
}

func newSession(l link, wait time.Duration) *session {
	return &session{link: l, ctl: newControl(l.control(), wait), wait: wait}
}

// shared is the memory that every sender sends.
var shared = func() []byte {
	b := make([]byte, maxSize)
	for i := range b {
		b[i] = byte(i ^ i>>8)
	}
	return b
}()

// propose gives the order to the server and opens the streams.
func (s *session) propose(ctx context.Context, o order, h *histogram) (err error) {
	s.order = o
	if err = s.ctl.say(word{Do: "order", Order: &o}); err != nil {
		return err
	}
	if s.first, err = s.ctl.expect("ready"); err != nil {
		if errors.Is(err, errForeign) {
			return fmt.Errorf("no perf server: %w", err)
		}
		return err
	}
	conns, err := s.link.streams(ctx, o.Streams, s.first.Token)
	if err != nil {
		return err
	}
	s.flow.order, s.flow.conns, s.flow.payload, s.flow.latency = &s.order, conns, shared, h
	s.flow.sends, s.flow.reads = o.up(), o.down() && o.Mode != requests
	return policy(conns, o.Policy)
}

// obey is the server's side of propose, for an order that it has looked at.
func (s *session) obey(ctx context.Context, o order) error {
	s.order = o
	token, err := s.link.prepare(o.Streams)
	if err != nil {
		return err
	}
	if err = s.ctl.say(word{Do: "ready", Token: token, CPU: processorTime().Seconds()}); err != nil {
		return err
	}
	// A client with many associations says "start" when the last of them is ready.
	if w, err := s.ctl.hear(startPatience); err != nil {
		return err
	} else if w.Do != "start" {
		return fmt.Errorf("%w: %q where \"start\" is due", errForeign, cut(w.Do))
	}
	ctx, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	conns, err := s.link.streams(ctx, o.Streams, "")
	if err != nil {
		return err
	}
	s.flow.order, s.flow.conns, s.flow.payload = &s.order, conns, shared
	s.flow.sends, s.flow.reads = o.down() && o.Mode != requests, o.up()
	s.flow.echoes = o.Mode == requests
	return policy(conns, o.Policy)
}

// stillness is for how long at least nothing may arrive of what is under way at the end: longer than a few retransmissions of
// the last packet take.
const stillness = 10 * time.Second

// startPatience is how long a server waits for "start".
const startPatience = 5 * time.Minute

// policy sets what paths the streams take.
func policy(conns []net.Conn, name string) error {
	if name == "" {
		return nil
	}
	for _, c := range conns {
		s, ok := c.(policed)
		if !ok {
			return errors.New("TCP has no policies")
		}
		s.SetPolicy(policies[name])
	}
	return nil
}

// run measures until both ends have what the other sent. stop ends it early. ctx only tells why the link was aborted.
func (s *session) run(ctx context.Context, stop <-chan struct{}) error {
	f := &s.flow
	f.start()
	defer f.stop()
	if s.order.Seconds > 0 {
		defer time.AfterFunc(s.order.time(), f.stop).Stop()
	}
	heard, ours, over := make(chan error, 1), make(chan error, 1), make(chan struct{})
	defer close(over)
	go func() { heard <- s.listen() }()
	go func() { ours <- s.finish(over) }()
	still := max(s.wait, stillness)
	idle := time.NewTicker(still)
	defer idle.Stop()
	sum := int64(-1)
	for left := 2; left > 0; {
		select {
		case err := <-heard:
			if err != nil {
				return s.better(ctx, err)
			}
			heard, left = nil, left-1
		case err := <-ours:
			if err != nil {
				return s.better(ctx, err)
			}
			ours, left = nil, left-1
		case <-stop:
			stop = nil
			f.stop()
			if err := s.ctl.say(word{Do: "stop"}); err != nil {
				return s.better(ctx, err)
			}
		case <-idle.C:
			// While it runs, the library judges what is too long. What is under way at the end must get on.
			now := f.in.bytes.Load() + f.out.bytes.Load()
			if now == sum && f.stopped.Load() {
				return fmt.Errorf("nothing has arrived for %v after the end of the measurement", still)
			}
			sum = now
		}
	}
	return f.err()
}

// better returns the reason behind err, if there is one: the end of the association ends everything else.
func (s *session) better(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if ferr := s.flow.err(); ferr != nil {
		return ferr
	}
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return errors.New("the other side has hung up in the middle of the measurement")
	}
	return err
}

// finish waits until everything is sent and everything of the peer has come, and says so.
func (s *session) finish(over <-chan struct{}) error {
	f := &s.flow
	f.senders.Wait()
	end := time.Now()
	if f.sends {
		if err := s.ctl.say(word{Do: "sent", Count: f.out.count()}); err != nil {
			return err
		}
	}
	select {
	case <-f.in.all:
	case <-over:
		return errInterrupted // run has returned already
	}
	if f.reads {
		end = f.in.at
	}
	s.took = end.Sub(f.begin)
	return s.ctl.say(word{Do: "result", Count: f.in.count(), Seconds: s.took.Seconds(), CPU: processorTime().Seconds()})
}

// listen hears what the peer says up to its result.
func (s *session) listen() error {
	for {
		w, err := s.ctl.hear(0)
		if err != nil {
			return err
		}
		switch {
		case w.Do == "sent" && w.Count != nil && s.flow.reads:
			s.sent = *w.Count
			s.flow.in.expect(w.Count.Bytes)
		case w.Do == "stop":
			s.flow.stop()
		case w.Do == "result" && w.Count != nil:
			s.result = w
			return nil
		default:
			return fmt.Errorf("%w: an unexpected %q", errForeign, cut(w.Do))
		}
	}
}

// end takes leave: the client hangs up, and the server waits for it. All goroutines of the session have ended afterwards.
func (s *session) end(patience time.Duration) (err error) {
	if patience > 0 {
		if w, herr := s.ctl.hear(patience); herr == nil {
			err = fmt.Errorf("%w: %q behind the result", errForeign, cut(w.Do))
		}
	}
	return errors.Join(err, s.leave(s.link.close))
}

// drop ends a session that has failed.
func (s *session) drop(reason string) {
	s.leave(func() error {
		s.link.abort(reason)
		return nil
	})
}

func (s *session) leave(how func() error) error {
	err := how()
	s.flow.senders.Wait()
	s.flow.readers.Wait()
	return err
}
