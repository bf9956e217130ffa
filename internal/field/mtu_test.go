package field

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/transport"
)

// shrinkings make a path carry less than it did, and somebody says so: a router by ICMP, or our own kernel when it is asked to
// send.
var shrinkings = []struct {
	name   string
	six    []int
	shrink func(l *netlab.Lab) error
	floor  int // what packets hold at least when the search has ended
	most   int // what they may hold at most
}{
	{"router, IPv4, 1400", nil, func(l *netlab.Lab) error { return l.SetMTU(0, 1400) }, 1352, 1372},
	{"router, IPv6, 1400", []int{0}, func(l *netlab.Lab) error { return l.SetMTU(0, 1400) }, 1352, 1352},
	{"own link, IPv4, 1300", nil, func(l *netlab.Lab) error {
		_, err := l.RunA("ip", "link", "set", "dev", l.A.Interface(0), "mtu", "1300")
		return err
	}, 1232, 1272},
	{"own link, IPv6, 1300", []int{0}, func(l *netlab.Lab) error {
		_, err := l.RunA("ip", "link", "set", "dev", l.A.Interface(0), "mtu", "1300")
		return err
	}, 1232, 1252},
}

// TestPathShrinks sends without end over the only path, which has been found to carry Ethernet's packets, and takes a part of
// its size away: the flow hardly stops, nobody takes the path for dead, and the size that passes is found.
func TestPathShrinks(t *testing.T) {
	for _, tt := range shrinkings {
		t.Run(tt.name, func(t *testing.T) {
			l := lab(t, netlab.Options{Paths: 1, Delay: 5 * time.Millisecond})
			p := connect(t, l, transport.Config{}, tt.six...)
			stop, sent, got := make(chan struct{}), make(chan error, 1), make(chan error, 1)
			go func() {
				buf := make([]byte, 16<<10)
				for {
					select {
					case <-stop:
						sent <- nil
						return
					default:
					}
					if _, err := p.a.Write(buf); err != nil {
						sent <- err
						return
					}
				}
			}()
			var gap time.Duration
			go func() {
				buf := make([]byte, 16<<10)
				for last := time.Now(); ; {
					if _, err := p.b.Read(buf); err != nil {
						got <- err
						return
					}
					now := time.Now()
					gap, last = max(gap, now.Sub(last)), now
				}
			}()
			payload := func() int { return p.a.Paths()[0].Payload }
			ended := func(what string, fits func() bool) {
				t.Helper()
				for limit := time.Now().Add(patience); !fits(); time.Sleep(time.Millisecond) {
					if time.Now().After(limit) {
						p.tell(t)
						require.FailNow(t, what)
					}
				}
			}
			ended("Ethernet's size is not found", func() bool { return payload() >= 1452 })
			require.NoError(t, tt.shrink(l))
			start := time.Now()
			ended("packets do not become small", func() bool { return payload() < 1400 })
			t.Logf("packets are smaller after %v", time.Since(start).Round(time.Millisecond))
			ended("the size that passes is not found", func() bool { return payload() >= tt.floor })
			t.Logf("what passes is found after %v", time.Since(start).Round(time.Millisecond))
			time.Sleep(300 * time.Millisecond)
			require.LessOrEqual(t, payload(), tt.most)
			require.NotZero(t, p.a.Paths()[0].TooBig)
			ev, told := p.atA.find(func(e *transport.Event) bool { return e.Kind == transport.EventPathState && e.From == e.To })
			require.True(t, told)
			t.Log(ev)
			close(stop)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			require.NoError(t, <-sent)
			require.NoError(t, p.a.Shutdown(ctx))
			if err := <-got; !errors.Is(err, io.EOF) {
				require.ErrorIs(t, err, io.EOF)
			}
			t.Logf("largest gap %v", gap.Round(time.Millisecond))
		})
	}
}
