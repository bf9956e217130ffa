package script

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/simnet"
)

// mark is a record on its way: where it ends in its stream, and when the user wrote it.
type mark struct {
	end uint64
	at  mono.Time
}

// gauge measures records as the receiving user sees them.
type gauge struct {
	marks   []mark // written, not yet read
	records int
	last    mono.Time
	gap     time.Duration // longest time between two records read
	gapAt   mono.Time     // when it began
	delay   time.Duration // longest time from write to read
	late    int           // records later than lateRecord
}

// lateRecord is the delay beyond which a record counts as late.
const lateRecord = 200 * time.Millisecond

// streamKey names a stream by the host that sends on it.
type streamKey struct {
	host string
	sid  uint16
}

// read notes that the stream was read up to an offset.
func (g *gauge) read(now mono.Time, offset uint64) {
	for len(g.marks) > 0 && g.marks[0].end <= offset {
		m := g.marks[0]
		g.marks = g.marks[1:]
		if g.records > 0 && now.Sub(g.last) > g.gap {
			g.gap, g.gapAt = now.Sub(g.last), g.last
		}
		g.delay = max(g.delay, now.Sub(m.at))
		if now.Sub(m.at) > lateRecord {
			g.late++
		}
		g.last = now
		g.records++
	}
}

// cmdStream writes records at regular times: stream a 100B every=10ms for=3s stream=1. They are measured, see gaps.
func cmdStream(c *call) error {
	conn, err := c.conn(0)
	if err != nil {
		return err
	}
	size, err := simnet.ParseSize(c.arg(1))
	if err != nil {
		return err
	}
	every, err := time.ParseDuration(c.key("every", "10ms"))
	if err != nil {
		return err
	}
	length, err := time.ParseDuration(c.key("for", "1s"))
	if err != nil {
		return err
	}
	sid, err := c.number("stream", 0)
	if err != nil {
		return err
	}
	key := streamKey{conn.Host.Name, uint16(sid)}
	g := new(gauge)
	c.w.gauges[key] = g
	var end uint64
	if s := conn.out[uint16(sid)]; s != nil {
		end = s.offset
	}
	for t := time.Duration(0); t < length; t += every {
		c.w.Net.At(c.w.Now.Add(t), func() {
			end += uint64(size)
			g.marks = append(g.marks, mark{end, c.w.Now})
			conn.Send(uint16(sid), size, size, 0, false)
		})
	}
	return nil
}

// cmdGaps prints what became of the records of stream commands on their way to a host.
func cmdGaps(c *call) error {
	conn, err := c.conn(0)
	if err != nil {
		return err
	}
	for _, sid := range sortedKeys(conn.in) {
		g := c.w.gauges[streamKey{conn.peer.Name, sid}]
		if g == nil {
			continue
		}
		c.print("stream %d: %d records read, %d not; longest gap %s ms from %s; longest delay %s ms; %d later than %v",
			sid, g.records, len(g.marks), stamp(g.gap), stamp(g.gapAt.Sub(simnet.Epoch)), stamp(g.delay), g.late, lateRecord)
	}
	return nil
}

// cmdAt plans another command: at 1s link a1-b1 down.
func cmdAt(c *call) error {
	for k := range c.Keys {
		c.used[k] = true
	}
	d, err := time.ParseDuration(c.arg(0))
	if err != nil {
		return err
	}
	_, text, ok := strings.Cut(c.Text, c.arg(0)+" ")
	if !ok {
		return errors.New("at which time what?")
	}
	cmd, err := ParseCommand(text)
	if err != nil {
		return err
	}
	c.w.Net.At(c.w.Now.Add(d), func() {
		c.w.say("%s", text)
		if err := c.w.Run(cmd); err != nil {
			c.w.fail(fmt.Errorf("planned command: %w", err))
		}
	})
	return nil
}
