//go:build unix || windows

package udp

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/pktbuf"
)

var (
	loop4 = netip.MustParseAddr("127.0.0.1")
	loop6 = netip.MustParseAddr("::1")
)

// patienceOfTest ends a test that would hang. The kernel's loopback delivers within the sending call.
const patienceOfTest = 10 * time.Second

// kinds are the implementations of Socket, each opened on an address with a free port.
var kinds = []struct {
	name string
	open func(t testing.TB, addr netip.Addr) Socket
}{
	{"kernel", func(t testing.TB, addr netip.Addr) Socket {
		s, err := Listen(context.Background(), netip.AddrPortFrom(addr, 0), Options{})
		require.NoError(t, err)
		return s
	}},
	{"portable", func(t testing.TB, addr netip.Addr) Socket {
		conn := listenUDP(t, addr)
		d, err := newDatagram(conn, addr.Is6())
		require.NoError(t, err)
		return newSingle(d, netip.AddrPortFrom(addr, uint16(conn.LocalAddr().(*net.UDPAddr).Port)))
	}},
	{"foreign", func(t testing.TB, addr netip.Addr) Socket {
		s, err := Wrap(struct{ net.PacketConn }{listenUDP(t, addr)}, netip.AddrPort{})
		require.NoError(t, err)
		return s
	}},
}

func listenUDP(t testing.TB, addr netip.Addr) *net.UDPConn {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	require.NoError(t, err)
	return conn
}

// eachKind runs a test over every kind of socket and both families.
func eachKind(t *testing.T, f func(t *testing.T, open func() Socket)) {
	for _, k := range kinds {
		for _, addr := range []netip.Addr{loop4, loop6} {
			t.Run(k.name+"/"+addr.String(), func(t *testing.T) {
				needs.Address(t, addr)
				f(t, func() Socket {
					s := k.open(t, addr)
					t.Cleanup(func() { _ = s.Close() })
					return s
				})
			})
		}
	}
}

func haveIPv6() bool {
	c, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// packets makes n packets of the given size to one peer, each beginning with its number.
func packets(n, size int, to netip.AddrPort) []pktbuf.Packet {
	pkts := make([]pktbuf.Packet, n)
	for i := range pkts {
		pkts[i] = pktbuf.Packet{Buf: make([]byte, max(size, 4)), Peer: to}
		binary.BigEndian.PutUint32(pkts[i].Buf, uint32(i))
	}
	return pkts
}

// read calls ReadBatch, and fails the test if it does not return.
func read(t *testing.T, s Socket, b *Batch) error {
	t.Helper()
	stuck := time.AfterFunc(patienceOfTest, func() { _ = s.Close() })
	defer stuck.Stop()
	err := s.ReadBatch(b)
	require.True(t, stuck.Stop(), "ReadBatch hung")
	return err
}

// readN reads until n datagrams have come, and requires them to be numbered from first in order.
func readN(t *testing.T, s Socket, b *Batch, first, n, size int, from netip.AddrPort) {
	t.Helper()
	for i := first; i < first+n; {
		require.NoError(t, read(t, s, b))
		require.NotEmpty(t, b.Slots)
		for _, slot := range b.Slots {
			require.Equal(t, from, slot.Peer)
			for k := range slot.Datagrams() {
				require.Len(t, slot.Datagram(k), max(size, 4))
				require.Equal(t, uint32(i), binary.BigEndian.Uint32(slot.Datagram(k)))
				i++
			}
		}
	}
}

// requireNumbers reads until as many datagrams have come as there are packets, and requires them in the same order.
func requireNumbers(t *testing.T, s Socket, pkts []pktbuf.Packet) {
	t.Helper()
	readInto(t, s, NewBatch(8, true), pkts) // no datagram is cut
}

// readInto is requireNumbers with a batch of the caller's.
func readInto(t *testing.T, s Socket, b *Batch, pkts []pktbuf.Packet) {
	t.Helper()
	for i := 0; i < len(pkts); {
		require.NoError(t, read(t, s, b))
		for _, slot := range b.Slots {
			for k := range slot.Datagrams() {
				require.Equal(t, pkts[i].Buf, slot.Datagram(k))
				i++
			}
		}
	}
}

// arrived returns how many datagrams a batch holds.
func arrived(b *Batch) (n int) {
	for i := range b.Slots {
		n += b.Slots[i].Datagrams()
	}
	return n
}
