package cc

import (
	"math"
	"time"

	"github.com/go-multihome/multihome/internal/mono"
)

// Cubic is CUBIC congestion control (RFC 8312): after a reduction the window follows a cubic function of the time since,
// flat where the last loss was met, steep far from it, so that its growth does not depend on the round trip. Where NewReno
// would grow faster (short or narrow paths), it grows as fast as NewReno does.
// Use NewCubic or Init; the zero Cubic is not usable.
type Cubic struct {
	base
	curve
	saved curve // what OnSpurious restores
}

// curve is the state of the cubic function. Sizes are bytes, fractions included.
type curve struct {
	wMax     float64       // window at the last reduction; zero: unknown, growth starts from where it is
	wLast    float64       // W_last_max: the same at the reduction before, for fast convergence
	origin   float64       // plateau of the epoch
	k        time.Duration // from the epoch's beginning to the plateau
	epoch    mono.Time     // when this stretch of congestion avoidance began; zero: not yet
	unused   mono.Time     // since when the window has not been used; zero: it is
	friendly float64       // W_est: the window NewReno would have
	part     float64       // growth not yet a whole byte
}

// Constants of RFC 8312: C in packets per cubed second (section 5.1), the factor a loss reduces the window by (section
// 4.5), and the additive increase that with this factor yields NewReno's average window (section 4.2).
const (
	cubicC     = 0.4
	cubicBeta  = 0.7
	cubicAlpha = 3 * (1 - cubicBeta) / (1 + cubicBeta)
)

var _ Controller = (*Cubic)(nil)

// NewCubic returns a controller in its initial state.
func NewCubic(cfg Config) *Cubic {
	c := new(Cubic)
	c.Init(cfg)
	return c
}

// Init puts c into its initial state. Values of cfg that are zero or less take their defaults.
func (c *Cubic) Init(cfg Config) {
	c.base.init(cfg)
	c.curve, c.saved = curve{}, curve{}
}

// OnAck implements Controller.
func (c *Cubic) OnAck(e Ack) {
	if e.Bytes <= 0 {
		return
	}
	if avoid, used := c.onAck(&e); avoid {
		c.avoid(&e, used)
	}
}

// avoid grows the window in congestion avoidance (RFC 8312 sections 4.1 to 4.4).
func (c *Cubic) avoid(e *Ack, used bool) {
	if !used {
		if c.unused == 0 && c.epoch != 0 {
			c.unused = e.Now
		}
		return
	}
	if c.unused != 0 {
		c.epoch = c.epoch.Add(e.Now.Sub(c.unused)) // such time does not count (RFC 8312 section 5.8)
		c.unused = 0
	}
	w, packet := float64(c.cwnd), float64(c.cfg.MTU)
	if c.epoch == 0 {
		c.begin(e.Now, w, packet)
	}
	acked := min(float64(e.Bytes), w) / w // at most a window counts per SACK

	// Eq. 4, counted by what is acknowledged: a window of it is the t/RTT of the formula.
	c.friendly += cubicAlpha * packet * acked
	t := e.Now.Sub(c.epoch)
	if c.at(t, packet) < c.friendly {
		c.grow(max(0, c.friendly-w))
		return
	}
	// Half the window per round trip bounds the steep part, which after a long quiet time could jump.
	target := min(max(c.at(t+e.SRTT, packet), w), w*3/2)
	c.grow((target - w) * acked)
}

// begin starts an epoch at the present window.
func (c *Cubic) begin(now mono.Time, w, packet float64) {
	c.epoch = now
	c.friendly = w
	c.part = 0
	c.origin, c.k = w, 0
	if w < c.wMax {
		// Eq. 2 with the window there really is, which fast convergence or a slow start may have left elsewhere than at
		// the share beta of the plateau: so the curve begins where the window is.
		c.origin = c.wMax
		c.k = time.Duration(math.Cbrt((c.wMax-w)/packet/cubicC) * float64(time.Second))
	}
}

// at is Eq. 1: the window at time t of the epoch.
func (c *Cubic) at(t time.Duration, packet float64) float64 {
	d := (t - c.k).Seconds()
	return c.origin + cubicC*packet*d*d*d
}

// grow adds bytes, keeping fractions: growth per SACK is often less than one.
func (c *Cubic) grow(bytes float64) {
	c.part += bytes
	n := math.Floor(c.part)
	c.part -= n
	c.cwnd = int(min(float64(c.cwnd)+n, maxWindow))
}

// OnLoss implements Controller (RFC 8312 sections 4.5 and 4.6).
func (c *Cubic) OnLoss(e Loss) bool {
	if !c.lost(&e) {
		return false
	}
	c.shrink(e.Now)
	w := float64(c.cwnd)
	c.wMax = w
	if w < c.wLast {
		c.wMax = w * (1 + cubicBeta) / 2 // fast convergence: leave room for a newcomer
	}
	c.wLast = w
	c.recover(&e)
	return true
}

// OnTimeout implements Controller. The plateau is forgotten (RFC 8312 section 4.7).
func (c *Cubic) OnTimeout(now mono.Time, flight int) {
	c.shrink(now)
	c.wMax = 0
	c.collapse()
}

// shrink sets the threshold and ends the epoch.
func (c *Cubic) shrink(now mono.Time) {
	if c.reduce(now, int(float64(c.cwnd)*cubicBeta+0.5)) {
		c.saved = c.curve
	}
	c.epoch, c.unused = 0, 0
}

// OnSpurious implements Controller.
func (c *Cubic) OnSpurious(now mono.Time) {
	if c.restore() {
		// The plateau comes back, and the curve starts over from the restored window: the time spent below it must not
		// count as time spent above.
		c.curve = c.saved
		c.epoch, c.unused = 0, 0
	}
}

// OnIdle implements Controller.
func (c *Cubic) OnIdle(now mono.Time, idle, rto time.Duration) {
	if c.decay(idle, rto) {
		c.epoch, c.unused = 0, 0
	} else if c.epoch != 0 && c.unused == 0 {
		c.unused = now.Add(-idle)
	}
}

// Restart implements Controller.
func (c *Cubic) Restart(mono.Time) { c.Init(c.cfg) }
