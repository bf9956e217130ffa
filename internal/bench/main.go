package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// options say what to measure.
type options struct {
	measures []*measure
	stacks   []*stack
	rounds   int
	warm     time.Duration
	lasts    time.Duration
	block    int
	ends     int
	mtu      int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := command(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func names(of func(yield func(string) bool)) string { return strings.Join(slices.Collect(of), ",") }

func measureKeys(yield func(string) bool) {
	for _, m := range measures {
		if !yield(m.key) {
			return
		}
	}
}

func stackNames(yield func(string) bool) {
	for _, s := range stacks {
		if !yield(s.name) {
			return
		}
	}
}

// command is the program but for its process.
func command(ctx context.Context, args []string, out, progress io.Writer) error {
	o := options{}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(progress)
	only := fs.String("only", names(measureKeys), "measures")
	transports := fs.String("transports", names(stackNames), "transports")
	fs.IntVar(&o.rounds, "rounds", 5, "rounds, in each of which every transport has a turn")
	fs.DurationVar(&o.lasts, "time", time.Second, "what one measurement lasts")
	fs.DurationVar(&o.warm, "warm", 300*time.Millisecond, "what goes before it and does not count")
	fs.IntVar(&o.block, "block", 16<<10, "bytes of a write in bulk")
	fs.IntVar(&o.ends, "idle", 300, "idle associations")
	fs.IntVar(&o.mtu, "mtu", 1500, "of the links between the namespaces")
	jsonFile := fs.String("json", "", "write the report as JSON to this file, - is standard output in place of the tables")
	profile := fs.String("cpuprofile", "", "write a processor profile to this file")
	procs := fs.Int("procs", 2, "processors to use")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("what is %q?", fs.Arg(0))
	}
	var err error
	if o.stacks, err = lookup(*transports); err != nil {
		return err
	}
	for key := range strings.SplitSeq(*only, ",") {
		i := slices.IndexFunc(measures, func(m *measure) bool { return m.key == key })
		if i < 0 {
			return fmt.Errorf("no measure %q: there are %s", key, names(measureKeys))
		}
		o.measures = append(o.measures, measures[i])
	}
	if o.rounds < 1 || o.ends < 1 || o.block < 1 || o.lasts <= 0 {
		return errors.New("rounds, idle, block and time must be above zero")
	}
	runtime.GOMAXPROCS(min(*procs, runtime.NumCPU()))
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	rep, err := o.measure(ctx, progress)
	if err != nil {
		return err
	}
	return rep.write(*jsonFile, out)
}

func (r *report) write(jsonFile string, out io.Writer) error {
	if jsonFile != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		text = append(text, '\n')
		if jsonFile == "-" {
			_, err = out.Write(text)
			return err
		}
		if err := os.WriteFile(jsonFile, text, 0o644); err != nil {
			return err
		}
	}
	return r.print(out)
}

// measure does everything that the options ask for. A transport that fails does not keep the others from it.
func (o *options) measure(ctx context.Context, progress io.Writer) (*report, error) {
	rep := &report{Machine: machine(), Rounds: o.rounds}
	rep.Notes = append(rep.Notes, "TCP and MPTCP use CUBIC; quic-go encrypts, the others do not")
	here := loopback()
	var apart *place
	for _, m := range o.measures {
		at := here
		if m.apart {
			if apart == nil {
				p, err := namespaces(o.mtu)
				if err != nil {
					rep.Notes = append(rep.Notes, fmt.Sprintf("%s left out: %v", m.key, err))
					continue
				}
				apart = p
				defer apart.close()
			}
			at = apart
		}
		t := &table{Measure: m.key, Title: m.title, Place: at.title, of: m}
		for _, name := range m.stacks {
			if slices.ContainsFunc(o.stacks, func(s *stack) bool { return s.name == name }) {
				t.Cells = append(t.Cells, &cell{Transport: name})
			}
		}
		if len(t.Cells) == 0 {
			continue
		}
		rep.Tables = append(rep.Tables, t)
		if err := o.rows(ctx, t, at, progress); err != nil {
			return nil, err
		}
	}
	rep.compare()
	return rep, nil
}

// rows measures one thing in rounds, in which the transports take turns.
func (o *options) rows(ctx context.Context, t *table, at *place, progress io.Writer) error {
	for round := range o.rounds {
		for k := range t.Cells {
			c := t.Cells[(k+round)%len(t.Cells)]
			f, err := o.once(ctx, t.of, byName(c.Transport), at)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			c.Rounds = append(c.Rounds, f)
			if err != nil {
				c.Failed = append(c.Failed, fmt.Sprintf("round %d: %v", round+1, err))
				fmt.Fprintf(progress, "%s, %s: %v\n", t.Measure, c.Transport, err)
				continue
			}
			var said []string
			for _, m := range t.of.metrics {
				said = append(said, spreadOf([]float64{f[m.key]}).format(m.digits)+" "+m.unit)
			}
			fmt.Fprintf(progress, "%s, %s: %s\n", t.Measure, c.Transport, strings.Join(said, ", "))
		}
	}
	return nil
}

// once makes one measurement.
func (o *options) once(ctx context.Context, m *measure, s *stack, at *place) (figures, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second+o.warm+o.lasts)
	defer cancel()
	runtime.GC() // what the one before left
	f, err := m.run(&job{ctx: ctx, stack: s, place: at, warm: o.warm, lasts: o.lasts, block: o.block, ends: o.ends})
	if err != nil {
		return nil, err
	}
	return f, nil
}
