package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/go-multihome/multihome/transport"
)

// policed is a stream whose paths can be chosen.
type policed interface{ SetPolicy(transport.Policy) }

// sctpLink is an association. Its stream 0 carries the control messages, streams 1 to n the data, the same at both ends, so
// that none needs a first message to be known.
type sctpLink struct {
	a    *transport.Association
	once sync.Once
	err  error
}

func (l *sctpLink) control() net.Conn { return l.a }

// prepare opens the streams before the client can send on them.
func (l *sctpLink) prepare(n int) (string, error) {
	_, err := l.streams(context.Background(), n, "")
	return "", err
}

func (l *sctpLink) streams(_ context.Context, n int, _ string) ([]net.Conn, error) {
	if out, in := l.a.Streams(); out <= n || in <= n {
		return nil, fmt.Errorf("both sides have agreed on %d streams out and %d in: not enough for %d", out, in, n)
	}
	conns := make([]net.Conn, n)
	for i := range conns {
		s, err := l.a.Stream(uint16(i + 1))
		if err != nil {
			return nil, err
		}
		conns[i] = s
	}
	return conns, nil
}

func (l *sctpLink) close() error {
	l.once.Do(func() { l.err = l.a.Close() })
	return l.err
}

func (l *sctpLink) abort(reason string) {
	l.once.Do(func() { l.err = l.a.Abort(reason) })
}

// tcpLink is a connection for control and one for each stream.
type tcpLink struct {
	ctl    net.Conn
	dial   func() (net.Conn, error) // at the client
	door   *door                    // at the server, as the rest
	token  string
	arrive chan net.Conn // streams whose client has shown the token

	mu     sync.Mutex
	conns  []net.Conn
	closed bool
}

// door is where the streams of TCP find their sessions.
type door struct {
	mu   sync.Mutex
	open map[string]*tcpLink
}

func (l *tcpLink) control() net.Conn { return l.ctl }

func (l *tcpLink) prepare(n int) (string, error) {
	l.token, l.arrive = rand.Text(), make(chan net.Conn, n)
	l.door.mu.Lock()
	defer l.door.mu.Unlock()
	l.door.open[l.token] = l
	return l.token, nil
}

// attach hands a connection over to the session with that token.
func (d *door) attach(token string, c net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.open[token]
	if l == nil {
		return false
	}
	select {
	case l.arrive <- c:
		return true
	default:
		return false
	}
}

func (l *tcpLink) streams(ctx context.Context, n int, token string) ([]net.Conn, error) {
	for range n {
		var c net.Conn
		var err error
		if l.dial == nil {
			select {
			case c = <-l.arrive:
			case <-ctx.Done():
				return nil, errors.New("the client has not opened all its connections")
			}
		} else if c, err = l.dial(); err != nil {
			return nil, err
		} else if err = newControl(c, 0).say(word{Do: "attach", Token: token}); err != nil {
			c.Close()
			return nil, err
		}
		if !l.keep(c) {
			return nil, net.ErrClosed
		}
	}
	return l.conns, nil
}

// keep takes a connection to be closed with the others.
func (l *tcpLink) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		c.Close()
		return false
	}
	l.conns = append(l.conns, c)
	return true
}

func (l *tcpLink) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	if l.door != nil {
		l.door.mu.Lock()
		delete(l.door.open, l.token)
		l.door.mu.Unlock()
		for len(l.arrive) > 0 {
			(<-l.arrive).Close()
		}
	}
	for _, c := range l.conns {
		c.Close()
	}
	return l.ctl.Close()
}

func (l *tcpLink) abort(string) { l.close() }

// behind is a connection of which the beginning was read with more than was wanted.
type behind struct {
	net.Conn
	in *bufio.Reader
}

func (b *behind) Read(p []byte) (int, error) {
	if b.in.Buffered() > 0 {
		return b.in.Read(p)
	}
	return b.Conn.Read(p)
}
