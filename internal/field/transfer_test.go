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

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/transport"
)

// fileSize is what goes each way. Under the race detector everything takes ten times as long.
func fileSize() int64 {
	if needs.Race {
		return 12 << 20
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
	run(0, func() (sum, error) { return sendFile(p.a, 1, size) })
	run(1, func() (sum, error) { return sendFile(p.b, 2, size) })
	run(2, func() (sum, error) { return receiveFile(p.a, size, &tr.got[0]) })
	run(3, func() (sum, error) { return receiveFile(p.b, size, &tr.got[1]) })
	return tr
}

// arrived is how many bytes have arrived in the direction that is behind.
func (tr *transfer) arrived() int64 { return min(tr.got[0].Load(), tr.got[1].Load()) }

// patience is for how long nothing may arrive before a test gives up. It says nothing about how quick a failover is: a
// machine that builds other things meanwhile stalls for seconds.
const patience = 30 * time.Second

// reach waits until a share of the file has arrived in both directions.
func (tr *transfer) reach(t *testing.T, share float64) {
	t.Helper()
	want := int64(share * float64(tr.size))
	last, since := int64(0), time.Now()
	for {
		n := tr.got[0].Load() + tr.got[1].Load()
		if tr.arrived() >= want {
			return
		}
		if n != last {
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

// cutWhile cuts a path now, lets the transfer come to a share of the file, and proves that the way there led over the
// others: the path was found to have failed, and bytes arrived beside it.
func (tr *transfer) cutWhile(t *testing.T, path int, share float64) {
	t.Helper()
	start := time.Now()
	require.NoError(t, tr.lab.Cut(path, netlab.Both))
	at, beside := tr.got[0].Load()+tr.got[1].Load(), tr.beside(path)
	tr.reach(t, share)
	moved := tr.got[0].Load() + tr.got[1].Load() - at
	// What arrived just before the cut and was not read yet is the only thing that need not have come another way.
	held := int64(2 * windowSize)
	require.Greater(t, moved, held, "too little to prove anything")
	require.GreaterOrEqual(t, int64(tr.beside(path)-beside), moved-held, "bytes arrived on the other paths")
	ev, found := tr.atA.failed(tr.pair, path, start)
	if !found {
		ev, found = tr.atB.failed(tr.pair, path, start)
	}
	if !found {
		tr.tell(t)
	}
	require.True(t, found, "an end has told that path %d failed", path)
	t.Logf("path %d cut: failed after %v (%s); %d bytes arrived beside it in %v", path, ev.Time.Sub(start).Round(time.Millisecond),
		ev.Reason, moved, time.Since(start).Round(time.Millisecond))
}

// windowSize is the receive window of these tests.
const windowSize = 1 << 20

// finish waits for both files and compares them, then ends the association in order.
func (tr *transfer) finish(t *testing.T) {
	t.Helper()
	tr.reach(t, 1)
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
			tr.reach(t, 1./3)
			first := p.current(p.a)
			require.GreaterOrEqual(t, first, 0, "data takes some path")
			t.Logf("a third took %v; before any fault A and B found %d and %d failures", time.Since(start).Round(time.Millisecond),
				p.atA.failures(), p.atB.failures())
			tr.cutWhile(t, first, 1./2)
			second := 1 - first
			if tt.last {
				tr.reach(t, 2./3)
				second = p.current(p.a)
				require.NotEqual(t, first, second, "data has left the path that is cut")
			} else {
				require.NoError(t, l.Restore(first))
				tr.reach(t, 2./3)
			}
			tr.cutWhile(t, second, 5./6)
			if !tt.last {
				require.NoError(t, l.Restore(second))
			}
			tr.finish(t)
			t.Logf("%d bytes each way in %v", tr.size, time.Since(start).Round(time.Millisecond))
		})
	}
}
