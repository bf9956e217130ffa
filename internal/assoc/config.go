package assoc

import (
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/cc"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/rto"
	"github.com/go-multihome/multihome/internal/tx"
	"github.com/go-multihome/multihome/internal/wire"
)

// Config is what all associations of an endpoint share. It must not change while they live. Fill fills what is zero.
type Config struct {
	RTO       rto.Config       // RFC 9260 section 16: RTO.Initial, RTO.Min, RTO.Max
	Heartbeat heartbeat.Config // per path; holds Path.Max.Retrans

	AssocMaxRetrans int // Association.Max.Retrans, default 10 (RFC 9260 section 8.1)
	MaxInitRetrans  int // Max.Init.Retransmits, default 8 (RFC 9260 section 4)

	OutStreams int // outgoing streams asked for, default 1024
	InStreams  int // incoming streams allowed at most, default 2048

	Window    int           // receive window in bytes of memory, default 1 MiB
	MaxWindow int           // up to which it grows as paths need it; default Window if that is set, else 16 MiB
	SackDelay time.Duration // default 20 ms; at most 500 ms (RFC 9260 section 6.2)
	SackEvery int           // packets with DATA per SACK, default 2 (RFC 9260 section 6.2)

	Payload        int // UDP payload of a packet before a larger one was found, default 1200
	MaxPayload     int // largest UDP payload searched for (RFC 8899), default 8972; -1: no search
	OnLoopback     int // the same on a path to a loopback address, default MaxPayload, or 16432 if that has its default
	InitialPackets int // initial congestion window in packets, default 10 (RFC 6928); -1: RFC 9260 section 7.2.1

	Congestion    cc.Kind // default CUBIC (RFC 8312)
	SlowStart     int     // L of RFC 9260 section 7.2.1: packets of growth per SACK in slow start, default MaxBurst
	MaxBurst      int     // packets that leave a path at once, default 128 (RFC 9260 section 6.1 D and 16: 4)
	NoPacing      bool    // do not spread a window over the round trip
	NoDelayExit   bool    // end slow start with a loss only, not when the delay grows (HyStart++)
	PlainRecovery bool    // no proportional rate reduction (RFC 6937), and each timeout in a row lowers the threshold

	CountMissing bool // find losses by three missing reports (RFC 9260 section 7.2.4), not by time (RFC 8985)

	CookieLife time.Duration // Valid.Cookie.Life, default 60 s

	Stagger        time.Duration // between INITs to further locators, default 100 ms; -1: only one locator per T1
	PlainAfter     time.Duration // an unanswered full INIT is followed by a plain one, default 250 ms; -1: never
	InitPadding    int           // our full INIT is padded to this packet size, default 300; -1: not at all
	NoProbeTimeout bool          // leave failure detection to T3-rtx and heartbeats, as RFC 9260 has it

	ConfirmBurst int // heartbeats per RTO to unconfirmed locators we dialled, default 4 (HB.Max.Burst)

	NoPartial     bool // do not announce partial reliability (RFC 3758)
	Interleaving  bool // announce I-DATA, and use it when the peer does too (RFC 8260)
	KeepAbandoned bool // EventSendFailed carries the bytes that were given up

	Adapt      bool   // announce Adaptation, for the layer above (RFC 5061 section 4.2.6)
	Adaptation uint32 // the adaptation layer indication

	NoPad      bool // do not announce the PAD chunk (RFC 4820)
	NoReconfig bool // do not announce stream re-configuration (RFC 6525)
	MaxStreams int  // streams each way that re-configuration may add up to, default 65535

	RedundantPaths int // paths a redundant message travels on, default 2

	Runs bool // message parts may hold several small messages (rx.Part.Run)

	Scheduler   tx.Scheduling // whose turn it is among the streams, default round robin (RFC 8260 section 3)
	NoFragments bool          // refuse messages that do not fit one DATA chunk (RFC 9260 section 6.9)

	MaxSegment int           // user bytes per DATA chunk at most; 0: as many as a packet holds
	MaxInitRTO time.Duration // bounds T1 in place of RTO.Max; 0: RTO.Max does

	MaxPaths     int // pairs kept, default and most 16
	MaxPeerAddrs int // addresses of the peer listened to, default 16

	// Random returns unpredictable bits: tags, nonces, initial TSNs. It may be called under any association's lock.
	Random func() uint64
	// Check turns on the invariant checks, which cost time. Tests set it.
	Check bool

	paths path.Config // the same, as paths want it
}

// forPaths returns what paths need of the configuration. It is made by Fill, so that all of them share it.
func (c *Config) forPaths() *path.Config { return &c.paths }

func (c *Config) fillPaths() {
	c.paths = path.Config{
		RTO: &c.RTO, Heartbeat: &c.Heartbeat, Payload: c.Payload,
		Congestion: c.Congestion, MaxBurst: c.MaxBurst, NoPacing: c.NoPacing,
		CC: cc.Config{InitialPackets: c.InitialPackets, Limit: c.SlowStart, DelayExit: !c.NoDelayExit, Plain: c.PlainRecovery},
	}
}

func def[T ~int | ~int64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
	*v = max(*v, 0)
}

// Fill sets every zero field to its default and every negative one, which means "off", to zero.
func (c *Config) Fill() {
	if c.RTO == (rto.Config{}) {
		c.RTO = rto.Default()
	}
	if c.Heartbeat == (heartbeat.Config{}) {
		c.Heartbeat = heartbeat.DefaultConfig()
	}
	def(&c.AssocMaxRetrans, 10)
	def(&c.MaxInitRetrans, 8)
	def(&c.OutStreams, 1024)
	def(&c.InStreams, 2048)
	if c.MaxWindow == 0 && c.Window == 0 {
		c.MaxWindow = 16 << 20
	}
	def(&c.Window, 1<<20)
	c.MaxWindow = max(c.MaxWindow, c.Window)
	def(&c.SackDelay, 20*time.Millisecond)
	c.SackDelay = min(c.SackDelay, 500*time.Millisecond)
	def(&c.SackEvery, 2)
	def(&c.Payload, 1200)
	if c.MaxPayload == 0 && c.OnLoopback == 0 {
		// A message of 16 KiB with its headers and a SACK: the loopback has a link MTU of 64 KiB.
		c.OnLoopback = 16432
	}
	def(&c.MaxPayload, 8972)
	c.MaxPayload = min(c.MaxPayload, wire.MaxPacket&^3)
	if c.OnLoopback == 0 {
		c.OnLoopback = c.MaxPayload
	}
	def(&c.InitialPackets, 10)
	def(&c.MaxBurst, 128)
	def(&c.SlowStart, c.MaxBurst)
	def(&c.CookieLife, time.Minute)
	def(&c.Stagger, 100*time.Millisecond)
	def(&c.PlainAfter, 250*time.Millisecond)
	def(&c.InitPadding, 300)
	def(&c.ConfirmBurst, 4)
	def(&c.RedundantPaths, 2)
	def(&c.MaxStreams, 1<<16-1)
	def(&c.MaxPaths, 16)
	c.MaxPaths = min(c.MaxPaths, 16)
	def(&c.MaxPeerAddrs, 16)
	c.fillPaths()
}

func (c *Config) reconfig() bool { return !c.NoReconfig }

// Extensions returns the chunk types to announce (RFC 5061 section 4.2.7): those of the extensions in use. With none of them
// the parameter, which RFC 9260 does not have, is left out.
func (c *Config) Extensions() []wire.ChunkType {
	var ext []wire.ChunkType
	if !c.NoPad {
		ext = append(ext, wire.TypePad)
	}
	if c.reconfig() {
		ext = append(ext, wire.TypeReconfig)
	}
	if !c.NoPartial {
		ext = append(ext, wire.TypeForwardTSN)
	}
	if c.Interleaving {
		ext = append(ext, wire.TypeIData)
		if !c.NoPartial {
			ext = append(ext, wire.TypeIForwardTSN)
		}
	}
	return ext
}

// MinWindow is the least receive window in bytes that RFC 9260 sections 3.3.2 and 3.3.3 let an endpoint announce.
const MinWindow = 1500
