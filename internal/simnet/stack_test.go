package simnet_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/simnet"
	"github.com/go-multihome/multihome/transport"
)

// Whole stacks over virtual links: real goroutines, real sockets' interface, the clock of a synctest bubble. So times are
// exact, and a test of minutes takes milliseconds.

const sctpPort = 5000

// site is two hosts with some addresses each, one family per path so that there are no cross pairs.
type site struct {
	t     *testing.T
	lab   *simnet.Lab
	addrs map[string][]netip.Addr
}

var sitePaths = []struct{ a, b string }{
	{"192.0.2.1", "192.0.2.2"},
	{"2001:db8::1", "2001:db8::2"},
}

// inBubble runs f with a site inside a synctest bubble. words shape all links, as in simnet.Shape.Set.
func inBubble(t *testing.T, seed uint64, paths int, words string, f func(s *site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, seed, paths, words)
		defer s.lab.Close()
		f(s)
	})
}

func newSite(t *testing.T, seed uint64, paths int, words string) *site {
	n := simnet.New(seed)
	for _, w := range strings.Fields(words) {
		require.NoError(t, n.Default.Set(w))
	}
	s := &site{t: t, addrs: map[string][]netip.Addr{}}
	for _, p := range sitePaths[:paths] {
		s.addrs["a"] = append(s.addrs["a"], netip.MustParseAddr(p.a))
		s.addrs["b"] = append(s.addrs["b"], netip.MustParseAddr(p.b))
	}
	n.AddHost("a", s.addrs["a"]...)
	n.AddHost("b", s.addrs["b"]...)
	s.lab = simnet.NewLab(n)
	return s
}

// hosts is the text to dial or listen at a host.
func (s *site) hosts(name string) string {
	var texts []string
	for _, a := range s.addrs[name] {
		texts = append(texts, netip.AddrPortFrom(a, sctpPort).String())
	}
	return strings.Join(texts, ",")
}

// sockets opens a host's sockets, all with one port.
func (s *site) sockets(name string, port uint16) (conns []net.PacketConn) {
	for _, a := range s.addrs[name] {
		sock, err := s.lab.Listen(netip.AddrPortFrom(a, port))
		require.NoError(s.t, err)
		conns = append(conns, sock)
	}
	return conns
}

// pair makes an association between the hosts: a dials, b listens.
func (s *site) pair(cfg transport.Config) (a, b *transport.Association, stop func()) {
	t := s.t
	t.Helper()
	lc, dc := cfg, cfg
	lc.PacketConns = s.sockets("b", sctpPort)
	dc.PacketConns = s.sockets("a", 0)
	l, err := transport.Listen(s.hosts("b"), &lc)
	require.NoError(t, err)
	accepted := make(chan *transport.Association, 1)
	go func() {
		b, err := l.AcceptAssociation(context.Background())
		if err != nil {
			t.Error(err)
		}
		accepted <- b
	}()
	a, err = transport.Dial(context.Background(), s.hosts("b"), &dc)
	require.NoError(t, err)
	b = <-accepted
	return a, b, func() {
		_ = a.Close()
		_ = b.Close()
		require.NoError(t, l.Close())
	}
}

// serve accepts one association, lets f use it and closes it.
func serve(t *testing.T, l net.Listener, f func(c net.Conn)) {
	c, err := l.Accept()
	if err != nil {
		t.Error(err)
		return
	}
	f(c)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestStackEcho(t *testing.T) {
	inBubble(t, 1, 2, "delay=10ms rate=100mbit", func(s *site) {
		a, b, stop := s.pair(transport.Config{})
		defer stop()
		go func() {
			_, _ = io.Copy(b, b)
		}()
		const total = 2 << 20
		start := time.Now()
		go func() {
			buf := make([]byte, total)
			for i := range buf {
				buf[i] = byte(i * 7 >> 3)
			}
			_, err := a.Write(buf)
			if err != nil {
				t.Error(err)
			}
		}()
		got := make([]byte, total)
		_, err := io.ReadFull(a, got)
		require.NoError(t, err)
		for i := range got {
			if got[i] != byte(i*7>>3) {
				t.Fatalf("byte %d is wrong", i)
			}
		}
		took := time.Since(start)
		t.Logf("2 MiB there and back in %v of virtual time", took)
		require.Less(t, took, 2*time.Second)
	})
}

// TestStackHandshakeTime pins what a connection costs: two round trips until Dial returns.
func TestStackHandshakeTime(t *testing.T) {
	inBubble(t, 1, 2, "delay=10ms", func(s *site) {
		start := time.Now()
		_, _, stop := s.pair(transport.Config{})
		require.Equal(t, 40*time.Millisecond, time.Since(start))
		stop()
	})
}

// load is a stream of records, one each millisecond, the load of the failover tests.
type load struct {
	words   string // of all links
	seed    uint64
	size    int
	records int
	cut     func(lab *simnet.Lab) // runs beside, from when the first record is written
}

// seen is what the reader of a load saw.
type seen struct {
	gap, delay time.Duration // longest between two arrivals; longest of any record
	late       int           // records later than 200 ms
	moves      uint64        // times the data took another path
}

func (l load) run(t *testing.T) (r seen) {
	t.Helper()
	inBubble(t, l.seed, 2, l.words, func(s *site) {
		a, b, stop := s.pair(transport.Config{})
		defer stop()
		time.Sleep(2 * time.Second) // the second path is confirmed, round trips are known
		start := time.Now()
		due := func(i int) time.Time { return start.Add(time.Duration(i) * time.Millisecond) }
		var cutter sync.WaitGroup
		defer cutter.Wait()
		if l.cut != nil {
			cutter.Go(func() { l.cut(s.lab) })
		}
		go func() {
			rec := make([]byte, l.size)
			for i := range l.records {
				time.Sleep(time.Until(due(i)))
				binary.BigEndian.PutUint32(rec, uint32(i))
				if _, err := a.Write(rec); err != nil {
					t.Error(err)
					return
				}
			}
		}()
		rec := make([]byte, l.size)
		last := start
		for i := range l.records {
			_, err := io.ReadFull(b, rec)
			require.NoError(t, err)
			require.Equal(t, uint32(i), binary.BigEndian.Uint32(rec))
			now := time.Now()
			if i > 0 {
				r.gap = max(r.gap, now.Sub(last))
			}
			last = now
			r.delay = max(r.delay, now.Sub(due(i)))
			if now.Sub(due(i)) > 200*time.Millisecond {
				r.late++
			}
		}
		for _, p := range a.Paths() {
			r.moves += p.Chosen
		}
		r.moves-- // the first choice
	})
	return r
}

// failover runs the load for two seconds and breaks the network in the middle.
func failover(t *testing.T, words string, cut func(lab *simnet.Lab)) (gap, delay time.Duration) {
	t.Helper()
	r := load{words: words, seed: 1, size: 1024, records: 2000, cut: func(lab *simnet.Lab) {
		time.Sleep(time.Second + 500*time.Microsecond)
		cut(lab)
	}}.run(t)
	return r.gap, r.delay
}

// TestStackFlapping lets a path be up and dark in turn, a second each. No record may be late.
func TestStackFlapping(t *testing.T) {
	r := load{words: "delay=10ms", seed: 1, size: 1024, records: 20_000, cut: func(lab *simnet.Lab) {
		for range 10 {
			time.Sleep(time.Second)
			lab.Set("a1-b1", "down")
			time.Sleep(time.Second)
			lab.Set("a1-b1", "up")
		}
	}}.run(t)
	t.Logf("%+v", r)
	require.Zero(t, r.late)
	require.Less(t, r.moves, uint64(10), "not at each flap")
}

// TestStackLoss runs 2 Mbit/s over a path that loses one packet in a hundred. Losses are found and mended fast, and are no
// reason to leave the path.
func TestStackLoss(t *testing.T) {
	for seed := range uint64(5) {
		r := load{words: "delay=10ms loss=1%", seed: seed, size: 250, records: 10_000}.run(t)
		t.Logf("%+v", r)
		require.Zero(t, r.late)
		require.LessOrEqual(t, r.gap, 120*time.Millisecond) // a resend that is lost as well costs another round
		require.LessOrEqual(t, r.moves, uint64(4))
	}
}

// TestStackFailover bounds what an application sees when a path dies under it, in exact virtual time.
func TestStackFailover(t *testing.T) {
	cases := []struct {
		name, words, link string
		gap, delay        time.Duration // at most
	}{
		{"both directions, RTT 2", "delay=1ms", "a1-b1", 40, 60},
		{"both directions, RTT 20", "delay=10ms", "a1-b1", 80, 100},
		{"both directions, RTT 100", "delay=50ms", "a1-b1", 300, 450},
		{"data direction, RTT 20", "delay=10ms", "a1>b1", 80, 100},
		{"return direction, RTT 2", "delay=1ms", "b1>a1", 40, 100},
		{"return direction, RTT 20", "delay=10ms", "b1>a1", 40, 100},
		{"both directions, RTT 20, jitter", "delay=8ms jitter=4ms", "a1-b1", 80, 100},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			gap, delay := failover(t, c.words, func(lab *simnet.Lab) { lab.Set(c.link, "down") })
			t.Logf("gap %v, delay %v", gap, delay)
			require.LessOrEqual(t, gap, c.gap*time.Millisecond, "gap")
			require.LessOrEqual(t, delay, c.delay*time.Millisecond, "delay")
		})
	}
}

// TestStackFailoverLocal takes the local address away: every send on it fails.
func TestStackFailoverLocal(t *testing.T) {
	gap, delay := failover(t, "delay=10ms", func(lab *simnet.Lab) {
		lab.Do(func(n *simnet.Network) { n.SetInterface(netip.MustParseAddr(sitePaths[0].a), false) })
	})
	t.Logf("gap %v, delay %v", gap, delay)
	require.LessOrEqual(t, gap, 40*time.Millisecond)
	require.LessOrEqual(t, delay, 60*time.Millisecond)
}

// TestStackPeerVanishes checks that both ends report an error when every path has died, and that nothing hangs.
func TestStackPeerVanishes(t *testing.T) {
	inBubble(t, 1, 2, "delay=10ms", func(s *site) {
		a, b, stop := s.pair(transport.Config{})
		defer stop()
		s.lab.Set("*", "down")
		start := time.Now()
		done := make(chan error, 2)
		go func() {
			_, err := a.Write(make([]byte, 1<<20))
			if err == nil {
				_, err = a.Read(make([]byte, 1))
			}
			done <- err
		}()
		go func() {
			_, err := b.Read(make([]byte, 1))
			done <- err
		}()
		for range 2 {
			err := <-done
			var e net.Error
			require.ErrorAs(t, err, &e)
			require.True(t, e.Timeout(), "%v", err)
			t.Logf("after %v: %v", time.Since(start), err)
		}
		require.Less(t, time.Since(start), 10*time.Minute)
	})
}

// TestStackDialNobody checks how long a dial to silence takes to fail, and that a context ends it.
func TestStackDialNobody(t *testing.T) {
	inBubble(t, 1, 2, "delay=10ms", func(s *site) {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		start := time.Now()
		_, err := transport.Dial(ctx, s.hosts("b"), &transport.Config{PacketConns: s.sockets("a", 0)})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(start))
	})
}

// TestStackCoalesced runs the echo over sockets that coalesce what they receive, as the kernel's GRO does.
func TestStackCoalesced(t *testing.T) {
	inBubble(t, 1, 1, "delay=5ms", func(s *site) {
		lc := transport.Config{PacketConns: s.sockets("b", sctpPort)}
		dc := transport.Config{PacketConns: s.sockets("a", 0)}
		for _, c := range append(lc.PacketConns, dc.PacketConns...) {
			c.(*simnet.Socket).Coalesce(true)
		}
		l, err := transport.Listen(s.hosts("b"), &lc)
		require.NoError(t, err)
		var served sync.WaitGroup
		defer served.Wait()
		served.Go(func() { serve(t, l, func(b net.Conn) { _, _ = io.Copy(b, b) }) })
		a, err := transport.Dial(context.Background(), s.hosts("b"), &dc)
		require.NoError(t, err)
		go func() { _, _ = a.Write(make([]byte, 500_000)) }()
		_, err = io.ReadFull(a, make([]byte, 500_000))
		require.NoError(t, err)
		require.NoError(t, a.Close())
		require.NoError(t, l.Close())
	})
}

// TestStackFullSocket blocks the socket of the data's path for a while: another path carries on.
func TestStackFullSocket(t *testing.T) {
	inBubble(t, 1, 2, "delay=10ms", func(s *site) {
		lc := transport.Config{PacketConns: s.sockets("b", sctpPort)}
		dc := transport.Config{PacketConns: s.sockets("a", 0)}
		l, err := transport.Listen(s.hosts("b"), &lc)
		require.NoError(t, err)
		var served sync.WaitGroup
		defer served.Wait()
		served.Go(func() { serve(t, l, func(b net.Conn) { _, _ = io.Copy(io.Discard, b) }) })
		a, err := transport.Dial(context.Background(), s.hosts("b"), &dc)
		require.NoError(t, err)
		time.Sleep(time.Second)
		dc.PacketConns[0].(*simnet.Socket).Block(true)
		start := time.Now()
		_, err = a.Write(make([]byte, 3<<20))
		require.NoError(t, err)
		dc.PacketConns[0].(*simnet.Socket).Block(false)
		require.NoError(t, a.Close())
		t.Logf("3 MiB in %v", time.Since(start))
		require.Less(t, time.Since(start), 3*time.Second)
		require.NoError(t, l.Close())
	})
}
