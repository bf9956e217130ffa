package endpoint

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/path"
	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/tx"
)

// record sends n bytes as one message under a policy.
func (p *pair) record(s *side, sid uint16, policy path.Policy, data []byte) {
	m := tx.NewMessage()
	m.SID = sid
	m.Data.Write(data)
	assoc.SetPolicy(m, policy)
	require.NoError(p.t, s.ents[0].Assoc.Send(p.now, m))
}

// touches reports whether a packet belongs to one of the two networks of the pair, in the directions asked for.
func touches(from, to netip.AddrPort, prefix string, forth, back bool) bool {
	n := netip.MustParsePrefix(prefix)
	if !n.Contains(from.Addr()) && !n.Contains(to.Addr()) {
		return false
	}
	fromA := from.Port() == 9899
	return fromA && forth || !fromA && back
}

func TestRedundantLosesNothingToASingleCut(t *testing.T) {
	for _, cut := range []struct {
		name        string
		forth, back bool
	}{{"both ways", true, true}, {"forward", true, false}, {"return", false, true}} {
		for _, net := range []string{"10.0.0.0/24", "10.0.1.0/24"} {
			t.Run(cut.name+" "+net, func(t *testing.T) {
				live := pktbuf.Live()
				p := newPair(t)
				p.delay = 10 * time.Millisecond
				p.connect()
				p.run(3 * time.Second)
				dead := false
				p.drop = func(from, to netip.AddrPort, _ []byte) bool {
					return dead && touches(from, to, net, cut.forth, cut.back)
				}
				var want []byte
				seen, last, gap := 0, p.now, time.Duration(0)
				for i := range 2000 {
					rec := pattern(1024)
					rec[0], rec[1] = byte(i), byte(i>>8)
					want = append(want, rec...)
					p.record(p.a, 3, assoc.Redundant, rec)
					p.run(time.Millisecond)
					if n := len(p.b.got[3]); n != seen {
						if i > 200 { // the windows have grown to the load
							gap = max(gap, p.now.Sub(last))
							require.Equal(t, 1024, n-seen, "record %d: one at a time", i)
						}
						seen, last = n, p.now
					}
					dead = dead || i == 1000
				}
				require.Equal(t, time.Millisecond, gap, "largest gap between arrivals is the record interval")
				// At no time are more records under way than one way takes: none was later than the way itself.
				require.Equal(t, len(want)-9*1024, seen)
				p.run(5 * time.Second)
				require.True(t, bytes.Equal(want, p.b.got[3]))
				require.Equal(t, live, pktbuf.Live())
			})
		}
	}
}

func TestRedundantBulk(t *testing.T) {
	p := newPair(t)
	p.connect()
	p.run(3 * time.Second)
	x := pattern(1 << 20)
	for rest := x; len(rest) > 0; {
		n := min(len(rest), 16<<10)
		p.record(p.a, 0, assoc.Redundant, rest[:n])
		rest = rest[n:]
	}
	p.run(5 * time.Second)
	require.True(t, bytes.Equal(x, p.b.got[0]))
	copied := uint64(0)
	for _, i := range p.a.ents[0].Assoc.Paths(nil) {
		copied += i.Stats.DataCopied
	}
	require.Greater(t, copied, uint64(len(x)/2))
	require.Zero(t, p.a.ents[0].Assoc.Stats().Spurious, "copies are not needless resends")
}

func TestFastestTakesTheShorterPath(t *testing.T) {
	p := newPair(t)
	p.connect()
	slow := mono.Time(0)
	p.lag = func(from, to netip.AddrPort) time.Duration {
		if slow != 0 && touches(from, to, "10.0.0.0/24", true, true) {
			return 30 * time.Millisecond
		}
		return 0
	}
	slow = p.now
	p.run(20 * time.Second)
	sent := func() (n [4]uint64) {
		for i, x := range p.a.ents[0].Assoc.Paths(nil) {
			n[i] = x.Stats.DataSent
		}
		return n
	}
	before := sent()
	for range 100 {
		p.record(p.a, 1, assoc.Fastest, pattern(500))
		p.run(5 * time.Millisecond)
	}
	after := sent()
	require.Equal(t, before[0], after[0], "nothing on the long primary path")
	require.Equal(t, before[1]+50000, after[1], "all on the short one")
	p.write(p.a, 0, pattern(5000))
	p.run(time.Second)
	require.Equal(t, after[0]+5000, sent()[0], "other streams keep to the primary")
	require.Len(t, p.b.got[1], 50000)
	require.Len(t, p.b.got[0], 5000)
}
