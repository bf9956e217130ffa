//go:build unix || windows

package udp

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/needs"
)

func TestListenRefuses(t *testing.T) {
	for _, tc := range []struct {
		addr string
		opts Options
		want string
	}{
		{"0.0.0.0:0", Options{}, "one address"},
		{"[::]:0", Options{}, "one address"},
		{"[::ffff:0.0.0.0]:0", Options{}, "one address"},
		{"224.0.0.1:0", Options{}, "multicast"},
		{"[fe80::1]:0", Options{}, "zone"},
		{"192.0.2.1:0", Options{}, "192.0.2.1"}, // not an address of this host
		{"127.0.0.1:0", Options{DSCP: 64}, "DSCP"},
		{"127.0.0.1:0", Options{DSCP: -1}, "DSCP"},
		{"127.0.0.1:0", Options{Device: "no-such-device"}, "no-such-device"},
		{"127.0.0.1:0", Options{DeviceOf: func(netip.Addr) string { return "none-such" }}, "none-such"},
		{"127.0.0.1:0", Options{Control: func(string, string, syscall.RawConn) error { return syscall.EDOM }}, syscall.EDOM.Error()},
	} {
		_, err := Listen(context.Background(), netip.MustParseAddrPort(tc.addr), tc.opts)
		require.ErrorContains(t, err, tc.want, "%s", tc.addr)
	}
	_, err := Listen(context.Background(), netip.AddrPort{}, Options{})
	require.Error(t, err)
}

func TestListenOptions(t *testing.T) {
	var network, address string
	s, err := Listen(context.Background(), netip.MustParseAddrPort("[::ffff:127.0.0.1]:0"), Options{
		RecvBuffer: 128 << 10,
		SendBuffer: 96 << 10,
		Control: func(n, a string, c syscall.RawConn) error {
			network, address = n, a
			return c.Control(func(uintptr) {})
		},
	})
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, "udp4", network)
	require.Equal(t, "127.0.0.1:0", address)
	require.Equal(t, loop4, s.Local().Addr(), "mapped addresses are IPv4")
	require.NotZero(t, s.Local().Port())
}

func TestListenSet(t *testing.T) {
	ctx := context.Background()
	addrs := []netip.Addr{loop4}
	if haveIPv6() {
		addrs = append(addrs, loop6)
	}
	if c, err := net.ListenPacket("udp4", "127.0.0.2:0"); err == nil { // not every system has all of 127/8
		_ = c.Close()
		addrs = append(addrs, netip.MustParseAddr("127.0.0.2"))
	}
	set, err := ListenSet(ctx, addrs, 0, Options{})
	require.NoError(t, err)
	port := set[0].Local().Port()
	for i, s := range set {
		require.Equal(t, netip.AddrPortFrom(addrs[i], port), s.Local())
	}

	// The same port again is taken, on whichever address; everything opened on the way is closed.
	for i := range addrs {
		only, err := ListenSet(ctx, addrs[i:i+1], port, Options{})
		require.Error(t, err)
		require.ErrorContains(t, err, addrs[i].String())
		require.Nil(t, only)
	}
	if len(addrs) > 1 {
		last := len(addrs) - 1
		for _, s := range set[:last] {
			require.NoError(t, s.Close())
		}
		_, err = ListenSet(ctx, addrs, port, Options{})
		require.ErrorContains(t, err, addrs[last].String())
		require.NoError(t, set[last].Close())
		set, err = ListenSet(ctx, addrs, port, Options{})
		require.NoError(t, err, "the failed attempt left nothing open")
	}
	for _, s := range set {
		require.NoError(t, s.Close())
	}

	_, err = ListenSet(ctx, nil, 0, Options{})
	require.Error(t, err)
	_, err = ListenSet(ctx, []netip.Addr{loop4, netip.MustParseAddr("192.0.2.1")}, 0, Options{})
	require.ErrorContains(t, err, "192.0.2.1")
	_, err = ListenSet(ctx, []netip.Addr{loop4, loop4}, 0, Options{})
	require.Error(t, err, "the same address twice can never be")
}

// Where the first port picked is taken on another address, the next try starts from that address.
func TestListenSetRetries(t *testing.T) {
	second := netip.MustParseAddr("127.0.0.2")
	needs.Address(t, second)
	// The port picked first is made to collide once, by taking it on the second address meanwhile.
	var thief net.PacketConn
	opts := Options{Control: func(_, address string, _ syscall.RawConn) error {
		ap := netip.MustParseAddrPort(address)
		if ap.Addr() == second && ap.Port() != 0 && thief == nil {
			var err error
			thief, err = net.ListenPacket("udp4", address)
			return err
		}
		return nil
	}}
	set, err := ListenSet(context.Background(), []netip.Addr{loop4, second}, 0, opts)
	require.NoError(t, err)
	require.NotNil(t, thief)
	defer thief.Close()
	require.Equal(t, loop4, set[0].Local().Addr())
	require.Equal(t, netip.AddrPortFrom(second, set[0].Local().Port()), set[1].Local())
	for _, s := range set {
		_ = s.Close()
	}
}
