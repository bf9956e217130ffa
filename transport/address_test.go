package transport

import (
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/locator"
)

func addrs(texts ...string) (out []netip.Addr) {
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

func TestResolve(t *testing.T) {
	for _, tc := range []struct {
		network, text string
		port          uint16
		want          []netip.Addr
		fails         string
	}{
		{"sctp", "10.0.0.1:5000", 5000, addrs("10.0.0.1"), ""},
		{"sctp", "10.0.0.1:5000, 10.1.0.1:5000", 5000, addrs("10.0.0.1", "10.1.0.1"), ""},
		{"sctp", "[2001:db8::1]:80,10.0.0.1:80", 80, addrs("2001:db8::1", "10.0.0.1"), ""},
		{"sctp4", "[2001:db8::1]:80,10.0.0.1:80", 80, addrs("10.0.0.1"), ""},
		{"sctp6", "[2001:db8::1]:80,10.0.0.1:80", 80, addrs("2001:db8::1"), ""},
		{"tcp6", "[fe80::1%lo]:80", 80, addrs("fe80::1%lo"), ""},
		{"sctp4", "localhost:7", 7, addrs("127.0.0.1"), ""},
		{"sctp4", ":7", 7, addrs("127.0.0.1"), ""},
		{"sctp", "[::ffff:10.0.0.1]:7,10.0.0.1:7", 7, addrs("10.0.0.1"), ""},
		{"sctp6", "10.0.0.1:5000", 0, nil, "no address of the network"},
		{"sctp", "10.0.0.1:5000,10.1.0.1:5001", 0, nil, "differs"},
		{"sctp", "10.0.0.1:70000", 0, nil, "number from 0 to 65535"},
		{"sctp", "10.0.0.1:http", 0, nil, "number from 0 to 65535"},
		{"sctp", "10.0.0.1", 0, nil, "port is missing"},
		{"sctp", "", 0, nil, "empty"},
		{"sctp", "10.0.0.1:1,", 0, nil, "empty"},
		{"sctp", "[::]:1", 0, nil, "every address"},
		{"sctp", "2001:db8::1:80", 0, nil, ""},
	} {
		f, err := parseNetwork(tc.network)
		require.NoError(t, err)
		h, err := splitHosts(tc.text, false)
		var got []netip.Addr
		if err == nil {
			got, err = h.resolve(context.Background(), f)
		}
		if tc.want == nil {
			require.ErrorIs(t, err, ErrAddress, tc.text)
			require.ErrorContains(t, err, tc.fails)
			continue
		}
		require.NoError(t, err, tc.text)
		require.Equal(t, tc.want, got, tc.text)
		require.Equal(t, tc.port, h.port)
	}
}

func TestPortless(t *testing.T) {
	h, err := splitHosts("10.0.0.1,10.1.0.1", true)
	require.NoError(t, err)
	require.Equal(t, []string{"10.0.0.1", "10.1.0.1"}, h.names)
	require.Zero(t, h.port)
	_, err = splitHosts("10.0.0.1:1,10.1.0.1", true)
	require.ErrorIs(t, err, ErrAddress)
}

func TestListenAddrs(t *testing.T) {
	ctx := context.Background()
	h, err := splitHosts(":0", false)
	require.NoError(t, err)
	got, system, err := h.listenAddrs(ctx, 0)
	require.NoError(t, err)
	require.True(t, system)
	require.Contains(t, got, netip.MustParseAddr("127.0.0.1"))
	for _, a := range got {
		require.NotEqual(t, locator.Link, locator.ScopeOf(a))
	}
	h, err = splitHosts("0.0.0.0:0", false)
	require.NoError(t, err)
	got, system, err = h.listenAddrs(ctx, 0)
	require.NoError(t, err)
	require.True(t, system)
	for _, a := range got {
		require.True(t, a.Is4())
	}
	h, err = splitHosts("127.0.0.1:0,0.0.0.0:0", false)
	require.NoError(t, err)
	_, _, err = h.listenAddrs(ctx, 0)
	require.ErrorIs(t, err, ErrAddress)
	h, err = splitHosts("127.0.0.1:9", false)
	require.NoError(t, err)
	got, system, err = h.listenAddrs(ctx, 0)
	require.NoError(t, err)
	require.False(t, system)
	require.Equal(t, addrs("127.0.0.1"), got)
}

func TestSourcesFor(t *testing.T) {
	got, err := sourcesFor(addrs("127.0.0.1"))
	require.NoError(t, err)
	require.Equal(t, netip.MustParseAddr("127.0.0.1"), got[0])
	for _, a := range got {
		require.True(t, a.IsLoopback() && a.Is4(), "%v", a)
	}
	again, err := sourcesFor(addrs("127.0.0.1"))
	require.NoError(t, err)
	require.Equal(t, got, again)
	forgetSources()
	again, err = sourcesFor(addrs("127.0.0.1"))
	require.NoError(t, err)
	require.Equal(t, got, again)
}

func TestAddr(t *testing.T) {
	a := &Addr{Port: 80, Locators: []locator.Locator{
		{Addr: netip.MustParseAddr("10.0.0.1"), Port: 9899}, {Addr: netip.MustParseAddr("2001:db8::1"), Port: 9899}}}
	require.Equal(t, "10.0.0.1:80,[2001:db8::1]:80", a.String())
	require.Equal(t, "sctp", a.Network())
	require.Equal(t, a.Locators[0], a.Current())
	require.Equal(t, ":80", (&Addr{Port: 80}).String())
	require.False(t, (&Addr{}).Current().IsValid())
	require.Equal(t, "<nil>", (*Addr)(nil).String())
}
