// Failoverbench measures how long a stream of records stands still when something happens to the path it takes: over this
// library, over the kernel's MPTCP and over the kernel's TCP, in turns, in one run. It needs Linux and root (unshare -Urn
// will do), and the programs ip, tc and nft:
//
//	go run ./examples/failoverbench                                         # everything: an hour
//	go run ./examples/failoverbench -stories cut -rtt 20ms -rounds 1        # a quarter of a minute
//	go run ./examples/failoverbench -stories cut,back -rtt 0,20ms -json figures.json -svg picture.svg
//	go run ./examples/failoverbench -from figures.json,more.json -svg p.svg # table and picture of what was measured before
//
// On a machine with other work, run it ahead of that: go build it, and start it with "chrt -r 10". What it needs of the
// processor is little.
//
// The network is two hosts with two paths between them, made of network namespaces; each round of each transport gets a
// new one, so that nothing is remembered. Sender and receiver run in this process and share a clock. The sender writes a
// numbered record each millisecond. The fault hits the path that carries the data, as the interfaces' counters tell.
//
// Two figures are taken: the longest time between two arrivals, and the longest time from when a record was due to when it
// was read. A record that waits because Write blocks is waiting. Beside them stand the same figures of the time before the
// fault, which are the machine's own share, and by how much the emulated delay was late; a run in which that is more than
// the effect does not count and is repeated. Where records did not arrive before the patience was over, figures are lower
// bounds and are printed with a ">".
//
// The exit status is 1 if this library lost, repeated or reordered a record, or did not get one through in time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"
)

// options are what the command line asks for.
type options struct {
	stories   []*story
	lanes     []*lane
	rtts      []time.Duration
	rounds    int
	repeats   int
	record    int
	after     time.Duration // that stories go on after the fault, unless they say otherwise
	patience  time.Duration // for the last record
	explain   bool
	brief     bool
	panels    []string
	json, svg string
	from      []string
}

func main() {
	o, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "failoverbench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "failoverbench:", err)
		os.Exit(1)
	}
}

// parse reads the command line.
func parse(args []string, help io.Writer) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("failoverbench", flag.ContinueOnError)
	f.SetOutput(help)
	names := f.String("stories", strings.Join(storyKeys(), ","), "what happens to the path")
	lanes := f.String("transports", "multihome,redundant,mptcp,tcp", "what carries the records, of "+strings.Join(laneKeys(), ", "))
	rtts := f.String("rtt", "0,20ms,100ms", "round trips of both paths")
	f.IntVar(&o.rounds, "rounds", 5, "rounds of each story")
	f.IntVar(&o.repeats, "repeats", 5, "how many runs that do not count are repeated, for each line of the table")
	f.IntVar(&o.record, "record", 1024, "bytes of a record; one is due each millisecond")
	f.DurationVar(&o.after, "after", 1500*time.Millisecond, "how long the load goes on after a fault that stays, beside five round trips")
	f.DurationVar(&o.patience, "patience", time.Second, "how long the last record is waited for, beside five round trips")
	f.BoolVar(&o.explain, "explain", false, "print what this library saw and why it chose a path, for each of its runs")
	panels := f.String("panels", "", "stories in the picture, as \"cut@20ms\"; default: the first six measured")
	f.BoolVar(&o.brief, "brief", false, "print the medians of gap and delay alone, and after a semicolon those before the fault")
	f.StringVar(&o.json, "json", "", "file for every run's figures, - for the standard output in place of the table")
	f.StringVar(&o.svg, "svg", "", "file for the picture: the delay of each record over time, of the median run")
	from := f.String("from", "", "measure nothing: take figures from files that -json wrote")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	var errs []error
	for _, key := range split(*names) {
		s, err := storyOf(key)
		o.stories, errs = append(o.stories, s), append(errs, err)
	}
	for _, key := range split(*lanes) {
		l, err := laneOf(key)
		o.lanes, errs = append(o.lanes, l), append(errs, err)
	}
	for _, text := range split(*rtts) {
		d, err := time.ParseDuration(text)
		if err == nil && (d < 0 || d > 2*time.Second) {
			err = fmt.Errorf("-rtt %v: want 0 to 2s", d)
		}
		o.rtts, errs = append(o.rtts, d), append(errs, err)
	}
	o.panels, o.from = split(*panels), split(*from)
	for _, id := range o.panels {
		if o.from == nil && !o.covers(id) {
			errs = append(errs, fmt.Errorf("-panels %q: that is not among what is measured", id))
		}
	}
	if o.rounds < 1 || o.repeats < 0 || o.record < recordHead || o.record > 1<<16 || o.after < 0 || o.patience < 0 || f.NArg() > 0 {
		errs = append(errs, errors.New("rounds, repeats, record, after or patience out of range, or an argument too many"))
	}
	return o, errors.Join(errs...)
}

// covers reports whether a panel of the picture is measured.
func (o *options) covers(id string) bool {
	for _, s := range o.stories {
		for _, rtt := range o.rtts {
			if s != nil && (&cell{Story: s.key, RTT: ms(rtt)}).id() == id {
				return true
			}
		}
	}
	return false
}

// split cuts a list at its commas. The empty list has no items.
func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// run measures, or reads what was measured, and writes the outputs.
func run(ctx context.Context, o *options, out, progress io.Writer) error {
	rep, err := o.report(ctx, progress)
	if rep == nil {
		return err
	}
	if o.json != "" {
		err = errors.Join(err, create(o.json, out, rep.writeJSON))
	}
	if o.svg != "" {
		err = errors.Join(err, create(o.svg, out, func(w io.Writer) error { return picture(w, rep) }))
	}
	switch {
	case o.json == "-" || o.svg == "-":
	case o.brief:
		rep.brief(out)
	default:
		rep.table(out)
	}
	return errors.Join(err, rep.verdict())
}

func (o *options) report(ctx context.Context, progress io.Writer) (*report, error) {
	if o.from != nil {
		return readReport(o.from, o.panels)
	}
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("this needs the network namespaces of Linux; on %s only -from works", runtime.GOOS)
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("this makes network namespaces and must be root: run it with sudo, or under unshare --user --map-root-user --net")
	}
	return o.measure(ctx, progress)
}

// create writes a file, or to out if the name is "-".
func create(name string, out io.Writer, write func(io.Writer) error) error {
	if name == "-" {
		return write(out)
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
