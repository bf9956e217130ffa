package locator

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// at makes locators of addresses, all with one port.
func at(addrs ...string) []Locator {
	var list []Locator
	for _, a := range addrs {
		list = append(list, Locator{Addr: addr(a), Port: 5000})
	}
	return list
}

func TestScopeOf(t *testing.T) {
	for a, want := range map[string]Scope{
		"0.0.0.0": NoScope, "0.1.2.3": NoScope, "127.0.0.1": Loopback, "127.255.0.9": Loopback,
		"10.0.0.1": Private, "9.255.255.255": Global, "11.0.0.0": Global,
		"172.15.255.255": Global, "172.16.0.0": Private, "172.31.255.255": Private, "172.32.0.0": Global,
		"192.168.1.1": Private, "192.167.255.255": Global, "192.0.0.8": Private, "192.0.2.1": Global,
		"100.63.255.255": Global, "100.64.0.1": Private, "100.127.255.255": Private, "100.128.0.0": Global,
		"169.254.1.1": Link, "198.18.0.1": Private, "198.20.0.0": Global, "203.0.113.9": Global,
		"224.0.0.1": NoScope, "239.255.255.255": NoScope, "240.0.0.1": Private, "255.255.255.255": NoScope,
		"::": NoScope, "::1": Loopback, "fe80::1": Link, "fe80::1%eth0": Link, "febf::1": Link, "fec0::1": Private,
		"fc00::1": Private, "fdff::1": Private, "2001:db8::1": Global, "2002::1": Global, "ff02::1": NoScope,
		"64:ff9b::1": Global, "64:ff9b:1::1": Private, "100::1": NoScope, "::ffff:10.0.0.1": Private, "::ffff:127.0.0.1": Loopback,
	} {
		require.Equal(t, want, ScopeOf(addr(a)), a)
	}
	require.Equal(t, NoScope, ScopeOf(netip.Addr{}))
	require.True(t, NoScope < Loopback && Loopback < Link && Link < Private && Private < Global)
	require.Equal(t, "private", Private.String())
	require.Equal(t, "Scope(9)", Scope(9).String())
}

func TestListable(t *testing.T) {
	ours := at("127.0.0.1", "10.0.0.1", "192.0.2.1", "fe80::1%eth0", "fe80::1%eth1", "fd00::1", "2001:db8::1", "169.254.0.1", "224.0.0.1", "0.0.0.0")
	for _, c := range []struct {
		peer string
		want []string
	}{
		{"198.51.100.1", []string{"192.0.2.1", "2001:db8::1"}},
		{"2001:db8:9::1", []string{"192.0.2.1", "2001:db8::1"}},
		{"10.9.9.9", []string{"10.0.0.1", "192.0.2.1", "fd00::1", "2001:db8::1"}},
		{"fd99::1", []string{"10.0.0.1", "192.0.2.1", "fd00::1", "2001:db8::1"}},
		{"fe80::9%eth1", []string{"10.0.0.1", "192.0.2.1", "fe80::1%eth1", "fd00::1", "2001:db8::1"}},
		{"fe80::9", []string{"10.0.0.1", "192.0.2.1", "fe80::1%eth0", "fe80::1%eth1", "fd00::1", "2001:db8::1"}},
		{"169.254.7.7", []string{"10.0.0.1", "192.0.2.1", "fd00::1", "2001:db8::1", "169.254.0.1"}},
		{"127.0.0.9", []string{"127.0.0.1", "10.0.0.1", "192.0.2.1", "fd00::1", "2001:db8::1"}},
		{"::ffff:10.9.9.9", []string{"10.0.0.1", "192.0.2.1", "fd00::1", "2001:db8::1"}},
		{"0.0.0.0", nil},
		{"ff02::1", nil},
	} {
		require.Equal(t, at(c.want...), Listable(ours, addr(c.peer)), c.peer)
	}
	require.Nil(t, Listable(ours, netip.Addr{}))
	require.Nil(t, Listable(nil, addr("10.0.0.1")))
}

func TestLocatorStrings(t *testing.T) {
	for want, l := range map[string]Locator{
		"10.0.0.1:5000":        {addr("10.0.0.1"), 5000},
		"10.0.0.1":             {addr("10.0.0.1"), 0},
		"[2001:db8::1]:5000":   {addr("2001:db8::1"), 5000},
		"2001:db8::1":          {addr("2001:db8::1"), 0},
		"[fe80::1%eth0]:65535": {addr("fe80::1%eth0"), 65535},
		"invalid locator":      {Port: 1},
	} {
		require.Equal(t, want, l.String())
	}
	l := FromAddrPort(netip.MustParseAddrPort("[::ffff:10.0.0.1]:5000"))
	require.Equal(t, Locator{addr("10.0.0.1"), 5000}, l)
	require.Equal(t, netip.MustParseAddrPort("10.0.0.1:5000"), l.AddrPort())
	require.Equal(t, "10.0.0.1:5000>10.0.0.1", Pair{l, Locator{Addr: addr("10.0.0.1")}}.String())
	require.False(t, Locator{}.IsValid())
}
