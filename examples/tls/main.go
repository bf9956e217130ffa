// Tls runs TLS over an SCTP association and cuts, in the middle, the path that the bytes take:
//
//	go run ./examples/tls
//
// SCTP does not encrypt. What must stay secret or must not be forged goes through crypto/tls, which needs nothing but the
// net.Conn that an association is: see serve and dial below. TLS knows nothing of paths, so one handshake outlives them all.
//
// Server and client run in this process, each with two addresses of the loopback. The exit status is 0 only if everything
// came back through one TLS connection although its path was cut, and no packet showed a byte of it.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/transport"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "tls: FAILED:", err)
		os.Exit(1)
	}
}

// serve echoes on every TLS connection that a listener brings. The listener is ours, the rest is crypto/tls.
func serve(l net.Listener, cert tls.Certificate) {
	l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			io.Copy(c, c)
		}()
	}
}

// dial makes an association and runs the handshake of TLS over it. The name is the one in the certificate: a pool of
// addresses is none that a certificate could be checked against.
func dial(ctx context.Context, pool, name string, roots *x509.CertPool, conf *transport.Config) (*tls.Conn, *transport.Association, error) {
	a, err := transport.Dial(ctx, pool, conf)
	if err != nil {
		return nil, nil, err
	}
	c := tls.Client(a, &tls.Config{ServerName: name, RootCAs: roots})
	if err := c.HandshakeContext(ctx); err != nil {
		a.Abort("no TLS")
		return nil, nil, err
	}
	return c, a, nil
}

// What the client says, again and again. No packet may show it.
const secret = "the combination of the safe is 4711; "

// rounds is how often the client says it and hears it back.
const rounds = 150

func run(ctx context.Context, out io.Writer) error {
	cert, roots, err := selfSigned("echo.example")
	if err != nil {
		return err
	}
	pool, roads, err := build()
	if err != nil {
		return err
	}
	l, err := transport.Listen(pool, nil)
	if err != nil {
		return err
	}
	defer l.Close()
	go serve(l, cert)
	c, a, err := dial(ctx, l.Addr().String(), "echo.example", roots, &transport.Config{PacketConns: roads.conns()})
	if err != nil {
		return err
	}
	defer a.Abort("the demonstration is over")
	state := c.ConnectionState()
	fmt.Fprintf(out, "%s, %s, over %v  <->  %v\n", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite), a.LocalAddr(), a.RemoteAddr())
	start, told := time.Now(), make(chan struct{})
	go func() {
		defer close(told)
		for ev := range a.Events() {
			fmt.Fprintf(out, "%7.3f s  %v\n", ev.Time.Sub(start).Seconds(), ev)
		}
	}()
	if err := twoPaths(ctx, a); err != nil {
		return err
	}

	said := bytes.Repeat([]byte(secret), 400)
	heard := make([]byte, len(said))
	var cut *road
	for i := range rounds {
		if i == rounds/3 {
			cut = roads.cut(current(a))
			fmt.Fprintf(out, "%7.3f s  CUT %v after %d of %d rounds\n", time.Since(start).Seconds(), cut.LocalAddr(), i, rounds)
		}
		if _, err := c.Write(said); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, heard); err != nil {
			return err
		}
		if !bytes.Equal(said, heard) {
			return errors.New("what came back is not what was sent")
		}
	}
	fmt.Fprintf(out, "%7.3f s  all rounds are over\n", time.Since(start).Seconds())
	if err := c.Close(); err != nil {
		return err
	}
	<-told
	switch {
	case cut.lost.Load() == 0:
		return errors.New("the cut path was not in use")
	case roads.leaked():
		return errors.New("a packet showed what was said")
	}
	fmt.Fprintf(out, "one TLS connection carried it all; %d packets were lost at the cut, and none showed a word\n", cut.lost.Load())
	return nil
}

// twoPaths waits until both roads have been confirmed.
func twoPaths(ctx context.Context, a *transport.Association) error {
	for ctx.Err() == nil {
		local := map[string]bool{}
		for _, p := range a.Paths() {
			if p.State == heartbeat.Active {
				local[p.Path.Local.String()] = true
			}
		}
		if len(local) == 2 {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("no two paths were confirmed: %w", ctx.Err())
}

// current returns the local address of the path that data takes.
func current(a *transport.Association) string {
	for _, p := range a.Paths() {
		if p.Current {
			return p.Path.Local.String()
		}
	}
	return ""
}
