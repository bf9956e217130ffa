package script

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/pktbuf"
)

// TestCrowd lets several clients with two addresses each make, use and end many associations with one server over bad
// links, crash in the middle and come back with the same ports. In the end no endpoint may remember anything.
func TestCrowd(t *testing.T) {
	first, count := storms(t)
	count = (count + 7) / 8
	var sum crowdResult
	for seed := first; seed < first+count; seed++ {
		before := pktbuf.Live()
		c := newCrowd(seed)
		err := c.run()
		if err == nil {
			c.w.Close()
			require.Equal(t, before, pktbuf.Live(), "buffers leaked")
		}
		require.NoError(t, err, "replay with MULTIHOME_SEED=%d", seed)
		sum.Dials += c.result.Dials
		sum.Refused += c.result.Refused
		sum.Reboots += c.result.Reboots
		sum.Restarts += c.result.Restarts
		sum.Most = max(sum.Most, c.result.Most)
	}
	t.Logf("seeds %d to %d: %+v", first, first+count-1, sum)
}

type crowdResult struct {
	Dials, Refused, Reboots, Restarts int
	Most                              int // associations at once at the server
}

type crowd struct {
	w       *World
	rng     *rand.Rand
	server  *Host
	clients []*Host
	result  crowdResult
}

func newCrowd(seed uint64) *crowd {
	c := &crowd{w: NewWorld(seed), rng: rand.New(rand.NewPCG(seed, 0xc09d))}
	c.w.Quiet = true
	c.w.Net.Default.Delay = 15 * time.Millisecond
	c.w.Net.Default.Jitter = 10 * time.Millisecond
	c.w.Net.Default.Loss = 0.05
	c.w.Net.Default.Reorder = 0.05
	c.w.Net.Default.Duplicate = 0.02
	add := func(name string, i int) *Host {
		return c.w.AddHost(name, netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i)), netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", i)))
	}
	c.server = add("z", 1)
	for i := range 4 {
		h := add(string(rune('a'+i)), i+2)
		h.Boot()
		c.clients = append(c.clients, h)
	}
	return c
}

func (c *crowd) run() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if err := c.server.Listen(); err != nil {
		return err
	}
	for range 150 {
		c.act()
		c.w.Advance(time.Duration(c.rng.IntN(300)) * time.Millisecond)
		c.result.Most = max(c.result.Most, c.server.EP.Len())
		if c.w.Err != nil {
			return c.w.Err
		}
	}
	c.each(func(k *Conn) {
		k.A.Shutdown(c.w.Now)
		k.Host.flush(k)
	})
	// Those whose peer crashed are found out by heartbeats, or by the timeouts of the shutdown.
	if !c.w.Until(time.Hour, c.empty) {
		left := ""
		c.each(func(k *Conn) { left += fmt.Sprintf(" %s: %v,", k.Name, k.A.State()) })
		return fmt.Errorf("not all has ended:%s %w", left, errOr(c.w.Err, nil))
	}
	for _, h := range append(c.clients, c.server) {
		for _, k := range h.Conns {
			c.result.Restarts += int(k.A.Stats().Restarts)
		}
	}
	return c.w.Err
}

// each calls f for every association that has not ended.
func (c *crowd) each(f func(k *Conn)) {
	for _, h := range append(c.clients, c.server) {
		for _, k := range h.Conns {
			if !k.Closed {
				f(k)
			}
		}
	}
}

func (c *crowd) empty() bool {
	for _, h := range append(c.clients, c.server) {
		if h.EP.Len() != 0 {
			return false
		}
	}
	return true
}

// act does something at random.
func (c *crowd) act() {
	h := c.clients[c.rng.IntN(len(c.clients))]
	var k *Conn
	if n := len(h.Conns); n > 0 {
		k = h.Conns[c.rng.IntN(n)]
	}
	switch what := c.rng.IntN(20); {
	case what < 6 || k == nil || k.Closed:
		c.result.Dials++
		if _, err := h.Dial(c.server, nil, c.server.Sim.Addrs, uint16(6000+c.rng.IntN(6))); err != nil {
			c.result.Refused++ // the port is in use
		}
	case what < 13:
		k.Send(uint16(c.rng.IntN(4)), 1+c.rng.IntN(30_000), 1+c.rng.IntN(5000), 0, false)
	case what < 15:
		if len(c.server.Conns) == 0 {
			return
		}
		if s := c.server.Conns[c.rng.IntN(len(c.server.Conns))]; s.Up && !s.Closed {
			s.Send(uint16(c.rng.IntN(4)), 1+c.rng.IntN(30_000), 1+c.rng.IntN(5000), 0, false)
		}
	case what < 17:
		k.A.Shutdown(c.w.Now)
		h.flush(k)
	case what < 18:
		k.A.Abort(c.w.Now, 0, "")
		h.flush(k)
	case what < 19:
		c.result.Reboots++
		h.Boot()
	default:
		for _, s := range c.server.Conns {
			if !s.Closed && s.Up {
				s.A.Shutdown(c.w.Now)
				c.server.flush(s)
				break
			}
		}
	}
}
