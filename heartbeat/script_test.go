package heartbeat

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts in testdata print into them")

// TestScripts runs the stories in testdata. Each command is followed by a line of dashes and what it prints; a change of
// behaviour is a difference in a text that people can read. Lines beginning with # are comments.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			got := runScript(t, string(text))
			if *rewrite {
				require.NoError(t, os.WriteFile(name, []byte(got), 0o644))
				return
			}
			require.Equal(t, string(text), got)
		})
	}
}

// runScript executes a script and returns it with the output the commands printed.
func runScript(t *testing.T, text string) string {
	var out strings.Builder
	w := &world{t: t}
	skipping := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "----":
			skipping = true
		case line == "":
			skipping = false
			out.WriteString("\n")
		case skipping:
		case strings.HasPrefix(line, "#"):
			out.WriteString(line + "\n")
		default:
			out.WriteString(line + "\n----\n")
			w.out = &out
			w.command(strings.Fields(line))
		}
	}
	return out.String()
}

// world is a path with a round-trip time, the timeout its owner keeps, and answers under way.
type world struct {
	t       *testing.T
	out     *strings.Builder
	cfg     Config
	m       Monitor
	start   time.Time
	now     time.Time
	rtt     time.Duration // 0: the path is dark
	rto     time.Duration // without backoff
	backoff int
	nonce   uint64
	replies []reply
	refuse  bool
}

type reply struct {
	at    time.Time
	nonce uint64
}

func (w *world) timeout() time.Duration { return min(w.rto<<w.backoff, 30*time.Second) }

func (w *world) printf(format string, args ...any) {
	stamp := fmt.Sprintf("%.3fs", w.now.Sub(w.start).Seconds())
	fmt.Fprintf(w.out, "%9s %s\n", stamp, fmt.Sprintf(format, args...))
}

func (w *world) verdict(v Verdict) {
	switch {
	case v.Changed() && v.Counted:
		w.printf("%v, error %d", v, w.m.Errors())
	case v.Changed():
		w.printf("%v", v)
	case v.Counted:
		w.printf("error %d (%v)", w.m.Errors(), v.Reason)
	}
	if v.Counted {
		w.backoff++
	}
}

func (w *world) command(f []string) {
	switch f[0] {
	case "path":
		w.path(f[1:])
		return
	case "rtt":
		d, err := time.ParseDuration(f[1])
		require.NoError(w.t, err)
		w.rtt = d
		return
	case "dark":
		w.rtt = 0
		return
	case "refuse":
		w.refuse = f[1] == "on"
		return
	case "run":
		d, err := time.ParseDuration(f[1])
		require.NoError(w.t, err)
		w.run(w.now.Add(d))
		return
	case "skip":
		d, err := time.ParseDuration(f[1])
		require.NoError(w.t, err)
		out, before := w.out, w.m.Stats()
		w.out = new(strings.Builder)
		w.run(w.now.Add(d))
		w.out = out
		w.printf("%d heartbeats, %d answers", w.m.Stats().Sent-before.Sent, w.m.Stats().Answered-before.Answered)
	case "stats":
		w.printf("%+v", w.m.Stats())
		return
	case "suspect":
		w.verdict(w.m.Suspect(w.now))
	case "acked":
		w.verdict(w.m.DataAcked(w.now))
	case "t3":
		w.verdict(w.m.DataTimeout(w.now, w.timeout()))
	case "fault":
		w.verdict(w.m.Fault(w.now, true))
	case "repair":
		w.verdict(w.m.Fault(w.now, false))
	case "sendfailed":
		w.verdict(w.m.SendFailed(w.now))
	case "probe":
		w.m.Probe(w.now)
	case "used":
		w.m.Used(w.now)
	case "data":
		w.m.DataSent(w.now)
	case "size":
		w.send(Size)
	case "show":
	default:
		w.t.Fatalf("unknown command %q", f[0])
	}
	w.show()
}

func (w *world) path(args []string) {
	w.cfg = DefaultConfig()
	confirmed := true
	for _, a := range args {
		switch a {
		case "rfc9260":
			w.cfg = RFC9260Config()
		case "disabled":
			w.cfg.Disabled = true
		case "unconfirmed":
			confirmed = false
		default:
			w.t.Fatalf("unknown word %q", a)
		}
	}
	require.NoError(w.t, w.cfg.Check())
	w.start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w.now = w.start
	w.rtt, w.rto, w.backoff = 20*time.Millisecond, 400*time.Millisecond, 0
	w.m.Init(&w.cfg, w.now, confirmed)
	w.show()
}

func (w *world) show() {
	next := "never"
	if at, ok := w.m.Next(); ok {
		next = "in " + at.Sub(w.now).Round(time.Millisecond).String()
	}
	w.printf("%v errors=%d returns=%d flaps=%d next %s", w.m.State(), w.m.Errors(), w.m.ReturnsLeft(), w.m.Flaps(), next)
}

// run is the owner's loop: answers and deadlines in the order of time.
func (w *world) run(until time.Time) {
	for turns := 0; ; turns++ {
		require.Less(w.t, turns, 10000, "the monitor wants attention without end")
		at, ok := w.m.Next()
		if len(w.replies) > 0 && (!ok || !w.replies[0].at.After(at)) {
			r := w.replies[0]
			if r.at.After(until) {
				break
			}
			w.replies = w.replies[1:]
			w.now = r.at
			w.answer(r.nonce)
			continue
		}
		if !ok || at.After(until) {
			break
		}
		if at.After(w.now) {
			w.now = at
		}
		w.verdict(w.m.Expire(w.now, w.timeout()))
		if w.m.Due(w.now) {
			w.send(w.m.Purpose())
		}
	}
	w.now = until
}

func (w *world) send(p Purpose) {
	if w.refuse {
		w.printf("heartbeat %v refused", p)
		w.verdict(w.m.SendFailed(w.now))
		return
	}
	w.nonce++
	w.printf("heartbeat %v", p)
	w.m.Sent(w.now, w.nonce, p, w.timeout(), 0.5)
	if w.rtt > 0 {
		w.replies = append(w.replies, reply{w.now.Add(w.rtt), w.nonce})
	}
}

func (w *world) answer(nonce uint64) {
	rtt, v, ok := w.m.Ack(w.now, nonce)
	if !ok {
		w.printf("answer to nothing")
		return
	}
	w.printf("answer after %v", rtt)
	w.backoff = 0
	w.rto = max(400*time.Millisecond, 2*rtt)
	w.verdict(v)
}
