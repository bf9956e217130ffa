package udp

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-multihome/multihome/internal/pktbuf"
)

const batchSystem = true

func optionOf(t *testing.T, s Socket, level, opt int) int {
	t.Helper()
	v := 0
	var inner error
	require.NoError(t, s.(*mmsg).raw.Control(func(fd uintptr) { v, inner = unix.GetsockoptInt(int(fd), level, opt) }))
	require.NoError(t, inner)
	return v
}

func TestKernelOptions(t *testing.T) {
	for _, addr := range []netip.Addr{loop4, loop6} {
		if addr == loop6 && !haveIPv6() {
			continue
		}
		s, err := Listen(context.Background(), netip.AddrPortFrom(addr, 0),
			Options{Device: "lo", RecvBuffer: 128 << 10, SendBuffer: 96 << 10, DSCP: 46})
		require.NoError(t, err)
		st, _ := StatsOf(s)
		require.True(t, st.DF && st.ECN && st.BatchSystem)
		require.Equal(t, 2*128<<10, st.RecvBuffer, "as the kernel counts")
		require.Equal(t, 2*96<<10, st.SendBuffer)
		level, tos, discover, probe := unix.IPPROTO_IP, unix.IP_TOS, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE
		if addr.Is6() {
			level, tos, discover, probe = unix.IPPROTO_IPV6, unix.IPV6_TCLASS, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE
			require.Equal(t, 1, optionOf(t, s, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY))
		}
		require.Equal(t, 46<<2, optionOf(t, s, level, tos))
		require.Equal(t, probe, optionOf(t, s, level, discover))

		// A send without DF leaves the option as it was.
		pkts := packets(3, 100, s.Local())
		pkts[1].NoDF = true
		n, err := s.WriteBatch(pkts)
		require.NoError(t, err)
		require.Equal(t, 3, n)
		require.Equal(t, probe, optionOf(t, s, level, discover))
		require.NoError(t, s.Close())
		_, err = s.WriteBatch(pkts)
		require.True(t, err == net.ErrClosed)
	}
}

func TestECN(t *testing.T) {
	for _, addr := range []netip.Addr{loop4, loop6} {
		if addr == loop6 && !haveIPv6() {
			continue
		}
		a, b := kinds[0].open(t, addr), kinds[0].open(t, addr)
		defer a.Close()
		defer b.Close()
		batch := NewBatch(4, false)
		for ecn := range 4 {
			level, opt := unix.IPPROTO_IP, unix.IP_TOS
			if addr.Is6() {
				level, opt = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
			}
			require.NoError(t, a.(*mmsg).raw.Control(func(fd uintptr) {
				_ = unix.SetsockoptInt(int(fd), level, opt, 46<<2|ecn)
			}))
			_, err := a.WriteBatch(packets(2, 50, b.Local()))
			require.NoError(t, err)
			for got := 0; got < 2; got += arrived(batch) {
				require.NoError(t, read(t, b, batch))
				for _, s := range batch.Slots {
					require.EqualValues(t, ecn, s.ECN)
				}
			}
		}
	}
}

// What the kernel drops because nobody reads is counted, and learnt with the next datagram that got in after it.
func TestOverflows(t *testing.T) {
	a, err := Listen(context.Background(), netip.AddrPortFrom(loop4, 0), Options{NoOffload: true}) // a run may get in whole
	require.NoError(t, err)
	defer a.Close()
	b, err := Listen(context.Background(), netip.AddrPortFrom(loop4, 0), Options{RecvBuffer: 4096})
	require.NoError(t, err)
	defer b.Close()
	const sent = 64
	_, err = a.WriteBatch(packets(sent, 1000, b.Local()))
	require.NoError(t, err)
	batch := NewBatch(64, false)
	require.NoError(t, read(t, b, batch))
	got := arrived(batch)
	require.Less(t, got, sent)
	_, err = a.WriteBatch(packets(1, 1000, b.Local()))
	require.NoError(t, err)
	for st, _ := StatsOf(b); st.Overflows == 0; st, _ = StatsOf(b) {
		require.NoError(t, read(t, b, batch))
		got += arrived(batch)
	}
	st, _ := StatsOf(b)
	require.EqualValues(t, sent+1-got, st.Overflows)
}

// Link-local addresses: a peer comes with the zone its locator is spelled with, by name or number alike.
func TestZones(t *testing.T) {
	const scope, zone = 1, "lo" // the loopback is interface 1 in every network namespace
	f := family{inet6: true, v6only: true, scope: scope, zone: zone}
	var sa unix.RawSockaddrInet6
	var cache zoneCache
	peer := netip.MustParseAddrPort("[fe80::1%lo]:7")
	require.EqualValues(t, unix.SizeofSockaddrInet6, f.encode(&sa, peer, &cache))
	require.EqualValues(t, scope, sa.Scope_id)
	require.Zero(t, cache, "the zone bound to needs no look-up")
	got, ok := f.decode(&sa, unix.SizeofSockaddrInet6, &cache)
	require.True(t, ok)
	require.Equal(t, peer, got)

	global := family{inet6: true, v6only: true}
	require.NotZero(t, global.encode(&sa, peer, &cache))
	require.EqualValues(t, scope, sa.Scope_id)
	require.Equal(t, zoneCache{scope, zone}, cache)
	got, ok = global.decode(&sa, unix.SizeofSockaddrInet6, &cache)
	require.True(t, ok)
	require.Equal(t, peer, got)

	number := netip.MustParseAddrPort("[fe80::1%4000000000]:7")
	require.NotZero(t, global.encode(&sa, number, &cache))
	require.Equal(t, uint32(4000000000), sa.Scope_id)
	got, ok = global.decode(&sa, unix.SizeofSockaddrInet6, &cache)
	require.True(t, ok)
	require.Equal(t, number, got)
	require.Zero(t, global.encode(&sa, netip.MustParseAddrPort("[fe80::1%no-such]:7"), &cache))
	require.Zero(t, global.encode(&sa, netip.MustParseAddrPort("1.2.3.4:7"), &cache), "IPv6 only")

	_, ok = global.decode(&sa, 8, &cache)
	require.False(t, ok, "too short")
	sa.Family = unix.AF_UNIX
	_, ok = global.decode(&sa, unix.SizeofSockaddrInet6, &cache)
	require.False(t, ok)
}

// Control messages of any shape are read without harm: lengths that lie end the walk.
func FuzzControl(f *testing.F) {
	f.Add([]byte{20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3}, 24)
	f.Add(make([]byte, 128), 128)
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255}, 128)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		r := newReceiver(&mmsg{}, NewBatch(1, false))
		for i := range min(len(b), 128) {
			r.ctls[0][i/8] |= uint64(b[i]) << (i % 8 * 8)
		}
		r.hdrs[0].hdr.SetControllen(n & 0xff)
		ecn, _ := r.readControl(0)
		require.LessOrEqual(t, ecn, uint8(3))
	})
}

func BenchmarkLoopback(b *testing.B) {
	for _, k := range kinds[:2] {
		for _, size := range []int{200, 1452} {
			b.Run(k.name+"/"+map[int]string{200: "200", 1452: "1452"}[size], func(b *testing.B) {
				from, to := k.open(b, loop4), k.open(b, loop4)
				defer from.Close()
				defer to.Close()
				pkts := packets(pktbuf.BatchPackets, size, to.Local())
				batch := NewBatch(64, false)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; i < b.N; i += len(pkts) {
					n, err := from.WriteBatch(pkts)
					if err != nil {
						b.Fatal(err)
					}
					for got := 0; got < n; got += arrived(batch) {
						if err := to.ReadBatch(batch); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}
