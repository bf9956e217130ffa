package interop

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/transport"
)

// slower divides an amount under the race detector.
func slower(n int64) int64 {
	if needs.Race {
		return n / 8
	}
	return n
}

// TestUsrsctpLargeMessages sends messages larger than the receiver's window: they must be read while they arrive.
func TestUsrsctpLargeMessages(t *testing.T) {
	roles(t, func(t *testing.T, weDial bool) {
		u := connect(t, lab(t, netlab.Options{}), weDial, opts{
			cfg:  transport.Config{ReceiveWindow: 128 << 10, MessageSize: 64 << 10},
			args: []string{"-e", fmt.Sprint(ourSeed), "-s", "2000000", "-r", "40000"},
		})
		defer u.tell(t)
		n := slower(8e6)
		u.peer.say("1 send %d 0 1 1 %d 1000000", peerSeed, n)
		u.peer.say("1 wait %d", n)
		errs := make(chan error, 2)
		go func() { errs <- send(u.ours, ourSeed, 0, n, 64<<10) }()
		go func() { errs <- receive(u.ours, peerSeed, 0, n, nil) }()
		for range 2 {
			select {
			case err := <-errs:
				require.NoError(t, err)
			case <-time.After(patience):
				require.FailNowf(t, "the transfer stands still", "%s", u)
			}
		}
		u.peer.await("1 received")
		u.end(t)
	})
}

// TestUsrsctpManyMessages has small messages of all lengths sent back.
func TestUsrsctpManyMessages(t *testing.T) {
	roles(t, func(t *testing.T, weDial bool) {
		u := connect(t, lab(t, netlab.Options{}), weDial, opts{args: []string{"-E"}})
		defer u.tell(t)
		count := int(slower(20000))
		errs := make(chan error, 1)
		total := int64(0)
		for i := range count {
			total += int64(i%97 + 1)
		}
		go func() { errs <- receive(u.ours, ourSeed, 0, total, nil) }()
		c := newContent(ourSeed, 0)
		buf := make([]byte, 100)
		for i := range count {
			p := buf[:i%97+1]
			c.Read(p)
			_, err := u.ours.Write(p)
			require.NoError(t, err)
		}
		select {
		case err := <-errs:
			require.NoError(t, err)
		case <-time.After(patience):
			require.FailNowf(t, "messages do not come back", "%s", u)
		}
		u.end(t)
	})
}

// TestUsrsctpManyStreams uses thousands of streams, opened from either side.
func TestUsrsctpManyStreams(t *testing.T) {
	roles(t, func(t *testing.T, weDial bool) {
		const most = 5000
		count, each := int(slower(2400)), int64(700)
		u := connect(t, lab(t, netlab.Options{}), weDial, opts{
			cfg:  transport.Config{OutStreams: most, InStreams: most, ReceiveWindow: 8 << 20}, // all streams share it
			args: []string{"-e", fmt.Sprint(ourSeed), "-o", fmt.Sprint(most), "-i", fmt.Sprint(most), "-r", "1000000"},
		})
		defer u.tell(t)
		require.Equal(t, most, u.ours.Stats().OutStreams)
		require.Equal(t, most, u.ours.Stats().InStreams)
		// Ours, and what comes back on them.
		var streams []*transport.Stream
		for range count {
			s, err := u.ours.OpenStream()
			require.NoError(t, err)
			require.NoError(t, send(s, ourSeed, int(s.ID()), each, 300))
			streams = append(streams, s)
		}
		u.peer.say("1 wait %d", int64(count)*each)
		u.peer.await("1 received")
		first := int(streams[0].ID())
		require.Equal(t, first+2*(count-1), int(streams[count-1].ID()))
		u.peer.say("1 send %d %d %d 2 %d 350", peerSeed, first, count, int64(count)*each)
		for _, s := range streams {
			require.NoError(t, s.SetReadDeadline(time.Now().Add(patience)))
			require.NoError(t, receive(s, peerSeed, int(s.ID()), each, nil))
		}
		u.peer.await("1 sent")
		// The peer's, of the other parity.
		theirs := 1 - first%2
		u.peer.say("1 send %d %d %d 2 %d 350", peerSeed, theirs+2, count, int64(count)*each) // stream 0 is the association's own
		seen := make(map[uint16]bool)
		for range count {
			s, err := u.ours.AcceptStream(within(t))
			require.NoError(t, err)
			require.Equal(t, theirs, int(s.ID())%2)
			require.False(t, seen[s.ID()])
			seen[s.ID()] = true
			require.NoError(t, s.SetReadDeadline(time.Now().Add(patience)))
			require.NoError(t, receive(s, peerSeed, int(s.ID()), each, nil))
		}
		u.peer.await("1 sent")
		u.end(t)
	})
}

// TestUsrsctpWindow has a reader pause until the window is shut, on either side, for longer than a retransmission timeout.
func TestUsrsctpWindow(t *testing.T) {
	const n, pause = 500000, 1500 * time.Millisecond
	t.Run("usrsctp pauses", func(t *testing.T) {
		roles(t, func(t *testing.T, weDial bool) {
			u := connect(t, lab(t, netlab.Options{}), weDial, opts{
				cfg: transport.Config{SendBuffer: 64 << 10}, args: []string{"-e", fmt.Sprint(ourSeed), "-r", "50000"},
			})
			defer u.tell(t)
			u.peer.say("1 pause")
			u.peer.await("1 paused")
			done := make(chan error, 1)
			go func() { done <- send(u.ours, ourSeed, 0, n, 3000) }()
			time.Sleep(pause)
			require.NotZero(t, u.ours.Stats().SendBuffered)
			select {
			case err := <-done:
				require.FailNow(t, "nothing holds the writer up", "%v", err)
			default:
			}
			u.peer.say("1 resume")
			u.peer.say("1 wait %d", n)
			u.peer.await("1 received")
			require.NoError(t, <-done)
			u.end(t)
		})
	})
	t.Run("we pause", func(t *testing.T) {
		roles(t, func(t *testing.T, weDial bool) {
			u := connect(t, lab(t, netlab.Options{}), weDial, opts{
				cfg: transport.Config{ReceiveWindow: 32 << 10}, args: []string{"-s", "50000"},
			})
			defer u.tell(t)
			u.peer.say("1 send %d 0 1 1 %d 3000", peerSeed, n)
			time.Sleep(pause)
			require.NoError(t, u.ours.SetReadDeadline(time.Now().Add(patience)))
			require.NoError(t, receive(u.ours, peerSeed, 0, n, nil))
			u.peer.await("1 sent")
			u.end(t)
		})
	})
}

// TestUsrsctpUnordered sends numbered records both ways that need not keep their order, over paths that lose some.
func TestUsrsctpUnordered(t *testing.T) {
	roles(t, func(t *testing.T, weDial bool) {
		const count, size = 300, 3000
		l := lab(t, netlab.Options{})
		u := connect(t, l, weDial, opts{args: append([]string{"-e", fmt.Sprint(ourSeed), "-R", fmt.Sprint(size)}, quick...)})
		defer u.tell(t)
		lose(t, l, 50) // so that order changes
		theirs := newRecords(peerSeed, count, size)
		go theirs.read(u.ours)
		u.peer.say("1 send %d 0 1 1 %d %d u", peerSeed, count*size, size)
		rec := make([]byte, size)
		for i := range count {
			makeRecord(rec, ourSeed, i)
			require.NoError(t, u.ours.WriteMessage(rec, &transport.MessageOptions{Unordered: true}))
		}
		require.NoError(t, u.ours.Flush(within(t)))
		require.Empty(t, u.lacks(t, count, nil))
		u.peer.await("1 sent")
		noLoss(t, l)
		theirs.wait(t)
		u.end(t)
		require.NoError(t, <-theirs.err)
		require.Zero(t, theirs.missing())
	})
}

// TestUsrsctpMessages has messages of all sizes sent back, on several streams, in order and without: each keeps its bounds,
// its identifier, and its stream.
func TestUsrsctpMessages(t *testing.T) {
	roles(t, func(t *testing.T, weDial bool) {
		u := connect(t, lab(t, netlab.Options{}), weDial, opts{args: []string{"-E"}, cfg: transport.Config{AllStreams: true}})
		defer u.tell(t)
		type sent struct {
			stream    uint16
			ppid      uint32
			unordered bool
			data      []byte
		}
		var all []sent
		for i, size := range []int{1, 2, 3, 4, 5, 1171, 1172, 1173, 1436, 1437, 5000, 16384, 65536, 100000} {
			for _, unordered := range []bool{false, true} {
				m := sent{uint16(i % 5), uint32(0x01020300 + len(all)), unordered, make([]byte, size)}
				newContent(ourSeed, len(all)).Read(m.data)
				all = append(all, m)
			}
		}
		go func() {
			for _, m := range all {
				s, err := u.ours.Stream(m.stream)
				if err != nil {
					return
				}
				s.WriteMessage(m.data, &transport.MessageOptions{PPID: m.ppid, Unordered: m.unordered})
			}
		}()
		require.NoError(t, u.ours.SetReadDeadline(time.Now().Add(patience)))
		buf := make([]byte, 200000)
		numbers := make(map[uint16]uint32) // of the ordered ones
		for range all {
			n, info, err := u.ours.ReadMessage(buf)
			require.NoError(t, err)
			require.False(t, info.More)
			i := int(info.PPID - 0x01020300)
			require.Less(t, i, len(all))
			want := all[i]
			require.Equal(t, want.stream, info.Stream)
			require.Equal(t, want.unordered, info.Unordered)
			require.True(t, bytes.Equal(want.data, buf[:n]), "message %d of %d bytes comes back as %d", i, len(want.data), n)
			if !info.Unordered {
				require.Equal(t, numbers[info.Stream], info.Number)
				numbers[info.Stream]++
			}
		}
		u.end(t)
	})
}

// TestUsrsctpLoss moves data both ways while two packets of a hundred are lost.
func TestUsrsctpLoss(t *testing.T) {
	roles(t, func(t *testing.T, weDial bool) {
		l := lab(t, netlab.Options{})
		u := connect(t, l, weDial, opts{args: append([]string{"-e", fmt.Sprint(ourSeed)}, quick...)})
		defer u.tell(t)
		lose(t, l, 50)
		n := slower(4e6)
		start := time.Now()
		u.begin(n).finish(t, u, n)
		t.Logf("%d bytes each way in %v; %+v", n, time.Since(start).Round(time.Millisecond), u.ours.Stats())
		noLoss(t, l)
		u.end(t)
	})
}

// TestUsrsctpOneDirection cuts one direction of the path in use: data, or what acknowledges it.
func TestUsrsctpOneDirection(t *testing.T) {
	for _, d := range []netlab.Direction{netlab.Forth, netlab.Back} {
		t.Run(d.String(), func(t *testing.T) {
			roles(t, func(t *testing.T, weDial bool) {
				l := lab(t, netlab.Options{})
				u := connect(t, l, weDial, opts{args: append([]string{"-e", fmt.Sprint(ourSeed), "-r", "1000000", "-s", "1000000"}, quick...)})
				defer u.tell(t)
				n := slower(12e6)
				p := u.begin(n)
				p.reach(t, u, n/3)
				require.NoError(t, l.Cut(u.current(), d))
				p.finish(t, u, n)
				u.end(t)
			})
		})
	}
}

// TestUsrsctpDefaultTimers cuts the path in use under data of ours, to a usrsctp that has its defaults and takes no part in
// the failover.
func TestUsrsctpDefaultTimers(t *testing.T) {
	roles(t, func(t *testing.T, weDial bool) {
		l := lab(t, netlab.Options{})
		u := connect(t, l, weDial, opts{args: []string{"-e", fmt.Sprint(ourSeed)}})
		defer u.tell(t)
		n := slower(20e6)
		errs := make(chan error, 1)
		require.NoError(t, send(u.ours, ourSeed, 0, n/4, 16<<10))
		path := u.current()
		require.NoError(t, l.Cut(path, netlab.Both))
		rest := newContent(ourSeed, 0)
		io.CopyN(io.Discard, rest, n/4)
		go func() {
			_, err := io.CopyN(u.ours, rest, n-n/4)
			errs <- err
		}()
		u.peer.say("1 wait %d", n)
		u.peer.await("1 received")
		require.NoError(t, <-errs)
		u.leaves(t, path)
		require.NoError(t, l.Restore(path))
		u.end(t)
	})
}
