package rx

import (
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

// ForwardTSN takes a FORWARD-TSN or I-FORWARD-TSN chunk: the peer will not send again what is missing up to its new
// cumulative TSN (RFC 3758 section 3.6, RFC 8260 section 2.3.1). PacketDone must follow, as after Data. Duplicate: it was
// out of date. BadChunk: it is of the kind that was not negotiated.
func (r *Receiver) ForwardTSN(_ mono.Time, f *wire.ForwardTSN) Outcome {
	if f.Interleaved != r.interleaving {
		return BadChunk
	}
	r.pkt |= pktData
	n := serial.Unwrap(r.cum, uint32(f.CumTSN))
	if n <= r.cum {
		r.pkt |= pktDup // the SACK that said so may have been lost
		return Duplicate
	}
	r.forwarded = true
	if r.high != r.cum {
		r.pkt |= pktGap
	}
	r.passOver(n)
	for i := range f.Skips() {
		r.skip(f.Skip(i))
	}
	r.front()
	if r.high != r.cum {
		r.pkt |= pktGap
	}
	return Accepted
}

// passOver moves the cumulative TSN to n, as if everything missing had come, and on over what follows. In plain reassembly
// the messages with a fragment among the missing are given up.
func (r *Receiver) passOver(n uint64) {
	if !r.interleaving {
		r.breakAround(n)
		tail := slotReceived | slotLost // n was never received: nobody knows what it was
		if n <= r.high && r.seen(n) {
			tail = r.slotAt(n)
		}
		r.tail = tail
	}
	r.advanceCum(n)
}

// breakAround gives up every run that borders on a missing TSN up to n. Only the ends of what was received in one piece can.
func (r *Receiver) breakAround(n uint64) {
	if r.tail&(slotEnd|slotLost) == 0 { // the TSN behind the tail is missing, or it would be the tail
		r.breakRun(r.tail.item())
	}
	if r.hold == nil {
		return
	}
	g := &r.hold.gaps
	for i := 0; i < g.Len(); i++ {
		lo, hi := g.At(i)
		if lo > n+1 {
			return
		}
		if s := r.slotAt(lo); s&(slotBegin|slotLost) == 0 {
			r.breakRun(s.item())
		}
		if hi > n {
			return
		}
		if s := r.slotAt(hi - 1); s&(slotEnd|slotLost) == 0 {
			r.breakRun(s.item())
		}
	}
}

// skip makes available what waited on a stream for messages now abandoned, and drops those.
func (r *Receiver) skip(k wire.Skip) {
	if int32(k.SID) >= r.nstreams {
		return
	}
	si := r.streamOf(k.SID)
	s := &r.streams[si]
	switch {
	case k.Unordered:
		r.skipUnordered(si, serial.Unwrap(s.top, uint32(k.MID)))
	case r.interleaving:
		if upTo := serial.Unwrap(s.next, uint32(k.MID)); upTo >= s.next {
			r.skipOrdered(si, upTo)
		}
	default:
		if ahead := k.SSN - serial.SSN(s.next); ahead < 1<<15 {
			r.skipOrdered(si, s.next+uint64(ahead))
		}
	}
	r.turn(si)
}

// skipOrdered ends the wait for ordered messages up to and with number n.
func (r *Receiver) skipOrdered(si uint32, n uint64) {
	s := &r.streams[si]
	if i := s.streaming; i != 0 {
		if it := &r.hold.items.a[i]; !it.unordered && it.ord <= n {
			r.giveUp(i)
		}
	}
	for s.ordered != 0 {
		i := s.ordered
		it := &r.hold.items.a[i]
		if it.ord > n {
			break
		}
		if !it.whole || it.ord < s.next {
			r.giveUp(i)
			continue
		}
		s.next = it.ord + 1
		r.unlist(i)
		r.enqueue(i) // through the queue, because an unordered message may be holding the stream
	}
	s.next = max(s.next, n+1)
}

// skipUnordered gives up incomplete unordered messages up to and with number n (RFC 8260 section 2.3.1).
func (r *Receiver) skipUnordered(si uint32, n uint64) {
	s := &r.streams[si]
	s.skipped = max(s.skipped, n)
	s.top = max(s.top, n)
	if i := s.streaming; i != 0 {
		if it := &r.hold.items.a[i]; it.unordered && it.ord <= n {
			r.giveUp(i)
		}
	}
	for s.unordered != 0 && r.hold.items.a[s.unordered].ord <= n {
		r.giveUp(s.unordered)
	}
}

// ResetStream makes 0 the next SSN, or MID of both kinds, of stream sid (RFC 6525 section 5.2.2, RFC 8260 section 2.3.2).
// The caller calls it when the cumulative TSN has reached the sender's last assigned TSN; what is incomplete then will
// never be complete and is dropped.
func (r *Receiver) ResetStream(sid uint16) {
	if r.delivery == nil {
		return
	}
	if i, ok := r.index[sid]; ok {
		r.resetStream(i)
	}
}

// ResetAllStreams is ResetStream for every stream.
func (r *Receiver) ResetAllStreams() {
	if r.delivery == nil {
		return
	}
	for i := range r.streams {
		r.resetStream(uint32(i))
	}
}

func (r *Receiver) resetStream(si uint32) {
	s := &r.streams[si]
	if s.streaming != 0 {
		r.giveUp(s.streaming)
	}
	for s.ordered != 0 {
		r.giveUp(s.ordered)
	}
	for s.unordered != 0 {
		r.giveUp(s.unordered)
	}
	// A new epoch above all numbers used, with the low bits zero.
	if r.interleaving {
		s.next = (s.next>>32 + 1) << 32
	} else {
		s.next = (s.next>>16 + 1) << 16
	}
	s.top = (s.top>>32 + 1) << 32
	s.skipped = s.top - 1
	r.turn(si) // whole messages behind the one that was given up
}

// ResetTSN makes next the TSN expected next and resets all streams (RFC 6525 section 5.2.4): what is missing so far counts
// as abandoned.
func (r *Receiver) ResetTSN(next serial.TSN) {
	if r.high > r.cum {
		r.passOver(r.high)
	}
	r.ResetAllStreams()
	if r.tail&(slotEnd|slotLost) == 0 {
		r.breakRun(r.tail.item())
	}
	r.renumber(next)
}
