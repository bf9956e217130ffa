package interop

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/locator"
	"github.com/go-multihome/multihome/transport"
)

// Where everybody is in a laboratory: we in host A, the peer in host B.
const (
	ourPort     = 5000 // SCTP, and UDP when we listen
	ourUDPPort  = 6000 // when we dial
	peerPort    = 7000 // SCTP
	peerUDPPort = 9899
)

// program is testdata/peer.c, compiled once.
var program struct {
	sync.Mutex
	path string
}

// TestMain removes what was compiled.
func TestMain(m *testing.M) {
	code := m.Run()
	if program.path != "" {
		os.RemoveAll(filepath.Dir(program.path))
	}
	os.Exit(code)
}

// peerProgram compiles testdata/peer.c, or says what is missing for that.
func peerProgram(t testing.TB) string {
	t.Helper()
	needs.Linux(t)
	needs.Program(t, "cc", "gcc")
	needs.File(t, "/usr/include/stdlib.h", "libc6-dev")
	needs.File(t, "/usr/include/usrsctp.h", "libusrsctp-dev")
	program.Lock()
	defer program.Unlock()
	if program.path == "" {
		dir, err := os.MkdirTemp("", "interop")
		require.NoError(t, err)
		path := filepath.Join(dir, "peer")
		out, err := exec.Command("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", path, filepath.Join("testdata", "peer.c"),
			"-lusrsctp", "-lpthread").CombinedOutput()
		require.NoError(t, err, "%s", out)
		program.path = path
	}
	return program.path
}

// child is a program under way whose output is watched.
type child struct {
	t    testing.TB
	cmd  *exec.Cmd
	drop func(string) bool // lines that are not worth keeping
	in   io.WriteCloser
	done chan struct{}

	mu    sync.Mutex
	lines []string // not yet awaited
	all   []string // for a failure's reader
	news  chan struct{}
	err   error // of Wait
}

// start runs a program, inside a host if there is one. What it has to say on both outputs is taken as lines.
func start(t testing.TB, h *netlab.Host, drop func(string) bool, name string, args ...string) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command(name, args...), drop: drop, done: make(chan struct{}), news: make(chan struct{}, 1)}
	in, err := c.cmd.StdinPipe()
	require.NoError(t, err)
	c.in = in
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	// Two pipes: chatter on the one does not always end its lines, and would stand before what is said on the other.
	chatter, err := c.cmd.StderrPipe()
	require.NoError(t, err)
	dieWithParent(c.cmd)
	if h != nil {
		err = h.Start(c.cmd)
	} else {
		err = c.cmd.Start()
	}
	require.NoError(t, err)
	var reading sync.WaitGroup
	reading.Go(func() { c.read(out) })
	reading.Go(func() { c.read(chatter) })
	go func() {
		reading.Wait()
		err := c.cmd.Wait()
		c.mu.Lock()
		c.err = err
		c.mu.Unlock()
		close(c.done)
		c.wake()
	}()
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			c.mu.Lock()
			defer c.mu.Unlock()
			t.Logf("%s:\n%s", strings.Join(c.cmd.Args, " "), strings.Join(c.all, "\n"))
		}
	})
	return c
}

// maxLines is how many lines are kept: some programs tell of every message.
const maxLines = 10000

func (c *child) read(out io.Reader) {
	s := bufio.NewScanner(out)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if c.drop != nil && c.drop(s.Text()) {
			continue
		}
		c.mu.Lock()
		if len(c.all) < maxLines {
			c.all = append(c.all, fmt.Sprintf("%s %s", time.Now().Format("05.000"), s.Text()))
		}
		c.lines = append(c.lines, s.Text())
		c.mu.Unlock()
		c.wake()
	}
}

func (c *child) wake() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// kill ends the program without a word, as a crash does.
func (c *child) kill() {
	c.cmd.Process.Kill()
	<-c.done
}

// say tells the program something.
func (c *child) say(format string, args ...any) {
	c.t.Helper()
	_, err := fmt.Fprintf(c.in, format+"\n", args...)
	require.NoError(c.t, err)
}

// find takes out the first line that fits.
func (c *child) find(fits func(string) bool) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, l := range c.lines {
		if fits(l) {
			c.lines = append(c.lines[:i], c.lines[i+1:]...)
			return l, true
		}
	}
	return "", false
}

// complains reports whether the program has found something wrong.
func (c *child) complains() (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lines {
		if _, rest, _ := strings.Cut(l, " "); strings.HasPrefix(rest, "wrong ") {
			return l, true
		}
	}
	return "", false
}

// await waits for a line that begins with a text, and returns it.
func (c *child) await(text string) string {
	c.t.Helper()
	return c.awaitLine(text, func(l string) bool { return strings.HasPrefix(l, text) })
}

// awaitMatch waits for a line that has a match of an expression.
func (c *child) awaitMatch(re *regexp.Regexp) string {
	c.t.Helper()
	return c.awaitLine(re.String(), re.MatchString)
}

func (c *child) awaitLine(text string, fits func(string) bool) string {
	c.t.Helper()
	timeout := time.After(patience)
	for {
		// Asked first: what was said before the end is there, then.
		ended := false
		select {
		case <-c.done:
			ended = true
		default:
		}
		if l, ok := c.find(fits); ok {
			return l
		}
		if l, ok := c.complains(); ok {
			require.FailNow(c.t, "the peer complains", l)
		}
		if ended {
			require.FailNowf(c.t, "the program has ended", "%v, and %q is still waited for", c.err, text)
		}
		select {
		case <-c.news:
		case <-timeout:
			require.FailNowf(c.t, "the program is silent", "%q is waited for", text)
		}
	}
}

// said returns what nobody has awaited.
func (c *child) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.lines, "\n")
}

// freePort returns a UDP port that was free on a loopback address just now, for programs that must be told one.
func freePort(t testing.TB) int {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}

// usrsctp is an association with the peer program in a laboratory.
type usrsctp struct {
	lab  *netlab.Lab
	ours *transport.Association
	peer *child
	six  []int // paths in IPv6

	more *transport.Stream // for returns
	fill *content          // of it
	side int64             // bytes sent on it
}

// opts are what an association with usrsctp is made of.
type opts struct {
	six  []int // paths in IPv6
	cfg  transport.Config
	args []string // of the peer
}

// lab builds a laboratory for a peer or says what is missing.
func lab(t testing.TB, o netlab.Options) *netlab.Lab {
	t.Helper()
	needs.Netns(t)
	peerProgram(t)
	return netlab.ForTest(t, o)
}

// addr is a host's address on a path.
func addr(h *netlab.Host, path int, six []int) netip.Addr {
	for _, p := range six {
		if p == path {
			return h.Addr6(path)
		}
	}
	return h.Addr4(path)
}

// pool lists a host's addresses for Dial and Listen; port 0 leaves it out.
func pool(h *netlab.Host, paths int, six []int, port int) string {
	var out []string
	for i := range paths {
		a := addr(h, i, six).String()
		switch {
		case port > 0:
			a = net.JoinHostPort(a, fmt.Sprint(port))
		case strings.Contains(a, ":"):
			a = "[" + a + "]"
		}
		out = append(out, a)
	}
	return strings.Join(out, ",")
}

// each makes one option out of each of a host's addresses.
func each(option string, h *netlab.Host, paths int, six []int) (out []string) {
	for i := range paths {
		out = append(out, option, addr(h, i, six).String())
	}
	return out
}

// listen listens in host A.
func listen(t testing.TB, l *netlab.Lab, o opts) *transport.Listener {
	t.Helper()
	cfg := o.cfg
	cfg.Capture = record(t)
	var ln *transport.Listener
	require.NoError(t, l.InA(func() (err error) {
		ln, err = transport.Listen(pool(l.A, l.Paths(), o.six, ourPort), &cfg)
		return err
	}))
	t.Cleanup(func() { ln.Close() })
	return ln
}

// startDialling starts a peer that dials us.
func startDialling(t testing.TB, l *netlab.Lab, o opts) *child {
	args := []string{"-u", fmt.Sprint(peerUDPPort), "-U", fmt.Sprint(ourPort), "-p", fmt.Sprint(peerPort), "-P", fmt.Sprint(ourPort)}
	args = append(append(args, each("-b", l.B, l.Paths(), o.six)...), each("-c", l.A, l.Paths(), o.six)...)
	p := start(t, l.B, nil, peerProgram(t), append(args, o.args...)...)
	p.await("ready")
	return p
}

// startListening starts a peer that waits for us.
func startListening(t testing.TB, l *netlab.Lab, o opts) *child {
	args := []string{"-u", fmt.Sprint(peerUDPPort), "-p", fmt.Sprint(peerPort)}
	args = append(args, each("-b", l.B, l.Paths(), o.six)...)
	p := start(t, l.B, nil, peerProgram(t), append(args, o.args...)...)
	p.await("ready")
	return p
}

func accept(t testing.TB, ln *transport.Listener) *transport.Association {
	t.Helper()
	a, err := ln.AcceptAssociation(within(t))
	require.NoError(t, err)
	t.Cleanup(func() { a.Abort("the test is over") })
	return a
}

// dial dials the peer from host A.
func dial(t testing.TB, l *netlab.Lab, o opts) *transport.Association {
	t.Helper()
	cfg := o.cfg
	cfg.Local = pool(l.A, l.Paths(), o.six, 0)
	cfg.LocalUDPPort, cfg.RemoteUDPPort = ourUDPPort, peerUDPPort
	cfg.Capture = record(t)
	a, err := dialWith(t, l, o, &cfg)
	require.NoError(t, err)
	t.Cleanup(func() { a.Abort("the test is over") })
	return a
}

func dialWith(t testing.TB, l *netlab.Lab, o opts, cfg *transport.Config) (a *transport.Association, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	in := l.InA(func() error {
		a, err = transport.Dial(ctx, pool(l.B, l.Paths(), o.six, peerPort), cfg)
		return nil
	})
	require.NoError(t, in)
	return a, err
}

// connect makes an association in one of the roles and waits until every path works, seen from us.
func connect(t testing.TB, l *netlab.Lab, weDial bool, o opts) *usrsctp {
	t.Helper()
	u := &usrsctp{lab: l, six: o.six}
	if weDial {
		u.peer = startListening(t, l, o)
		u.ours = dial(t, l, o)
	} else {
		ln := listen(t, l, o)
		u.peer = startDialling(t, l, o)
		u.ours = accept(t, ln)
	}
	u.peer.await("1 up")
	u.ready(t)
	return u
}

// roles runs a test with us as the one who dials and as the one who listens, side by side.
func roles(t *testing.T, f func(t *testing.T, weDial bool)) {
	for name, weDial := range map[string]bool{"we dial": true, "we listen": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, weDial)
		})
	}
}

// ready waits until every path is active.
func (u *usrsctp) ready(t testing.TB) {
	t.Helper()
	u.active(t, u.lab.Paths())
}

// active waits until so many pairs of addresses are active.
func (u *usrsctp) active(t testing.TB, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return u.works() >= n }, patience, time.Millisecond, "every path must become active:\n%s", u)
}

// works counts the active pairs.
func (u *usrsctp) works() (n int) {
	for _, p := range u.ours.Paths() {
		if p.State == heartbeat.Active && !p.Gone {
			n++
		}
	}
	return n
}

// returns waits until so many pairs are active again, while a little data goes on a stream of its own: a pair on which data
// was stuck, or seemed to be because everybody was slow, is not believed before data has passed on it.
func (u *usrsctp) returns(t testing.TB, n int) {
	t.Helper()
	if u.more == nil {
		s, err := u.ours.OpenStream()
		require.NoError(t, err)
		u.more, u.fill = s, newContent(ourSeed, int(s.ID()))
	}
	buf := make([]byte, 1000)
	for end := time.Now().Add(patience); u.works() < n; time.Sleep(5 * time.Millisecond) {
		require.True(t, time.Now().Before(end), "every path must become active:\n%s", u)
		u.fill.Read(buf)
		require.NoError(t, u.more.SetWriteDeadline(time.Now().Add(patience)))
		_, err := u.more.Write(buf)
		require.NoError(t, err)
		u.side += int64(len(buf))
	}
}

// String is what our side knows.
func (u *usrsctp) String() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%+v\n", u.ours.Stats())
	for _, p := range u.ours.Paths() {
		fmt.Fprintf(&b, "%+v\n", p)
	}
	return b.String()
}

// tell logs what our side knows if the test has failed.
func (u *usrsctp) tell(t testing.TB) {
	if t.Failed() {
		t.Logf("%s", u)
	}
}

// current is the number of the path our data takes.
func (u *usrsctp) current() int {
	for _, p := range u.ours.Paths() {
		if p.Current {
			return u.index(p.Path)
		}
	}
	return -1
}

// index is the laboratory's number of a path, -1 for one from one to another.
func (u *usrsctp) index(p locator.Path) int {
	for i := range u.lab.Paths() {
		if p.Local.Addr == addr(u.lab.A, i, u.six) && p.Peer.Addr == addr(u.lab.B, i, u.six) {
			return i
		}
	}
	return -1
}

// end shuts the association down from our side.
func (u *usrsctp) end(t testing.TB) {
	t.Helper()
	require.NoError(t, u.ours.Shutdown(within(t)))
	u.peer.await("1 peer-shutdown")
	how := u.peer.awaitMatch(regexp.MustCompile("^1 (eof|lost)$"))
	if how == "1 lost" {
		// What the peer had under way beside its SHUTDOWN ACK, such as an answer to a heartbeat, finds nobody here, and an ABORT
		// says so by the path it came by (RFC 9260 section 8.4). usrsctp, with a thread for each family and paths that are not
		// equally long, may take that before our SHUTDOWN COMPLETE. Everything had been delivered.
		require.NotZero(t, u.ours.SocketStats().OutOfTheBlue, "the peer has lost the association, and nobody told it so")
	}
}
