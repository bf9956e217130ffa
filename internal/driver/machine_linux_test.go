package driver

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/endpoint"
	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/internal/udp"
)

// patience is how long something may take on a busy machine.
const patience = 20 * time.Second

// nodeOn starts a node on a host's addresses on two paths.
func nodeOn(t *testing.T, h *netlab.Host, opts udp.Options) (n *Node) {
	t.Helper()
	require.NoError(t, h.Do(func() error {
		socks, err := udp.ListenSet(context.Background(), []netip.Addr{h.Addr4(0), h.Addr4(1)}, 0, opts)
		if err == nil {
			n = NewNode(socks, Config{})
		}
		return err
	}))
	return n
}

// states lists the states of an association's paths that leave from a local locator.
func states(c *Conn, local netip.Addr) (out []heartbeat.State) {
	for _, p := range c.Paths() {
		if p.Local.Addr == local {
			out = append(out, p.State)
		}
	}
	return out
}

func every(in []heartbeat.State, want ...heartbeat.State) bool {
	for _, s := range in {
		ok := false
		for _, w := range want {
			ok = ok || s == w
		}
		if !ok {
			return false
		}
	}
	return len(in) > 0
}

// Every association of a node learns what becomes of its local locators: those that live, and those that are born while
// one is gone, on both sides. What watches ends with the last node.
func TestLocalChangesReachEveryAssociation(t *testing.T) {
	needs.Netns(t)
	t.Run("one socket", func(t *testing.T) { localChanges(t, udp.Options{}) })
	t.Run("three sockets", func(t *testing.T) { localChanges(t, sharded(3)) })
}

func localChanges(t *testing.T, opts udp.Options) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	lab := netlab.ForTest(t, netlab.Options{})
	a, b := nodeOn(t, lab.A, opts), nodeOn(t, lab.B, opts)
	require.Equal(t, max(opts.Shards, 1), b.Stats().Shards)
	ln, err := b.Listen(5000, 10)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dial := func() (c, s *Conn) {
		c, err := a.Dial(ctx, endpoint.DialParams{Remote: b.Locals(), RemotePort: 5000})
		require.NoError(t, err)
		s, err = ln.Accept(ctx)
		require.NoError(t, err)
		return c, s
	}
	eventually := func(what string, f func() bool) {
		t.Helper()
		require.Eventually(t, f, patience, time.Millisecond, what)
	}

	c1, s1 := dial()
	reasons := make(chan string, 100)
	c1.Watch(func(_ time.Time, e *assoc.Event) {
		if e.Kind == assoc.EventPath && e.To == heartbeat.Inactive {
			reasons <- e.Reason
		}
	})
	require.NoError(t, lab.A.LinkDown(0))
	eventually("told", func() bool { return every(states(c1, lab.A.Addr4(0)), heartbeat.Inactive) })
	require.Equal(t, "local fault: link down (p0)", <-reasons)
	// Not at once: on a busy machine a path may seem dead for a moment.
	eventually("the other link is well", func() bool {
		return every(states(c1, lab.A.Addr4(1)), heartbeat.Active, heartbeat.Unconfirmed)
	})
	require.EqualValues(t, 1, a.machine.down.Load())

	c2, s2 := dial()
	require.True(t, every(states(c2, lab.A.Addr4(0)), heartbeat.Inactive), "born knowing it")
	eventually("and the other is well", func() bool {
		return every(states(c2, lab.A.Addr4(1)), heartbeat.Active, heartbeat.Unconfirmed)
	})

	require.NoError(t, lab.B.AddrDel(1))
	eventually("the acceptor's side is told", func() bool {
		return every(states(s1, lab.B.Addr4(1)), heartbeat.Inactive) && every(states(s2, lab.B.Addr4(1)), heartbeat.Inactive)
	})
	require.NoError(t, lab.B.AddrAdd(1))
	require.NoError(t, lab.A.LinkUp(0))
	for _, c := range []*Conn{c1, c2, s1, s2} {
		eventually("every locator is good again", func() bool {
			for i := range 2 {
				for _, p := range c.Paths() {
					if p.State == heartbeat.Inactive && (p.Local.Addr == lab.A.Addr4(i) || p.Local.Addr == lab.B.Addr4(i)) {
						return false
					}
				}
			}
			return true
		})
	}
	require.NotZero(t, a.Stats().LocalFaults)
	require.NotZero(t, b.Stats().LocalFaults)

	for _, c := range []*Conn{c1, c2, s1, s2} {
		_ = c.Abort("the test is over")
	}
	require.NoError(t, ln.Close())
	a.Release()
	b.Release()
	a.settle()
	b.settle()
	require.NoError(t, lab.Close())
}

// An INIT that the system refuses is tried by another local locator, and ends the dial when none is left.
func TestRefusedInit(t *testing.T) {
	needs.Netns(t)
	lab := netlab.ForTest(t, netlab.Options{})
	a, b := nodeOn(t, lab.A, udp.Options{}), nodeOn(t, lab.B, udp.Options{})
	defer a.Release()
	ln, err := b.Listen(5000, 10)
	require.NoError(t, err)
	defer b.Release()
	defer ln.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// The watcher is told nothing of routes.
	_, err = lab.RunA("ip", "rule", "add", "from", lab.A.Addr4(0).String(), "pref", "10", "unreachable")
	require.NoError(t, err)
	c, err := a.Dial(ctx, endpoint.DialParams{Remote: b.Locals()[1:], RemotePort: 5000})
	require.NoError(t, err)
	require.NoError(t, c.Abort("next"))
	_, err = lab.RunA("ip", "rule", "add", "from", lab.A.Addr4(1).String(), "pref", "10", "prohibit")
	require.NoError(t, err)
	_, err = a.Dial(ctx, endpoint.DialParams{Remote: b.Locals(), RemotePort: 5000})
	require.Error(t, err)
	require.NoError(t, ctx.Err())
	for _, l := range b.Locals() {
		require.Contains(t, err.Error(), l.String())
	}
	require.True(t, strings.Contains(err.Error(), "no route to host") || strings.Contains(err.Error(), "permission denied"), err)
	require.NotZero(t, a.Stats().SendErrors)
}
