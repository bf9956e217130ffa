package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/transport"
)

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

// wait waits until the output holds a text.
func (x *text) wait(t *testing.T, what string) {
	t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(x.String(), what); time.Sleep(5 * time.Millisecond) {
		require.True(t, time.Now().Before(end), "no %q in %s", what, x)
	}
}

// program is one run of perf in this process.
type program struct {
	out, err text
	cancel   context.CancelFunc
	status   chan int
}

func start(t *testing.T, listening func(string), args ...string) *program {
	ctx, cancel := context.WithCancel(context.Background())
	x := &program{cancel: cancel, status: make(chan int, 1)}
	p := &perf{out: &x.out, err: &x.err, listening: listening}
	done := make(chan struct{})
	go func() {
		defer close(done)
		x.status <- p.main(ctx, args)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return x
}

func (x *program) ended(t *testing.T) int {
	t.Helper()
	select {
	case s := <-x.status:
		return s
	case <-time.After(patience):
		require.Fail(t, "the program does not end", "%s\n%s", &x.out, &x.err)
		return -1
	}
}

// server starts one and returns where it listens.
func startServer(t *testing.T, address string, flags ...string) (*program, string) {
	t.Helper()
	at := make(chan string, 1)
	x := start(t, func(a string) { at <- a }, append(append([]string{"server"}, flags...), address)...)
	select {
	case a := <-at:
		return x, a
	case <-time.After(patience):
		require.Fail(t, "no server", x.err.String())
		return nil, ""
	}
}

// measured runs a client with -json, and holds the result against itself.
func measured(t *testing.T, address string, flags ...string) *report {
	t.Helper()
	x := start(t, nil, append(append([]string{"client", "-json"}, flags...), address)...)
	require.Zero(t, x.ended(t), "%s", &x.err)
	require.Empty(t, x.err.String())
	return parsed(t, x)
}

func parsed(t *testing.T, x *program) *report {
	t.Helper()
	r := new(report)
	d := json.NewDecoder(strings.NewReader(x.out.String()))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(r), "%s", &x.out)
	_, err := d.Token()
	require.Equal(t, io.EOF, err, "something behind the JSON")

	for name, d := range map[string]direction{"up": r.Up, "down": r.Down} {
		on := r.Direction == name || r.Direction == "both"
		require.Equal(t, d.Sent, d.Received, name)
		require.Equal(t, on, d.Sent > 0, "%s: %d bytes", name, d.Sent)
		if r.Mode != bulk && !r.TCP {
			require.Equal(t, d.SentMessages, d.ReceivedMessages, name)
			require.Equal(t, d.Sent, d.SentMessages*r.Size, name)
		}
		if on {
			require.InEpsilon(t, float64(d.Received)/d.Seconds, d.BytesPerSecond, 0.001)
		}
	}
	var up, down int64
	for _, i := range r.Intervals {
		up += i.Up.Bytes
		down += i.Down.Bytes
	}
	require.LessOrEqual(t, up, r.Up.Sent)
	require.LessOrEqual(t, down, r.Down.Received)
	require.Equal(t, r.Mode == requests, r.Latency != nil)
	if l := r.Latency; l != nil {
		require.EqualValues(t, r.Down.ReceivedMessages, l.Count)
		require.True(t, slices.IsSorted([]float64{l.Min, l.P50, l.P90, l.P99, l.P999, l.Max}), "%+v", *l)
		require.Positive(t, l.Min)
	}
	require.Equal(t, r.TCP, len(r.Paths) == 0)
	return r
}

// TestModes runs everything that can be measured, for a moment.
func TestModes(t *testing.T) {
	for _, tcp := range []string{"-tcp=false", "-tcp=true"} {
		_, address := startServer(t, "127.0.0.1:0", tcp)
		for _, flags := range []string{
			"-direction up",
			"-direction down -size 100K",
			"-direction both -streams 7",
			"-mode messages -direction up -size 1",
			"-mode messages -direction down -size 5000 -streams 3",
			"-mode messages -direction both -associations 3",
			"-mode requests",
			"-mode requests -size 40K -streams 5 -associations 4",
			"-streams 300 -direction both -size 1K",
			"-associations 20 -streams 2 -direction down",
		} {
			t.Run(tcp+" "+flags, func(t *testing.T) {
				r := measured(t, address, append(strings.Fields(flags), tcp, "-time", "100ms", "-interval", "20ms")...)
				require.Equal(t, tcp == "-tcp=true", r.TCP)
				require.Positive(t, r.Setup)
			})
		}
	}
}

// TestBytes ends after a number of bytes, and moves exactly those.
func TestBytes(t *testing.T) {
	for _, tcp := range []string{"-tcp=false", "-tcp=true"} {
		_, address := startServer(t, "127.0.0.1:0", tcp)
		r := measured(t, address, tcp, "-bytes", "3000001", "-direction", "both", "-streams", "3", "-associations", "2")
		require.EqualValues(t, 3000001, r.Up.Received)
		require.EqualValues(t, 3000001, r.Down.Received)
		r = measured(t, address, tcp, "-bytes", "10001", "-mode", "requests", "-size", "100", "-associations", "2")
		require.EqualValues(t, 101, r.Latency.Count, "in whole requests")
		require.EqualValues(t, 10100, r.Up.Received)
	}
}

// TestTuning runs with flags that tune associations, and looks where that shows.
func TestTuning(t *testing.T) {
	needs.Address(t, netip.MustParseAddr("127.0.0.2"))
	for _, flags := range []string{
		"-profile rfc9260", "-shards 2", "-no-offload -max-payload -1", "-window 256K -memory 64M -socket-buffer 1M", "-congestion newreno -no-pacing", "-interleave -payload 1400",
	} {
		t.Run(flags, func(t *testing.T) {
			_, address := startServer(t, "127.0.0.1:0,127.0.0.2:0", strings.Fields(flags)...)
			r := measured(t, address, append(strings.Fields(flags), "-bytes", "2M", "-direction", "both")...)
			require.Greater(t, len(r.Paths), 1)
			if strings.Contains(flags, "-max-payload -1") {
				require.Equal(t, 1200, r.Paths[0].Payload)
			}
		})
	}
	_, address := startServer(t, "127.0.0.1:0,127.0.0.2:0")
	r := measured(t, address, "-policy", "redundant", "-time", "300ms", "-direction", "both", "-mode", "messages")
	require.Positive(t, r.Totals.Copied, "no copies on the second path")
	r = measured(t, address, "-policy", "latency", "-time", "50ms")
	require.Zero(t, r.Totals.Copied)
}

// TestWords looks at what people get to see.
func TestWords(t *testing.T) {
	server, address := startServer(t, "127.0.0.1:0")
	x := start(t, nil, "client", "-time", "300ms", "-interval", "50ms", "-direction", "both", "-streams", "2", address)
	require.Zero(t, x.ended(t), "%s", &x.err)
	require.Regexp(t, `^1 association in \S+, 2 streams each: bulk both, 16384 bytes a write\n`, x.out.String())
	require.Regexp(t, `\n +\d\.\d+ s  up +\S+ [kMG]B/s +\S+ Gbit/s  down +\S+ [kMG]B/s`, x.out.String())
	require.Regexp(t, `\nup +\S+ .B in \S+ s: .*\ndown +\S+ .B in \S+ s: .*\ncpu +client \S+ s, server \S+ s: \S+ s for a GB\npaths +data moved 0 times`, x.out.String())
	require.Regexp(t, `\n> 0 +127\.0\.0\.1:\d+>127\.0\.0\.1:\d+ +Active`, x.out.String())
	server.err.wait(t, "bulk both, 2 streams: received ")

	x = start(t, nil, "client", "-time", "100ms", "-interval", "20ms", "-mode", "requests", address)
	require.Zero(t, x.ended(t), "%s", &x.err)
	require.Regexp(t, `\n +\d\.\d+ s +\d+ requests/s  p50 .* µs  p99 .* µs\n`, x.out.String())
	require.Regexp(t, `\nlatency +min \S+  p50 \S+  p90 \S+  p99 \S+  p99.9 \S+  max \S+ µs, mean \S+, of \d+\n`, x.out.String())

	x = start(t, nil, "client", "-time", "100ms", "-interval", "20ms", "-associations", "20", address)
	require.Zero(t, x.ended(t), "%s", &x.err)
	server.err.wait(t, "more: received ")
}

// TestProfile writes a profile.
func TestProfile(t *testing.T) {
	_, address := startServer(t, "127.0.0.1:0")
	file := filepath.Join(t.TempDir(), "cpu.prof")
	measured(t, address, "-time", "50ms", "-cpuprofile", file)
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotEmpty(t, b)
	x := start(t, nil, "client", "-cpuprofile", filepath.Join(file, "no"), address)
	require.Equal(t, 1, x.ended(t))
	require.Contains(t, x.err.String(), "perf: open ")
}

// TestInterrupt ends a client early, in each mode and direction: what was measured is told, and complete.
func TestInterrupt(t *testing.T) {
	for _, tcp := range []string{"-tcp=false", "-tcp=true"} {
		_, address := startServer(t, "127.0.0.1:0", tcp)
		for _, flags := range []string{"-direction up", "-direction down", "-direction both -streams 20", "-mode messages", "-mode requests -associations 2"} {
			x := start(t, nil, append(append([]string{"client", tcp, "-time", "1h", "-interval", "20ms"}, strings.Fields(flags)...), address)...)
			x.out.wait(t, " s  ")
			x.cancel()
			require.Zero(t, x.ended(t), "%s: %s", flags, &x.err)
			require.Contains(t, x.out.String(), "\ninterrupted\n", flags)
			require.Contains(t, x.out.String(), "\ncpu ", flags)
		}
	}
}

// TestServerStops stops the server in the middle.
func TestServerStops(t *testing.T) {
	for _, tcp := range []string{"-tcp=false", "-tcp=true"} {
		server, address := startServer(t, "127.0.0.1:0", tcp)
		x := start(t, nil, "client", tcp, "-time", "1h", "-interval", "20ms", "-associations", "3", address)
		x.out.wait(t, " s  ")
		server.cancel()
		require.Zero(t, server.ended(t), "%s", &server.err)
		require.Equal(t, 1, x.ended(t))
		require.Contains(t, x.err.String(), "perf: association ")
		if tcp == "-tcp=false" { // of an ABORT that is lost in the crowd, the closed port of the server tells
			require.Regexp(t, "the server was stopped|unreachable", x.err.String())
		}
	}
}

// TestCommandLines holds what is wrong with a command line against what is said about it.
func TestCommandLines(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"", "say server or client"},
		{"peer", `unknown command "peer"`},
		{"client", "name the addresses"},
		{"client 127.0.0.1:1 -json", "flags stand before"},
		{"client -mode fast 127.0.0.1:1", "want bulk, messages or requests"},
		{"client -direction left 127.0.0.1:1", "want up, down or both"},
		{"client -mode requests -direction up 127.0.0.1:1", "no -direction"},
		{"client -size 2M 127.0.0.1:1", "-size takes 1 to 1048576"},
		{"client -size 0 127.0.0.1:1", "-size takes 1 to"},
		{"client -size 9999999999G 127.0.0.1:1", "want a number of bytes"},
		{"client -size x 127.0.0.1:1", "want a number of bytes"},
		{"client -streams 0 127.0.0.1:1", "-streams takes 1 to"},
		{"client -streams 65535 127.0.0.1:1", "-streams takes 1 to"},
		{"client -associations 0 127.0.0.1:1", "-associations takes"},
		{"client -time 0 127.0.0.1:1", "-bytes"},
		{"client -time -1s 127.0.0.1:1", "-time takes"},
		{"client -bytes 2 -associations 3 127.0.0.1:1", "too little"},
		{"client -bytes 65 -size 64 -mode messages -associations 3 127.0.0.1:1", "too little"},
		{"client -interval 0 127.0.0.1:1", "-interval takes"},
		{"client -timeout 0 127.0.0.1:1", "-timeout takes"},
		{"client -policy fast 127.0.0.1:1", "want failover, redundant or latency"},
		{"client -tcp -policy redundant 127.0.0.1:1", "not for -tcp"},
		{"client -tcp 127.0.0.1:1,127.0.0.2:1", "one address"},
		{"client -profile rfc793 127.0.0.1:1", "want default or rfc9260"},
		{"client -congestion bbr 127.0.0.1:1", "want cubic or newreno"},
		{"client -window 1K 127.0.0.1:1", "want "},
		{"client -window 2G 127.0.0.1:1", "at most 1G"},
		{"client -socket-buffer 2G 127.0.0.1:1", "at most 1G"},
		{"client -payload 10 127.0.0.1:1", "want "},
		{"client -max-time 1s 127.0.0.1:1", "not defined"},
		{"server -json 127.0.0.1:1", "not defined"},
		{"server -max-memory 0 127.0.0.1:1", "limits are positive"},
		{"client -time 50ms 127.0.0.1", "port"},
		{"server nowhere", "port"},
	} {
		x := start(t, nil, strings.Fields(tt.args)...)
		require.Equal(t, 2, x.ended(t), tt.args)
		require.Contains(t, x.err.String(), tt.want, tt.args)
		require.Empty(t, x.out.String(), tt.args)
	}
	for _, args := range []string{"help", "client -h", "server -h"} {
		x := start(t, nil, strings.Fields(args)...)
		require.Zero(t, x.ended(t), args)
		require.Contains(t, x.err.String(), "usage: perf server")
	}
	x := start(t, nil, "server", "-tcp", "127.0.0.1:99999")
	require.Equal(t, 1, x.ended(t))
}

// TestLimits orders what a server does not do.
func TestLimits(t *testing.T) {
	for _, tcp := range []string{"-tcp=false", "-tcp=true"} {
		server, address := startServer(t, "127.0.0.1:0", tcp, "-max-associations", "2", "-max-memory", "1M", "-max-time", "1m")
		for _, tt := range []struct{ flags, want string }{
			{"-time 2m", "no more than 1m0s"},
			{"-streams 1000", "no more than 1.0 MB of buffers"},
			{"-associations 3", "no more than 2 associations"},
		} {
			x := start(t, nil, append(append([]string{"client", tcp}, strings.Fields(tt.flags)...), address)...)
			require.Equal(t, 1, x.ended(t), tt.flags)
			require.Contains(t, x.err.String(), "perf: the other side says: "+tt.want)
			server.err.wait(t, tt.want)
		}
		for end := time.Now().Add(patience); ; { // once those are gone there is room again
			x := start(t, nil, "client", tcp, "-time", "50ms", "-associations", "2", address)
			if x.ended(t) == 0 {
				break
			}
			require.Contains(t, x.err.String(), "no more than 2 associations")
			require.True(t, time.Now().Before(end))
		}
	}
}

// TestTooLong: a number of bytes that takes longer than the server allows.
func TestTooLong(t *testing.T) {
	server, address := startServer(t, "127.0.0.1:0", "-max-time", "50ms", "-timeout", "2s")
	x := start(t, nil, "client", "-bytes", "1000G", address)
	require.Equal(t, 1, x.ended(t))
	require.Contains(t, x.err.String(), "takes too long")
	server.err.wait(t, "more than the 50ms that a measurement may take here")
}

// TestStrangers: what else might say something to a server.
func TestStrangers(t *testing.T) {
	server, address := startServer(t, "127.0.0.1:0", "-timeout", "3s")
	tcpServer, tcpAddress := startServer(t, "127.0.0.1:0", "-tcp", "-timeout", "3s")
	for _, tt := range []struct{ first, want string }{
		{"GET / HTTP/1.1\r\n", `does not speak as perf does: \"GET / HTTP/1.1\\r\\n\"`},
		{"{}\n", "does not speak"},
		{`{"do":"start"}` + "\n", `\"start\" where an order is due`},
		{`{"do":"order"}` + "\n", "where an order is due"},
		{`{"do":"order","order":{"mode":"bulk"}}` + "\n", "want up, down or both"},
		{`{"do":"order","order":{"mode":"bulk","direction":"up","size":1,"streams":70000,"seconds":1}}` + "\n", "-streams takes"},
		{`{"do":"order","order":{"mode":"bulk","direction":"up","size":1,"streams":1}}` + "\n", "neither time nor bytes"},
		{`{"do":"order","order":{"mode":"bulk","direction":"up","size":1,"streams":1,"seconds":1e300}}` + "\n", "neither time nor bytes"},
		{strings.Repeat("x", maxLine+1), "longer than 4096 bytes"},
		{"", "no order within 3s"},
	} {
		dial := map[string]func() (net.Conn, error){
			"sctp": func() (net.Conn, error) { return transport.Dial(context.Background(), address, nil) },
			"tcp":  func() (net.Conn, error) { return net.Dial("tcp", tcpAddress) },
		}
		for kind, f := range dial {
			c, err := f()
			require.NoError(t, err)
			_, err = io.WriteString(c, tt.first)
			require.NoError(t, err)
			c.SetReadDeadline(time.Now().Add(patience))
			line, err := bufio.NewReader(c).ReadString('\n')
			require.NoError(t, err, "%s: %.40q", kind, tt.first)
			require.Contains(t, line, `"do":"error"`)
			require.Contains(t, line, tt.want)
			c.Close()
		}
	}
	c, err := net.Dial("tcp", tcpAddress)
	require.NoError(t, err)
	defer c.Close()
	fmt.Fprintln(c, `{"do":"attach","token":"guessed"}`)
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err)
	tcpServer.err.wait(t, "a stream of no session")
	measured(t, address, "-time", "50ms")
	measured(t, tcpAddress, "-tcp", "-time", "50ms")
	server.err.wait(t, "bulk up, 1 stream: received")
	tcpServer.err.wait(t, "bulk up, 1 stream: received")
}

// TestStrangeServer: a client at a server of something else, and at none.
func TestStrangeServer(t *testing.T) {
	l, err := transport.Listen("127.0.0.1:0", nil)
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	x := start(t, nil, "client", l.Addr().String())
	require.Equal(t, 1, x.ended(t))
	require.Contains(t, x.err.String(), `no perf server: the other side does not speak as perf does: "order" where "ready" is due`)

	x = start(t, nil, "client", "-timeout", "200ms", "127.0.0.1:1")
	require.Equal(t, 1, x.ended(t))
	require.Contains(t, x.err.String(), "127.0.0.1:1")
	x = start(t, nil, "client", "-tcp", "-timeout", "200ms", "127.0.0.1:1")
	require.Equal(t, 1, x.ended(t))
	require.Contains(t, x.err.String(), "127.0.0.1:1")
}

// TestHistogram holds quantiles against sorted samples.
func TestHistogram(t *testing.T) {
	require.Less(t, bucket(1<<63-1), buckets)
	last := -1
	for v := int64(0); v < 1<<20; v++ {
		b := bucket(v)
		require.True(t, b == last || b == last+1, v)
		require.InDelta(t, float64(v), float64(middle(b)), float64(v)/(1<<bucketBits)+0.5)
		last = b
	}

	rng := rand.New(rand.NewPCG(needs.Seed(t), 0))
	h := new(histogram)
	require.Zero(t, h.read().quantile(0.5))
	var all []time.Duration
	var half *snapshot
	for i := range 20000 {
		if i == 10000 {
			half = h.read()
		}
		d := time.Duration(rng.ExpFloat64() * float64(rng.IntN(1e6)+1))
		all = append(all, d)
		h.add(d)
	}
	check := func(s *snapshot, samples []time.Duration) {
		samples = slices.Sorted(slices.Values(samples))
		require.EqualValues(t, len(samples), s.n)
		for _, q := range []float64{0, 0.001, 0.5, 0.9, 0.99, 0.999, 1} {
			want := samples[max(0, int(float64(len(samples))*q+0.999999)-1)]
			require.InDelta(t, float64(want), float64(s.quantile(q)), float64(want)/100+1, q)
		}
	}
	check(h.read(), all)
	check(h.read().since(half), all[10000:])
	s := h.read()
	require.EqualValues(t, slices.Min(all), s.least)
	require.EqualValues(t, slices.Max(all), s.max)
	require.Equal(t, s.quantile(1), slices.Max(all))
}
