package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/transport"
)

// TestUsrsctpShutdown ends associations in order, from either side, with data still under way.
func TestUsrsctpShutdown(t *testing.T) {
	const n = 1 << 20
	check := []string{"-e", fmt.Sprint(ourSeed)}
	t.Run("by us", func(t *testing.T) {
		roles(t, func(t *testing.T, weDial bool) {
			u := connect(t, lab(t, netlab.Options{}), weDial, opts{args: check})
			require.NoError(t, send(u.ours, ourSeed, 0, n, 10000))
			u.peer.say("1 wait %d", n)
			require.NoError(t, u.ours.Close())
			u.peer.await(fmt.Sprintf("1 received %d", n))
			u.peer.await("1 eof")
		})
	})
	t.Run("by usrsctp", func(t *testing.T) {
		roles(t, func(t *testing.T, weDial bool) {
			u := connect(t, lab(t, netlab.Options{}), weDial, opts{args: check})
			u.peer.say("1 send %d 0 1 1 %d 10000", peerSeed, n)
			got := make(chan error, 1)
			u.peer.await("1 sent") // into its buffer
			u.peer.say("1 shutdown")
			go func() { got <- receive(u.ours, peerSeed, 0, n, nil) }()
			require.NoError(t, <-got)
			_, err := u.ours.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
			require.NoError(t, u.ours.Close())
			require.NoError(t, u.ours.Err())
		})
	})
	t.Run("by both", func(t *testing.T) {
		roles(t, func(t *testing.T, weDial bool) {
			u := connect(t, lab(t, netlab.Options{Delay: 20 * time.Millisecond}), weDial, opts{args: check})
			p := u.begin(n / 4)
			p.finish(t, u, n/4)
			u.peer.say("1 shutdown")
			require.NoError(t, u.ours.Close())
			u.peer.await("1 eof")
			require.NoError(t, u.ours.Err())
		})
	})
}

// TestUsrsctpAbort ends associations at once, from either side.
func TestUsrsctpAbort(t *testing.T) {
	check := []string{"-e", fmt.Sprint(ourSeed)}
	t.Run("by us", func(t *testing.T) {
		roles(t, func(t *testing.T, weDial bool) {
			u := connect(t, lab(t, netlab.Options{}), weDial, opts{args: check})
			u.begin(1000).finish(t, u, 1000)
			require.NoError(t, u.ours.Abort("enough"))
			u.peer.await("1 lost")
			_, err := u.ours.Write([]byte("x"))
			require.Error(t, err)
		})
	})
	t.Run("by usrsctp", func(t *testing.T) {
		roles(t, func(t *testing.T, weDial bool) {
			u := connect(t, lab(t, netlab.Options{}), weDial, opts{args: check})
			u.begin(1000).finish(t, u, 1000)
			u.peer.say("1 abort that is all")
			require.NoError(t, u.ours.SetReadDeadline(time.Now().Add(patience)))
			_, err := u.ours.Read(make([]byte, 1))
			var end *transport.AssociationError
			require.ErrorAs(t, err, &end)
			require.Equal(t, transport.EndAborted, end.Kind)
			require.EqualValues(t, 12, end.Cause, "RFC 9260 section 3.3.10.12")
			require.ErrorContains(t, err, "that is all")
			require.ErrorIs(t, err, syscall.ECONNRESET)
		})
	})
	t.Run("while data flows", func(t *testing.T) {
		roles(t, func(t *testing.T, weDial bool) {
			u := connect(t, lab(t, netlab.Options{}), weDial, opts{args: check})
			p := u.begin(1 << 30)
			p.reach(t, u, 1<<20)
			u.peer.say("1 abort")
			for range 2 {
				require.ErrorIs(t, <-p.done, syscall.ECONNRESET)
			}
		})
	})
}

// TestUsrsctpRefuses dials a port where nobody listens.
func TestUsrsctpRefuses(t *testing.T) {
	l := lab(t, netlab.Options{})
	startListening(t, l, opts{})
	cfg := transport.Config{Local: pool(l.A, 2, nil, 0), LocalUDPPort: ourUDPPort, RemoteUDPPort: peerUDPPort, Capture: record(t)}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, l.InA(func() error {
		_, err := transport.Dial(ctx, strings.ReplaceAll(pool(l.B, 2, nil, peerPort), "7000", "7001"), &cfg)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		return nil
	}))
}

// TestUsrsctpRestarts has the peer die without a word, and come back with the same addresses and ports.
func TestUsrsctpRestarts(t *testing.T) {
	o := opts{args: []string{"-e", fmt.Sprint(ourSeed)}}
	// The host of a dead program says so when something arrives for it, which would end the association first.
	mute := func(l *netlab.Lab) {
		for i := range l.Paths() {
			require.NoError(t, l.Filter(i, "meta l4proto icmp drop"))
		}
	}
	t.Run("and dials again", func(t *testing.T) {
		l := lab(t, netlab.Options{})
		mute(l)
		ln := listen(t, l, o)
		first := &usrsctp{lab: l, peer: startDialling(t, l, o), ours: accept(t, ln)}
		first.peer.await("1 up")
		first.ready(t)
		first.begin(100000).finish(t, first, 100000)
		events := first.ours.Events()
		first.peer.kill()
		second := &usrsctp{lab: l, peer: startDialling(t, l, o), ours: accept(t, ln)}
		second.peer.await("1 up")
		_, err := first.ours.Read(make([]byte, 1))
		var end *transport.AssociationError
		require.ErrorAs(t, err, &end)
		require.Equal(t, transport.EndRestart, end.Kind)
		var last transport.Event
		for ev := range events {
			last = ev
		}
		require.Equal(t, transport.EventRestarted, last.Kind)
		second.ready(t)
		second.begin(100000).finish(t, second, 100000)
		second.end(t)
	})
	t.Run("and waits for us", func(t *testing.T) {
		l := lab(t, netlab.Options{})
		mute(l)
		u := connect(t, l, true, o)
		u.begin(100000).finish(t, u, 100000)
		u.peer.kill()
		u.peer = startListening(t, l, o)
		// What it does not know it answers with ABORT (RFC 9260 section 8.4).
		require.NoError(t, u.ours.SetDeadline(time.Now().Add(patience)))
		_, err := u.ours.Write([]byte("are you there?"))
		require.NoError(t, err)
		_, err = u.ours.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
	})
}

// TestWeRestart has us die without a word, and dial again from the same addresses and ports: usrsctp takes it for a
// restart of the association it has.
func TestWeRestart(t *testing.T) {
	l := lab(t, netlab.Options{})
	o := opts{args: []string{"-e", fmt.Sprint(ourSeed)}}
	u := &usrsctp{lab: l, peer: startListening(t, l, o)}
	c := record(t)
	begin := func() {
		cfg := transport.Config{Local: pool(l.A, 2, nil, ourPort), LocalUDPPort: ourUDPPort, RemoteUDPPort: peerUDPPort, Capture: c}
		deadline := time.Now().Add(patience)
		for {
			a, err := dialWith(t, l, o, &cfg)
			if errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(deadline) {
				time.Sleep(10 * time.Millisecond) // the sockets of the first one are still closing
				continue
			}
			require.NoError(t, err)
			t.Cleanup(func() { a.Abort("the test is over") })
			u.ours = a
			break
		}
		u.ready(t)
	}
	begin()
	u.peer.await("1 up") // before, its program has nothing to send on
	u.begin(100000).finish(t, u, 100000)
	for i := range 2 {
		require.NoError(t, l.Cut(i, netlab.Both))
	}
	require.NoError(t, u.ours.Abort("")) // which nobody hears
	for i := range 2 {
		require.NoError(t, l.Restore(i))
	}
	begin()
	u.peer.await("1 restart")
	u.begin(100000).finish(t, u, 100000)
	u.end(t)
}
