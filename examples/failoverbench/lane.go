package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/transport"
)

// A lane is a way to carry records from host A to host B.
type lane struct {
	key, name string
	ours      bool

	// connect makes a connection that can use every path it ever will.
	connect func(ctx context.Context, l *netlab.Lab) (*road, error)
}

// road is one connection of a lane.
type road struct {
	w    io.Writer
	r    io.Reader
	stop func()          // ends both ends at once; calling it again is fine
	why  func() []string // what it saw and did about it, if it can tell
}

// port is where everybody listens: each laboratory is a world of its own.
const port = 5000

var lanes = []*lane{
	{key: "multihome", name: "multihome", ours: true, connect: multihome(transport.Failover)},
	{key: "redundant", name: "multihome, redundant", ours: true, connect: multihome(transport.Redundant)},
	{key: "mptcp", name: "MPTCP", connect: mptcp("signal", "")},
	{key: "mptcp-backup", name: "MPTCP, second path as backup", connect: mptcp("signal backup", "")},
	{key: "mptcp-rto50", name: "MPTCP, RTO.min 50 ms", connect: mptcp("signal", "50000")},
	{key: "tcp", name: "TCP (CUBIC)", connect: func(ctx context.Context, l *netlab.Lab) (*road, error) { return kernel(ctx, l, false) }},
}

func laneKeys() (keys []string) {
	for _, l := range lanes {
		keys = append(keys, l.key)
	}
	return keys
}

func laneOf(key string) (*lane, error) {
	for _, l := range lanes {
		if l.key == key {
			return l, nil
		}
	}
	return nil, fmt.Errorf("-transports %q: there are %s", key, strings.Join(laneKeys(), ", "))
}

// pool lists a host's addresses as transport takes them.
func pool(h *netlab.Host, suffix string) string {
	var out []string
	for _, a := range h.Addrs() {
		out = append(out, a.String()+suffix)
	}
	return strings.Join(out, ",")
}

// multihome makes an association with the default settings, but for the policy, and waits until both ends see every path
// active.
func multihome(policy transport.Policy) func(ctx context.Context, l *netlab.Lab) (*road, error) {
	return func(ctx context.Context, l *netlab.Lab) (*road, error) {
		a, b, err := associate(ctx, l, policy)
		if err != nil {
			return nil, err
		}
		atA, atB := a.Events(), b.Events()
		r := &road{w: a, r: b, stop: func() {
			a.Abort("measured")
			b.Abort("measured")
		}}
		for !allActive(a, l.Paths()) || !allActive(b, l.Paths()) {
			if err := nap(ctx, time.Millisecond); err != nil {
				r.stop()
				return nil, fmt.Errorf("not every path became active: %w", err)
			}
		}
		r.why = func() []string { return append(diary("A", a, atA), diary("B", b, atB)...) }
		return r, nil
	}
}

// associate dials from A to B.
func associate(ctx context.Context, l *netlab.Lab, policy transport.Policy) (a, b *transport.Association, err error) {
	// Dials with the same addresses share sockets unless their configurations differ, and all laboratories have the same
	// addresses. A function of its own makes a configuration differ.
	conf := func() *transport.Config {
		return &transport.Config{Policy: policy, Control: func(string, string, syscall.RawConn) error { return nil }}
	}
	suffix := ":" + strconv.Itoa(port)
	var ln *transport.Listener
	err = l.InB(func() (err error) {
		ln, err = transport.Listen(pool(l.B, suffix), conf())
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close() // what it accepted lives on
	err = l.InA(func() (err error) {
		c := conf()
		c.Local = pool(l.A, "")
		a, err = transport.Dial(ctx, pool(l.B, suffix), c)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if b, err = ln.AcceptAssociation(ctx); err != nil {
		return nil, nil, errors.Join(err, a.Abort(""))
	}
	return a, b, nil
}

// diary tells what one end saw and did, after its end.
func diary(name string, at *transport.Association, events <-chan transport.Event) (lines []string) {
	for _, ev := range rest(events) {
		lines = append(lines, fmt.Sprintf("%s %8.1f ms  %v", name, ms(ev.Time.Sub(epoch)), ev))
	}
	s := at.Stats()
	lines = append(lines, fmt.Sprintf("%s moved %d chunks in %d changes of path, %d spurious resends, %d stalls of this process seen",
		name, s.Moved, s.PathChanges, s.SpuriousResends, s.Stalls))
	for _, p := range at.Paths() {
		lines = append(lines, fmt.Sprintf("%s %v: %d bytes resent of %d, %d timeouts, %d probe timeouts, RTT %v",
			name, p.Path, p.DataResent, p.DataSent, p.Timeouts, p.ProbeTimeouts, p.RTT))
	}
	return lines
}

// rest takes the events of an association that has been aborted.
func rest(ch <-chan transport.Event) (all []transport.Event) {
	for {
		select {
		case ev, ok := <-ch:
			if !ok {
				return all
			}
			all = append(all, ev)
		case <-time.After(time.Second):
			return all
		}
	}
}

func allActive(a *transport.Association, n int) bool {
	for _, p := range a.Paths() {
		if p.State == heartbeat.Active && !p.Gone {
			n--
		}
	}
	return n <= 0
}

// nap waits, or returns the context's error.
func nap(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// mptcp makes a connection of the kernel's MPTCP over both paths: B announces its second address with the flags, and A
// joins from the address that its routes have for it. The minimum of the retransmission timeout is in microseconds.
func mptcp(flags, rtoMin string) func(ctx context.Context, l *netlab.Lab) (*road, error) {
	return func(ctx context.Context, l *netlab.Lab) (*road, error) {
		for _, h := range []*netlab.Host{l.A, l.B} {
			if err := sysctl(h, "net/mptcp/enabled", "1"); err != nil {
				return nil, err
			}
			if rtoMin != "" {
				if err := sysctl(h, "net/ipv4/tcp_rto_min_us", rtoMin); err != nil {
					return nil, err
				}
			}
			if _, err := h.Run(ctx, "ip", "mptcp", "limits", "set", "subflows", "8", "add_addr_accepted", "8"); err != nil {
				return nil, err
			}
		}
		for i := 1; i < l.Paths(); i++ {
			args := append([]string{"mptcp", "endpoint", "add", l.B.Addr4(i).String(), "dev", l.B.Interface(i)}, strings.Fields(flags)...)
			if _, err := l.B.Run(ctx, "ip", args...); err != nil {
				return nil, err
			}
		}
		r, err := kernel(ctx, l, true)
		if err != nil {
			return nil, err
		}
		for {
			joined, err := counter(l.B, "MPTcpExt", "MPJoinAckRx")
			if err == nil && joined >= int64(l.Paths()-1) {
				return r, nil
			}
			if err == nil {
				err = nap(ctx, time.Millisecond)
			}
			if err != nil {
				r.stop()
				return nil, fmt.Errorf("not every path was joined: %w", err)
			}
		}
	}
}

// kernel makes a TCP or MPTCP connection over path 0 and passes a byte each way, which MPTCP needs before it announces
// addresses. Both use CUBIC, whatever the system's default is.
func kernel(ctx context.Context, l *netlab.Lab, multi bool) (*road, error) {
	var set error
	control := func(_, _ string, c syscall.RawConn) error {
		return errors.Join(c.Control(func(fd uintptr) { set = useCubic(fd) }), set)
	}
	lc := net.ListenConfig{Control: control}
	lc.SetMultipathTCP(multi)
	var ln net.Listener
	err := l.InB(func() (err error) {
		// At any address: joining MPTCP subflows come to others of B's.
		ln, err = lc.Listen(ctx, "tcp4", netip.AddrPortFrom(netip.IPv4Unspecified(), port).String())
		return err
	})
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Control: control, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.A.Addr4(0), 0)), KeepAlive: -1}
	d.SetMultipathTCP(multi)
	var a, b net.Conn
	err = l.InA(func() (err error) {
		a, err = d.DialContext(ctx, "tcp4", netip.AddrPortFrom(l.B.Addr4(0), port).String())
		return err
	})
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	if dl, ok := ctx.Deadline(); ok {
		ln.(*net.TCPListener).SetDeadline(dl)
	}
	if b, err = ln.Accept(); err != nil {
		return nil, errors.Join(err, a.Close(), ln.Close())
	}
	// The listener stays open until the end: what joins a connection of MPTCP knocks there.
	r := &road{w: a, r: b, stop: func() {
		ln.Close()
		for _, c := range []net.Conn{a, b} {
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
	}}
	for _, c := range []net.Conn{a, b} {
		used, err := c.(*net.TCPConn).MultipathTCP()
		if err == nil && used != multi {
			err = fmt.Errorf("MPTCP used: %v", used)
		}
		if err == nil {
			_, err = c.Write([]byte{1})
		}
		if err != nil {
			r.stop()
			return nil, err
		}
	}
	var one [1]byte
	for _, c := range []net.Conn{a, b} {
		if _, err := io.ReadFull(c, one[:]); err != nil {
			r.stop()
			return nil, err
		}
	}
	return r, nil
}

// sysctl sets a value below /proc/sys in a host.
func sysctl(h *netlab.Host, name, value string) error {
	return h.Do(func() error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0) })
}

// counter reads one of a host's protocol counters.
func counter(h *netlab.Host, group, name string) (n int64, err error) {
	var text []byte
	err = h.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/netstat")
		return err
	})
	if err != nil {
		return 0, err
	}
	// Two lines a group: the names, then the values.
	var names []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != group+":" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, v := range f {
			if i < len(names) && names[i] == name {
				return strconv.ParseInt(v, 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("no counter %s %s", group, name)
}

// carried reads how many bytes a host's interface on each path has sent.
func carried(h *netlab.Host, paths int) ([]int64, error) {
	var text []byte
	err := h.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	})
	if err != nil {
		return nil, err
	}
	out := make([]int64, paths)
	for line := range strings.Lines(string(text)) {
		dev, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		for i := range out {
			// Eight columns of what was received stand before the bytes sent.
			if f := strings.Fields(rest); dev == h.Interface(i) && len(f) > 8 {
				if out[i], err = strconv.ParseInt(f[8], 10, 64); err != nil {
					return nil, err
				}
			}
		}
	}
	return out, nil
}
