package hostile

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/transport"
)

// tap is a capture that remembers some packets, and every tag.
type tap struct {
	mu   sync.Mutex
	seen []capture // by the address of arrival, in from.Peer
	n    int
	tags map[uint32]bool
}

func (p *tap) Datagram(_ time.Time, sent bool, local, peer netip.AddrPort, payload []byte) {
	if len(payload) < wire.HeaderLen {
		return
	}
	to := local
	if sent {
		to = peer
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if tag := be.Uint32(payload[4:]); tag != 0 && wire.ChecksumOK(payload) && sent {
		p.tags[tag] = true // in force for whoever it is sent to
	}
	c := capture{pkt: bytes.Clone(payload)}
	c.from.Peer = to
	if p.n++; len(p.seen) < maxSeen {
		p.seen = append(p.seen, c)
	} else {
		p.seen[p.n%maxSeen] = c
	}
}

// setOfSockets opens UDP sockets on two loopback addresses with one port.
func setOfSockets(t *testing.T) []*net.UDPConn {
	for range 100 {
		a, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		b, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2), Port: a.LocalAddr().(*net.UDPAddr).Port})
		if err == nil {
			return []*net.UDPConn{a, b}
		}
		a.Close()
	}
	t.Fatal("no port is free on both addresses")
	return nil
}

// echo writes blocks and compares what comes back, until the attack is over.
func echo(a, b *transport.Association, over *atomic.Bool) (blocks int, err error) {
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(b, b)
		done <- err
	}()
	out, in := make([]byte, 6000), make([]byte, 6000)
	for ; !over.Load() || blocks < 3; blocks++ {
		for i := range out {
			out[i] = byte(i*7>>3 + blocks)
		}
		if _, err := a.Write(out); err != nil {
			return blocks, err
		}
		if _, err := io.ReadFull(a, in); err != nil {
			return blocks, err
		}
		if !bytes.Equal(in, out) {
			return blocks, fmt.Errorf("block %d came back changed", blocks)
		}
		time.Sleep(time.Millisecond)
	}
	if err := a.Close(); err != nil {
		return blocks, err
	}
	return blocks, <-done
}

// The storm of strangers over real sockets, some of it from the very sockets that the peer sends from: associations go on,
// every byte is right, nothing grows.
func TestStrangersOnTheLoopback(t *testing.T) {
	n := packets(30_000)
	k := &attacker{rnd: rand.New(rand.NewPCG(needs.Seed(t), 6)), w: &world{}}
	seen := &tap{tags: map[uint32]bool{}}
	routines := runtime.NumGoroutine()
	l, err := transport.Listen("127.0.0.1:0,127.0.0.2:0", &transport.Config{Capture: seen})
	require.NoError(t, err)
	var sources []*net.UDPConn
	var ends [][2]*transport.Association
	var targets []netip.AddrPort
	for _, loc := range l.Addr().(*transport.Addr).Locators {
		targets = append(targets, loc.AddrPort())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 3 {
		set := setOfSockets(t)
		sources = append(sources, set...)
		cfg := &transport.Config{Capture: seen, PacketConns: []net.PacketConn{set[0], set[1]}}
		a, err := transport.Dial(ctx, l.Addr().String(), cfg)
		require.NoError(t, err)
		b, err := l.AcceptAssociation(ctx)
		require.NoError(t, err)
		ends = append(ends, [2]*transport.Association{a, b})
	}
	stranger, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 3)})
	require.NoError(t, err)
	defer stranger.Close()
	var over atomic.Bool
	var work sync.WaitGroup
	for i, e := range ends {
		work.Go(func() {
			if blocks, err := echo(e[0], e[1], &over); err != nil {
				t.Errorf("association %d, block %d: %v", i, blocks, err)
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	before := heap()
	aims := []aim{}
	for _, e := range ends {
		from, to := e[0].LocalAddr().(*transport.Addr).Port, l.Addr().(*transport.Addr).Port
		aims = append(aims, aim{from: [2]uint16{from, from}, to: [2]uint16{to, to}})
	}
	for i := range n {
		to, pkt := seen.packet(k, aims, targets)
		from := oneOf(k, append(sources, stranger)...)
		_, _ = from.WriteToUDPAddrPort(pkt, to)
		if i%20 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	after := heap()
	st := l.SocketStats()
	t.Logf("%d packets; heap %d KiB before, %d KiB after; %+v", n, before>>10, after>>10, st)
	require.Less(t, int64(after)-int64(before), int64(4<<20))
	require.Equal(t, 3, st.Associations)
	for _, c := range []uint64{st.BadPackets, st.OutOfTheBlue, st.BadTags, st.Inits, st.InitsRefused, st.BadCookies} {
		require.Positive(t, c)
	}
	over.Store(true)
	work.Wait()
	for _, e := range ends {
		require.NoError(t, e[1].Close())
	}
	require.NoError(t, l.Close())
	eventually(t, func() bool { return runtime.NumGoroutine() <= routines+1 }, "no goroutine is left")
}

// packet makes one of the attacker's, without any tag that is in force, and says where it goes.
func (p *tap) packet(k *attacker, aims []aim, targets []netip.AddrPort) (to netip.AddrPort, pkt []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k.w.seen = p.seen
	to = oneOf(k, targets...)
	if k.rnd.IntN(2) == 0 {
		c := oneOf(k, p.seen...)
		to, pkt = c.from.Peer, k.mutate(c.pkt)
	} else {
		m := oneOf(k, aims...)
		m.tag = k.rnd.Uint32()
		k.spoil(&m)
		pkt = k.forge(&m)
	}
	if len(pkt) >= wire.HeaderLen && p.tags[be.Uint32(pkt[4:])] {
		for p.tags[be.Uint32(pkt[4:])] {
			be.PutUint32(pkt[4:], k.rnd.Uint32())
		}
		k.sum(pkt)
	}
	return to, pkt
}
