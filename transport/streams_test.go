package transport_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/transport"
)

// text returns n bytes that tell a stream and a place in it from all others.
func text(n int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 99))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// A stream is half-closed by its writer: the peer reads the end behind the last byte, answers, and ends its side, too.
func TestHalfClose(t *testing.T) {
	a, b, l := pair(t, loop, nil)
	defer l.Close()
	for _, open := range []func() (*transport.Stream, error){
		a.OpenStream,
		func() (*transport.Stream, error) { return a.Stream(0) },
	} {
		s, err := open()
		require.NoError(t, err)
		_, err = s.Write([]byte("question"))
		require.NoError(t, err)
		require.NoError(t, s.CloseWrite())
		require.NoError(t, s.CloseWrite(), "once more changes nothing")
		_, err = s.Write([]byte("more"))
		require.ErrorIs(t, err, transport.ErrWriteEnded)
		require.ErrorIs(t, err, syscall.EPIPE)
		require.ErrorIs(t, s.WriteMessage([]byte("more"), nil), transport.ErrWriteEnded)
		require.ErrorIs(t, s.ResetWrite(), transport.ErrWriteEnded)

		var r io.ReadWriteCloser = b
		if s.ID() != 0 {
			r, err = b.AcceptStream(context.Background())
			require.NoError(t, err)
		}
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, "question", string(got))
		_, err = r.Write([]byte("answer"))
		require.NoError(t, err)
		require.NoError(t, r.(interface{ CloseWrite() error }).CloseWrite())
		got, err = io.ReadAll(s)
		require.NoError(t, err)
		require.Equal(t, "answer", string(got))
	}
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}

// With a peer that does not know stream reset nothing changes, and the program is told.
func TestHalfCloseUnsupported(t *testing.T) {
	for _, without := range []*transport.Config{{NoStreamReset: true}, transport.RFC9260()} {
		l, err := transport.Listen(loop, without)
		require.NoError(t, err)
		b, a := connect(t, l, nil)
		require.False(t, a.Peer().StreamReset)
		s, err := a.OpenStream()
		require.NoError(t, err)
		require.ErrorIs(t, s.CloseWrite(), errors.ErrUnsupported)
		_, err = s.Write([]byte("goes on"))
		require.NoError(t, err)
		r, err := b.AcceptStream(context.Background())
		require.NoError(t, err)
		require.ErrorIs(t, r.CloseWrite(), errors.ErrUnsupported)
		require.ErrorIs(t, r.CloseRead(), errors.ErrUnsupported)
		require.ErrorIs(t, r.ResetWrite(), errors.ErrUnsupported)
		require.ErrorIs(t, a.AddStreams(context.Background(), 1, 1), errors.ErrUnsupported)
		require.NoError(t, s.Close())
		_, err = a.Stream(s.ID())
		require.ErrorIs(t, err, transport.ErrStreamBusy)
		closeAll(a, b)
		require.NoError(t, l.Close())
	}
}

// The peer asks for the end of a stream that waits to be ended already. That is one end, and no other stream follows it.
func TestLabStreamEndedAndStopped(t *testing.T) {
	inLab(t, []string{"delay=20ms"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{})
		s, err := a.OpenStream()
		require.NoError(t, err)
		_, err = s.Write([]byte("the only word"))
		require.NoError(t, err)
		require.NoError(t, s.CloseWrite())
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		r, err := b.AcceptStream(ctx)
		require.NoError(t, err)
		require.NoError(t, r.CloseRead())
		_, err = b.AcceptStream(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, r.Close())
		_, err = s.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

// Streams come and go over a bad network, many more than there are numbers. Each carries its own bytes both ways.
func TestLabStreamsComeAndGo(t *testing.T) {
	inLab(t, []string{"delay=5ms", "loss=0.03", "duplicate=0.01", "reorder=0.03", "reorderby=3ms"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{OutStreams: 16, InStreams: 16, MaxStreams: 16})
		go func() {
			for {
				s, err := b.AcceptStream(context.Background())
				if err != nil {
					return
				}
				go func() {
					io.Copy(s, s)
					s.Close()
				}()
			}
		}()
		const workers, rounds = 6, 25
		done := make(chan error, workers)
		used := make(chan uint16, workers*rounds)
		for w := range workers {
			go func() {
				done <- func() error {
					for r := range rounds {
						s, err := a.OpenStream()
						if err != nil {
							return err
						}
						used <- s.ID()
						want := text(1+(w*rounds+r)*37%5000, uint64(w*1000+r))
						if _, err := s.Write(want); err != nil {
							return err
						}
						if err := s.CloseWrite(); err != nil {
							return err
						}
						got, err := io.ReadAll(s)
						if err != nil || !bytes.Equal(want, got) {
							return fmt.Errorf("stream %d round %d: %d of %d bytes, %w", s.ID(), r, len(got), len(want), err)
						}
						if err := s.Close(); err != nil {
							return err
						}
					}
					return nil
				}()
			}()
		}
		for range workers {
			require.NoError(t, <-done)
		}
		close(used)
		times := map[uint16]int{}
		for id := range used {
			require.Less(t, id, uint16(16))
			require.Zero(t, id%2)
			times[id]++
		}
		require.LessOrEqual(t, len(times), 7)
		out, in := a.Streams()
		require.Equal(t, [2]int{16, 16}, [2]int{out, in})
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

// The number comes back before the user has read to the old end: the old stream keeps its bytes and its end, the new one
// waits for Accept.
func TestStreamNumberBeginsAnew(t *testing.T) {
	a, b, l := pair(t, loop, nil)
	defer l.Close()
	freed := a.Subscribe(transport.EventStreamsFreed)
	var unread []*transport.Stream
	for round := range 5 {
		s, err := a.OpenStream()
		require.NoError(t, err)
		require.EqualValues(t, 2, s.ID(), "its number came back")
		_, err = fmt.Fprintf(s, "round %d", round)
		require.NoError(t, err)
		require.NoError(t, s.CloseWrite())
		r, err := b.AcceptStream(context.Background())
		require.NoError(t, err)
		require.EqualValues(t, 2, r.ID())
		require.NoError(t, r.CloseWrite())
		_, err = s.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		require.Equal(t, []uint16{2}, (<-freed).Streams)
		unread = append(unread, r)
	}
	for round, r := range unread {
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("round %d", round), string(got))
	}
	closeAll(a, b)
}

// A stream on which nothing was written still tells its end.
func TestStreamEndsWithoutAMessage(t *testing.T) {
	a, b, l := pair(t, loop, nil)
	defer l.Close()
	s, err := a.OpenStream()
	require.NoError(t, err)
	require.NoError(t, s.CloseWrite())
	r, err := b.AcceptStream(context.Background())
	require.NoError(t, err)
	require.Equal(t, s.ID(), r.ID())
	_, err = r.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	_, err = r.Write([]byte("the time is now"))
	require.NoError(t, err)
	require.NoError(t, r.Close())
	got, err := io.ReadAll(s)
	require.NoError(t, err)
	require.Equal(t, "the time is now", string(got))
	closeAll(a, b)
}

// What was written is delivered although its stream is closed at once.
func TestStreamCloseDelivers(t *testing.T) {
	a, b, l := pair(t, loop, nil)
	defer l.Close()
	want := text(300_000, 5)
	s, err := a.OpenStream()
	require.NoError(t, err)
	go func() {
		s.Write(want)
		s.Close()
	}()
	r, err := b.AcceptStream(context.Background())
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
	_, err = s.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorIs(t, s.Close(), net.ErrClosed)
	require.ErrorIs(t, s.SetWriteDeadline(time.Now()), net.ErrClosed)
	closeAll(a, b)
}

// One direction is closed by its reader: the peer's writes fail, ours go on.
func TestCloseRead(t *testing.T) {
	a, b, l := pair(t, loop, nil)
	defer l.Close()
	events := b.Subscribe(transport.EventStopAsked)
	s, err := a.OpenStream()
	require.NoError(t, err)
	_, err = s.Write([]byte("tell me"))
	require.NoError(t, err)
	r, err := b.AcceptStream(context.Background())
	require.NoError(t, err)
	_, err = r.Write([]byte("a long story"))
	require.NoError(t, err)
	require.NoError(t, s.CloseRead())
	require.ErrorIs(t, s.CloseRead(), net.ErrClosed)
	_, err = s.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
	ev := <-events
	require.Equal(t, []uint16{s.ID()}, ev.Streams)
	require.Contains(t, ev.String(), "[2]")
	_, err = r.Write([]byte("and more of it"))
	require.ErrorIs(t, err, transport.ErrStopAsked)
	require.ErrorIs(t, err, syscall.EPIPE)
	_, err = s.Write([]byte(", but briefly"))
	require.NoError(t, err)
	require.NoError(t, s.CloseWrite())
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "tell me, but briefly", string(got))
	closeAll(a, b)
}

// A stream that is reset by its writer begins anew: a stream of its own to the peer.
func TestResetWrite(t *testing.T) {
	a, b, l := pair(t, loop, nil)
	defer l.Close()
	s, err := a.OpenStream()
	require.NoError(t, err)
	for round := range 4 {
		_, err = fmt.Fprintf(s, "epoch %d", round)
		require.NoError(t, err)
		require.NoError(t, s.ResetWrite())
	}
	require.NoError(t, s.WriteMessage([]byte("the last"), nil))
	require.NoError(t, s.CloseWrite())
	var first *transport.Stream
	for round := range 5 {
		r, err := b.AcceptStream(context.Background())
		require.NoError(t, err)
		require.Equal(t, s.ID(), r.ID())
		buf := make([]byte, 100)
		n, info, err := r.ReadMessage(buf)
		require.NoError(t, err)
		require.Zero(t, info.Number, "numbers begin anew")
		if round < 4 {
			require.Equal(t, fmt.Sprintf("epoch %d", round), string(buf[:n]))
		} else {
			require.Equal(t, "the last", string(buf[:n]))
		}
		_, _, err = r.ReadMessage(buf)
		require.Equal(t, io.EOF, err)
		if first == nil {
			first = r
		} else {
			_, err = fmt.Fprintf(r, "%d ", round) // they share the outgoing side
			require.NoError(t, err)
			require.NoError(t, first.WriteMessage([]byte("first "), nil))
		}
	}
	buf := make([]byte, 8*6)
	_, err = io.ReadFull(s, buf[:4*8])
	require.NoError(t, err)
	require.Equal(t, "1 first 2 first 3 first 4 first ", string(buf[:4*8]))
	require.NoError(t, first.Close(), "not its side any more")
	closeAll(a, b)
}

// When all streams are used the peer adds some, in both directions.
func TestStreamsAreAdded(t *testing.T) {
	a, b, l := pair(t, loop, &transport.Config{OutStreams: 4, InStreams: 4})
	defer l.Close()
	added := a.Subscribe(transport.EventStreamsAdded)
	go func() {
		for {
			s, err := b.AcceptStream(context.Background())
			if err != nil {
				return
			}
			go func() {
				io.Copy(s, s)
				s.Close()
			}()
		}
	}()
	var open []*transport.Stream
	for i := range 100 {
		s, err := a.OpenStream()
		require.NoError(t, err)
		require.EqualValues(t, 2*i+2, s.ID())
		_, err = fmt.Fprintf(s, "stream %d", s.ID())
		require.NoError(t, err)
		open = append(open, s)
	}
	for _, s := range open {
		require.NoError(t, s.CloseWrite())
		got, err := io.ReadAll(s)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("stream %d", s.ID()), string(got))
		require.NoError(t, s.Close())
	}
	require.NotEmpty(t, added)
	out, in := a.Streams()
	require.GreaterOrEqual(t, out, 201)
	require.GreaterOrEqual(t, in, 201)
	require.NoError(t, a.AddStreams(context.Background(), 10, 20))
	out2, in2 := a.Streams()
	require.GreaterOrEqual(t, out2, out+10)
	require.GreaterOrEqual(t, in2, in+20)
	require.Error(t, a.AddStreams(context.Background(), 65535, 0))
	require.Error(t, a.AddStreams(context.Background(), -1, 0))
	closeAll(a, b)
}

// A peer that adds none is believed, and a stream that becomes free in time is taken.
func TestNoStreamsAdded(t *testing.T) {
	l, err := transport.Listen(loop, &transport.Config{OutStreams: 4, InStreams: 4, MaxStreams: 4})
	require.NoError(t, err)
	defer l.Close()
	b, a := connect(t, l, nil)
	refused := a.Subscribe(transport.EventStreamsRefused)
	s, err := a.OpenStream()
	require.NoError(t, err)
	_, err = a.OpenStream()
	require.ErrorIs(t, err, transport.ErrNoStreams)
	require.Contains(t, err.Error(), "enied")
	require.NotEmpty(t, (<-refused).Reason)
	require.ErrorIs(t, a.AddStreams(context.Background(), 5, 0), transport.ErrNoStreams)

	far, err := a.Stream(77)
	require.NoError(t, err)
	_, err = far.Write([]byte("x"))
	require.ErrorIs(t, err, transport.ErrStreamID)
	require.NoError(t, far.CloseWrite(), "there is nothing to end")

	_, err = s.Write([]byte("x"))
	require.NoError(t, err)
	r, err := b.AcceptStream(context.Background())
	require.NoError(t, err)
	require.NoError(t, s.Close())
	_, err = a.Stream(2)
	require.ErrorIs(t, err, transport.ErrStreamBusy)
	require.NoError(t, r.Close())
	for {
		if s, err = a.OpenStream(); err == nil {
			break
		}
		require.ErrorIs(t, err, transport.ErrNoStreams)
	}
	require.EqualValues(t, 2, s.ID())
	closeAll(a, b)
}

// OpenStreamContext gives up when its context does, and goes on when a stream comes back meanwhile.
func TestLabOpenStreamContext(t *testing.T) {
	inLab(t, []string{"delay=10ms"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{OutStreams: 4, InStreams: 4})
		s, err := a.OpenStream()
		require.NoError(t, err)
		x.Set("a1-b1", "down")
		x.Set("a2-b2", "down")
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		_, err = a.OpenStreamContext(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Error(t, a.AddStreams(ctx, 1, 0))
		x.Set("a1-b1", "up")
		x.Set("a2-b2", "up")
		s2, err := a.OpenStream() // the request of before is answered at last
		require.NoError(t, err)
		require.EqualValues(t, 4, s2.ID())
		waits := make(chan error)
		go func() {
			for {
				if _, err := a.OpenStream(); err != nil {
					waits <- err
					return
				}
				time.Sleep(time.Millisecond)
			}
		}()
		time.Sleep(10 * time.Millisecond)
		require.NoError(t, a.Abort(""))
		require.ErrorIs(t, <-waits, net.ErrClosed)
		_, err = s.Write([]byte("x"))
		require.ErrorIs(t, err, net.ErrClosed)
		b.Abort("")
	})
}

// A program that picks its numbers finds the same stream on both sides, and nobody else accepts it.
func TestStreamsByNumber(t *testing.T) {
	a, b, l := pair(t, loop, nil)
	defer l.Close()
	for _, id := range []uint16{7, 8, 1023, 3000} {
		s, err := a.Stream(id)
		require.NoError(t, err)
		again, err := a.Stream(id)
		require.NoError(t, err)
		_, err = s.Write([]byte("one "))
		require.NoError(t, err)
		_, err = again.Write([]byte("two"))
		require.NoError(t, err)
		var r *transport.Stream
		for {
			if r, err = b.Stream(id); err == nil {
				break
			}
		}
		buf := make([]byte, 7)
		_, err = io.ReadFull(r, buf)
		require.NoError(t, err)
		require.Equal(t, "one two", string(buf))
		require.NoError(t, s.CloseWrite())
		require.NoError(t, r.Close())
		_, err = s.Read(buf)
		require.Equal(t, io.EOF, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := b.AcceptStream(ctx)
	require.True(t, errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded))
	s, err := a.OpenStream()
	require.NoError(t, err)
	require.Contains(t, []uint16{2, 8}, s.ID(), "one that came back, or the first")
	closeAll(a, b)
	_, err = a.Stream(9)
	require.ErrorIs(t, err, net.ErrClosed)
}

// Ends that wait for their data when the association is shut down are not missed: the end of the association is theirs.
func TestLabEndsAndShutdown(t *testing.T) {
	inLab(t, []string{"delay=20ms", "loss=0.05"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{})
		want := text(100_000, 1)
		for range 5 {
			s, err := a.OpenStream()
			require.NoError(t, err)
			_, err = s.Write(want)
			require.NoError(t, err)
			require.NoError(t, s.CloseWrite())
		}
		go a.Close()
		for range 5 {
			r, err := b.AcceptStream(context.Background())
			require.NoError(t, err)
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got))
		}
		require.NoError(t, b.Close())
	})
}
