package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"github.com/go-multihome/multihome/transport"
)

// server is what the sessions of a server share.
type server struct {
	*perf
	door     door
	sessions atomic.Int64
	memory   atomic.Int64 // of buffers in use
	all      sync.WaitGroup

	mu   sync.Mutex
	more int   // sessions that were part of a crowd and have not been told about
	up   int64 // bytes of these
	down int64
}

// serve does what clients order until ctx ends.
func (p *perf) serve(ctx context.Context) error {
	s := &server{perf: p, door: door{open: map[string]*tcpLink{}}}
	var err error
	if p.tcp {
		err = s.serveTCP(ctx)
	} else {
		err = s.serveSCTP(ctx)
	}
	s.all.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// ready tells where the server can be found.
func (s *server) ready(a net.Addr) {
	s.note("listening on %v", a)
	if s.listening != nil {
		s.listening(a.String())
	}
}

func (s *server) serveSCTP(ctx context.Context) error {
	conf, err := s.tune.config()
	if err != nil {
		return err
	}
	conf.MaxAssociations = s.maxSessions + 100 // these are told why they may not stay
	l, err := transport.Listen(s.address, conf)
	if err != nil {
		return err
	}
	defer l.Close()
	s.ready(l.Addr())
	for {
		a, err := l.AcceptAssociation(ctx)
		if err != nil {
			return err
		}
		s.all.Go(func() { s.attend(ctx, &sctpLink{a: a}, nil) })
	}
}

func (s *server) serveTCP(ctx context.Context) error {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(ctx, "tcp", s.address)
	if err != nil {
		return err
	}
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	s.ready(l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		s.all.Go(func() { s.arrival(ctx, c) })
	}
}

// arrival finds out whether a TCP connection is a new session or a stream of one.
func (s *server) arrival(ctx context.Context, c net.Conn) {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	l := &tcpLink{ctl: c, door: &s.door}
	ctl := newControl(c, s.timeout)
	w, err := ctl.hear(s.timeout)
	if err == nil && w.Do == "attach" {
		if !s.door.attach(w.Token, &behind{c, ctl.in}) {
			s.note("%v: a stream of no session", c.RemoteAddr())
			c.Close()
		}
		return
	}
	s.attend(ctx, l, &opening{ctl, w, err})
}

// opening is a conversation of which the first word has been heard.
type opening struct {
	ctl *control
	w   word
	err error
}

// attend carries out what one client wants.
func (s *server) attend(ctx context.Context, l link, o *opening) {
	whole := ctx
	defer context.AfterFunc(whole, func() { l.abort("perf: the server was stopped") })()
	peer := l.control().RemoteAddr()
	x := newSession(l, s.timeout)
	if o == nil {
		w, err := x.ctl.hear(s.timeout)
		o = &opening{x.ctl, w, err}
	} else {
		x.ctl = o.ctl
	}
	free, err := s.admit(o)
	defer s.leave(free)
	if err == nil {
		err = x.obey(ctx, *o.w.Order)
	}
	if err != nil {
		s.refuse(x, err)
		s.note("%v: %v", peer, err)
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.maxTime+s.timeout,
		fmt.Errorf("more than the %v that a measurement may take here", s.maxTime))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		if whole.Err() == nil {
			l.abort("perf: the measurement takes too long")
		}
	})()
	if err := x.run(ctx, nil); err != nil {
		x.drop("perf: the measurement has failed")
		s.note("%v: %v", peer, err)
		return
	}
	if err := x.end(s.maxTime + s.timeout); err != nil {
		s.note("%v: %v", peer, err)
	}
	s.done(x, peer)
}

// done tells of a session that has ended well, one by one as long as there are few.
func (s *server) done(x *session, peer net.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, out, left := x.flow.in.bytes.Load(), x.flow.out.bytes.Load(), s.sessions.Load()-1
	switch {
	case left >= shown || s.more > 0:
		s.more++
		s.up += in
		s.down += out
	default:
		s.note("%v: %s %s, %s: received %s, sent %s", peer, x.order.Mode, x.order.Direction, number(x.order.Streams, "stream"),
			bytesText(float64(in)), bytesText(float64(out)))
	}
}

// leave gives back what was taken for a session. The last of many tells of those that were not told of one by one, however it
// ended itself.
func (s *server) leave(free func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	free()
	if s.more > 0 && s.sessions.Load() == 0 {
		s.note("%s more: received %s, sent %s", number(s.more, "association"), bytesText(float64(s.up)), bytesText(float64(s.down)))
		s.more, s.up, s.down = 0, 0, 0
	}
}

// admit looks at the first word of a client. free gives back what was taken for it.
func (s *server) admit(o *opening) (free func(), err error) {
	n := s.sessions.Add(1)
	free = func() { s.sessions.Add(-1) }
	switch {
	case errors.Is(o.err, os.ErrDeadlineExceeded):
		return free, fmt.Errorf("no order within %v", s.timeout)
	case o.err == io.EOF:
		return free, errors.New("has left without an order")
	case o.err != nil:
		return free, o.err
	case o.w.Do != "order" || o.w.Order == nil:
		return free, fmt.Errorf("%w: %q where an order is due", errForeign, cut(o.w.Do))
	case n > int64(s.maxSessions):
		return free, fmt.Errorf("no more than %d associations at a time (-max-associations of the server)", s.maxSessions)
	}
	order := o.w.Order
	if err := order.check(); err != nil {
		return free, err
	}
	if order.time() > s.maxTime {
		return free, fmt.Errorf("no more than %v for a measurement (-max-time of the server)", s.maxTime)
	}
	need := order.memory()
	if s.memory.Add(need) > int64(s.maxMemory) {
		err = fmt.Errorf("no more than %s of buffers for all (-max-memory of the server)", bytesText(float64(s.maxMemory)))
	}
	return func() {
		s.memory.Add(-need)
		s.sessions.Add(-1)
	}, err
}

// refuse tells the client why, if it is one of ours and still there, and ends the session.
func (s *server) refuse(x *session, err error) {
	if x.ctl.say(word{Do: "error", Error: err.Error()}) != nil {
		x.drop("perf: " + err.Error())
		return
	}
	x.end(0)
}
