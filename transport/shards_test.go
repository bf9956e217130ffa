package transport_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"github.com/go-multihome/multihome/transport"
)

// granted is how many shards this system gives to those who ask for n.
func granted(n int) int {
	if runtime.GOOS != "linux" {
		return 1
	}
	return n
}

// A sharded listener's associations pass the exam, and those of a sharded dialler.
func TestConnSharded(t *testing.T) {
	cfg := &transport.Config{Shards: 4}
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		a, b, l := pair(t, loop, cfg)
		require.Equal(t, granted(4), l.SocketStats().Shards)
		require.Equal(t, granted(4), a.SocketStats().Shards)
		return a, b, func() { closeAll(a, b); l.Close() }, nil
	})
}

// A port has one listener, whatever shards either asks for, and is free again when that has closed.
func TestShardsKeepThePort(t *testing.T) {
	cfg := &transport.Config{Shards: 3}
	l, err := transport.Listen(loop, cfg)
	require.NoError(t, err)
	at := l.Addr().String()
	for _, other := range []*transport.Config{nil, cfg, {Shards: 1}} {
		_, err := transport.Listen(at, other)
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		require.ErrorContains(t, err, "address already in use")
	}
	accepted, dialled := connect(t, l, nil)
	require.Equal(t, 1, dialled.SocketStats().Shards, "dials have no shards unless asked for")
	require.NoError(t, l.Close())
	_, err = transport.Listen(at, cfg)
	require.ErrorIs(t, err, syscall.EADDRINUSE, "the association still uses the sockets")
	closeAll(accepted, dialled)
	for range 3 {
		l, err = transport.Listen(at, cfg)
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
	for _, n := range []int{-1, 65} {
		_, err = transport.Listen(at, &transport.Config{Shards: n})
		require.ErrorIs(t, err, transport.ErrConfig)
	}
}

// A capture sees what all shards read and write.
func TestShardsCapture(t *testing.T) {
	var at, of memory
	l, err := transport.Listen(loop, &transport.Config{Shards: 4, Capture: &of})
	require.NoError(t, err)
	cfg := &transport.Config{Capture: &at}
	const n = 16
	var all []*transport.Association
	for range n {
		accepted, dialled := connect(t, l, cfg)
		all = append(all, accepted, dialled)
		_, err := dialled.Write(make([]byte, 5000))
		require.NoError(t, err)
		_, err = io.ReadFull(accepted, make([]byte, 5000))
		require.NoError(t, err)
	}
	closeAll(all...)
	require.Eventually(t, func() bool {
		at.mu.Lock()
		defer at.mu.Unlock()
		of.mu.Lock()
		defer of.mu.Unlock()
		return len(at.sent) == len(of.received) && len(of.sent) == len(at.received)
	}, 10*time.Second, time.Millisecond)
	st := l.SocketStats()
	require.EqualValues(t, n, st.Accepted)
	require.EqualValues(t, len(of.received), st.PacketsIn)
	require.Zero(t, st.Missteered)
	require.NoError(t, l.Close())
}

// crowd is a listener and many associations with it, dialled from several sets of sockets.
type crowd struct {
	l            *transport.Listener
	here, beyond []*transport.Association
}

func newCrowd(t testing.TB, n int, cfg *transport.Config) *crowd {
	t.Helper()
	l, err := transport.Listen(loop, cfg)
	require.NoError(t, err)
	c := &crowd{l: l}
	for i := range n {
		mine := *cfg
		mine.Shards, mine.DSCP = 1, i%4 // the code point tells sets of sockets apart and does nothing else here
		accepted, dialled := connect(t, l, &mine)
		c.here, c.beyond = append(c.here, accepted), append(c.beyond, dialled)
	}
	return c
}

func (c *crowd) close() {
	for i := range c.here {
		c.here[i].Abort("")
		c.beyond[i].Abort("")
	}
	c.l.Close()
}

// round sends count writes of size bytes from each dialled association, or if echo is set has each answered.
func (c *crowd) round(t testing.TB, size, count int, echo bool) {
	var wg sync.WaitGroup
	for i := range c.here {
		wg.Go(func() {
			buf := make([]byte, min(size, 64<<10))
			for left := size * count; left > 0; {
				k, err := c.here[i].Read(buf[:min(len(buf), left)])
				if err == nil && echo {
					_, err = c.here[i].Write(buf[:k])
				}
				if err != nil {
					t.Error(err)
					return
				}
				left -= k
			}
		})
		wg.Go(func() {
			buf := make([]byte, size)
			for range count {
				_, err := c.beyond[i].Write(buf)
				if err == nil && echo {
					_, err = io.ReadFull(c.beyond[i], buf)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Many associations on two shards, and the bytes are all there.
func TestShardsCrowd(t *testing.T) {
	c := newCrowd(t, 50, &transport.Config{Shards: 2, Memory: 256 << 20})
	defer c.close()
	c.round(t, 64, 50, true)
	c.round(t, 32<<10, 10, false)
	require.Zero(t, c.l.SocketStats().Missteered)
}

// A listener for very many associations may read with several cores.
func ExampleConfig_shards() {
	l, err := transport.Listen("127.0.0.1:0", &transport.Config{Shards: runtime.GOMAXPROCS(0)})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	fmt.Println(l.SocketStats().Shards >= 1) // as many, or 1 where the system refused
	if _, err := transport.ListenContext(context.Background(), "sctp", l.Addr().String(), nil); err != nil {
		fmt.Println("the port is the listener's alone")
	}
	// Output:
	// true
	// the port is the listener's alone
}
