//go:build linux

package netlab

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-multihome/multihome/internal/needs"
)

// lab builds a laboratory or says what is missing for one.
func lab(t *testing.T, o Options) *Lab {
	t.Parallel() // laboratories do not see each other, and their tests mostly wait
	needs.Netns(t)
	return ForTest(t, o)
}

// socket opens a socket inside a host, bound to an address.
func socket(t *testing.T, h *Host, addr netip.Addr) *net.UDPConn {
	c, err := h.udp(addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// patience is how long what must happen may take on a busy machine.
const patience = 20 * time.Second

// yes expects a packet to arrive, however busy the machine is, and returns the time it took.
func yes(t *testing.T, from, to *net.UDPConn, why string) time.Duration {
	t.Helper()
	ok, took := passes(t, from, to, to.LocalAddr().(*net.UDPAddr).AddrPort(), patience)
	require.True(t, ok, why)
	return took
}

// no expects silence, which is judged after a while that no packet of these tests takes.
func no(t *testing.T, from, to *net.UDPConn, why string) {
	t.Helper()
	ok, _ := passes(t, from, to, to.LocalAddr().(*net.UDPAddr).AddrPort(), 200*time.Millisecond)
	require.False(t, ok, why)
}

// expect is yes or no.
func expect(t *testing.T, want bool, from, to *net.UDPConn, why string) {
	t.Helper()
	if want {
		yes(t, from, to, why)
	} else {
		no(t, from, to, why)
	}
}

// passes sends one packet and reports whether it arrived, and after what time.
func passes(t *testing.T, from, to *net.UDPConn, dst netip.AddrPort, wait time.Duration) (bool, time.Duration) {
	number := packets.Add(1)
	sent := time.Now()
	if _, err := from.WriteToUDPAddrPort(binary.BigEndian.AppendUint64(nil, number), dst); err != nil {
		return false, 0
	}
	require.NoError(t, to.SetReadDeadline(sent.Add(wait)))
	var buf [64]byte
	for {
		n, _, err := to.ReadFromUDPAddrPort(buf[:])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false, 0
		}
		require.NoError(t, err)
		require.Equal(t, 8, n)
		// A router keeps a packet for a neighbour that does not answer and sends it when it does: not the one meant here.
		if binary.BigEndian.Uint64(buf[:n]) == number {
			return true, time.Since(sent)
		}
	}
}

var packets atomic.Uint64

func TestAcross(t *testing.T) {
	l := lab(t, Options{Paths: 3})
	for i := range l.Paths() {
		for _, addr := range []func(*Host, int) netip.Addr{(*Host).Addr4, (*Host).Addr6} {
			a, b := socket(t, l.A, addr(l.A, i)), socket(t, l.B, addr(l.B, i))
			yes(t, a, b, "A to B")
			yes(t, b, a, "B to A")
		}
	}
	out, err := l.RunA("ip", "route", "get", l.B.Addr4(2).String())
	require.NoError(t, err)
	require.Contains(t, out, "dev p2 src "+l.A.Addr4(2).String(), "a socket without an address takes the path of its destination")
	out, err = l.RunA("ip", "route", "get", l.B.Addr4(2).String(), "from", l.A.Addr4(0).String())
	require.NoError(t, err)
	require.Contains(t, out, "dev p0", "a source address takes its own path")
	require.Equal(t, []netip.Addr{l.A.Addr4(0), l.A.Addr4(1), l.A.Addr4(2)}, l.A.Addrs())
}

func TestCut(t *testing.T) {
	l := lab(t, Options{})
	a0, b0 := socket(t, l.A, l.A.Addr4(0)), socket(t, l.B, l.B.Addr4(0))
	a1, b1 := socket(t, l.A, l.A.Addr4(1)), socket(t, l.B, l.B.Addr4(1))
	v6a, v6b := socket(t, l.A, l.A.Addr6(0)), socket(t, l.B, l.B.Addr6(0))
	for _, d := range []Direction{Forth, Back, Both} {
		t.Run(d.String(), func(t *testing.T) {
			require.NoError(t, l.Cut(0, d))
			for _, s := range [][2]*net.UDPConn{{a0, b0}, {v6a, v6b}} {
				expect(t, d&Forth == 0, s[0], s[1], "A to B")
				expect(t, d&Back == 0, s[1], s[0], "B to A")
			}
			yes(t, a1, b1, "the other path")
			yes(t, b1, a1, "the other path")
			require.NoError(t, l.Restore(0))
			yes(t, a0, b0, "restored")
			yes(t, b0, a0, "restored")
		})
	}
}

func TestLinkDown(t *testing.T) {
	l := lab(t, Options{})
	a0, b0 := socket(t, l.A, l.A.Addr4(0)), socket(t, l.B, l.B.Addr4(0))
	a6, b6 := socket(t, l.A, l.A.Addr6(0)), socket(t, l.B, l.B.Addr6(0))
	a1, b1 := socket(t, l.A, l.A.Addr4(1)), socket(t, l.B, l.B.Addr4(1))
	faults := []struct {
		name     string
		down, up func(*Host, int) error
	}{
		{"switched off", (*Host).LinkDown, (*Host).LinkUp},
		{"no carrier", (*Host).CarrierDown, (*Host).CarrierUp},
		{"no address", (*Host).AddrDel, (*Host).AddrAdd},
	}
	for _, f := range faults {
		for _, h := range []*Host{l.A, l.B} {
			t.Run(f.name+" at "+h.name, func(t *testing.T) {
				require.NoError(t, f.down(h, 0))
				no(t, a0, b0, "fault")
				no(t, b0, a0, "fault")
				if h == l.A {
					no(t, b6, a6, "fault")
				} else {
					no(t, a6, b6, "fault")
				}
				yes(t, a1, b1, "the other path")
				require.NoError(t, f.up(h, 0))
				require.NoError(t, l.verify(0))
				yes(t, a0, b0, "mended")
				yes(t, b0, a0, "mended")
				yes(t, a6, b6, "mended")
				yes(t, b6, a6, "mended")
			})
		}
	}
}

func TestSendErrorsAfterAddrDel(t *testing.T) {
	l := lab(t, Options{Paths: 1})
	a, b := socket(t, l.A, l.A.Addr4(0)), socket(t, l.B, l.B.Addr4(0))
	require.NoError(t, l.A.AddrDel(0))
	_, err := a.WriteToUDPAddrPort([]byte("one"), b.LocalAddr().(*net.UDPAddr).AddrPort())
	require.Error(t, err, "the program hears of it")
}

func TestCross(t *testing.T) {
	t.Parallel()
	needs.Netns(t)
	for _, cross := range []bool{false, true} {
		l := ForTest(t, Options{Paths: 3, Cross: cross})
		for _, addr := range []func(*Host, int) netip.Addr{(*Host).Addr4, (*Host).Addr6} {
			a, b := socket(t, l.A, addr(l.A, 0)), socket(t, l.B, addr(l.B, 2))
			expect(t, cross, a, b, "A to B")
			expect(t, cross, b, a, "B to A")
		}
		if cross {
			require.NoError(t, l.Cut(0, Forth))
			a, b := socket(t, l.A, l.A.Addr4(0)), socket(t, l.B, l.B.Addr4(1))
			no(t, a, b, "the router at A's end of the cross path is cut")
			yes(t, b, a, "the other direction is not")
		}
	}
}

func TestExtra(t *testing.T) {
	l := lab(t, Options{Paths: 1})
	for _, h := range []*Host{l.A, l.B} {
		v4, v6, err := h.Extra(0)
		require.NoError(t, err)
		again, _, err := h.Extra(0)
		require.NoError(t, err)
		require.Equal(t, v4, again)
		require.NotContains(t, h.Addrs(), v4)
		for _, s := range [][2]*net.UDPConn{
			{socket(t, h, v4), socket(t, h.peer(), h.peer().Addr4(0))},
			{socket(t, h, v6), socket(t, h.peer(), h.peer().Addr6(0))},
		} {
			err := errors.Join(crosses(s[0], s[1]), crosses(s[1], s[0]))
			require.NoError(t, err)
		}
	}
}

func TestFilter(t *testing.T) {
	l := lab(t, Options{Paths: 1})
	a, b := socket(t, l.A, l.A.Addr4(0)), socket(t, l.B, l.B.Addr4(0))
	const soon = 200 * time.Millisecond // enough to judge silence, see no
	size := func(n int, wait time.Duration) bool {
		_, err := a.WriteToUDPAddrPort(make([]byte, n), b.LocalAddr().(*net.UDPAddr).AddrPort())
		require.NoError(t, err)
		require.NoError(t, b.SetReadDeadline(time.Now().Add(wait)))
		got, _, err := b.ReadFromUDPAddrPort(make([]byte, 2000))
		return err == nil && got == n
	}
	require.True(t, size(1400, patience))
	require.NoError(t, l.Filter(0, "meta length gt 1300 drop"))
	require.False(t, size(1400, soon))
	require.True(t, size(1200, patience))
	require.Error(t, l.Filter(0, "no such rule"))
	require.NoError(t, l.Cut(0, Back), "a rule that nft refuses is not kept")
	require.NoError(t, l.Filter(0))
	require.True(t, size(1400, patience))
	no(t, b, a, "a filter leaves cuts alone")
}

func TestMasquerade(t *testing.T) {
	l := lab(t, Options{Paths: 1})
	require.NoError(t, l.Masquerade(0))
	a, b := socket(t, l.A, l.A.Addr4(0)), socket(t, l.B, l.B.Addr4(0))
	_, err := a.WriteToUDPAddrPort([]byte("one"), b.LocalAddr().(*net.UDPAddr).AddrPort())
	require.NoError(t, err)
	require.NoError(t, b.SetReadDeadline(time.Now().Add(patience)))
	var buf [16]byte
	_, from, err := b.ReadFromUDPAddrPort(buf[:])
	require.NoError(t, err)
	require.Equal(t, addr4(0, 2, routerPart), from.Addr().Unmap())
	ok, _ := passes(t, b, a, from, patience)
	require.True(t, ok, "an answer finds its way back")
}

func TestSetMTU(t *testing.T) {
	l := lab(t, Options{Paths: 1})
	require.NoError(t, l.SetMTU(0, 1300))
	a, b := socket(t, l.A, l.A.Addr4(0)), socket(t, l.B, l.B.Addr4(0))
	raw, err := a.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	}))
	require.NoError(t, err)
	dst := b.LocalAddr().(*net.UDPAddr).AddrPort()
	require.Eventually(t, func() bool {
		_, err := a.WriteToUDPAddrPort(make([]byte, 1400), dst)
		return errors.Is(err, unix.EMSGSIZE)
	}, patience, 10*time.Millisecond, "the router's ICMP reaches the sender")
	require.Error(t, l.SetMTU(0, 9000))
}

func TestShape(t *testing.T) {
	l := lab(t, Options{Paths: 1})
	const rate, packets, size = 4_000_000, 100, 1000
	require.NoError(t, l.Shape(0, rate, time.Second))
	a, b := socket(t, l.A, l.A.Addr4(0)), socket(t, l.B, l.B.Addr4(0))
	start := time.Now()
	for range packets {
		_, err := a.WriteToUDPAddrPort(make([]byte, size), b.LocalAddr().(*net.UDPAddr).AddrPort())
		require.NoError(t, err)
	}
	require.NoError(t, b.SetReadDeadline(start.Add(patience)))
	for range packets {
		_, _, err := b.ReadFromUDPAddrPort(make([]byte, 2000))
		require.NoError(t, err)
	}
	// All but the bucket's few packets wait for the rate; a slow machine can only make it longer.
	require.Greater(t, time.Since(start), packets*size*8*time.Second/rate*8/10)
	require.NoError(t, l.Shape(0, 0, 0))
	require.NoError(t, l.Shape(0, 0, 0), "lifting no limit is fine")
	yes(t, a, b, "unlimited")
}

func TestDelay(t *testing.T) {
	l := lab(t, Options{Delay: 20 * time.Millisecond})
	for _, addr := range []func(*Host, int) netip.Addr{(*Host).Addr4, (*Host).Addr6} {
		a, b := socket(t, l.A, addr(l.A, 0)), socket(t, l.B, addr(l.B, 0))
		for _, s := range [][2]*net.UDPConn{{a, b}, {b, a}} {
			require.GreaterOrEqual(t, yes(t, s[0], s[1], "delayed"), 20*time.Millisecond)
		}
	}
	t.Logf("worst lateness %v", l.Lateness())
	require.NoError(t, l.SetDelay(1, 60*time.Millisecond))
	a, b := socket(t, l.A, l.A.Addr4(1)), socket(t, l.B, l.B.Addr4(1))
	require.GreaterOrEqual(t, yes(t, a, b, "delayed more"), 60*time.Millisecond)
	require.NoError(t, l.Cut(1, Forth))
	no(t, a, b, "a delayed path can be cut")
	yes(t, b, a, "in one direction")
	require.NoError(t, l.Restore(1))

	// Order is kept, and every packet comes.
	dst := b.LocalAddr().(*net.UDPAddr).AddrPort()
	for i := range 200 {
		_, err := a.WriteToUDPAddrPort([]byte{byte(i)}, dst)
		require.NoError(t, err)
	}
	require.NoError(t, b.SetReadDeadline(time.Now().Add(patience)))
	var buf [16]byte
	for i := range 200 {
		_, _, err := b.ReadFromUDPAddrPort(buf[:])
		require.NoError(t, err)
		require.Equal(t, byte(i), buf[0])
	}
}

func TestRun(t *testing.T) {
	l := lab(t, Options{Paths: 1})
	out, err := l.RunB("ip", "-brief", "addr")
	require.NoError(t, err)
	require.Contains(t, out, l.B.Addr4(0).String())
	_, err = l.RunA("sh", "-c", "echo why; exit 3")
	require.ErrorContains(t, err, "why")
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)

	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "sleep", "100")
	require.NoError(t, l.A.Start(cmd))
	inside, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "ns/net"))
	require.NoError(t, err)
	cancel()
	require.Error(t, cmd.Wait())
	outside, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	require.NotEqual(t, outside, inside)
	require.Contains(t, l.A.String(), "nsenter --net=/proc/")
}

// TestThreadsComeHome makes sure that no thread is left inside a namespace, whatever the function did.
func TestThreadsComeHome(t *testing.T) {
	l := lab(t, Options{Paths: 1})
	home, err := os.Readlink(threadNS)
	require.NoError(t, err)
	here := func() string {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		ns, err := os.Readlink(threadNS)
		require.NoError(t, err)
		return ns
	}
	boom := errors.New("boom")
	require.ErrorIs(t, l.InA(func() error { return boom }), boom)
	require.Panics(t, func() { _ = l.InB(func() error { panic("boom") }) })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = l.InA(func() error { runtime.Goexit(); return nil })
	}()
	<-ended
	var inner, nested string
	require.NoError(t, l.InA(func() error {
		inner = here()
		return l.InB(func() error { nested = here(); return nil })
	}))
	require.NotEqual(t, home, inner)
	require.NotEqual(t, inner, nested)
	for range 50 {
		require.Equal(t, home, here())
	}
}

// TestNothingIsLeft compares what the machine shows before, while and after two laboratories exist.
func TestNothingIsLeft(t *testing.T) {
	needs.Netns(t)
	look := func() string {
		var all []string
		for _, args := range [][]string{{"netns", "list"}, {"-brief", "link"}, {"-brief", "addr"}, {"rule"}, {"-6", "rule"}, {"route"}} {
			out, err := exec.Command("ip", args...).Output()
			require.NoError(t, err)
			all = append(all, string(out))
		}
		out, err := exec.Command("nft", "list", "ruleset").Output()
		require.NoError(t, err)
		return strings.Join(append(all, string(out)), "\n")
	}
	before := look()
	one, err := New(Options{Cross: true, Delay: time.Millisecond})
	require.NoError(t, err)
	two, err := New(Options{})
	require.NoError(t, err)
	require.Equal(t, before, look(), "a laboratory is not seen from outside")
	c, err := one.A.udp(one.A.Addr4(0))
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, one.Close())
	require.NoError(t, one.Close(), "closing twice is fine")
	require.ErrorIs(t, one.Cut(0, Both), errClosed)
	links, err := two.RunA("ip", "-brief", "link")
	require.NoError(t, err)
	require.Contains(t, links, "p1", "the other laboratory stands")
	require.NoError(t, two.Close())
	require.Equal(t, before, look())
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{Paths: -1}, {Paths: MaxPaths + 1}, {MTU: 500}, {MTU: 1 << 20}, {Delay: -1}} {
		_, err := New(o)
		require.Error(t, err, "%+v", o)
	}
	l := lab(t, Options{Paths: MaxPaths})
	require.Error(t, l.Cut(MaxPaths, Both))
	require.Error(t, l.Cut(-1, Both))
	require.Equal(t, "no direction", Direction(0).String())
}

func TestBuildTime(t *testing.T) {
	needs.Netns(t)
	start := time.Now()
	l := ForTest(t, Options{})
	built := time.Since(start)
	start = time.Now()
	require.NoError(t, l.Cut(0, Both))
	t.Logf("two paths built in %v, one cut in %v", built, time.Since(start))
}
