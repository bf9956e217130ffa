package assoc

import (
	"errors"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/serial"
	"github.com/go-multihome/multihome/internal/wire"
)

// Stream re-configuration (RFC 6525). The end of a stream is the reset of its outgoing side: it waits until everything sent
// on the stream is acknowledged, shares one request with other ends that wait, and the peer tells its user "end of stream"
// behind the last byte. One request is under way at a time.

// Errors of EndStream and AddStreams.
var (
	ErrNoReconfig = errors.New("one side does not support stream re-configuration (RFC 6525)")
	ErrTooMany    = errors.New("more streams than an association can have")
)

// maxAsked bounds the streams that wait for their end because the peer asked for it.
const maxAsked = 1024

// maxReset bounds the streams one request names, so that it fits a packet of any path.
const maxReset = 200

// maxIgnored is how many times a request is repeated that the peer leaves unanswered although it answers other things. Some
// peers (pion/sctp among them) announce re-configuration, know the outgoing reset alone, and drop the other requests: those
// must not stand in the way of every end of a stream that comes after them.
const maxIgnored = 6

// reconf is made when the first re-configuration is asked for, by either side.
type reconf struct {
	next    serial.RSN // of our next request
	waiting []uint16   // streams whose end has been asked for
	look    bool       // one of them may be ready, or another request waits
	stops   []uint16   // incoming streams whose end we want
	add     uint16     // outgoing streams to add
	ask     uint16     // incoming streams to ask for

	busy  bool // a request is under way
	due   bool // it must go out (again)
	rsn   serial.RSN
	kind  request
	sids  []uint16 // of a reset
	adds  uint16
	last  serial.TSN
	tries int

	ignored int   // times in a row that the request went unanswered while the peer answered other things
	unknown uint8 // kinds of request that the peer does not answer, a bit each
	skipped bool  // the number before rsn belonged to such a one

	expect  serial.RSN // the peer's next request
	answers []answerTo // responses that must go out
	kept    []answerTo // of the last chunk, for its retransmission
	defer_  *deferred  // an incoming reset that waits for data
}

// request is what our request under way asks for.
type request uint8

const (
	endOurs  request = iota // outgoing streams are reset
	endTheir                // incoming streams are to be reset
	addOurs                 // outgoing streams are added
	addTheir                // incoming streams are to be added
)

type answerTo struct {
	rsn    serial.RSN
	result wire.ReconfigResult
	tsns   bool // to an SSN/TSN reset: the answer has two TSNs, also when it is a refusal (RFC 6525 section 5.1.7 D3, D4)
}

// deferred is a reset of incoming streams whose data has not all arrived (RFC 6525 section 5.2.2 E2).
type deferred struct {
	rsn  serial.RSN
	last serial.TSN
	sids []uint16
}

func (a *Assoc) reconfig() *reconf {
	if a.reconf == nil {
		a.reconf = &reconf{next: serial.RSN(a.myTSN), expect: serial.RSN(a.peerTSN)}
	}
	return a.reconf
}

// EndStream ends the outgoing side of a stream: behind everything given to Send for it the peer sees the end. Nothing more
// may be sent on it until EventStreamEnded. Errors: ErrNoReconfig, ErrNotOpen, ErrClosing.
func (a *Assoc) EndStream(now mono.Time, sid uint16) error {
	switch {
	case a.state < Established:
		return ErrNotOpen
	case a.state != Established:
		return ErrClosing
	case !a.cfg.reconfig() || !a.peer.Reconfig:
		return ErrNoReconfig
	}
	r := a.reconfig()
	r.waiting, r.look = append(r.waiting, sid), true
	return nil
}

// StopStream asks the peer to end its side of a stream (RFC 6525 section 5.1.3). EventStreamReset follows if it does. Errors
// are those of EndStream.
func (a *Assoc) StopStream(now mono.Time, sid uint16) error {
	switch {
	case a.state < Established:
		return ErrNotOpen
	case a.state != Established:
		return ErrClosing
	case !a.cfg.reconfig() || !a.peer.Reconfig || a.reconf.ignores(endTheir):
		return ErrNoReconfig
	}
	r := a.reconfig()
	r.stops, r.look = append(r.stops, sid), true
	return nil
}

// AddStreams asks for n more outgoing streams (RFC 6525 section 5.1.5). EventStreamsAdded or a refusal follows.
func (a *Assoc) AddStreams(now mono.Time, n int) error {
	switch {
	case a.state != Established:
		return ErrNotOpen
	case !a.cfg.reconfig() || !a.peer.Reconfig || a.reconf.ignores(addOurs):
		return ErrNoReconfig
	case n < 1 || a.outStreams+n > 1<<16-1:
		return ErrTooMany
	}
	r := a.reconfig()
	r.add, r.look = r.add+uint16(n), true
	return nil
}

// AskStreams asks the peer to add n streams in its direction (RFC 6525 section 5.1.6). EventStreamsAdded follows when it has
// done so, or a refusal.
func (a *Assoc) AskStreams(now mono.Time, n int) error {
	switch {
	case a.state != Established:
		return ErrNotOpen
	case !a.cfg.reconfig() || !a.peer.Reconfig || a.reconf.ignores(addTheir):
		return ErrNoReconfig
	case n < 1 || a.inStreams+n > a.cfg.MaxStreams:
		return ErrTooMany
	}
	r := a.reconfig()
	r.ask, r.look = r.ask+uint16(n), true
	return nil
}

// startReconf makes the next request if none is under way and something waits that may go.
func (a *Assoc) startReconf() {
	r := a.reconf
	if r == nil || r.busy || !r.look || a.state != Established {
		return
	}
	sids, rest := r.sids[:0], r.waiting[:0]
	for _, sid := range r.waiting {
		if len(sids) < maxReset && a.tx.StreamHeld(sid) == 0 {
			sids = append(sids, sid)
		} else {
			rest = append(rest, sid)
		}
	}
	r.waiting = rest
	switch {
	case len(sids) > 0:
		r.kind, r.sids, r.last = endOurs, sids, a.tx.NextTSN()-1
	case len(r.stops) > 0:
		n := min(len(r.stops), maxReset)
		r.kind, r.sids = endTheir, append(sids, r.stops[:n]...)
		r.stops = append(r.stops[:0], r.stops[n:]...)
	case r.add > 0:
		r.kind, r.adds, r.add = addOurs, r.add, 0
	case r.ask > 0:
		r.kind, r.adds, r.ask = addTheir, r.ask, 0
	default:
		r.look = false
		return
	}
	r.busy, r.due, r.tries, r.ignored = true, true, 0, 0
	r.rsn = r.next
	r.next++
}

// emitReconf writes a RE-CONFIG chunk: answers first, then our request.
func (a *Assoc) emitReconf(now mono.Time, out *pktbuf.Batch) bool {
	a.startReconf()
	r := a.reconf
	if r == nil || (len(r.answers) == 0 && !r.due) {
		return false
	}
	p := a.paths.Data(now)
	if r.due && r.tries%2 == 1 {
		if alt := a.paths.Alternate(now, p, false); alt != nil {
			p = alt
		}
	}
	if p == nil {
		return false
	}
	b, ok := a.openPacket(p, out)
	if !ok {
		return false
	}
	if len(r.answers) > 0 {
		if want, _ := a.rx.AckWanted(now); want {
			a.appendSack(p, &b)
		}
		n := min(len(r.answers), 2)
		b.Reconfig()
		for _, an := range r.answers[:n] {
			b.ReconfigResponse(&wire.ReconfigResponse{Response: an.rsn, Result: an.result,
				HasTSNs: an.tsns, SenderNext: a.tx.NextTSN(), ReceiverTSN: a.rx.CumTSN() + 1 + 1<<31})
		}
		r.answers = r.answers[n:]
	}
	if r.due {
		r.due = false
		r.tries++
		b.Reconfig()
		switch r.kind {
		case endOurs:
			b.OutgoingReset(r.rsn, r.expect-1, r.last, r.sids)
		case endTheir:
			b.IncomingReset(r.rsn, r.sids)
		default:
			b.AddStreams(r.kind == addTheir, r.rsn, r.adds)
		}
		a.setTimer(timerReconf, now.Add(p.RTO.RTO()))
	}
	if b.Empty() {
		return false
	}
	a.commit(now, p, b, out)
	return true
}

// reconfExpired repeats the request (RFC 6525 section 5.1.1): it counts like unanswered data.
func (a *Assoc) reconfExpired(now mono.Time) {
	r := a.reconf
	if r == nil || !r.busy {
		return
	}
	if a.errors == 0 {
		r.ignored++
	}
	if r.ignored > maxIgnored && r.kind != endOurs {
		a.reconfIgnored()
		return
	}
	if p := a.paths.Data(now); p != nil {
		p.RTO.Backoff()
		a.countError(now, p)
	}
	r.due = a.state != Closed
}

// reconfIgnored gives up a request that the peer does not know, and others of its kind.
func (a *Assoc) reconfIgnored() {
	r := a.reconf
	r.busy, r.due, r.look, r.skipped = false, false, true, true
	r.unknown |= 1 << r.kind
	switch r.kind {
	case endTheir:
		r.stops = nil
		return
	case addOurs:
		r.add = 0
	case addTheir:
		r.ask = 0
	}
	a.events.add(Event{Kind: EventReconfigRefused, Reason: "the peer does not answer"})
}

// ignores reports whether the peer has left a request of that kind unanswered.
func (r *reconf) ignores(kind request) bool { return r != nil && r.unknown>>kind&1 != 0 }

// handleReconf takes a RE-CONFIG chunk (RFC 6525 section 5.2.1).
func (a *Assoc) handleReconf(now mono.Time, c wire.Chunk) {
	if !a.cfg.reconfig() || !a.state.Open() {
		a.stats.Discarded++
		return
	}
	v, err := wire.ParseReconfig(c)
	if err != nil {
		a.note().Malformed++
		return
	}
	fresh := false
	for _, p := range v.Params[:v.N] {
		if p.Type == wire.ParamReconfigResponse {
			a.reconfAnswered(now, p)
		} else if a.reconfRequest(now, p, &fresh) {
			a.rx.SackNeeded()
		}
	}
}

// reconfRequest takes one request of the peer. fresh says that another one of the same chunk was new.
func (a *Assoc) reconfRequest(now mono.Time, p wire.Param, fresh *bool) bool {
	rsn, ok := requestNumber(p)
	if !ok {
		a.note().Malformed++
		return false
	}
	r := a.reconfig()
	if rsn != r.expect {
		for _, k := range r.kept {
			if k.rsn == rsn { // a retransmission: the same answer, or by now a better one
				r.answer(k)
				return true
			}
		}
		r.answer(answerTo{rsn: rsn, result: wire.ReconfigBadSequence, tsns: p.Type == wire.ParamTSNReset})
		return true
	}
	r.expect++
	if !*fresh {
		*fresh = true
		r.kept = r.kept[:0]
	}
	result := wire.ReconfigDenied
	switch p.Type {
	case wire.ParamOutgoingReset:
		result = a.incomingEnds(now, p)
	case wire.ParamIncomingReset:
		result = a.endAsked(p)
	case wire.ParamAddOutgoing:
		result = a.incomingAdded(p)
	case wire.ParamAddIncoming:
		result = a.outgoingAsked(p)
	}
	an := answerTo{rsn: rsn, result: result, tsns: p.Type == wire.ParamTSNReset}
	r.kept = append(r.kept, an)
	r.answer(an)
	return true
}

func (r *reconf) answer(an answerTo) {
	if len(r.answers) < 8 {
		r.answers = append(r.answers, an)
	}
}

func requestNumber(p wire.Param) (serial.RSN, bool) {
	switch p.Type {
	case wire.ParamOutgoingReset, wire.ParamIncomingReset:
		v, err := wire.ParseStreamReset(p)
		return v.Request, err == nil
	case wire.ParamTSNReset:
		v, err := wire.ParseTSNReset(p)
		return v, err == nil
	}
	v, _, err := wire.ParseAddStreams(p)
	return v, err == nil
}

// incomingEnds: the peer ends streams. Until all their data is here the answer is "in progress".
func (a *Assoc) incomingEnds(now mono.Time, p wire.Param) wire.ReconfigResult {
	r := a.reconf
	v, err := wire.ParseStreamReset(p)
	if err != nil {
		return wire.ReconfigDenied
	}
	if r.busy && r.kind == endTheir && v.Response == r.rsn {
		// It answers our request (RFC 6525 section 5.2.2 E1). With any other request of ours the number only says that it
		// arrived, perhaps to be deferred: the answer to that is still to come.
		a.reconfDone(now, wire.ReconfigPerformed)
	}
	d := &deferred{rsn: v.Request, last: v.LastTSN}
	for i := range v.Streams() {
		sid := v.Stream(i)
		if int(sid) >= a.inStreams {
			return wire.ReconfigWrongSSN
		}
		d.sids = append(d.sids, sid)
	}
	if !v.LastTSN.LessEq(a.rx.CumTSN()) {
		r.defer_ = d
		return wire.ReconfigInProgress
	}
	a.resetIncoming(d)
	return wire.ReconfigPerformed
}

// resumeReset performs a deferred reset once its data is here.
func (a *Assoc) resumeReset() {
	r := a.reconf
	if r == nil || r.defer_ == nil || !r.defer_.last.LessEq(a.rx.CumTSN()) {
		return
	}
	d := r.defer_
	r.defer_ = nil
	a.resetIncoming(d)
	for i := range r.kept {
		if r.kept[i].rsn == d.rsn {
			r.kept[i].result = wire.ReconfigPerformed
		}
	}
	r.answer(answerTo{rsn: d.rsn, result: wire.ReconfigPerformed})
}

func (a *Assoc) resetIncoming(d *deferred) {
	// What was complete is taken out before the numbers begin anew.
	a.events.late(Event{Kind: EventStreamReset, Streams: d.sids})
	if len(d.sids) == 0 {
		a.rx.ResetAllStreams()
		return
	}
	for _, sid := range d.sids {
		a.rx.ResetStream(sid)
	}
}

// endAsked: the peer wants our outgoing streams reset. Our own request follows.
func (a *Assoc) endAsked(p wire.Param) wire.ReconfigResult {
	v, err := wire.ParseStreamReset(p)
	if err != nil || v.Streams() == 0 && a.outStreams > maxReset {
		return wire.ReconfigDenied
	}
	sids := make([]uint16, 0, v.Streams())
	for i := range v.Streams() {
		sid := v.Stream(i)
		if int(sid) >= a.outStreams {
			return wire.ReconfigWrongSSN
		}
		sids = append(sids, sid)
	}
	if v.Streams() == 0 {
		for sid := range a.outStreams {
			sids = append(sids, uint16(sid))
		}
	}
	r := a.reconf
	var under int // of sids, whose reset is under way
	sids, under = r.notEnding(sids)
	switch {
	case len(sids) == 0 && under > 0:
		return wire.ReconfigNothingToDo
	case len(sids) == 0:
		return wire.ReconfigPerformed // it is going to be
	case len(r.waiting)+len(sids) > maxAsked:
		return wire.ReconfigDenied // it asks faster than it lets us end them
	}
	r.waiting, r.look = append(r.waiting, sids...), true
	a.events.add(Event{Kind: EventStopAsked, Streams: sids})
	return wire.ReconfigPerformed
}

// sidSet is a set of streams.
type sidSet [1 << 16 / 64]uint64

func (s *sidSet) add(sid uint16)      { s[sid/64] |= 1 << (sid % 64) }
func (s *sidSet) has(sid uint16) bool { return s[sid/64]>>(sid%64)&1 != 0 }

// notEnding keeps those streams whose end is neither under way nor waiting to be: the peer would take two ends for those of
// two streams. It tells how many are under way.
func (r *reconf) notEnding(sids []uint16) (kept []uint16, under int) {
	var known, busy sidSet
	for _, sid := range r.waiting {
		known.add(sid)
	}
	if r.busy && r.kind == endOurs {
		for _, sid := range r.sids {
			busy.add(sid)
		}
	}
	kept = sids[:0]
	for _, sid := range sids {
		if busy.has(sid) {
			under++
		} else if !known.has(sid) {
			known.add(sid)
			kept = append(kept, sid)
		}
	}
	return kept, under
}

func (a *Assoc) incomingAdded(p wire.Param) wire.ReconfigResult {
	_, n, err := wire.ParseAddStreams(p)
	if err != nil || a.inStreams+int(n) > a.cfg.MaxStreams {
		return wire.ReconfigDenied
	}
	a.inStreams += int(n)
	a.rx.SetStreams(a.inStreams)
	a.events.add(Event{Kind: EventStreamsAdded, Reason: "incoming"})
	return wire.ReconfigPerformed
}

func (a *Assoc) outgoingAsked(p wire.Param) wire.ReconfigResult {
	_, n, err := wire.ParseAddStreams(p)
	r := a.reconf
	promised := a.outStreams + int(r.add)
	if r.busy && r.kind == addOurs {
		promised += int(r.adds)
	}
	if err != nil || promised+int(n) > a.cfg.MaxStreams {
		return wire.ReconfigDenied
	}
	a.reconf.add += n
	a.reconf.look = true
	return wire.ReconfigPerformed
}

// reconfAnswered takes the peer's answer to our request (RFC 6525 section 5.2.7).
func (a *Assoc) reconfAnswered(now mono.Time, p wire.Param) {
	r := a.reconf
	v, err := wire.ParseReconfigResponse(p)
	if err != nil || r == nil || !r.busy || v.Response != r.rsn {
		return
	}
	a.errors = 0
	if v.Result == wire.ReconfigBadSequence && r.skipped {
		// The request before was not even counted, so this one takes its number.
		r.rsn, r.next, r.skipped, r.due = r.rsn-1, r.next-1, false, true
		return
	}
	r.skipped = false
	if v.Result == wire.ReconfigInProgress {
		if path := a.paths.Data(now); path != nil {
			a.setTimer(timerReconf, now.Add(path.RTO.RTO()))
		}
		return
	}
	a.reconfDone(now, v.Result)
}

func (a *Assoc) reconfDone(_ mono.Time, result wire.ReconfigResult) {
	r := a.reconf
	a.timers.Stop(timerReconf)
	r.busy, r.due, r.look = false, false, true
	ok := result == wire.ReconfigPerformed || result == wire.ReconfigNothingToDo
	switch r.kind {
	case endTheir:
		return // the end itself follows, or nothing does
	case addOurs, addTheir:
		switch {
		case !ok:
			a.events.add(Event{Kind: EventReconfigRefused, Reason: result.String()})
		case r.kind == addOurs: // else its own request to add them follows
			a.outStreams += int(r.adds)
			a.tx.SetStreams(a.outStreams)
			a.events.add(Event{Kind: EventStreamsAdded, Reason: "outgoing"})
		}
		return
	}
	ev := Event{Kind: EventStreamEnded, Streams: append([]uint16(nil), r.sids...)}
	if ok {
		for _, sid := range r.sids {
			a.tx.ResetStream(sid)
		}
	} else {
		ev.Kind, ev.Reason = EventReconfigRefused, result.String()
	}
	a.events.add(ev)
}
