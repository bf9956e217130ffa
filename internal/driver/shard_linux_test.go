package driver

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/endpoint"
	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/udp"
	"github.com/go-multihome/multihome/locator"
)

// sharded are options of a group of sockets per locator.
func sharded(shards int) udp.Options {
	opts := buffers
	opts.Shards, opts.Steer = shards, Steering
	return opts
}

// arrivals is a capture that counts what arrives by the shard it is meant for, and remembers each tag's ways.
type arrivals struct {
	shards int

	mu   sync.Mutex
	want map[netip.AddrPort][]uint64
	ways map[uint32]map[[2]netip.AddrPort]bool
}

func (c *arrivals) Datagram(_ time.Time, sent bool, local, peer netip.AddrPort, payload []byte) {
	if sent {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.want[local] == nil {
		c.want[local] = make([]uint64, c.shards)
	}
	c.want[local][Steering.Shard(payload, c.shards)]++
	tag := binary.BigEndian.Uint32(payload[4:])
	if c.ways[tag] == nil {
		c.ways[tag] = make(map[[2]netip.AddrPort]bool)
	}
	c.ways[tag][[2]netip.AddrPort{local, peer}] = true
}

// nodeAt starts a node on addresses of the loopback.
func nodeAt(t testing.TB, cfg Config, opts udp.Options, addrs ...string) *Node {
	t.Helper()
	var ips []netip.Addr
	for _, a := range addrs {
		ip := netip.MustParseAddr(a)
		needs.Address(t, ip)
		ips = append(ips, ip)
	}
	socks, err := udp.ListenSet(context.Background(), ips, 0, opts)
	require.NoError(t, err)
	return NewNode(socks, cfg)
}

// exchange sends a message of n bytes each way on every pair of associations.
func exchange(t *testing.T, pairs [][2]*Conn, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for _, p := range pairs {
		for k := range 2 {
			wg.Go(func() {
				_, err := p[k].Zero().Write(make([]byte, n), 16<<10, nil)
				if err == nil {
					_, err = io.ReadFull(p[k].Zero(), make([]byte, n))
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
}

// All packets of an association are read by one shard at each of our locators, whichever of its paths they come by, and
// setups too land where their tag says; what is sent leaves by that shard's socket.
func TestShards(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	const shards, clients, each = 3, 3, 12 // so many that a shard without any cannot happen
	seen := &arrivals{shards: shards, want: make(map[netip.AddrPort][]uint64), ways: make(map[uint32]map[[2]netip.AddrPort]bool)}
	srv := nodeAt(t, Config{Capture: seen}, sharded(shards), "127.0.0.1", "127.0.0.2")
	require.Equal(t, shards, srv.Stats().Shards)
	ln, err := srv.Listen(5000, 100)
	require.NoError(t, err)
	srv.Release()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var nodes []*Node
	var pairs [][2]*Conn
	for range clients {
		n := nodeAt(t, Config{}, buffers, "127.0.0.3", "127.0.0.4")
		nodes = append(nodes, n)
		for range each {
			c, err := n.Dial(ctx, endpoint.DialParams{Remote: srv.Locals(), RemotePort: 5000})
			require.NoError(t, err)
			s, err := ln.Accept(ctx)
			require.NoError(t, err)
			pairs = append(pairs, [2]*Conn{c, s})
		}
	}
	for range 3 {
		exchange(t, pairs, 100<<10)
		for _, p := range pairs {
			for _, info := range p[0].Paths() {
				_ = p[0].Heartbeat(info.ID) // a path that is not confirmed yet is being asked anyway
			}
		}
	}
	// Every association is heard by all its paths.
	for _, p := range pairs {
		var id assoc.Identity
		p[1].mu.Lock()
		p[1].a.Identity(&id)
		p[1].mu.Unlock()
		tag := id.MyTag
		require.NotZero(t, tag)
		require.Eventually(t, func() bool {
			seen.mu.Lock()
			defer seen.mu.Unlock()
			return len(seen.ways[tag]) == len(p[1].Paths()) && len(seen.ways[tag]) > 1
		}, patience, time.Millisecond, "%v", seen.ways[tag])
		p[1].mu.Lock()
		require.EqualValues(t, tag%shards, p[1].shard)
		p[1].mu.Unlock()
	}
	for _, s := range srv.socks {
		require.Eventually(t, func() bool {
			var got []uint64
			for _, sh := range udp.Shards(s) {
				st, _ := udp.StatsOf(sh)
				got = append(got, st.PacketsIn)
			}
			seen.mu.Lock()
			defer seen.mu.Unlock()
			return slices.Equal(seen.want[s.Local()], got) // at a moment when nothing is between socket and capture
		}, patience, time.Millisecond)
		for k, sh := range udp.Shards(s) {
			st, _ := udp.StatsOf(sh)
			require.Positive(t, st.PacketsIn, "shard %d of %v", k, s.Local())
			require.Positive(t, st.PacketsOut, "shard %d of %v", k, s.Local())
		}
	}
	require.Zero(t, srv.Stats().Missteered)
	// Answers to the aborted may leave for several associations in one run, which is steered by the first.
	for _, p := range pairs {
		_ = p[0].Abort("the test is over")
		_ = p[1].Abort("the test is over")
	}
	for _, n := range nodes {
		n.Release()
		n.settle()
	}
	require.NoError(t, ln.Close())
	srv.settle()
}

// A handshake with INIT and COOKIE ECHO in different shards, and with everything else that can be: whichever comes first, an
// association is born once.
func TestShardsSetup(t *testing.T) {
	const shards, n = 4, 64
	srv := nodeAt(t, Config{}, sharded(shards), "127.0.0.1")
	ln, err := srv.Listen(5000, n)
	require.NoError(t, err)
	srv.Release()
	cl := nodeAt(t, Config{}, buffers, "127.0.0.1")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			c, err := cl.Dial(ctx, endpoint.DialParams{Remote: srv.Locals(), RemotePort: 5000})
			if err == nil {
				_, err = c.Zero().Write([]byte("hello"), 100, nil)
			}
			if err == nil {
				err = c.Close(patience)
			}
			if err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			s, err := ln.Accept(ctx)
			if err == nil {
				_, err = io.ReadFull(s.Zero(), make([]byte, 5))
			}
			if err == nil {
				err = s.Close(patience)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	st := srv.Stats()
	require.EqualValues(t, n, st.Endpoint.Born)
	require.Zero(t, st.Endpoint.CookiesBad+st.Endpoint.BadTags+st.Dropped)
	for _, s := range udp.Shards(srv.socks[0]) {
		in, _ := udp.StatsOf(s)
		require.Positive(t, in.PacketsIn)
	}
	require.NoError(t, ln.Close())
	cl.Release()
	cl.settle()
}

// Where the system refuses shards at one of the locators the others keep theirs, and all associations live.
func TestShardsRefused(t *testing.T) {
	opts := sharded(3)
	second := false
	opts.Control = func(_, address string, c syscall.RawConn) error {
		if ap := netip.MustParseAddrPort(address); ap.Addr() == netip.MustParseAddr("127.0.0.2") {
			if second = !second; !second {
				return errors.New("refused")
			}
		}
		return nil
	}
	srv := nodeAt(t, Config{}, opts, "127.0.0.1", "127.0.0.2")
	require.Len(t, udp.Shards(srv.socks[0]), 3)
	require.Len(t, udp.Shards(srv.socks[1]), 1)
	require.Equal(t, 3, srv.Stats().Shards)
	ln, err := srv.Listen(5000, 10)
	require.NoError(t, err)
	srv.Release()
	cl := nodeAt(t, Config{}, buffers, "127.0.0.3", "127.0.0.4")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var pairs [][2]*Conn
	for range 9 {
		c, err := cl.Dial(ctx, endpoint.DialParams{Remote: srv.Locals(), RemotePort: 5000})
		require.NoError(t, err)
		s, err := ln.Accept(ctx)
		require.NoError(t, err)
		pairs = append(pairs, [2]*Conn{c, s})
	}
	for i := range 2 {
		for _, p := range pairs {
			for _, c := range p {
				for _, info := range c.Paths() {
					if info.Local == srv.Locals()[i] || info.Peer == srv.Locals()[i] {
						_ = c.SetPrimary(info.ID)
						break
					}
				}
			}
		}
		exchange(t, pairs, 50<<10)
	}
	require.Zero(t, srv.Stats().Missteered)
	for _, p := range pairs {
		_ = p[0].Abort("the test is over")
		_ = p[1].Abort("the test is over")
	}
	require.NoError(t, ln.Close())
	cl.Release()
	cl.settle()
}

// A dial from a sharded node to a closed port learns so from an ICMP message, whichever socket of the group gets it.
func TestShardsNotices(t *testing.T) {
	n := nodeAt(t, Config{}, sharded(4), "127.0.0.1")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for range 8 {
		s, err := udp.Listen(ctx, netip.MustParseAddrPort("127.0.0.1:0"), udp.Options{})
		require.NoError(t, err)
		closed := locator.FromAddrPort(s.Local())
		require.NoError(t, s.Close())
		_, err = n.Dial(ctx, endpoint.DialParams{Remote: []locator.Locator{closed}, RemotePort: 5000})
		require.ErrorContains(t, err, "port unreachable")
	}
	require.NoError(t, ctx.Err())
	require.NotZero(t, n.Stats().ICMP)
	n.Release()
	n.settle()
}

// Shards cost no allocation per packet either.
func TestShardsAllocs(t *testing.T) {
	if raceEnabled {
		t.Log("under the race detector sync.Pool drops what it is given at random: nothing to measure")
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties the pools
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))  // so does a change of that, as AllocsPerRun makes it
	srv := nodeAt(t, Config{Assoc: assoc.Config{MaxPayload: small}}, sharded(2), "127.0.0.1")
	ln, err := srv.Listen(5000, 10)
	require.NoError(t, err)
	srv.Release()
	cl := nodeAt(t, Config{Assoc: assoc.Config{MaxPayload: small}}, buffers, "127.0.0.1")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var pairs [][2]*Conn
	shards := map[uint8]bool{}
	for len(shards) < 2 {
		c, err := cl.Dial(ctx, endpoint.DialParams{Remote: srv.Locals(), RemotePort: 5000})
		require.NoError(t, err)
		s, err := ln.Accept(ctx)
		require.NoError(t, err)
		s.mu.Lock()
		shards[s.shard] = true
		s.mu.Unlock()
		pairs = append(pairs, [2]*Conn{c, s})
	}
	p, q := make([]byte, 32<<10), make([]byte, 32<<10)
	turn := func() {
		for _, pair := range pairs {
			if _, err := pair[0].Zero().Write(p, 16<<10, nil); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadFull(pair[1].Zero(), q); err != nil {
				t.Error(err)
			}
		}
	}
	for range 500 {
		turn()
	}
	before := srv.Stats().PacketsIn
	const runs = 200
	allocs := testing.AllocsPerRun(runs, turn)
	require.Greater(t, srv.Stats().PacketsIn-before, uint64(runs*40))
	require.Zero(t, allocs)
	for _, pair := range pairs {
		_ = pair[0].Abort("")
		_ = pair[1].Abort("")
	}
	require.NoError(t, ln.Close())
	cl.Release()
	cl.settle()
}
