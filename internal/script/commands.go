package script

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-multihome/multihome/internal/simnet"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// call is one command being run.
type call struct {
	w *World
	Command
	used map[string]bool
}

// commands are the verbs of a transcript.
var commands map[string]func(c *call) error

func init() {
	commands = map[string]func(c *call) error{
		"net":       cmdNet,       // net a=10.0.0.1,10.1.0.1 b=10.0.0.2,10.1.0.2 delay=10ms: hosts, addresses, how links start
		"config":    cmdConfig,    // config a rto.min=1s: settings of the host's associations, before it listens or dials
		"change":    cmdChange,    // change a nofragments=true: parameters of a live association
		"value":     cmdValue,     // value a 3 100: what the scheduler is told of an outgoing stream
		"listen":    cmdListen,    // listen b
		"dial":      cmdDial,      // dial a b local=a1 remote=b1,b2: no waiting
		"connect":   cmdConnect,   // connect a b quiet: listen, dial, and wait until both are up; quiet prints nothing
		"link":      cmdLink,      // link a1-b1 down: see simnet.Shape.Set; link a1>b1 for one direction
		"filter":    cmdFilter,    // filter a1>b1 SACK count=2: lose the packets that hold a chunk of that type; without a type: no more
		"interface": cmdInterface, // interface a1 down: a local fault, which the endpoint is told; silent=yes: it is not; net=untouched: wrongly
		"nat":       cmdNAT,       // nat c1 a1,a2: these addresses seem to be c1 with other ports; nat forget: new ports
		"send":      cmdSend,      // send a 1MB stream=3 message=1000 ppid=7 unordered resends=1
		"stream":    cmdStream,    // stream a 100B every=10ms for=3s: records at regular times, which gaps measures
		"gaps":      cmdGaps,      // gaps b: the longest gap and delay of records read
		"at":        cmdAt,        // at 1s link a1-b1 down: a command later
		"advance":   cmdAdvance,   // advance 5s; quiet prints no events
		"until":     cmdUntil,     // until up|idle|closed a b max=10s
		"stall":     cmdStall,     // stall a 200ms: the host is not scheduled for so long
		"pause":     cmdPause,     // pause b: the user stops reading
		"resume":    cmdResume,    // resume b
		"recv":      cmdRecv,      // recv b: what was received
		"state":     cmdState,     // state a
		"paths":     cmdPaths,     // paths a
		"stats":     cmdStats,     // stats a: counters that are not zero
		"counts":    cmdCounts,    // counts a1>b1: the network's counters that are not zero
		"trace":     cmdTrace,     // trace on SACK DATA arwnd=yes: print packets, or those that hold one of these words; trace off
		"inject":    cmdInject,    // inject a1>b1 tag=0 sport=1 COOKIE-ACK 0x3f:0:aabb: a packet of chunks type:flags:value
		"icmp":      cmdICMP,      // icmp a1>b1 INIT port: an ICMP answer to the last packet with that chunk; by=router, bytes=8, tag=bad, mtu=1280
		"replay":    cmdReplay,    // replay a1>b1 COOKIE-ECHO from=c1: the last packet with that chunk once more
		"shutdown":  cmdShutdown,  // shutdown a
		"abort":     cmdAbort,     // abort a reason=text
		"primary":   cmdPrimary,   // primary a 1
		"heartbeat": cmdHeartbeat, // heartbeat a 1
		"reboot":    cmdReboot,    // reboot b: everything its endpoint knew is lost
	}
}

// Run runs one command. What it prints is appended to Out.
func (w *World) Run(cmd Command) error {
	if cmd.Verb == "#" {
		return nil
	}
	f := commands[cmd.Verb]
	if f == nil {
		return fmt.Errorf("unknown command %q", cmd.Verb)
	}
	c := &call{w: w, Command: cmd, used: map[string]bool{}}
	if err := f(c); err != nil {
		return fmt.Errorf("%s: %w", cmd.Text, err)
	}
	for k := range c.Keys {
		if !c.used[k] {
			return fmt.Errorf("%s: unknown setting %q", cmd.Text, k)
		}
	}
	return w.Err
}

// RunFile runs a transcript and returns what each block printed.
func (w *World) RunFile(f *File) ([]string, error) {
	var got []string
	for _, b := range f.Blocks {
		w.Out.Reset()
		for _, cmd := range b.Cmds {
			if err := w.Run(cmd); err != nil {
				return got, fmt.Errorf("%s:%d: %w", f.Name, cmd.Line, err)
			}
		}
		got = append(got, w.Out.String())
	}
	return got, nil
}

func (c *call) key(name, fallback string) string {
	c.used[name] = true
	if v, ok := c.Keys[name]; ok {
		return v
	}
	return fallback
}

func (c *call) arg(i int) string {
	if i < len(c.Args) {
		return c.Args[i]
	}
	return ""
}

func (c *call) host(i int) (*Host, error) {
	h := c.w.host(c.arg(i))
	if h == nil {
		return nil, fmt.Errorf("no host %q", c.arg(i))
	}
	return h, nil
}

// conn finds the association an argument names: "a" is host a's latest, "a/2" its second.
func (c *call) conn(i int) (*Conn, error) {
	name, num, picked := strings.Cut(c.arg(i), "/")
	h := c.w.host(name)
	if h == nil {
		return nil, fmt.Errorf("no host %q", name)
	}
	n := len(h.Conns)
	if picked {
		n, _ = strconv.Atoi(num)
	}
	if n < 1 || n > len(h.Conns) {
		return nil, fmt.Errorf("no association %q", c.arg(i))
	}
	return h.Conns[n-1], nil
}

func (c *call) print(format string, args ...any) {
	fmt.Fprintf(&c.w.Out, format+"\n", args...)
}

func cmdNet(c *call) error {
	if len(c.w.Hosts) > 0 {
		return errors.New("the network is there already")
	}
	var names []string
	for k, v := range c.Keys {
		c.used[k] = true
		if len(k) == 1 {
			names = append(names, k)
		} else if err := c.w.Net.Default.Set(k + "=" + v); err != nil {
			return err
		}
	}
	slices.Sort(names)
	for _, n := range names {
		addrs, err := parseAddrs(c.Keys[n])
		if err != nil {
			return err
		}
		c.w.AddHost(n, addrs...)
	}
	return nil
}

func parseAddrs(list string) (addrs []netip.Addr, err error) {
	for s := range strings.SplitSeq(list, ",") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, a)
	}
	return addrs, nil
}

func cmdListen(c *call) error {
	h, err := c.host(0)
	if err != nil {
		return err
	}
	return h.Listen()
}

// Listen opens the host for associations on SCTPPort.
func (h *Host) Listen() error {
	if h.EP == nil {
		h.Boot()
	}
	return h.EP.Listen(SCTPPort, nil)
}

func (c *call) dial() (*Conn, error) {
	from, err := c.host(0)
	if err != nil {
		return nil, err
	}
	to, err := c.host(1)
	if err != nil {
		return nil, err
	}
	if from.EP == nil {
		from.Boot()
	}
	var local []int
	for i, a := range from.Sim.Addrs {
		if want := c.key("local", ""); want == "" || slices.Contains(strings.Split(want, ","), c.w.Net.AddrName(a)) {
			local = append(local, i)
		}
	}
	var remote []netip.Addr
	for _, a := range to.Sim.Addrs {
		if want := c.key("remote", ""); want == "" || slices.Contains(strings.Split(want, ","), c.w.Net.AddrName(a)) {
			remote = append(remote, a)
		}
	}
	port, err := c.number("port", 0)
	if err != nil {
		return nil, err
	}
	return from.Dial(to, local, remote, uint16(port))
}

func cmdDial(c *call) error {
	_, err := c.dial()
	return err
}

func cmdConnect(c *call) error {
	to, err := c.host(1)
	if err != nil {
		return err
	}
	if to.EP == nil {
		if err := to.Listen(); err != nil {
			return err
		}
	}
	if quiet := slices.Contains(c.Args, "quiet"); quiet {
		c.w.Quiet = true
		defer func() { c.w.Quiet = false }()
	}
	conn, err := c.dial()
	if err != nil {
		return err
	}
	limit, err := time.ParseDuration(c.key("max", "60s"))
	if err != nil {
		return err
	}
	up := func() bool {
		return conn.Closed || conn.Up && len(to.Conns) > 0 && to.Conns[len(to.Conns)-1].Up
	}
	if !c.w.Until(limit, up) {
		c.w.say("not up after %v", limit)
	}
	return nil
}

func cmdLink(c *call) error {
	if len(c.Args) == 0 {
		return errors.New("which link?")
	}
	words := slices.Clone(c.Args[1:])
	for _, k := range sortedKeys(c.Keys) {
		c.used[k] = true
		words = append(words, k+"="+c.Keys[k])
	}
	return c.w.Net.Set(c.Args[0], words...)
}

func cmdInterface(c *call) error {
	a, ok := c.w.Net.Addr(c.arg(0))
	if !ok {
		return fmt.Errorf("no address %q", c.arg(0))
	}
	up := c.arg(1) == "up"
	if c.key("net", "") != "untouched" {
		c.w.Net.SetInterface(a, up)
	}
	for _, h := range c.w.Hosts {
		if i := slices.Index(h.Sim.Addrs, a); i >= 0 && c.key("silent", "") == "" {
			h.SetFault(i, !up)
		}
	}
	return nil
}

func cmdNAT(c *call) error {
	if c.arg(0) == "forget" && c.w.nat != nil {
		c.w.nat.Forget()
		return nil
	}
	outside, ok := c.w.Net.Addr(c.arg(0))
	if !ok {
		return fmt.Errorf("no address %q", c.arg(0))
	}
	var inside []netip.Addr
	for name := range strings.SplitSeq(c.arg(1), ",") {
		a, ok := c.w.Net.Addr(name)
		if !ok {
			return fmt.Errorf("no address %q", name)
		}
		inside = append(inside, a)
	}
	c.w.nat = c.w.Net.AddNAT(outside, inside...)
	return nil
}

func cmdSend(c *call) error {
	conn, err := c.conn(0)
	if err != nil {
		return err
	}
	n, err := simnet.ParseSize(c.arg(1))
	if err != nil {
		return err
	}
	size, err := simnet.ParseSize(c.key("message", "16KiB"))
	if err != nil {
		return err
	}
	sid, err := strconv.ParseUint(c.key("stream", "0"), 10, 16)
	if err != nil {
		return err
	}
	ppid, err := strconv.ParseUint(c.key("ppid", "0"), 0, 32)
	if err != nil {
		return err
	}
	j := &job{sid: uint16(sid), ppid: uint32(ppid), left: n, size: size, unordered: slices.Contains(c.Args, "unordered")}
	if v := c.key("resends", ""); v != "" {
		most, err := strconv.ParseUint(v, 10, 16)
		if err != nil {
			return err
		}
		j.limited, j.resends = true, uint16(most)
	}
	conn.ask(j)
	return nil
}

func cmdValue(c *call) error {
	conn, err := c.conn(0)
	if err != nil {
		return err
	}
	sid, err := strconv.ParseUint(c.arg(1), 10, 16)
	if err != nil {
		return err
	}
	value, err := strconv.ParseUint(c.arg(2), 10, 16)
	if err != nil {
		return err
	}
	return conn.A.SetStreamValue(uint16(sid), uint16(value))
}

func cmdAdvance(c *call) error {
	d, err := time.ParseDuration(c.arg(0))
	if err != nil {
		return err
	}
	if c.arg(1) == "quiet" {
		c.w.Quiet = true
		defer func() { c.w.Quiet = false }()
	}
	c.w.Advance(d)
	return nil
}

func cmdUntil(c *call) error {
	limit, err := time.ParseDuration(c.key("max", "60s"))
	if err != nil {
		return err
	}
	tests := map[string]func(*Conn) bool{
		"up":     func(k *Conn) bool { return k.Up },
		"idle":   func(k *Conn) bool { return k.Idle() },
		"closed": func(k *Conn) bool { return k.Closed },
		"eof":    func(k *Conn) bool { return k.EOF },
	}
	test := tests[c.arg(0)]
	if test == nil {
		return fmt.Errorf("until what? %q", c.arg(0))
	}
	done := func() bool {
		for i := 1; i < len(c.Args); i++ {
			if conn, err := c.conn(i); err != nil || !test(conn) {
				return false
			}
		}
		return true
	}
	if c.w.Until(limit, done) {
		c.w.say("%s", strings.Join(c.Args, " "))
	} else {
		c.w.say("not %s after %v", strings.Join(c.Args, " "), limit)
	}
	return nil
}

func cmdPause(c *call) error {
	conn, err := c.conn(0)
	if err == nil {
		conn.Paused = true
	}
	return err
}

func cmdResume(c *call) error {
	conn, err := c.conn(0)
	if err == nil {
		conn.Resume()
	}
	return err
}

func cmdShutdown(c *call) error {
	conn, err := c.conn(0)
	if err != nil {
		return err
	}
	conn.A.Shutdown(c.w.Now)
	conn.Host.flush(conn)
	return nil
}

func cmdAbort(c *call) error {
	conn, err := c.conn(0)
	if err != nil {
		return err
	}
	conn.A.Abort(c.w.Now, wire.CauseUserAbort, c.key("reason", ""))
	conn.Host.flush(conn)
	return nil
}

func (c *call) path() (*Conn, locator.PathID, error) {
	conn, err := c.conn(0)
	if err != nil {
		return nil, 0, err
	}
	n, err := strconv.ParseUint(c.arg(1), 10, 8)
	return conn, locator.PathID(n), err
}

func cmdPrimary(c *call) error {
	conn, id, err := c.path()
	if err != nil {
		return err
	}
	if err := conn.A.SetPrimary(c.w.Now, id); err != nil {
		c.w.say("%s: %v", conn.Name, err)
	}
	conn.Host.flush(conn)
	return nil
}

func cmdHeartbeat(c *call) error {
	conn, id, err := c.path()
	if err != nil {
		return err
	}
	if err := conn.A.Heartbeat(c.w.Now, id); err != nil {
		c.w.say("%s: %v", conn.Name, err)
	}
	conn.Host.flush(conn)
	return nil
}

func cmdReboot(c *call) error {
	h, err := c.host(0)
	if err != nil {
		return err
	}
	h.Boot()
	c.w.say("%s rebooted", h.Name)
	return nil
}
