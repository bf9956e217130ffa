package udp

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-multihome/multihome/internal/needs"
)

// What only real links show: a send buffer that fills behind a dead next hop, packets larger than the link, addresses
// and links that go away. The tests run in a network namespace of their own, in a process started for it.

const inNamespace = "MULTIHOME_UDP_NAMESPACE" // names the test that the process started for it runs

var linkTests = map[string]func(*testing.T){
	"Blocked": linkBlocked,
	"TooBig":  linkTooBig,
	"Faults":  linkFaults,
	"Local":   linkLocal,
	"Device":  linkDevice,
	"Notices": linkNotices,
	"Drops":   linkDrops,
}

func TestLinks(t *testing.T) {
	if name := os.Getenv(inNamespace); name != "" {
		inside(t)
		linkTests[name](t)
		return
	}
	needs.Program(t, "ip", "iproute2")
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if os.Getuid() != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	inside := exec.Command("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
	inside.SysProcAttr = attr
	if out, err := inside.CombinedOutput(); err != nil {
		needs.Missing(t, "needs a network namespace with links of its own: %v %s", err, out)
	}
	for name := range linkTests {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run", "^TestLinks$", "-test.v")
			cmd.SysProcAttr = attr
			cmd.Env = append(os.Environ(), inNamespace+"="+name)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			require.NoError(t, cmd.Run(), "%s", &out)
			if strings.Contains(out.String(), "--- SKIP") {
				needs.Missing(t, "%s", out.String())
			}
			require.Contains(t, out.String(), "--- PASS")
			t.Logf("%s", &out)
		})
	}
}

// inside makes two links, v0 and v1, joined end to end, with 10.9.0.1 on v0 and the loopback up.
func inside(t *testing.T) {
	ip(t, "link set lo up")
	ip(t, "link add v0 type veth peer name v1")
	ip(t, "link set v0 up")
	ip(t, "link set v1 up")
	ip(t, "addr add 10.9.0.1/24 dev v0")
}

func ip(t *testing.T, args string) {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	require.NoError(t, err, "ip %s: %s", args, out)
}

func listen(t *testing.T, addr string, opts Options) Socket {
	t.Helper()
	s, err := Listen(context.Background(), netip.MustParseAddrPort(addr), opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// A next hop that does not answer keeps packets in the socket's buffer until it is full. Nobody waits then.
func linkBlocked(t *testing.T) {
	dead := netip.MustParseAddrPort("10.9.0.77:5000")
	kernel := listen(t, "10.9.0.1:0", Options{SendBuffer: 16 << 10})
	conn := listenUDP(t, netip.MustParseAddr("10.9.0.1"))
	require.NoError(t, conn.SetWriteBuffer(16<<10))
	d, err := newDatagram(conn, false)
	require.NoError(t, err)
	conn2 := listenUDP(t, netip.MustParseAddr("10.9.0.1"))
	require.NoError(t, conn2.SetWriteBuffer(16<<10))
	foreign, err := Wrap(struct{ net.PacketConn }{conn2}, netip.AddrPort{})
	require.NoError(t, err)
	for _, s := range []Socket{kernel, newSingle(d, kernel.Local()), foreign} {
		n, err := s.WriteBatch(packets(200, 1000, dead))
		require.Equal(t, ErrBlocked, err)
		require.Positive(t, n)
		require.Less(t, n, 200)
		st, _ := StatsOf(s)
		require.EqualValues(t, 1, st.Blocked)
		require.EqualValues(t, n, st.PacketsOut)
		n, err = s.WriteBatch(packets(3, 1000, dead))
		require.Zero(t, n)
		require.Equal(t, ErrBlocked, err)
		_ = s.Close()
	}
	// Another socket on the same link is not held up.
	other := listen(t, "10.9.0.1:0", Options{})
	n, err := other.WriteBatch(packets(3, 1000, other.Local()))
	require.NoError(t, err)
	require.Equal(t, 3, n)
}

// With DF a packet larger than the link is refused; without, it goes out in fragments and arrives whole.
func linkTooBig(t *testing.T) {
	ip(t, "link set lo mtu 1400")
	for _, k := range kinds[:2] {
		for _, addr := range []netip.Addr{loop4, loop6} {
			if addr == loop6 && !haveIPv6() {
				continue
			}
			a, b := k.open(t, addr), k.open(t, addr)
			st, _ := StatsOf(a)
			require.True(t, st.DF)
			batch := NewBatch(4, false)
			for range 2 {
				pkts := packets(6, 1300, b.Local())
				pkts[2].Buf = append(pkts[2].Buf, make([]byte, 2000)...)
				n, err := a.WriteBatch(pkts)
				require.Equal(t, 2, n)
				require.True(t, IsTooBig(err), "%v", err)
				require.False(t, IsLocalFault(err))
				readN(t, b, batch, 0, 2, 1300, a.Local())

				pkts[2].NoDF, pkts[4].NoDF = true, true
				n, err = a.WriteBatch(pkts[2:3])
				require.NoError(t, err)
				require.Equal(t, 1, n)
				readN(t, b, batch, 2, 1, 3300, a.Local())

				n, err = a.WriteBatch(pkts)
				require.NoError(t, err)
				require.Equal(t, 6, n)
				requireNumbers(t, b, pkts)
			}
			_, _ = a.Close(), b.Close()
		}
	}
}

// What goes wrong on this host is told apart from what the network does.
func linkFaults(t *testing.T) {
	a := listen(t, "10.9.0.1:0", Options{})
	send := func(s Socket, to string) error {
		pkts := packets(1, 100, netip.MustParseAddrPort(to))
		pkts[0].Peer = netip.MustParseAddrPort(to)
		_, err := s.WriteBatch(pkts)
		return err
	}
	local := func(err error, when string) {
		t.Helper()
		t.Logf("%s: %v", when, err)
		require.Error(t, err, when)
		require.True(t, IsLocalFault(err), "%s: %v", when, err)
	}
	require.NoError(t, send(a, "10.9.0.9:5000"))
	local(send(a, "10.8.0.9:5000"), "no route")
	for _, kind := range []string{"unreachable", "prohibit", "blackhole"} {
		ip(t, "route add "+kind+" 10.7.0.0/24")
		local(send(a, "10.7.0.9:5000"), kind)
		ip(t, "route del "+kind+" 10.7.0.0/24")
	}
	ip(t, "link set v0 down")
	local(send(a, "10.9.0.9:5000"), "link down")
	ip(t, "link set v0 up")
	require.NoError(t, send(a, "10.9.0.9:5000"), "and up again")
	ip(t, "addr del 10.9.0.1/24 dev v0")
	ip(t, "addr add 10.9.0.2/24 dev v0")
	local(send(a, "10.9.0.9:5000"), "address gone")
	ip(t, "addr add 10.9.0.1/24 dev v0")
	require.NoError(t, send(a, "10.9.0.9:5000"), "and back")

	bound := listen(t, "10.9.0.1:0", Options{Device: "v0"})
	require.NoError(t, send(bound, "10.9.0.9:5000"))
	ip(t, "link del v0")
	local(send(bound, "10.9.0.9:5000"), "interface gone")

	if haveIPv6() {
		ip(t, "addr add 2001:db8::1/128 dev lo nodad")
		six := listen(t, "[2001:db8::1]:0", Options{})
		local(send(six, "[2001:db8:1::9]:5000"), "no IPv6 route")
	}
}

// Link-local addresses on both ends of a cable: the zone says which end.
func linkLocal(t *testing.T) {
	needs.Address(t, loop6)
	ip(t, "addr add fe80::5/64 dev v0 nodad")
	ip(t, "addr add fe80::6/64 dev v1 nodad")
	a, b := listen(t, "[fe80::5%v0]:0", Options{}), listen(t, "[fe80::6%v1]:0", Options{})
	require.Equal(t, "fe80::5%v0", a.Local().Addr().String())
	onV0 := netip.AddrPortFrom(b.Local().Addr().WithZone("v0"), b.Local().Port())
	bare := netip.AddrPortFrom(b.Local().Addr().WithZone(""), b.Local().Port())
	seen := netip.AddrPortFrom(a.Local().Addr().WithZone("v1"), a.Local().Port())
	batch := NewBatch(4, false)
	for _, to := range []netip.AddrPort{onV0, bare} {
		n, err := a.WriteBatch(packets(2, 100, to))
		require.NoError(t, err)
		require.Equal(t, 2, n)
		readN(t, b, batch, 0, 2, 100, seen)
	}
	n, err := b.WriteBatch(packets(2, 100, seen))
	require.NoError(t, err)
	require.Equal(t, 2, n)
	readN(t, a, batch, 0, 2, 100, onV0)

	_, err = a.WriteBatch(packets(1, 100, netip.AddrPortFrom(b.Local().Addr(), 9))) // %v1, from a socket on v0
	require.True(t, IsLocalFault(err), "%v", err)
}

// A socket bound to a device sends by it even where the routes say otherwise.
func linkDevice(t *testing.T) {
	ip(t, "addr add 10.9.1.1/24 dev v1")
	ip(t, "route add 10.10.0.0/24 dev v1")
	devices := map[netip.Addr]string{netip.MustParseAddr("10.9.0.1"): "v0"}
	set, err := ListenSet(context.Background(), []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.1.1")}, 0,
		Options{DeviceOf: func(a netip.Addr) string { return devices[a] }})
	require.NoError(t, err)
	for i, want := range []string{"v0", ""} {
		name := ""
		require.NoError(t, set[i].(*mmsg).raw.Control(func(fd uintptr) {
			name, err = unix.GetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
		}))
		require.NoError(t, err)
		require.Equal(t, want, name)
	}
	for _, s := range set {
		_ = s.Close()
	}
}

// A next hop that does not answer becomes a notice that the host is unreachable, also while its packets fill the send buffer.
// Errors that a write has told already leave nothing behind in the error queue.
func linkNotices(t *testing.T) {
	require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/neigh/v0/retrans_time_ms", []byte("50"), 0))
	dead := netip.MustParseAddrPort("10.9.0.77:5000")
	for _, size := range []int{0, 16 << 10} {
		s := listen(t, "10.9.0.1:0", Options{SendBuffer: size}).(*mmsg)
		count := 1
		if size > 0 {
			count = 200
		}
		n, err := s.WriteBatch(packets(count, 1000, dead))
		if size > 0 {
			require.Equal(t, ErrBlocked, err)
			require.Less(t, n, count)
		}
		batch := NewBatch(4, false)
		for notices := 0; notices == 0; {
			require.NoError(t, read(t, s, batch))
			for _, n := range batch.Notices {
				require.Equal(t, HostUnreachable, n.Kind)
				require.Equal(t, dead, n.Peer)
				require.Equal(t, s.Local().Addr(), n.Offender, "our own kernel says so")
				require.Len(t, n.Quote, noticeQuote)
				notices++
			}
		}
	}

	ip(t, "link set lo mtu 1400")
	s := listen(t, "127.0.0.1:0", Options{})
	for range 3 {
		_, err := s.WriteBatch(packets(1, 3000, s.Local()))
		require.True(t, IsTooBig(err), "%v", err)
	}
	batch := NewBatch(4, false)
	done := make(chan error)
	go func() { done <- s.ReadBatch(batch) }() // looks at the queue before it waits
	require.Eventually(t, func() (empty bool) {
		require.NoError(t, s.(*mmsg).raw.Control(func(fd uintptr) {
			polled := []unix.PollFd{{Fd: int32(fd)}} // tells of a queue that is not empty, without taking from it
			_, err := unix.Poll(polled, 0)
			empty = err == nil && polled[0].Revents&unix.POLLERR == 0
		}))
		return empty
	}, patienceOfTest, time.Millisecond, "the reader leaves messages in the queue")
	_, err := s.WriteBatch(packets(1, 10, s.Local()))
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.Empty(t, batch.Notices)
	require.Equal(t, 1, arrived(batch))
}

// A queue that is full drops packets, which the writer learns one by one: the socket is not blocked.
func linkDrops(t *testing.T) {
	ip(t, "neigh add 10.9.0.9 lladdr 02:00:00:00:00:09 dev v0")
	out, err := exec.Command("tc", "qdisc", "add", "dev", "v0", "root", "tbf", "rate", "8kbit", "burst", "2000", "limit", "4000").CombinedOutput()
	if err != nil {
		needs.Missing(t, "needs the program tc and queues that shape: %v %s", err, out)
	}
	s := listen(t, "10.9.0.1:0", Options{})
	pkts := packets(10, 900, netip.MustParseAddrPort("10.9.0.9:5000"))
	for i := range pkts {
		pkts[i].Buf = append(pkts[i].Buf, make([]byte, i)...) // no two make a run, of which a queue may drop a part silently
	}
	dropped := 0
	for len(pkts) > 0 {
		n, err := s.WriteBatch(pkts)
		if pkts = pkts[n:]; err != nil {
			require.Equal(t, ErrDropped, err)
			dropped++
			pkts = pkts[1:]
		}
	}
	require.Positive(t, dropped)
	require.Less(t, dropped, 10)
	st, _ := StatsOf(s)
	require.EqualValues(t, dropped, st.SendErrors)
	require.Zero(t, st.Blocked)
}
