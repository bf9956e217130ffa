// Package pktbuf owns the memory that packets and messages live in: payload buffers in size classes, which message
// bytes are copied into once, and batches of outgoing packets laid side by side in one slab.
//
// It is the one leaf that may recycle memory across goroutines; everything else in the core just takes and frees.
package pktbuf

import (
	"sync"
	"sync/atomic"
)

// classes are the payload sizes memory comes in. 1536 holds a DATA chunk of a 1500-byte path, 9216 one of a path of jumbo
// frames; 16 KiB is a byte-stream message.
var classes = [...]int{128, 512, 1536, 4096, 9216, 16384, 65536}

// Overhead is what one buffer costs beside its payload class: its header, rounded up. Windows charge it, so that a
// flood of one-byte chunks cannot hold more memory than the window says.
const Overhead = 64

// MaxBuf is the largest payload one buffer holds. Longer messages are chains.
const MaxBuf = 65536

var (
	pools [len(classes)]sync.Pool
	live  atomic.Int64

	counting atomic.Bool // see Live
)

// Live returns how many of the buffers taken since it was called first are not given back, process wide. Leak tests compare
// it before and after. Nothing is counted before the first call: one counter that every core writes for every message would
// be the dearest thing in a small message's life.
func Live() int64 {
	counting.Store(true)
	return live.Load()
}

// Buf is one piece of payload memory. Bufs form chains through Next. A Buf belongs to one owner at a time; Free gives it
// back, after which touching it is a bug and a second Free panics.
type Buf struct {
	next  *Buf
	data  []byte // the used part; its capacity is the class size
	class uint8
	freed bool
	count bool // it is in live
}

// lent is the class of a buffer over memory that is not ours.
const lent = uint8(len(classes))

// Lend makes b, a zero Buf, an empty buffer over mem, for owners who keep both in one piece: Free gives nothing back.
func (b *Buf) Lend(mem []byte) { *b = Buf{data: mem[:0], class: lent} }

// Get returns an empty buffer whose capacity is at least n, which must not exceed MaxBuf.
func Get(n int) *Buf {
	for c, size := range classes {
		if n > size {
			continue
		}
		b, _ := pools[c].Get().(*Buf)
		if b == nil {
			b = &Buf{data: make([]byte, 0, size), class: uint8(c)}
		}
		b.freed = false
		if counting.Load() {
			b.count = true
			live.Add(1)
		}
		return b
	}
	panic("pktbuf: buffer larger than MaxBuf asked for")
}

// Copy returns a buffer holding a copy of p, which must not be longer than MaxBuf.
func Copy(p []byte) *Buf {
	b := Get(len(p))
	b.data = append(b.data, p...)
	return b
}

// Bytes returns the used part.
func (b *Buf) Bytes() []byte { return b.data }

// Len returns the number of used bytes.
func (b *Buf) Len() int { return len(b.data) }

// Room returns how many more bytes fit.
func (b *Buf) Room() int { return cap(b.data) - len(b.data) }

// Append copies as much of p as fits and returns how much that was.
func (b *Buf) Append(p []byte) int {
	n := min(len(p), b.Room())
	b.data = append(b.data, p[:n]...)
	return n
}

// Held returns the memory the buffer holds, which is what windows and budgets charge.
func (b *Buf) Held() int { return cap(b.data) + Overhead }

// Next returns the following buffer of a chain, nil at its end.
func (b *Buf) Next() *Buf { return b.next }

// SetNext links n behind b.
func (b *Buf) SetNext(n *Buf) { b.next = n }

// Free gives b alone back; the rest of its chain stays with the caller.
func (b *Buf) Free() {
	if b.freed {
		panic("pktbuf: buffer freed twice")
	}
	b.freed = true
	b.next = nil
	b.data = b.data[:0]
	if b.count {
		b.count = false
		live.Add(-1)
	}
	if b.class != lent {
		pools[b.class].Put(b)
	}
}

// FreeChain gives back b and everything behind it. A nil b is fine.
func FreeChain(b *Buf) {
	for b != nil {
		n := b.next
		b.Free()
		b = n
	}
}

// Chain is a singly linked run of buffers with its ends and sizes kept. The zero Chain is empty.
type Chain struct {
	Head, Tail *Buf
	Len        int // payload bytes
	Held       int // memory held, see Buf.Held
}

// Push links b, a single buffer, behind the chain.
func (c *Chain) Push(b *Buf) {
	if c.Tail == nil {
		c.Head = b
	} else {
		c.Tail.next = b
	}
	c.Tail = b
	c.Len += len(b.data)
	c.Held += b.Held()
}

// Write copies p to the end of the chain, filling the last buffer first. It never fails.
func (c *Chain) Write(p []byte) {
	if c.Tail != nil {
		n := c.Tail.Append(p)
		c.Len += n
		p = p[n:]
	}
	for len(p) > 0 {
		n := min(len(p), MaxBuf)
		c.Push(Copy(p[:n]))
		p = p[n:]
	}
}

// Take removes and returns the whole chain.
func (c *Chain) Take() Chain {
	t := *c
	*c = Chain{}
	return t
}

// Free gives back every buffer and leaves the chain empty.
func (c *Chain) Free() {
	FreeChain(c.Head)
	*c = Chain{}
}
