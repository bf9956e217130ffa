package transport

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/driver"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/rto"
	"github.com/go-multihome/multihome/internal/udp"
	"github.com/go-multihome/multihome/locator"
)

// Config tunes dialled and accepted associations. A nil *Config, and every zero field, means the default that the field
// names. A Config may be used for many calls; it is read when the call is made and must not change meanwhile.
//
// Times of the protocol are named as in RFC 9260 section 16, where one exists there.
type Config struct {
	// Local is what Dial sends from: addresses or host names joined by commas, "10.0.0.1,10.1.0.1", or all with the same
	// SCTP port, "10.0.0.1:7000,10.1.0.1:7000". Default: the addresses of the system's interfaces that suit the peer's, the
	// one the system itself would use first, and an SCTP port chosen at random from 49152 to 65535.
	// Listen takes its addresses as an argument and ignores Local.
	Local string

	// LocalUDPPort is the UDP port of our sockets, the same number on each. Default: for Listen the SCTP port, for Dial
	// one that is free on all of them, shared by all associations dialled with the same addresses and socket options.
	LocalUDPPort uint16

	// RemoteUDPPort is the UDP port that Dial sends to. Default: the SCTP port that is dialled. The port registered for
	// SCTP over UDP is 9899 (RFC 6951 section 5.1).
	RemoteUDPPort uint16

	// PacketConns are sockets opened by others, one per local address, used in place of our own. Each must be bound to
	// one address. They belong to the library from then on, which closes them with the last association or listener that
	// uses them. A set of connections serves one Dial or Listen.
	PacketConns []net.PacketConn

	// Control is called for each socket before it is bound, as in net.ListenConfig.
	Control func(network, address string, c syscall.RawConn) error

	// Device names, per local address, the network interface its socket is bound to, so that packets leave by that link
	// whatever the routes say; "" means none. Linux and Darwin.
	Device func(netip.Addr) string

	// DSCP is the differentiated services code point of outgoing packets, 0 to 63. Default 0.
	DSCP int

	// SocketReadBuffer and SocketWriteBuffer are the sizes in bytes asked for the kernel's buffers of each socket, which
	// all associations on it share. The system may give less. Default 2 MiB, which holds 10 ms at 1.6 Gbit/s.
	SocketReadBuffer, SocketWriteBuffer int

	// NoOffload keeps our sockets from handing the kernel several packets as one, for it or the device to segment, and
	// from taking several that it has coalesced. Both are Linux's, cost nothing where they do not work, and are given up
	// when the kernel refuses; this is for those that do worse than refuse.
	NoOffload bool

	// Shards is how many sockets each local address has, all on the same port, with a goroutine of its own that reads it and
	// takes its packets in. The kernel gives all packets of an association at one address to the same socket, by bits of our
	// verification tag. It is for listeners with many associations on machines with cores to spare. Each socket has buffers of
	// the sizes above, and Control is called for each and for three more that keep others from the port. Linux; where the
	// system refuses, elsewhere, and with PacketConns it is 1, see SocketStats. A Control that sets SO_REUSEPORT itself shares
	// the port on its own account, and makes it 1, too. Default 1, range 1 to 64.
	Shards int

	// SendBuffer is how many bytes one association holds that are written and not acknowledged. Write waits when it is
	// full. Default 1 MiB, range 16 KiB to 1 GiB. A path of 100 ms carries at most 80 Mbit/s per MiB, so it grows with the
	// congestion window of the path, up to MaxSendBuffer. Default of that: 16 MiB, or SendBuffer if that is set.
	SendBuffer, MaxSendBuffer int

	// ReceiveWindow is how much memory one association may fill with what nobody has read yet. It counts memory, not
	// bytes of payload. Default 1 MiB, range 4 KiB to 1 GiB. It grows to twice what is read per round trip and more, up to
	// MaxReceiveWindow. Default of that: 16 MiB, or ReceiveWindow if that is set.
	ReceiveWindow, MaxReceiveWindow int

	// Memory bounds what all associations of one set of sockets hold together, read and written. As it fills, the
	// windows of all shrink alike; none is larger than an eighth of what is free. Default 256 MiB, at least 1 MiB.
	Memory int64

	// MaxAssociations bounds the number of associations on one set of sockets. Default 1048576.
	MaxAssociations int

	// Backlog is how many associations wait for Accept. When that many do, a peer's last step of the setup is not
	// answered and the peer tries again. Default 128, range 1 to 65535.
	Backlog int

	// InitsPerSource is how many INITs of one source address (of IPv6: of one /64) are answered per second, not counting those
	// that have become associations. It is meant for floods: an INIT costs us no memory, but an answer. Default 10000, range 1
	// to 1000000.
	InitsPerSource int

	// StrictAnswers never answers a source that has not proved to be there with more bytes than came from it; otherwise
	// with up to three times as many. A peer that does not pad its INIT then gets no answer at all.
	StrictAnswers bool

	// OutStreams is how many outgoing streams are asked for, InStreams how many incoming ones are allowed. They cost
	// nothing until used. Default 1024 and 2048, range 1 to 65535.
	OutStreams, InStreams int

	// MessageSize is the largest message that Write makes; longer writes become several. Default 16 KiB, range 1 to 64 KiB.
	MessageSize int

	// PPID is the payload protocol identifier of the messages that Write makes (RFC 9260 section 3.3.1). Default 0.
	PPID uint32

	// Policy says what paths messages take, unless their stream or they themselves have another. Default Failover.
	Policy Policy

	// RedundantPaths is how many paths carry each message with the policy Redundant. Default 2, range 2 to 16.
	RedundantPaths int

	// AllStreams lets Association.ReadMessage read the messages of all streams in the order in which they became whole, as
	// programs of the sockets API (RFC 6458) read them. Streams are written as always, but cannot be read by themselves, and
	// AcceptStream finds none.
	AllStreams bool

	// KeepUndelivered keeps messages that were not delivered for Association.Undelivered, with their bytes.
	KeepUndelivered bool

	// Linger is how long Close waits for the peer to acknowledge everything. Default 5 s. A negative Linger waits until
	// the association has ended one way or the other.
	Linger time.Duration

	// RTOInitial, RTOMin and RTOMax bound the retransmission timeout. Default 1 s, 400 ms and 30 s, range 10 ms to 10
	// minutes. The probe timeout, which finds failures faster, works below RTOMin.
	RTOInitial, RTOMin, RTOMax time.Duration

	// AssocMaxRetrans is how many times in a row the peer may fail to answer before the association is lost. Default 10, which
	// takes about three minutes when nothing answers on any path: the timeout doubles up to RTOMax each time.
	// MaxInitRetrans is how many times setup packets are repeated. Default 8. Range of both: 1 to 255.
	AssocMaxRetrans, MaxInitRetrans int

	// InitRTOMax bounds the time between setup packets in place of RTOMax. Default RTOMax, range 10 ms to 10 minutes.
	InitRTOMax time.Duration

	// SackDelay is how long an acknowledgement waits for a second packet. Default 20 ms, at most 500 ms.
	SackDelay time.Duration

	// SackEvery is after how many packets with data an acknowledgement waits no longer; 1 acknowledges each packet at once.
	// Default 2 (RFC 9260 section 6.2), range 1 to 255.
	SackEvery int

	// Heartbeat tunes how paths are watched; it holds Path.Max.Retrans and HB.interval. Default heartbeat.DefaultConfig().
	Heartbeat *heartbeat.Config

	// CookieLife is how long a peer may take to finish the setup (Valid.Cookie.Life). Default 60 s, range 1 s to 1 hour.
	CookieLife time.Duration

	// PathPayload is the UDP payload in bytes that every path is taken to carry. Default 1200, which with UDP and IPv6
	// headers stays within the IPv6 minimum MTU of 1280: 1280 - 40 - 8 = 1232. Range 512 to 65507.
	PathPayload int

	// MaxPayload is the largest UDP payload searched for on each path by path MTU discovery (RFC 8899), once an association
	// carries more than 64 KiB of data. Packets begin at PathPayload and grow to what all paths carry. Default 8972, what
	// IPv4 leaves of 9000 bytes, and on the loopback 16432, which holds a message of 16 KiB; a negative number means no search.
	// Range up to 65504.
	MaxPayload int

	// MaxSegment is how many user bytes one DATA chunk carries at most; longer messages are cut. Default: as many as fit a
	// packet. Range 64 to 65535.
	MaxSegment int

	// Fragmentation says whether messages that do not fit one chunk are cut or refused. Default FragmentMessages.
	Fragmentation Fragmentation

	// Scheduler says whose turn it is among the streams that have something to send. Default RoundRobin.
	Scheduler Scheduler

	// InitialPackets is the initial congestion window of a path in packets. Default 10 (RFC 6928); a negative number
	// means the window of RFC 9260 section 7.2.1.
	InitialPackets int

	// MaxStreams is up to how many streams each way an association may grow (RFC 6525). Default 65535, range 1 to 65535.
	MaxStreams int

	// NoPartialReliability does not announce partial reliability (RFC 3758): neither side can give messages up.
	NoPartialReliability bool

	// Interleaving announces message interleaving (RFC 8260), and uses it if the peer announces it, too: then a large message
	// on one stream does not hold up the others.
	Interleaving bool

	// Adaptation is announced to the peer as the adaptation layer indication (RFC 5061 section 4.2.6), for the program there;
	// see PeerInfo. Default nil: nothing is.
	Adaptation *uint32

	// NoStreamReset does not announce stream re-configuration (RFC 6525): streams can neither be ended nor added, by either
	// side.
	NoStreamReset bool

	// Congestion is the congestion control of every path. Default CUBIC.
	Congestion Congestion

	// SlowStartLimit is how many packets a path's congestion window may grow by per acknowledgement in slow start, L of
	// RFC 9260 section 7.2.1. Default MaxBurst, since our receivers acknowledge a batch of packets at once. Range 1 to 1024.
	SlowStartLimit int

	// MaxBurst is how many packets leave a path at once where its window is not spread over the round trip: round trips
	// below 2 ms, windows of no more than MaxBurst packets and 64. Default 128, range 1 to 1024 (Max.Burst, RFC 9260 section 6.1 D).
	MaxBurst int

	// NoPacing never spreads a congestion window over the round trip.
	NoPacing bool

	// NoDelayExit ends the first slow start with a loss only. Otherwise it also ends when the round trip grows (HyStart++,
	// RFC 9406), before the queue that it fills spills.
	NoDelayExit bool

	// PlainRecovery recovers from losses by the letter of RFC 9260 section 7.2: after a reduction nothing leaves until what
	// is under way fits the new window, and each timeout in a row halves the threshold. Otherwise what leaves follows what
	// arrives (RFC 6937), and a second timeout leaves the threshold where the first put it (RFC 5681 section 3.1).
	PlainRecovery bool

	// CountMissing finds losses by the letter of RFC 9260 section 7.2.4: a chunk is sent again when three acknowledgements have
	// reported it missing. Otherwise time decides (RFC 8985), on each path for itself, so that packets of several paths may
	// overtake each other, and the loss of one of the last few packets does not wait for the retransmission timer.
	CountMissing bool

	// NoProbeTimeout switches the fast failure detector off, so that T3-rtx and heartbeats alone find failures, and answered
	// heartbeats bring any path back. An acknowledgement then speaks for the path its data took whichever way it came (RFC 9260
	// section 8.2), and any packet of the peer lets a SHUTDOWN wait for its answer anew (section 9.2).
	NoProbeTimeout bool

	// NoPlainInit never follows an unanswered INIT with one that names no addresses. Some peers drop the former silently.
	NoPlainInit bool

	// NoStagger sends INIT to one peer address at a time, the next one when the retransmission timer expires.
	// Otherwise all are tried, 100 ms apart, and the first answer wins.
	NoStagger bool

	// NoInitPadding leaves our INIT as short as it is. Otherwise it is padded (RFC 4820), so that a peer that answers
	// with no more than three times what it received can list its addresses.
	NoInitPadding bool

	// NoPadChunk does not announce the PAD chunk (RFC 4820). Peers that search for the path MTU with it (RFC 8899) then do not,
	// and neither we nor they fill a packet up that a large message leaves a few bytes short.
	NoPadChunk bool

	// NoListing names none of our addresses in INIT and INIT ACK, so that the peer knows those only that our packets come
	// from. It is for hosts whose addresses mean nothing to the peer, behind a NAT that the library cannot know of (RFC 6951
	// section 5.7). Several paths there are still are those to several addresses of the peer.
	NoListing bool

	// Logger is told what happens to associations and paths. Default: nobody.
	Logger *slog.Logger

	// Capture is told of every datagram that the sockets send and receive, those of other associations on them included.
	// Package capture has one that writes pcapng files. Default: nobody.
	Capture Capture
}

// RFC9260 returns a Config with the values of RFC 9260 section 16 and without what that RFC does not have: the probe
// timeout, the plain INIT, staggered INITs, padding, CUBIC, pacing, HyStart++, proportional rate reduction and the larger
// initial window.
func RFC9260() *Config {
	hb := heartbeat.RFC9260Config()
	return &Config{
		RTOInitial:      time.Second,
		RTOMin:          time.Second,
		RTOMax:          time.Minute,
		AssocMaxRetrans: 10,
		MaxInitRetrans:  8,
		SackDelay:       200 * time.Millisecond,
		Heartbeat:       &hb,
		CookieLife:      time.Minute,
		InitialPackets:  -1,

		Congestion:     NewReno,
		SlowStartLimit: 1,
		MaxBurst:       4,
		NoPacing:       true,
		NoDelayExit:    true,
		PlainRecovery:  true,
		CountMissing:   true,

		NoPartialReliability: true,
		NoStreamReset:        true,

		NoProbeTimeout: true,
		MaxPayload:     -1,
		NoPlainInit:    true,
		NoStagger:      true,
		NoInitPadding:  true,
		NoPadChunk:     true,
	}
}

// Defaults of what is decided in this package.
const (
	defaultSocketBuffer = 2 << 20
	defaultShards       = 1
	defaultMessageSize  = 16 << 10
	defaultLinger       = 5 * time.Second
	defaultBacklog      = 128
	defaultSendBuffer   = 1 << 20
	defaultWindow       = 1 << 20
	defaultMost         = 16 << 20
	defaultMemory       = 256 << 20
	defaultAssociations = 1 << 20
	defaultInits        = 10_000
)

// withDefaults returns a copy with every zero field filled that this package decides.
func (c *Config) withDefaults() *Config {
	var d Config
	if c != nil {
		d = *c
	}
	or(&d.SocketReadBuffer, defaultSocketBuffer)
	or(&d.SocketWriteBuffer, defaultSocketBuffer)
	or(&d.Shards, defaultShards)
	or(&d.MaxSendBuffer, orElse(d.SendBuffer, defaultMost))
	or(&d.MaxReceiveWindow, orElse(d.ReceiveWindow, defaultMost))
	or(&d.SendBuffer, min(defaultSendBuffer, d.MaxSendBuffer))
	or(&d.ReceiveWindow, min(defaultWindow, d.MaxReceiveWindow))
	or(&d.Memory, defaultMemory)
	or(&d.MaxAssociations, defaultAssociations)
	or(&d.Backlog, defaultBacklog)
	or(&d.InitsPerSource, defaultInits)
	or(&d.MessageSize, defaultMessageSize)
	or(&d.Linger, defaultLinger)
	or(&d.RTOInitial, rto.Default().Initial)
	or(&d.RTOMin, rto.Default().Min)
	or(&d.RTOMax, rto.Default().Max)
	return &d
}

func or[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Check returns nil, or an error that wraps ErrConfig and names the first field out of its range.
// Dial and Listen call it.
func (c *Config) Check() error { return c.withDefaults().check() }

func (c *Config) check() error {
	for _, f := range []struct {
		name   string
		v      int64
		lo, hi int64
	}{
		{"DSCP", int64(c.DSCP), 0, 63},
		{"SocketReadBuffer", int64(c.SocketReadBuffer), 1, 1 << 30},
		{"SocketWriteBuffer", int64(c.SocketWriteBuffer), 1, 1 << 30},
		{"Shards", int64(c.Shards), 1, udp.MaxShards},
		{"SendBuffer", int64(c.SendBuffer), 16 << 10, 1 << 30},
		{"ReceiveWindow", int64(c.ReceiveWindow), 4 << 10, 1 << 30},
		{"Memory", c.Memory, 1 << 20, 1 << 50},
		{"MaxAssociations", int64(c.MaxAssociations), 1, 1 << 30},
		{"Backlog", int64(c.Backlog), 1, 65535},
		{"InitsPerSource", int64(c.InitsPerSource), 1, 1_000_000},
		{"OutStreams", int64(c.OutStreams), 0, 65535},
		{"InStreams", int64(c.InStreams), 0, 65535},
		{"MaxStreams", int64(c.MaxStreams), 0, 65535},
		{"SackEvery", int64(c.SackEvery), 0, 255},
		{"MaxSegment", int64(orZero(c.MaxSegment, 64)), 64, 65535},
		{"RedundantPaths", int64(orZero(c.RedundantPaths, 2)), 2, locator.MaxPaths},
		{"Fragmentation", int64(c.Fragmentation), 0, int64(RefuseMessages)},
		{"Scheduler", int64(c.Scheduler), 0, int64(WeightedFair)},
		{"Policy", int64(c.Policy), 0, int64(LowestLatency)},
		{"Congestion", int64(c.Congestion), int64(CUBIC), int64(NewReno)},
		{"SlowStartLimit", int64(c.SlowStartLimit), 0, 1024},
		{"MaxBurst", int64(c.MaxBurst), 0, 1024},
		{"MaxSendBuffer", int64(c.MaxSendBuffer), int64(c.SendBuffer), 1 << 30},
		{"MaxReceiveWindow", int64(c.MaxReceiveWindow), int64(c.ReceiveWindow), 1 << 30},
		{"MessageSize", int64(c.MessageSize), 1, 64 << 10},
		{"MaxPayload", int64(c.MaxPayload), -1 << 31, 65504},
		{"AssocMaxRetrans", int64(c.AssocMaxRetrans), 0, 255},
		{"MaxInitRetrans", int64(c.MaxInitRetrans), 0, 255},
	} {
		if f.v < f.lo || f.v > f.hi {
			return fmt.Errorf("%w: %s is %d, want %d to %d", ErrConfig, f.name, f.v, f.lo, f.hi)
		}
	}
	for _, f := range []struct {
		name   string
		v      time.Duration
		lo, hi time.Duration
	}{
		{"RTOInitial", c.RTOInitial, 10 * time.Millisecond, 10 * time.Minute},
		{"RTOMin", c.RTOMin, 10 * time.Millisecond, 10 * time.Minute},
		{"RTOMax", c.RTOMax, c.RTOMin, 10 * time.Minute},
		{"InitRTOMax", orZero(c.InitRTOMax, time.Second), 10 * time.Millisecond, 10 * time.Minute},
		{"SackDelay", c.SackDelay, 0, 500 * time.Millisecond},
		{"CookieLife", orZero(c.CookieLife, time.Minute), time.Second, time.Hour},
	} {
		if f.v < f.lo || f.v > f.hi {
			return fmt.Errorf("%w: %s is %v, want %v to %v", ErrConfig, f.name, f.v, f.lo, f.hi)
		}
	}
	if c.PathPayload != 0 && (c.PathPayload < 512 || c.PathPayload > 65507) {
		return fmt.Errorf("%w: PathPayload is %d, want 512 to 65507", ErrConfig, c.PathPayload)
	}
	if c.Heartbeat != nil {
		if err := c.Heartbeat.Check(); err != nil {
			return fmt.Errorf("%w: Heartbeat: %w", ErrConfig, err)
		}
	}
	return nil
}

func orZero[T ~int | ~int64](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

// off is how the core's configuration says that something is switched off.
func off[T ~int | ~int64](disabled bool) T {
	if disabled {
		return -1
	}
	return 0
}

// core is the configuration of the protocol core.
func (c *Config) core() assoc.Config {
	a := assoc.Config{
		RTO:             rto.Config{Initial: c.RTOInitial, Min: c.RTOMin, Max: c.RTOMax},
		AssocMaxRetrans: c.AssocMaxRetrans,
		MaxInitRetrans:  c.MaxInitRetrans,
		OutStreams:      c.OutStreams,
		InStreams:       c.InStreams,
		Window:          c.ReceiveWindow,
		MaxWindow:       c.MaxReceiveWindow,
		SackDelay:       c.SackDelay,
		Payload:         c.PathPayload,
		InitialPackets:  c.InitialPackets,
		Congestion:      c.Congestion.kind(),
		SlowStart:       c.SlowStartLimit,
		MaxBurst:        c.MaxBurst,
		NoPacing:        c.NoPacing,
		NoDelayExit:     c.NoDelayExit,
		PlainRecovery:   c.PlainRecovery,
		CountMissing:    c.CountMissing,
		CookieLife:      c.CookieLife,
		Stagger:         off[time.Duration](c.NoStagger),
		PlainAfter:      off[time.Duration](c.NoPlainInit),
		InitPadding:     off[int](c.NoInitPadding),
		NoProbeTimeout:  c.NoProbeTimeout,
		MaxPayload:      c.MaxPayload,
		MaxStreams:      c.MaxStreams,
		NoReconfig:      c.NoStreamReset,
		NoPad:           c.NoPadChunk,
		NoPartial:       c.NoPartialReliability,
		Interleaving:    c.Interleaving,
		KeepAbandoned:   c.KeepUndelivered,
		RedundantPaths:  c.RedundantPaths,
		SackEvery:       c.SackEvery,
		MaxSegment:      c.MaxSegment,
		NoFragments:     c.Fragmentation == RefuseMessages,
		Scheduler:       c.Scheduler.core(),
		MaxInitRTO:      c.InitRTOMax,
	}
	if c.Heartbeat != nil {
		a.Heartbeat = *c.Heartbeat
	}
	if c.Adaptation != nil {
		a.Adapt, a.Adaptation = true, *c.Adaptation
	}
	return a
}

// options is how messages travel that bring no options of their own.
func (c *Config) options() driver.Options {
	return driver.Options{PPID: c.PPID, Resends: -1, Policy: c.Policy.core(path.Failover)}
}

// node is the configuration of the driver.
func (c *Config) node(keepIdle time.Duration, onClose func()) driver.Config {
	return driver.Config{
		Assoc:           c.core(),
		MaxAssociations: c.MaxAssociations,
		InitsPerSource:  c.InitsPerSource,
		StrictAnswers:   c.StrictAnswers,
		NoListing:       c.NoListing,
		Memory:          c.Memory,
		SendBuffer:      c.SendBuffer,
		MaxSendBuffer:   c.MaxSendBuffer,
		Merge:           c.AllStreams,
		KeepIdle:        keepIdle,
		Logger:          c.Logger,
		Capture:         c.Capture,
		OnClose:         onClose,
	}
}

// socket is the options of our own sockets.
func (c *Config) socket() udp.Options {
	return udp.Options{Control: c.Control, DeviceOf: c.Device, RecvBuffer: c.SocketReadBuffer, SendBuffer: c.SocketWriteBuffer, DSCP: c.DSCP,
		NoOffload: c.NoOffload, Shards: c.Shards, Steer: driver.Steering}
}
