package assoc

import (
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/tx"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/locator"
)

// ackScratch is what one SACK needs on its way from tx to path; recycled, so that idle associations hold none.
type ackScratch struct {
	rtts [locator.MaxPaths]tx.RTT
	res  tx.AckResult
}

var ackPool pktbuf.Pool[ackScratch]

func (a *Assoc) scratch() *ackScratch {
	sc := ackPool.Get()
	for i, p := range a.paths.All() {
		sc.rtts[i] = tx.RTT{SRTT: p.RTO.SRTT(), Min: p.RTO.MinRTT()}
	}
	sc.res = tx.AckResult{}
	return sc
}

// handleSack takes a SACK: tx says what it means for every path, the paths and their monitors take it from there.
func (a *Assoc) handleSack(now mono.Time, in *inbound, c wire.Chunk) {
	if !a.state.in(maySend) && a.state != ShutdownSent {
		a.stats.Discarded++
		return
	}
	k, err := wire.ParseSack(c)
	if err != nil {
		a.note().Malformed++
		return
	}
	sc := a.scratch()
	err = a.tx.Sack(now, &k, &sc.rtts, &sc.res)
	if err == nil {
		a.windowIs(k.ARwnd)
	}
	a.takeAck(now, in, sc, err)
}

// windowIs notes the peer's window. When it opens after zero window probes, the last one was dropped for want of room: it
// goes again at once instead of waiting for a timeout that has backed off for long.
func (a *Assoc) windowIs(n uint32) {
	if a.peerWindow == 0 && n > 0 && a.zwp > 0 {
		a.zwp = 0
		for _, p := range a.paths.All() {
			if a.tx.Timeout(p.ID) > 0 {
				p.StopT3()
			}
		}
	}
	if a.peerWindow = n; n > 0 {
		a.timers.Stop(timerWindow)
		a.zwpDue = false
	}
}

// takeAck takes what tx made of a SACK or a SHUTDOWN, and gives the scratch back.
func (a *Assoc) takeAck(now mono.Time, in *inbound, sc *ackScratch, err error) {
	switch err {
	case nil:
		a.lastSack = now
		a.applyAck(now, &sc.res, in.path)
	case tx.ErrStale:
		a.note().StaleSacks++
	default:
		a.abortWith(now, KindViolation, wire.CauseProtocolViolation, "SACK for a TSN never sent", err.Error())
	}
	ackPool.Put(sc)
	if err == nil {
		a.forwardDue = a.tx.Forward()
		a.progressShutdown(now)
	}
}

// applyAck carries the result of a SACK, or of the reordering timer (via nil), to the paths.
func (a *Assoc) applyAck(now mono.Time, res *tx.AckResult, via *path.Path) {
	for i, p := range a.paths.All() {
		p.Answered()
		if res.Touched&(1<<i) == 0 {
			continue
		}
		a.applyPathAck(now, p, &res.Paths[i], res.CumAdvanced, via)
	}
	a.driftShown(now, res)
	if res.Tried {
		if p := a.paths.Get(res.TriedOn); p != nil && p.Mon.AwaitsData() {
			p.Doubt().Stuck, p.Doubt().Trial.Wait = 0, 0
			a.verdict(now, p, p.Mon.DataAcked(now.Std()))
		}
	}
	if res.Acked > 0 {
		a.errors, a.zwp, a.stalled = 0, 0, 0
	}
	if res.Freed > 0 {
		a.events.space = true
		if a.reconf != nil {
			a.reconf.look = true // a stream whose end waits may have been acknowledged
		}
	}
	if res.DupTSNs > 0 {
		n := a.note()
		n.Spurious += uint64(res.Spurious)
		n.DupTSNs += uint64(res.DupTSNs)
	}
}

func (a *Assoc) applyPathAck(now mono.Time, p *path.Path, pa *tx.PathAck, cumAdvanced bool, via *path.Path) {
	flight := a.tx.InFlight(p.ID)
	if via != p && via != nil {
		pa.RTT = 0 // samples only from what was answered on the pair it went by: another way back has another length
	}
	if pa.RTT > 0 {
		p.RTO.SampleAt(now, pa.RTT)
		if flight == 0 && pa.Flight == pa.Bytes && pa.Bytes <= p.Payload && !p.Doubt().Prompt {
			p.LoneAcked(pa.RTT)
		}
	}
	if pa.Bytes > 0 {
		p.CC().OnAck(ackOf(now, pa, cumAdvanced, p.RTO.SRTT()))
	}
	if pa.Lost > 0 {
		p.Load().Lost += uint64(pa.Lost)
		p.CC().OnLoss(lossOf(now, pa, flight))
	}
	p.Acked(now, pa.OldestAcked, flight)
	if pa.Sole || pa.AckSent != 0 {
		p.Answers() // what was sent last on this path was answered
	}
	if pa.Sole {
		if via == p {
			t := p.Doubt()
			t.Heard = max(t.Heard, pa.AckSent)
		}
	}
	switch {
	case pa.Sole && (via == p || via != nil && a.cfg.NoProbeTimeout):
		if !a.stillAsked(now, p, pa.AckSent) {
			a.cleared(now, p)
		}
		a.verdict(now, p, p.Mon.DataAcked(now.Std()))
		a.answered(now, p)
	case pa.Bytes > 0:
		a.answered(now, via)
	}
}

// handleCookieAck ends the client's handshake (RFC 9260 section 5.1 E).
func (a *Assoc) handleCookieAck(now mono.Time, in *inbound) {
	if a.state != CookieEchoed {
		return
	}
	s := a.setup
	p := in.path
	if p == nil {
		p = a.paths.Get(0)
	}
	if s != nil && s.echoTries == 1 && s.echoSent != 0 {
		p.RTO.SampleAt(now, now.Sub(s.echoSent))
	}
	a.confirm(now, a.paths.Get(0))
	a.established(now)
}
