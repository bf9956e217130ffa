package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// gone returns an address at which nobody listens any more.
func gone(t testing.TB, addr netip.Addr) netip.AddrPort {
	c := listenUDP(t, addr)
	ap := c.LocalAddr().(*net.UDPAddr).AddrPort()
	require.NoError(t, c.Close())
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// families runs a test with a kernel's socket of each family.
func families(t *testing.T, f func(t *testing.T, s *mmsg)) {
	for _, addr := range []netip.Addr{loop4, loop6} {
		t.Run(addr.String(), func(t *testing.T) {
			if addr == loop6 && !haveIPv6() {
				return
			}
			s := kinds[0].open(t, addr).(*mmsg)
			defer s.Close()
			st, _ := StatsOf(s)
			require.True(t, st.ICMP)
			f(t, s)
		})
	}
}

// A closed port is answered with an ICMP message, which comes out of ReadBatch with what is needed to believe it.
func TestNotice(t *testing.T) {
	families(t, func(t *testing.T, s *mmsg) {
		to := gone(t, s.Local().Addr())
		batch := NewBatch(4, false)
		for i, size := range []int{1000, 10, 0} {
			pkts := packets(1, size, to)
			pkts[0].Buf = pkts[0].Buf[:size]
			n, err := s.WriteBatch(pkts)
			require.NoError(t, err)
			require.Equal(t, 1, n)
			require.NoError(t, read(t, s, batch))
			require.Empty(t, batch.Slots)
			require.Len(t, batch.Notices, 1)
			nt := batch.Notices[0]
			require.Equal(t, PortUnreachable, nt.Kind)
			require.Equal(t, to, nt.Peer)
			require.Equal(t, to.Addr(), nt.Offender)
			require.Equal(t, pkts[0].Buf[:min(size, noticeQuote)], nt.Quote)
			require.Equal(t, "ICMP port unreachable from "+to.Addr().String(), nt.String())
			st, _ := StatsOf(s)
			require.EqualValues(t, i+1, st.Notices)
			require.Zero(t, st.ReadErrors)
		}
		// What arrives next is not spoiled.
		_, err := s.WriteBatch(packets(2, 100, s.Local()))
		require.NoError(t, err)
		readN(t, s, batch, 0, 2, 100, s.Local())
	})
}

// An error that a message has left with the socket does not stop the next write, and the message is not lost by it.
func TestNoticeAndWrite(t *testing.T) {
	families(t, func(t *testing.T, s *mmsg) {
		to := gone(t, s.Local().Addr())
		batch := NewBatch(16, false)
		for range 3 {
			_, err := s.WriteBatch(packets(1, 10, to))
			require.NoError(t, err)
			n, err := s.WriteBatch(packets(3, 10, s.Local()))
			require.NoError(t, err)
			require.Equal(t, 3, n)
			got, notices := 0, 0
			for got < 3 || notices < 1 {
				require.NoError(t, read(t, s, batch))
				got += arrived(batch)
				notices += len(batch.Notices)
			}
			require.Equal(t, 3, got)
			require.Equal(t, 1, notices)
		}
		st, _ := StatsOf(s)
		require.Zero(t, st.ReadErrors+st.SendErrors)
	})
}

// A message that comes while the reader waits wakes it, even if a writer has taken the error away.
func TestNoticeWakes(t *testing.T) {
	families(t, func(t *testing.T, s *mmsg) {
		to := gone(t, s.Local().Addr())
		seen := make(chan Notice)
		go func() {
			batch := NewBatch(4, false)
			for {
				if s.ReadBatch(batch) != nil {
					close(seen)
					return
				}
				for _, n := range batch.Notices {
					n.Quote = append([]byte(nil), n.Quote...)
					seen <- n
				}
			}
		}()
		for i := range 200 {
			pkts := packets(1, 20, to)
			binary.BigEndian.PutUint32(pkts[0].Buf, uint32(i))
			_, err := s.WriteBatch(pkts)
			require.NoError(t, err)
			_, err = s.WriteBatch(packets(1, 20, s.Local())) // takes the error, if the reader has not
			require.NoError(t, err)
			select {
			case n := <-seen:
				require.Equal(t, uint32(i), binary.BigEndian.Uint32(n.Quote))
			case <-time.After(patienceOfTest):
				require.Fail(t, "the message stays in the queue", "after %d", i)
			}
			if i%20 == 19 {
				time.Sleep(5 * time.Millisecond) // the kernel sends a thousand messages a second to one destination
			}
		}
		require.NoError(t, s.Close())
		<-seen
	})
}

// Many messages at once fill several reads, and reading goes on beside them.
func TestManyNotices(t *testing.T) {
	families(t, func(t *testing.T, s *mmsg) {
		to := gone(t, s.Local().Addr())
		batch := NewBatch(16, false)
		for range 10 {
			_, err := s.WriteBatch(packets(1, 30, to))
			require.NoError(t, err)
		}
		_, err := s.WriteBatch(packets(5, 30, s.Local()))
		require.NoError(t, err)
		got, notices := 0, 0
		for got < 5 || notices < 10 {
			require.NoError(t, read(t, s, batch))
			got += arrived(batch)
			notices += len(batch.Notices)
		}
		require.Equal(t, 10, notices)
	})
}

func TestKindOf(t *testing.T) {
	tests := []struct {
		six       bool
		typ, code uint8
		want      NoticeKind
	}{
		{false, 3, 0, HostUnreachable}, {false, 3, 1, HostUnreachable}, {false, 3, 2, PortUnreachable}, {false, 3, 3, PortUnreachable},
		{false, 3, 4, PacketTooBig}, {false, 3, 13, HostUnreachable}, {false, 11, 0, OtherNotice}, {false, 12, 1, OtherNotice},
		{false, 1, 4, OtherNotice},
		{true, 1, 0, HostUnreachable}, {true, 1, 1, HostUnreachable}, {true, 1, 3, HostUnreachable}, {true, 1, 4, PortUnreachable},
		{true, 2, 0, PacketTooBig}, {true, 3, 0, OtherNotice}, {true, 4, 0, OtherNotice}, {true, 4, 1, PortUnreachable},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, kindOf(tt.six, tt.typ, tt.code), tt)
	}
	n := Notice{Kind: HostUnreachable, Type: 3, Code: 1}
	require.Equal(t, "ICMP host unreachable (type 3 code 1)", n.String())
}

// FuzzNotice reads descriptions of any shape.
func FuzzNotice(f *testing.F) {
	b := make([]byte, 48)
	binary.NativeEndian.PutUint64(b, 48)
	binary.NativeEndian.PutUint32(b[8:], unix.IPPROTO_IP)
	binary.NativeEndian.PutUint32(b[12:], unix.IP_RECVERR)
	b[20], b[21], b[22] = unix.SO_EE_ORIGIN_ICMP, 3, 3
	binary.NativeEndian.PutUint16(b[32:], unix.AF_INET)
	f.Add(b, 48)
	f.Add(make([]byte, 128), 128)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		q := newNotices()
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&q.ctls[0])), 128), b)
		q.hdrs[0].hdr.SetControllen(n & 0xff)
		q.hdrs[0].len = uint32(n)
		q.names[0].Family = unix.AF_INET
		q.n = 1
		var batch Batch
		q.take(&batch, new(family), new(zoneCache))
		for i := range batch.Notices {
			require.NotEmpty(t, batch.Notices[i].String())
		}
	})
}

// BenchmarkPingPong is one datagram to and fro: each read waits, so that each pays for looking at the error queue.
func BenchmarkPingPong(b *testing.B) {
	for _, notices := range []bool{true, false} {
		b.Run(map[bool]string{true: "notices", false: "none"}[notices], func(b *testing.B) {
			x, y := kinds[0].open(b, loop4).(*mmsg), kinds[0].open(b, loop4).(*mmsg)
			defer x.Close()
			x.notices, y.notices = notices, notices
			go func() {
				batch := NewBatch(4, false)
				pkts := packets(1, 100, x.Local())
				for y.ReadBatch(batch) == nil {
					_, _ = y.WriteBatch(pkts)
				}
			}()
			defer y.Close()
			batch := NewBatch(4, false)
			pkts := packets(1, 100, y.Local())
			for b.Loop() {
				_, _ = x.WriteBatch(pkts)
				if err := x.ReadBatch(batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
