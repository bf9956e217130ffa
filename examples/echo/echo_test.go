package main

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/transport"
)

// asProgram makes the test binary be the program, so that tests can run it as a process of its own.
const asProgram = "MULTIHOME_ECHO_EXAMPLE"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// patience is how long a test waits for what must happen. Nothing is measured here.
const patience = 30 * time.Second

// text is an output that can be watched while it grows.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

// wait waits until the output matches a pattern, and returns the group, or all, of the last match.
func (x *text) wait(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if all := re.FindAllStringSubmatch(x.String(), -1); all != nil {
			last := all[len(all)-1]
			return last[len(last)-1]
		}
	}
	require.Fail(t, "no "+pattern, x.String())
	return ""
}

// run is the program in this process.
type run struct {
	in       *io.PipeWriter
	out, err text
	status   chan int
	cancel   context.CancelFunc
}

func start(t *testing.T, conf transport.Config, args ...string) *run {
	t.Helper()
	in, w := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	r := &run{in: w, status: make(chan int, 1), cancel: cancel}
	e := &echo{in: in, out: &r.out, err: &r.err, conf: conf}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer in.Close()
		r.status <- e.main(ctx, args)
	}()
	t.Cleanup(func() {
		cancel()
		w.Close()
		<-done
		if t.Failed() {
			t.Logf("echo %v:\n%s", args, r.err.String())
		}
	})
	return r
}

func (r *run) ended(t *testing.T) int {
	t.Helper()
	select {
	case s := <-r.status:
		return s
	case <-time.After(patience):
		require.Fail(t, "the program runs on", r.err.String())
		return -1
	}
}

func server(t *testing.T, addrs string) (*run, string) {
	t.Helper()
	r := start(t, transport.Config{}, "-listen", addrs)
	return r, r.err.wait(t, `listening on (\S+)\n`)
}

// TestProcesses runs server and client as a user would: as two programs, with pipes.
func TestProcesses(t *testing.T) {
	program := func(args ...string) *exec.Cmd {
		exe, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.Command(exe, args...)
		cmd.Env = append(os.Environ(), asProgram+"=1", "GORACE=atexit_sleep_ms=0")
		return cmd
	}
	srv := program("-listen", "127.0.0.1:0")
	var log text
	srv.Stderr = &log
	typed, err := srv.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, srv.Start())
	defer srv.Process.Kill()
	addr := log.wait(t, `listening on (\S+)\n`)

	const lines = "one\ntwo\n\n//three begins with a slash\nfour has no end"
	var out, told bytes.Buffer
	cl := program("-local", "127.0.0.1", "-dial", addr)
	cl.Stdin, cl.Stdout, cl.Stderr = strings.NewReader(lines), &out, &told
	require.NoError(t, cl.Run(), told.String())
	require.Equal(t, strings.Replace(lines, "//", "/", 1), out.String())
	require.Contains(t, told.String(), "51 bytes sent, 51 came back")

	_, err = io.WriteString(typed, "/quit\n")
	require.NoError(t, err)
	require.NoError(t, srv.Wait())
	require.Contains(t, log.String(), "has left after 51 bytes")

	cl = program("-dial", addr, "-timeout", "300ms")
	told.Reset()
	cl.Stderr = &told
	var exit *exec.ExitError
	require.ErrorAs(t, cl.Run(), &exit)
	require.Equal(t, 1, exit.ExitCode())
	require.Contains(t, told.String(), "echo: dial sctp "+addr)
}

func TestConversation(t *testing.T) {
	srv, addr := server(t, "127.0.0.1:0")
	cl := start(t, transport.Config{}, "-dial", addr, "-paths", "50ms")
	long := strings.Repeat("0123456789/", 20_000) + "\n"
	go func() {
		io.WriteString(cl.in, "hello\n/paths\n/stats\n/primary 0\n/primary 9\n/what\n"+long)
	}()
	cl.out.wait(t, "^hello\n")
	cl.err.wait(t, `>\*  0 +127\.0\.0\.1:\d+>`+regexp.QuoteMeta(addr)+` +Active`)
	cl.err.wait(t, `State +ESTABLISHED`)
	cl.err.wait(t, `set primary.*no such path`)
	cl.err.wait(t, `/quit +end in order`)
	cl.out.wait(t, "9/\n$")
	srv.in.Write([]byte("/paths\n/stats\nnobody to talk to\n"))
	srv.err.wait(t, `Accepted +1\n`)

	io.WriteString(cl.in, "/quit\n")
	require.Zero(t, cl.ended(t))
	require.Equal(t, "hello\n"+long, cl.out.String())
	srv.err.wait(t, `has left after`)
	srv.in.Close() // the end of its input does not end a server
	cl = start(t, transport.Config{}, "-dial", addr)
	cl.in.Close()
	require.Zero(t, cl.ended(t))
	srv.cancel()
	require.Zero(t, srv.ended(t))
}

func TestRaw(t *testing.T) {
	srv, addr := server(t, "127.0.0.1:0")
	data := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{}).Read(data)
	copy(data, "/quit\n")
	cl := start(t, transport.Config{}, "-raw", "-dial", addr)
	_, err := cl.in.Write(data)
	require.NoError(t, err)
	cl.in.Close()
	require.Zero(t, cl.ended(t))
	require.Equal(t, data, []byte(cl.out.String()))

	// Somebody who wants streams gets them.
	a, err := transport.Dial(context.Background(), addr, nil)
	require.NoError(t, err)
	defer a.Close()
	for range 3 {
		s, err := a.OpenStream()
		require.NoError(t, err)
		_, err = io.WriteString(s, "over a stream")
		require.NoError(t, err)
		got := make([]byte, 13)
		_, err = io.ReadFull(s, got)
		require.NoError(t, err)
		require.Equal(t, "over a stream", string(got))
	}
	srv.in.Write([]byte("/quit\n"))
	require.Zero(t, srv.ended(t))
}

func TestServerLeaves(t *testing.T) {
	srv, addr := server(t, "127.0.0.1:0")
	cl := start(t, transport.Config{}, "-dial", addr)
	io.WriteString(cl.in, "hello\n")
	cl.out.wait(t, "hello\n")
	io.WriteString(srv.in, "/quit\n")
	require.Equal(t, 1, cl.ended(t))
	require.Contains(t, cl.err.String(), "echo: the server has ended the association\n")
	require.Zero(t, srv.ended(t))
}

func TestInterrupted(t *testing.T) {
	_, addr := server(t, "127.0.0.1:0")
	cl := start(t, transport.Config{}, "-dial", addr)
	cl.err.wait(t, "associated")
	cl.cancel()
	require.Equal(t, 1, cl.ended(t))
	require.Contains(t, cl.err.String(), "interrupted")
}

// TestSilentServer: a peer that takes and never gives.
func TestSilentServer(t *testing.T) {
	l, err := transport.Listen("127.0.0.1:0", nil)
	require.NoError(t, err)
	defer l.Close()
	cl := start(t, transport.Config{}, "-dial", l.Addr().String(), "-wait", "50ms")
	a, err := l.Accept()
	require.NoError(t, err)
	defer a.Close()
	io.WriteString(cl.in, "hello?\n")
	cl.in.Close()
	require.Equal(t, 1, cl.ended(t))
	require.Contains(t, cl.err.String(), "7 of 7 bytes did not come back")
}

// TestLiar: a peer that gives back something else.
func TestLiar(t *testing.T) {
	l, err := transport.Listen("127.0.0.1:0", nil)
	require.NoError(t, err)
	defer l.Close()
	cl := start(t, transport.Config{}, "-dial", l.Addr().String())
	a, err := l.Accept()
	require.NoError(t, err)
	defer a.Close()
	io.WriteString(a, "olleh\n")
	cl.out.wait(t, "olleh\n")
	io.WriteString(cl.in, "hello\n")
	cl.in.Close()
	require.Equal(t, 1, cl.ended(t))
	require.Contains(t, cl.err.String(), "what came back is not what was sent")
}

func TestCommandLine(t *testing.T) {
	tests := []struct {
		args   string
		status int
		want   string
	}{
		{"-h", 0, "usage: echo -listen"},
		{"", 2, "say -listen or -dial"},
		{"-listen :5000 -dial 10.0.0.1:5000", 2, "exclude each other"},
		{"-listen :5000 -local 10.0.0.1", 2, "are the client's"},
		{"-listen :5000 more", 2, `unexpected argument "more"`},
		{"-dial 10.0.0.1:5000 -wait 0s", 2, "positive times"},
		{"-dial 10.0.0.1:5000 -paths -1s", 2, "positive times"},
		{"-dial 10.0.0.1:5000 -verbose", 2, "-verbose"},
		{"-dial 10.0.0.1", 2, "port is missing"},
		{"-listen 127.0.0.1:5000,127.0.0.2:5001", 2, "port differs"},
		{"-dial 127.0.0.1:5000 -local 127.0.0.1:99999", 2, "99999"},
		{"-listen 192.0.2.1:5000", 1, "192.0.2.1"}, // an address nobody has
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			r := start(t, transport.Config{}, strings.Fields(tt.args)...)
			require.Equal(t, tt.status, r.ended(t), r.err.String())
			require.Contains(t, r.err.String(), tt.want)
		})
	}
}

// road is a socket whose packets get lost while it is cut.
type road struct {
	net.PacketConn
	cut *atomic.Bool
}

func (r road) WriteTo(p []byte, to net.Addr) (int, error) {
	if r.cut.Load() {
		return len(p), nil
	}
	return r.PacketConn.WriteTo(p, to)
}

func (r road) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := r.PacketConn.ReadFrom(p)
		if err != nil || !r.cut.Load() {
			return n, from, err
		}
	}
}

// twoRoads opens two sockets with the same port, as the sockets of one endpoint have, and what cuts each.
func twoRoads(t *testing.T) (map[string]*atomic.Bool, []net.PacketConn) {
	t.Helper()
	needs.Address(t, netip.MustParseAddr("127.0.0.2"))
	for range 20 {
		a, err := net.ListenPacket("udp", "127.0.0.1:0")
		require.NoError(t, err)
		_, port, _ := net.SplitHostPort(a.LocalAddr().String())
		b, err := net.ListenPacket("udp", "127.0.0.2:"+port)
		if err != nil {
			a.Close()
			continue
		}
		cuts, conns := map[string]*atomic.Bool{}, []net.PacketConn(nil)
		for _, c := range []net.PacketConn{a, b} {
			r := road{c, new(atomic.Bool)}
			cuts[c.LocalAddr().String()] = r.cut
			conns = append(conns, r)
		}
		return cuts, conns
	}
	require.Fail(t, "no port is free at both addresses")
	return nil, nil
}

// TestCut cuts the path that data takes and restores it. The words of the program must say so, and no line may be missing.
func TestCut(t *testing.T) {
	_, addr := server(t, "127.0.0.1:0")
	cuts, conns := twoRoads(t)
	cl := start(t, transport.Config{PacketConns: conns}, "-dial", addr, "-paths", "20ms")
	cl.err.wait(t, `\n.. +1 +\S+ +Active`) // in the table, since it may have been confirmed before anybody listened to events
	var want strings.Builder
	stop := make(chan struct{})
	said := make(chan struct{})
	go func() {
		defer close(said)
		for line := "tick\n"; ; {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				io.WriteString(cl.in, line)
				want.WriteString(line)
			}
		}
	}()
	current := cl.err.wait(t, `\n>.*\d +(127\.0\.0\.\d:\d+)>`)
	cuts[current].Store(true)
	cl.err.wait(t, `SUSPECTED +path \d +`+regexp.QuoteMeta(current))
	cl.err.wait(t, `MOVED +path \d +`)
	cuts[current].Store(false)
	cl.err.wait(t, `BACK +path \d +`+regexp.QuoteMeta(current))
	close(stop)
	<-said
	cl.in.Close()
	require.Zero(t, cl.ended(t))
	require.Equal(t, want.String(), cl.out.String())
}
