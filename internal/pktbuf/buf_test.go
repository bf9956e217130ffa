package pktbuf

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/needs"
)

func TestGet(t *testing.T) {
	tests := []struct{ ask, class int }{
		{0, 128}, {1, 128}, {128, 128},
		{129, 512}, {512, 512},
		{513, 1536}, {1472, 1536}, {1536, 1536},
		{1537, 4096}, {16384, 16384},
		{16385, 65536}, {MaxBuf, 65536},
	}
	before := Live()
	for _, tt := range tests {
		b := Get(tt.ask)
		require.Zero(t, b.Len())
		require.Empty(t, b.Bytes())
		require.Nil(t, b.Next())
		require.Equal(t, tt.class, b.Room(), "asked for %d", tt.ask)
		require.Equal(t, tt.class+Overhead, b.Held())
		require.Equal(t, before+1, Live())
		b.Free()
		require.Equal(t, before, Live())
	}
	require.Panics(t, func() { Get(MaxBuf + 1) })
	require.Equal(t, before, Live(), "what is refused is not counted")
	require.Equal(t, MaxBuf, classes[len(classes)-1])
}

func TestAppend(t *testing.T) {
	b := Copy([]byte("hello"))
	defer b.Free()
	require.Equal(t, "hello", string(b.Bytes()))
	require.Equal(t, 123, b.Append(make([]byte, 1000)), "only what fits")
	require.Zero(t, b.Room())
	require.Zero(t, b.Append([]byte("x")))
	require.Equal(t, 128, b.Len())
	require.Equal(t, 128+Overhead, b.Held(), "what is held does not depend on what is used")
}

func TestCopyTakesACopy(t *testing.T) {
	p := []byte("mine")
	b := Copy(p)
	defer b.Free()
	p[0] = 'X'
	require.Equal(t, "mine", string(b.Bytes()))
}

// TestDoubleFree is the check that leak and use-after-free tests of other rooms lean on.
func TestDoubleFree(t *testing.T) {
	before := Live()
	b := Get(10)
	b.Free()
	require.PanicsWithValue(t, "pktbuf: buffer freed twice", func() { b.Free() })
	require.Equal(t, before, Live(), "the second Free counts nothing")

	one, two := Get(10), Get(10)
	one.SetNext(two)
	FreeChain(one)
	require.Panics(t, func() { two.Free() }, "a chain frees all of its buffers")
	require.Equal(t, before, Live())
}

// TestRecycledIsClean makes sure that nothing of an earlier owner shows.
func TestRecycledIsClean(t *testing.T) {
	for range 100 {
		a, b := Copy([]byte("secret")), Get(10)
		a.SetNext(b)
		a.Free()
		b.Free()
		c := Get(10)
		require.Zero(t, c.Len())
		require.Nil(t, c.Next())
		require.False(t, c.freed)
		c.Free()
	}
}

func TestFreeLeavesTheRest(t *testing.T) {
	before := Live()
	a, b := Get(1), Get(1)
	a.SetNext(b)
	a.Free()
	require.Equal(t, before+1, Live())
	require.Zero(t, b.Len(), "b is still ours")
	FreeChain(b)
	FreeChain(nil)
	require.Equal(t, before, Live())
}

func chainBytes(c *Chain) []byte {
	var out []byte
	for b := c.Head; b != nil; b = b.Next() {
		out = append(out, b.Bytes()...)
	}
	return out
}

func TestChain(t *testing.T) {
	before := Live()
	var c Chain
	c.Write(nil)
	require.Equal(t, Chain{}, c, "writing nothing takes nothing")

	c.Write([]byte("hello"))
	c.Write([]byte(" world"))
	require.Same(t, c.Head, c.Tail, "the last buffer is filled first")
	require.Equal(t, 11, c.Len)
	require.Equal(t, 128+Overhead, c.Held)

	c.Push(Copy([]byte("!")))
	require.Equal(t, "hello world!", string(chainBytes(&c)))
	require.Equal(t, 2*(128+Overhead), c.Held)

	taken := c.Take()
	require.Equal(t, Chain{}, c)
	c.Free()
	require.Equal(t, before+2, Live(), "an empty chain frees nothing")
	require.Equal(t, "hello world!", string(chainBytes(&taken)))
	taken.Free()
	require.Equal(t, Chain{}, taken)
	require.Equal(t, before, Live())
}

func TestChainOfLongWrites(t *testing.T) {
	for _, n := range []int{MaxBuf - 1, MaxBuf, MaxBuf + 1, 3*MaxBuf + 17} {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(i * 7)
		}
		var c Chain
		c.Write(p)
		require.Equal(t, n, c.Len)
		require.True(t, bytes.Equal(p, chainBytes(&c)))
		c.Free()
	}
}

// TestChainAgainstSlice drives a chain and a plain slice with the same random writes.
func TestChainAgainstSlice(t *testing.T) {
	before := Live()
	rnd := rand.New(rand.NewPCG(needs.Seed(t), 0))
	random := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(rnd.Uint32())
		}
		return p
	}
	for range 50 {
		var c Chain
		var model []byte
		for range rnd.IntN(20) {
			p := random([]int{rnd.IntN(10), rnd.IntN(2000), rnd.IntN(3 * MaxBuf)}[rnd.IntN(3)])
			if rnd.IntN(3) == 0 && len(p) <= MaxBuf {
				c.Push(Copy(p))
			} else {
				c.Write(p)
			}
			model = append(model, p...)
		}
		held := 0
		for b := c.Head; b != nil; b = b.Next() {
			held += b.Held()
			if b.Next() == nil {
				require.Same(t, c.Tail, b)
			}
		}
		require.Equal(t, len(model), c.Len)
		require.Equal(t, held, c.Held)
		require.True(t, bytes.Equal(model, chainBytes(&c)))
		c.Free()
	}
	require.Equal(t, before, Live())
}

// TestOwnersDoNotMeet lets many goroutines take, mark, look and give back. A buffer with two owners shows as a wrong
// mark, or to the race detector.
func TestOwnersDoNotMeet(t *testing.T) {
	before := Live()
	var wg sync.WaitGroup
	for id := range uint64(8) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(id, 0))
			var mine []*Buf
			for i := range 1000 {
				if len(mine) > 0 && rnd.IntN(2) == 0 {
					k := rnd.IntN(len(mine))
					b := mine[k]
					if got := binary.BigEndian.Uint64(b.Bytes()); got != id {
						t.Errorf("a buffer of %d carries the mark of %d after %d steps", id, got, i)
						return
					}
					b.Free()
					mine[k] = mine[len(mine)-1]
					mine = mine[:len(mine)-1]
					continue
				}
				b := Get(rnd.IntN(2000) + 8)
				b.Append(binary.BigEndian.AppendUint64(nil, id))
				mine = append(mine, b)
			}
			for _, b := range mine {
				b.Free()
			}
		})
	}
	wg.Wait()
	require.Equal(t, before, Live())
}

func TestPool(t *testing.T) {
	type record struct{ n int }
	var p Pool[record]
	require.Equal(t, &record{}, p.Get(), "a new record is zero")
	r := &record{7}
	p.Put(r)
	got := p.Get()
	require.True(t, got == r || got.n == 0, "a record comes back as it was put, or is new")
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	if needs.Race {
		t.Log("pools lose records under the race detector: checked without it")
		return
	}
	type record [100]byte
	var p Pool[record]
	payload := make([]byte, 5000)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		var c Chain
		c.Write(payload)
		c.Write(payload)
		c.Free()
		p.Put(p.Get())
	}))
}
