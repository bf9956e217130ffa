// Echo is a server that sends back what it is sent, and its client, over as many paths as the two hosts have:
//
//	echo -listen 10.0.0.1:5000,10.0.1.1:5000
//	echo -local 10.0.0.2,10.0.1.2 -dial 10.0.0.1:5000,10.0.1.1:5000
//
// The client sends the lines of its standard input and prints what comes back on its standard output. What happens to the
// paths is told on the standard error as it happens. Pull a cable meanwhile, or drop the packets of one address:
//
//	15:04:05.104  SUSPECTED  path 0  10.0.0.2:49344>10.0.0.1:5000 (probe verdict)
//	15:04:05.104  MOVED      path 1  10.0.1.2:49344>10.0.1.1:5000 (path before failed)
//
// Lines that begin with a slash are commands: /paths, /stats, /primary, /quit; /help lists them. The server knows them
// too. At the end of its input the client waits for the rest of the echoes, ends the association in order and exits. Both
// of these are complete transfers, whose exit status says whether every byte came back:
//
//	seq 1000 | echo -dial 10.0.0.1:5000,10.0.1.1:5000
//	echo -raw -paths 1s -dial 10.0.0.1:5000,10.0.1.1:5000 <some.iso >copy.iso
//
// Without -local the client sends from all addresses of the system that suit the server's. "-listen :5000" listens on all
// addresses. The exit status is 0 when everything that was sent came back, 1 when it did not, 2 when the command line is
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
	"sync"
	"time"

	"github.com/go-multihome/multihome/transport"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	e := &echo{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	os.Exit(e.main(ctx, os.Args[1:]))
}

// echo is one run of the program, as a server or as a client.
type echo struct {
	in   io.Reader
	out  io.Writer
	err  io.Writer
	mu   sync.Mutex // so that lines on err stay whole
	conf transport.Config

	listen, local, dial string
	every               time.Duration // between path tables; 0: on demand
	raw                 bool
	timeout             time.Duration // of dialling
	wait                time.Duration // for echoes behind the end of the input

	peers peers
}

// errUsage is a wrong command line that has been explained already.
var errUsage = errors.New("usage")

// main runs the program and returns its exit status.
func (e *echo) main(ctx context.Context, args []string) int {
	err := e.flags(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if e.listen != "" {
		err = e.serve(ctx)
	} else {
		err = e.talk(ctx)
	}
	if err != nil {
		e.say("echo: %v\n", err)
		if errors.Is(err, transport.ErrAddress) || errors.Is(err, transport.ErrConfig) {
			return 2
		}
		return 1
	}
	return 0
}

func (e *echo) flags(args []string) error {
	fs := flag.NewFlagSet("echo", flag.ContinueOnError)
	fs.SetOutput(e.err)
	fs.StringVar(&e.listen, "listen", "", "be a server at these `addresses`: 10.0.0.1:5000,10.0.1.1:5000 or :5000")
	fs.StringVar(&e.dial, "dial", "", "be a client of the server at these `addresses`")
	fs.StringVar(&e.local, "local", "", "send from these `addresses`: 10.0.0.2,10.0.1.2 (default: all that suit the server's)")
	fs.DurationVar(&e.every, "paths", 0, "print the path table that often, such as 1s")
	fs.BoolVar(&e.raw, "raw", false, "send the input as it is: no commands, no lines")
	fs.DurationVar(&e.timeout, "timeout", 10*time.Second, "how long to try to reach the server")
	fs.DurationVar(&e.wait, "wait", 10*time.Second, "how long to wait for the next echo once the input has ended")
	fs.Usage = func() {
		fmt.Fprintln(e.err, "usage: echo -listen ADDRESSES [flags]\n       echo [-local ADDRESSES] -dial ADDRESSES [flags]")
		fs.PrintDefaults()
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	wrong := func(text string) error {
		fmt.Fprintln(e.err, "echo:", text)
		fs.Usage()
		return errUsage
	}
	switch {
	case fs.NArg() > 0:
		return wrong(fmt.Sprintf("unexpected argument %q", fs.Arg(0)))
	case e.listen == "" && e.dial == "":
		return wrong("say -listen or -dial")
	case e.listen != "" && e.dial != "":
		return wrong("-listen and -dial exclude each other")
	case e.listen != "" && (e.local != "" || e.raw):
		return wrong("-local and -raw are the client's")
	case e.every < 0 || e.timeout <= 0 || e.wait <= 0:
		return wrong("-paths, -timeout and -wait take positive times")
	}
	return nil
}
