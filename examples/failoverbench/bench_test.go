package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/needs"
)

// TestSmoke runs one round of one story over every default transport, and reads the file it wrote once more. How long
// anything takes is not its business.
func TestSmoke(t *testing.T) {
	needs.Netns(t)
	file := filepath.Join(t.TempDir(), "figures.json")
	o, err := parse([]string{"-stories", "cut", "-rtt", "0", "-rounds", "1", "-after", "500ms", "-patience", "500ms", "-repeats", "0",
		"-explain", "-json", file}, io.Discard)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out, progress bytes.Buffer
	err = run(ctx, o, &out, &progress)
	t.Logf("%s\n%s\n%v", progress.String(), out.String(), err)

	rep, err := readReport([]string{file}, nil)
	require.NoError(t, err)
	require.Len(t, rep.Cells, len(o.lanes))
	for i, c := range rep.Cells {
		require.Equal(t, "cut@0", c.id())
		if l := o.lanes[i]; !l.ours {
			continue // a kernel need not have MPTCP
		}
		require.Len(t, c.Runs, 1, "%v", c.Failed)
		require.Empty(t, c.Runs[0].Lost)
		require.Positive(t, c.Runs[0].Gap)
		require.Positive(t, c.Runs[0].Records)
		require.NotEmpty(t, c.Runs[0].Why)
		require.NotContains(t, progress.String(), "BAD")
	}
	var svg bytes.Buffer
	require.NoError(t, picture(&svg, rep))
	wellFormed(t, svg.String())
}

func wellFormed(t *testing.T, svg string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
	}
}

// stream is a load as it might have gone: a record is due each millisecond and read after the delay that f gives, or never
// if that is negative.
func stream(count int, f func(i int) time.Duration) *load {
	l := &load{size: 1024, count: count}
	last := time.Duration(0)
	for i := range count {
		due := time.Duration(i) * recordEvery
		l.due, l.put = append(l.due, due), append(l.put, due)
		if d := f(i); d >= 0 {
			last = max(last, due+d)
			l.read = append(l.read, last)
		}
	}
	return l
}

func TestFigures(t *testing.T) {
	const fault = 500 * time.Millisecond
	steady := func(int) time.Duration { return 10 * time.Millisecond }
	for _, tt := range []struct {
		name string
		f    func(i int) time.Duration
		want figures
	}{
		{"nothing happens", steady, figures{Gap: 1, Delay: 10, FromWrite: 10, GapBefore: 1, DelayBefore: 10, Records: 500}},
		{"a standstill", func(i int) time.Duration {
			if i >= 500 && i < 540 {
				return time.Duration(550-i) * time.Millisecond
			}
			return 10 * time.Millisecond
		}, figures{Gap: 41, Delay: 50, FromWrite: 50, GapBefore: 1, DelayBefore: 10, Records: 500}},
		{"a hiccup before", func(i int) time.Duration {
			if i == 300 {
				return 30 * time.Millisecond
			}
			return 10 * time.Millisecond
		}, figures{Gap: 1, Delay: 10, FromWrite: 10, GapBefore: 21, DelayBefore: 30, Records: 500}},
		{"the end", func(i int) time.Duration {
			if i >= 490 {
				return -1
			}
			return 10 * time.Millisecond
		}, figures{Gap: 1001, Delay: 1010, FromWrite: 1010, Stalled: true, GapBefore: 1, DelayBefore: 10, Records: 510, TooLate: 510, Missing: 510}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := stream(1000, tt.f)
			require.Equal(t, tt.want, l.figures(100*time.Millisecond, fault, 1500*time.Millisecond))
		})
	}
	l := stream(1000, steady)
	l.late = []pause{{at: 400 * time.Millisecond, late: 9 * time.Millisecond}, {at: 600 * time.Millisecond, late: 3 * time.Millisecond}}
	require.Equal(t, 3.0, l.figures(0, fault, time.Second).SenderLate)
}

// TestLoad passes records through a pipe that is closed in the middle, and one that damages them.
func TestLoad(t *testing.T) {
	pass := func(count int, damage func(i int, b []byte)) *load {
		l := &load{size: 64, count: 20, start: now()}
		r, w := io.Pipe()
		i := 0
		through := writer(func(b []byte) (int, error) {
			if i == count {
				return 0, io.ErrClosedPipe
			}
			b = bytes.Clone(b)
			damage(i, b)
			i++
			return w.Write(b)
		})
		l.run(nil, through, r, func() { w.Close(); r.Close() })
		return l
	}
	l := pass(20, func(int, []byte) {})
	require.NoError(t, errors.Join(l.lost, l.bad))
	require.Len(t, l.read, 20)
	l = pass(5, func(int, []byte) {})
	require.ErrorIs(t, l.lost, io.ErrClosedPipe)
	require.NoError(t, l.bad)
	l = pass(20, func(i int, b []byte) { b[7] += byte(i / 10) })
	require.ErrorContains(t, l.bad, "record 11 came in place of record 10")
	l = pass(20, func(i int, b []byte) { b[40] ^= byte(i / 10) })
	require.ErrorContains(t, l.bad, "record 10 is damaged at byte 40")
}

type writer func(b []byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// made is a report without a measurement.
func made(t *testing.T) *report {
	t.Helper()
	o, err := parse([]string{"-stories", "cut,back", "-rtt", "0,20ms", "-panels", "cut@20ms,back@0"}, io.Discard)
	require.NoError(t, err)
	rep := newReport(o)
	for _, s := range o.stories {
		for _, rtt := range o.rtts {
			for k, c := range rep.add(s, rtt, o.lanes) {
				for run := range 3 {
					l := stream(1500, func(i int) time.Duration {
						switch wait := 500 + 10<<(2*k) + run; {
						case i < 500 || i >= wait:
							return rtt / 2
						case c.Transport == "tcp":
							return -1
						default:
							return time.Duration(wait-i) * time.Millisecond
						}
					})
					if c.Transport == "tcp" {
						l.read = l.read[:500]
					}
					r := &result{figures: l.figures(0, 500*time.Millisecond, 2*time.Second), Trace: l.trace(500*time.Millisecond, 2*time.Second)}
					c.keep(r)
				}
			}
		}
	}
	return rep
}

func TestReport(t *testing.T) {
	rep := made(t)
	require.NoError(t, rep.verdict())
	var out bytes.Buffer
	rep.table(&out)
	t.Log(out.String())
	require.Contains(t, out.String(), "| silent cut, both ways, RTT near 0         | multihome            | 12 (11-13) ")
	require.Contains(t, out.String(), "| stalls, > 1501 |")

	var js, svg bytes.Buffer
	require.NoError(t, rep.writeJSON(&js))
	file := filepath.Join(t.TempDir(), "figures.json")
	require.NoError(t, os.WriteFile(file, js.Bytes(), 0o600))
	again, err := readReport([]string{file}, nil)
	require.NoError(t, err)
	var table bytes.Buffer
	again.table(&table)
	require.Equal(t, out.String(), table.String())
	require.NoError(t, picture(&svg, again), "what the picture shows is in the file")
	wellFormed(t, svg.String())
	both, err := readReport([]string{file, file}, []string{"back@0"})
	require.NoError(t, err)
	require.Len(t, both.Cells, len(rep.Cells))
	require.Len(t, both.Cells[0].Runs, 2*len(rep.Cells[0].Runs), "runs of two files, one line")
	var brief bytes.Buffer
	again.brief(&brief)
	t.Log(brief.String())
	require.Contains(t, brief.String(), "| silent cut, both ways, RTT 20 ms          | 10 / 11; 1.0 / 10 ")
	require.Contains(t, brief.String(), "| stalls; 1.0 / 10 ")
	require.Equal(t, []string{"back@0"}, both.Panels)
	again.Panels = []string{"cut@100ms"}
	require.Error(t, picture(&svg, again))

	rep.Cells[1].Runs[0].bad = errors.New("record 1 came twice")
	require.ErrorContains(t, rep.verdict(), "record 1 came twice")
	rep.Cells[1].Runs[0] = &result{figures: figures{Missing: 3, Stalled: true}}
	require.ErrorContains(t, rep.verdict(), "3 records did not arrive in time")
	require.False(t, (&result{figures: figures{Gap: 3}, EmulatorLate: 4}).counts())
	require.True(t, (&result{figures: figures{Gap: 4}, EmulatorLate: 4}).counts())
}

func TestOptions(t *testing.T) {
	for _, args := range [][]string{
		{"-stories", "earthquake"}, {"-transports", "quic"}, {"-rtt", "soon"}, {"-rtt", "-1ms"}, {"-rounds", "0"}, {"-record", "8"},
		{"-panels", "cut@3ms"}, {"more"},
	} {
		_, err := parse(args, io.Discard)
		require.Error(t, err, "%v", args)
	}
	o, err := parse(nil, io.Discard)
	require.NoError(t, err)
	require.Len(t, o.stories, len(stories))
	_, err = (&options{from: []string{filepath.Join(t.TempDir(), "none")}}).report(context.Background(), io.Discard)
	require.ErrorIs(t, err, os.ErrNotExist)
}
