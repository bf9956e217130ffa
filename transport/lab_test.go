package transport_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/simnet"
	"github.com/go-multihome/multihome/transport"
)

// Two hosts, a and b, with two addresses each; a1 reaches b1 and a2 reaches b2. Whole stacks on them, in virtual time.
var (
	labA = []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.1.0.1")}
	labB = []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.1.0.2")}
)

const (
	labServer = "10.0.0.2:5000,10.1.0.2:5000"
	labPort   = 5000
)

type lab struct {
	*simnet.Lab
	t *testing.T
	l *transport.Listener
}

func inLab(t *testing.T, words []string, f func(t *testing.T, x *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		seed := simnet.Seed(1)
		t.Logf("MULTIHOME_SEED=%d", seed)
		n := simnet.New(seed)
		for _, w := range words {
			require.NoError(t, n.Default.Set(w))
		}
		n.AddHost("a", labA...)
		n.AddHost("b", labB...)
		x := &lab{Lab: simnet.NewLab(n), t: t}
		defer x.Close()
		x.Set("a1-b2", "down")
		x.Set("a2-b1", "down")
		f(t, x)
		if x.l != nil {
			require.NoError(t, x.l.Close())
		}
	})
}

// sockets opens one per address.
func (x *lab) sockets(port uint16, addrs ...netip.Addr) (conns []net.PacketConn) {
	for _, a := range addrs {
		s, err := x.Listen(netip.AddrPortFrom(a, port))
		require.NoError(x.t, err)
		conns = append(conns, s)
	}
	return conns
}

// with returns a copy of cfg that uses the sockets.
func with(cfg transport.Config, conns []net.PacketConn) *transport.Config {
	cfg.PacketConns = conns
	return &cfg
}

func (x *lab) listen(cfg transport.Config) {
	var err error
	x.l, err = transport.Listen(labServer, with(cfg, x.sockets(labPort, labB...)))
	require.NoError(x.t, err)
}

// dial makes an association from a to b.
func (x *lab) dial(cfg transport.Config) (dialled, accepted *transport.Association) {
	if x.l == nil {
		x.listen(cfg)
	}
	a, err := transport.Dial(context.Background(), labServer, with(cfg, x.sockets(7000, labA...)))
	require.NoError(x.t, err)
	b, err := x.l.AcceptAssociation(context.Background())
	require.NoError(x.t, err)
	return a, b
}

func TestLabTwoPaths(t *testing.T) {
	inLab(t, []string{"delay=10ms"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{})
		time.Sleep(5 * time.Second)
		active := 0
		for _, p := range a.Paths() {
			if p.State == heartbeat.Active {
				active++
				require.Equal(t, 20*time.Millisecond, p.RTT.Round(time.Millisecond), p.Path)
			}
		}
		require.Equal(t, 2, active, "%+v", a.Paths())
		require.Equal(t, "sctp", a.LocalAddr().Network())
		require.Equal(t, "10.0.0.2:5000,10.1.0.2:5000", a.RemoteAddr().String())
		require.Equal(t, "10.0.0.2:5000,10.1.0.2:5000", b.LocalAddr().String())
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

// The same bytes arrive, in order, though the path in use goes dark in the middle.
func TestLabFailover(t *testing.T) {
	inLab(t, []string{"delay=10ms", "rate=100mbit"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{})
		time.Sleep(2 * time.Second) // both paths are confirmed
		events := a.Events()
		const size = 4 << 20
		sent, got := sha256.New(), sha256.New()
		done := make(chan error, 1)
		go func() {
			_, err := io.CopyN(got, b, size)
			done <- err
		}()
		rng := rand.New(rand.NewPCG(1, 2))
		buf := make([]byte, 64<<10)
		for n := 0; n < size; n += len(buf) {
			for i := range buf {
				buf[i] = byte(rng.Uint32())
			}
			sent.Write(buf)
			if n == size/2 {
				x.Set("a1-b1", "down")
			}
			_, err := a.Write(buf)
			require.NoError(t, err)
		}
		require.NoError(t, <-done)
		require.Equal(t, sent.Sum(nil), got.Sum(nil))
		moved := false
		for len(events) > 0 {
			e := <-events
			moved = moved || e.Kind == transport.EventPathChosen && e.Path.Peer.Addr == labB[1]
		}
		require.True(t, moved)
		require.Equal(t, "10.1.0.2:5000,10.0.0.2:5000", a.RemoteAddr().String(), "the locator in use comes first")
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

func TestLabSetPrimary(t *testing.T) {
	inLab(t, []string{"delay=10ms"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{})
		time.Sleep(5 * time.Second)
		for _, p := range a.Paths() {
			if p.Path.Peer.Addr == labB[1] && p.State == heartbeat.Active {
				require.NoError(t, a.SetPrimary(p.Path.ID))
				require.NoError(t, a.Heartbeat(p.Path.ID))
			}
		}
		require.Error(t, a.SetPrimary(99))
		_, err := a.Write([]byte("by the other path"))
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.Equal(t, "10.1.0.2:5000,10.0.0.2:5000", a.RemoteAddr().String())
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

// A peer that disappears is found out, and the error says which paths saw what and how much was not delivered.
func TestLabPeerLost(t *testing.T) {
	inLab(t, []string{"delay=10ms"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{})
		events := a.Events()
		x.Set("a1-b1", "down")
		x.Set("a2-b2", "down")
		_, err := a.Write(make([]byte, 3000))
		require.NoError(t, err)
		_, err = a.Read(make([]byte, 1))
		var e *transport.AssociationError
		require.ErrorAs(t, err, &e)
		require.Equal(t, transport.EndUnreachable, e.Kind)
		require.Equal(t, 3000, e.Unsent)
		require.NotEmpty(t, e.Paths)
		require.ErrorIs(t, err, syscall.ETIMEDOUT)
		require.Contains(t, err.Error(), "10.0.0.1:7000>10.0.0.2:5000")
		require.Contains(t, err.Error(), "3000 bytes not acknowledged")
		require.Equal(t, 1, strings.Count(err.Error(), "10.0.0.1:7000>10.0.0.2:5000"), "said once")
		var ne net.Error
		require.ErrorAs(t, err, &ne)
		require.True(t, ne.Timeout())
		_, err = a.Write([]byte("more"))
		require.ErrorAs(t, err, &e)
		require.ErrorAs(t, a.Err(), &e)
		var last transport.Event
		for ev := range events {
			last = ev
		}
		require.Equal(t, transport.EventClosed, last.Kind)
		require.Error(t, last.Err)
		require.Error(t, a.Close(), "3000 bytes were not delivered")
		b.Abort("")
	})
}

// Nobody reads on the other side and its window is full: Close gives up after the linger time and says so.
func TestLabLinger(t *testing.T) {
	inLab(t, []string{"delay=10ms"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{ReceiveWindow: 64 << 10, Linger: 3 * time.Second})
		require.NoError(t, a.SetWriteDeadline(time.Now().Add(20*time.Second)))
		n := 0
		for {
			k, err := a.Write(make([]byte, 32<<10))
			n += k
			if err != nil {
				break
			}
		}
		require.GreaterOrEqual(t, n, 1<<20, "send buffer and window")
		start := time.Now()
		err := a.Close()
		require.Equal(t, 3*time.Second, time.Since(start).Round(time.Millisecond))
		require.ErrorIs(t, err, transport.ErrLinger)
		var u *transport.UnsentError
		require.ErrorAs(t, err, &u)
		require.Greater(t, u.Bytes, 900<<10)
		require.ErrorIs(t, a.Close(), net.ErrClosed)
		// What was delivered can still be read, then comes the abort.
		got, err := io.Copy(io.Discard, struct{ io.Reader }{b})
		require.Positive(t, got)
		require.ErrorIs(t, err, syscall.ECONNRESET)
		require.NoError(t, b.Close())
	})
}

// A receiver that reads slowly gets everything, through a window smaller than a message.
func TestLabSlowReader(t *testing.T) {
	inLab(t, []string{"delay=5ms"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{ReceiveWindow: 8 << 10, MessageSize: 64 << 10})
		const size = 512 << 10
		done := make(chan error, 1)
		go func() {
			_, err := a.Write(make([]byte, size))
			done <- err
		}()
		buf := make([]byte, 1000)
		for n := 0; n < size; {
			k, err := b.Read(buf)
			require.NoError(t, err)
			n += k
			if n%7 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		require.NoError(t, <-done)
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

// A client that loses its memory and dials again from the same place: the old association ends for its user, the new one
// waits for Accept.
func TestLabRestart(t *testing.T) {
	inLab(t, []string{"delay=10ms"}, func(t *testing.T, x *lab) {
		x.listen(transport.Config{})
		cfg := transport.Config{Local: "10.0.0.1:6000,10.1.0.1:6000"}
		conns := x.sockets(7000, labA...)
		a1, err := transport.Dial(context.Background(), labServer, with(cfg, conns))
		require.NoError(t, err)
		b1, err := x.l.AcceptAssociation(context.Background())
		require.NoError(t, err)
		events := b1.Events()
		_, err = a1.Write([]byte("before"))
		require.NoError(t, err)
		time.Sleep(time.Second)
		for _, c := range conns {
			c.Close() // as if the program had been killed
		}
		time.Sleep(time.Second)
		a2, err := transport.Dial(context.Background(), labServer, with(cfg, x.sockets(7000, labA...)))
		require.NoError(t, err)
		b2, err := x.l.AcceptAssociation(context.Background())
		require.NoError(t, err)

		buf := make([]byte, 10)
		n, err := b1.Read(buf)
		require.NoError(t, err)
		require.Equal(t, "before", string(buf[:n]))
		_, err = b1.Read(buf)
		var e *transport.AssociationError
		require.ErrorAs(t, err, &e)
		require.Equal(t, transport.EndRestart, e.Kind)
		_, err = b1.Write(buf)
		require.ErrorIs(t, err, syscall.ECONNRESET)
		var last transport.Event
		for ev := range events {
			last = ev
		}
		require.Equal(t, transport.EventRestarted, last.Kind)
		require.NoError(t, b1.Close())
		_ = b1.Stats()

		_, err = a2.Write([]byte("after"))
		require.NoError(t, err)
		n, err = b2.Read(buf)
		require.NoError(t, err)
		require.Equal(t, "after", string(buf[:n]))
		require.NoError(t, a2.Close())
		require.NoError(t, b2.Close())
		a1.Abort("")
	})
}

// Dials that cannot succeed name every locator and end when the context does.
func TestLabDialUnanswered(t *testing.T) {
	inLab(t, []string{"delay=10ms"}, func(t *testing.T, x *lab) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		start := time.Now()
		_, err := transport.Dial(ctx, labServer, with(transport.Config{}, x.sockets(7000, labA...)))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 2*time.Second, time.Since(start))
		var ne net.Error
		require.ErrorAs(t, err, &ne)
		require.True(t, ne.Timeout())
		require.Contains(t, err.Error(), "10.0.0.2:5000")
		require.Contains(t, err.Error(), "10.1.0.2:5000")

		_, err = transport.Dial(context.Background(), labServer, with(transport.Config{MaxInitRetrans: 2}, x.sockets(7000, labA...)))
		var e *transport.AssociationError
		require.ErrorAs(t, err, &e)
		require.Equal(t, transport.EndSetup, e.Kind)
		require.Contains(t, err.Error(), "10.0.0.2:5000")
		require.Contains(t, err.Error(), "10.1.0.2:5000")

		ctx, cancel = context.WithCancel(context.Background())
		cancel()
		_, err = transport.Dial(ctx, labServer, with(transport.Config{}, x.sockets(7000, labA...)))
		require.ErrorIs(t, err, context.Canceled)
	})
}

// The socket's buffer is full on one path: the other one carries on.
func TestLabBlockedSocket(t *testing.T) {
	inLab(t, []string{"delay=10ms"}, func(t *testing.T, x *lab) {
		x.listen(transport.Config{})
		conns := x.sockets(7000, labA...)
		a, err := transport.Dial(context.Background(), labServer, with(transport.Config{}, conns))
		require.NoError(t, err)
		b, err := x.l.AcceptAssociation(context.Background())
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		conns[0].(*simnet.Socket).Block(true)
		go a.Write(make([]byte, 100_000))
		start := time.Now()
		_, err = io.ReadFull(b, make([]byte, 100_000))
		require.NoError(t, err)
		require.Less(t, time.Since(start), time.Second)
		require.Positive(t, a.SocketStats().SocketFull)
		conns[0].(*simnet.Socket).Block(false)
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

// The last packet of an orderly end is lost, and its sender gone: the other side waits for it in vain, but knows that
// nothing else is missing.
func TestLabShutdownCompleteLost(t *testing.T) {
	inLab(t, []string{"delay=10ms"}, func(t *testing.T, x *lab) {
		x.listen(transport.Config{})
		conns := x.sockets(7000, labA...)
		a, err := transport.Dial(context.Background(), labServer, with(transport.Config{}, conns))
		require.NoError(t, err)
		b, err := x.l.AcceptAssociation(context.Background())
		require.NoError(t, err)
		time.Sleep(time.Second)
		go func() {
			time.Sleep(15 * time.Millisecond) // the SHUTDOWN has left, its answer is still under way
			conns[0].(*simnet.Socket).Block(true)
			conns[1].(*simnet.Socket).Block(true)
		}()
		require.NoError(t, a.Close())
		start := time.Now()
		require.NoError(t, b.Close())
		require.Equal(t, 5*time.Second, time.Since(start).Round(100*time.Millisecond))
	})
}

// Loss, duplication, reordering and corruption in both directions, several streams at once.
func TestLabBadNetwork(t *testing.T) {
	inLab(t, []string{"delay=10ms", "loss=0.02", "duplicate=0.01", "reorder=0.05", "reorderby=5ms", "corrupt=0.005"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{})
		const streams, size = 5, 200_000
		done := make(chan error, streams)
		go func() {
			for {
				s, err := b.AcceptStream(context.Background())
				if err != nil {
					return
				}
				go io.Copy(s, s)
			}
		}()
		for i := range streams {
			go func() {
				s, err := a.OpenStream()
				if err != nil {
					done <- err
					return
				}
				want := make([]byte, size)
				rng := rand.New(rand.NewPCG(uint64(i), 0))
				for i := range want {
					want[i] = byte(rng.Uint32())
				}
				go s.Write(want)
				got := make([]byte, size)
				if _, err := io.ReadFull(s, got); err != nil {
					done <- err
				} else if sha256.Sum256(got) != sha256.Sum256(want) {
					done <- errors.New("the bytes differ")
				}
				done <- nil
			}()
		}
		for range streams {
			require.NoError(t, <-done)
		}
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

// The logger is told of what matters, at the level it matters at.
func TestLabLogger(t *testing.T) {
	inLab(t, []string{"delay=10ms"}, func(t *testing.T, x *lab) {
		var text bytes.Buffer
		log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelInfo}))
		x.listen(transport.Config{})
		a, err := transport.Dial(context.Background(), labServer, with(transport.Config{Logger: log}, x.sockets(7000, labA...)))
		require.NoError(t, err)
		b, err := x.l.AcceptAssociation(context.Background())
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		require.Empty(t, text.String(), "the ordinary course of things is for level Debug")
		x.Set("a1-b1", "down")
		_, err = a.Write([]byte("x"))
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.NoError(t, b.Abort("enough"))
		time.Sleep(time.Second)
		synctest.Wait()
		require.Contains(t, text.String(), "path state changed")
		require.Contains(t, text.String(), "data takes another path")
		require.Contains(t, text.String(), "to=PotentiallyFailed")
		require.Contains(t, text.String(), `level=WARN msg="association ended"`)
		require.Contains(t, text.String(), "aborted by peer")
		require.NoError(t, a.Close())
	})
}
