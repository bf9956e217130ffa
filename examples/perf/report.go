package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// report is the result, and what -json prints. Times are seconds unless the name says otherwise.
type report struct {
	Mode         string    `json:"mode"`
	Direction    string    `json:"direction"`
	TCP          bool      `json:"tcp"`
	Server       string    `json:"server"`
	Associations int       `json:"associations"`
	Streams      int       `json:"streams"` // of each association
	Size         int64     `json:"size"`
	Profile      string    `json:"profile"`
	Policy       string    `json:"policy"`
	Interrupted  bool      `json:"interrupted"`
	Setup        float64   `json:"setup_seconds"` // until all associations were ready
	Up           direction `json:"up"`
	Down         direction `json:"down"`
	Latency      *latency  `json:"latency,omitempty"`
	CPU          cpu       `json:"cpu"`
	Totals       totals    `json:"totals"`
	Paths        []pathRow `json:"paths"` // of the first associations
	Events       []event   `json:"events"`
	Intervals    []row     `json:"intervals"`
}

// direction is what went one way. Up is what the client sent. Of requests, up has them and down the answers.
type direction struct {
	Sent              int64   `json:"sent_bytes"`
	Received          int64   `json:"received_bytes"`
	SentMessages      int64   `json:"sent_messages"` // of mode bulk: writes
	ReceivedMessages  int64   `json:"received_messages"`
	Seconds           float64 `json:"seconds"` // from the beginning until the last byte had arrived
	BytesPerSecond    float64 `json:"bytes_per_second"`
	MessagesPerSecond float64 `json:"messages_per_second"`
}

func (d *direction) rate() {
	if d.Seconds > 0 {
		d.BytesPerSecond = float64(d.Received) / d.Seconds
		d.MessagesPerSecond = float64(d.ReceivedMessages) / d.Seconds
	}
}

// latency tells of the times from a request to its answer, in microseconds.
type latency struct {
	Count uint64  `json:"count"`
	Mean  float64 `json:"mean_us"`
	Min   float64 `json:"min_us"`
	P50   float64 `json:"p50_us"`
	P90   float64 `json:"p90_us"`
	P99   float64 `json:"p99_us"`
	P999  float64 `json:"p99.9_us"`
	Max   float64 `json:"max_us"`
}

func latencyOf(s *snapshot) *latency {
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	return &latency{s.n, us(s.mean()), us(time.Duration(s.least)), us(s.quantile(0.5)), us(s.quantile(0.9)), us(s.quantile(0.99)),
		us(s.quantile(0.999)), us(time.Duration(s.max))}
}

// cpu is the processor time of both processes, the kernel's share included, while the data ran. Other work of a server is in it.
type cpu struct {
	Client     float64 `json:"client_seconds"`
	Server     float64 `json:"server_seconds"`
	PerGB      float64 `json:"seconds_per_gb"` // of both, for 10^9 bytes received
	PerMessage float64 `json:"microseconds_per_message"`
}

// totals are sums over all associations, of what this side saw.
type totals struct {
	PacketsSent   uint64 `json:"packets_sent"`
	PacketsIn     uint64 `json:"packets_received"`
	PathChanges   uint64 `json:"path_changes"`
	Moved         uint64 `json:"chunks_moved"`
	Spurious      uint64 `json:"chunks_resent_needlessly"`
	Resent        uint64 `json:"bytes_resent"`
	Copied        uint64 `json:"bytes_copied"`
	Timeouts      uint64 `json:"timeouts"`
	ProbeTimeouts uint64 `json:"probe_timeouts"`
}

// pathRow is a path at the end, seen from the client.
type pathRow struct {
	Association int    `json:"association"`
	Local       string `json:"local"`
	Peer        string `json:"peer"`
	State       string `json:"state"`
	Current     bool   `json:"current"`
	RTT         int64  `json:"rtt_us"`
	Window      int    `json:"congestion_window"`
	Payload     int    `json:"payload"`
	Sent        uint64 `json:"bytes_sent"`
	Received    uint64 `json:"bytes_received"`
	Resent      uint64 `json:"data_resent"`
	Copied      uint64 `json:"data_copied"`
	Timeouts    uint64 `json:"timeouts"`
	Chosen      uint64 `json:"chosen"`
}

// event is what happened to a path.
type event struct {
	At          float64 `json:"at"`
	Association int     `json:"association"`
	Text        string  `json:"text"`
}

// row is what went within an interval.
type row struct {
	At      float64  `json:"at"`
	Seconds float64  `json:"seconds"`
	Up      count    `json:"up"`
	Down    count    `json:"down"`
	Latency *latency `json:"latency,omitempty"`
}

// report puts together what has been measured.
func (r *run) report(interrupted bool) *report {
	o := &r.order
	x := &report{Mode: o.Mode, Direction: o.Direction, TCP: r.tcp, Server: r.address, Associations: r.associations, Streams: o.Streams,
		Size: o.Size, Profile: r.tune.profile, Policy: o.Policy, Interrupted: interrupted, Setup: r.setup.Seconds(), Paths: []pathRow{}}
	var before, after float64
	for i, s := range r.sessions {
		out, in := s.flow.out.count(), s.flow.in.count()
		x.Up.Sent += out.Bytes
		x.Up.SentMessages += out.Messages
		x.Up.Received += s.result.Count.Bytes
		x.Up.ReceivedMessages += s.result.Count.Messages
		x.Up.Seconds = max(x.Up.Seconds, s.result.Seconds)
		x.Down.Received += in.Bytes
		x.Down.ReceivedMessages += in.Messages
		x.Down.Seconds = max(x.Down.Seconds, s.took.Seconds())
		x.Down.Sent += s.sent.Bytes
		x.Down.SentMessages += s.sent.Messages
		before, after = max(before, s.first.CPU), max(after, s.result.CPU)
		if l, ok := s.link.(*sctpLink); ok {
			x.paths(i, l)
		}
	}
	if o.Mode == requests { // the server answers what it receives
		x.Down.Sent, x.Down.SentMessages = x.Up.Received, x.Up.ReceivedMessages
		x.Latency = latencyOf(r.latency.read())
	}
	x.Up.rate()
	x.Down.rate()
	x.CPU = cpu{Client: r.cpu.Seconds(), Server: max(0, after-before)}
	both := x.CPU.Client + x.CPU.Server
	if n := x.Up.Received + x.Down.Received; n > 0 {
		x.CPU.PerGB = both / float64(n) * 1e9
	}
	n := x.Up.ReceivedMessages + x.Down.ReceivedMessages
	if o.Mode == requests {
		n = x.Down.ReceivedMessages
	}
	if n > 0 {
		x.CPU.PerMessage = both / float64(n) * 1e6
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	x.Events, x.Intervals = append([]event{}, r.events...), append([]row{}, r.rows...)
	return x
}

func (x *report) paths(i int, l *sctpLink) {
	st := l.a.Stats()
	x.Totals.PathChanges += st.PathChanges
	x.Totals.Moved += st.Moved
	x.Totals.Spurious += st.SpuriousResends
	for _, p := range l.a.Paths() {
		x.Totals.PacketsSent += p.PacketsSent
		x.Totals.PacketsIn += p.PacketsReceived
		x.Totals.Resent += p.DataResent
		x.Totals.Copied += p.DataCopied
		x.Totals.Timeouts += p.Timeouts
		x.Totals.ProbeTimeouts += p.ProbeTimeouts
		if i < shown {
			x.Paths = append(x.Paths, pathRow{i, p.Path.Local.String(), p.Path.Peer.String(), p.State.String(), p.Current, p.RTT.Microseconds(),
				p.CongestionWindow, p.Payload, p.BytesSent, p.BytesReceived, p.DataResent, p.DataCopied, p.Timeouts, p.Chosen})
		}
	}
}

// check says whether everything has arrived.
func (x *report) check() error {
	for _, d := range []direction{x.Up, x.Down} {
		if d.Sent != d.Received {
			return fmt.Errorf("%d bytes were sent and %d received", d.Sent, d.Received)
		}
	}
	return nil
}

func (x *report) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(x); err != nil {
		return err
	}
	return x.check()
}

// headline tells what is measured.
func (r *run) headline() string {
	o := &r.order
	what := fmt.Sprintf("%s %s, %d bytes a write", o.Mode, o.Direction, o.Size)
	switch o.Mode {
	case messages:
		what = fmt.Sprintf("messages %s, %d bytes each", o.Direction, o.Size)
	case requests:
		what = fmt.Sprintf("requests of %d bytes", o.Size)
	}
	kind := "association"
	if r.tcp {
		kind = "TCP session"
	}
	return fmt.Sprintf("%s in %v, %s each: %s", number(r.associations, kind), r.setup.Round(10*time.Microsecond), number(o.Streams, "stream"), what)
}

// number puts a plural where one belongs.
func number(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// text is a line of progress.
func (x *row) text(o *order) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%8.3f s", x.At)
	if l := x.Latency; l != nil {
		fmt.Fprintf(&b, "  %10.0f requests/s  p50 %8.1f µs  p99 %8.1f µs", float64(x.Down.Messages)/x.Seconds, l.P50, l.P99)
		return b.String()
	}
	for _, d := range []struct {
		name string
		on   bool
		n    count
	}{{"up", o.up(), x.Up}, {"down", o.down(), x.Down}} {
		if d.on {
			b.WriteString("  " + d.name + " " + speed(o, float64(d.n.Bytes)/x.Seconds, float64(d.n.Messages)/x.Seconds))
		}
	}
	return b.String()
}

// speed prints bytes a second, and messages where those are what counts.
func speed(o *order, bytes, messages float64) string {
	text := fmt.Sprintf("%10s/s  %7.3f Gbit/s", bytesText(bytes), bytes*8/1e9)
	if o.Mode != bulk {
		text += fmt.Sprintf("  %10.0f messages/s", messages)
	}
	return text
}

// text is the end of the output for people.
func (x *report) text() string {
	var b strings.Builder
	o := &order{Mode: x.Mode, Direction: x.Direction}
	if x.Interrupted {
		b.WriteString("interrupted\n")
	}
	for _, d := range []struct {
		name string
		on   bool
		d    direction
	}{{"up", o.up(), x.Up}, {"down", o.down(), x.Down}} {
		if d.on {
			fmt.Fprintf(&b, "%-8s  %s in %.3f s: %s\n", d.name, bytesText(float64(d.d.Received)), d.d.Seconds,
				strings.TrimSpace(speed(o, d.d.BytesPerSecond, d.d.MessagesPerSecond)))
		}
	}
	if l := x.Latency; l != nil {
		fmt.Fprintf(&b, "latency   min %.1f  p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f  max %.1f µs, mean %.1f, of %d\n",
			l.Min, l.P50, l.P90, l.P99, l.P999, l.Max, l.Mean, l.Count)
	}
	fmt.Fprintf(&b, "cpu       client %.2f s, server %.2f s", x.CPU.Client, x.CPU.Server)
	if x.Mode == bulk {
		fmt.Fprintf(&b, ": %.2f s for a GB\n", x.CPU.PerGB)
	} else {
		fmt.Fprintf(&b, ": %.2f µs for one of the %s\n", x.CPU.PerMessage, x.Mode)
	}
	if x.TCP {
		return b.String()
	}
	t := x.Totals
	fmt.Fprintf(&b, "paths     data moved %d times, %d chunks with it; %s resent (%d chunks needlessly), %s copied; %d timeouts, %d probes\n",
		t.PathChanges, t.Moved, bytesText(float64(t.Resent)), t.Spurious, bytesText(float64(t.Copied)), t.Timeouts, t.ProbeTimeouts)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  association\tlocal>peer\tstate\trtt\twindow\tpayload\tsent\treceived\tresent\tchosen")
	for _, p := range x.Paths {
		mark := " "
		if p.Current {
			mark = ">"
		}
		fmt.Fprintf(w, "%s %d\t%s>%s\t%s\t%v\t%d\t%d\t%d\t%d\t%d\t%d\n", mark, p.Association, p.Local, p.Peer, p.State,
			time.Duration(p.RTT)*time.Microsecond, p.Window, p.Payload, p.Sent, p.Received, p.Resent, p.Chosen)
	}
	w.Flush()
	return b.String()
}

// bytesText prints a number of bytes for people.
func bytesText(n float64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", n/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", n/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", n/1e3)
	}
	return fmt.Sprintf("%.0f B", n)
}
