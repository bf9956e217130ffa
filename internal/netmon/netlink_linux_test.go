package netmon

import (
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/netlab"
)

// news collects what a watch is told.
type news struct {
	t  *testing.T
	ch chan Change
}

// watchA watches host A's addresses of both families on two paths: path 0 in IPv4 and IPv6, then path 1.
func watchA(t *testing.T, l *netlab.Lab) (*Watch, news) {
	t.Helper()
	n := news{t, make(chan Change, 100)}
	var subjects []Subject
	for i := range 2 {
		subjects = append(subjects, Subject{Addr: l.A.Addr4(i)}, Subject{Addr: l.A.Addr6(i)})
	}
	var w *Watch
	require.NoError(t, l.InA(func() (err error) {
		var down []Change
		w, down, err = Start(subjects, func(c Change) { n.ch <- c })
		require.Empty(t, down)
		return err
	}))
	t.Cleanup(w.Stop)
	return w, n
}

// patience is how long a change may take to be told on a busy machine.
const patience = 20 * time.Second

// want waits until each subject has been told a cause, in any order and whatever is told before.
func (n news) want(causes map[int]Cause) {
	n.t.Helper()
	have := map[int]Cause{}
	matches := func() bool {
		for i, c := range causes {
			if got, told := have[i]; !told || got != c {
				return false
			}
		}
		return true
	}
	timeout := time.After(patience)
	for !matches() {
		select {
		case c := <-n.ch:
			require.Contains(n.t, causes, c.Index, "nothing happened to it: %+v", c)
			have[c.Index] = c.Cause
		case <-timeout:
			require.Fail(n.t, "not told", "wanted %v, told %v", causes, have)
		}
	}
}

// TestKernelTells takes links and addresses away in a namespace and gives them back.
func TestKernelTells(t *testing.T) {
	needs.Netns(t)
	l := netlab.ForTest(t, netlab.Options{})
	_, n := watchA(t, l)
	for _, fault := range []struct {
		name       string
		down, back func() error
		cause      Cause
	}{
		{"carrier", func() error { return l.A.CarrierDown(0) }, func() error { return l.A.CarrierUp(0) }, NoCarrier},
		{"link", func() error { return l.A.LinkDown(0) }, func() error { return l.A.LinkUp(0) }, LinkDown},
		{"address", func() error { return l.A.AddrDel(0) }, func() error { return l.A.AddrAdd(0) }, Gone},
		{"link, then address", func() error {
			if err := l.A.LinkDown(0); err != nil {
				return err
			}
			return l.A.AddrDel(0)
		}, func() error { return l.A.LinkUp(0) }, Gone},
		{"carrier again", func() error { return l.A.CarrierDown(0) }, func() error { return l.A.CarrierUp(0) }, NoCarrier},
	} {
		start := time.Now()
		require.NoError(t, fault.down())
		did := time.Since(start)
		n.want(map[int]Cause{0: fault.cause, 1: fault.cause})
		t.Logf("%s: the command took %v, told after %v", fault.name, did, time.Since(start))
		require.NoError(t, fault.back())
		n.want(map[int]Cause{0: None, 1: None})
	}
	require.NoError(t, l.A.LinkDown(1))
	n.want(map[int]Cause{2: LinkDown, 3: LinkDown})
}

// TestLook finds a carrier that is lost and not told of. The kernel tells at most once a second of such losses, of all its
// links together; so one is lost first to begin the second.
func TestLook(t *testing.T) {
	needs.Netns(t)
	l := netlab.ForTest(t, netlab.Options{})
	w, n := watchA(t, l)
	require.NoError(t, l.A.CarrierDown(1))
	n.want(map[int]Cause{2: NoCarrier, 3: NoCarrier})
	start := time.Now()
	require.NoError(t, l.A.CarrierDown(0))
	w.Look()
	w.Look()
	n.want(map[int]Cause{0: NoCarrier, 1: NoCarrier})
	t.Logf("found after %v", time.Since(start))
	w.Stop()
	w.Look()
}

// TestTentative adds an IPv6 address with duplicate address detection on.
func TestTentative(t *testing.T) {
	needs.Netns(t)
	l := netlab.ForTest(t, netlab.Options{Paths: 1})
	sysctl := func(name, v string) {
		_, err := l.RunA("sh", "-c", "echo "+v+" > /proc/sys/net/ipv6/conf/p0/"+name)
		require.NoError(t, err)
	}
	sysctl("accept_dad", "1")
	sysctl("dad_transmits", "1")
	n := news{t, make(chan Change, 100)}
	addr := ip("fd99::1")
	var w *Watch
	require.NoError(t, l.InA(func() (err error) {
		w, _, err = Start([]Subject{{Addr: addr}}, func(c Change) { n.ch <- c })
		return err
	}))
	defer w.Stop()
	_, err := l.RunA("ip", "addr", "add", "fd99::1/64", "dev", "p0")
	require.NoError(t, err)
	n.want(map[int]Cause{0: Tentative})
	n.want(map[int]Cause{0: None})
	_, err = l.RunA("ip", "addr", "del", "fd99::1/64", "dev", "p0")
	require.NoError(t, err)
	n.want(map[int]Cause{0: Gone})
}

// TestBridgePort proves that a link that leaves a bridge is not taken for one that is deleted.
func TestBridgePort(t *testing.T) {
	needs.Netns(t)
	l := netlab.ForTest(t, netlab.Options{Paths: 1})
	n := news{t, make(chan Change, 100)}
	var w *Watch
	require.NoError(t, l.InA(func() (err error) {
		w, _, err = Start([]Subject{{Addr: l.A.Addr4(0)}}, func(c Change) { n.ch <- c })
		return err
	}))
	defer w.Stop()
	run := func(args ...string) {
		_, err := l.RunA("ip", args...)
		require.NoError(t, err)
	}
	if _, err := l.RunA("ip", "link", "add", "br0", "type", "bridge"); err != nil {
		needs.Missing(t, "needs a kernel with bridges: %v", err)
	}
	run("link", "set", "p0", "master", "br0")
	run("link", "set", "p0", "nomaster")
	run("addr", "del", "10.100.1.1/24", "dev", "p0")
	n.want(map[int]Cause{0: Gone})
	require.Empty(t, n.ch)
}

// TestStateAtStart begins with an address that cannot be used.
func TestStateAtStart(t *testing.T) {
	needs.Netns(t)
	l := netlab.ForTest(t, netlab.Options{})
	require.NoError(t, l.A.CarrierDown(0))
	require.Eventually(t, func() bool {
		var down []Change
		require.NoError(t, l.InA(func() error {
			w, d, err := Start([]Subject{{Addr: l.A.Addr4(1)}, {Addr: l.A.Addr4(0)}}, func(Change) {})
			if err == nil {
				w.Stop()
			}
			down = d
			return err
		}))
		return len(down) == 1 && down[0] == Change{1, NoCarrier, "p0"}
	}, patience, time.Millisecond)
}

// raw opens a socket on an address within a host.
func raw(t *testing.T, h *netlab.Host, a netip.Addr) syscall.RawConn {
	t.Helper()
	var c *net.UDPConn
	require.NoError(t, h.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
		return err
	}))
	t.Cleanup(func() { c.Close() })
	r, err := c.SyscallConn()
	require.NoError(t, err)
	return r
}

// TestNamespaceOfSocket watches from a thread outside what a socket inside stands for, and shares what can be shared.
func TestNamespaceOfSocket(t *testing.T) {
	needs.Netns(t)
	l := netlab.ForTest(t, netlab.Options{})
	a0, a1, b0 := raw(t, l.A, l.A.Addr4(0)), raw(t, l.A, l.A.Addr4(1)), raw(t, l.B, l.B.Addr4(0))
	n := news{t, make(chan Change, 100)}
	w, down, err := Start([]Subject{{l.A.Addr4(0), a0}, {l.A.Addr4(1), a1}, {l.B.Addr4(0), b0}}, func(c Change) { n.ch <- c })
	require.NoError(t, err)
	require.Empty(t, down)
	registry.mu.Lock()
	require.Len(t, registry.watchers, 2, "one per namespace")
	registry.mu.Unlock()
	w2, _, err := Start([]Subject{{l.A.Addr4(1), a1}}, func(Change) {})
	require.NoError(t, err)
	registry.mu.Lock()
	require.Len(t, registry.watchers, 2, "shared")
	registry.mu.Unlock()
	require.NoError(t, l.A.LinkDown(1))
	n.want(map[int]Cause{1: LinkDown})
	require.NoError(t, l.B.LinkDown(0))
	n.want(map[int]Cause{2: LinkDown})
	w.Stop()
	w.Stop()
	registry.mu.Lock()
	require.Len(t, registry.watchers, 1)
	registry.mu.Unlock()
	w2.Stop()
	registry.mu.Lock()
	require.Empty(t, registry.watchers, "ended with the last user")
	registry.mu.Unlock()
}

// TestLostNews lets more happen than the socket can hold, which must lead to a new look at everything.
func TestLostNews(t *testing.T) {
	needs.Netns(t)
	l := netlab.ForTest(t, netlab.Options{})
	w, n := watchA(t, l)
	k, ok := w.on[0].source.(*kernel)
	require.True(t, ok)
	require.NoError(t, k.news.SetReadBuffer(1)) // the kernel makes a few messages of it
	w.on[0].turn.Lock()                         // holds the reader up
	for range 10 {
		require.NoError(t, l.A.LinkDown(0))
		require.NoError(t, l.A.LinkUp(0))
	}
	require.NoError(t, l.A.LinkDown(0))
	w.on[0].turn.Unlock()
	n.want(map[int]Cause{0: LinkDown, 1: LinkDown})
	require.NoError(t, l.A.LinkUp(0))
	n.want(map[int]Cause{0: None, 1: None})
}

// TestDrain: what the kernel has queued before it lost something is thrown away, or it would be taken for newer than the look
// at everything that follows, and the kernel would keep silent, without a word, until somebody had read it.
func TestDrain(t *testing.T) {
	needs.Netns(t)
	l := netlab.ForTest(t, netlab.Options{})
	w, n := watchA(t, l)
	k, ok := w.on[0].source.(*kernel)
	require.True(t, ok)
	w.on[0].turn.Lock() // holds the reader up, which takes the first message with it
	for range 3 {
		require.NoError(t, l.A.LinkDown(0))
		require.NoError(t, l.A.LinkUp(0))
	}
	raw, err := k.news.SyscallConn()
	require.NoError(t, err)
	queued := func() (some bool) {
		require.NoError(t, raw.Control(func(fd uintptr) {
			_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_DONTWAIT|unix.MSG_PEEK)
			some = err == nil
		}))
		return some
	}
	require.True(t, queued())
	k.drain()
	require.False(t, queued())
	w.on[0].turn.Unlock()
	require.NoError(t, l.A.LinkDown(0)) // news go on
	n.want(map[int]Cause{0: LinkDown, 1: LinkDown})
}

// TestManyBeginAndEnd starts and stops from many goroutines.
func TestManyBeginAndEnd(t *testing.T) {
	done := make(chan error)
	for range 8 {
		go func() {
			var err error
			for range 20 {
				var w *Watch
				if w, _, err = Start([]Subject{{Addr: ip("127.0.0.1")}}, func(Change) {}); err != nil {
					break
				}
				runtime.Gosched()
				w.Stop()
			}
			done <- err
		}()
	}
	for range 8 {
		require.NoError(t, <-done)
	}
}

func message(kind netlink.HeaderType, body []byte, attrs func(ae *netlink.AttributeEncoder)) netlink.Message {
	ae := netlink.NewAttributeEncoder()
	attrs(ae)
	b, err := ae.Encode()
	if err != nil {
		panic(err)
	}
	return netlink.Message{Header: netlink.Header{Type: kind}, Data: append(body, b...)}
}

// samples are messages as the kernel sends them.
func samples() []netlink.Message {
	up := []byte{0, 0, 1, 0, 3, 0, 0, 0, 0x43, 0, 1, 0, 0, 0, 0, 0} // UP, BROADCAST, RUNNING, LOWER_UP
	name := func(ae *netlink.AttributeEncoder) { ae.String(unix.IFLA_IFNAME, "eth0") }
	bridge := append([]byte(nil), up...)
	bridge[0] = unix.AF_BRIDGE
	return []netlink.Message{
		message(unix.RTM_NEWLINK, up, name),
		message(unix.RTM_DELLINK, bridge, name),
		message(unix.RTM_NEWADDR, []byte{unix.AF_INET, 24, 0x80, 0, 3, 0, 0, 0}, func(ae *netlink.AttributeEncoder) {
			ae.Bytes(unix.IFA_ADDRESS, []byte{10, 0, 0, 2}) // the far end of a point-to-point link
			ae.Bytes(unix.IFA_LOCAL, []byte{10, 0, 0, 1})
			ae.Uint32(unix.IFA_FLAGS, unix.IFA_F_PERMANENT)
		}),
		message(unix.RTM_NEWADDR, []byte{unix.AF_INET6, 64, 0x40, 0, 3, 0, 0, 0}, func(ae *netlink.AttributeEncoder) {
			ae.Bytes(unix.IFA_ADDRESS, append([]byte{0xfd}, make([]byte, 15)...))
		}),
	}
}

func TestMessages(t *testing.T) {
	var tab table
	tab.reset()
	tab.take(samples())
	name, cause, present := tab.find(ip("10.0.0.1"))
	require.True(t, present)
	require.Equal(t, None, cause)
	require.Equal(t, "eth0", name)
	_, _, present = tab.find(ip("10.0.0.2"))
	require.False(t, present, "the address of the far end is not ours")
	_, cause, _ = tab.find(ip("fd00::"))
	require.Equal(t, Tentative, cause)
	tab.take([]netlink.Message{
		message(unix.RTM_NEWLINK, []byte{0, 0, 1, 0, 3, 0, 0, 0, 0x03, 0, 0, 0, 0, 0, 0, 0}, func(*netlink.AttributeEncoder) {}),
	})
	name, cause, _ = tab.find(ip("10.0.0.1"))
	require.Equal(t, NoCarrier, cause)
	require.Equal(t, "eth0", name, "a message without a name keeps it")
}

// FuzzMessages feeds bytes as messages of each kind: none may panic, and what is found must be consistent.
func FuzzMessages(f *testing.F) {
	for _, m := range samples() {
		f.Add(uint16(m.Header.Type), m.Data)
	}
	f.Fuzz(func(t *testing.T, kind uint16, data []byte) {
		var tab table
		tab.reset()
		tab.take(samples())
		tab.take([]netlink.Message{{Header: netlink.Header{Type: netlink.HeaderType(kind)}, Data: data}})
		for a, hs := range tab.addrs {
			require.NotEmpty(t, hs)
			require.Empty(t, a.Zone())
			_, _, present := tab.find(a)
			require.True(t, present)
		}
	})
}
