package locator

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReachable(t *testing.T) {
	for _, c := range []struct {
		local, peer string
		want        bool
	}{
		{"10.0.0.1", "10.9.0.1", true},
		{"10.0.0.1", "192.0.2.1", true},
		{"192.0.2.1", "10.0.0.1", true},
		{"::ffff:10.0.0.1", "10.0.0.1", true},
		{"10.0.0.1", "2001:db8::1", false},
		{"2001:db8::1", "10.0.0.1", false},
		{"127.0.0.1", "127.0.0.2", true},
		{"127.0.0.1", "10.0.0.1", false},
		{"10.0.0.1", "127.0.0.1", false},
		{"::1", "::1", true},
		{"fd00::1", "2001:db8::1", true},
		{"fe80::1%eth0", "fe80::2%eth0", true},
		{"fe80::1%eth0", "fe80::2%eth1", false},
		{"fe80::1%eth0", "fe80::2", true},
		{"fe80::1%eth0", "2001:db8::1", false},
		{"2001:db8::1", "fe80::1", false},
		{"169.254.0.1", "169.254.0.2", true},
		{"169.254.0.1", "10.0.0.1", false},
		{"0.0.0.0", "10.0.0.1", true},
		{"0.0.0.0", "127.0.0.1", true},
		{"0.0.0.0", "2001:db8::1", false},
		{"::", "2001:db8::1", true},
		{"10.0.0.1", "0.0.0.0", false},
		{"10.0.0.1", "224.0.0.1", false},
		{"224.0.0.1", "10.0.0.1", false},
	} {
		require.Equal(t, c.want, Reachable(addr(c.local), addr(c.peer)), "%s>%s", c.local, c.peer)
	}
	require.False(t, Reachable(Locator{}.Addr, addr("10.0.0.1")))
	require.False(t, Reachable(addr("10.0.0.1"), Locator{}.Addr))
}

// TestPairs writes pairs as "local>peer" without the port, in order.
func TestPairs(t *testing.T) {
	for _, c := range []struct {
		name        string
		local, peer string
		max         int
		want        string
	}{
		{"one and one", "10.0.0.1", "10.0.0.2", 0, "10.0.0.1>10.0.0.2"},
		{"nothing", "", "10.0.0.2", 0, ""},
		{"no common family", "10.0.0.1", "2001:db8::1", 0, ""},
		{
			"two and two, disjoint first", "192.0.2.1 198.51.100.1", "203.0.113.1 192.88.99.1", 0,
			"192.0.2.1>203.0.113.1 198.51.100.1>192.88.99.1 192.0.2.1>192.88.99.1 198.51.100.1>203.0.113.1",
		},
		{
			"only the disjoint ones", "192.0.2.1 198.51.100.1", "203.0.113.1 192.88.99.1", 2,
			"192.0.2.1>203.0.113.1 198.51.100.1>192.88.99.1",
		},
		{
			"networks match against the order", "10.0.0.1 10.1.0.1", "10.1.0.2 10.0.0.2", 0,
			"10.0.0.1>10.0.0.2 10.1.0.1>10.1.0.2 10.0.0.1>10.1.0.2 10.1.0.1>10.0.0.2",
		},
		{
			"scopes match against the order", "10.0.0.1 192.0.2.1", "198.51.100.1 10.9.0.1", 2,
			"10.0.0.1>10.9.0.1 192.0.2.1>198.51.100.1",
		},
		{
			"families", "10.0.0.1 2001:db8::1", "2001:db8:1::1 10.0.0.2", 0,
			"10.0.0.1>10.0.0.2 2001:db8::1>2001:db8:1::1",
		},
		{
			"a ULA rather meets a ULA", "fd00::1 2001:db8::1", "2001:db8:9::1 fd00:0:9::1", 2,
			"fd00::1>fd00:0:9::1 2001:db8::1>2001:db8:9::1",
		},
		{
			"6to4 rather meets 6to4", "2002:c000:201::1 2001:db8::1", "2001:db8:9::1 2002:c633:6401::1", 2,
			"2002:c000:201::1>2002:c633:6401::1 2001:db8::1>2001:db8:9::1",
		},
		{
			"one and three", "10.0.0.1", "10.0.5.1 192.0.2.1 10.0.0.9", 0,
			"10.0.0.1>10.0.0.9 10.0.0.1>10.0.5.1 10.0.0.1>192.0.2.1",
		},
		{
			"three and one", "192.0.2.1 198.51.100.1 203.0.113.1", "192.88.99.1", 0,
			"192.0.2.1>192.88.99.1 198.51.100.1>192.88.99.1 203.0.113.1>192.88.99.1",
		},
		{
			"links", "fe80::1%eth0 fe80::1%eth1", "fe80::9%eth1 fe80::9%eth0", 0,
			"fe80::1%eth0>fe80::9%eth0 fe80::1%eth1>fe80::9%eth1",
		},
		{"repetitions count once", "10.0.0.1 10.0.0.1", "10.0.0.2 10.0.0.2", 0, "10.0.0.1>10.0.0.2"},
		{"loopback stays at home", "127.0.0.1 10.0.0.1", "127.0.0.1 10.0.0.2", 0, "127.0.0.1>127.0.0.1 10.0.0.1>10.0.0.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, p := range Pairs(at(strings.Fields(c.local)...), at(strings.Fields(c.peer)...), c.max) {
				got = append(got, fmt.Sprintf("%v>%v", p.Local.Addr, p.Peer.Addr))
			}
			require.Equal(t, c.want, strings.Join(got, " "))
		})
	}
}

// TestPairsProperties: on random pools no pair comes twice, all are reachable, none reachable is missing when there is
// room, a shorter answer is the beginning of a longer one, and the first round is disjoint and cannot be extended.
func TestPairsProperties(t *testing.T) {
	rnd := seeded(t)
	stock := at("10.0.0.1", "10.0.1.1", "10.7.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "127.0.0.1", "2001:db8::1",
		"2001:db8:1::1", "fd00::1", "fe80::1%eth0", "fe80::2%eth1", "169.254.0.1", "::1")
	draw := func() []Locator {
		var list []Locator
		for range rnd.IntN(7) {
			list = append(list, stock[rnd.IntN(len(stock))])
		}
		return list
	}
	for range 500 {
		local, peer := draw(), draw()
		all := Pairs(local, peer, 1000)
		seen := make(map[Pair]bool)
		for _, p := range all {
			require.False(t, seen[p], "%v twice", p)
			require.True(t, Reachable(p.Local.Addr, p.Peer.Addr))
			seen[p] = true
		}
		for _, l := range local {
			for _, p := range peer {
				require.Equal(t, Reachable(l.Addr, p.Addr), seen[Pair{l, p}])
			}
		}
		require.LessOrEqual(t, len(Pairs(local, peer, 0)), MaxPaths)
		for _, n := range []int{1, 2, 3, 5} {
			require.Equal(t, all[:min(n, len(all))], Pairs(local, peer, n))
		}
		first := NewPool()
		firstPeers := NewPool()
		n := 0
		for n < len(all) && first.Add(all[n].Local) && firstPeers.Add(all[n].Peer) {
			n++
		}
		for _, p := range all[n:] {
			require.True(t, first.Contains(p.Local) || firstPeers.Contains(p.Peer), "%v belongs into the first round", p)
		}
	}
}

func TestDivergence(t *testing.T) {
	l := at("10.0.0.1", "10.0.1.1", "10.0.0.2", "10.0.1.2")
	base := Pair{l[0], l[2]}
	require.Equal(t, 0, Divergence(base, base))
	require.Equal(t, 1, Divergence(base, Pair{l[0], l[3]}))
	require.Equal(t, 1, Divergence(base, Pair{l[1], l[2]}))
	require.Equal(t, 2, Divergence(base, Pair{l[1], l[3]}))
	moved := base
	moved.Peer.Port++
	require.Equal(t, 0, Divergence(base, moved), "ports do not count")
}
