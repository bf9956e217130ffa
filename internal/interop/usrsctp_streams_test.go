package interop

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/transport"
)

// happens waits for an event that names a stream, or for one that names none if stream is negative.
func happens(t testing.TB, ch <-chan transport.Event, stream int) transport.Event {
	t.Helper()
	for {
		select {
		case ev, open := <-ch:
			require.True(t, open, "the association has ended")
			if stream < 0 && len(ev.Streams) == 0 {
				return ev
			}
			for _, sid := range ev.Streams {
				if int(sid) == stream {
					return ev
				}
			}
		case <-within(t).Done():
			require.FailNowf(t, "nothing happens", "to stream %d", stream)
		}
	}
}

// exchange moves n bytes each way on a stream whose number begins, at both ends.
func (u *usrsctp) exchange(t testing.TB, s *transport.Stream, n int64) {
	t.Helper()
	require.NoError(t, s.SetDeadline(time.Now().Add(patience)))
	u.peer.say("1 send %d %d 1 1 %d 3000", peerSeed, s.ID(), n)
	errs := make(chan error, 1)
	go func() { errs <- send(s, ourSeed, int(s.ID()), n, 5000) }()
	require.NoError(t, receive(s, peerSeed, int(s.ID()), n, nil))
	require.NoError(t, <-errs)
	u.peer.await(fmt.Sprintf("1 sent %d", n))
}

// ends reads the end of a stream.
func ends(t testing.TB, s *transport.Stream) {
	t.Helper()
	require.NoError(t, s.SetReadDeadline(time.Now().Add(patience)))
	_, err := s.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

var checkOurs = []string{"-e", fmt.Sprint(ourSeed)}

// TestUsrsctpStreamEnds ends streams by resetting them (RFC 6525 section 5.1.2), whoever ends first. Behind the last byte
// comes the end, and the number begins anew: usrsctp's program and ours both compare from the first byte again.
func TestUsrsctpStreamEnds(t *testing.T) {
	roles(t, func(t *testing.T, weDial bool) {
		bothWays(t, wire.TypeReconfig)
		u := connect(t, lab(t, netlab.Options{}), weDial, opts{args: checkOurs, cfg: transport.Config{OutStreams: 8}})
		defer u.tell(t)
		require.True(t, u.ours.Peer().StreamReset)
		freed := u.ours.Subscribe(transport.EventStreamsFreed)
		var first uint16
		var total int64
		for round := range 8 {
			s, err := u.ours.OpenStream()
			require.NoError(t, err)
			if round == 0 {
				first = s.ID()
			}
			require.Equal(t, first, s.ID(), "the number is free again")
			data := make([]byte, 2000+30000*round)
			newContent(ourSeed, int(s.ID())).Read(data)
			half := len(data) / 2
			write := func(p []byte) {
				_, err := s.Write(p)
				require.NoError(t, err)
			}
			weEnd := func() {
				require.NoError(t, s.CloseWrite())
				u.peer.await(fmt.Sprintf("1 reset-in %d", s.ID()))
			}
			theyEnd := func() {
				u.peer.say("1 reset 2 %d", s.ID())
				ends(t, s)
			}
			theyWrite := func(n int) { // content that begins anew
				u.peer.say("1 send %d %d 1 1 %d 3000", peerSeed, s.ID(), n)
				require.NoError(t, s.SetReadDeadline(time.Now().Add(patience)))
				require.NoError(t, receive(s, peerSeed, int(s.ID()), int64(n), nil))
				u.peer.await(fmt.Sprintf("1 sent %d", n))
			}
			write(data[:half])
			theyWrite(half)
			if round%2 == 0 {
				write(data[half:])
				weEnd()
				theyWrite(half) // the other direction goes on
				theyEnd()
			} else {
				theyEnd()
				write(data[half:])
				weEnd()
			}
			total += int64(len(data))
			u.peer.say("1 wait %d", total)
			require.Equal(t, fmt.Sprintf("1 received %d", total), u.peer.await("1 received"))
			require.Equal(t, fmt.Sprintf("1 reset-out %d", s.ID()), u.peer.await("1 reset-out"))
			happens(t, freed, int(s.ID()))
			require.NoError(t, s.Close())
		}
		u.end(t)
	})
}

// TestUsrsctpManyStreamEnds ends hundreds of streams at once, in both directions.
func TestUsrsctpManyStreamEnds(t *testing.T) {
	roles(t, func(t *testing.T, weDial bool) {
		const count, each = 300, 700
		u := connect(t, lab(t, netlab.Options{}), weDial, opts{
			cfg:  transport.Config{OutStreams: 1000, InStreams: 1000},
			args: append([]string{"-o", "1000", "-i", "1000"}, checkOurs...),
		})
		defer u.tell(t)
		var streams []*transport.Stream
		for range count {
			s, err := u.ours.OpenStream()
			require.NoError(t, err)
			require.NoError(t, send(s, ourSeed, int(s.ID()), each, 300))
			require.NoError(t, s.CloseWrite())
			streams = append(streams, s)
		}
		u.peer.say("1 send %d %d %d 2 %d 350", peerSeed, streams[0].ID(), count, count*each)
		u.peer.await("1 sent")
		u.peer.say("1 reset 2") // all that it has
		for _, s := range streams {
			require.NoError(t, s.SetReadDeadline(time.Now().Add(patience)))
			require.NoError(t, receive(s, peerSeed, int(s.ID()), each, nil))
			ends(t, s)
			require.NoError(t, s.Close())
		}
		u.peer.await("1 reset-out")
		u.end(t)
	})
}

// TestUsrsctpStop asks for the end of incoming streams (RFC 6525 section 5.2.3), from either side.
func TestUsrsctpStop(t *testing.T) {
	roles(t, func(t *testing.T, weDial bool) {
		bothWays(t, wire.TypeReconfig)
		u := connect(t, lab(t, netlab.Options{}), weDial, opts{args: checkOurs})
		defer u.tell(t)
		s, err := u.ours.OpenStream()
		require.NoError(t, err)
		u.exchange(t, s, 50000)

		stopped := u.ours.Subscribe(transport.EventStopAsked)
		u.peer.say("1 reset 1 %d", s.ID())
		happens(t, stopped, int(s.ID()))
		_, err = s.Write([]byte("more"))
		require.ErrorIs(t, err, transport.ErrStopAsked)
		u.peer.await(fmt.Sprintf("1 reset-in %d", s.ID()))

		ended := u.ours.Subscribe(transport.EventStreamsEnded)
		require.NoError(t, s.CloseRead())
		u.peer.await(fmt.Sprintf("1 reset-out %d", s.ID()))
		happens(t, ended, int(s.ID()))

		// Others go on.
		s, err = u.ours.OpenStream()
		require.NoError(t, err)
		u.exchange(t, s, 50000)
		u.end(t)
	})
}

// TestUsrsctpAddStreams adds streams in both directions, asked for by either side, and uses them (RFC 6525 sections 5.2.5
// and 5.2.6).
func TestUsrsctpAddStreams(t *testing.T) {
	roles(t, func(t *testing.T, weDial bool) {
		bothWays(t, wire.TypeReconfig)
		u := connect(t, lab(t, netlab.Options{}), weDial, opts{
			args: append([]string{"-o", "4", "-i", "100"}, checkOurs...), // as many as it ever allows
			cfg:  transport.Config{OutStreams: 4, InStreams: 4, MaxStreams: 100},
		})
		defer u.tell(t)
		streams := func(out, in int) {
			t.Helper()
			ours, theirs := u.ours.Streams()
			require.Equal(t, []int{out, in}, []int{ours, theirs})
		}
		streams(4, 4)
		use := func(sid uint16) {
			t.Helper()
			s, err := u.ours.Stream(sid)
			require.NoError(t, err)
			u.exchange(t, s, 20000)
		}

		require.NoError(t, u.ours.AddStreams(within(t), 6, 0))
		u.peer.await("1 streams 4 10")
		streams(10, 4)
		require.NoError(t, u.ours.AddStreams(within(t), 0, 6))
		u.peer.await("1 streams 10 10")
		streams(10, 10)
		use(9)

		added := u.ours.Subscribe(transport.EventStreamsAdded)
		u.peer.say("1 add 5 0")
		u.peer.await("1 streams 15 10")
		happens(t, added, -1)
		streams(10, 15)
		u.peer.say("1 add 0 5")
		u.peer.await("1 streams 15 15")
		happens(t, added, -1)
		streams(15, 15)
		use(14)

		// OpenStream asks by itself when all of its parity are in use.
		for range 12 {
			s, err := u.ours.OpenStream()
			require.NoError(t, err)
			require.NoError(t, send(s, ourSeed, int(s.ID()), 100, 100))
		}
		// More were added each way, and usrsctp asks for nothing else before its part of that is done.
		out, _ := u.ours.Streams()
		require.Greater(t, out, 15)
		u.peer.await(fmt.Sprintf("1 streams %d %d", out, out))

		// What is too much is denied, and nothing else suffers.
		u.peer.say("1 add 90 0")
		u.peer.awaitMatch(regexp.MustCompile("^1 streams .* denied$"))
		if weDial {
			use(13) // not of our parity, so not among those above
		} else {
			use(12)
		}
		u.end(t)
	})
}

// TestUsrsctpResetAssociation has usrsctp ask us to reset every number of the association, which we deny
// (docs/CONFORMANCE.md). Everything else goes on.
func TestUsrsctpResetAssociation(t *testing.T) {
	roles(t, func(t *testing.T, weDial bool) {
		bothWays(t, wire.TypeReconfig)
		u := connect(t, lab(t, netlab.Options{}), weDial, opts{args: checkOurs})
		defer u.tell(t)
		const denied = 4 // SCTP_ASSOC_RESET_DENIED
		u.peer.say("1 reset-assoc")
		u.peer.await(fmt.Sprintf("1 assoc-reset %d", denied))
		s, err := u.ours.OpenStream()
		require.NoError(t, err)
		u.exchange(t, s, 50000)
		require.NoError(t, s.CloseWrite())
		u.peer.await(fmt.Sprintf("1 reset-in %d", s.ID()))
		u.end(t)
	})
}

// TestUsrsctpPlain meets a usrsctp that announces neither partial reliability nor stream reset, and has one with both meet
// us without: each does without, and nothing of either is on the wire.
func TestUsrsctpPlain(t *testing.T) {
	const count, size = 200, 1000
	for _, whose := range []string{"usrsctp", "us"} {
		t.Run("by "+whose, func(t *testing.T) {
			roles(t, func(t *testing.T, weDial bool) {
				neverSeen(t, wire.TypeReconfig, wire.TypeForwardTSN)
				o := opts{args: append([]string{"-e", fmt.Sprint(ourSeed), "-R", fmt.Sprint(size)}, quick...)}
				if whose == "us" {
					o.cfg = transport.Config{NoPartialReliability: true, NoStreamReset: true}
				} else {
					o.args = append(o.args, "-X")
				}
				l := lab(t, netlab.Options{Delay: 5 * time.Millisecond})
				u := connect(t, l, weDial, o)
				defer u.tell(t)
				require.Equal(t, whose == "us", u.ours.Peer().StreamReset)
				require.Equal(t, whose == "us", u.ours.Peer().PartialReliability)
				lose(t, l, 20)
				theirs := newRecords(peerSeed, count, size)
				go theirs.read(u.ours)
				u.peer.say("1 send %d 0 1 1 %d %d rx0", peerSeed, count*size, size)
				rec := make([]byte, size)
				for i := range count {
					makeRecord(rec, ourSeed, i)
					require.NoError(t, u.ours.WriteMessage(rec, &transport.MessageOptions{Resends: transport.NeverResend, Lifetime: time.Millisecond}))
				}
				require.NoError(t, u.ours.Flush(within(t)))
				require.Empty(t, u.lacks(t, count, nil), "every record is reliable")
				theirs.wait(t)
				noLoss(t, l)
				s, err := u.ours.Stream(2)
				require.NoError(t, err)
				require.ErrorIs(t, s.CloseWrite(), errors.ErrUnsupported)
				require.ErrorIs(t, u.ours.AddStreams(within(t), 1, 0), errors.ErrUnsupported)
				u.peer.say("1 reset 2 0")
				u.peer.await("1 broken")
				u.end(t)
				require.NoError(t, <-theirs.err)
				require.Zero(t, theirs.missing())
			})
		})
	}
}
