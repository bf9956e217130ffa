package interop

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/transport"
)

// TestUsrsctpInterleaving negotiates I-DATA (RFC 8260 section 2.2.1), or does not because one side lacks it.
func TestUsrsctpInterleaving(t *testing.T) {
	for _, c := range []struct{ ours, theirs bool }{{true, true}, {true, false}, {false, true}} {
		t.Run(fmt.Sprintf("ours %v, theirs %v", c.ours, c.theirs), func(t *testing.T) {
			roles(t, func(t *testing.T, weDial bool) {
				both := c.ours && c.theirs
				if both {
					bothWays(t, wire.TypeIData)
					neverSeen(t, wire.TypeData)
				} else {
					bothWays(t, wire.TypeData)
					neverSeen(t, wire.TypeIData)
				}
				// usrsctp hands a message out in parts only from half of its window on, so that has to hold one of each stream.
				o := opts{cfg: transport.Config{Interleaving: c.ours}, args: append([]string{"-s", "1000000", "-r", "1000000"}, checkOurs...)}
				if c.theirs {
					o.args = append(o.args, "-I")
				}
				l := lab(t, netlab.Options{})
				u := connect(t, l, weDial, o)
				defer u.tell(t)
				require.Equal(t, c.theirs, u.ours.Peer().Interleaving)
				lose(t, l, 50)
				// Large messages on several streams each way, in turn.
				const streams, size = 4, 100000
				n := slower(1600000)
				errs := make(chan error, 2*streams)
				var first uint16
				for i := range streams {
					s, err := u.ours.OpenStream()
					require.NoError(t, err)
					if i == 0 {
						first = s.ID()
					}
					require.NoError(t, s.SetDeadline(time.Now().Add(patience)))
					go func() { errs <- sendMessages(s, ourSeed, n, size) }()
					go func() { errs <- receive(s, peerSeed, int(s.ID()), n, nil) }()
				}
				u.peer.say("1 send %d %d %d 2 %d %d", peerSeed, first, streams, streams*n, size)
				for range 2 * streams {
					require.NoError(t, <-errs)
				}
				u.peer.say("1 wait %d", streams*n)
				require.Equal(t, fmt.Sprintf("1 received %d", streams*n), u.peer.await("1 received"))
				u.peer.await("1 sent")
				noLoss(t, l)
				u.end(t)
			})
		})
	}
}

// sendMessages writes n bytes of content as messages of a size.
func sendMessages(s *transport.Stream, seed uint64, n int64, size int) error {
	c := newContent(seed, int(s.ID()))
	buf := make([]byte, size)
	for left := n; left > 0; {
		p := buf[:min(left, int64(size))]
		c.Read(p)
		if err := s.WriteMessage(p, nil); err != nil {
			return err
		}
		left -= int64(len(p))
	}
	return nil
}

// TestUsrsctpOvertakes writes a small message on one stream behind a large one on another, while the receiver does not read,
// so that most of the large one waits. With I-DATA the small one is whole first.
func TestUsrsctpOvertakes(t *testing.T) {
	const large, small = 1000000, 20000
	for _, interleaving := range []bool{true, false} {
		t.Run(fmt.Sprintf("interleaving %v", interleaving), func(t *testing.T) {
			roles(t, func(t *testing.T, weDial bool) {
				o := opts{
					cfg:  transport.Config{Interleaving: interleaving, SendBuffer: 4 << 20, ReceiveWindow: 64 << 10, MaxReceiveWindow: 64 << 10},
					args: append([]string{"-m", "-r", "60000", "-s", "4000000"}, checkOurs...),
				}
				if interleaving {
					o.args = append(o.args, "-I")
				}
				u := connect(t, lab(t, netlab.Options{}), weDial, o)
				defer u.tell(t)
				x, err := u.ours.OpenStream()
				require.NoError(t, err)
				y, err := u.ours.OpenStream()
				require.NoError(t, err)

				u.peer.say("1 pause")
				u.peer.await("1 paused")
				require.NoError(t, sendMessages(x, ourSeed, large, large))
				require.NoError(t, sendMessages(y, ourSeed, small, small))
				u.peer.say("1 resume")
				order := []string{fmt.Sprintf("1 message %d %d", x.ID(), large), fmt.Sprintf("1 message %d %d", y.ID(), small)}
				if interleaving {
					order[0], order[1] = order[1], order[0]
				}
				for _, want := range order {
					require.Equal(t, want, u.peer.await("1 message"))
				}

				u.peer.say("1 send %d %d 1 1 %d %d", peerSeed, x.ID(), large, large)
				require.Eventually(t, func() bool { return u.ours.Stats().ReceiveBuffered > 32<<10 }, patience, time.Millisecond)
				u.peer.say("1 send %d %d 1 1 %d %d", peerSeed, y.ID(), small, small)
				u.peer.await(fmt.Sprintf("1 sent %d", small)) // into its buffer
				// How much of the large one had been read when the small one was whole tells which way they travelled. The clock of two
				// readers does not: the last of one and the whole of the other fit into the window side by side.
				var (
					ofLarge atomic.Int64
					whole   = make(chan int64, 1) // what had been read of the large one when the small one was whole
					errs    = make(chan error, 2)
				)
				read := func(s *transport.Stream, n int64, progress func(int64)) error {
					if err := s.SetReadDeadline(time.Now().Add(patience)); err != nil {
						return err
					}
					return receive(s, peerSeed, int(s.ID()), n, progress)
				}
				go func() {
					err := read(y, small, nil)
					whole <- ofLarge.Load()
					errs <- err
				}()
				go func() {
					waited := !interleaving
					errs <- read(x, large, func(got int64) {
						ofLarge.Store(got)
						if !waited && got >= large/2 {
							waited = true
							whole <- <-whole // no more of the large one before all of the small one
						}
					})
				}()
				for range 2 {
					require.NoError(t, <-errs)
				}
				if before := <-whole; interleaving {
					require.Less(t, before, int64(large*3/4))
				} else {
					require.Greater(t, before, int64(large-256<<10), "the small one must wait for the large one")
				}
				u.end(t)
			})
		})
	}
}
