package simnet_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/simnet"
	"github.com/go-multihome/multihome/transport"
)

// hydra is a server with four locators, all in reach of both of the client's, and a client that dials them in order.
type hydra struct {
	lab   *simnet.Lab
	local []net.PacketConn
	text  string
}

func newHydra(t *testing.T, oneWay time.Duration) (h *hydra, stop func()) {
	n := simnet.New(1)
	require.NoError(t, n.Default.Set("delay="+oneWay.String()))
	var server, client []netip.Addr
	for i := range 4 {
		server = append(server, netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}))
	}
	for i := range 2 {
		client = append(client, netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}))
	}
	n.AddHost("a", client...)
	n.AddHost("b", server...)
	h = &hydra{lab: simnet.NewLab(n)}
	s := &site{t: t, lab: h.lab, addrs: map[string][]netip.Addr{"a": client, "b": server}}
	h.text, h.local = s.hosts("b"), s.sockets("a", 0)
	l, err := transport.Listen(h.text, &transport.Config{PacketConns: s.sockets("b", sctpPort)})
	require.NoError(t, err)
	return h, func() {
		require.NoError(t, l.Close())
		h.lab.Close()
	}
}

// dial returns how long it takes.
func (h *hydra) dial(t *testing.T) time.Duration {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, err := transport.Dial(ctx, h.text, &transport.Config{PacketConns: h.local})
	require.NoError(t, err)
	took := time.Since(start)
	require.NoError(t, a.Abort("seen enough"))
	return took
}

// TestStackDialPastTheDead: the first locators do not answer. Each costs at most two round trips and 150 ms.
func TestStackDialPastTheDead(t *testing.T) {
	for _, rtt := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond} {
		for dead := range 4 {
			t.Run(fmt.Sprintf("RTT %v, %d dead", rtt, dead), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h, stop := newHydra(t, rtt/2)
					defer stop()
					for i := range dead {
						h.lab.Set(fmt.Sprintf("*-b%d", i+1), "down")
					}
					took := h.dial(t)
					t.Log(took)
					require.LessOrEqual(t, took, 2*rtt+time.Duration(dead)*(2*rtt+150*time.Millisecond))
				})
			})
		}
	}
}

// TestStackDialDiesHalfway: the locator that answered the INIT is silent from then on. It is one more dead one.
func TestStackDialDiesHalfway(t *testing.T) {
	for _, rtt := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond} {
		for _, link := range []string{"a*>b1", "b1>a*", "a*-b1"} {
			t.Run(fmt.Sprintf("RTT %v, %s", rtt, link), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h, stop := newHydra(t, rtt/2)
					defer stop()
					time.AfterFunc(rtt-time.Microsecond, func() { h.lab.Set(link, "down") })
					if link != "a*>b1" {
						// What is on its way arrives: the INIT ACK.
						time.AfterFunc(rtt/2+time.Microsecond, func() { h.lab.Set(link, "down") })
					}
					took := h.dial(t)
					t.Log(took)
					require.LessOrEqual(t, took, 2*rtt+2*rtt+150*time.Millisecond)
				})
			})
		}
	}
}

// TestStackDialAllDead: the error comes with the context's deadline and tells of every locator what it answered.
func TestStackDialAllDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := newHydra(t, 10*time.Millisecond)
		defer stop()
		h.lab.Set("*", "down")
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
		defer cancel()
		_, err := transport.Dial(ctx, h.text, &transport.Config{PacketConns: h.local})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 1500*time.Millisecond, time.Since(start))
		t.Log(err)
		for _, at := range strings.Split(h.text, ",") {
			require.Regexp(t, strings.ReplaceAll(at, ".", `\.`)+`: no answer to [1-9]\d* INIT`, err.Error())
		}
	})
}

// TestStackDialNotThrough: one locator answers the INIT, and then nobody hears anything any more. The error tells the difference.
func TestStackDialNotThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := newHydra(t, 10*time.Millisecond)
		defer stop()
		h.lab.Set("*-b1", "down")
		time.AfterFunc(119*time.Millisecond, func() { h.lab.Set("a*>b*", "down") })
		ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
		defer cancel()
		_, err := transport.Dial(ctx, h.text, &transport.Config{PacketConns: h.local})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "192.0.2.10:5000: no answer to 1 INIT")
		require.ErrorContains(t, err, "192.0.2.11:5000: answered the INIT")
	})
}
