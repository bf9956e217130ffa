package udp

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/internal/pktbuf"
)

// slabPackets builds packets of the given sizes side by side as an association does, each beginning with its number.
func slabPackets(t testing.TB, peer netip.AddrPort, sizes ...int) []pktbuf.Packet {
	t.Helper()
	b := pktbuf.NewBatch()
	for i, n := range sizes {
		buf := b.Open(1500)
		require.NotNil(t, buf)
		buf = binary.BigEndian.AppendUint32(buf, uint32(i))
		for len(buf) < n {
			buf = append(buf, byte(i+len(buf)))
		}
		b.Commit(pktbuf.Packet{Buf: buf[:n], Peer: peer})
	}
	return b.Packets()
}

// message is what a socket handed to the kernel as one.
type message struct {
	packets, vectors, bytes, segment int
}

func (m message) String() string {
	return fmt.Sprintf("%dx%d=%d/%d", m.packets, m.segment, m.bytes, m.vectors)
}

// look reads a message as the kernel does.
func look(h *unix.Msghdr) (m message) {
	for _, v := range unsafe.Slice(h.Iov, h.Iovlen) {
		m.vectors++
		m.bytes += int(v.Len)
	}
	m.packets, m.segment = 1, m.bytes
	if h.Control != nil {
		c := (*unix.Cmsghdr)(unsafe.Pointer(h.Control))
		if c.Level != unix.SOL_UDP || c.Type != unix.UDP_SEGMENT || int(c.Len) != unix.CmsgLen(2) ||
			int(h.Controllen) != unix.CmsgSpace(2) {
			panic("control message is not about segments")
		}
		m.segment = int(*(*uint16)(unsafe.Add(unsafe.Pointer(c), unix.CmsgLen(0))))
		m.packets = (m.bytes + m.segment - 1) / m.segment
	} else if h.Controllen != 0 {
		panic("control length without control message")
	}
	return m
}

// watch puts f between a socket and the kernel: it sees each message first, and an error of its own keeps the message
// from being sent, as the kernel's would.
func watch(s Socket, f func(m message) syscall.Errno) {
	k := s.(*mmsg)
	k.sendmmsg = func(fd uintptr, hdrs *mmsghdr, n int) (int, syscall.Errno) {
		for i, h := range unsafe.Slice(hdrs, n) {
			no := f(look(&h.hdr))
			if no != 0 && i == 0 {
				return 0, no
			}
			if no != 0 {
				return sendmmsg(fd, hdrs, i)
			}
		}
		return sendmmsg(fd, hdrs, n)
	}
}

func repeat(n, size int) []int {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = size
	}
	return sizes
}

func TestRuns(t *testing.T) {
	peer := kinds[0].open(t, loop4)
	defer peer.Close()
	other := kinds[0].open(t, loop4)
	defer other.Close()
	for _, tc := range []struct {
		name  string
		sizes []int
		edit  func(p []pktbuf.Packet)
		want  []message
	}{
		{"one", []int{1000}, nil, []message{{1, 1, 1000, 1000}}},
		{"equal", []int{1000, 1000, 1000}, nil, []message{{3, 1, 3000, 1000}}},
		{"shorter tail", []int{1000, 1000, 28}, nil, []message{{3, 1, 2028, 1000}}},
		{"nothing behind a shorter one", []int{1000, 900, 900, 900}, nil, []message{{2, 1, 1900, 1000}, {2, 1, 1800, 900}}},
		{"a longer one begins anew", []int{28, 1000, 1000}, nil, []message{{1, 1, 28, 28}, {2, 1, 2000, 1000}}},
		{"an empty one is alone", []int{8, 0, 8}, nil, []message{{1, 1, 8, 8}, {1, 1, 0, 0}, {1, 1, 8, 8}}},
		{"first empty", []int{0, 0}, nil, []message{{1, 1, 0, 0}, {1, 1, 0, 0}}},
		{"at most 64 in one", repeat(64, 100), nil, []message{{64, 1, 6400, 100}}},
		{"at most a datagram's bytes in one", repeat(64, 1452), nil, []message{{45, 1, 45 * 1452, 1452}, {19, 1, 19 * 1452, 1452}}},
		{"two peers", repeat(5, 100), func(p []pktbuf.Packet) { p[2].Peer, p[3].Peer = other.Local(), other.Local() },
			[]message{{2, 1, 200, 100}, {2, 1, 200, 100}, {1, 1, 100, 100}}},
		{"without DF each is alone", repeat(6, 100), func(p []pktbuf.Packet) { p[2].NoDF, p[3].NoDF = true, true },
			[]message{{2, 1, 200, 100}, {1, 1, 100, 100}, {1, 1, 100, 100}, {2, 1, 200, 100}}},
		{"memory of its own", repeat(4, 100), func(p []pktbuf.Packet) { p[2].Buf = bytes.Clone(p[2].Buf) },
			[]message{{4, 3, 400, 100}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pkts := slabPackets(t, peer.Local(), tc.sizes...)
			if tc.edit != nil {
				tc.edit(pkts)
			}
			s := kinds[0].open(t, loop4)
			defer s.Close()
			var got []message
			watch(s, func(m message) syscall.Errno {
				got = append(got, m)
				return 0
			})
			n, err := s.WriteBatch(pkts)
			require.NoError(t, err)
			require.Equal(t, len(pkts), n)
			require.Equal(t, tc.want, got)
			var here, there []pktbuf.Packet
			for _, p := range pkts {
				if p.Peer == peer.Local() {
					here = append(here, p)
				} else {
					there = append(there, p)
				}
			}
			requireNumbers(t, peer, here)
			requireNumbers(t, other, there)
			st, _ := StatsOf(s)
			runs := 0
			for _, m := range tc.want {
				if m.packets > 1 {
					runs++
				}
			}
			require.EqualValues(t, runs, st.Runs)
			require.EqualValues(t, len(pkts), st.PacketsOut)
			require.Zero(t, st.Refused)
		})
	}
}

// Without offload every packet is a message, and what another host sends as a run still comes in packet by packet.
func TestNoOffload(t *testing.T) {
	plain, err := Listen(context.Background(), netip.AddrPortFrom(loop4, 0), Options{NoOffload: true})
	require.NoError(t, err)
	defer plain.Close()
	s := kinds[0].open(t, loop4)
	defer s.Close()
	st, _ := StatsOf(plain)
	require.False(t, st.Coalescing || st.Segmenting)
	watch(plain, func(m message) syscall.Errno {
		require.Equal(t, 1, m.packets)
		return 0
	})
	out := slabPackets(t, s.Local(), repeat(20, 500)...)
	n, err := plain.WriteBatch(out)
	require.NoError(t, err)
	require.Equal(t, len(out), n)
	requireNumbers(t, s, out)

	out = slabPackets(t, plain.Local(), repeat(20, 500)...)
	_, err = s.WriteBatch(out)
	require.NoError(t, err)
	b := NewBatch(64, false)
	readN(t, plain, b, 0, 20, 500, s.Local())
	require.Equal(t, 64, b.Cap())
	st, _ = StatsOf(plain)
	require.Zero(t, st.Joined+st.Runs)
	require.EqualValues(t, 20, st.PacketsIn)
}

// A run arrives in one slot, and the batch makes itself large enough for it before the first read.
func TestJoined(t *testing.T) {
	for _, addr := range []netip.Addr{loop4, loop6} {
		t.Run(addr.String(), func(t *testing.T) {
			needs.Address(t, addr)
			a, b := kinds[0].open(t, addr), kinds[0].open(t, addr)
			defer a.Close()
			defer b.Close()
			st, _ := StatsOf(b)
			require.True(t, st.Coalescing && st.Segmenting)
			var batch Batch
			for round := range 3 {
				pkts := slabPackets(t, b.Local(), append(repeat(44, 1452), 600)...)
				n, err := a.WriteBatch(pkts)
				require.NoError(t, err)
				require.Equal(t, len(pkts), n)
				require.NoError(t, read(t, b, &batch))
				require.Len(t, batch.Slots, 1)
				slot := batch.Slots[0]
				require.Equal(t, 1452, slot.Segment)
				require.Equal(t, len(pkts), slot.Datagrams())
				for i, p := range pkts {
					require.Equal(t, p.Buf, slot.Datagram(i))
					require.Equal(t, len(p.Buf), cap(slot.Datagram(i)), "appending to one cannot reach the next")
				}
				require.Equal(t, joinedSlots, batch.Cap())
				st, _ = StatsOf(b)
				require.EqualValues(t, round+1, st.Joined)
				require.EqualValues(t, 45*(round+1), st.PacketsIn)
				require.EqualValues(t, (44*1452+600)*(round+1), st.BytesIn)
				require.Zero(t, st.Cut)
			}
		})
	}
}

// Many small datagrams that the kernel does not join make the batch grow, step by step and to a limit; without need it
// shrinks again.
func TestSlotsGrow(t *testing.T) {
	a, err := Listen(context.Background(), netip.AddrPortFrom(loop4, 0), Options{NoOffload: true})
	require.NoError(t, err)
	defer a.Close()
	b := kinds[0].open(t, loop4)
	defer b.Close()
	batch := NewBatch(64, false)
	send := func(n int) {
		pkts := slabPackets(t, b.Local(), repeat(n, 300)...)
		sent, err := a.WriteBatch(pkts)
		require.NoError(t, err)
		require.Equal(t, n, sent)
	}
	send(2 + 4 + 4 + 1)
	for _, want := range []int{2, 4, 4, 1} {
		require.NoError(t, read(t, b, batch))
		require.Len(t, batch.Slots, want)
	}
	require.Equal(t, mostJoined, batch.Cap())
	for range calmReads {
		require.Equal(t, mostJoined, batch.Cap())
		send(1)
		require.NoError(t, read(t, b, batch))
	}
	send(3)
	for _, want := range []int{2, 1} {
		require.NoError(t, read(t, b, batch))
		require.Len(t, batch.Slots, want)
	}

	// Joined ones do not.
	batch = NewBatch(64, false)
	run := slabPackets(t, b.Local(), repeat(40, 1000)...)
	c := kinds[0].open(t, loop4)
	defer c.Close()
	for range 5 {
		for range 4 {
			_, err := c.WriteBatch(run)
			require.NoError(t, err)
		}
		for range 2 {
			require.NoError(t, read(t, b, batch))
			require.Len(t, batch.Slots, joinedSlots)
			require.Equal(t, 80, arrived(batch))
		}
	}
}

// A kernel or a device that refuses runs gets the same packets one by one, in order and once each. The socket remembers
// a refusal that will be repeated.
func TestRefused(t *testing.T) {
	for _, tc := range []struct {
		no    syscall.Errno
		lasts bool
	}{
		{unix.EIO, true}, {unix.EINVAL, true}, {unix.EOPNOTSUPP, true}, {unix.ENOPROTOOPT, true},
		{unix.ENOMEM, false}, {unix.ENOBUFS, false}, {unix.EMSGSIZE, false}, {unix.EPERM, false},
	} {
		t.Run(tc.no.Error(), func(t *testing.T) {
			a, b := kinds[0].open(t, loop4), kinds[0].open(t, loop4)
			defer a.Close()
			defer b.Close()
			watch(a, func(m message) syscall.Errno {
				if m.packets > 1 {
					return tc.no
				}
				return 0
			})
			// Runs of 3, 1, 45 and 15 packets.
			sizes := append([]int{500, 500, 500, 700}, repeat(60, 1452)...)
			const runs = 3
			for round := 1; round <= 2; round++ {
				pkts := slabPackets(t, b.Local(), sizes...)
				n, err := a.WriteBatch(pkts)
				require.NoError(t, err)
				require.Equal(t, len(pkts), n)
				requireNumbers(t, b, pkts)
				st, _ := StatsOf(a)
				want := runs * round
				if tc.lasts {
					want = 1
				}
				require.EqualValues(t, want, st.Refused)
				require.EqualValues(t, len(pkts)*round, st.PacketsOut)
				require.Zero(t, st.Runs+st.SendErrors+st.Blocked)
				require.Equal(t, !tc.lasts, st.Segmenting)
			}
		})
	}
}

// A run refused for a reason that its packets share tells the error of the first, and the socket keeps sending runs.
func TestRefusedAlike(t *testing.T) {
	a, b := kinds[0].open(t, loop4), kinds[0].open(t, loop4)
	defer a.Close()
	defer b.Close()
	bad := true
	watch(a, func(m message) syscall.Errno {
		if bad {
			return unix.EINVAL // such as a blackhole route
		}
		return 0
	})
	pkts := slabPackets(t, b.Local(), repeat(5, 500)...)
	n, err := a.WriteBatch(pkts)
	require.Zero(t, n)
	require.Equal(t, unix.EINVAL, err)
	bad = false
	n, err = a.WriteBatch(pkts)
	require.NoError(t, err)
	require.Equal(t, len(pkts), n)
	requireNumbers(t, b, pkts)
	st, _ := StatsOf(a)
	require.True(t, st.Segmenting)
	require.EqualValues(t, 1, st.Runs)

	// A buffer that is full is no refusal: nothing is tried again, and the packets before it count as sent.
	left := 1
	watch(a, func(m message) syscall.Errno {
		if left--; left < 0 {
			return unix.EAGAIN
		}
		return 0
	})
	pkts = slabPackets(t, b.Local(), append(repeat(3, 500), repeat(4, 600)...)...)
	n, err = a.WriteBatch(pkts)
	require.Equal(t, 3, n)
	require.Equal(t, ErrBlocked, err)
	requireNumbers(t, b, pkts[:3])
	st, _ = StatsOf(a)
	require.Zero(t, st.Refused-1)
	require.True(t, st.Segmenting)

	// A packet in the middle of a refused run fails alone.
	watch(a, func(m message) syscall.Errno {
		if m.packets > 1 || m.bytes == 499 {
			return unix.EMSGSIZE
		}
		return 0
	})
	pkts = slabPackets(t, b.Local(), 500, 500, 499)
	n, err = a.WriteBatch(pkts)
	require.Equal(t, 2, n)
	require.True(t, IsTooBig(err), "%v", err)
	requireNumbers(t, b, pkts[:2])
}

// The kernel's own refusal: it segments nothing on a socket that sends without checksums.
func TestRefusedByKernel(t *testing.T) {
	a, b := kinds[0].open(t, loop4), kinds[0].open(t, loop4)
	defer a.Close()
	defer b.Close()
	require.NoError(t, a.(*mmsg).raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
	}))
	for range 3 {
		pkts := slabPackets(t, b.Local(), repeat(30, 900)...)
		n, err := a.WriteBatch(pkts)
		require.NoError(t, err)
		require.Equal(t, len(pkts), n)
		requireNumbers(t, b, pkts)
	}
	st, _ := StatsOf(a)
	require.False(t, st.Segmenting)
	require.EqualValues(t, 1, st.Refused)
	require.Zero(t, st.Runs)
}

func TestOffloadAllocs(t *testing.T) {
	a, b := kinds[0].open(t, loop4), kinds[0].open(t, loop4)
	defer a.Close()
	defer b.Close()
	batch := NewBatch(64, false)
	pkts := slabPackets(t, b.Local(), repeat(60, 1452)...)
	require.Zero(t, testing.AllocsPerRun(200, func() {
		if n, err := a.WriteBatch(pkts); n != len(pkts) || err != nil {
			t.Errorf("wrote %d: %v", n, err)
		}
		for got := 0; got < len(pkts); got += arrived(batch) {
			if err := b.ReadBatch(batch); err != nil {
				t.Error(err)
				return
			}
		}
	}))
}

// Over Ethernet links of a real kernel, through a router: runs arrive as the packets they are made of, and one whose
// packets are larger than the link is refused packet by packet without an end to runs.
func TestRunsOverEthernet(t *testing.T) {
	needs.Netns(t)
	lab := netlab.ForTest(t, netlab.Options{Paths: 1})
	for _, addr := range []func(*netlab.Host, int) netip.Addr{(*netlab.Host).Addr4, (*netlab.Host).Addr6} {
		a, b := inLab(t, lab.A, addr(lab.A, 0)), inLab(t, lab.B, addr(lab.B, 0))
		most := 1500 - 20 - 8
		if a.Local().Addr().Is6() {
			most -= 20
		}
		batch := NewBatch(64, false)
		for range 3 {
			pkts := slabPackets(t, b.Local(), append(repeat(50, most), 77)...)
			n, err := a.WriteBatch(pkts)
			require.NoError(t, err)
			require.Equal(t, len(pkts), n)
			readInto(t, b, batch, pkts)
		}
		for _, size := range []int{most + 1, most + 20} {
			pkts := slabPackets(t, b.Local(), repeat(3, size)...)
			for range 2 {
				n, err := a.WriteBatch(pkts)
				require.Zero(t, n)
				require.True(t, IsTooBig(err), "%v", err)
			}
			for i := range pkts {
				pkts[i].NoDF = true
			}
			n, err := a.WriteBatch(pkts)
			require.NoError(t, err)
			require.Equal(t, 3, n)
			readInto(t, b, batch, pkts)
		}
		st, _ := StatsOf(a)
		require.True(t, st.Segmenting)
		require.EqualValues(t, 6, st.Runs, "of 45 and of 6 packets")
		require.EqualValues(t, 4, st.Refused)
		in, _ := StatsOf(b)
		t.Logf("%v: %d packets in %d slots of several", a.Local(), in.PacketsIn, in.Joined)
		_, _ = a.Close(), b.Close()
	}
}

func inLab(t *testing.T, h *netlab.Host, addr netip.Addr) (s Socket) {
	t.Helper()
	require.NoError(t, h.Do(func() (err error) {
		s, err = Listen(context.Background(), netip.AddrPortFrom(addr, 0), Options{})
		return err
	}))
	return s
}
