//go:build unix

package field

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/transport"
)

// TestStalledProcess stops one end's process for 200 ms, again and again, while records flow in both directions. A
// machine that was busy for a moment is not a peer that died, and what it sends afterwards is all there.
func TestStalledProcess(t *testing.T) {
	const (
		stop   = 200 * time.Millisecond
		run    = 250 * time.Millisecond
		rounds = 4
	)
	records := int((rounds + 1) * (stop + run) / recordEvery)
	for _, tt := range []struct {
		name  string
		rtt   time.Duration
		dials bool // the stalled process dialled
	}{
		{"the dialler", 0, true},
		{"the listener", 0, false},
		{"the dialler, RTT 20", 20 * time.Millisecond, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := lab(t, netlab.Options{Delay: tt.rtt / 2})
			n := l.Paths()
			var c *child
			var x *transport.Association
			if tt.dials {
				ln := listen(t, l.A, pool(l.A, n, port), transport.Config{})
				c = start(t, l.B, order{Local: pool(l.B, n, ""), Remote: pool(l.A, n, port), Talk: records})
				x = accept(t, ln)
			} else {
				c = start(t, l.B, order{Local: pool(l.B, n, port), Talk: records})
				c.listening(t)
				x = dial(t, l.A, pool(l.A, n, ""), pool(l.B, n, port), transport.Config{})
			}
			d := watch(x)
			done := make(chan error, 1)
			go func() { done <- converse(x, records) }()
			for range rounds {
				time.Sleep(run)
				require.NoError(t, c.cmd.Process.Signal(syscall.SIGSTOP))
				time.Sleep(stop)
				require.NoError(t, c.cmd.Process.Signal(syscall.SIGCONT))
			}
			var err error
			select {
			case err = <-done:
			case <-time.After(patience):
				err = errors.New("the conversation stands still")
			}
			if err != nil {
				t.Logf("%+v\n%+v\n%v", x.Stats(), x.Paths(), d)
			}
			require.NoError(t, err)
			_, err = x.Read(make([]byte, 1))
			require.ErrorContains(t, err, "EOF", "the child ended the association in order")
			c.wait(t)
			_, down := d.find(func(e *transport.Event) bool { return e.To == heartbeat.Inactive && e.Kind == transport.EventPathState })
			require.False(t, down, "no path was given up:\n%v", d)
			t.Logf("%d records each way, %d failures of paths suspected", records, d.failures())
		})
	}
}
