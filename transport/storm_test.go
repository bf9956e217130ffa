package transport_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/simnet"
	"github.com/go-multihome/multihome/transport"
)

// batch is what travels on a stream between two of its ends.
type batch struct{ worker, round, part, total uint32 }

func (b batch) message(seq uint32) []byte {
	m := make([]byte, 0, 20)
	for _, v := range []uint32{b.worker, b.round, b.part, b.total, seq} {
		m = binary.BigEndian.AppendUint32(m, v)
	}
	return append(m, text(int(b.worker*b.round*97+seq*331)%3000, uint64(seq))...)
}

// takeBatch reads one stream to its end and checks that it holds all of one batch, in order, and nothing else.
func takeBatch(s *transport.Stream) (b batch, err error) {
	buf := make([]byte, 4096)
	for seq := uint32(0); ; seq++ {
		n, info, err := s.ReadMessage(buf)
		for err == nil && info.More { // while a path is down the window fills with what waits for its turn
			var more int
			more, info, err = s.ReadMessage(buf[n:])
			n += more
		}
		switch {
		case err == io.EOF && seq == b.total:
			return b, nil
		case err == io.EOF:
			return b, fmt.Errorf("%+v ends behind %d messages", b, seq)
		case err != nil:
			return b, err
		case n < 20:
			return b, fmt.Errorf("%+v: a message of %d bytes, %+v", b, n, info)
		}
		got := batch{binary.BigEndian.Uint32(buf), binary.BigEndian.Uint32(buf[4:]), binary.BigEndian.Uint32(buf[8:]), binary.BigEndian.Uint32(buf[12:])}
		if seq == 0 {
			b = got
		}
		if got != b || !bytes.Equal(buf[:n], b.message(seq)) || info.Number != seq {
			return b, fmt.Errorf("message %d of %+v: %+v of %+v", seq, b, info, got)
		}
	}
}

// Streams are opened, written, ended, reset, closed for reading and abandoned in every order, over a network that loses packets
// and paths. Every batch that was written arrives once and whole, on a stream of its own, and nobody waits for ever.
func TestLabStreamStorm(t *testing.T) {
	seed := simnet.Seed(1)
	for run := range uint64(4) {
		inLab(t, []string{"delay=5ms", "loss=0.02", "duplicate=0.01", "reorder=0.02", "reorderby=4ms"}, func(t *testing.T, x *lab) {
			cfg := transport.Config{OutStreams: 8, InStreams: 8, ReceiveWindow: 128 << 10, Interleaving: run%2 == 1}
			a, b := x.dial(cfg)
			const workers, rounds = 8, 12
			type news struct {
				batch batch
				err   error
			}
			seen := make(chan news, workers*rounds*4)
			go func() {
				for {
					s, err := b.AcceptStream(context.Background())
					if err != nil {
						close(seen)
						return
					}
					go func() {
						got, err := takeBatch(s)
						seen <- news{got, err}
						err = s.WriteMessage(fmt.Appendf(nil, "%d", got.total), nil)
						if err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, transport.ErrPeerClosed) {
							t.Error(err)
						}
						s.Close()
					}()
				}
			}()
			stop := make(chan struct{})
			go func() { // a path is lost now and then, never both
				rng := rand.New(rand.NewPCG(seed, run))
				for {
					link := [...]string{"a1-b1", "a2-b2"}[rng.IntN(2)]
					time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
					x.Set(link, "down")
					time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
					x.Set(link, "up")
					select {
					case <-stop:
						return
					default:
					}
				}
			}()
			done := make(chan error, workers)
			want := make(chan batch, workers*rounds*2)
			for w := range uint32(workers) {
				go func() { done <- stormWorker(a, w, rounds, seed<<2+run, want) }()
			}
			for range workers {
				require.NoError(t, <-done)
			}
			close(want)
			close(stop)
			expect := map[batch]bool{}
			for w := range want {
				expect[w] = true
			}
			for len(expect) > 0 {
				n := <-seen
				require.NoError(t, n.err)
				if n.batch.total > 0 {
					require.True(t, expect[n.batch], "%+v", n.batch)
					delete(expect, n.batch)
				}
			}
			time.Sleep(10 * time.Second)
			require.NoError(t, a.Close())
			require.NoError(t, b.Close())
			for range seen {
			}
		})
	}
}

// stormWorker does what a program might do with streams. Batches that must arrive go to want.
func stormWorker(a *transport.Association, worker uint32, rounds int, seed uint64, want chan<- batch) error {
	rng := rand.New(rand.NewPCG(seed, uint64(worker)))
	for round := range uint32(rounds) {
		s, err := a.OpenStream()
		if err != nil {
			return err
		}
		s.SetPolicy([]transport.Policy{transport.Failover, transport.Redundant, transport.LowestLatency}[rng.IntN(3)])
		parts := 1 + uint32(rng.IntN(2))
		var last batch
		for part := range parts {
			last = batch{worker, round, part, uint32(rng.IntN(6))}
			if part < parts-1 && last.total == 0 {
				last.total = 1
			}
			for seq := range last.total {
				m := last.message(seq)
				cut := rng.IntN(len(m))
				if err := s.WriteMessage(m[:cut], &transport.MessageOptions{More: true}); err != nil {
					return err
				}
				if err := s.WriteMessage(m[cut:], &transport.MessageOptions{Immediate: seq == 2}); err != nil {
					return err
				}
				time.Sleep(time.Duration(rng.IntN(5)) * time.Millisecond)
			}
			if last.total > 0 {
				want <- last
			}
			if part < parts-1 {
				if err := s.ResetWrite(); err != nil {
					return err
				}
			}
		}
		switch end := rng.IntN(4); {
		case end == 0:
		case end == 1:
			if err := s.CloseRead(); err != nil {
				return err
			}
		case parts == 1:
			if err := s.CloseWrite(); err != nil {
				return err
			}
			buf := make([]byte, 100)
			n, _, err := s.ReadMessage(buf)
			if err != nil || string(buf[:n]) != fmt.Sprint(last.total) {
				return fmt.Errorf("answer %q to %+v: %w", buf[:n], last, err)
			}
			if _, _, err = s.ReadMessage(buf); err != io.EOF {
				return fmt.Errorf("behind the answer to %+v: %w", last, err)
			}
		}
		if err := s.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
	}
	return nil
}
