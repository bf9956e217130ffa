package interop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/transport"
)

// Numbered records: each begins with its number, and the rest is content of that number. Of those that are sent partially
// reliably each fourth and the last are reliable all the same.

func record4(number int, last int) bool { return number%4 == 0 || number == last }

// makeRecord fills a record.
func makeRecord(rec []byte, seed uint64, number int) {
	binary.BigEndian.PutUint32(rec, uint32(number))
	newContent(seed, number).Read(rec[4:])
}

// records collects those that arrive.
type records struct {
	seed        uint64
	count, size int
	lastOnly    bool // of them all, the last one alone is reliable

	mu       sync.Mutex
	seen     map[int]bool
	reliable int // of those seen
	last     int // in order, the latest
	all      chan struct{}
	err      chan error
}

func newRecords(seed uint64, count, size int) *records {
	return &records{seed: seed, count: count, size: size, seen: make(map[int]bool), last: -1, all: make(chan struct{}), err: make(chan error, 1)}
}

// take checks one. It closes all when the reliable ones are there.
func (r *records) take(rec []byte, unordered bool) error {
	if len(rec) != r.size {
		return fmt.Errorf("a record of %d bytes", len(rec))
	}
	number := int(binary.BigEndian.Uint32(rec))
	if err := newContent(r.seed, number).check(rec[4:]); err != nil {
		return fmt.Errorf("record %d: %w", number, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if number >= r.count || r.seen[number] {
		return fmt.Errorf("record %d comes twice or is none", number)
	}
	if !unordered && number <= r.last {
		return fmt.Errorf("record %d comes behind record %d", number, r.last)
	}
	if !unordered {
		r.last = number
	}
	r.seen[number] = true
	if r.isReliable(number) {
		if r.reliable++; r.reliable == r.wanted() {
			close(r.all)
		}
	}
	return nil
}

func (r *records) isReliable(number int) bool {
	if r.lastOnly {
		return number == r.count-1
	}
	return record4(number, r.count-1)
}

// wanted is how many records are reliable.
func (r *records) wanted() (n int) {
	for i := range r.count {
		if r.isReliable(i) {
			n++
		}
	}
	return n
}

// read takes records from an association until it ends in order.
func (r *records) read(a *transport.Association) {
	buf := make([]byte, 2*r.size)
	for {
		n, info, err := a.ReadMessage(buf)
		switch {
		case errors.Is(err, io.EOF):
			r.err <- nil
			return
		case err == nil && info.More:
			err = errors.New("a record comes in pieces")
		case err == nil:
			err = r.take(buf[:n], info.Unordered)
		}
		if err != nil {
			r.err <- err
			return
		}
	}
}

// wait waits for the reliable ones.
func (r *records) wait(t testing.TB) {
	t.Helper()
	select {
	case <-r.all:
	case err := <-r.err:
		require.FailNow(t, "records end", "%v", err)
	case <-within(t).Done():
		r.mu.Lock()
		defer r.mu.Unlock()
		require.FailNowf(t, "reliable records are missing", "%d of %d have come", r.reliable, r.wanted())
	}
}

// missing is how many have not come.
func (r *records) missing() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count - len(r.seen)
}

// lose drops one packet of so many on every path, both ways.
func lose(t testing.TB, l *netlab.Lab, of int) {
	t.Helper()
	for i := range l.Paths() {
		require.NoError(t, l.Filter(i, fmt.Sprintf("meta l4proto udp numgen random mod %d 0 drop", of)))
	}
}

// noLoss ends it.
func noLoss(t testing.TB, l *netlab.Lab) {
	t.Helper()
	for i := range l.Paths() {
		require.NoError(t, l.Filter(i))
	}
}

// TestUsrsctpPartialReliability sends records both ways over paths that lose packets. What is given up does not arrive, is
// reported, and holds up nothing; the rest arrives (RFC 3758, RFC 7496 section 3.1, RFC 8260 section 2.3).
func TestUsrsctpPartialReliability(t *testing.T) {
	const together = 5
	ways := []struct {
		name    string
		options transport.MessageOptions
		peer    string
		formats []bool // interleaving or not
	}{
		// A round trip takes 20 ms, so the lifetime is over before a loss is noticed.
		{"lifetime, in order", transport.MessageOptions{Lifetime: 22 * time.Millisecond}, "rt22", []bool{false}},
		{"no retransmission, in order", transport.MessageOptions{Resends: transport.NeverResend}, "rx0", []bool{true}},
		{"no retransmission, unordered", transport.MessageOptions{Resends: transport.NeverResend, Unordered: true}, "ux0", []bool{false, true}},
	}
	for _, way := range ways {
		for _, interleaving := range way.formats {
			t.Run(fmt.Sprintf("%s, interleaving %v", way.name, interleaving), func(t *testing.T) {
				count, size := 120, 2000
				if way.options.Unordered && !interleaving {
					// All fragments of unordered messages of a stream wait in one queue of usrsctp's, which a FORWARD-TSN can
					// upset: whole messages that it has acknowledged disappear then. These stay whole. Each is a packet, and there
					// are so many that losing none cannot happen.
					count, size = 240, 1100
				}
				roles(t, func(t *testing.T, weDial bool) {
					o := opts{
						cfg:  transport.Config{KeepUndelivered: true, Interleaving: interleaving, ReceiveWindow: 1 << 20},
						args: append([]string{"-e", fmt.Sprint(ourSeed), "-R", fmt.Sprint(size)}, quick...),
					}
					forward := wire.TypeForwardTSN
					if interleaving {
						o.args = append(o.args, "-I")
						forward = wire.TypeIForwardTSN
						neverSeen(t, wire.TypeData, wire.TypeForwardTSN)
					} else {
						neverSeen(t, wire.TypeIData, wire.TypeIForwardTSN)
					}
					bothWays(t, forward)
					l := lab(t, netlab.Options{Delay: 10 * time.Millisecond})
					u := connect(t, l, weDial, o)
					defer u.tell(t)
					require.True(t, u.ours.Peer().PartialReliability)
					require.Equal(t, interleaving, u.ours.Peer().Interleaving)
					lose(t, l, 10)

					theirs := newRecords(peerSeed, count, size)
					go theirs.read(u.ours)
					u.peer.say("1 send %d 0 1 1 %d %d %s", peerSeed, count*size, size, way.peer)
					rec := make([]byte, size)
					for i := range count {
						o := way.options
						if record4(i, count-1) {
							o = transport.MessageOptions{Unordered: o.Unordered}
						}
						o.Context = uint32(i)
						makeRecord(rec, ourSeed, i)
						require.NoError(t, u.ours.WriteMessage(rec, &o))
						if i%together == together-1 {
							require.NoError(t, u.ours.Flush(within(t))) // few, so that they are sent before their time is over
						}
					}
					require.NoError(t, u.ours.Flush(within(t)))
					gone := make(map[string]bool)
					for _, m := range u.ours.Undelivered() {
						require.False(t, record4(int(m.Context), count-1), "record %d was reliable", m.Context)
						require.Equal(t, size, m.Size)
						gone[fmt.Sprint(m.Context)] = true
					}
					require.NotEmpty(t, u.lacks(t, count, gone), "paths that lose packets cost records")

					u.peer.await("1 sent")
					noLoss(t, l)
					theirs.wait(t)
					u.end(t)
					require.NoError(t, <-theirs.err)
					require.NotZero(t, theirs.missing())
					t.Logf("%d records of ours were given up, %d of theirs have not come", len(gone), theirs.missing())
				})
			})
		}
	}
}

// lacks waits until the peer misses no record but some of those that were given up, and returns which.
func (u *usrsctp) lacks(t testing.TB, count int, gone map[string]bool) []string {
	t.Helper()
	var out []string
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		u.peer.say("1 missing %d", count)
		out = strings.Fields(strings.TrimPrefix(u.peer.await("1 missing"), "1 missing"))
		more := 0
		for _, m := range out {
			if !gone[m] {
				more++
			}
		}
		if more == 0 {
			return out
		}
		require.True(t, time.Now().Before(deadline), "the peer misses %v, and only %v were given up", out, gone)
	}
}
