package field

import (
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
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

// paced keeps a transfer from ending before its faults have begun, on paths that carry a gigabyte in a second, and both
// directions at about the same place.
type paced struct {
	net.Conn
	start time.Time
	n     int64
	limit *atomic.Int64 // how much may be written until this moves on
}

// pace is what a paced connection writes at most, in bytes per second.
const pace = 40e6

// Write writes when the bytes before it have had their time and the limit lets it.
func (p *paced) Write(b []byte) (int, error) {
	time.Sleep(time.Until(p.start.Add(time.Duration(float64(p.n) / pace * float64(time.Second)))))
	for p.n+int64(len(b)) > p.limit.Load() {
		time.Sleep(time.Millisecond)
	}
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
	may  atomic.Int64    // be written in each direction
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
	tr.mayWrite(1. / 3)
	start := time.Now()
	run(0, func() (sum, error) { return sendFile(&paced{Conn: p.a, start: start, limit: &tr.may}, 1, size) })
	run(1, func() (sum, error) { return sendFile(&paced{Conn: p.b, start: start, limit: &tr.may}, 2, size) })
	run(2, func() (sum, error) { return receiveFile(p.a, size, &tr.got[0]) })
	run(3, func() (sum, error) { return receiveFile(p.b, size, &tr.got[1]) })
	return tr
}

// mayWrite lets both ends write a share of the file and a little more, so that neither stands idle when it has arrived.
func (tr *transfer) mayWrite(share float64) {
	tr.may.Store(min(int64(share*float64(tr.size))+tr.size/16, tr.size))
}

// arrived is how much has arrived at A and at B.
func (tr *transfer) arrived() [2]int64 { return [2]int64{tr.got[0].Load(), tr.got[1].Load()} }

// patience is for how long nothing may arrive before a test gives up. It says nothing about how quick a failover is: a
// machine that builds other things meanwhile stalls for seconds.
const patience = 30 * time.Second

// longStall is for how long nothing may arrive before what there is to know about it is logged.
const longStall = 5 * time.Second

// reach waits until so much has arrived in both directions.
func (tr *transfer) reach(t *testing.T, want [2]int64) {
	t.Helper()
	last, since, told := tr.arrived(), time.Now(), false
	for now := last; now[0] < want[0] || now[1] < want[1]; now = tr.arrived() {
		if now != last {
			last, since = now, time.Now()
		}
		if !told && time.Since(since) > longStall {
			told = true
			t.Logf("nothing has arrived for %v; %d of %d bytes have, %d are waited for; the time is %v", longStall, now, tr.size, want, time.Now())
			tr.tell(t)
			stacks := make([]byte, 1<<20)
			t.Logf("%s", stacks[:runtime.Stack(stacks, true)])
		}
		if time.Since(since) > patience {
			tr.tell(t)
			require.FailNowf(t, "the transfer stands still", "%d of %d bytes have arrived, %d were waited for", now, tr.size, want)
		}
		time.Sleep(time.Millisecond)
	}
}

// reachShare waits until a share of the file has arrived in both directions.
func (tr *transfer) reachShare(t *testing.T, share float64) {
	t.Helper()
	n := int64(share * float64(tr.size))
	tr.reach(t, [2]int64{n, n})
}

// cut cuts a path, lets the transfer go on to the next share of the file, waits until an eighth has passed in each
// direction, and proves that it came over the other paths: as many bytes arrived beside it, and an end that used the path
// has told that it failed, or that it left it for another one that had become well in that moment. It reports whether an
// end has found the failure.
func (tr *transfer) cut(t *testing.T, path int, next float64) (found bool) {
	t.Helper()
	start, used := time.Now(), tr.uses(tr.a, path) || tr.uses(tr.b, path)
	require.NoError(t, tr.lab.Cut(path, netlab.Both))
	beside := tr.beside(path) // first: what arrives before the next line then counts here and not there
	at := tr.arrived()
	tr.mayWrite(next)
	tr.reach(t, [2]int64{at[0] + tr.size/8, at[1] + tr.size/8})
	now := tr.arrived()
	moved := now[0] + now[1] - at[0] - at[1]
	// What arrived just before the cut and was not read yet is the only thing that need not have come another way.
	const held = 2 * windowSize
	require.Greater(t, moved, int64(held), "too little to prove anything")
	require.GreaterOrEqual(t, int64(tr.beside(path)-beside), moved-held, "bytes arrived on the other paths")
	ev, found := tr.atA.failed(tr.pair, path, start)
	if !found {
		ev, found = tr.atB.failed(tr.pair, path, start)
	}
	if used && !found && !tr.atA.left(tr.pair, path, start) && !tr.atB.left(tr.pair, path, start) {
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
	return found
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
	tr.reachShare(t, 1)
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
			tr.reachShare(t, 1./3)
			first := -1
			require.Eventually(t, func() bool {
				first = p.current(p.a)
				return tr.uses(p.a, first)
			}, patience, time.Millisecond, "data takes a path that is active")
			t.Logf("a third took %v; before any fault A and B found %d and %d failures", time.Since(start).Round(time.Millisecond),
				p.atA.failures(), p.atB.failures())
			for try := 1; !tr.cut(t, first, 2./3); try++ { // it was left in that moment for one that had become well
				require.Less(t, try, 3, "the path in use has failed")
				require.NoError(t, l.Restore(first))
				first = p.current(p.a)
			}
			second := 1 - first
			if !tt.last {
				require.NoError(t, l.Restore(first))
			}
			tr.reachShare(t, 2./3)
			if tt.last {
				second = p.current(p.a)
				require.NotEqual(t, first, second, "data has left the path that is cut")
			}
			tr.cut(t, second, 1)
			if !tt.last {
				require.NoError(t, l.Restore(second))
			}
			tr.finish(t)
			t.Logf("%d bytes each way in %v", tr.size, time.Since(start).Round(time.Millisecond))
		})
	}
}
