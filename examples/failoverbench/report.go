package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report is everything that was measured.
type report struct {
	When   time.Time `json:"when"`
	System string    `json:"system"`
	Record int       `json:"record"`
	Cells  []*cell   `json:"cells"`
	Panels []string  `json:"panels,omitempty"`
}

// cell is one line of the table: one transport in one story.
type cell struct {
	Story     string    `json:"story"`
	What      string    `json:"what"`
	RTT       float64   `json:"rtt"` // ms
	Transport string    `json:"transport"`
	Name      string    `json:"name"`
	Runs      []*result `json:"runs"`
	Repeated  int       `json:"repeated,omitempty"` // runs left out because the emulator was later than the effect
	Failed    []string  `json:"failed,omitempty"`   // why there is no run
}

func newReport(o *options) *report {
	system := fmt.Sprintf("%s/%s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		system += ", kernel " + strings.TrimSpace(string(release))
	}
	if realTime() {
		system += ", real-time priority"
	}
	return &report{When: time.Now().UTC().Truncate(time.Second), System: system + ", " + runtime.Version(), Record: o.record, Panels: o.panels}
}

// realTime reports whether the kernel runs this process before all ordinary ones.
func realTime() bool {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return false
	}
	// The name in parentheses may hold anything. Behind it come the fields from the third on; the policy is the 41st.
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	return len(f) > 38 && (f[38] == "1" || f[38] == "2")
}

// add makes the cells of one story at one round trip.
func (rep *report) add(s *story, rtt time.Duration, lanes []*lane) []*cell {
	from := len(rep.Cells)
	for _, l := range lanes {
		rep.Cells = append(rep.Cells, &cell{Story: s.key, What: s.name, RTT: ms(rtt), Transport: l.key, Name: l.name})
	}
	return rep.Cells[from:]
}

// id names a story at a round trip, as -panels does.
func (c *cell) id() string {
	if c.RTT == 0 {
		return c.Story + "@0"
	}
	return fmt.Sprintf("%s@%gms", c.Story, c.RTT)
}

func (c *cell) title() string {
	if c.RTT == 0 {
		return c.What + ", RTT near 0"
	}
	return fmt.Sprintf("%s, RTT %g ms", c.What, c.RTT)
}

func (c *cell) keep(r *result) { c.Runs = append(c.Runs, r) }

// median is the run whose gap is the median, nil if there is no run.
func (c *cell) median() *result {
	if len(c.Runs) == 0 {
		return nil
	}
	runs := slices.Clone(c.Runs)
	slices.SortStableFunc(runs, func(a, b *result) int {
		if a.Stalled != b.Stalled {
			return map[bool]int{true: 1, false: -1}[a.Stalled]
		}
		return int(1000 * (a.Gap - b.Gap))
	})
	return runs[(len(runs)-1)/2]
}

// spread is a median with the least and the largest value. Values of stalled runs are lower bounds.
type spread struct {
	med, min, max float64
	more          bool // the median is a lower bound
	n             int
}

func (c *cell) spread(of func(r *result) float64, stalls bool) (s spread) {
	runs := slices.Clone(c.Runs)
	if len(runs) == 0 {
		return s
	}
	slices.SortFunc(runs, func(a, b *result) int { return int(1000 * (of(a) - of(b))) })
	mid := runs[(len(runs)-1)/2]
	return spread{of(mid), of(runs[0]), of(runs[len(runs)-1]), stalls && mid.Stalled, len(runs)}
}

// number prints milliseconds with no more digits than they are worth.
func number(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// String prints the median, and the range if there is one.
func (s spread) String() string {
	if s.n == 0 {
		return "-"
	}
	text := number(s.med)
	if s.more {
		text = "> " + text
	}
	if number(s.min) != number(s.max) {
		text += fmt.Sprintf(" (%s-%s)", number(s.min), number(s.max))
	}
	return text
}

// ratio is how many times longer than this library's the gap of a cell was, round by round.
func (rep *report) ratio(c *cell) string {
	ours := rep.find(c.id(), "multihome")
	if ours == nil || ours == c {
		return ""
	}
	var all []float64
	for i := range min(len(c.Runs), len(ours.Runs)) {
		if ours.Runs[i].Gap > 0 {
			all = append(all, c.Runs[i].Gap/ours.Runs[i].Gap)
		}
	}
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	s := spread{med: all[(len(all)-1)/2], min: all[0], max: all[len(all)-1], n: len(all)}
	if m := c.median(); m != nil {
		s.more = m.Stalled
	}
	return s.String()
}

func (rep *report) find(id, transport string) *cell {
	for _, c := range rep.Cells {
		if c.id() == id && c.Transport == transport {
			return c
		}
	}
	return nil
}

// table prints everything as Markdown.
func (rep *report) table(w io.Writer) {
	fmt.Fprintf(w, "%s, %s; a record of %d bytes each millisecond; ms, medians (least-largest):\n\n",
		rep.When.Format(time.DateTime+" MST"), rep.System, rep.Record)
	head := []string{"story", "transport", "largest gap", "longest delay", "times our gap", "before: gap", "before: delay",
		"emulator late", "sender late", "later than 200 ms", "runs"}
	rows := [][]string{head}
	for i, c := range rep.Cells {
		title := c.title()
		if i > 0 && rep.Cells[i-1].id() == c.id() {
			title = ""
		}
		gap := c.spread(func(r *result) float64 { return r.Gap }, true).String()
		if m := c.median(); m != nil && m.Stalled {
			gap = "stalls, " + gap
		}
		rows = append(rows, []string{title, c.Name, gap,
			c.spread(func(r *result) float64 { return r.Delay }, true).String(), rep.ratio(c),
			c.spread(func(r *result) float64 { return r.GapBefore }, false).String(),
			c.spread(func(r *result) float64 { return r.DelayBefore }, false).String(),
			c.spread(func(r *result) float64 { return r.EmulatorLate }, false).String(),
			c.spread(func(r *result) float64 { return r.SenderLate }, false).String(),
			c.late(), c.remarks(),
		})
	}
	markdown(w, rows)
}

// brief prints a line for each story: for each transport the medians of the largest gap and the longest delay, and behind the
// semicolon those of the time before the fault.
func (rep *report) brief(w io.Writer) {
	head := []string{"story"}
	var lanes []string
	for _, c := range rep.Cells {
		if !slices.Contains(lanes, c.Transport) {
			lanes, head = append(lanes, c.Transport), append(head, c.Name)
		}
	}
	rows := [][]string{head}
	var told []string
	for _, first := range rep.Cells {
		id := first.id()
		if slices.Contains(told, id) {
			continue
		}
		told = append(told, id)
		row := []string{first.title()}
		for _, lane := range lanes {
			text := "-"
			if c := rep.find(id, lane); c != nil && len(c.Runs) > 0 {
				med := func(of func(r *result) float64) string { return number(c.spread(of, false).med) }
				text = med(func(r *result) float64 { return r.Gap }) + " / " + med(func(r *result) float64 { return r.Delay })
				if c.median().Stalled {
					text = "stalls"
				}
				text += "; " + med(func(r *result) float64 { return r.GapBefore }) + " / " + med(func(r *result) float64 { return r.DelayBefore })
			}
			row = append(row, text)
		}
		rows = append(rows, row)
	}
	markdown(w, rows)
}

// markdown prints rows of cells, of which the first are the heads.
func markdown(w io.Writer, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			width[i] = max(width[i], len(text))
		}
	}
	for n, row := range rows {
		for i, text := range row {
			fmt.Fprintf(w, "| %-*s ", width[i], text)
		}
		fmt.Fprintln(w, "|")
		if n == 0 {
			for i := range row {
				fmt.Fprintf(w, "| %s ", strings.Repeat("-", width[i]))
			}
			fmt.Fprintln(w, "|")
		}
	}
}

// late is the share of all records, in all runs, that were later than 200 ms.
func (c *cell) late() string {
	late, all := 0, 0
	for _, r := range c.Runs {
		late, all = late+r.TooLate, all+r.Records
	}
	if late == 0 || all == 0 {
		return "0"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(late)/float64(all))
}

// remarks tells how many runs there were and what became of the others.
func (c *cell) remarks() string {
	text := fmt.Sprint(len(c.Runs))
	uncounted := 0
	for _, r := range c.Runs {
		if !r.counts() {
			uncounted++
		}
	}
	if c.Repeated > 0 {
		text += fmt.Sprintf(", %d repeated: emulator too late", c.Repeated)
	}
	if uncounted > 0 {
		text += fmt.Sprintf(", %d with the emulator later than the effect", uncounted)
	}
	if len(c.Failed) > 0 {
		text += fmt.Sprintf(", %d failed: %s", len(c.Failed), c.Failed[0])
	}
	return text
}

// verdict is an error if this library lost, repeated or reordered a record or left one behind.
func (rep *report) verdict() error {
	var errs []error
	for _, c := range rep.Cells {
		if l, err := laneOf(c.Transport); err != nil || !l.ours {
			continue
		}
		for _, text := range c.Failed {
			errs = append(errs, fmt.Errorf("%s: %s", c.title(), text))
		}
		for i, r := range c.Runs {
			switch {
			case r.bad != nil:
				errs = append(errs, fmt.Errorf("%s, run %d: %w", c.title(), i+1, r.bad))
			case r.Lost != "":
				errs = append(errs, fmt.Errorf("%s, run %d: %s", c.title(), i+1, r.Lost))
			case r.Missing > 0:
				errs = append(errs, fmt.Errorf("%s, run %d: %d records did not arrive in time", c.title(), i+1, r.Missing))
			}
		}
	}
	return errors.Join(errs...)
}

// writeJSON writes every run, with the course of those that the picture shows.
func (rep *report) writeJSON(w io.Writer) error {
	slim := *rep
	slim.Cells = nil
	shown := panelsOf(rep)
	for _, c := range rep.Cells {
		copied := *c
		copied.Runs = nil
		for _, r := range c.Runs {
			one := *r
			if r != c.median() || !slices.Contains(shown, c.id()) {
				one.Trace = nil
			}
			copied.Runs = append(copied.Runs, &one)
		}
		slim.Cells = append(slim.Cells, &copied)
	}
	return json.NewEncoder(w).Encode(&slim)
}

// merge adds a cell. Runs of one that is there already, from another file, follow its own.
func (rep *report) merge(c *cell) {
	if old := rep.find(c.id(), c.Transport); old != nil {
		old.Runs, old.Failed, old.Repeated = append(old.Runs, c.Runs...), append(old.Failed, c.Failed...), old.Repeated+c.Repeated
		return
	}
	rep.Cells = append(rep.Cells, c)
}

// readReport reads what writeJSON wrote, of several runs if there are several files. The picture shows the panels named, or
// those of the files.
func readReport(names, panels []string) (*report, error) {
	var rep *report
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		one := &report{}
		if err := json.Unmarshal(b, one); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		switch {
		case rep == nil:
			rep = one
		case rep.System != one.System || rep.Record != one.Record:
			return nil, fmt.Errorf("%s is of another machine or load than %s", name, names[0])
		default:
			for _, c := range one.Cells {
				rep.merge(c)
			}
			rep.Panels = append(rep.Panels, one.Panels...)
		}
	}
	if len(panels) > 0 {
		rep.Panels = panels
	}
	return rep, nil
}
