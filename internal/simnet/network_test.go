package simnet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
)

var (
	addrA = netip.MustParseAddr("10.0.0.1")
	addrB = netip.MustParseAddr("10.0.0.2")
	addrC = netip.MustParseAddr("10.1.0.1")
	addrD = netip.MustParseAddr("10.1.0.2")
	addr6 = netip.MustParseAddr("2001:db8::1")
)

func port(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 9899) }

func pair(seed uint64, words ...string) (*Network, *Link) {
	n := New(seed)
	for _, w := range words {
		if err := n.Default.Set(w); err != nil {
			panic(err)
		}
	}
	n.AddHost("a", addrA, addrC)
	n.AddHost("b", addrB, addrD)
	return n, n.Link("a1>b1")
}

// got is what arrived: the number a packet carries, and when.
type got struct {
	num int
	at  time.Duration
}

// flood sends count packets of size bytes, one per gap, and returns what arrives.
func flood(t *testing.T, n *Network, count, size int, gap time.Duration) []got {
	t.Helper()
	start := n.Now()
	for i := range count {
		data := make([]byte, size)
		binary.BigEndian.PutUint32(data, uint32(i))
		require.NoError(t, n.Send(start.Add(time.Duration(i)*gap), Datagram{From: port(addrA), To: port(addrB), Data: data}))
	}
	return drain(n, start)
}

func drain(n *Network, start mono.Time) []got {
	var out []got
	for {
		next, ok := n.Next()
		if !ok {
			return out
		}
		for a := range n.Deliver(next) {
			out = append(out, got{int(binary.BigEndian.Uint32(a.Data)), a.At.Sub(start)})
		}
	}
}

func TestPerfectLink(t *testing.T) {
	n, l := pair(1)
	out := flood(t, n, 100, 1000, time.Millisecond)
	require.Len(t, out, 100)
	for i, g := range out {
		require.Equal(t, got{i, time.Duration(i) * time.Millisecond}, g)
	}
	require.Equal(t, Counters{Sent: 100, Bytes: 102_800, Delivered: 100}, l.Count)
}

func TestDelayAndRate(t *testing.T) {
	// 1000 bytes with their headers at 8.224 Mbit/s take exactly a millisecond.
	n, _ := pair(1, "delay=10ms", "rate=8.224mbit")
	out := flood(t, n, 3, 1000, 0)
	require.Equal(t, []got{{0, 11 * time.Millisecond}, {1, 12 * time.Millisecond}, {2, 13 * time.Millisecond}}, out)
}

func TestQueueLimit(t *testing.T) {
	n, l := pair(1, "rate=8.224mbit", "queue=5140B")
	out := flood(t, n, 20, 1000, 0)
	require.Len(t, out, 5)
	require.Equal(t, 15, l.Count.QueueFull)
	// Half a queue's time later there is room for what has left meanwhile.
	out = flood(t, n, 20, 1000, 0)
	require.Len(t, out, 5)
}

func TestJitterKeepsOrder(t *testing.T) {
	n, l := pair(Seed(2), "delay=5ms", "jitter=5ms")
	t.Log("seed", n.Seed())
	out := flood(t, n, 500, 100, 100*time.Microsecond)
	require.Len(t, out, 500)
	for i, g := range out {
		require.Equal(t, i, g.num)
		require.GreaterOrEqual(t, g.at, time.Duration(i)*100*time.Microsecond+5*time.Millisecond)
	}
	require.Zero(t, l.Count.Reordered)
}

func TestChances(t *testing.T) {
	cases := []struct {
		word  string
		count func(*Counters) int
		low   int
		high  int
	}{
		{"loss=10%", func(c *Counters) int { return c.Lost }, 400, 600},
		{"duplicate=0.05", func(c *Counters) int { return c.Duplicated }, 180, 330},
		{"corrupt=0.02", func(c *Counters) int { return c.Corrupted }, 50, 160},
		{"reorder=0.05", func(c *Counters) int { return c.Reordered }, 180, 330},
	}
	for _, c := range cases {
		t.Run(c.word, func(t *testing.T) {
			n, l := pair(Seed(3), "delay=1ms", c.word)
			t.Log("seed", n.Seed())
			out := flood(t, n, 5000, 64, 100*time.Microsecond)
			k := c.count(&l.Count)
			require.True(t, c.low < k && k < c.high, "%d", k)
			require.Equal(t, 5000-l.Count.Lost+l.Count.Duplicated, len(out))
			require.Equal(t, len(out), l.Count.Delivered)
		})
	}
}

func TestBurst(t *testing.T) {
	n, l := pair(Seed(4), "loss=0.01", "burst=5")
	t.Log("seed", n.Seed())
	out := flood(t, n, 2000, 64, 0)
	require.Equal(t, 2000-l.Count.Lost, len(out))
	require.Greater(t, l.Count.Lost, 20)
	run, last := 0, -1
	for _, g := range append(out, got{num: 2000}) {
		run = g.num - last - 1
		last = g.num
		if run > 0 && g.num < 2000 {
			require.GreaterOrEqual(t, run, 5)
		}
	}
}

func TestMask(t *testing.T) {
	n, l := pair(1, "mask=0x5")
	out := flood(t, n, 128, 64, 0)
	require.Equal(t, 4, l.Count.Masked)
	require.Equal(t, []int{1, 3, 4}, []int{out[0].num, out[1].num, out[2].num})
	require.Equal(t, 65, out[62].num)
	require.Equal(t, 67, out[63].num)
}

func TestMTU(t *testing.T) {
	n, l := pair(1, "mtu=1028")
	d := Datagram{From: port(addrA), To: port(addrB), Data: make([]byte, 1001)}
	require.NoError(t, n.Send(n.Now(), d))
	d.NoDF = true
	require.NoError(t, n.Send(n.Now(), d))
	d.NoDF, d.Data = false, make([]byte, 1000)
	require.NoError(t, n.Send(n.Now(), d))
	require.Len(t, drain(n, n.Now()), 2)
	require.Equal(t, 1, l.Count.TooBig)
	require.Equal(t, 1, l.Count.Fragmented)
}

func TestDownEachDirectionByItself(t *testing.T) {
	n, l := pair(1, "delay=10ms")
	there := Datagram{From: port(addrA), To: port(addrB), Data: []byte("there")}
	back := Datagram{From: port(addrB), To: port(addrA), Data: []byte("back!")}
	require.NoError(t, n.Send(n.Now(), there))
	require.NoError(t, l.Set("down"))
	require.NoError(t, n.Send(n.Now(), there))
	require.NoError(t, n.Send(n.Now(), back))
	require.Len(t, drain(n, n.Now()), 2, "what was under way arrives, and the other direction works")
	require.Equal(t, 1, l.Count.Down)
	require.NoError(t, l.Set("up"))
	require.NoError(t, n.Send(n.Now(), there))
	require.Len(t, drain(n, n.Now()), 1)
}

func TestPartitionAndInterface(t *testing.T) {
	n, _ := pair(1)
	n.Partition("a", "b", true)
	for _, l := range n.Links("a*-b*") {
		require.True(t, l.Down, l.Name)
	}
	n.Partition("a", "b", false)

	d := Datagram{From: port(addrA), To: port(addrB), Data: []byte("hello")}
	n.SetInterface(addrA, false)
	require.ErrorIs(t, n.Send(n.Now(), d), ErrInterfaceDown)
	n.SetInterface(addrA, true)
	n.SetInterface(addrB, false)
	require.NoError(t, n.Send(n.Now(), d))
	require.Empty(t, drain(n, n.Now()))
	require.Equal(t, 1, n.Total().Dark)
	d.To = port(addr6)
	require.ErrorIs(t, n.Send(n.Now(), d), ErrNoRoute)
}

func TestLinkNames(t *testing.T) {
	n, _ := pair(1)
	names := func(pattern string) (s []string) {
		for _, l := range n.Links(pattern) {
			s = append(s, l.Name)
		}
		return s
	}
	require.Equal(t, []string{"a1>b1", "b1>a1"}, names("a1-b1"))
	require.Equal(t, []string{"a1>b1", "b1>a1"}, names("b1-a1"))
	require.Equal(t, []string{"a1>b2"}, names("a1>b2"))
	require.Len(t, names("a*-b*"), 8)
	require.Len(t, names("a2"), 4)
	require.Empty(t, names("c1-b1"))
	require.Equal(t, "b2", n.AddrName(addrD))
	a, ok := n.Addr("b2")
	require.True(t, ok)
	require.Equal(t, addrD, a)
}

func TestPlannedChange(t *testing.T) {
	n, l := pair(1, "delay=1ms")
	n.At(n.Now().Add(10*time.Millisecond), func() { l.Down = true })
	out := flood(t, n, 1, 64, 0)
	require.Len(t, out, 1)
	require.True(t, l.Down)
	require.Equal(t, Epoch.Add(10*time.Millisecond), n.Now())
}

// TestReplay runs one seed twice, and another once: the same seed gives the same run to the nanosecond.
func TestReplay(t *testing.T) {
	run := func(seed uint64) string {
		n, _ := pair(seed, "delay=3ms", "jitter=2ms", "loss=0.1", "reorder=0.1", "duplicate=0.1", "corrupt=0.1", "rate=5mbit")
		var log string
		n.Tap = func(e TapEvent) { log += fmt.Sprint(e.At, e.Fate, e.Link, e.Data) }
		for i := range 300 {
			data := []byte{0, 0, 0, byte(i), 0, 0, 0, 0}
			require.NoError(t, n.Send(n.Now(), Datagram{From: port(addrA), To: port(addrB), Data: data}))
			require.NoError(t, n.Send(n.Now(), Datagram{From: port(addrD), To: port(addrC), Data: data}))
			if next, ok := n.Next(); ok && i%3 == 0 {
				for range n.Deliver(next) {
					continue
				}
			}
		}
		return log
	}
	require.Equal(t, run(7), run(7))
	require.NotEqual(t, run(7), run(8))
}

// TestLinksDoNotDisturbEachOther checks that a direction's faults do not depend on the traffic of the others.
func TestLinksDoNotDisturbEachOther(t *testing.T) {
	quiet, _ := pair(9, "loss=0.3")
	busy, _ := pair(9, "loss=0.3")
	for range 50 {
		require.NoError(t, busy.Send(busy.Now(), Datagram{From: port(addrC), To: port(addrB), Data: make([]byte, 8)}))
	}
	drain(busy, busy.Now())
	a, b := flood(t, quiet, 200, 8, 0), flood(t, busy, 200, 8, 0)
	require.Equal(t, a, b)
}

func TestSettings(t *testing.T) {
	var s Shape
	for _, w := range []string{"delay=10ms", "jitter=1ms", "rate=1.5mbit", "queue=64KiB", "loss=5%", "burst=3", "mask=0xff",
		"reorder=0.5", "reorderby=2ms", "duplicate=0.25", "corrupt=1", "mtu=1280", "down"} {
		require.NoError(t, s.Set(w), w)
	}
	require.Equal(t, Shape{Rate: 1_500_000, Queue: 65536, Delay: 10 * time.Millisecond, Jitter: time.Millisecond, Loss: 0.05, Burst: 3,
		Mask: 0xff, Reorder: 0.5, ReorderBy: 2 * time.Millisecond, Duplicate: 0.25, Corrupt: 1, MTU: 1280, Down: true}, s)
	require.NoError(t, s.Set("perfect"))
	require.Zero(t, s)
	for _, w := range []string{"", "delay", "delay=x", "loss=2", "loss=-1", "rate=-1", "queue=-5", "mtu=1x", "colour=red", "mask=zz", "burst=x"} {
		require.Error(t, s.Set(w), w)
	}
	for in, want := range map[string]int{"0": 0, "1200": 1200, "7B": 7, "64KB": 64000, "64KiB": 65536, "1MB": 1_000_000, "2MiB": 2 << 20} {
		n, err := ParseSize(in)
		require.NoError(t, err)
		require.Equal(t, want, n, in)
	}
}

func TestSteadyStateReusesBuffers(t *testing.T) {
	n, _ := pair(1)
	d := Datagram{From: port(addrA), To: port(addrB), Data: make([]byte, 1200)}
	require.NoError(t, n.Send(n.Now(), d))
	drain(n, n.Now())
	before := len(n.spare)
	require.NoError(t, n.Send(n.Now(), d))
	require.Len(t, n.spare, before-1)
	drain(n, n.Now())
	require.Len(t, n.spare, before)
}

func TestNAT(t *testing.T) {
	n, _ := pair(1, "delay=1ms")
	inside := netip.MustParseAddr("192.168.0.1")
	n.AddHost("i", inside)
	nat := n.AddNAT(addrA, inside)
	one := func(from, to netip.AddrPort) (a Arrival, ok bool) {
		require.NoError(t, n.Send(n.Now(), Datagram{From: from, To: to, Data: []byte("data")}))
		next, _ := n.Next()
		for a = range n.Deliver(next) {
			ok = true
		}
		return a, ok
	}
	a, ok := one(port(inside), port(addrB))
	require.True(t, ok)
	require.Equal(t, netip.AddrPortFrom(addrA, firstMapped), a.From)
	require.Equal(t, "a1>b1", a.Link)
	back, _ := one(port(addrB), a.From)
	require.Equal(t, port(inside), back.To)
	again, _ := one(port(inside), port(addrD))
	require.Equal(t, a.From, again.From, "one port for all peers")
	nat.Forget()
	late, _ := one(port(addrB), a.From)
	require.Equal(t, a.From, late.To, "no binding: nobody there")
	a, _ = one(port(inside), port(addrB))
	require.Equal(t, netip.AddrPortFrom(addrA, firstMapped+1), a.From)
}
