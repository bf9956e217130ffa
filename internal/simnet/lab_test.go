package simnet

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/udp"
)

// bubble runs f with a lab of two hosts inside a synctest bubble.
func bubble(t *testing.T, words []string, f func(t *testing.T, lab *Lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n, _ := pair(Seed(1), words...)
		t.Log("seed", n.Seed())
		lab := NewLab(n)
		defer lab.Close()
		f(t, lab)
	})
}

func listen(t *testing.T, lab *Lab, a netip.AddrPort) *Socket {
	t.Helper()
	s, err := lab.Listen(a)
	require.NoError(t, err)
	return s
}

func packet(to netip.AddrPort, text string) pktbuf.Packet {
	return pktbuf.Packet{Buf: []byte(text), Peer: to}
}

func TestSocketsExchange(t *testing.T) {
	bubble(t, []string{"delay=10ms"}, func(t *testing.T, lab *Lab) {
		a, b := listen(t, lab, port(addrA)), listen(t, lab, port(addrB))
		start := time.Now()
		n, err := a.WriteBatch([]pktbuf.Packet{packet(b.Local(), "one"), packet(b.Local(), "two")})
		require.NoError(t, err)
		require.Equal(t, 2, n)
		var batch udp.Batch
		require.NoError(t, b.ReadBatch(&batch))
		require.Equal(t, 10*time.Millisecond, time.Since(start))
		require.Len(t, batch.Slots, 2)
		require.Equal(t, "one", string(batch.Slots[0].Buf))
		require.Equal(t, "two", string(batch.Slots[1].Buf))
		require.Equal(t, a.Local(), batch.Slots[1].Peer)
	})
}

func TestEarlierArrivalRearms(t *testing.T) {
	bubble(t, nil, func(t *testing.T, lab *Lab) {
		lab.Set("a1>b1", "delay=1h")
		lab.Set("a2>b1", "delay=1ms")
		a, c, b := listen(t, lab, port(addrA)), listen(t, lab, port(addrC)), listen(t, lab, port(addrB))
		start := time.Now()
		for _, s := range []*Socket{a, c} {
			_, err := s.WriteBatch([]pktbuf.Packet{packet(b.Local(), "x")})
			require.NoError(t, err)
		}
		var batch udp.Batch
		require.NoError(t, b.ReadBatch(&batch))
		require.Equal(t, time.Millisecond, time.Since(start))
		require.NoError(t, b.ReadBatch(&batch))
		require.Equal(t, time.Hour, time.Since(start))
	})
}

func TestCoalescing(t *testing.T) {
	bubble(t, nil, func(t *testing.T, lab *Lab) {
		a, b := listen(t, lab, port(addrA)), listen(t, lab, port(addrB))
		b.Coalesce(true)
		_, err := a.WriteBatch([]pktbuf.Packet{packet(b.Local(), "aaa"), packet(b.Local(), "bbb"), packet(b.Local(), "cc"),
			packet(b.Local(), "dddd")})
		require.NoError(t, err)
		var batch udp.Batch
		require.NoError(t, b.ReadBatch(&batch))
		require.Len(t, batch.Slots, 2)
		require.Equal(t, "aaabbbcc", string(batch.Slots[0].Buf))
		require.Equal(t, 3, batch.Slots[0].Segment)
		require.Equal(t, "dddd", string(batch.Slots[1].Buf))
		require.Zero(t, batch.Slots[1].Segment)
		lab.Do(func(n *Network) { require.Equal(t, 4, n.Link("a1>b1").Count.Delivered) })
	})
}

func TestSocketErrors(t *testing.T) {
	bubble(t, nil, func(t *testing.T, lab *Lab) {
		a := listen(t, lab, port(addrA))
		_, err := lab.Listen(port(addrA))
		require.ErrorIs(t, err, ErrInUse)
		_, err = lab.Listen(port(addr6))
		require.ErrorIs(t, err, ErrNotLocal)
		e := listen(t, lab, netip.AddrPortFrom(addrA, 0))
		require.NotZero(t, e.Local().Port())
		require.NotEqual(t, e.Local(), listen(t, lab, netip.AddrPortFrom(addrA, 0)).Local())

		two := []pktbuf.Packet{packet(port(addrB), "1"), packet(port(addrB), "2")}
		n, err := a.WriteBatch(two)
		require.NoError(t, err)
		require.Equal(t, 2, n)
		require.Equal(t, 2, lab.Unbound())

		a.Block(true)
		n, err = a.WriteBatch(two)
		require.ErrorIs(t, err, udp.ErrBlocked)
		require.Zero(t, n)
		a.Block(false)

		n, err = a.WriteBatch([]pktbuf.Packet{two[0], packet(port(addr6), "nowhere")})
		require.ErrorIs(t, err, ErrNoRoute)
		require.Equal(t, 1, n)

		lab.Do(func(n *Network) { n.SetInterface(addrA, false) })
		_, err = a.WriteBatch(two)
		require.ErrorIs(t, err, ErrInterfaceDown)

		refused := errors.New("refused")
		a.Fail(refused)
		var batch udp.Batch
		require.ErrorIs(t, a.ReadBatch(&batch), refused)

		go func() {
			time.Sleep(time.Second)
			_ = a.Close()
		}()
		require.ErrorIs(t, a.ReadBatch(&batch), net.ErrClosed)
		_, err = a.WriteBatch(two)
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorIs(t, a.Close(), net.ErrClosed)
		listen(t, lab, port(addrA))
	})
}

func TestSocketOverflow(t *testing.T) {
	bubble(t, nil, func(t *testing.T, lab *Lab) {
		a, b := listen(t, lab, port(addrA)), listen(t, lab, port(addrB))
		p := pktbuf.Packet{Buf: make([]byte, 60000), Peer: b.Local()}
		for range 100 {
			_, err := a.WriteBatch([]pktbuf.Packet{p})
			require.NoError(t, err)
		}
		require.Equal(t, 100-rcvBuf/60000, b.Overflow())
	})
}

func TestPacketConn(t *testing.T) {
	bubble(t, []string{"delay=10ms"}, func(t *testing.T, lab *Lab) {
		a, err := lab.Listen(port(addrA))
		require.NoError(t, err)
		b, err := lab.Listen(port(addrB))
		require.NoError(t, err)
		_, err = a.WriteTo([]byte("hello"), b.LocalAddr())
		require.NoError(t, err)
		buf := make([]byte, 4)
		n, from, err := b.ReadFrom(buf)
		require.NoError(t, err)
		require.Equal(t, "hell", string(buf[:n]))
		require.Equal(t, a.LocalAddr().String(), from.String())

		start := time.Now()
		require.NoError(t, b.SetDeadline(start.Add(time.Second)))
		_, _, err = b.ReadFrom(buf)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Second, time.Since(start))
		_, err = b.WriteTo(buf, a.LocalAddr())
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)

		// A deadline set while a read waits frees it.
		require.NoError(t, b.SetDeadline(time.Time{}))
		go func() {
			time.Sleep(time.Second)
			_ = b.SetReadDeadline(time.Now())
		}()
		_, _, err = b.ReadFrom(buf)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)

		_, err = a.WriteTo(buf, &net.TCPAddr{})
		require.Error(t, err)
		require.NoError(t, b.Close())
		require.ErrorIs(t, b.Close(), net.ErrClosed)
		_, _, err = b.ReadFrom(buf)
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = b.WriteTo(buf, a.LocalAddr())
		require.ErrorIs(t, err, net.ErrClosed)
	})
}
