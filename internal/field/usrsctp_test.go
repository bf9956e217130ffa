package field

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/transport"
)

// Where Debian puts usrsctp's example programs, and the ports they are told or built with.
const (
	usrsctpDir     = "/usr/lib/usrsctp/"
	usrsctpUDP     = 9899
	usrsctpEcho    = "7"
	usrsctpDiscard = "9"
)

// usrsctp starts one of the programs in a host, with its output in a file that is logged if the test fails.
func usrsctp(t *testing.T, h *netlab.Host, env []string, name string, args ...string) (*exec.Cmd, *output) {
	t.Helper()
	needs.File(t, usrsctpDir+name, "libusrsctp-examples")
	out := &output{}
	cmd := exec.Command(usrsctpDir+name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			text := out.String()
			t.Logf("%s said:\n%s", name, text[max(0, len(text)-4000):])
		}
	})
	return cmd, out
}

// output keeps what a program prints.
type output struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// usrsctpServer starts one of usrsctp's servers in host B and waits until it listens.
func usrsctpServer(t *testing.T, l *netlab.Lab, name string, env ...string) {
	t.Helper()
	cmd, _ := usrsctp(t, l.B, env, name, strconv.Itoa(usrsctpUDP), strconv.Itoa(usrsctpUDP))
	require.NoError(t, l.B.Start(cmd))
	require.Eventually(t, func() bool {
		text, err := l.B.Run(context.Background(), "ss", "-Huln", fmt.Sprintf("sport = :%d", usrsctpUDP))
		return err == nil && strings.Count(text, "\n") == 2
	}, patience, 10*time.Millisecond, "the server has a socket for each family")
	time.Sleep(100 * time.Millisecond) // from opening them to listening it has nothing to wait for
}

// usrsctpDial dials from every address of host A to every one of B and waits until so many paths are confirmed.
func usrsctpDial(t *testing.T, l *netlab.Lab, port string, paths int) *transport.Association {
	t.Helper()
	x := usrsctpDialFrom(t, l, pool(l.A, l.Paths(), ""), port)
	require.Eventually(t, func() bool { return straight(x, l) >= paths }, patience, time.Millisecond, "paths are confirmed")
	return x
}

// usrsctpDialFrom dials every address of B. Between the program's sockets and its listening it refuses, if it says anything.
func usrsctpDialFrom(t *testing.T, l *netlab.Lab, local, port string) (x *transport.Association) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cfg := usrsctpConfig()
	cfg.Local = local
	for {
		err := l.InA(func() (err error) {
			x, err = transport.Dial(ctx, pool(l.B, l.Paths(), port), own(cfg))
			return err
		})
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EADDRINUSE) { // that of the attempt before, a moment long
			require.NoError(t, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Cleanup(func() { x.Abort("the test is over") })
	return x
}

// usrsctpConfig keeps messages below the 10 KB that the echo server takes for whole.
func usrsctpConfig() transport.Config {
	return transport.Config{LocalUDPPort: usrsctpUDP, RemoteUDPPort: usrsctpUDP, MessageSize: 4000}
}

// straight counts the active paths between addresses of the same number, the only ones there is a way for.
func straight(x *transport.Association, l *netlab.Lab) (n int) {
	for _, p := range x.Paths() {
		for i := range l.Paths() {
			if p.State == heartbeat.Active && p.Path.Local.Addr == l.A.Addr4(i) && p.Path.Peer.Addr == l.B.Addr4(i) {
				n++
			}
		}
	}
	return n
}

// echoes sends a file and wants it back.
func echoes(t *testing.T, x *transport.Association, size int64) {
	t.Helper()
	type result struct {
		s   sum
		err error
	}
	sent := make(chan result, 1)
	go func() {
		s, err := sendFile(x, 3, size)
		sent <- result{s, err}
	}()
	require.NoError(t, x.SetReadDeadline(time.Now().Add(patience)))
	var tr transfer
	got, err := receiveFile(x, size, &tr.got[0])
	if err != nil {
		t.Logf("%d of %d bytes came back: %+v %+v", tr.got[0].Load(), size, x.Stats(), x.Paths())
	}
	require.NoError(t, err)
	out := <-sent
	require.NoError(t, out.err)
	require.Equal(t, out.s, got)
}

func TestUsrsctpEcho(t *testing.T) {
	t.Parallel()
	l := lab(t, netlab.Options{})
	usrsctpServer(t, l, "echo_server")
	x := usrsctpDial(t, l, usrsctpEcho, 2)
	echoes(t, x, 2<<20)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(t, x.Shutdown(ctx))
}

// TestUsrsctpFailover cuts the path in use under data to the other stack. Its discard server takes no part in the
// failover but acknowledging what comes by the other path; the end in order says that it has got everything.
func TestUsrsctpFailover(t *testing.T) {
	t.Parallel()
	l := lab(t, netlab.Options{})
	usrsctpServer(t, l, "discard_server")
	x := usrsctpDial(t, l, usrsctpDiscard, 2)
	d := watch(x)
	p := &pair{lab: l, a: x, b: x, atA: d, atB: d}
	sent, stop := make(chan error, 1), make(chan struct{})
	go func() {
		buf := make([]byte, 64<<10)
		for {
			select {
			case <-stop:
				sent <- nil
				return
			default:
			}
			if _, err := x.Write(buf); err != nil {
				sent <- err
				return
			}
		}
	}()
	dataOn := func(path int) (n uint64) {
		for _, i := range x.Paths() {
			if p.index(i.Path.Local.Addr) == path {
				n += i.DataSent + i.DataResent
			}
		}
		return n
	}
	path := -1
	require.Eventually(t, func() bool {
		path = p.current(x)
		return path >= 0 && dataOn(path) > 2<<20
	}, patience, time.Millisecond)
	start := time.Now()
	require.NoError(t, l.Cut(path, netlab.Both))
	beside := dataOn(1 - path)
	for limit := time.Now().Add(patience); dataOn(1-path) < beside+2<<20; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			p.tell(t)
			require.FailNow(t, "data does not take the other path")
		}
	}
	took := time.Since(start)
	close(stop)
	select {
	case err := <-sent:
		require.NoError(t, err)
	case <-time.After(patience):
		p.tell(t)
		require.FailNow(t, "the writer waits for ever")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, x.Shutdown(ctx))
	ev, found := d.failed(p, path, start)
	require.True(t, found, "%v", d)
	t.Logf("failed after %v (%s); 2 MiB had taken the other path %v after the cut", ev.Time.Sub(start).Round(time.Millisecond), ev.Reason,
		took.Round(time.Millisecond))
}

// TestUsrsctpDials has usrsctp's client send lines to an echo of ours.
func TestUsrsctpDials(t *testing.T) {
	t.Parallel()
	l := lab(t, netlab.Options{})
	ln := listen(t, l.A, pool(l.A, l.Paths(), port), transport.Config{LocalUDPPort: usrsctpUDP})
	cmd, out := usrsctp(t, l.B, nil, "client", l.A.Addr4(0).String(), port, "0", strconv.Itoa(usrsctpUDP), strconv.Itoa(usrsctpUDP))
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, l.B.Start(cmd))
	x := accept(t, ln)
	const lines = 1000
	var sent strings.Builder
	for i := range lines {
		fmt.Fprintf(&sent, "line %d %s\n", i, strings.Repeat("x", i%60))
	}
	go func() {
		_, _ = io.WriteString(in, sent.String())
	}()
	require.NoError(t, x.SetReadDeadline(time.Now().Add(patience)))
	got, buf := "", make([]byte, 16<<10)
	for len(got) < sent.Len() {
		n, err := x.Read(buf)
		require.NoError(t, err)
		_, err = x.Write(buf[:n])
		require.NoError(t, err)
		got += string(buf[:n])
	}
	require.Equal(t, sent.String(), got, "what the client sent")
	echoed := regexp.MustCompile(`(?m)^line \d+ x*\n`)
	require.Eventually(t, func() bool {
		return strings.Join(echoed.FindAllString(out.String(), -1), "") == sent.String()
	}, patience, 10*time.Millisecond, "what the client got back")
	require.NoError(t, in.Close()) // the client ends the association
	_, err = x.Read(buf)
	require.ErrorIs(t, err, io.EOF)
}

// open makes usrsctp answer packets out of the blue, as the library does unless it is told otherwise. The example
// programs tell it, so their call is taken from them.
func open(t *testing.T) (env string) {
	t.Helper()
	needs.Program(t, "gcc", "gcc")
	dir := t.TempDir()
	src := filepath.Join(dir, "open.c")
	lib := filepath.Join(dir, "open.so")
	require.NoError(t, os.WriteFile(src, []byte("void usrsctp_sysctl_set_sctp_blackhole(unsigned v) { (void)v; }\n"), 0o600))
	text, err := exec.Command("gcc", "-shared", "-fPIC", "-o", lib, src).CombinedOutput()
	require.NoError(t, err, string(text))
	return "LD_PRELOAD=" + lib
}

// count counts the UDP packets of a host that a rule of nftables fits, in the chain "input" or "output".
func count(t *testing.T, h *netlab.Host, chain, rule string) func() int {
	t.Helper()
	table := fmt.Sprintf("count%d", time.Now().UnixNano())
	_, err := h.Run(context.Background(), "nft", fmt.Sprintf(
		"table inet %s { chain c { type filter hook %s priority 0; %s counter; }; }", table, chain, rule))
	require.NoError(t, err)
	return func() int {
		text, err := h.Run(context.Background(), "nft", "list table inet "+table)
		require.NoError(t, err)
		m := regexp.MustCompile(`packets (\d+)`).FindStringSubmatch(text)
		require.NotNil(t, m, text)
		n, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		return n
	}
}

// In nftables' words: the first chunk of SCTP in UDP (8 bytes of UDP header, 12 of SCTP) is an ABORT with the T bit; is
// an INIT.
const (
	isReflectedAbort = "@th,160,8 6 @th,175,1 1"
	isInit           = "@th,160,8 1"
)

// TestReflectedAbort puts a NAT on one of two paths: what we send there arrives from an address that the peer was never
// told. The peer answers our HEARTBEAT as out of the blue, with an ABORT that carries our own tag. That may end the pair
// it came by and must not end the association.
func TestReflectedAbort(t *testing.T) {
	t.Parallel()
	l := lab(t, netlab.Options{})
	require.NoError(t, l.Masquerade(1))
	// The other path sets the association up, and as with any NAT the outside cannot begin.
	require.NoError(t, l.Filter(1, isInit+" drop", `iifname "to-b" ct state new drop`))
	aborts := count(t, l.A, "input", isReflectedAbort)
	usrsctpServer(t, l, "echo_server", open(t))
	x := usrsctpDial(t, l, usrsctpEcho, 1)
	require.Eventually(t, func() bool { return aborts() > 0 }, 20*time.Second, 10*time.Millisecond, "the peer answers with ABORT")
	echoes(t, x, 1<<20)
	require.Equal(t, 1, straight(x, l), "paths: %+v", x.Paths())
	require.NoError(t, x.Err())
	for _, p := range x.Paths() {
		if p.Path.Local.Addr == l.A.Addr4(1) && p.Path.Peer.Addr == l.B.Addr4(1) {
			require.True(t, p.Gone, "%+v", p)
		}
	}
}

// TestPlainInit lets no INIT through that lists addresses. The association is then born of one that lists none, and
// nothing may be sent from an address of ours that the peer was not told: here, that of an extra interface.
func TestPlainInit(t *testing.T) {
	t.Parallel()
	l := lab(t, netlab.Options{})
	extra, _, err := l.A.Extra(0)
	require.NoError(t, err)
	for i := range l.Paths() {
		require.NoError(t, l.Filter(i, isInit+" udp length gt 60 drop"))
	}
	usrsctpServer(t, l, "echo_server", open(t))
	aborts := count(t, l.A, "input", isReflectedAbort)
	x := usrsctpDialFrom(t, l, l.A.Addr4(0).String()+","+extra.String(), usrsctpEcho)
	strays := count(t, l.A, "output", "ip saddr "+extra.String())
	echoes(t, x, 1<<20)
	require.NoError(t, x.Heartbeat(x.Paths()[0].Path.ID))
	time.Sleep(time.Second)
	require.Zero(t, strays(), "packets from an address the peer was not told: %+v", x.Paths())
	require.Zero(t, aborts(), "reflected ABORTs")
	echoes(t, x, 100e3)
}
