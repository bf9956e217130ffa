package driver

import (
	"context"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/internal/udp"
)

// A kernel that refuses runs, as it does here because the program has switched checksums off, costs no association its
// life and no packet its way.
func TestCorridorRefused(t *testing.T) {
	opts := buffers
	opts.Control = func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1) })
	}
	x := newCorridor(t, loopback(opts), small)
	defer x.close()
	x.transfer(t, 4<<20)
	a, b := x.stats()
	require.False(t, a.Segmenting)
	require.Positive(t, a.Refused)
	require.Zero(t, a.Runs+a.SendErrors)
	require.Zero(t, b.Joined+b.Cut)
	require.Zero(t, x.a.Stats().SendErrors)
	require.Zero(t, x.c.Info().Core.PathChanges)
}

// Runs over Ethernet links of a real kernel with a router between them.
func TestCorridorOverEthernet(t *testing.T) {
	needs.Netns(t)
	lab := netlab.ForTest(t, netlab.Options{Paths: 1})
	hosts := []*netlab.Host{lab.A, lab.B}
	x := newCorridor(t, func(host int) (s udp.Socket, err error) {
		h := hosts[host]
		err = h.Do(func() (err error) {
			s, err = udp.Listen(context.Background(), netip.AddrPortFrom(h.Addr4(0), 0), buffers)
			return err
		})
		return s, err
	}, 0)
	defer x.close()
	x.transfer(t, 8<<20)
	a, b := x.stats()
	t.Logf("out: %d packets in %d calls, %d runs, %d refused; in: %d packets in %d calls, %d slots of several",
		a.PacketsOut, a.BatchesOut, a.Runs, a.Refused, b.PacketsIn, b.BatchesIn, b.Joined)
	require.True(t, a.Segmenting)
	require.Positive(t, a.Runs)
	require.Zero(t, b.Cut)
}
