package transport

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/cc"
	"github.com/go-multihome/multihome/internal/rto"
	"github.com/go-multihome/multihome/internal/tx"
)

// nodeKey tells which dials share a node: those with equal ones. It is made by every dial, so it is compared as it stands:
// writing it out as a text would be a tenth of a dial.
type nodeKey struct {
	local [4]netip.Addr
	more  string // local addresses beyond those
	count int

	port                      uint16
	dscp, shards              int
	plain                     bool
	readBuffer, writeBuffer   int
	sendBuffer, maxSendBuffer int
	memory                    int64
	associations, inits       int
	strict, all, unlisted     bool
	core                      coreKey

	user *Config // set when it has functions, which cannot be compared
}

// coreKey is what Config.core sets of an assoc.Config, which itself cannot be compared.
type coreKey struct {
	rto       rto.Config
	heartbeat heartbeat.Config

	assocMaxRetrans, maxInitRetrans int
	outStreams, inStreams           int
	window, maxWindow               int
	sackDelay                       time.Duration
	sackEvery                       int
	payload, maxPayload, onLoopback int
	initialPackets                  int
	congestion                      cc.Kind
	slowStart, maxBurst             int
	noPacing, noDelayExit           bool
	plainRecovery, countMissing     bool
	cookieLife                      time.Duration
	stagger, plainAfter             time.Duration
	initPadding                     int
	noProbeTimeout                  bool
	confirmBurst                    int
	noPartial, interleaving         bool
	keepAbandoned                   bool
	adapt                           bool
	adaptation                      uint32
	noPad, noReconfig               bool
	maxStreams, redundantPaths      int
	scheduler                       tx.Scheduling
	noFragments, runs               bool
	maxSegment                      int
	maxInitRTO                      time.Duration
	maxPaths, maxPeerAddrs          int
	check                           bool
}

func coreKeyOf(a *assoc.Config) coreKey {
	return coreKey{
		rto: a.RTO, heartbeat: a.Heartbeat,
		assocMaxRetrans: a.AssocMaxRetrans, maxInitRetrans: a.MaxInitRetrans,
		outStreams: a.OutStreams, inStreams: a.InStreams,
		window: a.Window, maxWindow: a.MaxWindow,
		sackDelay: a.SackDelay, sackEvery: a.SackEvery,
		payload: a.Payload, maxPayload: a.MaxPayload, onLoopback: a.OnLoopback,
		initialPackets: a.InitialPackets,
		congestion:     a.Congestion,
		slowStart:      a.SlowStart, maxBurst: a.MaxBurst,
		noPacing: a.NoPacing, noDelayExit: a.NoDelayExit,
		plainRecovery: a.PlainRecovery, countMissing: a.CountMissing,
		cookieLife: a.CookieLife,
		stagger:    a.Stagger, plainAfter: a.PlainAfter,
		initPadding:    a.InitPadding,
		noProbeTimeout: a.NoProbeTimeout,
		confirmBurst:   a.ConfirmBurst,
		noPartial:      a.NoPartial, interleaving: a.Interleaving,
		keepAbandoned: a.KeepAbandoned,
		adapt:         a.Adapt,
		adaptation:    a.Adaptation,
		noPad:         a.NoPad, noReconfig: a.NoReconfig,
		maxStreams: a.MaxStreams, redundantPaths: a.RedundantPaths,
		scheduler:   a.Scheduler,
		noFragments: a.NoFragments, runs: a.Runs,
		maxSegment: a.MaxSegment,
		maxInitRTO: a.MaxInitRTO,
		maxPaths:   a.MaxPaths, maxPeerAddrs: a.MaxPeerAddrs,
		check: a.Check,
	}
}

func (p *dialing) key() nodeKey {
	c := p.cfg
	core := c.core()
	k := nodeKey{
		count: len(p.local), port: c.LocalUDPPort, dscp: c.DSCP, plain: c.NoOffload, shards: c.Shards,
		readBuffer: c.SocketReadBuffer, writeBuffer: c.SocketWriteBuffer,
		sendBuffer: c.SendBuffer, maxSendBuffer: c.MaxSendBuffer,
		memory: c.Memory, associations: c.MaxAssociations, inits: c.InitsPerSource,
		strict: c.StrictAnswers, all: c.AllStreams, unlisted: c.NoListing,
		core: coreKeyOf(&core),
	}
	if n := copy(k.local[:], p.local); n < len(p.local) {
		k.more = fmt.Sprint(p.local[n:])
	}
	if c.Control != nil || c.Device != nil || c.Logger != nil || c.Capture != nil {
		k.user = p.user
	}
	return k
}
