package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// cell holds the rounds of one transport in one measure.
type cell struct {
	Transport string    `json:"transport"`
	Rounds    []figures `json:"rounds"` // nil where a round failed
	Failed    []string  `json:"failed,omitempty"`
}

// table is one measure.
type table struct {
	Measure string  `json:"measure"`
	Title   string  `json:"title"`
	Place   string  `json:"place"`
	Cells   []*cell `json:"transports"`
	of      *measure
}

// line is one line of the table of ratios.
type line struct {
	Title  string  `json:"title"`
	Is     spread  `json:"is"`
	ByCPU  *spread `json:"byCPU,omitempty"` // the same ratio of work per processor time, where there is one
	Must   float64 `json:"must"`
	Aim    float64 `json:"aim"`
	AtMost bool    `json:"atMost"` // must and aim are upper bounds
	Met    bool    `json:"met"`
	AimMet bool    `json:"aimMet"`
	target target
}

// spread is a median with the least and the most.
type spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
	Rounds int     `json:"rounds"`
}

type report struct {
	Machine string   `json:"machine"`
	Rounds  int      `json:"rounds"`
	Notes   []string `json:"notes,omitempty"`
	Tables  []*table `json:"tables"`
	Ratios  []line   `json:"ratios"`
}

func machine() string {
	return fmt.Sprintf("%s/%s, %s, %d processors used", runtime.GOOS, runtime.GOARCH, runtime.Version(), runtime.GOMAXPROCS(0))
}

func spreadOf(all []float64) spread {
	if len(all) == 0 {
		return spread{}
	}
	all = slices.Sorted(slices.Values(all))
	mid := len(all) / 2
	median := all[mid]
	if len(all)%2 == 0 {
		median = (all[mid-1] + all[mid]) / 2
	}
	return spread{median, all[0], all[len(all)-1], len(all)}
}

// values are a metric's over the rounds that did not fail.
func (c *cell) values(metric string) (out []float64) {
	for _, f := range c.Rounds {
		if f != nil {
			out = append(out, f[metric])
		}
	}
	return out
}

func (t *table) cell(transport string) *cell {
	for _, c := range t.Cells {
		if c.Transport == transport {
			return c
		}
	}
	return nil
}

// compare fills in the table of ratios, each taken within its round.
func (r *report) compare() {
	r.Ratios = nil
	for _, want := range targets {
		i := slices.IndexFunc(r.Tables, func(t *table) bool { return t.Measure == want.measure })
		if i < 0 {
			continue
		}
		all := r.Tables[i].ratios(want)
		if len(all) == 0 {
			continue
		}
		s := spreadOf(all)
		l := line{Title: want.title, Is: s, Must: want.must, Aim: want.aim, AtMost: want.most,
			Met: want.met(s.Median, want.must), AimMet: want.met(s.Median, want.aim), target: want}
		if costs := r.Tables[i].costs(want); len(costs) > 0 {
			c := spreadOf(costs)
			l.ByCPU = &c
		}
		r.Ratios = append(r.Ratios, l)
	}
}

// ratios are what the target asks for, one for each round in which neither failed.
func (t *table) ratios(want target) []float64 {
	if want.peer == "" {
		if ours := t.cell("multihome"); ours != nil {
			return ours.values(want.metric)
		}
		return nil
	}
	return t.quotients(want.peer, want.metric)
}

// costs are the ratios as they would be if both had used the same processor time. They vary less with what else the machine
// does, and do not show what a transport leaves idle.
func (t *table) costs(want target) []float64 {
	if want.peer == "" || !slices.ContainsFunc(t.of.metrics, func(m metric) bool { return m.key == "cpu" }) {
		return nil
	}
	out := t.quotients(want.peer, "cpu")
	if !want.most {
		for i, x := range out {
			out[i] = 1 / x
		}
	}
	return out
}

// quotients are ours by theirs.
func (t *table) quotients(peer, metric string) (out []float64) {
	ours, theirs := t.cell("multihome"), t.cell(peer)
	if ours == nil || theirs == nil {
		return nil
	}
	for i, f := range ours.Rounds {
		if f == nil || i >= len(theirs.Rounds) || theirs.Rounds[i] == nil {
			continue
		}
		if x, y := f[metric], theirs.Rounds[i][metric]; x > 0 && y > 0 {
			out = append(out, x/y)
		}
	}
	return out
}

// print writes the report as tables of Markdown would have them.
func (r *report) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 1, ' ', tabwriter.TabIndent)
	fmt.Fprintf(tw, "%s; medians of %d rounds, with the least and the most\n", r.Machine, r.Rounds)
	for _, n := range r.Notes {
		fmt.Fprintln(tw, n)
	}
	for _, t := range r.Tables {
		fmt.Fprintf(tw, "\n%s; %s\n", t.Title, t.Place)
		head := []string{""}
		for _, m := range t.of.metrics {
			head = append(head, m.unit)
		}
		row(tw, head...)
		for _, c := range t.Cells {
			cols := []string{byName(c.Transport).title}
			for _, m := range t.of.metrics {
				cols = append(cols, spreadOf(c.values(m.key)).format(m.digits))
			}
			row(tw, cols...)
		}
		for _, c := range t.Cells {
			for _, f := range c.Failed {
				fmt.Fprintf(tw, "%s failed: %s\n", byName(c.Transport).title, f)
			}
		}
	}
	if len(r.Ratios) > 0 {
		fmt.Fprintf(tw, "\nmultihome beside them\n")
		row(tw, "", "is", "must", "aim", "", "by CPU time")
		for _, l := range r.Ratios {
			byCPU := ""
			if l.ByCPU != nil {
				byCPU = l.ByCPU.format(2)
			}
			row(tw, l.Title, l.Is.format(2), l.bound(l.Must), l.bound(l.Aim), l.verdict(), byCPU)
		}
	}
	return tw.Flush()
}

func (l line) bound(x float64) string {
	sign := "≥ "
	if l.AtMost {
		sign = "≤ "
	}
	return sign + strconv.FormatFloat(x, 'g', -1, 64)
}

func (l line) verdict() string {
	switch {
	case l.AimMet:
		return "aim met"
	case l.Met:
		return "met"
	}
	return "missed"
}

func row(w io.Writer, cols ...string) { fmt.Fprintf(w, "| %s\t|\n", strings.Join(cols, "\t| ")) }

// format prints the median and, where they differ in print, the bounds.
func (s spread) format(digits int) string {
	if s.Rounds == 0 {
		return "-"
	}
	f := func(x float64) string {
		if x == 0 || math.Abs(x) < math.Pow10(-digits)/2 {
			x = 0 // no minus
		}
		return strconv.FormatFloat(x, 'f', digits, 64)
	}
	m, a, b := f(s.Median), f(s.Least), f(s.Most)
	if m == a && m == b {
		return m
	}
	return fmt.Sprintf("%s (%s-%s)", m, a, b)
}
