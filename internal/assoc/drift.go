package assoc

import (
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/tx"
)

// A fault of our own host (link, address, a send that is refused) says nothing about what has left already: that usually
// arrives. To send it again at once would fill the window of the path that takes over with duplicates, while new data
// waits. So it is left adrift: new data goes first, and whatever is outstanding on the lost path goes again when a SACK for
// something sent since the fault shows it missing, or when none comes in time. Only the latest packets, which the fault is
// likely to have caught, go again before everything else.

// What of the latest packets goes again at once: those that left within driftTime, at most driftPackets of them.
const (
	driftTime    = 2 * time.Millisecond
	driftPackets = 4
)

// adrift leaves what is outstanding on p to itself and reports whether that can be: there is another path, and something
// is outstanding.
func (a *Assoc) adrift(now mono.Time, p *path.Path, why heartbeat.Reason) bool {
	if why != heartbeat.LocalFault && why != heartbeat.SendError {
		return false
	}
	alt := a.paths.Alternate(now, p, true)
	if alt == nil || a.tx.InFlight(p.ID) == 0 {
		return false
	}
	a.endProbe(p)
	if why == heartbeat.SendError {
		// The batch that was refused went out in one instant.
		a.retargeted(a.tx.RetargetSince(p.ID, p.LastData(), wholeFlight))
	}
	a.retargeted(a.tx.RetargetSince(p.ID, now.Add(-driftTime), driftPackets*p.Payload))
	wait := p.RTO.PTO(0)
	if alt.RTO.HasSample() {
		wait = max(wait, alt.RTO.PTO(0))
	}
	p.Doubt().Drift = path.Drift{Since: now, End: now.Add(wait)}
	a.driftChecked(p)
	return true
}

const wholeFlight = 1 << 62

// refused takes a send that was refused on a path for which no other can stand in: it is tried again in a moment. A link
// that has come back has its routes a little later. While the path's own end is known to be gone, that is waited for.
func (a *Assoc) refused(now mono.Time, p *path.Path) {
	if a.state == Closed || p.Down() || a.paths.Data(now) != p {
		return
	}
	p.Refused(now)
	a.paths.Touch()
	a.retargeted(a.tx.RetargetSince(p.ID, p.LastData(), wholeFlight))
	a.driftChecked(p)
}

// driftChecked ends the drift when nothing is out any more.
func (a *Assoc) driftChecked(p *path.Path) {
	if a.tx.InFlight(p.ID) == 0 {
		p.NotAdrift()
		p.StopT3()
	}
}

// driftAt returns when the drift of a path wants to be looked at.
func (a *Assoc) driftAt(p *path.Path) mono.Time {
	d := p.Adrift()
	if d.Since == 0 || d.Asked {
		return d.End
	}
	return mono.Min(d.Since.Add(probeRest), d.End)
}

// driftTimeout takes the instant driftAt told. When no new data has gone out that would be answered, two chunks of what is
// adrift are copied to the alternate to ask.
func (a *Assoc) driftTimeout(now mono.Time, p *path.Path) {
	d := &p.Doubt().Drift
	if !now.Before(d.End) {
		a.failover(now, p)
		return
	}
	d.Asked = true
	for _, q := range a.paths.All() {
		if q != p && q.LastData() >= d.Since {
			return
		}
	}
	if a.probing >= 0 || a.paths.Alternate(now, p, true) == nil {
		return
	}
	a.probing, a.probed = int8(p.ID), 0
	p.Doubt().Suspect.RestAt = d.End // the rest follows as what is lost
	a.tx.StartProbe(p.ID)
}

// driftShown takes a SACK that tells of something sent on another path since the fault: what is still missing of a path
// adrift by then does not come any more, unless its way is the longer one.
func (a *Assoc) driftShown(now mono.Time, res *tx.AckResult) {
	for _, p := range a.paths.All() {
		if p.Adrift().Since == 0 {
			continue
		}
		d := &p.Doubt().Drift
		if a.driftChecked(p); d.Since == 0 {
			continue
		}
		for i, q := range a.paths.All() {
			if q == p || res.Touched&(1<<i) == 0 || res.Paths[i].AckSent < d.Since {
				continue
			}
			// There by the lost path, back by the other one.
			if due := d.Since.Add((p.RTO.SRTT() + q.RTO.SRTT()) / 2); now.Before(due) {
				d.End = mono.Min(d.End, due.Add(time.Millisecond))
				continue
			}
			a.failover(now, p)
			break
		}
	}
}
