// Perf measures what an association, or many, carry between two hosts. One is the server, the other measures against it:
//
//	perf server 10.0.0.1:5000,10.0.1.1:5000
//	perf client 10.0.0.1:5000,10.0.1.1:5000
//
// The client decides what is measured, and the server does what it is told. -mode bulk, the default, moves bytes as fast
// as they go; -mode messages moves messages of -size bytes and counts them; -mode requests sends -size bytes, waits until
// they have come back and tells how long that took at the median and beyond:
//
//	perf client -direction down -time 30s 10.0.0.1:5000,10.0.1.1:5000
//	perf client -mode messages -size 64 -streams 100 10.0.0.1:5000
//	perf client -mode requests -size 64 -associations 1000 10.0.0.1:5000
//
// Each second a line tells how it goes; what happens to paths is told as it happens. At the end stand the whole, the
// processor time of both processes, also per gigabyte, how often data moved to another path, and the path table. -json
// prints the same for programs, and nothing else. An interrupt ends a measurement early, and what was measured so far is
// reported; a second one ends the program at once.
//
// Both commands take the flags that tune an association: -profile rfc9260 for the values and the behaviour of the RFC
// alone, -window, -max-payload, -no-offload and more, and each end uses its own. -policy is the client's and counts for
// both directions: redundant sends everything over several paths, latency takes the path with the shortest round trip.
//
// With -tcp on both ends the same is measured over TCP: each association is a connection that carries the control
// messages, each stream one more.
//
// The speed told is what the receiving side counted, from the beginning until the last byte had arrived. What is in the
// way is told as an error. The exit status is 0 when every byte sent was received, 1 when not, 2 when the command line is
// wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/go-multihome/multihome/transport"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	p := &perf{out: os.Stdout, err: os.Stderr}
	os.Exit(p.main(ctx, os.Args[1:]))
}

// perf is one run of the program, as a server or as a client.
type perf struct {
	out io.Writer
	err io.Writer
	mu  sync.Mutex // so that lines stay whole

	address string
	tcp     bool
	tune    tuning
	profile string        // file
	timeout time.Duration // of setting up, and of each step that the other side must take

	// the server's
	maxTime     time.Duration
	maxMemory   size
	maxSessions int
	listening   func(address string) // told to tests

	// the client's
	order        order
	local        string
	associations int
	bytes        size
	every        time.Duration
	json         bool
}

// errUsage is a wrong command line that has been explained already.
var errUsage = errors.New("usage")

// errInterrupted is why a measurement has ended that could not be brought to an end of its own.
var errInterrupted = errors.New("interrupted")

// main runs the program and returns its exit status.
func (p *perf) main(ctx context.Context, args []string) int {
	command, err := p.flags(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	do := p.measure
	if command == "server" {
		do = p.serve
	}
	if p.profile != "" {
		do = profiled(p.profile, do)
	}
	err = do(ctx)
	if err != nil {
		p.say("perf: %v\n", err)
		if errors.Is(err, transport.ErrAddress) || errors.Is(err, transport.ErrConfig) {
			return 2
		}
		return 1
	}
	return 0
}

// profiled does something with a profile of the processor time beside.
func profiled(file string, do func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		f, err := os.Create(file)
		if err != nil {
			return err
		}
		if err = pprof.StartCPUProfile(f); err == nil {
			err = do(ctx)
			pprof.StopCPUProfile()
		}
		return errors.Join(err, f.Close())
	}
}

// say writes to the standard error, whole.
func (p *perf) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.err, format, args...)
}

// note is say with the time of day, for servers.
func (p *perf) note(format string, args ...any) {
	p.say("%s  %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

// tell writes to the standard output, whole, unless that is for JSON.
func (p *perf) tell(format string, args ...any) {
	if p.json {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format, args...)
}
