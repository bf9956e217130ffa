package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// screen prints the time line, and below it the progress, which it overwrites when out is a terminal. Elsewhere it prints
// progress a line now and then.
type screen struct {
	out   *os.File
	live  bool
	below int // lines of progress standing on the terminal
	step  int64
}

func newScreen(out *os.File, plain bool) *screen {
	st, err := out.Stat()
	live := err == nil && st.Mode()&os.ModeCharDevice != 0 && !plain && os.Getenv("TERM") != "dumb"
	return &screen{out: out, live: live, step: -1}
}

// clear removes the progress from the terminal.
func (s *screen) clear() {
	if s.below > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.below)
		s.below = 0
	}
}

// line prints one line above the progress.
func (s *screen) line(format string, args ...any) {
	s.clear()
	fmt.Fprintf(s.out, format+"\n", args...)
}

// mark prints a line of the time line for now.
func (s *screen) mark(start time.Time, format string, args ...any) {
	s.markAt(start, time.Now(), format, args...)
}

func (s *screen) markAt(start, at time.Time, format string, args ...any) {
	s.line("%8.3f s  %s", at.Sub(start).Seconds(), fmt.Sprintf(format, args...))
}

// progress shows the state of things: always on a terminal, at each step of the way elsewhere.
func (s *screen) progress(text string, step int64) {
	if s.live {
		s.clear()
		fmt.Fprint(s.out, text)
		s.below = strings.Count(text, "\n")
		return
	}
	if step == s.step {
		return
	}
	s.step = step
	for _, l := range strings.Split(strings.TrimSpace(text), "\n") {
		fmt.Fprintf(s.out, "            %s\n", l)
	}
}
