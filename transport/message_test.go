package transport_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/transport"
)

// Messages keep their bounds and what was said about them.
func TestMessages(t *testing.T) {
	a, b, l := pair(t, loop, &transport.Config{PPID: 7, MaxPayload: -1}) // what fits a packet does not grow meanwhile
	defer l.Close()
	s, err := a.OpenStream()
	require.NoError(t, err)
	require.NoError(t, s.WriteMessage([]byte("one"), nil))
	require.NoError(t, s.WriteMessage([]byte("two"), &transport.MessageOptions{PPID: 51, Immediate: true}))
	require.NoError(t, s.WriteMessage([]byte("three"), &transport.MessageOptions{Unordered: true}))
	require.NoError(t, s.WriteMessage([]byte("fo"), &transport.MessageOptions{More: true, PPID: 1}))
	require.NoError(t, s.WriteMessage(nil, &transport.MessageOptions{More: true}))
	require.NoError(t, s.WriteMessage([]byte("ur"), &transport.MessageOptions{PPID: 2}))
	s.SetMessageOptions(transport.MessageOptions{PPID: 9, Unordered: true})
	_, err = s.Write([]byte("five"))
	require.NoError(t, err)
	s.SetPolicy(transport.Redundant)
	require.NoError(t, s.WriteMessage([]byte("six"), nil))

	r, err := b.AcceptStream(context.Background())
	require.NoError(t, err)
	seen := map[string]transport.MessageInfo{}
	order := ""
	buf := make([]byte, 100)
	for range 6 {
		n, info, err := r.ReadMessage(buf)
		require.NoError(t, err)
		require.False(t, info.More)
		require.Equal(t, s.ID(), info.Stream)
		seen[string(buf[:n])] = info
		if !info.Unordered {
			order += string(buf[:n])
		}
	}
	require.Equal(t, "onetwofour", order)
	for text, want := range map[string]transport.MessageInfo{
		"one":   {PPID: 7, Number: 0},
		"two":   {PPID: 51, Number: 1},
		"three": {Unordered: true},
		"four":  {PPID: 2, Number: 2},
		"five":  {PPID: 9, Unordered: true},
		"six":   {PPID: 9, Unordered: true},
	} {
		want.Stream, want.TSN = s.ID(), seen[text].TSN // whatever it began with
		require.Equal(t, want, seen[text], text)
	}

	// The association is its stream 0.
	require.NoError(t, b.WriteMessage([]byte("zero"), &transport.MessageOptions{PPID: 3}))
	n, info, err := a.ReadMessage(buf)
	require.NoError(t, err)
	require.Equal(t, "zero", string(buf[:n]))
	require.Equal(t, transport.MessageInfo{PPID: 3, TSN: info.TSN}, info)

	// What cannot be.
	require.ErrorIs(t, s.WriteMessage(nil, nil), transport.ErrEmptyMessage)
	err = s.WriteMessage(make([]byte, 16<<20+1), nil)
	require.ErrorIs(t, err, transport.ErrMessageSize)
	require.ErrorIs(t, err, syscall.EMSGSIZE)
	whole := &transport.MessageOptions{Whole: true}
	fit := a.Stats().FragmentSize
	require.Greater(t, fit, 1000)
	require.ErrorIs(t, s.WriteMessage(make([]byte, fit+1), whole), transport.ErrMessageSize)
	require.NoError(t, s.WriteMessage(make([]byte, fit), whole))
	require.NoError(t, s.SetWriteDeadline(time.Now()))
	require.ErrorIs(t, s.WriteMessage([]byte("late"), nil), os.ErrDeadlineExceeded)
	require.NoError(t, s.SetWriteDeadline(time.Time{}))

	// A message that is never finished is not sent.
	require.NoError(t, s.WriteMessage([]byte("half a"), &transport.MessageOptions{More: true}))
	require.NoError(t, s.CloseWrite())
	require.ErrorIs(t, s.WriteMessage([]byte(" message"), &transport.MessageOptions{More: true}), transport.ErrWriteEnded)
	n, _, err = r.ReadMessage(make([]byte, fit))
	require.NoError(t, err)
	require.Equal(t, fit, n)
	_, _, err = r.ReadMessage(buf)
	require.Equal(t, io.EOF, err)
	require.NoError(t, r.Close())
	_, _, err = r.ReadMessage(buf)
	require.ErrorIs(t, err, net.ErrClosed)
	closeAll(a, b)
}

// A message that does not fit the reader's memory comes in pieces, and bytes and messages may be read in turns.
func TestMessageInPieces(t *testing.T) {
	a, b, l := pair(t, loop, nil)
	defer l.Close()
	want := text(100_000, 3)
	require.NoError(t, a.WriteMessage(want, &transport.MessageOptions{PPID: 5}))
	require.NoError(t, a.WriteMessage([]byte("next"), nil))
	var got []byte
	buf := make([]byte, 7777)
	for {
		n, info, err := b.ReadMessage(buf)
		require.NoError(t, err)
		require.EqualValues(t, 5, info.PPID)
		got = append(got, buf[:n]...)
		if !info.More {
			break
		}
		require.Positive(t, n)
		n, err = b.Read(buf[:100]) // bytes of the same message
		require.NoError(t, err)
		got = append(got, buf[:n]...)
	}
	require.True(t, bytes.Equal(want, got))
	n, info, err := b.ReadMessage(buf)
	require.NoError(t, err)
	require.False(t, info.More)
	require.Equal(t, "next", string(buf[:n]))
	require.NoError(t, b.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	_, _, err = b.ReadMessage(buf)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	closeAll(a, b)
}

// A message waits for its end, unless the window is too small for it: then it comes in pieces, and completes.
func TestLabLargeMessages(t *testing.T) {
	inLab(t, []string{"delay=10ms", "rate=10mbit", "loss=0.01"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{ReceiveWindow: 256 << 10})
		for _, size := range []int{1, 60_000, 100_000, 500_000, 1 << 20, 3} {
			want := text(size, uint64(size))
			go a.WriteMessage(want, nil)
			buf := make([]byte, 1<<20)
			var got []byte
			pieces := 0
			for more := true; more; {
				n, info, err := b.ReadMessage(buf)
				require.NoError(t, err)
				got = append(got, buf[:n]...)
				more = info.More
				pieces++
			}
			require.True(t, bytes.Equal(want, got), size)
			if size <= 100_000 {
				require.Equal(t, 1, pieces, size)
			} else {
				require.Greater(t, pieces, 1, size)
			}
		}
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

// Messages that wait for their end on many streams cannot lock each other out of the window.
func TestLabMessagesShareTheWindow(t *testing.T) {
	inLab(t, []string{"delay=5ms"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{ReceiveWindow: 128 << 10, Interleaving: true})
		require.True(t, a.Peer().Interleaving)
		const streams, size = 8, 100_000
		for i := range streams {
			s, err := a.OpenStream()
			require.NoError(t, err)
			go s.WriteMessage(text(size, uint64(i)), nil)
		}
		done := make(chan error, streams)
		for range streams {
			r, err := b.AcceptStream(context.Background())
			require.NoError(t, err)
			go func() {
				buf := make([]byte, size)
				n := 0
				for n < size {
					k, info, err := r.ReadMessage(buf[n:])
					if n += k; err != nil || info.More != (n < size) {
						done <- fmt.Errorf("%d bytes, %+v, %w", n, info, err)
						return
					}
				}
				if !bytes.Equal(buf, text(size, uint64(r.ID()/2-1))) {
					done <- fmt.Errorf("stream %d: other bytes", r.ID())
				}
				done <- nil
			}()
		}
		for range streams {
			require.NoError(t, <-done)
		}
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

// A lifetime and a limit of retransmissions give messages up, and tell of it; the others are not touched.
func TestLabPartialReliability(t *testing.T) {
	inLab(t, []string{"delay=10ms"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{KeepUndelivered: true})
		require.True(t, a.Peer().PartialReliability)
		events := a.Subscribe(transport.EventSendFailed)
		time.Sleep(time.Second)
		x.Set("a1-b1", "down")
		x.Set("a2-b2", "down")
		require.NoError(t, a.WriteMessage([]byte("short-lived"), &transport.MessageOptions{Lifetime: 100 * time.Millisecond, PPID: 1, Context: 11}))
		require.NoError(t, a.WriteMessage([]byte("once"), &transport.MessageOptions{Resends: transport.NeverResend, Context: 12, Unordered: true}))
		require.NoError(t, a.WriteMessage([]byte("long-lived"), &transport.MessageOptions{Lifetime: time.Minute}))
		require.NoError(t, a.WriteMessage([]byte("reliable"), nil))
		time.Sleep(3 * time.Second)
		x.Set("a1-b1", "up")
		x.Set("a2-b2", "up")
		buf := make([]byte, 100)
		for _, want := range []string{"long-lived", "reliable"} {
			n, _, err := b.ReadMessage(buf)
			require.NoError(t, err)
			require.Equal(t, want, string(buf[:n]))
		}
		failed := a.Undelivered()
		require.Len(t, failed, 2)
		byContext := map[uint32]transport.Undelivered{failed[0].Context: failed[0], failed[1].Context: failed[1]}
		require.Equal(t, transport.Undelivered{PPID: 1, Context: 11, Size: 11, Sent: true, Reason: "its lifetime is over", Data: []byte("short-lived")}, byContext[11])
		require.Equal(t, transport.Undelivered{Context: 12, Unordered: true, Size: 4, Sent: true, Reason: "it was sent again often enough", Data: []byte("once")}, byContext[12])
		require.Empty(t, a.Undelivered())
		one := transport.GivenUpCount{Sent: 1}
		require.Equal(t, transport.GivenUp{Lifetime: one, Resends: one}, a.Stats().GivenUp)
		require.Len(t, events, 2)
		ev := <-events
		require.Equal(t, transport.EventSendFailed, ev.Kind)
		require.Contains(t, ev.String(), "bytes on stream 0")
		require.NoError(t, a.Flush(context.Background()))
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

// On a bad network every message either arrives, in order, or is reported; some are neither resent nor lost.
func TestLabPartialReliabilityStorm(t *testing.T) {
	for seed := range 3 {
		inLab(t, []string{"delay=5ms", "loss=0.1", "reorder=0.05", "reorderby=3ms"}, func(t *testing.T, x *lab) {
			a, b := x.dial(transport.Config{KeepUndelivered: true})
			const n = 400
			seen := make(chan map[uint32]bool)
			go func() {
				got := map[uint32]bool{}
				buf := make([]byte, 8000)
				last := -1
				for {
					k, info, err := b.ReadMessage(buf)
					if err == transport.ErrBroken {
						continue
					}
					if err != nil {
						seen <- got
						return
					}
					if info.More || k < 4 {
						continue
					}
					i := binary.BigEndian.Uint32(buf)
					if int(i) <= last || !bytes.Equal(buf[4:k], text(k-4, uint64(i))) {
						t.Errorf("message %d of %d bytes behind %d", i, k, last)
					}
					last = int(i)
					got[i] = true
				}
			}()
			for i := range uint32(n) {
				m := binary.BigEndian.AppendUint32(nil, i)
				m = append(m, text(int(i*i)%6000, uint64(i))...)
				o := &transport.MessageOptions{Context: i}
				switch i % 3 {
				case 1:
					o.Resends = transport.NeverResend
				case 2:
					o.Lifetime = time.Duration(1+i%50) * time.Millisecond
				}
				require.NoError(t, a.WriteMessage(m, o))
				time.Sleep(time.Duration(i%3) * time.Millisecond)
			}
			require.NoError(t, a.Flush(context.Background()))
			failed := map[uint32]bool{}
			for _, u := range a.Undelivered() {
				failed[u.Context] = true
			}
			require.NoError(t, a.Close())
			got := <-seen
			require.NoError(t, b.Close())
			lost := 0
			for i := range uint32(n) {
				if !got[i] {
					lost++
					require.True(t, failed[i], "message %d", i)
					require.NotZero(t, i%3, "reliable")
				}
			}
			require.Positive(t, lost)
			t.Logf("seed %d: %d of %d messages lost, %d reported", seed, lost, n, len(failed))
		})
	}
}

// An association that is lost tells which messages were not delivered.
func TestLabUndelivered(t *testing.T) {
	inLab(t, []string{"delay=10ms"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{KeepUndelivered: true, AssocMaxRetrans: 2})
		require.NoError(t, a.WriteMessage([]byte("delivered"), &transport.MessageOptions{Context: 1}))
		require.NoError(t, a.Flush(context.Background()))
		all := a.Subscribe()
		x.Set("a1-b1", "down")
		x.Set("a2-b2", "down")
		large := text(200_000, 4)
		require.NoError(t, a.WriteMessage(large, &transport.MessageOptions{Context: 2, PPID: 22}))
		s, err := a.OpenStream()
		require.NoError(t, err)
		require.NoError(t, s.WriteMessage([]byte("queued"), &transport.MessageOptions{Context: 3}))
		require.Error(t, a.Flush(context.Background()), "the peer is gone")
		failed := a.Undelivered()
		require.Len(t, failed, 2)
		require.True(t, bytes.Equal(large, failed[0].Data))
		failed[0].Data = nil
		require.Equal(t, transport.Undelivered{Context: 2, PPID: 22, Size: len(large), Sent: true, Reason: "the association ended"}, failed[0])
		require.Equal(t, transport.Undelivered{Context: 3, Stream: s.ID(), Size: 6, Reason: "the association ended", Data: []byte("queued")}, failed[1])
		var kinds []transport.EventKind
		for ev := range all {
			kinds = append(kinds, ev.Kind)
		}
		require.Equal(t, transport.EventUp, kinds[0])
		require.Equal(t, transport.EventAllSent, kinds[1])
		require.Equal(t, []transport.EventKind{transport.EventSendFailed, transport.EventSendFailed, transport.EventClosed}, kinds[len(kinds)-3:])
		require.Error(t, a.Flush(context.Background()))
		require.Error(t, a.SetParameters(transport.Parameters{SackEvery: 1}))
		require.Error(t, a.SetHeartbeat(heartbeat.DefaultConfig()))
		require.Error(t, a.Close())
		b.Abort("")
	})
}

// With the policy Redundant the loss of a path loses no time; with LowestLatency data takes the shorter path; with Failover
// the primary one. Each can be had per association, per stream and per message.
func TestLabPolicies(t *testing.T) {
	inLab(t, []string{"delay=30ms"}, func(t *testing.T, x *lab) {
		x.Set("a2-b2", "delay=10ms")
		a, b := x.dial(transport.Config{Policy: transport.Redundant})
		time.Sleep(3 * time.Second)
		sent := func() (byFirst, bySecond uint64) {
			for _, p := range a.Paths() {
				switch p.Path.Peer.Addr {
				case labB[0]:
					byFirst += p.DataSent + p.DataCopied
				case labB[1]:
					bySecond += p.DataSent + p.DataCopied
				}
			}
			return byFirst, bySecond
		}
		buf := make([]byte, 2000)
		exchange := func(s *transport.Stream, o *transport.MessageOptions, r *transport.Stream) (first, second uint64) {
			f, g := sent()
			for range 10 {
				require.NoError(t, s.WriteMessage(make([]byte, 1000), o))
				_, _, err := r.ReadMessage(buf)
				require.NoError(t, err)
			}
			time.Sleep(time.Second)
			f2, g2 := sent()
			return f2 - f, g2 - g
		}
		s, err := a.Stream(0)
		require.NoError(t, err)
		r, err := b.Stream(0)
		require.NoError(t, err)
		first, second := exchange(s, nil, r)
		require.EqualValues(t, 10_000, first)
		require.EqualValues(t, 10_000, second)
		first, second = exchange(s, &transport.MessageOptions{Policy: transport.LowestLatency}, r)
		require.Zero(t, first)
		require.EqualValues(t, 10_000, second)
		s.SetPolicy(transport.Failover)
		first, second = exchange(s, &transport.MessageOptions{PPID: 1}, r)
		require.EqualValues(t, 10_000, first)
		require.Zero(t, second)
		for _, p := range a.Paths() {
			if p.State == heartbeat.Active && p.Path.Peer.Addr == labB[1] {
				first, second = exchange(s, &transport.MessageOptions{Policy: transport.OnPath(p.Path.ID)}, r)
				require.Zero(t, first)
				require.EqualValues(t, 10_000, second)
			}
		}
		first, second = exchange(s, &transport.MessageOptions{Policy: transport.OnPath(15)}, r)
		require.EqualValues(t, 10_000, first, "there is no such path")
		require.Zero(t, second)
		require.Equal(t, "on path 15", transport.OnPath(15).String())
		require.Equal(t, "lowest latency", transport.LowestLatency.String())
		require.Equal(t, "unknown policy", transport.Policy(99).String())
		s.SetPolicy(transport.PolicyDefault)
		x.Set("a1-b1", "down")
		start := time.Now()
		_, second = exchange(s, nil, r)
		require.Less(t, time.Since(start)-time.Second, 10*50*time.Millisecond, "one way by the path that is left, each")
		require.EqualValues(t, 10_000, second)
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

// What the sockets API of RFC 6458 lets a program change while an association lives can be changed here.
func TestLabParameters(t *testing.T) {
	inLab(t, []string{"delay=10ms"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{OutStreams: 5, InStreams: 20, ReceiveWindow: 100_000})
		p := a.Parameters()
		require.Equal(t, transport.Parameters{
			RTOInitial: time.Second, RTOMin: 400 * time.Millisecond, RTOMax: 30 * time.Second, AssocMaxRetrans: 10,
			MaxBurst: 128, Fragmentation: transport.FragmentMessages, Scheduler: transport.RoundRobin,
			SackDelay: 20 * time.Millisecond, SackEvery: 2, SendBuffer: 1 << 20, ReceiveWindow: 100_000, Linger: 5 * time.Second,
		}, p)
		peer := a.Peer()
		require.Equal(t, transport.PeerInfo{OutStreams: 5, InStreams: 20, Window: 100_000, Addresses: peer.Addresses,
			PartialReliability: true, StreamReset: true, Padding: true}, peer)
		require.Positive(t, peer.Addresses)
		out, in := a.Streams()
		require.Equal(t, [2]int{5, 5}, [2]int{out, in})

		change := transport.Parameters{RTOMin: 700 * time.Millisecond, AssocMaxRetrans: 4, SackEvery: 1, SackDelay: 100 * time.Millisecond,
			Fragmentation: transport.RefuseMessages, Scheduler: transport.WeightedFair, MaxBurst: 2,
			MaxSegment: 500, SendBuffer: 32 << 10, ReceiveWindow: 200_000, Linger: time.Second}
		require.NoError(t, a.SetParameters(change))
		want := change
		want.RTOInitial, want.RTOMax = time.Second, 30*time.Second
		require.Equal(t, want, a.Parameters())
		require.Equal(t, 500, a.Stats().FragmentSize)
		require.Equal(t, 20*time.Millisecond, b.Parameters().SackDelay, "the other end has its own")
		for _, bad := range []transport.Parameters{{RTOMin: time.Hour}, {SackEvery: 300}, {MaxSegment: 1}, {Scheduler: 7}, {Fragmentation: 3}, {SendBuffer: 1}, {RTOMax: 500 * time.Millisecond}} {
			require.ErrorIs(t, a.SetParameters(bad), transport.ErrConfig)
		}
		require.ErrorIs(t, a.WriteMessage(make([]byte, 33<<10), nil), transport.ErrMessageSize)

		// Each packet is acknowledged at once now, and the window told is the new one.
		start := time.Now()
		_, err := b.Write([]byte("x"))
		require.NoError(t, err)
		require.NoError(t, b.Flush(context.Background()))
		require.Equal(t, 20*time.Millisecond, time.Since(start))
		require.Greater(t, b.Stats().PeerWindow, 100_000)
		for _, p := range a.Paths() {
			if p.RTT > 0 {
				require.Equal(t, 700*time.Millisecond, p.RTO)
			}
		}

		// Heartbeats off on one path, slower on the others, and on demand.
		time.Sleep(5 * time.Second)
		require.ErrorIs(t, a.SetHeartbeat(heartbeat.Config{}), transport.ErrConfig)
		slow := heartbeat.DefaultConfig()
		slow.Interval, slow.MaxInterval, slow.PathMaxRetrans = 20*time.Second, 20*time.Second, 3
		require.NoError(t, a.SetHeartbeat(slow))
		none := slow
		none.Disabled = true
		require.Error(t, a.SetHeartbeat(none, 99))
		require.NoError(t, a.SetHeartbeat(none, 0))
		count := func() map[uint8]uint64 {
			n := map[uint8]uint64{}
			for _, p := range a.Paths() {
				n[uint8(p.Path.ID)] = p.HeartbeatsSent
				if p.State == heartbeat.Active {
					require.Equal(t, 3, p.Heartbeat.PathMaxRetrans)
					require.Equal(t, p.Path.ID == 0, p.Heartbeat.Disabled)
				}
			}
			return n
		}
		before := count()
		time.Sleep(110 * time.Second)
		after := count()
		require.Zero(t, after[0]-before[0])
		other := uint8(0)
		for _, p := range a.Paths() {
			if p.State == heartbeat.Active && p.Path.ID != 0 {
				other = uint8(p.Path.ID)
			}
		}
		require.InDelta(t, 5, after[other]-before[other], 1)
		require.NoError(t, a.Heartbeat(0))
		time.Sleep(time.Second)
		require.EqualValues(t, 1, count()[0]-before[0])
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

// Subscriptions tell of what was asked for, and of nothing else.
func TestLabSubscribe(t *testing.T) {
	inLab(t, []string{"delay=10ms"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{})
		dry := a.Subscribe(transport.EventAllSent)
		ends := b.Subscribe(transport.EventUp, transport.EventPeerClosed, transport.EventClosed)
		mine := a.Subscribe(transport.EventPeerClosed, transport.EventClosed)
		require.Equal(t, transport.EventAllSent, (<-dry).Kind, "nothing is under way")
		require.NoError(t, a.WriteMessage(make([]byte, 100_000), nil))
		time.Sleep(time.Second)
		drain(dry)
		require.NoError(t, a.WriteMessage(make([]byte, 1), nil))
		<-dry
		require.Empty(t, dry)
		done := make(chan error)
		go func() { done <- a.Close() }()
		require.Equal(t, transport.EventUp, (<-ends).Kind)
		require.Equal(t, transport.EventPeerClosed, (<-ends).Kind, "it was the peer who ended")
		require.NoError(t, b.Close())
		require.NoError(t, <-done)
		require.Equal(t, transport.EventClosed, (<-ends).Kind)
		_, open := <-ends
		require.False(t, open)
		_, open = <-dry
		require.False(t, open)
		require.Equal(t, transport.EventClosed, (<-mine).Kind, "the side that ended the association is not told that the peer did")
		late := a.Events()
		require.Equal(t, transport.EventClosed, (<-late).Kind)
	})
}

func drain(ch <-chan transport.Event) {
	for len(ch) > 0 {
		<-ch
	}
}

// The reason of an abort, and a remote error, arrive whole.
func TestAbortInfo(t *testing.T) {
	a, b, l := pair(t, loop, nil)
	defer l.Close()
	reason := "because\x00of\xff" + string(text(300, 1))
	require.NoError(t, a.Abort(reason))
	_, err := b.Read(make([]byte, 1))
	var e *transport.AssociationError
	require.ErrorAs(t, err, &e)
	require.EqualValues(t, 12, e.Cause)
	require.Equal(t, reason, string(e.Info))
	b.Close()
}

// What a program announces to the program on the other side arrives in both directions, and is nothing by default.
func TestAdaptation(t *testing.T) {
	needs.Address(t, netip.MustParseAddr("127.0.0.2"))
	for _, local := range []string{loop, "127.0.0.1:0,127.0.0.2:0"} {
		one, two := uint32(0), uint32(0xcafe)
		l, err := transport.Listen(local, &transport.Config{Adaptation: &one})
		require.NoError(t, err)
		a, err := transport.Dial(context.Background(), l.Addr().String(), &transport.Config{Adaptation: &two})
		require.NoError(t, err)
		b, err := l.AcceptAssociation(context.Background())
		require.NoError(t, err)
		require.Equal(t, &one, a.Peer().Adaptation)
		require.Equal(t, &two, b.Peer().Adaptation)
		closeAll(a, b)
		require.NoError(t, l.Close())
	}
	a, b, l := pair(t, loop, nil)
	require.Nil(t, a.Peer().Adaptation)
	require.Nil(t, b.Peer().Adaptation)
	closeAll(a, b)
	require.NoError(t, l.Close())
}

// All streams read together, as a program of RFC 6458 reads its socket: in the order in which messages become whole.
func TestAllStreams(t *testing.T) {
	cfg := &transport.Config{AllStreams: true, ReceiveWindow: 4 << 20}
	a, b, l := pair(t, loop, cfg)
	defer l.Close()
	want := map[uint16][]byte{}
	for id := range uint16(50) {
		want[id] = text(1+int(id)*977, uint64(id))
	}
	go func() {
		for i := range 50 {
			id := uint16(i * 7 % 50)
			s, err := a.Stream(id)
			if err == nil {
				err = s.WriteMessage(text(1+int(id)*977, uint64(id)), &transport.MessageOptions{PPID: uint32(id) + 1, Unordered: id%2 == 0})
			}
			if err != nil {
				t.Error(err)
			}
		}
	}()
	buf := make([]byte, 100_000)
	for range 50 {
		n, info, err := b.ReadMessage(buf)
		require.NoError(t, err)
		require.False(t, info.More)
		require.EqualValues(t, info.Stream+1, info.PPID)
		require.Equal(t, info.Stream%2 == 0, info.Unordered)
		require.True(t, bytes.Equal(want[info.Stream], buf[:n]))
		delete(want, info.Stream)
	}

	// Larger than the window: in pieces, also into small memory.
	require.NoError(t, b.SetParameters(transport.Parameters{ReceiveWindow: 256 << 10}))
	large := text(1<<20, 9)
	go a.WriteMessage(large, nil)
	var got []byte
	for more := true; more; {
		n, info, err := b.ReadMessage(buf[:30_000])
		require.NoError(t, err)
		got = append(got, buf[:n]...)
		more = info.More
	}
	require.True(t, bytes.Equal(large, got))

	_, err := b.Read(buf)
	require.ErrorContains(t, err, "AllStreams")
	s, err := b.Stream(3)
	require.NoError(t, err)
	_, err = s.Read(buf)
	require.ErrorContains(t, err, "AllStreams")
	_, _, err = s.ReadMessage(buf)
	require.ErrorContains(t, err, "AllStreams")

	// The ends of streams are events.
	ends := b.Subscribe(transport.EventStreamsEnded)
	require.NoError(t, s.WriteMessage([]byte("answer"), nil))
	n, info, err := a.ReadMessage(buf)
	require.NoError(t, err)
	require.Equal(t, "answer", string(buf[:n]))
	require.EqualValues(t, 3, info.Stream)
	as, err := a.Stream(3)
	require.NoError(t, err)
	require.NoError(t, as.CloseWrite())
	require.Equal(t, []uint16{3}, (<-ends).Streams)

	require.NoError(t, b.SetReadDeadline(time.Now().Add(5*time.Millisecond)))
	_, _, err = b.ReadMessage(buf)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, b.SetReadDeadline(time.Time{}))
	require.NoError(t, a.WriteMessage([]byte("last"), nil))
	go a.Close()
	n, _, err = b.ReadMessage(buf)
	require.NoError(t, err)
	require.Equal(t, "last", string(buf[:n]))
	_, _, err = b.ReadMessage(buf)
	require.Equal(t, io.EOF, err)
	require.NoError(t, b.Close())
	_, _, err = b.ReadMessage(buf)
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorIs(t, b.SetReadDeadline(time.Time{}), net.ErrClosed)
}
