package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/locator"
	"github.com/go-multihome/multihome/transport"
)

// peers is the set of associations, in the order they began.
type peers struct {
	mu   sync.Mutex
	list []*transport.Association
}

func (p *peers) add(a *transport.Association) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, a)
}

func (p *peers) remove(a *transport.Association) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, b := range p.list {
		if a == b {
			p.list = append(p.list[:i:i], p.list[i+1:]...)
		}
	}
}

func (p *peers) all() []*transport.Association {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*transport.Association(nil), p.list...)
}

// say writes to the standard error, whole.
func (e *echo) say(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	fmt.Fprintf(e.err, format, args...)
}

// note is say with the time of day.
func (e *echo) note(format string, args ...any) { e.noteAt(time.Now(), format, args...) }

func (e *echo) noteAt(at time.Time, format string, args ...any) {
	e.say("%s  %s\n", at.Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

// hint tells a person at a terminal what may be typed.
func (e *echo) hint() {
	f, ok := e.in.(*os.File)
	if !ok || e.raw {
		return
	}
	if st, err := f.Stat(); err == nil && st.Mode()&os.ModeCharDevice != 0 {
		e.note("type lines to send, /help for commands")
	}
}

// errQuit is what lines returns behind /quit.
var errQuit = errors.New("quit")

const help = `/paths         the path table
/stats         the counters
/primary N     prefer path N
/quit          end in order
//...          a line that begins with one slash
`

// lines sends the lines of r to w, one Write each, and obeys commands among them. It returns nil at the end of r.
func (e *echo) lines(r io.Reader, w io.Writer) error {
	in := bufio.NewReaderSize(r, 64<<10)
	for begin := true; ; {
		line, err := in.ReadSlice('\n')
		if begin && len(line) > 0 && line[0] == '/' {
			if len(line) < 2 || line[1] != '/' {
				if e.command(strings.Fields(string(line))) {
					return errQuit
				}
				line = nil
			} else {
				line = line[1:]
			}
		}
		if len(line) > 0 {
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		begin = err == nil // a line larger than the buffer comes in pieces
		if err != nil && err != bufio.ErrBufferFull {
			if err == io.EOF {
				return nil
			}
			return fmt.Errorf("standard input: %w", err)
		}
	}
}

// command does what a line with a slash says, and reports whether it was /quit.
func (e *echo) command(words []string) bool {
	switch {
	case words[0] == "/quit":
		return true
	case words[0] == "/paths":
		e.table()
	case words[0] == "/stats":
		e.stats()
	case words[0] == "/primary" && len(words) == 2:
		id, err := strconv.ParseUint(words[1], 10, 8)
		for _, a := range e.peers.all() {
			if err == nil {
				err = a.SetPrimary(locator.PathID(id))
			}
		}
		if err != nil {
			e.say("%v\n", err)
		}
	default:
		e.say("%s", help)
	}
	return false
}

// tables prints the path table at intervals.
func (e *echo) tables(ctx context.Context) {
	if e.every <= 0 {
		return
	}
	tick := time.NewTicker(e.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			e.table()
		}
	}
}

// table prints every path of every association. The path that data takes is marked with >, the preferred one with *.
func (e *echo) table() {
	var b strings.Builder
	for _, a := range e.peers.all() {
		fmt.Fprintf(&b, "%s  paths to %v\n", time.Now().Format("15:04:05.000"), a.RemoteAddr())
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "  \tpath\tlocal>peer\tstate\tfor\trtt\trto\twindow\tin flight\tsent\treceived\tresent\terrors")
		for _, p := range a.Paths() {
			state := p.State.String()
			switch {
			case p.Gone:
				state = "gone"
			case p.Suspected:
				state += "?"
			}
			fmt.Fprintf(w, "%s%s\t%d\t%v\t%s\t%v\t%v\t%v\t%d\t%d\t%d\t%d\t%d\t%d\n", mark(p.Current, ">"), mark(p.Primary, "*"),
				p.Path.ID, p.Path.Pair, state, time.Since(p.Since).Round(100*time.Millisecond), p.RTT.Round(10*time.Microsecond),
				p.RTO.Round(time.Millisecond), p.CongestionWindow, p.InFlight, p.BytesSent, p.BytesReceived, p.DataResent, p.Errors)
		}
		w.Flush()
	}
	if b.Len() == 0 {
		b.WriteString("no associations\n")
	}
	e.say("%s", b.String())
}

func mark(on bool, m string) string {
	if on {
		return m
	}
	return " "
}

// stats prints all counters of every association.
func (e *echo) stats() {
	var b strings.Builder
	for _, a := range e.peers.all() {
		fmt.Fprintf(&b, "counters of %v\n", a.RemoteAddr())
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, s := range []any{a.Stats(), a.SocketStats()} {
			v := reflect.ValueOf(s)
			for i := range v.NumField() {
				fmt.Fprintf(w, "  %s\t%v\n", v.Type().Field(i).Name, v.Field(i))
			}
		}
		w.Flush()
	}
	e.say("%s", b.String())
}

// events tells what happens to an association until it has ended.
func (e *echo) events(a *transport.Association) {
	for ev := range a.Events() {
		e.noteAt(ev.Time, "%s", describe(ev))
	}
}

// describe puts an event into the words of somebody who watches the paths.
func describe(ev transport.Event) string {
	what := ""
	switch ev.Kind {
	case transport.EventPathState:
		switch {
		case ev.From == ev.To:
			what = "NOTICE"
		case ev.To == heartbeat.PotentiallyFailed:
			what = "SUSPECTED"
		case ev.To == heartbeat.Inactive:
			what = "DOWN"
		case ev.To == heartbeat.Active && ev.From == heartbeat.Unconfirmed:
			what = "CONFIRMED"
		case ev.To == heartbeat.Active:
			what = "BACK"
		}
	case transport.EventPathChosen:
		what = "MOVED"
		if !ev.Previous.Local.IsValid() {
			what = "CHOSEN"
		}
	case transport.EventPathAdded:
		what = "NEW"
	case transport.EventPathGone:
		what = "GONE"
	}
	if what == "" {
		return ev.String()
	}
	text := fmt.Sprintf("%-9s  path %d  %v", what, ev.Path.ID, ev.Path.Pair)
	if ev.Reason != "" {
		text += " (" + ev.Reason + ")"
	}
	return text
}
