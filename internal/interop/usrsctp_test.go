package interop

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/transport"
)

// quick makes usrsctp notice within a tenth of a second that a path is dead; by default that takes it a minute.
var quick = []string{"-t", "100", "-f", "0", "-h", "500"}

// fileSize is what goes each way over paths that are cut.
func fileSize() int64 {
	if needs.Race {
		return 12 << 20
	}
	return 100e6
}

// Seeds of what we send and of what the peer sends.
const (
	ourSeed  = 1
	peerSeed = 2
)

// progress is how far a transfer on stream 0 has come. Neither direction runs far ahead of the other, so that both have
// something to carry when a path dies.
type progress struct {
	sent, got atomic.Int64 // by us
	done      chan error
}

// ahead is by how many bytes one direction may be ahead of the other.
const ahead = 256 << 10

// begin sends and receives n bytes on stream 0 at once. The peer was told the seed to check.
func (u *usrsctp) begin(n int64) *progress {
	p := &progress{done: make(chan error, 2)}
	u.peer.say("1 send %d 0 1 1 %d 8000", peerSeed, n)
	go func() { p.done <- send(inStep{u.ours, p}, ourSeed, 0, n, 16<<10) }()
	go func() {
		p.done <- receive(u.ours, peerSeed, 0, n, func(got int64) {
			p.got.Store(got)
			for got > p.sent.Load()+ahead && u.ours.Err() == nil {
				time.Sleep(100 * time.Microsecond)
			}
		})
	}()
	return p
}

// inStep is a writer that waits for the other direction.
type inStep struct {
	a *transport.Association
	p *progress
}

func (w inStep) Write(b []byte) (int, error) {
	for w.p.sent.Load() > w.p.got.Load()+ahead && w.a.Err() == nil {
		time.Sleep(100 * time.Microsecond)
	}
	n, err := w.a.Write(b)
	w.p.sent.Add(int64(n))
	return n, err
}

// arrived asks the peer how many bytes it has received, and leaves out what went beside.
func (u *usrsctp) arrived(t testing.TB) (n int64) {
	t.Helper()
	u.peer.say("1 wait 0")
	_, err := fmt.Sscanf(u.peer.await("1 received"), "1 received %d", &n)
	require.NoError(t, err)
	return n - u.side
}

// reach waits until a number of bytes has arrived on both sides, for as long as something does.
func (p *progress) reach(t testing.TB, u *usrsctp, n int64) {
	t.Helper()
	var last [2]int64
	for since := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		now := [2]int64{p.got.Load(), u.arrived(t)}
		if min(now[0], now[1]) >= n {
			return
		}
		if now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) > patience {
			select {
			case err := <-p.done:
				require.NoError(t, err)
			default:
			}
			require.FailNowf(t, "the transfer stands still", "at %d of %d bytes\n%s", now, n, u)
		}
	}
}

// finish waits for both directions.
func (p *progress) finish(t testing.TB, u *usrsctp, n int64) {
	t.Helper()
	p.reach(t, u, n)
	for range 2 {
		select {
		case err := <-p.done:
			require.NoError(t, err)
		case <-time.After(patience):
			require.FailNowf(t, "all has arrived, and somebody waits", "%s", u)
		}
	}
	require.Equal(t, n, u.arrived(t))
	u.peer.await("1 sent")
}

// leaves waits until our data does not take a path any more.
func (u *usrsctp) leaves(t testing.TB, path int) {
	t.Helper()
	require.Eventually(t, func() bool { now := u.current(); return now >= 0 && now != path }, patience, time.Millisecond,
		"data must leave the path that is cut:\n%s", u)
}

// TestUsrsctpTwoPaths moves a file each way while each of two paths is cut once.
func TestUsrsctpTwoPaths(t *testing.T) {
	for _, six := range [][]int{nil, {1}} {
		name := "IPv4"
		if six != nil {
			name = "one path of each family"
		}
		t.Run(name, func(t *testing.T) {
			roles(t, func(t *testing.T, weDial bool) {
				l := lab(t, netlab.Options{})
				n := fileSize()
				if six != nil && !needs.Race {
					n /= 2
				}
				u := connect(t, l, weDial, opts{six: six, args: append([]string{"-e", fmt.Sprint(ourSeed), "-r", "1000000", "-s", "1000000"}, quick...)})
				defer u.tell(t)
				start := time.Now()
				p := u.begin(n)
				p.reach(t, u, n/5)
				first := u.current()
				require.GreaterOrEqual(t, first, 0)
				require.NoError(t, l.Cut(first, netlab.Both))
				p.reach(t, u, 2*n/5)
				u.leaves(t, first)
				require.NoError(t, l.Restore(first))
				u.returns(t, l.Paths())
				p.reach(t, u, 3*n/5)
				second := 1 - first
				require.NoError(t, l.Cut(second, netlab.Both))
				p.reach(t, u, 4*n/5)
				u.leaves(t, second)
				require.NoError(t, l.Restore(second))
				p.finish(t, u, n)
				d := time.Since(start)
				for _, i := range u.ours.Paths() {
					if u.index(i.Path) < 0 {
						continue // crosswise, where nothing passes
					}
					require.Greater(t, i.DataSent, uint64(n/20), "both paths have carried data there")
					require.Greater(t, i.BytesReceived, uint64(n/20), "and here")
				}
				t.Logf("%d bytes each way in %v, %.0f Mbit/s each way", n, d.Round(time.Millisecond), float64(n)*8/1e6/d.Seconds())
				u.end(t)
			})
		})
	}
}

// TestUsrsctpCross has every address of ours reach every one of the peer's. usrsctp answers a heartbeat over the path it
// likes best, so that answers come over other pairs than the questions went by.
func TestUsrsctpCross(t *testing.T) {
	roles(t, func(t *testing.T, weDial bool) {
		l := lab(t, netlab.Options{Cross: true})
		u := connect(t, l, weDial, opts{args: append([]string{"-e", fmt.Sprint(ourSeed), "-r", "1000000", "-s", "1000000"}, quick...)})
		defer u.tell(t)
		u.active(t, 4)
		n := slower(10e6)
		p := u.begin(n)
		p.reach(t, u, n/5)
		for i := range 2 { // each router in turn takes the pairs that need it with it
			require.NoError(t, l.Cut(i, netlab.Both))
			p.reach(t, u, int64(i+2)*n/5)
			require.NoError(t, l.Restore(i))
			u.returns(t, 4)
		}
		p.finish(t, u, n)
		u.end(t)
	})
}
