package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// selfSigned makes a certificate for a name, and the pool of roots that believes in it.
func selfSigned(name string) (tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots, nil
}

// road is one of the client's sockets, between the library and the system. It can be cut: then packets vanish in both
// directions, and nobody is told. It also looks into every packet, as somebody on the way could.
type road struct {
	net.PacketConn
	dead  atomic.Bool
	lost  atomic.Int64 // packets
	shown atomic.Bool  // one of them held the secret
}

func (r *road) WriteTo(p []byte, to net.Addr) (int, error) {
	if r.stops(p) {
		return len(p), nil
	}
	return r.PacketConn.WriteTo(p, to)
}

func (r *road) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := r.PacketConn.ReadFrom(p)
		if err != nil || !r.stops(p[:n]) {
			return n, from, err
		}
	}
}

func (r *road) stops(p []byte) bool {
	if bytes.Contains(p, []byte(secret)) {
		r.shown.Store(true)
	}
	if r.dead.Load() {
		r.lost.Add(1)
		return true
	}
	return false
}

type roads []*road

func (rs roads) conns() (out []net.PacketConn) {
	for _, r := range rs {
		out = append(out, r)
	}
	return out
}

// cut kills the road from a local address.
func (rs roads) cut(local string) *road {
	r := rs[0]
	for _, s := range rs {
		if s.LocalAddr().String() == local {
			r = s
		}
	}
	r.dead.Store(true)
	return r
}

func (rs roads) leaked() bool {
	for _, r := range rs {
		if r.shown.Load() {
			return true
		}
	}
	return false
}

// build opens the client's two sockets, with one port number, and returns the pool of addresses for the server.
func build() (pool string, rs roads, err error) {
	for _, second := range []string{"127.0.0.2", "::1"} {
		for range 20 { // the port that is free at one address may be taken at the other
			var a, b net.PacketConn
			if a, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
				continue
			}
			_, port, _ := net.SplitHostPort(a.LocalAddr().String())
			if b, err = net.ListenPacket("udp", net.JoinHostPort(second, port)); err != nil {
				a.Close()
				continue
			}
			pool := []string{"127.0.0.1:0", net.JoinHostPort(second, "0")}
			return strings.Join(pool, ","), roads{{PacketConn: a}, {PacketConn: b}}, nil
		}
	}
	return "", nil, fmt.Errorf("this machine has neither 127.0.0.2 nor ::1 on its loopback: %w", err)
}
