package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync/atomic"
	"time"

	"github.com/go-multihome/multihome/transport"
)

// transfer counts what a client has sent and what came back.
type transfer struct {
	a        *transport.Association
	sent     atomic.Int64
	received atomic.Int64
	progress chan struct{} // something came back
	out      io.Writer
	sum      [2]hash.Hash // of what was sent and of what came back
}

// talk dials, sends the input, prints the echoes, and ends the association once all are there.
func (e *echo) talk(ctx context.Context) error {
	e.conf.Local = e.local
	dctx, cancel := context.WithTimeout(ctx, e.timeout)
	a, err := transport.Dial(dctx, e.dial, &e.conf)
	cancel()
	if err != nil {
		return err
	}
	ctx, cancel = context.WithCancel(ctx)
	defer cancel()
	e.peers.add(a)
	told := make(chan struct{})
	go func() { defer close(told); e.events(a) }()
	go e.tables(ctx)
	e.note("associated: %v  <->  %v", a.LocalAddr(), a.RemoteAddr())
	e.hint()

	t := &transfer{a: a, progress: make(chan struct{}, 1), out: e.out, sum: [2]hash.Hash{sha256.New(), sha256.New()}}
	err = e.exchange(ctx, t)
	if err != nil {
		a.Abort("the client gives up")
	} else {
		err = a.Close()
	}
	<-told
	e.note("%d bytes sent, %d came back", t.sent.Load(), t.received.Load())
	return err
}

// exchange returns nil when the input has ended and all of it came back.
func (e *echo) exchange(ctx context.Context, t *transfer) error {
	input, replies := make(chan error, 1), make(chan error, 1)
	go func() { replies <- t.receive() }()
	go func() {
		if e.raw {
			_, err := io.Copy(t, struct{ io.Reader }{e.in}) // a file's own ways to copy would pass by Write
			input <- err
			return
		}
		input <- e.lines(e.in, t)
	}()
	var late <-chan time.Time // set when the input has ended
	for late == nil || t.received.Load() < t.sent.Load() {
		select {
		case <-ctx.Done():
			return errors.New("interrupted")
		case err := <-replies:
			if err == nil {
				err = errors.New("the server has ended the association")
			}
			return err
		case err := <-input:
			if err != nil && !errors.Is(err, errQuit) {
				return err
			}
			input = nil
			late = time.After(e.wait)
		case <-t.progress:
			if late != nil {
				late = time.After(e.wait)
			}
		case <-late:
			return fmt.Errorf("%d of %d bytes did not come back", t.sent.Load()-t.received.Load(), t.sent.Load())
		}
	}
	if !bytes.Equal(t.sum[0].Sum(nil), t.sum[1].Sum(nil)) {
		return errors.New("what came back is not what was sent")
	}
	return nil
}

// Write sends p.
func (t *transfer) Write(p []byte) (int, error) {
	n, err := t.a.Write(p)
	t.sum[0].Write(p[:n])
	t.sent.Add(int64(n))
	return n, err
}

// receive prints what comes back until the association ends. It returns nil when that was in order.
func (t *transfer) receive() error {
	buf := make([]byte, 64<<10)
	for {
		n, err := t.a.Read(buf)
		if n > 0 {
			if _, err := t.out.Write(buf[:n]); err != nil {
				return fmt.Errorf("standard output: %w", err)
			}
			t.sum[1].Write(buf[:n])
			t.received.Add(int64(n))
			select {
			case t.progress <- struct{}{}:
			default:
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
