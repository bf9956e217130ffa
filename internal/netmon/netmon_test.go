package netmon

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestFind(t *testing.T) {
	up, off, dead := link{"up", true, true}, link{"off", false, false}, link{"dead", true, false}
	tests := []struct {
		name    string
		fill    func(t *table)
		addr    string
		link    string
		cause   Cause
		present bool
	}{
		{"unknown", func(*table) {}, "10.0.0.1", "", None, false},
		{"good", func(t *table) { t.setLink(1, up); t.setAddr(ip("10.0.0.1"), 1, true) }, "10.0.0.1", "up", None, true},
		{"switched off", func(t *table) { t.setLink(1, off); t.setAddr(ip("10.0.0.1"), 1, true) }, "10.0.0.1", "off", LinkDown, true},
		{"no carrier", func(t *table) { t.setLink(1, dead); t.setAddr(ip("10.0.0.1"), 1, true) }, "10.0.0.1", "dead", NoCarrier, true},
		{"tentative", func(t *table) { t.setLink(1, up); t.setAddr(ip("fd00::1"), 1, false) }, "fd00::1", "up", Tentative, true},
		{"no longer tentative", func(t *table) {
			t.setLink(1, up)
			t.setAddr(ip("fd00::1"), 1, false)
			t.setAddr(ip("fd00::1"), 1, true)
		}, "fd00::1", "up", None, true},
		{"an unknown link is no fault", func(t *table) { t.setAddr(ip("10.0.0.1"), 1, true) }, "10.0.0.1", "", None, true},
		{"one good link is enough", func(t *table) {
			t.setLink(1, dead)
			t.setLink(2, up)
			t.setLink(3, off)
			for i := range 3 {
				t.setAddr(ip("10.0.0.1"), i+1, true)
			}
		}, "10.0.0.1", "up", None, true},
		{"another zone does not help", func(t *table) {
			t.setLink(1, dead)
			t.setLink(2, up)
			t.setAddr(ip("fe80::1"), 1, true)
			t.setAddr(ip("fe80::1"), 2, true)
		}, "fe80::1%dead", "dead", NoCarrier, true},
		{"a zone by number", func(t *table) { t.setLink(7, up); t.setAddr(ip("fe80::1"), 7, true) }, "fe80::1%7", "up", None, true},
		{"no such zone", func(t *table) { t.setLink(7, up); t.setAddr(ip("fe80::1"), 7, true) }, "fe80::1%eth9", "", None, false},
		{"removed", func(t *table) {
			t.setLink(1, up)
			t.setAddr(ip("10.0.0.1"), 1, true)
			t.dropAddr(ip("10.0.0.1"), 1)
		}, "10.0.0.1", "", None, false},
		{"removed from one of two", func(t *table) {
			t.setLink(1, up)
			t.setLink(2, dead)
			t.setAddr(ip("10.0.0.1"), 1, true)
			t.setAddr(ip("10.0.0.1"), 2, true)
			t.dropAddr(ip("10.0.0.1"), 1)
		}, "10.0.0.1", "dead", NoCarrier, true},
		{"gone with its link", func(t *table) {
			t.setLink(1, up)
			t.setAddr(ip("10.0.0.1"), 1, true)
			t.dropLink(1)
		}, "10.0.0.1", "", None, false},
		{"IPv4 in IPv6's clothes", func(t *table) { t.setLink(1, up); t.setAddr(ip("::ffff:10.0.0.1"), 1, true) }, "10.0.0.1", "up", None, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var tab table
			tab.reset()
			tt.fill(&tab)
			link, cause, present := tab.find(ip(tt.addr))
			require.Equal(t, tt.present, present)
			require.Equal(t, tt.cause, cause)
			require.Equal(t, tt.link, link)
		})
	}
}

// TestTold walks a watcher through changes and looks at what is told of them.
func TestTold(t *testing.T) {
	on := new(watcher)
	on.update((*table).reset)
	var told []Change
	w := &Watch{tell: func(c Change) { told = append(told, c) }}
	take := func() []Change { defer func() { told = nil }(); return told }

	require.False(t, on.add(w, 0, ip("10.0.0.1")).Down(), "an address nobody has seen is not judged")
	require.False(t, on.add(w, 1, ip("10.0.0.2")).Down())
	on.update(func(t *table) { t.setLink(1, link{"eth0", true, true}); t.setAddr(ip("10.0.0.1"), 1, true) })
	require.Empty(t, take(), "good news that change nothing are not told")

	on.update(func(t *table) { t.setLink(1, link{"eth0", true, false}) })
	require.Equal(t, []Change{{0, NoCarrier, "eth0"}}, take())
	on.update(func(t *table) { t.setLink(1, link{"eth0", true, false}) })
	require.Empty(t, take(), "told once")
	on.update(func(t *table) { t.setLink(1, link{"eth0", false, false}) })
	require.Equal(t, []Change{{0, LinkDown, "eth0"}}, take(), "another cause is told")
	on.update(func(t *table) { t.dropLink(1) })
	require.Equal(t, []Change{{0, Gone, "eth0"}}, take(), "with the name it had")

	late := &Watch{tell: func(c Change) { told = append(told, c) }}
	require.False(t, on.add(late, 0, ip("10.0.0.1")).Down(), "who comes now has not seen it")
	on.update(func(t *table) { t.setLink(2, link{"eth1", true, true}); t.setAddr(ip("10.0.0.1"), 2, true) })
	require.Equal(t, []Change{{0, None, "eth1"}}, take(), "told to the one who had been told otherwise")
	on.update(func(t *table) { t.setLink(2, link{"eth1", true, false}) })
	require.Equal(t, []Change{{0, NoCarrier, "eth1"}, {0, NoCarrier, "eth1"}}, take())

	on.remove(w)
	on.update(func(t *table) { t.setLink(2, link{"eth1", true, true}) })
	require.Equal(t, []Change{{0, None, "eth1"}}, take(), "only the other one is left")
	late.stopped.Store(true)
	on.update(func(t *table) { t.dropLink(2) })
	require.Empty(t, take())
}

func TestCauseNames(t *testing.T) {
	require.Equal(t, "carrier lost", NoCarrier.String())
	require.Equal(t, "Cause(9)", Cause(9).String())
}

// TestPoller is the fallback of other systems on this one.
func TestPoller(t *testing.T) {
	on := new(watcher)
	src, err := openPoller(on, time.Millisecond)
	require.NoError(t, err)
	told := make(chan Change, 10)
	w := &Watch{tell: func(c Change) { told <- c }}
	require.False(t, on.add(w, 0, ip("127.0.0.1")).Down())
	on.mu.Lock()
	on.subjects[0].cause = NoCarrier // as if it had been down
	on.mu.Unlock()
	select {
	case c := <-told:
		require.Equal(t, None, c.Cause)
	case <-time.After(10 * time.Second):
		require.Fail(t, "the next look tells")
	}
	src.close()
	src.close()
}

func TestFill(t *testing.T) {
	var tab table
	tab.reset()
	ifs, err := net.Interfaces()
	require.NoError(t, err)
	tab.setAddr(ip("10.99.99.99"), ifs[0].Index, true)
	fill(&tab, ifs)
	_, _, present := tab.find(ip("10.99.99.99"))
	require.False(t, present, "what is not there any more is forgotten")
	tab.setAddr(ip("10.99.99.99"), 1<<30, true)
	fill(&tab, []net.Interface{{Index: 1 << 30, Name: "odd", Flags: net.FlagUp | net.FlagRunning}})
	link, cause, present := tab.find(ip("10.99.99.99"))
	t.Log(link, cause, present) // whether asking for the addresses of no interface is an error differs between systems
}
