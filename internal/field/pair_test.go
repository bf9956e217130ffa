package field

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/transport"
)

// port is where everybody listens: each laboratory is a world of its own.
const port = "5000"

// lab builds a laboratory or says what is missing for one.
func lab(t testing.TB, o netlab.Options) *netlab.Lab {
	t.Helper()
	needs.Netns(t)
	return netlab.ForTest(t, o)
}

// addr is a host's address on a path, in IPv6 for the paths named.
func addr(h *netlab.Host, path int, six ...int) netip.Addr {
	for _, p := range six {
		if p == path {
			return h.Addr6(path)
		}
	}
	return h.Addr4(path)
}

// pool lists a host's addresses on all paths as Dial and Listen take them, with the port unless that is empty.
func pool(h *netlab.Host, paths int, port string, six ...int) string {
	var out []string
	for i := range paths {
		a := addr(h, i, six...)
		switch {
		case port != "":
			out = append(out, net.JoinHostPort(a.String(), port))
		case a.Is6():
			out = append(out, "["+a.String()+"]")
		default:
			out = append(out, a.String())
		}
	}
	return strings.Join(out, ",")
}

// own makes a configuration whose sockets nobody shares. Dials with the same addresses share theirs, and every
// laboratory has the same addresses; a function in the configuration keeps them apart.
func own(cfg transport.Config) *transport.Config {
	cfg.Control = func(string, string, syscall.RawConn) error { return nil }
	return &cfg
}

// listen listens in host B.
func listen(t testing.TB, h *netlab.Host, pool string, cfg transport.Config) *transport.Listener {
	t.Helper()
	var l *transport.Listener
	require.NoError(t, h.Do(func() (err error) {
		l, err = transport.Listen(pool, own(cfg))
		return err
	}))
	t.Cleanup(func() { l.Close() })
	return l
}

// dial dials from a host.
func dial(t testing.TB, h *netlab.Host, local, remote string, cfg transport.Config) *transport.Association {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cfg.Local = local
	var a *transport.Association
	require.NoError(t, h.Do(func() (err error) {
		a, err = transport.Dial(ctx, remote, own(cfg))
		return err
	}))
	t.Cleanup(func() { a.Abort("the test is over") })
	return a
}

// accept takes the next association.
func accept(t testing.TB, l *transport.Listener) *transport.Association {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := l.AcceptAssociation(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { b.Abort("the test is over") })
	return b
}

// pair is one association across a laboratory, seen from both ends: a dialled in host A, b accepted in host B.
type pair struct {
	lab  *netlab.Lab
	six  []int
	a, b *transport.Association
	atA  *diary
	atB  *diary
}

// connect makes an association over every path of a laboratory and waits until each path works from both ends.
func connect(t testing.TB, l *netlab.Lab, cfg transport.Config, six ...int) *pair {
	t.Helper()
	n := l.Paths()
	ln := listen(t, l.B, pool(l.B, n, port, six...), cfg)
	p := &pair{lab: l, six: six}
	p.a = dial(t, l.A, pool(l.A, n, "", six...), pool(l.B, n, port, six...), cfg)
	p.b = accept(t, ln)
	p.atA, p.atB = watch(p.a), watch(p.b)
	require.Eventually(t, func() bool { return p.active(p.a) == n && p.active(p.b) == n }, 20*time.Second, time.Millisecond,
		"every path must become active")
	return p
}

// active counts the active paths of one end.
func (p *pair) active(x *transport.Association) int {
	n := 0
	for _, i := range x.Paths() {
		if i.State == heartbeat.Active && !i.Gone {
			n++
		}
	}
	return n
}

// index is the laboratory's number of a path by the address at one end.
func (p *pair) index(a netip.Addr) int {
	for i := range p.lab.Paths() {
		if a == addr(p.lab.A, i, p.six...) || a == addr(p.lab.B, i, p.six...) {
			return i
		}
	}
	return -1
}

// current is the number of the path that data of one end takes, -1 if there is none.
func (p *pair) current(x *transport.Association) int {
	for _, i := range x.Paths() {
		if i.Current {
			return p.index(i.Path.Local.Addr)
		}
	}
	return -1
}

// beside counts the bytes that both ends received on every path but one, by what the receiver says.
func (p *pair) beside(path int) (n uint64) {
	for _, x := range []*transport.Association{p.a, p.b} {
		for _, i := range x.Paths() {
			if p.index(i.Path.Local.Addr) != path {
				n += i.BytesReceived
			}
		}
	}
	return n
}

// tell logs what both ends know, for a failure's reader.
func (p *pair) tell(t testing.TB) {
	t.Helper()
	for _, e := range []struct {
		name string
		x    *transport.Association
		d    *diary
	}{{"A", p.a, p.atA}, {"B", p.b, p.atB}} {
		t.Logf("%s: %+v", e.name, e.x.Stats())
		for _, i := range e.x.Paths() {
			if i.State == heartbeat.Unconfirmed {
				continue // the pairs across, between which there is no way
			}
			t.Logf("%s: %v: %v, current %v, errors %d, RTT %v, RTO %v, window %d, in flight %d, payload %d, sent %d again %d, timeouts %d %d, heartbeats %d %d",
				e.name, i.Path.Pair, i.State, i.Current, i.Errors, i.RTT, i.RTO, i.CongestionWindow, i.InFlight, i.Payload, i.DataSent,
				i.DataResent, i.Timeouts, i.ProbeTimeouts, i.HeartbeatsSent, i.HeartbeatsAcked)
		}
		t.Logf("%s:\n%s", e.name, e.d)
	}
}

// diary keeps the events of an association.
type diary struct {
	mu     sync.Mutex
	events []transport.Event
}

func watch(x *transport.Association) *diary {
	d := &diary{}
	ch := x.Events()
	go func() {
		for ev := range ch {
			d.mu.Lock()
			d.events = append(d.events, ev)
			d.mu.Unlock()
		}
	}()
	return d
}

// find returns the first event that fits.
func (d *diary) find(fits func(e *transport.Event) bool) (transport.Event, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.events {
		if fits(&d.events[i]) {
			return d.events[i], true
		}
	}
	return transport.Event{}, false
}

// failed returns the event by which a path became PotentiallyFailed after an instant.
func (d *diary) failed(p *pair, path int, after time.Time) (transport.Event, bool) {
	return d.find(func(e *transport.Event) bool {
		return e.Kind == transport.EventPathState && e.To == heartbeat.PotentiallyFailed && p.index(e.Path.Local.Addr) == path &&
			!e.Time.Before(after)
	})
}

// left reports whether data left a path after an instant.
func (d *diary) left(p *pair, path int, after time.Time) bool {
	_, found := d.find(func(e *transport.Event) bool {
		return e.Kind == transport.EventPathChosen && p.index(e.Previous.Local.Addr) == path && !e.Time.Before(after)
	})
	return found
}

// failures counts how often a path became PotentiallyFailed.
func (d *diary) failures() int {
	n := 0
	d.find(func(e *transport.Event) bool {
		if e.Kind == transport.EventPathState && e.To == heartbeat.PotentiallyFailed {
			n++
		}
		return false
	})
	return n
}

// String prints one event a line.
func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	for _, e := range d.events {
		fmt.Fprintf(&b, "%s %v\n", e.Time.Format("05.000"), e)
	}
	return b.String()
}
