package driver

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/pktbuf"
	"github.com/go-multihome/multihome/internal/rx"
)

func part(chunks ...[]byte) *rx.Part {
	p := &rx.Part{Begin: true, End: true}
	for _, c := range chunks {
		p.Data.Push(pktbuf.Copy(c))
	}
	return p
}

func put(q *inbox, p *rx.Part) bool {
	taken, _ := q.put(p)
	return taken
}

// take reads at most n bytes without waiting.
func take(q *inbox, n int) (got []byte, held int) {
	q.gate.Lock()
	got = make([]byte, n)
	n, held, _ = q.read(got)
	q.gate.Unlock(q.ready())
	return got[:n], held
}

func TestInboxOrder(t *testing.T) {
	live := pktbuf.Live()
	var q inbox
	require.False(t, q.gate.LockIfSet(), "nothing to read")
	require.True(t, put(&q, part([]byte("one "), []byte("two "))))
	require.True(t, put(&q, part([]byte("three"))))
	got, held := take(&q, 2)
	require.Equal(t, "on", string(got))
	require.Zero(t, held, "the buffer still holds bytes")
	got, held = take(&q, 5)
	require.Equal(t, "e two", string(got))
	require.Positive(t, held)
	got, held2 := take(&q, 100)
	require.Equal(t, " three", string(got))
	require.Equal(t, 2*held, held2)
	require.False(t, q.gate.LockIfSet())
	require.Nil(t, q.head)
	require.Nil(t, q.tail)

	q.finish(io.EOF)
	q.finish(net.ErrClosed)
	require.Equal(t, io.EOF, q.end, "the first end stays")
	require.True(t, q.gate.LockIfSet())
	q.gate.Unlock(true)
	require.Equal(t, live, pktbuf.Live())
}

func TestInboxClose(t *testing.T) {
	live := pktbuf.Live()
	var q inbox
	p := part([]byte("one"), []byte("two"))
	all := p.Data.Held
	require.True(t, put(&q, p))
	require.True(t, put(&q, part([]byte("three"))))
	_, held := take(&q, 4)
	held2, first := q.close()
	require.True(t, first)
	require.Equal(t, all*3/2, held+held2, "all memory is given back once")
	_, first = q.close()
	require.False(t, first)
	late := part([]byte("late"))
	require.False(t, put(&q, late), "stays with the caller")
	late.Data.Free()
	require.Equal(t, live, pktbuf.Live())
}

// Random parts and reads against one long byte string.
func FuzzInbox(f *testing.F) {
	f.Add(uint64(1), uint16(50))
	f.Add(uint64(2), uint16(300))
	f.Fuzz(func(t *testing.T, seed uint64, ops uint16) {
		live := pktbuf.Live()
		rng := rand.New(rand.NewPCG(seed, 7))
		var q inbox
		var want, got []byte
		in, back := 0, 0
		for range ops % 1000 {
			if rng.IntN(2) == 0 {
				p := &rx.Part{Begin: rng.IntN(2) == 0, End: rng.IntN(2) == 0}
				for range 1 + rng.IntN(3) {
					b := make([]byte, 1+rng.IntN(3000))
					for i := range b {
						b[i] = byte(rng.Uint32())
					}
					want = append(want, b...)
					p.Data.Push(pktbuf.Copy(b))
				}
				in += p.Data.Held
				require.True(t, put(&q, p))
			} else {
				b, held := take(&q, rng.IntN(5000))
				got = append(got, b...)
				back += held
			}
		}
		b, held := take(&q, len(want))
		got, back = append(got, b...), back+held
		require.True(t, bytes.Equal(want, got))
		require.Equal(t, in, back)
		require.Equal(t, live, pktbuf.Live())
	})
}
