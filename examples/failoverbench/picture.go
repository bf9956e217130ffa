package main

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// Measures of the picture in its own units, which are pixels where nobody scales it.
const (
	panelW, panelH     = 470.0, 210.0
	padLeft, padRight  = 52.0, 14.0
	padTop, padBottom  = 44.0, 34.0
	pictureTop         = 66.0
	defaultPanels      = 6
	plotW, plotH       = panelW - padLeft - padRight, panelH - padTop - padBottom
	leastMS, mostMS    = 0.1, 10000.0 // of the scale of delays, logarithmic
	textFill, gridLine = "#333", "#ddd"
)

// colours tell the transports apart, for eyes of all kinds, in the order of the lanes.
var colours = map[string]string{
	"multihome": "#0072b2", "redundant": "#009e73", "mptcp": "#d55e00", "mptcp-backup": "#cc79a7", "mptcp-rto50": "#e69f00", "tcp": "#777777",
}

// panelsOf names the stories in the picture: those asked for, or the first ones.
func panelsOf(rep *report) []string {
	if len(rep.Panels) > 0 {
		return rep.Panels
	}
	var ids []string
	for _, c := range rep.Cells {
		if n := len(ids); n < defaultPanels && (n == 0 || ids[n-1] != c.id()) {
			ids = append(ids, c.id())
		}
	}
	return ids
}

// picture draws the delay of each record over the time it was due, one line for each transport, one panel for each story.
func picture(w io.Writer, rep *report) error {
	type panel struct{ cells []*cell }
	var panels []panel
	var names []*cell // one of each transport, for the legend
	for _, id := range panelsOf(rep) {
		var p panel
		for _, c := range rep.Cells {
			if m := c.median(); c.id() == id && m != nil && m.Trace != nil {
				p.cells = append(p.cells, c)
			}
		}
		if len(p.cells) == 0 {
			return fmt.Errorf("the picture needs %s, which was not measured", id)
		}
		if len(p.cells) > len(names) {
			names = p.cells
		}
		panels = append(panels, p)
	}
	rows := (len(panels) + 1) / 2
	width, height := 2*panelW, pictureTop+float64(rows)*panelH+4
	if len(panels) == 1 {
		width = panelW
	}
	d := &drawing{}
	d.put(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g" font-family="DejaVu Sans, Verdana, sans-serif" font-size="11">`,
		width, height, width, height)
	d.put(`<rect width="%g" height="%g" fill="#fff"/>`, width, height)
	d.text(padLeft, 22, "start", 15, textFill, "How late each record is when something happens to the path it takes")
	d.text(padLeft, 39, "start", 10.5, textFill, fmt.Sprintf("a record of %d bytes each millisecond; the median run; %s", rep.Record, rep.System))
	x := padLeft
	for _, c := range names {
		d.put(`<path d="M%.1f 53h18" stroke="%s" stroke-width="3" fill="none"/>`, x, colours[c.Transport])
		d.text(x+23, 57, "start", 11.5, textFill, c.Name)
		x += 45 + 7*float64(len(c.Name))
	}
	for i, p := range panels {
		d.put(`<g transform="translate(%g %g)">`, panelW*float64(i%2), pictureTop+panelH*float64(i/2))
		d.panel(p.cells)
		d.put(`</g>`)
	}
	d.put(`</svg>`)
	_, err := io.WriteString(w, d.String())
	return err
}

// drawing is SVG in the making.
type drawing struct{ strings.Builder }

func (d *drawing) put(format string, args ...any) {
	fmt.Fprintf(d, format, args...)
	d.WriteByte('\n')
}

func (d *drawing) text(x, y float64, anchor string, size float64, fill, s string) {
	d.put(`<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%g" fill="%s">%s</text>`, x, y, anchor, size, fill, html.EscapeString(s))
}

// scale turns seconds since the fault and milliseconds of delay into places.
type scale struct{ from, to, top float64 }

func (s *scale) x(sec float64) float64 { return padLeft + plotW*(sec-s.from)/(s.to-s.from) }

func (s *scale) y(ms float64) float64 {
	part := math.Log(max(ms, leastMS)/leastMS) / math.Log(s.top/leastMS)
	return padTop + plotH*(1-min(part, 1))
}

// panel draws one story.
func (d *drawing) panel(cells []*cell) {
	s := &scale{from: -0.2, top: 100}
	for _, c := range cells {
		t := c.median().Trace
		s.to = max(s.to, float64(t.Due[len(t.Due)-1])/1e6)
		for i, delay := range t.Delay {
			if delay < 0 {
				delay = t.End - t.Due[i]
			}
			for s.top < mostMS && float64(delay)/1e3 > s.top {
				s.top *= 10
			}
		}
	}
	d.text(padLeft, 14, "start", 12, textFill, cells[0].title())
	var parts []string
	for _, c := range cells {
		m := c.median()
		line := number(m.Gap) + " / " + number(m.Delay) // the colour says whose
		if m.Stalled {
			line = "stalls"
		}
		parts = append(parts, fmt.Sprintf(`<tspan fill="%s">%s</tspan>`, colours[c.Transport], html.EscapeString(line)))
	}
	d.put(`<text x="%g" y="30" font-size="10.5" fill="%s">gap / delay, ms: %s</text>`, padLeft, textFill, strings.Join(parts, " · "))
	d.axes(s)
	// Ours last: on top.
	for i := len(cells) - 1; i >= 0; i-- {
		d.line(s, cells[i])
	}
}

// axes draws the grid, the numbers and the instant of the fault.
func (d *drawing) axes(s *scale) {
	for v := leastMS; v <= s.top*1.001; v *= 10 {
		y := s.y(v)
		d.put(`<path d="M%.1f %.1fh%.1f" stroke="%s"/>`, padLeft, y, plotW, gridLine)
		label := fmt.Sprintf("%g ms", v)
		if v >= 1000 {
			label = fmt.Sprintf("%g s", v/1000)
		}
		d.text(padLeft-5, y+4, "end", 10, textFill, label)
	}
	step := 0.5
	for (s.to-s.from)/step > 10 {
		step *= 2
	}
	for v := 0.0; v <= s.to+0.001; v += step {
		d.put(`<path d="M%.1f %.1fv4" stroke="%s"/>`, s.x(v), padTop+plotH, textFill)
		d.text(s.x(v), padTop+plotH+15, "middle", 10, textFill, fmt.Sprintf("%g s", v))
	}
	d.put(`<path d="M%.1f %.1fv%.1f" stroke="#000" stroke-dasharray="3 3"/>`, s.x(0), padTop, plotH)
	d.text(padLeft+plotW, padTop+plotH+28, "end", 10, textFill, "time since the fault at which the record was due")
}

// line draws the delay of one transport's records. Where several share a pixel their least and largest are drawn. Records
// that never came are dotted, at the time they had waited when patience ended.
func (d *drawing) line(s *scale, c *cell) {
	t := c.median().Trace
	var came, never strings.Builder
	column, lo, hi := -1, 0.0, 0.0
	flush := func() {
		if column < 0 {
			return
		}
		x := padLeft + float64(column)/columnsPerPixel
		point(&came, x, s.y(lo))
		if s.y(lo)-s.y(hi) > 0.5 {
			point(&came, x, s.y(hi))
		}
	}
	for i, due := range t.Due {
		sec := float64(due) / 1e6
		if sec < s.from || sec > s.to {
			continue
		}
		if t.Delay[i] < 0 {
			if waited := float64(t.End-due) / 1e3; i%10 == 0 {
				point(&never, s.x(sec), s.y(waited))
			}
			continue
		}
		delay, col := float64(t.Delay[i])/1e3, int((s.x(sec)-padLeft)*columnsPerPixel)
		if col != column {
			flush()
			column, lo, hi = col, delay, delay
		}
		lo, hi = min(lo, delay), max(hi, delay)
	}
	flush()
	width := 1.1
	if c.Transport == "multihome" {
		width = 1.6
	}
	const path = `<path d="%s" stroke="%s" stroke-width="%g" stroke-linejoin="round" fill="none"%s/>`
	if came.Len() > 0 {
		d.put(path, came.String(), colours[c.Transport], width, "")
	}
	if never.Len() > 0 {
		d.put(path, never.String(), colours[c.Transport], width, ` stroke-dasharray="2 3"`)
	}
}

const columnsPerPixel = 1

func point(b *strings.Builder, x, y float64) {
	mark := byte('L')
	if b.Len() == 0 {
		mark = 'M'
	}
	fmt.Fprintf(b, "%c%.1f %.1f", mark, x, y)
}
