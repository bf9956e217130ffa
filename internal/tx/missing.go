package tx

// The loss detection of RFC 9260 section 7.2.4, for who wants it by the letter (Config.CountMissing): a chunk is lost when
// three SACKs that acknowledged something above it have left it out. Such a loss is found once per chunk, a second one is
// left to T3-rtx.

const (
	missReports = 3    // reports that make a chunk lost
	missSpent   = 0xff // it was found so before
)

// missing is what the counting needs.
type missing struct {
	reports []uint8 // by position in the window
	highest uint64  // Highest TSN Newly Acknowledged of this SACK (HTNA), zero: none was
	exit    uint64  // Fast Recovery lasts until all below is acknowledged
}

// sent notes that the chunk at a position leaves, at first or again.
func (m *missing) sent(pos uint32, again bool) {
	if !again || m.reports[pos] != missSpent {
		m.reports[pos] = 0
	}
}

// countMissing counts this SACK's reports. In Fast Recovery one that moves the cumulative TSN counts for everything it leaves
// out, another one for what lies below the highest TSN it is the first to acknowledge.
func (s *Sender) countMissing(res *AckResult) {
	m := s.missing
	top := m.highest
	m.highest = 0
	if n := len(s.gaps); n > 0 && res.CumAdvanced && s.base < m.exit {
		top = max(top, s.gaps[n-1].hi)
	}
	found := false
	from := s.base
	for i := 0; i < len(s.gaps) && from < top; i++ {
		for idx := from; idx < min(s.gaps[i].lo, top); idx++ {
			found = s.reportedMissing(idx, res) || found
		}
		from = s.gaps[i].hi
	}
	if found && s.base >= m.exit {
		m.exit = s.next
	}
	for set := pathSet(res.Touched); set != 0; set &= set - 1 {
		p := set.lowest()
		s.trim(s.tracks[p], 1<<p)
	}
}

// reportedMissing takes one report, and tells whether it makes the chunk of TSN idx lost.
func (s *Sender) reportedMissing(idx uint64, res *AckResult) bool {
	c := s.at(idx)
	n := &s.missing.reports[s.pos(idx)]
	if c.fate != fateOutstanding || *n == missSpent {
		return false
	}
	if *n++; *n < missReports {
		return false
	}
	*n = missSpent
	for set := c.live; set != 0; set &= set - 1 {
		p := set.lowest()
		pa := s.touch(p, res)
		pa.Lost += int(c.size)
		pa.LostSent = max(pa.LostSent, c.sent)
		s.tracks[p].flight -= int(c.size)
	}
	c.live = 0
	c.lostOn = noPath
	s.markLost(c, s.pos(idx))
	return true
}
