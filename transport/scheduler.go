package transport

import "github.com/go-multihome/multihome/internal/tx"

// Scheduler names a stream scheduler: the rule by which streams that have something to send follow each other (RFC 8260
// section 3). Without interleaving a message is sent to its end before another stream has its turn; with Config.Interleaving,
// and a peer that knows it, every chunk is chosen anew. The peer neither knows nor cares which scheduler is used.
type Scheduler uint8

// The schedulers.
const (
	// SchedulerDefault is RoundRobin for a Config, and for SetParameters the one in force.
	SchedulerDefault Scheduler = iota
	// FirstCome sends messages in the order in which they were written (section 3.1).
	FirstCome
	// RoundRobin gives each stream a message in turn, or with interleaving a chunk (section 3.2).
	RoundRobin
	// RoundRobinPackets gives each stream a packet in turn, in which no other has a part (section 3.3): the loss of a packet
	// holds up one stream only.
	RoundRobinPackets
	// ByPriority sends what the streams of the highest priority have before anything else (section 3.4), and gives those of
	// one priority a turn each. A stream's priority is its SchedulerValue: 0, the default, is the highest, 65535 the lowest.
	ByPriority
	// FairBandwidth gives each stream the same number of bytes (section 3.5).
	FairBandwidth
	// WeightedFair gives each stream bytes by its weight, which is its SchedulerValue (section 3.6): twice the weight, twice
	// the bandwidth. The default 0 counts as 1.
	WeightedFair
)

var schedulerText = [...]string{"default", "first come, first served", "round robin", "round robin per packet", "priority", "fair bandwidth", "weighted fair queueing"}

// String names the scheduler.
func (s Scheduler) String() string {
	if int(s) < len(schedulerText) {
		return schedulerText[s]
	}
	return "unknown scheduler"
}

// cores are the core's names for them.
var cores = [...]tx.Scheduling{tx.ByTurns, tx.ByArrival, tx.ByTurns, tx.ByPacket, tx.ByPriority, tx.ByBandwidth, tx.ByWeight}

func (s Scheduler) core() tx.Scheduling { return cores[s] }

// schedulerOf is the reverse of core.
func schedulerOf(k tx.Scheduling) Scheduler {
	for s := FirstCome; s <= WeightedFair; s++ {
		if s.core() == k {
			return s
		}
	}
	return SchedulerDefault
}

// SetSchedulerValue sets what the scheduler ByPriority or WeightedFair wants to know of the outgoing stream: its priority or
// weight, 0 to 65535. It belongs to the stream's number as long as the association lives and can be set whatever scheduler is
// in force; others take no notice of it. It counts from the next chunk on. It fails with ErrStreamID for a number beyond the
// streams agreed on.
func (s *Stream) SetSchedulerValue(value uint16) error {
	return s.a.opError("set", s.s.SetTurn(value))
}

// SchedulerValue returns what SetSchedulerValue set last, 0 before.
func (s *Stream) SchedulerValue() uint16 { return s.s.Turn() }

// Fragmentation says what becomes of messages that do not fit one DATA chunk on the smallest path (RFC 9260 section 6.9).
type Fragmentation uint8

// The ways.
const (
	// FragmentationDefault is FragmentMessages for a Config, and for SetParameters the one in force.
	FragmentationDefault Fragmentation = iota
	// FragmentMessages cuts them into several chunks, which the peer puts together.
	FragmentMessages
	// RefuseMessages refuses them with ErrMessageSize; see Stats.FragmentSize for what fits. Write makes messages that fit. A
	// message that was taken, and no longer fits when its turn comes because a path has shrunk meanwhile, is cut after all.
	RefuseMessages
)

var fragmentationText = [...]string{"default", "fragment messages", "refuse messages"}

// String names it.
func (f Fragmentation) String() string {
	if int(f) < len(fragmentationText) {
		return fragmentationText[f]
	}
	return "unknown fragmentation"
}

func fragmentationOf(none bool) Fragmentation {
	if none {
		return RefuseMessages
	}
	return FragmentMessages
}

// GivenUpCount counts messages that were given up, each in one of its fields.
type GivenUpCount struct {
	Unsent uint64 // nothing of it was sent
	Sent   uint64 // a part of it was sent at least
}

// GivenUp counts messages that were given up because of their options (RFC 7496 sections 4.3 and 4.4).
type GivenUp struct {
	Lifetime GivenUpCount // MessageOptions.Lifetime was over
	Resends  GivenUpCount // MessageOptions.Resends was reached
	Priority GivenUpCount // others of a higher MessageOptions.Priority had no room
}

// All returns the sums.
func (g GivenUp) All() GivenUpCount {
	return GivenUpCount{
		Unsent: g.Lifetime.Unsent + g.Resends.Unsent + g.Priority.Unsent,
		Sent:   g.Lifetime.Sent + g.Resends.Sent + g.Priority.Sent,
	}
}

func givenUp(c tx.Counts) GivenUp {
	return GivenUp{
		Lifetime: GivenUpCount(c[tx.WhyLifetime]), Resends: GivenUpCount(c[tx.WhyResends]), Priority: GivenUpCount(c[tx.WhyPriority]),
	}
}

// GivenUp returns how many messages of the outgoing stream's number were given up. Stats has the sum of all streams.
func (s *Stream) GivenUp() GivenUp { return givenUp(s.s.GivenUp()) }
