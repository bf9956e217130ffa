package main

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-multihome/multihome/transport"
)

// meter counts one direction of one association at one end. The line of memory behind it keeps directions apart, which
// other goroutines write.
type meter struct {
	bytes    atomic.Int64
	messages atomic.Int64
	want     atomic.Int64 // bytes that the sender has said; -1: it has not
	all      chan struct{}
	once     sync.Once
	at       time.Time // when all had come
	_        [64]byte
}

func (m *meter) init() {
	m.want.Store(-1)
	m.all = make(chan struct{})
}

// add counts bytes and messages that arrived.
func (m *meter) add(bytes, messages int64) {
	m.messages.Add(messages) // first, so that they are complete when the last byte is counted
	m.look(m.bytes.Add(bytes))
}

// expect says how many bytes there are in all.
func (m *meter) expect(n int64) {
	m.want.Store(n)
	m.look(m.bytes.Load())
}

func (m *meter) look(n int64) {
	if n == m.want.Load() {
		m.once.Do(func() {
			m.at = time.Now()
			close(m.all)
		})
	}
}

func (m *meter) count() *count { return &count{m.bytes.Load(), m.messages.Load()} }

// flow is the data of one association at one end: what it sends over its streams and what it receives.
type flow struct {
	order   *order
	conns   []net.Conn
	payload []byte // sent again and again by all
	sends   bool   // else this side only receives, or only echoes
	reads   bool
	echoes  bool
	latency *histogram // of requests

	out, in meter
	left    atomic.Int64 // bytes that may still be sent, if the order has a number of them
	stopped atomic.Bool
	begin   time.Time
	senders sync.WaitGroup
	readers sync.WaitGroup
	failed  atomic.Pointer[error]
}

// start lets the data run.
func (f *flow) start() {
	f.out.init()
	f.in.init()
	f.left.Store(f.order.Bytes)
	f.begin = time.Now()
	if !f.reads {
		f.in.expect(0)
	}
	for _, c := range f.conns {
		switch {
		case f.order.Mode == requests && f.echoes:
			f.readers.Go(func() { f.echo(c) })
			continue
		case f.order.Mode == requests:
			f.senders.Go(func() { f.ask(c) })
			continue
		}
		if f.reads {
			f.readers.Go(func() { f.receive(c) })
		}
		if f.sends {
			f.senders.Go(func() { f.send(c) })
		}
	}
}

// stop ends sending soon. Writers that wait for room give up: what they have queued is counted and sent.
func (f *flow) stop() {
	if f.stopped.Swap(true) || f.order.Mode == requests {
		return // a request that is under way is answered
	}
	for _, c := range f.conns {
		c.SetWriteDeadline(time.Now())
	}
}

// fail notes the first error that is not part of ending.
func (f *flow) fail(err error) {
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		f.failed.CompareAndSwap(nil, &err)
	}
}

// err returns what fail has noted.
func (f *flow) err() error {
	if err := f.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// next returns how many bytes the next write may have, 0 at the end.
func (f *flow) next() int64 {
	n := f.order.Size
	if f.stopped.Load() {
		return 0
	}
	if f.order.Bytes > 0 {
		n = min(n, f.left.Add(-n)+n)
	}
	return max(0, n)
}

// send writes to one stream until the end.
func (f *flow) send(c net.Conn) {
	write := c.Write
	if f.order.Mode == messages {
		write = whole(c)
	}
	for n := f.next(); n > 0; n = f.next() {
		k, err := write(f.payload[:n])
		f.out.bytes.Add(int64(k))
		f.out.messages.Add((int64(k) + f.order.Size - 1) / f.order.Size)
		if err != nil {
			if !f.stopped.Load() {
				f.fail(err)
			}
			return
		}
	}
}

// whole returns what writes a message with its bounds where there are such, and bytes else.
func whole(c net.Conn) func([]byte) (int, error) {
	s, ok := c.(*transport.Stream)
	if !ok {
		return c.Write
	}
	return func(b []byte) (int, error) {
		if err := s.WriteMessage(b, nil); err != nil {
			return 0, err
		}
		return len(b), nil
	}
}

// receive reads one stream until the association ends.
func (f *flow) receive(c net.Conn) {
	buf := make([]byte, f.order.buffer())
	s, bounds := c.(*transport.Stream)
	if f.order.Mode == messages && bounds {
		for {
			n, info, err := s.ReadMessage(buf)
			if err != nil {
				f.fail(err)
				return
			}
			whole := int64(1)
			if info.More {
				whole = 0
			}
			f.in.add(int64(n), whole)
		}
	}
	whole, part := int64(0), int64(0) // a byte stream has messages if one counts their bytes
	for {
		n, err := c.Read(buf)
		part += int64(n)
		whole, part = part/f.order.Size, part%f.order.Size
		f.in.add(int64(n), whole)
		if err != nil {
			f.fail(err)
			return
		}
	}
}

// ask sends requests over one stream, each when the answer to the one before is there, and takes the time.
func (f *flow) ask(c net.Conn) {
	answer := make([]byte, f.order.Size)
	for n := f.next(); n > 0; n = f.next() {
		begin := time.Now()
		if _, err := c.Write(f.payload[:n]); err != nil {
			f.fail(err)
			return
		}
		f.out.messages.Add(1)
		f.out.bytes.Add(n)
		if _, err := io.ReadFull(c, answer[:n]); err != nil {
			f.fail(err)
			return
		}
		f.latency.add(time.Since(begin))
		f.in.add(n, 1)
	}
}

// echo answers the requests of one stream.
func (f *flow) echo(c net.Conn) {
	buf := make([]byte, f.order.Size)
	for {
		if _, err := io.ReadFull(c, buf); err != nil {
			f.fail(err)
			return
		}
		if _, err := c.Write(buf); err != nil {
			f.fail(err)
			return
		}
		f.out.messages.Add(1)
		f.out.bytes.Add(int64(len(buf)))
		f.in.add(int64(len(buf)), 1)
	}
}
