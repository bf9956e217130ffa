package transport_test

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"github.com/go-multihome/multihome/transport"
)

// pair returns the two ends of an association over the loopback, and its listener.
func pair(t testing.TB, local string, cfg *transport.Config) (dialled, accepted *transport.Association, l *transport.Listener) {
	t.Helper()
	l, err := transport.Listen(local, cfg)
	require.NoError(t, err)
	accepted, dialled = connect(t, l, cfg)
	return dialled, accepted, l
}

func connect(t testing.TB, l *transport.Listener, cfg *transport.Config) (accepted, dialled *transport.Association) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		var err error
		accepted, err = l.AcceptAssociation(context.Background())
		done <- err
	}()
	dialled, err := transport.Dial(context.Background(), l.Addr().String(), cfg)
	require.NoError(t, err)
	require.NoError(t, <-done)
	return accepted, dialled
}

// closeAll closes associations side by side: one end may wait for the other to take what it has sent.
func closeAll(all ...*transport.Association) {
	var wg sync.WaitGroup
	for _, a := range all {
		wg.Go(func() { a.Close() })
	}
	wg.Wait()
}

func TestConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		a, b, l := pair(t, "127.0.0.1:0", nil)
		return a, b, func() { closeAll(a, b); l.Close() }, nil
	})
}
