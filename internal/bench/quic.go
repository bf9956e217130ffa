package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// quicServer holds one socket for each end, which all connections of that end share.
type quicServer struct {
	near, far *quic.Transport
	listener  *quic.Listener
	tls       *tls.Config
}

const quicProtocol = "bench"

func listenQUIC(p *place, _ int) (server, error) {
	cert, err := selfSigned()
	if err != nil {
		return nil, err
	}
	s := &quicServer{tls: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{quicProtocol}}}
	err = p.atServer(func() error {
		u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: p.server[0].AsSlice()})
		if err != nil {
			return err
		}
		s.far = &quic.Transport{Conn: u}
		s.listener, err = s.far.Listen(&tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{quicProtocol}}, nil)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	err = p.atClient(func() error {
		u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: p.client[0].AsSlice()})
		if err == nil {
			s.near = &quic.Transport{Conn: u}
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func (s *quicServer) Close() error {
	var errs []error
	for _, t := range []*quic.Transport{s.near, s.far} {
		if t != nil {
			errs = append(errs, t.Close(), t.Conn.Close())
		}
	}
	return errors.Join(errs...)
}

func (s *quicServer) dial(ctx context.Context) (conn, error) {
	c, err := s.near.Dial(ctx, s.listener.Addr(), s.tls, nil)
	if err != nil {
		return nil, err
	}
	return &quicConn{c: c, dialled: true}, nil
}

func (s *quicServer) accept(ctx context.Context) (conn, error) {
	c, err := s.listener.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return &quicConn{c: c}, nil
}

// quicConn is a connection and one stream of it.
type quicConn struct {
	c       *quic.Conn
	dialled bool
	once    sync.Once
	s       *quic.Stream
	err     error
}

func (c *quicConn) take() error {
	c.once.Do(func() {
		if c.dialled {
			c.s, c.err = c.c.OpenStreamSync(c.c.Context())
		} else {
			c.s, c.err = c.c.AcceptStream(c.c.Context())
		}
	})
	return c.err
}

func (c *quicConn) Write(p []byte) (int, error) {
	if err := c.take(); err != nil {
		return 0, err
	}
	return c.s.Write(p)
}

func (c *quicConn) Read(p []byte) (int, error) {
	if err := c.take(); err != nil {
		return 0, err
	}
	return c.s.Read(p)
}

func (c *quicConn) Close() error { return c.c.CloseWithError(0, "") }
func (c *quicConn) abort()       { c.Close() }
