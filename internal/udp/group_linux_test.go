package udp

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/pktbuf"
)

// steer reads words at the beginning of packets, as the helpers of these tests number them.
var steer = Steering{Word: 0, Otherwise: 8}

// openGroup opens shards sockets on one address and a free port.
func openGroup(t testing.TB, addr netip.Addr, shards int) Socket {
	t.Helper()
	s, err := Listen(context.Background(), netip.AddrPortFrom(addr, 0), Options{Shards: shards, Steer: steer})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	require.Len(t, Shards(s), shards)
	return s
}

// eachFamily runs a test with an address of each family.
func eachFamily(t *testing.T, f func(t *testing.T, addr netip.Addr)) {
	for _, addr := range []netip.Addr{loop4, loop6} {
		t.Run(addr.String(), func(t *testing.T) {
			needs.Address(t, addr)
			f(t, addr)
		})
	}
}

// The kernel's program and the rule in Go say the same, by an interpreter of such programs.
func TestSteeringProgram(t *testing.T) {
	seed := needs.Seed(t)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		s := Steering{Word: rnd.IntN(8), Otherwise: rnd.IntN(24)}
		shards := 2 + rnd.IntN(MaxShards-1)
		var raw []bpf.RawInstruction
		for _, f := range s.program(shards) {
			raw = append(raw, bpf.RawInstruction{Op: f.Code, Jt: f.Jt, Jf: f.Jf, K: f.K})
		}
		prog, all := bpf.Disassemble(raw)
		require.True(t, all)
		vm, err := bpf.NewVM(prog)
		require.NoError(t, err)
		payload := make([]byte, rnd.IntN(40))
		for i := range payload {
			payload[i] = byte(rnd.Uint32())
		}
		if rnd.IntN(2) == 0 && len(payload) >= s.Word+4 {
			clear(payload[s.Word : s.Word+4])
		}
		got, err := vm.Run(payload)
		require.NoError(t, err)
		require.Equal(t, 1+s.Shard(payload, shards), got, "%+v of %d, %x: index 0 is the guard's", s, shards, payload)
	}
}

// Each datagram arrives at the socket that the rule names, whoever sent it, by itself or in a run.
func TestGroupSteers(t *testing.T) {
	eachFamily(t, func(t *testing.T, addr netip.Addr) {
		const shards, senders, each = 3, 4, 60
		g := openGroup(t, addr, shards)
		want := make([]map[string]int, shards)
		for i := range want {
			want[i] = map[string]int{}
		}
		for range senders {
			s := kinds[0].open(t, addr)
			defer s.Close()
			var pkts []pktbuf.Packet
			for i := range each {
				p := make([]byte, 4+i) // each of another size: no run
				binary.BigEndian.PutUint32(p, uint32(i))
				p[3+i] = byte(i)
				pkts = append(pkts, pktbuf.Packet{Buf: p, Peer: g.Local()})
			}
			for i := range 3 {
				run := slabPackets(t, g.Local(), repeat(8, 500)...)
				for k := range run {
					clear(run[k].Buf[:12]) // of which the first word is steered by when the first is zero
					binary.BigEndian.PutUint32(run[k].Buf[8:], uint32(i))
				}
				n, err := s.WriteBatch(run)
				require.NoError(t, err)
				require.Equal(t, len(run), n)
				for k := range run {
					want[steer.Shard(run[k].Buf, shards)][string(run[k].Buf)]++
				}
			}
			pkts = append(pkts, pktbuf.Packet{Peer: g.Local()}) // with nothing in it
			n, err := s.WriteBatch(pkts)
			require.NoError(t, err)
			require.Equal(t, len(pkts), n)
			for _, p := range pkts {
				want[steer.Shard(p.Buf, shards)][string(p.Buf)]++
			}
		}
		var in uint64
		for i, s := range Shards(g) {
			got, n := map[string]int{}, 0
			for _, k := range want[i] {
				n += k
			}
			require.Greater(t, n, senders*each/shards/2)
			batch := NewBatch(8, true)
			for k := 0; k < n; {
				require.NoError(t, read(t, s, batch))
				for _, slot := range batch.Slots {
					for d := range slot.Datagrams() {
						got[string(slot.Datagram(d))]++
						k++
					}
				}
			}
			require.Equal(t, want[i], got, "socket %d", i)
			st, _ := StatsOf(s)
			require.EqualValues(t, n, st.PacketsIn)
			in += st.PacketsIn
		}
		sum, _ := StatsOf(g)
		require.Equal(t, in, sum.PacketsIn)
		// What leaves by any of them has the group's address.
		for _, s := range Shards(g) {
			require.Equal(t, g.Local(), s.Local())
			other := kinds[0].open(t, addr)
			defer other.Close()
			_, err := s.WriteBatch(packets(2, 100, other.Local()))
			require.NoError(t, err)
			readN(t, other, NewBatch(2, false), 0, 2, 100, g.Local())
		}
	})
}

// Nobody else can bind to the port of a group, not even the same user with the same options, and anybody once it is closed.
func TestGroupGuardsThePort(t *testing.T) {
	eachFamily(t, func(t *testing.T, addr netip.Addr) {
		ctx := context.Background()
		g := openGroup(t, addr, 2)
		network := "udp4"
		if addr.Is6() {
			network = "udp6"
		}
		sharing := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			return onDescriptor(c, func(fd uintptr) error {
				return errors.Join(setShared(fd), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
			})
		}}
		wild := netip.AddrPortFrom(netip.IPv4Unspecified(), g.Local().Port())
		if addr.Is6() {
			wild = netip.AddrPortFrom(netip.IPv6Unspecified(), g.Local().Port())
		}
		for i := range 3 {
			for _, at := range []netip.AddrPort{g.Local(), wild} {
				_, err := sharing.ListenPacket(ctx, network, at.String())
				require.ErrorIs(t, err, unix.EADDRINUSE, "%v with SO_REUSEPORT", at)
			}
			for _, shards := range []int{0, 1, 2, 5} {
				_, err := Listen(ctx, g.Local(), Options{Shards: shards, Steer: steer})
				require.ErrorIs(t, err, unix.EADDRINUSE)
				require.ErrorContains(t, err, g.Local().String())
			}
			// A socket of the group that is closed opens no door.
			if i < 2 {
				require.NoError(t, Shards(g)[i].Close())
			}
		}
		_ = g.Close()
		again, err := Listen(ctx, g.Local(), Options{Shards: 2, Steer: steer})
		require.NoError(t, err)
		require.NoError(t, again.Close())
		one, err := Listen(ctx, g.Local(), Options{})
		require.NoError(t, err)
		// Nor does a group push itself in where a program shares a port on purpose, or has it alone.
		_, err = Listen(ctx, g.Local(), Options{Shards: 2, Steer: steer})
		require.ErrorIs(t, err, unix.EADDRINUSE)
		require.NoError(t, one.Close())
		shared, err := sharing.ListenPacket(ctx, network, g.Local().String())
		require.NoError(t, err)
		_, err = Listen(ctx, g.Local(), Options{Shards: 2, Steer: steer})
		require.ErrorIs(t, err, unix.EADDRINUSE)
		require.NoError(t, shared.Close())
	})
}

// Where the kernel refuses there is one socket, which gets all, and the port is held by it alone.
func TestGroupFallsBack(t *testing.T) {
	calls := 0
	// at does something to one of the sockets, in the order of opening, or with 0 to all.
	at := func(which int, f func(fd uintptr) error) func(string, string, syscall.RawConn) error {
		return func(_, _ string, c syscall.RawConn) error {
			if calls++; which > 0 && calls != which {
				return nil
			}
			return onDescriptor(c, f)
		}
	}
	refuse := func(uintptr) error { return unix.EMFILE }
	for _, tc := range []struct {
		name    string
		control func(string, string, syscall.RawConn) error
		shared  bool
	}{
		{"no first shard", at(2, refuse), false},
		{"no last shard", at(4, refuse), false},
		{"no second guard", at(5, refuse), false},
		{"a shard that does not share", at(2, setAlone), false},
		{"no program", at(2, func(fd uintptr) error {
			return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1)
		}), false},
		{"a port that guards cannot close", at(0, func(fd uintptr) error {
			return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		}), true},
		{"a port shared on purpose", at(0, setShared), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			eachFamily(t, func(t *testing.T, addr netip.Addr) {
				calls = 0
				s, err := Listen(context.Background(), netip.AddrPortFrom(addr, 0),
					Options{Shards: 3, Steer: steer, Control: tc.control, RecvBuffer: 128 << 10})
				require.NoError(t, err)
				defer s.Close()
				require.Equal(t, []Socket{s}, Shards(s))
				st, _ := StatsOf(s)
				require.Equal(t, 2*128<<10, st.RecvBuffer, "no guard's buffer")
				other := kinds[0].open(t, addr)
				defer other.Close()
				_, err = other.WriteBatch(packets(10, 100, s.Local()))
				require.NoError(t, err)
				readN(t, s, NewBatch(4, true), 0, 10, 100, other.Local())
				_, err = s.WriteBatch(packets(2, 100, other.Local()))
				require.NoError(t, err)
				readN(t, other, NewBatch(4, true), 0, 2, 100, s.Local())
				calls = 0
				again, err := Listen(context.Background(), s.Local(), Options{Shards: 3, Steer: steer, Control: tc.control})
				if tc.shared {
					require.NoError(t, err)
					require.NoError(t, again.Close())
				} else {
					require.ErrorIs(t, err, unix.EADDRINUSE)
				}
			})
		})
	}
	for _, n := range []int{-1, MaxShards + 1} {
		_, err := Listen(context.Background(), netip.AddrPortFrom(loop4, 0), Options{Shards: n})
		require.ErrorContains(t, err, "shards")
	}
	most := openGroup(t, loop4, MaxShards)
	require.NoError(t, most.Close())
}

// An ICMP message about a packet that left by one of a group comes out of one of them.
func TestGroupNotices(t *testing.T) {
	eachFamily(t, func(t *testing.T, addr netip.Addr) {
		const shards = 3
		g := openGroup(t, addr, shards)
		found := make(chan Notice)
		ended := make(chan error, shards)
		for _, s := range Shards(g) {
			go func() {
				for b := NewBatch(4, true); ; {
					if err := s.ReadBatch(b); err != nil {
						ended <- err
						return
					}
					for _, n := range b.Notices {
						n.Quote = append([]byte(nil), n.Quote...)
						found <- n
					}
				}
			}()
		}
		for i, s := range Shards(g) {
			to := gone(t, addr)
			pkts := packets(1, 40, to)
			binary.BigEndian.PutUint32(pkts[0].Buf, uint32(i))
			_, err := s.WriteBatch(pkts)
			require.NoError(t, err)
			n := <-found
			require.Equal(t, PortUnreachable, n.Kind)
			require.Equal(t, to, n.Peer)
			require.Equal(t, pkts[0].Buf, n.Quote)
		}
		// Close frees all who read, and says so to all who write.
		require.NoError(t, g.Close())
		for range shards {
			require.Equal(t, net.ErrClosed, <-ended)
		}
		for _, s := range Shards(g) {
			_, err := s.WriteBatch(packets(1, 40, g.Local()))
			require.Equal(t, net.ErrClosed, err)
		}
	})
}

// ListenSet makes a group of each address, and the same address twice is still refused.
func TestListenSetOfGroups(t *testing.T) {
	second := netip.MustParseAddr("127.0.0.2")
	needs.Address(t, second)
	opts := Options{Shards: 2, Steer: steer}
	set, err := ListenSet(context.Background(), []netip.Addr{loop4, second}, 0, opts)
	require.NoError(t, err)
	for i, addr := range []netip.Addr{loop4, second} {
		require.Len(t, Shards(set[i]), 2)
		for _, s := range Shards(set[i]) {
			require.Equal(t, netip.AddrPortFrom(addr, set[0].Local().Port()), s.Local())
		}
		require.NotNil(t, Kernel(set[i]))
		require.NoError(t, set[i].Close())
	}
	_, err = ListenSet(context.Background(), []netip.Addr{loop4, loop4}, 0, opts)
	require.ErrorIs(t, err, unix.EADDRINUSE)
}
