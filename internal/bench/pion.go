package main

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/pion/logging"
	"github.com/pion/sctp"
)

// pionServer has no socket of its own. The library runs an association over a connection that others make, so each gets a
// pair of UDP sockets that are connected with each other.
type pionServer struct {
	at     *place
	log    logging.LoggerFactory
	called chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func listenPion(p *place, _ int) (server, error) {
	return &pionServer{at: p, log: logging.NewDefaultLoggerFactory(), called: make(chan net.Conn), closed: make(chan struct{})}, nil
}

func (s *pionServer) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *pionServer) dial(ctx context.Context) (conn, error) {
	x, y, err := s.sockets()
	if err != nil {
		return nil, err
	}
	select {
	case s.called <- y:
	case <-s.closed:
		return nil, errors.Join(net.ErrClosed, x.Close(), y.Close())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), x.Close(), y.Close())
	}
	a, err := sctp.ClientContext(ctx, sctp.WithNetConn(x), sctp.WithLoggerFactory(s.log))
	if err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return newPionConn(a, x, true), nil
}

func (s *pionServer) accept(ctx context.Context) (conn, error) {
	select {
	case y := <-s.called:
		a, err := sctp.ServerWithOptions(sctp.WithNetConn(y), sctp.WithLoggerFactory(s.log))
		if err != nil {
			return nil, errors.Join(err, y.Close())
		}
		return newPionConn(a, y, false), nil
	case <-s.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// sockets makes two connected UDP sockets with free ports.
func (s *pionServer) sockets() (x, y net.Conn, err error) {
	at := func(where func(func() error) error, local, remote *net.UDPAddr) (c *net.UDPConn, err error) {
		err = where(func() error {
			if remote == nil {
				c, err = net.ListenUDP("udp4", local)
				return err
			}
			c, err = net.DialUDP("udp4", local, remote)
			return err
		})
		if err == nil {
			err = errors.Join(c.SetReadBuffer(2<<20), c.SetWriteBuffer(2<<20))
		}
		return c, err
	}
	ours, theirs := &net.UDPAddr{IP: s.at.client[0].AsSlice()}, &net.UDPAddr{IP: s.at.server[0].AsSlice()}
	for try := 0; ; try++ {
		// A socket's port is only known once it is bound, and it has to be made again to be connected. The first one is
		// held until the other has a port, so that the two differ.
		p, err := at(s.at.atServer, theirs, nil)
		if err != nil {
			return nil, nil, err
		}
		far := p.LocalAddr().(*net.UDPAddr)
		x, err := at(s.at.atClient, ours, far)
		if err != nil {
			return nil, nil, errors.Join(err, p.Close())
		}
		p.Close()
		y, err := at(s.at.atServer, far, x.LocalAddr().(*net.UDPAddr))
		if err == nil {
			return x, y, nil
		}
		x.Close()
		if try == 3 {
			return nil, nil, err
		}
	}
}

// pionConn is an association and its stream 0.
type pionConn struct {
	*sctp.Stream
	a       *sctp.Association
	sock    net.Conn
	dialled bool
	low     chan struct{}
	gone    chan struct{}
	ended   sync.Once
	taken   sync.Once
	err     error
}

func newPionConn(a *sctp.Association, sock net.Conn, dialled bool) *pionConn {
	return &pionConn{a: a, sock: sock, dialled: dialled, low: make(chan struct{}, 1), gone: make(chan struct{})}
}

// What may be written and not acknowledged: that is what the others' send buffers are about.
const pionHigh, pionLow = 1 << 20, 1 << 19

func (c *pionConn) take() error {
	c.taken.Do(func() { c.err = c.open() })
	return c.err
}

func (c *pionConn) open() (err error) {
	if c.dialled {
		c.Stream, err = c.a.OpenStream(0, sctp.PayloadTypeWebRTCBinary)
	} else {
		c.Stream, err = c.a.AcceptStream()
	}
	if err != nil {
		return err
	}
	c.SetBufferedAmountLowThreshold(pionLow)
	c.OnBufferedAmountLow(func() {
		select {
		case c.low <- struct{}{}:
		default:
		}
	})
	return nil
}

func (c *pionConn) Write(p []byte) (int, error) {
	if err := c.take(); err != nil {
		return 0, err
	}
	for c.BufferedAmount() > pionHigh {
		select {
		case <-c.low:
		case <-c.gone:
			return 0, net.ErrClosed
		}
	}
	return c.Stream.Write(p)
}

func (c *pionConn) Read(p []byte) (int, error) {
	if err := c.take(); err != nil {
		return 0, err
	}
	return c.Stream.Read(p)
}

func (c *pionConn) readMessage(p []byte) (int, error) { return c.Read(p) }

// Close ends in order when this end dialled, and else lets go of what the other end has ended.
func (c *pionConn) Close() (err error) {
	if c.dialled {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err = c.a.Shutdown(ctx)
		cancel()
	}
	c.ended.Do(func() { close(c.gone) })
	c.a.Close()
	c.sock.Close()
	return err
}

func (c *pionConn) abort() {
	c.ended.Do(func() { close(c.gone) })
	c.a.Close()
	c.sock.Close()
}
