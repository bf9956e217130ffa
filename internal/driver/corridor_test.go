package driver

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/endpoint"
	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/rx"
	"github.com/go-multihome/multihome/internal/udp"
)

// corridor is two nodes on the kernel's sockets with one association between them.
type corridor struct {
	a, b *Node
	c, s *Conn // of a, of b
	l    *Listener
}

// openFunc opens the socket of a host; 0 is the one that dials.
type openFunc func(host int) (udp.Socket, error)

func loopback(opts udp.Options) openFunc {
	return func(int) (udp.Socket, error) {
		return udp.Listen(context.Background(), netip.MustParseAddrPort("127.0.0.1:0"), opts)
	}
}

// buffers are what transport asks for.
var buffers = udp.Options{RecvBuffer: 2 << 20, SendBuffer: 2 << 20}

// small packets are those that every path carries; no larger size is searched for.
const small = -1

// newCorridor makes the nodes and the association, whose packets have most bytes of UDP payload, 0 for what is usual.
func newCorridor(t testing.TB, open openFunc, most int) *corridor {
	t.Helper()
	node := func(host int) *Node {
		s, err := open(host)
		require.NoError(t, err)
		return NewNode([]udp.Socket{s}, Config{Assoc: assoc.Config{MaxPayload: most}})
	}
	x := &corridor{a: node(0), b: node(1)}
	var err error
	x.l, err = x.b.Listen(5000, 1)
	require.NoError(t, err)
	x.b.Release()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	x.c, err = x.a.Dial(ctx, endpoint.DialParams{Remote: x.b.Locals(), RemotePort: x.l.Port()})
	require.NoError(t, err)
	x.s, err = x.l.Accept(ctx)
	require.NoError(t, err)
	return x
}

func (x *corridor) close() {
	x.c.Abort("")
	x.s.Abort("")
	x.l.Close()
	x.a.Release()
	x.a.readers.Wait()
	x.b.readers.Wait()
}

// stats returns what the sockets of both ends counted.
func (x *corridor) stats() (a, b udp.Stats) {
	a, _ = udp.StatsOf(x.a.socks[0])
	b, _ = udp.StatsOf(x.b.socks[0])
	return a, b
}

// transfer sends random bytes one way and returns when they have arrived.
func (x *corridor) transfer(t testing.TB, size int) {
	t.Helper()
	seed := needs.Seed(t)
	data := make([]byte, size)
	src := rand.New(rand.NewPCG(seed, 0))
	for i := range data {
		data[i] = byte(src.Uint32())
	}
	done := make(chan error, 1)
	go func() {
		_, err := x.c.Zero().Write(data, 16<<10, nil)
		done <- err
	}()
	got := make([]byte, size)
	require.NoError(t, x.s.Zero().SetReadDeadline(time.Now().Add(time.Minute)))
	_, err := io.ReadFull(x.s.Zero(), got)
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.True(t, bytes.Equal(data, got))
}

// A flow costs no allocation per packet on its way from Write to Read, through both corridors and the kernel, SACKs and
// timers included.
func TestCorridorAllocs(t *testing.T) {
	if raceEnabled {
		t.Log("under the race detector sync.Pool drops what it is given at random: nothing to measure")
		return
	}
	for _, tc := range []struct {
		name string
		opts udp.Options
	}{
		{"offload", buffers},
		{"packet by packet", udp.Options{RecvBuffer: 2 << 20, SendBuffer: 2 << 20, NoOffload: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties the pools
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))  // so does a change of that, as AllocsPerRun makes it
			x := newCorridor(t, loopback(tc.opts), small)
			defer x.close()
			out, in := x.c.Zero(), x.s.Zero()
			p, q := make([]byte, 64<<10), make([]byte, 64<<10)
			turn := func() {
				if _, err := out.Write(p, 16<<10, nil); err != nil {
					t.Error(err)
				}
				if _, err := io.ReadFull(in, q); err != nil {
					t.Error(err)
				}
			}
			for range 500 {
				turn()
			}
			before, _ := x.stats()
			const runs = 200
			allocs := testing.AllocsPerRun(runs, turn)
			after, _ := x.stats()
			packets := after.PacketsOut - before.PacketsOut
			require.Greater(t, packets, uint64(runs*40), "each run is more than forty packets and what answers them")
			require.Zero(t, allocs)
		})
	}
}

// Small messages cost no allocation either, neither written and read one by one nor by the thousand.
func TestCorridorMessagesAllocs(t *testing.T) {
	if raceEnabled {
		t.Log("under the race detector sync.Pool drops what it is given at random: nothing to measure")
		return
	}
	// A pool loses what it holds when the number of processors changes, as AllocsPerRun does.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, together := range []int{1, 20, 3000} {
		t.Run(fmt.Sprint(together), func(t *testing.T) {
			defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties the pools
			x := newCorridor(t, loopback(buffers), small)
			defer x.close()
			out, in := x.c.Zero(), x.s.Zero()
			p, q := make([]byte, 64), make([]byte, 100)
			var part rx.Part
			turn := func() {
				for range together {
					if _, err := out.Write(p, 16<<10, nil); err != nil {
						t.Error(err)
					}
				}
				for range together {
					if n, more, err := in.ReadMessage(q, &part); n != len(p) || more || err != nil {
						t.Error(n, more, err)
					}
				}
			}
			for range 300 {
				turn()
			}
			// How many of thousands are in the house at one time is different each time, so a pool may be a little short.
			require.LessOrEqual(t, testing.AllocsPerRun(100, turn), float64(together/100))
		})
	}
}

// A batch of the reader and a batch of the flusher hold whole runs: the kernel is called far less than once per packet.
func TestCorridorBatches(t *testing.T) {
	x := newCorridor(t, loopback(buffers), small)
	defer x.close()
	x.transfer(t, 8<<20)
	a, b := x.stats()
	t.Logf("out: %d packets in %d calls, %d runs; in: %d packets in %d calls, %d slots of several",
		a.PacketsOut, a.BatchesOut, a.Runs, b.PacketsIn, b.BatchesIn, b.Joined)
	if a.Segmenting {
		require.Less(t, 4*a.BatchesOut, a.PacketsOut)
	}
	if a.Segmenting && b.Coalescing {
		require.Less(t, 4*b.BatchesIn, b.PacketsIn)
		require.Positive(t, b.Joined)
	}
}
