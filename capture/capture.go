package capture

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"
	"unsafe"
)

// Options tune a capture. A nil *Options, and every zero field, means the default.
type Options struct {
	// UDP keeps the UDP headers. By default packets are written as SCTP directly over IP, which every dissector knows
	// whatever the UDP ports were.
	UDP bool

	// Snap is how many bytes of each SCTP packet are kept, as user data may be nobody's business or too much. Checksums
	// of shortened packets cannot be checked. Default 0: all. 28 bytes hold the header of a packet and of its first DATA
	// chunk.
	Snap int

	// Buffer is how much memory, in bytes, may hold packets that wait to be written. Packets that do not fit are left out
	// and counted. Default 8 MiB, at least 256 KiB. The memory is taken when it is needed.
	Buffer int

	// Limit is the number of bytes after which New writes no more packets. Default 0: no limit. At least 64 KiB.
	Limit int64

	// FileSize is the largest size of one of Rotate's files in bytes, and Files the number of them that are kept.
	// Defaults 64 MiB and 8, at least 64 KiB and 2.
	FileSize int64
	Files    int
}

// Defaults and bounds of Options.
const (
	defaultBuffer   = 8 << 20
	defaultFileSize = 64 << 20
	defaultFiles    = 8

	minBuffer = 256 << 10
	minFile   = 64 << 10
	minFiles  = 2
)

// Stats counts what a capture did.
type Stats struct {
	Packets uint64 // written
	Bytes   uint64 // of these packets, with headers
	Dropped uint64 // left out: no memory, the limit was reached, or writing failed
	Files   uint64 // opened by Rotate
	Err     error  // why writing failed, nil as long as it did not. Nothing is written after a failure
}

// Capture takes datagrams and writes them. Its methods may be called by several goroutines at a time.
type Capture struct {
	opts Options
	out  *sink // used by routineWrite alone, and so is
	idle int   // turns since the last one that was large

	mu     sync.Mutex // guards everything up to the next heading
	cur    *block     // what waits
	lost   uint64     // left out since the last one in cur
	closed bool
	stats  Stats

	wake  chan struct{}      // one token: cur is not empty, or the capture is closed
	flush chan chan struct{} // answered when all that came before is written
	done  chan struct{}      // closed when nothing more will be written
}

// block is packets side by side.
type block struct {
	recs []record
	mem  []byte
}

// record is one packet of a block.
type record struct {
	at          time.Time
	local, peer netip.AddrPort
	sent        bool
	lost        uint64 // packets left out before this one
	length      int    // of the payload
	kept        int    // bytes of it in mem
	sum         uint32 // one's complement sum of the payload, for the UDP checksum
}

func (b *block) size() int { return len(b.mem) + len(b.recs)*int(unsafe.Sizeof(record{})) }

// New writes a capture to w, which the caller closes after Close. A nil o means the defaults.
func New(w io.Writer, o *Options) (*Capture, error) {
	if w == nil {
		return nil, errors.New("capture: no writer")
	}
	opts, err := o.filled()
	if err != nil {
		return nil, err
	}
	return start(opts, &sink{opts: &opts, w: w, limit: opts.Limit}), nil
}

// Rotate writes a capture to files: link.pcapng in path becomes link_20260131T235959Z_00001.pcapng and so on, with the time
// at which each was begun, in UTC. When a file is full the next one is begun, and the oldest ones beyond Options.Files are
// removed, those of earlier runs included. The first file is begun with the first packet; its directory must exist.
// A nil o means the defaults.
func Rotate(path string, o *Options) (*Capture, error) {
	opts, err := o.filled()
	if err != nil {
		return nil, err
	}
	files, err := newRing(path, opts.Files)
	if err != nil {
		return nil, err
	}
	return start(opts, &sink{opts: &opts, files: files, limit: opts.FileSize}), nil
}

func start(opts Options, out *sink) *Capture {
	c := &Capture{opts: opts, out: out, cur: new(block), wake: make(chan struct{}, 1), flush: make(chan chan struct{}),
		done: make(chan struct{})}
	go c.routineWrite()
	return c
}

// filled checks the options and returns them with their defaults.
func (o *Options) filled() (Options, error) {
	var d Options
	if o != nil {
		d = *o
	}
	for _, f := range []struct {
		name                string
		given, least, unset int64
		set                 func(int64)
	}{
		{"Snap", int64(d.Snap), 0, 0, func(v int64) { d.Snap = int(v) }},
		{"Buffer", int64(d.Buffer), minBuffer, defaultBuffer, func(v int64) { d.Buffer = int(v) }},
		{"Limit", d.Limit, minFile, 0, func(v int64) { d.Limit = v }},
		{"FileSize", d.FileSize, minFile, defaultFileSize, func(v int64) { d.FileSize = v }},
		{"Files", int64(d.Files), minFiles, defaultFiles, func(v int64) { d.Files = int(v) }},
	} {
		switch {
		case f.given == 0:
			f.set(f.unset)
		case f.given < f.least:
			return d, fmt.Errorf("capture: %s is %d, want 0 or at least %d", f.name, f.given, f.least)
		}
	}
	return d, nil
}

// Datagram takes one datagram: when and between which addresses it went, whether we sent it, and its UDP payload, which is
// copied. It never waits for the disk. Calls on a nil or closed Capture do nothing.
func (c *Capture) Datagram(at time.Time, sent bool, local, peer netip.AddrPort, payload []byte) {
	if c == nil {
		return
	}
	kept := payload
	if c.opts.Snap > 0 && len(kept) > c.opts.Snap {
		kept = kept[:c.opts.Snap]
	}
	var sum uint32
	if c.opts.UDP {
		sum = add(0, payload)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	b := c.cur
	if c.stats.Err != nil || b.size()+len(kept)+int(unsafe.Sizeof(record{})) > c.opts.Buffer/2 { // the other half is being written
		c.lost++
		c.stats.Dropped++
		return
	}
	b.mem = append(b.mem, kept...)
	b.recs = append(b.recs, record{at: at, local: local, peer: peer, sent: sent, lost: c.lost, length: len(payload), kept: len(kept), sum: sum})
	c.lost = 0
	if len(b.recs) == 1 {
		c.signal()
	}
}

func (c *Capture) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Flush waits until everything taken so far has been handed to the writer or the file, and returns Stats.Err.
func (c *Capture) Flush() error {
	answer := make(chan struct{})
	select {
	case c.flush <- answer:
		select {
		case <-answer:
		case <-c.done: // closed at the same time: all is written
		}
	case <-c.done:
	}
	return c.Stats().Err
}

// Close writes what waits and ends the capture. It returns Stats.Err. Closing again does the same.
func (c *Capture) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.signal()
	<-c.done
	return c.Stats().Err
}

// Stats returns the counters.
func (c *Capture) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// routineWrite writes blocks until the capture is closed.
func (c *Capture) routineWrite() {
	defer close(c.done)
	spare := new(block)
	for {
		var answer chan struct{}
		select {
		case <-c.wake:
		case answer = <-c.flush:
		}
		for {
			full, closed := c.take(spare)
			c.write(full)
			spare = full
			if len(full.recs) > 0 {
				continue
			}
			if closed {
				c.fail(c.out.close())
				return
			}
			break
		}
		if answer != nil {
			close(answer)
		}
	}
}

// Memory that a rush has made grow beyond keepMemory is given back after a rest of so many turns.
const (
	keepMemory = 1 << 20
	rest       = 1000
)

// take exchanges an empty block for the one that waits.
func (c *Capture) take(spare *block) (full *block, closed bool) {
	if len(spare.mem) > cap(spare.mem)/8 {
		c.idle = 0
	} else if c.idle++; c.idle > rest && cap(spare.mem) > keepMemory {
		*spare = block{}
	}
	clear(spare.recs)
	spare.recs, spare.mem = spare.recs[:0], spare.mem[:0]
	c.mu.Lock()
	defer c.mu.Unlock()
	full, c.cur = c.cur, spare
	return full, c.closed
}

// write writes one block and makes sure that it has arrived.
func (c *Capture) write(b *block) {
	if len(b.recs) == 0 {
		return
	}
	var s Stats
	var err error
	mem := b.mem
	for i := range b.recs {
		r := &b.recs[i]
		var n int
		if err == nil {
			n, err = c.out.packet(r, mem[:r.kept])
		}
		if n > 0 {
			s.Packets++
			s.Bytes += uint64(n)
		} else {
			s.Dropped++
		}
		mem = mem[r.kept:]
	}
	if err == nil {
		err = c.out.flush()
	}
	c.mu.Lock()
	c.stats.Packets += s.Packets
	c.stats.Bytes += s.Bytes
	c.stats.Dropped += s.Dropped
	c.stats.Files = c.out.opened
	c.mu.Unlock()
	c.fail(err)
}

// fail notes the first error.
func (c *Capture) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.stats.Err == nil {
		c.stats.Err = fmt.Errorf("capture: %w", err)
	}
}
