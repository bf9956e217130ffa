package field

import (
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/transport"
)

// fileSize is what goes each way. Under the race detector everything takes ten times as long.
func fileSize() int64 {
	if needs.Race {
		return 24 << 20
	}
	return 100e6
}

type sum = [sha256.Size]byte

// file returns n bytes that depend on the seed alone.
func file(seed byte, n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), n)
}

// buffer hides the methods by which io.CopyBuffer would avoid the buffer.
type buffer struct{ io.Writer }

// sendFile writes a file to a connection and returns its sum.
func sendFile(c net.Conn, seed byte, n int64) (sum, error) {
	h := sha256.New()
	_, err := io.CopyBuffer(buffer{io.MultiWriter(h, c)}, file(seed, n), make([]byte, 64<<10))
	return sum(h.Sum(nil)), err
}

// paced keeps a transfer from ending before its faults have begun, on paths that carry a gigabyte in a second.
type paced struct {
	net.Conn
	start time.Time
	n     int64
}

// pace is what a paced connection writes at most, in bytes per second.
const pace = 40e6

// Write writes when the bytes before it have had their time.
func (p *paced) Write(b []byte) (int, error) {
	time.Sleep(time.Until(p.start.Add(time.Duration(float64(p.n) / pace * float64(time.Second)))))
	n, err := p.Conn.Write(b)
	p.n += int64(n)
	return n, err
}

// receiveFile reads n bytes and returns their sum.
func receiveFile(c net.Conn, n int64, got *atomic.Int64) (sum, error) {
	h := sha256.New()
	buf := make([]byte, 64<<10)
	for got.Load() < n {
		k, err := c.Read(buf[:min(int64(len(buf)), n-got.Load())])
		h.Write(buf[:k])
		got.Add(int64(k))
		if err != nil {
			return sum(h.Sum(nil)), err
		}
	}
	return sum(h.Sum(nil)), nil
}

// transfer is a file under way in each direction at once.
type transfer struct {
	*pair
	size int64
	got  [2]atomic.Int64 // by A, by B
	sums [4]sum          // sent by A, by B, received by A, by B
	done chan error
}

func (p *pair) transfer(size int64) *transfer {
	tr := &transfer{pair: p, size: size, done: make(chan error, 4)}
	run := func(i int, f func() (sum, error)) {
		go func() {
			s, err := f()
			tr.sums[i] = s
			tr.done <- err
		}()
	}
	start := time.Now()
	run(0, func() (sum, error) { return sendFile(&paced{Conn: p.a, start: start}, 1, size) })
	run(1, func() (sum, error) { return sendFile(&paced{Conn: p.b, start: start}, 2, size) })
	run(2, func() (sum, error) { return receiveFile(p.a, size, &tr.got[0]) })
	run(3, func() (sum, error) { return receiveFile(p.b, size, &tr.got[1]) })
	return tr
}

// arrived is how many bytes have arrived in the direction that is behind.
func (tr *transfer) arrived() int64 { return min(tr.got[0].Load(), tr.got[1].Load()) }

// patience is for how long nothing may arrive before a test gives up. It says nothing about how quick a failover is: a
// machine that builds other things meanwhile stalls for seconds.
const patience = 30 * time.Second

// reach waits until so many bytes have arrived in both directions.
func (tr *transfer) reach(t *testing.T, want int64) {
	t.Helper()
	last, since := int64(0), time.Now()
	for tr.arrived() < want {
		if n := tr.got[0].Load() + tr.got[1].Load(); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > patience {
			tr.tell(t)
			require.FailNowf(t, "the transfer stands still", "%d and %d of %d bytes have arrived, %d were waited for", tr.got[0].Load(),
				tr.got[1].Load(), tr.size, want)
		}
		time.Sleep(time.Millisecond)
	}
}

// cut cuts a path, lets another eighth of the file pass in both directions, and proves that it came over the others: as
// many bytes arrived beside it, and if an end with much to send used the path and thought it well, an end has told that it
// failed.
func (tr *transfer) cut(t *testing.T, path int) {
	t.Helper()
	start, used := time.Now(), false
	for i, x := range []*transport.Association{tr.a, tr.b} {
		if toCome := tr.size - tr.got[1-i].Load(); toCome > tr.size/8 && tr.uses(x, path) {
			used = true
		}
	}
	require.NoError(t, tr.lab.Cut(path, netlab.Both))
	at, beside := tr.got[0].Load()+tr.got[1].Load(), tr.beside(path)
	tr.reach(t, tr.arrived()+tr.size/8)
	moved := tr.got[0].Load() + tr.got[1].Load() - at
	// What arrived just before the cut and was not read yet is the only thing that need not have come another way.
	const held = 2 * windowSize
	require.Greater(t, moved, int64(held), "too little to prove anything")
	require.GreaterOrEqual(t, int64(tr.beside(path)-beside), moved-held, "bytes arrived on the other paths")
	ev, found := tr.atA.failed(tr.pair, path, start)
	if !found {
		ev, found = tr.atB.failed(tr.pair, path, start)
	}
	if used && !found {
		tr.tell(t)
		require.FailNowf(t, "the failure went unseen", "path %d", path)
	}
	took := time.Since(start).Round(time.Millisecond)
	t.Logf("path %d cut, in use and active: %v; %d bytes arrived beside it in %v", path, used, moved, took)
	if found {
		t.Logf("it was found failed after %v (%s)", ev.Time.Sub(start).Round(time.Millisecond), ev.Reason)
	}
	if took > time.Second {
		tr.tell(t)
	}
}

// uses reports whether data of one end takes a path that is active.
func (tr *transfer) uses(x *transport.Association, path int) bool {
	for _, i := range x.Paths() {
		if i.Current && i.State == heartbeat.Active && tr.index(i.Path.Local.Addr) == path {
			return true
		}
	}
	return false
}

// windowSize is the receive window of these tests.
const windowSize = 512 << 10

// finish waits for both files and compares them, then ends the association in order.
func (tr *transfer) finish(t *testing.T) {
	t.Helper()
	tr.reach(t, tr.size)
	for range 4 {
		select {
		case err := <-tr.done:
			require.NoError(t, err)
		case <-time.After(patience):
			tr.tell(t)
			require.FailNow(t, "everything has arrived, yet a writer still waits")
		}
	}
	require.Equal(t, tr.sums[0], tr.sums[3], "from A to B")
	require.Equal(t, tr.sums[1], tr.sums[2], "from B to A")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, tr.a.Shutdown(ctx))
	_, err := tr.b.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func TestFileSurvivesPaths(t *testing.T) {
	tests := []struct {
		name  string
		paths int
		six   []int // paths in IPv6
		last  bool  // paths die for good, until one is left
	}{
		{name: "two paths, cut in turn", paths: 2},
		{name: "one path of each family, cut in turn", paths: 2, six: []int{1}},
		{name: "three paths, dying one after the other", paths: 3, last: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := lab(t, netlab.Options{Paths: tt.paths})
			p := connect(t, l, transport.Config{ReceiveWindow: windowSize}, tt.six...)
			start := time.Now()
			tr := p.transfer(fileSize())
			tr.reach(t, tr.size/3)
			first := p.current(p.a)
			require.True(t, tr.uses(p.a, first), "data takes a path that is active")
			t.Logf("a third took %v; before any fault A and B found %d and %d failures", time.Since(start).Round(time.Millisecond),
				p.atA.failures(), p.atB.failures())
			tr.cut(t, first)
			second := 1 - first
			if !tt.last {
				require.NoError(t, l.Restore(first))
			}
			tr.reach(t, tr.size*2/3)
			if tt.last {
				second = p.current(p.a)
				require.NotEqual(t, first, second, "data has left the path that is cut")
			}
			tr.cut(t, second)
			if !tt.last {
				require.NoError(t, l.Restore(second))
			}
			tr.finish(t)
			t.Logf("%d bytes each way in %v", tr.size, time.Since(start).Round(time.Millisecond))
		})
	}
}
