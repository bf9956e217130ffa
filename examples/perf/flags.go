package main

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-multihome/multihome/transport"
)

const usage = `usage: perf server [flags] ADDRESSES
       perf client [flags] ADDRESSES
ADDRESSES are those of the server: 10.0.0.1:5000,10.0.1.1:5000. "perf server -h" and "perf client -h" list the flags.
`

// size is a flag for a number of bytes: 1500, 64K, 16M, 2G, in powers of 1024.
type size int64

func (s *size) Set(text string) error {
	shift := 0
	if text != "" {
		shift = 10 * (1 + strings.IndexByte("KMG", text[len(text)-1]&^0x20))
	}
	digits := text
	if shift > 0 {
		digits = text[:len(text)-1]
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > math.MaxInt64>>shift {
		return errors.New("want a number of bytes such as 1500, 64K, 16M or 2G")
	}
	*s = size(n << shift)
	return nil
}

func (s *size) String() string { return strconv.FormatInt(int64(*s), 10) }

// tuning is what both ends can set about associations.
type tuning struct {
	profile    string
	congestion string
	window     size
	memory     size
	socket     size
	payload    int
	maxPayload int
	redundant  int
	shards     int
	noOffload  bool
	noPacing   bool
	interleave bool
}

func (t *tuning) flags(fs *flag.FlagSet) {
	fs.StringVar(&t.profile, "profile", "default", "`default`, or rfc9260: the values and behaviour of the RFC alone")
	fs.StringVar(&t.congestion, "congestion", "", "congestion control: `cubic` or newreno (default: the profile's)")
	fs.Var(&t.window, "window", "send buffer and receive window in `bytes`, fixed (default: 1M growing to 16M)")
	fs.Var(&t.memory, "memory", "`bytes` that all associations may hold together (default 256M)")
	fs.Var(&t.socket, "socket-buffer", "`bytes` of the kernel's buffers of each socket, if the system gives that many (default 2M)")
	fs.IntVar(&t.payload, "payload", 0, "UDP payload in `bytes` that every path is taken to carry (default 1200)")
	fs.IntVar(&t.maxPayload, "max-payload", 0, "UDP payload in `bytes` up to which the path MTU is searched; -1: no search (default 8972, on the loopback 16432)")
	fs.IntVar(&t.redundant, "redundant-paths", 0, "`number` of paths of -policy redundant (default 2)")
	fs.IntVar(&t.shards, "shards", 0, "`number` of sockets that read each address (default 1)")
	fs.BoolVar(&t.noOffload, "no-offload", false, "hand the kernel packet by packet, without segmentation offload")
	fs.BoolVar(&t.noPacing, "no-pacing", false, "never spread a window over the round trip")
	fs.BoolVar(&t.interleave, "interleave", false, "interleave messages (RFC 8260) if both ends say so")
}

// config makes a Config of the flags.
func (t *tuning) config() (*transport.Config, error) {
	c := &transport.Config{}
	switch t.profile {
	case "default":
	case "rfc9260":
		c = transport.RFC9260()
	default:
		return nil, fmt.Errorf("-profile %s: want default or rfc9260", t.profile)
	}
	switch t.congestion {
	case "":
	case "cubic":
		c.Congestion = transport.CUBIC
	case "newreno":
		c.Congestion = transport.NewReno
	default:
		return nil, fmt.Errorf("-congestion %s: want cubic or newreno", t.congestion)
	}
	if t.window > 1<<30 || t.socket > 1<<30 {
		return nil, errors.New("-window and -socket-buffer take at most 1G")
	}
	c.SendBuffer, c.MaxSendBuffer = int(t.window), int(t.window)
	c.ReceiveWindow, c.MaxReceiveWindow = int(t.window), int(t.window)
	c.Memory = int64(t.memory)
	c.SocketReadBuffer, c.SocketWriteBuffer = int(t.socket), int(t.socket)
	c.PathPayload = t.payload
	if t.maxPayload != 0 {
		c.MaxPayload = t.maxPayload
	}
	c.RedundantPaths = t.redundant
	c.Shards = t.shards
	c.NoOffload = t.noOffload
	c.NoPacing = c.NoPacing || t.noPacing
	c.Interleaving = t.interleave
	// What both sides can have is agreed on during the setup, so the client's order needs no further questions.
	c.OutStreams, c.InStreams = maxStreams+1, maxStreams+1
	c.Backlog = 4096
	return c, c.Check()
}

// policies are the names that orders use.
var policies = map[string]transport.Policy{
	"": transport.PolicyDefault, "failover": transport.Failover, "redundant": transport.Redundant, "latency": transport.LowestLatency,
}

// flags reads the command line and returns the command. A wrong line has been explained when it returns an error.
func (p *perf) flags(args []string) (command string, err error) {
	if len(args) == 0 {
		p.say("perf: say server or client\n%s", usage)
		return "", errUsage
	}
	command = args[0]
	fs := flag.NewFlagSet("perf "+command, flag.ContinueOnError)
	fs.SetOutput(p.err)
	fs.Usage = func() {
		p.say("%s", usage)
		fs.PrintDefaults()
	}
	seconds := 10 * time.Second
	switch command {
	case "server":
		p.serverFlags(fs)
	case "client":
		p.clientFlags(fs, &seconds)
	case "-h", "-help", "--help", "help":
		p.say("%s", usage)
		return "", flag.ErrHelp
	default:
		p.say("perf: unknown command %q\n%s", command, usage)
		return "", errUsage
	}
	fs.BoolVar(&p.tcp, "tcp", false, "measure TCP instead, to compare")
	fs.DurationVar(&p.timeout, "timeout", 10*time.Second, "how long the other side may take for each step")
	fs.StringVar(&p.profile, "cpuprofile", "", "write where the processor time goes to this `file`, for go tool pprof")
	p.tune.flags(fs)
	if err := fs.Parse(args[1:]); err != nil {
		return "", err
	}
	if err = p.check(command, fs, seconds); err != nil {
		p.say("perf: %v\n%s", err, usage)
		return "", errUsage
	}
	return command, nil
}

func (p *perf) serverFlags(fs *flag.FlagSet) {
	p.maxMemory = 1 << 30
	fs.DurationVar(&p.maxTime, "max-time", time.Hour, "how long one measurement may take")
	fs.Var(&p.maxMemory, "max-memory", "`bytes` of buffers for all measurements together")
	fs.IntVar(&p.maxSessions, "max-associations", 20000, "how many may be there at a time")
}

func (p *perf) clientFlags(fs *flag.FlagSet, seconds *time.Duration) {
	o := &p.order
	p.order.Size = 0
	fs.StringVar(&o.Mode, "mode", "bulk", "`what` to measure: bulk, messages or requests")
	fs.StringVar(&o.Direction, "direction", "up", "`where` data goes: up, to the server, down, or both")
	fs.Var((*size)(&o.Size), "size", "`bytes` of a write, message or request (default 16K for bulk, else 64)")
	fs.IntVar(&o.Streams, "streams", 1, "streams of each association, 1 to 65534")
	fs.IntVar(&p.associations, "associations", 1, "associations, 1 to 100000")
	fs.DurationVar(seconds, "time", 10*time.Second, "how long; 0: until -bytes have gone")
	fs.Var(&p.bytes, "bytes", "end after that many `bytes` in each direction (default: the time alone counts)")
	fs.StringVar(&o.Policy, "policy", "", "paths data takes: `failover`, redundant or latency")
	fs.StringVar(&p.local, "local", "", "send from these `addresses`: 10.0.0.2,10.0.1.2 (default: all that suit the server's)")
	fs.DurationVar(&p.every, "interval", time.Second, "time between lines of progress")
	fs.BoolVar(&p.json, "json", false, "print the result as JSON, and nothing before it")
}

// check looks whether the flags are possible, and makes the order of them.
func (p *perf) check(command string, fs *flag.FlagSet, seconds time.Duration) error {
	set := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { set[f.Name] = true })
	switch {
	case fs.NArg() == 0:
		return errors.New("name the addresses of the server, behind the flags")
	case fs.NArg() > 1:
		return fmt.Errorf("unexpected argument %q; flags stand before the addresses", fs.Arg(1))
	case p.timeout <= 0:
		return errors.New("-timeout takes a positive time")
	}
	p.address = fs.Arg(0)
	if p.tcp && strings.Contains(p.address+p.local, ",") {
		return errors.New("-tcp knows one address, not several")
	}
	if _, err := p.tune.config(); err != nil {
		return err
	}
	if command == "server" {
		if p.maxTime <= 0 || p.maxMemory <= 0 || p.maxSessions <= 0 {
			return errors.New("limits are positive")
		}
		return nil
	}
	o := &p.order
	if o.Size == 0 && !set["size"] {
		o.Size = 64
		if o.Mode == bulk {
			o.Size = 16 << 10
		}
	}
	switch {
	case p.associations < 1 || p.associations > 100000:
		return errors.New("-associations takes 1 to 100000")
	case seconds < 0 || seconds == 0 && p.bytes == 0:
		return errors.New("-time takes a positive time, or 0 together with -bytes")
	case p.bytes < 0 || p.bytes > 0 && p.share(p.associations-1) == 0:
		return errors.New("-bytes is too little for every association to have some")
	case p.every <= 0:
		return errors.New("-interval takes a positive time")
	case o.Mode == requests && set["direction"]:
		return errors.New("-mode requests goes there and back: it has no -direction")
	case p.tcp && o.Policy != "":
		return errors.New("-policy is for associations, not for -tcp")
	}
	if o.Mode == requests {
		o.Direction = "both"
	}
	o.Seconds = seconds.Seconds()
	if p.bytes > 0 && !set["time"] {
		o.Seconds = 0
	}
	o.Bytes = p.share(0)
	o.Total = o.Streams * p.associations
	return o.check()
}

// share is how many of all bytes association i moves, in whole messages where those are counted.
func (p *perf) share(i int) int64 {
	all, unit := int64(p.bytes), int64(1)
	if p.order.Mode != bulk {
		unit = p.order.Size
		all = (all + unit - 1) / unit
	}
	n := int64(p.associations)
	part := all / n
	if int64(i) < all%n {
		part++
	}
	return part * unit
}
