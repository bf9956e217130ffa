package interop

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/pion/sctp"
	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/transport"
)

// TestPionInterleaving: pion/sctp announces interleaving (RFC 8260) by itself. It is used if we announce it, too.
func TestPionInterleaving(t *testing.T) {
	const streams, size = 4, 60000 // pion/sctp takes messages of 64 KiB
	n := int64(20 * size)
	if needs.Race {
		n = 4 * size
	}
	for _, ours := range []bool{true, false} {
		t.Run(fmt.Sprintf("ours %v", ours), func(t *testing.T) {
			bothRolesWith(t, transport.Config{Interleaving: ours}, func(t *testing.T, pair func() *pionPair) {
				if ours {
					bothWays(t, wire.TypeIData)
					neverSeen(t, wire.TypeData)
				} else {
					bothWays(t, wire.TypeData)
					neverSeen(t, wire.TypeIData)
				}
				p := pair()
				require.True(t, p.ours.Peer().Interleaving, "if not, pion/sctp has changed its mind")
				p.socket.lose(t, 0.01)
				errs := make(chan error, 4*streams)
				for range streams {
					s, err := p.ours.OpenStream()
					require.NoError(t, err)
					require.NoError(t, s.SetDeadline(time.Now().Add(patience)))
					b, err := p.pion.OpenStream(s.ID(), sctp.PayloadTypeWebRTCBinary)
					require.NoError(t, err)
					peer := &pionStream{Stream: b}
					go func() { errs <- sendMessages(s, 1, n, size) }()
					go func() { errs <- send(peer, 2, int(s.ID()), n, size) }()
					go func() { errs <- receive(peer, 1, int(s.ID()), n, nil) }()
					go func() { errs <- receive(s, 2, int(s.ID()), n, nil) }()
				}
				for range 4 * streams {
					select {
					case err := <-errs:
						require.NoError(t, err)
					case <-within(t).Done():
						require.FailNow(t, "the transfer stands still")
					}
				}
				require.NoError(t, p.ours.Close())
			})
		})
	}
}

// TestPionLosesRecords gives records up that a network loses, in both directions, in order and without.
func TestPionLosesRecords(t *testing.T) {
	const count, size = 80, 2000 // packets enough that losing none cannot happen
	ways := []struct {
		name      string
		options   transport.MessageOptions
		unordered bool
	}{
		{"no retransmission, in order", transport.MessageOptions{Resends: transport.NeverResend}, false},
		{"no retransmission, unordered", transport.MessageOptions{Resends: transport.NeverResend, Unordered: true}, true},
		{"lifetime, in order", transport.MessageOptions{Lifetime: time.Millisecond}, false},
	}
	for _, interleaving := range []bool{true, false} {
		for _, way := range ways {
			if interleaving && way.options.Lifetime > 0 {
				continue // the way to give up has nothing to do with the format
			}
			t.Run(fmt.Sprintf("%s, interleaving %v", way.name, interleaving), func(t *testing.T) {
				cfg := transport.Config{Interleaving: interleaving, KeepUndelivered: true}
				bothRolesWith(t, cfg, func(t *testing.T, pair func() *pionPair) {
					if interleaving {
						bothWays(t, wire.TypeIForwardTSN)
						neverSeen(t, wire.TypeForwardTSN)
					} else {
						bothWays(t, wire.TypeForwardTSN)
						neverSeen(t, wire.TypeIForwardTSN)
					}
					p := pair()
					b, err := p.pion.OpenStream(0, sctp.PayloadTypeWebRTCBinary)
					require.NoError(t, err)
					p.socket.lose(t, 0.1)
					theirs, ours := newRecords(2, count, size), newRecords(1, count, size)
					theirs.lastOnly = true
					go theirs.read(p.ours)
					go ours.readPion(b, way.unordered)
					var sending sync.WaitGroup
					sending.Go(func() {
						// What it sets counts for all of a stream, what is under way included. Its lifetimes begin anew with each
						// transmission, so that they never end: it limits retransmissions in all cases.
						b.SetReliabilityParams(way.unordered, sctp.ReliabilityTypeRexmit, 0)
						rec := make([]byte, size)
						for i := range count {
							limit := uint64(8 * size)
							if i == count-1 {
								limit = 0
							}
							for b.BufferedAmount() > limit {
								time.Sleep(time.Millisecond)
							}
							if i == count-1 {
								b.SetReliabilityParams(way.unordered, sctp.ReliabilityTypeReliable, 0)
							}
							makeRecord(rec, 2, i)
							if _, err := b.Write(rec); err != nil {
								return
							}
						}
					})
					rec := make([]byte, size)
					for i := range count {
						o := way.options
						if record4(i, count-1) {
							o = transport.MessageOptions{Unordered: o.Unordered}
						}
						o.Context = uint32(i)
						makeRecord(rec, 1, i)
						require.NoError(t, p.ours.WriteMessage(rec, &o))
						if i%8 == 7 {
							require.NoError(t, p.ours.Flush(within(t)))
						}
					}
					require.NoError(t, p.ours.Flush(within(t)))
					sending.Wait()
					p.socket.loss.Store(nil)
					ours.wait(t)
					theirs.wait(t)
					given := p.ours.Undelivered()
					for _, m := range given {
						require.False(t, record4(int(m.Context), count-1), "record %d was reliable", m.Context)
					}
					require.LessOrEqual(t, ours.missing(), len(given))
					require.NotZero(t, ours.missing())
					require.NotZero(t, theirs.missing())
					t.Logf("%d records of ours were given up, %d have not come; nor have %d of theirs", len(given), ours.missing(), theirs.missing())
				})
			})
		}
	}
}

// readPion takes records from a stream of pion's.
func (r *records) readPion(b *sctp.Stream, unordered bool) {
	buf := make([]byte, 2*r.size)
	for {
		n, err := b.Read(buf)
		if errors.Is(err, io.EOF) {
			r.err <- nil
			return
		}
		if err == nil {
			err = r.take(buf[:n], unordered)
		}
		if err != nil {
			r.err <- err
			return
		}
	}
}
