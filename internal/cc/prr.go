package cc

// prr is Proportional Rate Reduction (RFC 6937): in recovery, what leaves follows what arrives, so that the window shrinks
// over the round trip instead of by a silence of half of it, and so that a path that lost more than the reduction keeps
// sending as long as anything comes back.
type prr struct {
	delivered int // bytes acknowledged since recovery began
	out       int // bytes sent since
	start     int // bytes in flight when it began, the lost ones among them (RecoverFS)
	latest    int // bytes of the latest SACK,
	outThen   int // and what had been sent when it came
}

// acked takes the bytes of one SACK.
func (p *prr) acked(n int) {
	p.delivered += n
	p.latest, p.outThen = n, p.out
}

// budget returns what may leave with flight bytes under way, the lost ones not among them, when recovery is to end with a
// window of target. The first packet of all goes in any case: it holds the earliest lost chunks (RFC 9260 section 7.2.4
// step 3).
func (p *prr) budget(flight, target, mtu int) int {
	n := 0
	if flight > target {
		n = (p.delivered*target+p.start-1)/max(p.start, 1) - p.out
	} else {
		// Slow start back to the target (the variant PRR-SSRB), a packet more per SACK than it acknowledged. RFC 6937
		// reckons once per SACK; what has left since is taken off, so that asking again yields the same.
		n = max(p.delivered-p.outThen, p.latest) + mtu - (p.out - p.outThen)
		n = min(n, target-flight)
	}
	if p.out == 0 || flight <= 0 {
		n = max(n, 1) // without anything under way nothing would ever come back to let more go
	}
	if room := min(target, 2*mtu) - flight; n < room {
		// Two packets at least: a lone one is not answered before the peer's SACK delay is over (RFC 9260 section 6.2), and
		// when it is lost nothing tells.
		n = room
	}
	return n
}
