package locator

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// machine is a Source with two uplinks, a tunnel that is down, and the usual rest.
func machine() ([]Interface, error) {
	addrs := func(list ...string) []netip.Addr {
		var out []netip.Addr
		for _, s := range list {
			out = append(out, addr(s))
		}
		return out
	}
	return []Interface{
		{Name: "lo", Up: true, Addrs: addrs("127.0.0.1", "::1")},
		{Name: "eth0", Up: true, Addrs: addrs("10.0.0.1", "192.0.2.1", "2001:db8::1", "fe80::1")},
		{Name: "eth1", Up: true, Addrs: addrs("::ffff:10.1.0.1", "fe80::2%eth1", "169.254.3.3", "10.0.0.1")},
		{Name: "tun0", Up: false, Addrs: addrs("10.2.0.1")},
	}, nil
}

func TestSystem(t *testing.T) {
	for _, c := range []struct {
		name string
		f    Filter
		want []Locator
	}{
		{"private and global", Filter{}, at("192.0.2.1", "10.1.0.1", "2001:db8::1", "10.0.0.1")},
		{"global", Filter{Narrowest: Global}, at("192.0.2.1", "2001:db8::1")},
		{"with links", Filter{Narrowest: Link, NoIPv4: true}, at("2001:db8::1", "fe80::2%eth1", "fe80::1%eth0")},
		{"all", Filter{Narrowest: Loopback, NoIPv6: true}, at("127.0.0.1", "192.0.2.1", "10.1.0.1", "10.0.0.1", "169.254.3.3")},
		{"one interface", Filter{Interface: func(n string) bool { return n == "eth1" }}, at("10.1.0.1", "10.0.0.1")},
		{"nothing", Filter{NoIPv4: true, NoIPv6: true}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.f.Source, c.f.Port = machine, 5000
			got, err := System(c.f)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestSystemFails(t *testing.T) {
	cause := errors.New("no permission")
	_, err := System(Filter{Source: func() ([]Interface, error) { return nil, cause }})
	require.ErrorIs(t, err, cause)
}

// TestThisMachine only looks: whatever the machine has must be well formed.
func TestThisMachine(t *testing.T) {
	list, err := System(Filter{Port: 9899, Narrowest: Loopback})
	if err != nil {
		require.ErrorContains(t, err, "listing the interfaces") // a machine may forbid it
	}
	for _, l := range list {
		require.True(t, l.IsValid())
		require.EqualValues(t, 9899, l.Port)
		require.NotEqual(t, NoScope, ScopeOf(l.Addr))
	}
}
