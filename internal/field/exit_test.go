package field

import (
	"context"
	"crypto/sha256"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/transport"
)

// readAll reads to the peer's orderly end and compares with what a child sends.
func readAll(t *testing.T, x *transport.Association, want int64) {
	t.Helper()
	require.NoError(t, x.SetReadDeadline(time.Now().Add(2*time.Minute)))
	h := sha256.New()
	n, err := io.Copy(h, x)
	require.NoError(t, err)
	require.Equal(t, want, n, "bytes")
	ref := sha256.New()
	_, err = io.Copy(ref, file(1, want))
	require.NoError(t, err)
	require.Equal(t, ref.Sum(nil), h.Sum(nil))
}

// farewell has a child write so many bytes, close and exit, once as the side that dials and once as the one that
// listens, and wants all of them. Both pools are the hosts' addresses without ports; the hosts may be nil.
func farewell(t *testing.T, ours, childs *netlab.Host, local, remote func(port string) string, size int64) {
	in := func(f func() error) error {
		if ours == nil {
			return f()
		}
		return ours.Do(f)
	}
	t.Run("the dialler writes", func(t *testing.T) {
		var l *transport.Listener
		require.NoError(t, in(func() (err error) {
			l, err = transport.Listen(local("0"), own(transport.Config{}))
			return err
		}))
		defer l.Close()
		c := start(t, childs, order{Local: remote(""), Remote: l.Addr().String(), Send: size})
		x := accept(t, l)
		readAll(t, x, size)
		c.wait(t)
	})
	t.Run("the listener writes", func(t *testing.T) {
		c := start(t, childs, order{Local: remote("0"), Send: size})
		to := c.listening(t)
		var x *transport.Association
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, in(func() (err error) {
			x, err = transport.Dial(ctx, to, own(transport.Config{Local: local("")}))
			return err
		}))
		defer x.Abort("the test is over")
		readAll(t, x, size)
		c.wait(t)
	})
}

func TestWriteCloseExit(t *testing.T) {
	needs.Address(t, netip.MustParseAddr("127.0.0.1"))
	loopback := func(port string) string {
		if port == "" {
			return "127.0.0.1"
		}
		return "127.0.0.1:" + port
	}
	for _, tt := range []struct {
		name string
		size int64
	}{{"one byte", 1}, {"one message", 10000}, {"more than every buffer", 8 << 20}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			farewell(t, nil, nil, loopback, loopback, tt.size)
		})
	}
}

// TestWriteCloseExitWithLoss drops one packet of five everywhere, in both directions.
func TestWriteCloseExitWithLoss(t *testing.T) {
	for _, tt := range []struct {
		name string
		size int64
	}{{"one byte", 1}, {"100 kB", 100e3}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := lab(t, netlab.Options{Cross: true})
			for i := range l.Paths() {
				require.NoError(t, l.Filter(i, "numgen random mod 100 < 20 drop"))
			}
			local := func(port string) string { return pool(l.A, l.Paths(), port) }
			remote := func(port string) string { return pool(l.B, l.Paths(), port) }
			farewell(t, l.A, l.B, local, remote, tt.size)
		})
	}
}
