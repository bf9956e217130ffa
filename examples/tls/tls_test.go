package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/transport"
)

type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// TestSurvivesACut: one TLS connection, two paths, one of which dies under it.
func TestSurvivesACut(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out output
	err := run(ctx, &out)
	t.Log("\n" + out.String())
	require.NoError(t, err)
	require.Contains(t, out.String(), "TLS 1.3")
	require.Contains(t, out.String(), "data takes")
	require.Contains(t, out.String(), "one TLS connection carried it all")
}

// TestStranger: a server whose certificate we do not trust is not talked to.
func TestStranger(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cert, roots, err := selfSigned("echo.example")
	require.NoError(t, err)
	_, others, err := selfSigned("echo.example")
	require.NoError(t, err)
	l, err := transport.Listen("127.0.0.1:0", nil)
	require.NoError(t, err)
	defer l.Close()
	go serve(l, cert)

	_, _, err = dial(ctx, l.Addr().String(), "echo.example", others, nil)
	var unknown x509.UnknownAuthorityError
	require.ErrorAs(t, err, &unknown)
	_, _, err = dial(ctx, l.Addr().String(), "other.example", roots, nil)
	var name x509.HostnameError
	require.ErrorAs(t, err, &name)

	c, _, err := dial(ctx, l.Addr().String(), "echo.example", roots, nil)
	require.NoError(t, err)
	require.Equal(t, uint16(tls.VersionTLS13), c.ConnectionState().Version)
	require.NoError(t, c.Close())
}
