package hostile

import (
	"context"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/transport"
)

// The limits of an endpoint, through the front door and over real sockets: each holds, counts, and lets those in that
// come when there is room again.

const loop = "127.0.0.1:0"

// quick makes setup packets be repeated soon.
func quick(c transport.Config) *transport.Config {
	c.RTOInitial, c.RTOMin = 50*time.Millisecond, 20*time.Millisecond
	c.MaxInitRetrans = 30
	if c.Linger == 0 {
		c.Linger = time.Second
	}
	return &c
}

func listen(t *testing.T, cfg transport.Config) *transport.Listener {
	l, err := transport.Listen(loop, quick(cfg))
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// dialing is a dial under way.
type dialing struct {
	a    *transport.Association
	err  error
	done chan struct{}
}

func dial(t *testing.T, to net.Addr, cfg *transport.Config) *dialing {
	d := &dialing{done: make(chan struct{})}
	go func() {
		defer close(d.done)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		d.a, d.err = transport.Dial(ctx, to.String(), cfg)
	}()
	t.Cleanup(func() {
		<-d.done
		if d.a != nil {
			d.a.Abort("")
		}
	})
	return d
}

// up waits for the dial to succeed.
func (d *dialing) up(t *testing.T) *transport.Association {
	<-d.done
	require.NoError(t, d.err)
	return d.a
}

// isUp reports whether it has.
func (d *dialing) isUp() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

func ups(ds []*dialing) (n int) {
	for _, d := range ds {
		if d.isUp() {
			n++
		}
	}
	return n
}

func accept(t *testing.T, l *transport.Listener) *transport.Association {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	a, err := l.AcceptAssociation(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { a.Abort("") })
	return a
}

func eventually(t *testing.T, f func() bool, text string) {
	t.Helper()
	require.Eventually(t, f, time.Minute, 5*time.Millisecond, text)
}

// Twenty-four associations whose readers do not read share two megabytes: none gets more than its part, the budget holds,
// and once they read everything arrives and the windows are what they were.
func TestMemoryIsShared(t *testing.T) {
	const n, budget, each = 24, 2 << 20, 400 << 10
	l := listen(t, transport.Config{Memory: budget})
	cfg := quick(transport.Config{Linger: 30 * time.Second})
	var dialled, accepted []*transport.Association
	var sent sync.WaitGroup
	for range n {
		d := dial(t, l.Addr(), cfg)
		dialled = append(dialled, d.up(t))
		accepted = append(accepted, accept(t, l))
	}
	full := accepted[0].Stats().ReceiveWindow
	for i, a := range dialled {
		sent.Go(func() {
			buf := make([]byte, each)
			for k := range buf {
				buf[k] = pattern(0, 0, uint16(i), k)
			}
			_, _ = a.Write(buf)
			_ = a.Close()
		})
	}
	most := int64(0)
	eventually(t, func() bool { return l.SocketStats().MemoryUsed > budget/2 }, "memory fills")
	last, same := int64(-1), 0
	for ; same < 120; time.Sleep(5 * time.Millisecond) { // looks rather than time, in which nobody else may have run
		used := l.SocketStats().MemoryUsed
		most = max(most, used)
		if same++; used != last {
			last, same = used, 0
		}
	}
	least, largest, windows := budget, 0, 0
	for _, a := range accepted {
		st := a.Stats()
		least, largest = min(least, st.ReceiveBuffered), max(largest, st.ReceiveBuffered)
		windows = max(windows, st.ReceiveWindow)
	}
	t.Logf("%d of %d bytes used at most; %d to %d each; windows of at most %d, %d at first", most, budget, least, largest, windows, full)
	require.Less(t, most, int64(budget+budget/8))
	require.Greater(t, most, int64(budget/2))
	require.Greater(t, least, budget/n/32, "nobody starves, though some come late")
	require.Less(t, largest, budget/4, "nobody takes it all")
	require.Less(t, windows, full/2, "windows shrink")
	var read sync.WaitGroup
	for _, a := range accepted {
		read.Go(func() {
			buf, err := io.ReadAll(a)
			if err != nil || len(buf) != each {
				t.Errorf("%d bytes, %v", len(buf), err)
				return
			}
			for i := range n { // whoever it is
				if buf[1000] != pattern(0, 0, uint16(i), 1000) || buf[0] != pattern(0, 0, uint16(i), 0) {
					continue
				}
				for k := range buf {
					if buf[k] != pattern(0, 0, uint16(i), k) {
						t.Errorf("byte %d is wrong", k)
						return
					}
				}
				return
			}
			t.Error("nobody wrote this")
		})
	}
	read.Wait()
	sent.Wait()
	eventually(t, func() bool { return l.SocketStats().MemoryUsed == 0 }, "all is given back")
}

// What a peer sent and nobody has read counts as used when the peer is gone, too, until it is read or the association is
// closed.
func TestMemoryOfTheDead(t *testing.T) {
	l := listen(t, transport.Config{})
	var accepted []*transport.Association
	for range 3 {
		a := dial(t, l.Addr(), quick(transport.Config{})).up(t)
		_, err := a.Write(make([]byte, 100<<10))
		require.NoError(t, err)
		b := accept(t, l)
		accepted = append(accepted, b)
		require.NoError(t, a.Flush(t.Context()), "all arrived")
		require.NoError(t, a.Abort("enough"))
		eventually(t, func() bool { return b.Err() != nil }, "aborted")
	}
	used := l.SocketStats().MemoryUsed
	require.Greater(t, used, int64(300<<10))
	n, err := io.ReadFull(accepted[0], make([]byte, 100<<10))
	require.NoError(t, err)
	require.Equal(t, 100<<10, n)
	// Memory is charged, which is more than the bytes and depends on the size of the packets they came in.
	left := l.SocketStats().MemoryUsed
	require.GreaterOrEqual(t, used-left, int64(100<<10), "what was read is given back")
	require.GreaterOrEqual(t, left, int64(200<<10), "what was not read still counts")
	for _, b := range accepted {
		b.Close()
	}
	require.Zero(t, l.SocketStats().MemoryUsed)
}

func TestMaxAssociations(t *testing.T) {
	l := listen(t, transport.Config{MaxAssociations: 3})
	var first []*transport.Association
	for range 3 {
		first = append(first, dial(t, l.Addr(), quick(transport.Config{})).up(t))
		accept(t, l)
	}
	more := []*dialing{dial(t, l.Addr(), quick(transport.Config{})), dial(t, l.Addr(), quick(transport.Config{}))}
	eventually(t, func() bool { return l.SocketStats().AssociationsFull >= 4 }, "put off again and again")
	require.Zero(t, ups(more))
	require.Equal(t, 3, l.SocketStats().Associations)
	require.NoError(t, first[0].Close())
	eventually(t, func() bool { return ups(more) == 1 }, "one has room now")
	require.NoError(t, first[1].Close())
	more[0].up(t)
	more[1].up(t)
	st := l.SocketStats()
	require.Equal(t, 3, st.Associations)
	require.EqualValues(t, 5, st.Accepted)
}

func TestBacklog(t *testing.T) {
	l := listen(t, transport.Config{Backlog: 2})
	var ds []*dialing
	for range 5 {
		ds = append(ds, dial(t, l.Addr(), quick(transport.Config{})))
	}
	eventually(t, func() bool { return ups(ds) == 2 && l.SocketStats().BacklogFull >= 3 }, "two wait, three are put off")
	time.Sleep(200 * time.Millisecond)
	require.Equal(t, 2, ups(ds))
	require.Equal(t, 2, l.SocketStats().Associations)
	for range ds { // as room is made, they come in
		a := accept(t, l)
		_, err := a.Write([]byte("welcome"))
		require.NoError(t, err)
	}
	for _, d := range ds {
		buf := make([]byte, 7)
		_, err := io.ReadFull(d.up(t), buf)
		require.NoError(t, err)
		require.Equal(t, "welcome", string(buf))
	}
	require.EqualValues(t, 5, l.SocketStats().Accepted)
}

func TestInitsPerSourceCount(t *testing.T) {
	l := listen(t, transport.Config{InitsPerSource: 2})
	to, err := net.ResolveUDPAddr("udp", l.Addr().String())
	require.NoError(t, err)
	flood, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, to)
	require.NoError(t, err)
	defer flood.Close()
	for range 5 {
		_, err := flood.Write(initPacket(1000, uint16(to.Port), bare()))
		require.NoError(t, err)
	}
	ds := []*dialing{dial(t, l.Addr(), quick(transport.Config{Local: "127.0.0.1"}))} // waits for the next second
	other := dial(t, l.Addr(), quick(transport.Config{Local: "127.0.0.9"}))
	other.up(t) // not held up by those
	for _, d := range ds {
		d.up(t)
	}
	st := l.SocketStats()
	t.Logf("%+v", st)
	require.GreaterOrEqual(t, st.InitsLimited, uint64(4))
	require.Equal(t, 2, st.Associations)
}

// INITs that become associations are no flood, however many there are.
func TestInitsOfAssociations(t *testing.T) {
	l := listen(t, transport.Config{InitsPerSource: 2})
	cfg := quick(transport.Config{Local: "127.0.0.1"})
	cfg.RTOInitial, cfg.RTOMin = time.Minute, time.Minute // no INIT is sent twice
	cfg.RTOMax = time.Minute
	for range 20 {
		dial(t, l.Addr(), cfg).up(t)
	}
	require.Zero(t, l.SocketStats().InitsLimited)
	require.Equal(t, 20, l.SocketStats().Associations)
}

// A peer that does not pad its INIT is not answered by a strict endpoint, one that does is.
func TestStrictAnswers(t *testing.T) {
	l, err := transport.Listen("127.0.0.1:0,127.0.0.2:0", quick(transport.Config{StrictAnswers: true}))
	require.NoError(t, err)
	defer l.Close()
	cfg := quick(transport.Config{Local: "127.0.0.1", MaxInitRetrans: 2})
	cfg.MaxInitRetrans = 2
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = transport.Dial(ctx, l.Addr().String(), cfg) // one address: a plain INIT
	require.Error(t, err)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.Positive(t, l.SocketStats().InitsTooShort)
	dial(t, l.Addr(), quick(transport.Config{Local: "127.0.0.1,127.0.0.2"})).up(t)
}

// A listener that closes takes nobody down with it: what was accepted goes on, over sockets that stay, and those who were
// not accepted are told.
func TestListenerCloses(t *testing.T) {
	routines := runtime.NumGoroutine()
	l, err := transport.Listen("127.0.0.1:0,127.0.0.2:0", quick(transport.Config{}))
	require.NoError(t, err)
	addr := l.Addr()
	cfg := quick(transport.Config{Local: "127.0.0.1,127.0.0.2"})
	a := dial(t, addr, cfg).up(t)
	b := accept(t, l)
	unaccepted := dial(t, addr, cfg).up(t)
	eventually(t, func() bool { return active(a) == 4 && active(b) == 4 }, "all pairs are confirmed")
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.Close(), net.ErrClosed)
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = unaccepted.Read(make([]byte, 1))
	var e *transport.AssociationError
	require.ErrorAs(t, err, &e)
	require.Equal(t, transport.EndAborted, e.Kind)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = transport.Dial(ctx, addr.String(), cfg)
	require.ErrorAs(t, err, &e)
	require.Equal(t, transport.EndRefused, e.Kind, "there is somebody, who does not listen")

	for _, loc := range addr.(*transport.Addr).Locators {
		_, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(loc.AddrPort()))
		require.Error(t, err, "the socket is still there")
	}
	echo := make(chan error, 1)
	go func() {
		_, err := io.CopyN(b, b, 1<<20)
		echo <- err
	}()
	go func() { _, _ = a.Write(make([]byte, 1<<20)) }()
	n, err := io.CopyN(io.Discard, a, 1<<20)
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, n)
	require.NoError(t, <-echo)
	eventually(t, func() bool { return active(b) == 4 }, "all pairs work on") // one may have seemed dead on a busy machine
	require.Equal(t, 1, b.SocketStats().Associations)

	closed := make(chan error, 1)
	go func() { closed <- a.Close() }()
	_, err = b.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, b.Close())
	require.NoError(t, <-closed)
	require.NoError(t, unaccepted.Close(), "nothing was lost")
	eventually(t, func() bool {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr.(*transport.Addr).Locators[0].AddrPort()))
		if err == nil {
			c.Close()
		}
		return err == nil
	}, "the last one takes the sockets with it")
	eventually(t, func() bool { return runtime.NumGoroutine() <= routines }, "no goroutine is left")
}

// muted is a socket that can lose its voice, as the one of a machine that loses power does.
type muted struct {
	net.PacketConn
	mute atomic.Bool
}

func (m *muted) WriteTo(p []byte, to net.Addr) (int, error) {
	if m.mute.Load() {
		return len(p), nil
	}
	return m.PacketConn.WriteTo(p, to)
}

// A peer that loses its memory and begins anew, again and again, fills no queue while nobody accepts.
func TestRestartsFillNoQueue(t *testing.T) {
	const backlog = 3
	l := listen(t, transport.Config{Backlog: backlog})
	port, refused := 0, 0
	for range 8 {
		var c *net.UDPConn
		eventually(t, func() (free bool) { // once the socket of the life before has closed
			var err error
			c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
			return err == nil
		}, "the port")
		port = c.LocalAddr().(*net.UDPAddr).Port
		sock := &muted{PacketConn: c}
		cfg := quick(transport.Config{Local: "127.0.0.1:7000", PacketConns: []net.PacketConn{sock}})
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		a, err := transport.Dial(ctx, l.Addr().String(), cfg)
		cancel()
		if err != nil {
			refused++ // once the queue is full
			continue
		}
		sock.mute.Store(true)
		require.NoError(t, a.Abort("power loss"))
	}
	require.Positive(t, refused)
	require.LessOrEqual(t, l.SocketStats().Associations, 1)
	n := 0
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		a, err := l.AcceptAssociation(ctx)
		cancel()
		if err != nil {
			break
		}
		n++
		a.Abort("")
	}
	t.Logf("%d associations waited", n)
	require.LessOrEqual(t, n, backlog)
	require.Positive(t, n)
}
