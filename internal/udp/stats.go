package udp

import "sync/atomic"

// Stats counts what a socket did since it was opened, and tells what its kernel agreed to.
type Stats struct {
	BatchesIn  uint64 // reads that returned datagrams
	PacketsIn  uint64
	BytesIn    uint64
	Joined     uint64 // slots in which the kernel had coalesced several datagrams
	Cut        uint64 // datagrams larger than their slot, dropped
	Unnamed    uint64 // datagrams whose source could not be understood, dropped
	ReadErrors uint64 // passing errors returned by ReadBatch
	Notices    uint64 // ICMP messages about packets sent
	Overflows  uint64 // datagrams the kernel dropped because the receive buffer was full (Linux)

	BatchesOut uint64 // system calls, or calls of the wrapped connection, that took packets
	PacketsOut uint64
	BytesOut   uint64
	Runs       uint64 // messages of several packets that the kernel was to segment
	Refused    uint64 // of these, the ones that it or a device refused, whose packets then went out one by one
	Blocked    uint64 // writes that ended in ErrBlocked
	SendErrors uint64 // writes that ended in another error

	DF          bool // packets leave unfragmented (IPv4 Don't Fragment) unless Packet.NoDF asks otherwise
	ECN         bool // Slot.ECN is filled
	ICMP        bool // messages about packets sent are handed to the reader
	RecvBuffer  int  // bytes of the kernel's receive buffer as it reports them; 0: unknown
	SendBuffer  int  // likewise, send buffer
	BatchSystem bool // many datagrams per system call
	Coalescing  bool // the kernel may join arriving datagrams of a flow (GRO)
	Segmenting  bool // packets of equal size leave as one message (GSO); false again after a refusal
}

// StatsOf returns the counters of a socket that keeps any; all sockets of this package do.
func StatsOf(s Socket) (Stats, bool) {
	c, ok := s.(interface{ Stats() Stats })
	if !ok {
		return Stats{}, false
	}
	return c.Stats(), true
}

// inCounts is written by the one reader, outCounts by all writers; they are kept apart so that the two sides do not
// share a cache line.
type inCounts struct {
	batches, packets, bytes, joined, cut, unnamed, errors, notices, overflows atomic.Uint64
	_                                                                         [64]byte
}

type outCounts struct {
	batches, packets, bytes, runs, refused, blocked, errors atomic.Uint64
}

// fill copies the counters.
func (st *Stats) fill(in *inCounts, out *outCounts) {
	st.BatchesIn, st.PacketsIn, st.BytesIn = in.batches.Load(), in.packets.Load(), in.bytes.Load()
	st.Cut, st.Unnamed, st.ReadErrors = in.cut.Load(), in.unnamed.Load(), in.errors.Load()
	st.Overflows, st.Joined, st.Notices = in.overflows.Load(), in.joined.Load(), in.notices.Load()
	st.BatchesOut, st.PacketsOut, st.BytesOut = out.batches.Load(), out.packets.Load(), out.bytes.Load()
	st.Runs, st.Refused = out.runs.Load(), out.refused.Load()
	st.Blocked, st.SendErrors = out.blocked.Load(), out.errors.Load()
}

// add adds the counters and buffers of another socket.
func (st *Stats) add(o *Stats) {
	st.BatchesIn, st.PacketsIn, st.BytesIn = st.BatchesIn+o.BatchesIn, st.PacketsIn+o.PacketsIn, st.BytesIn+o.BytesIn
	st.Cut, st.Unnamed, st.ReadErrors = st.Cut+o.Cut, st.Unnamed+o.Unnamed, st.ReadErrors+o.ReadErrors
	st.Overflows, st.Joined, st.Notices = st.Overflows+o.Overflows, st.Joined+o.Joined, st.Notices+o.Notices
	st.BatchesOut, st.PacketsOut, st.BytesOut = st.BatchesOut+o.BatchesOut, st.PacketsOut+o.PacketsOut, st.BytesOut+o.BytesOut
	st.Runs, st.Refused = st.Runs+o.Runs, st.Refused+o.Refused
	st.Blocked, st.SendErrors = st.Blocked+o.Blocked, st.SendErrors+o.SendErrors
	st.RecvBuffer, st.SendBuffer = st.RecvBuffer+o.RecvBuffer, st.SendBuffer+o.SendBuffer
}

// ended counts the error a write ended with.
func (c *outCounts) ended(err error) {
	switch err {
	case nil:
	case ErrBlocked:
		c.blocked.Add(1)
	default:
		c.errors.Add(1)
	}
}
