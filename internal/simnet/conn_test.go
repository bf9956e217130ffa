package simnet_test

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/go-multihome/multihome/transport"
)

// TestConn is the exam every net.Conn must pass, on associations over two simulated paths. The exam starts tests of its own,
// which a bubble of fake time does not allow, so this network runs on the real clock.
func TestConn(t *testing.T) {
	for _, words := range []string{"delay=100us", "delay=200us jitter=300us loss=0.5% reorder=1% duplicate=1%"} {
		t.Run(words, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				s := newSite(t, 1, 2, words)
				a, b, done := s.pair(transport.Config{})
				return a, b, func() { done(); s.lab.Close() }, nil
			})
		})
	}
}
