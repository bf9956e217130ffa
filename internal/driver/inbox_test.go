package driver

import (
	"bytes"
	"encoding/binary"
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

// run is a part that holds each text as a message.
func run(texts ...[]byte) *rx.Part {
	n, size := 0, 0
	for _, x := range texts {
		n, size = n+len(x), size+rx.RunHeader+len(x)
	}
	b := pktbuf.Get(size)
	for _, x := range texts {
		b.Append(binary.BigEndian.AppendUint16(nil, uint16(len(x))))
		b.Append(x)
	}
	p := &rx.Part{Begin: true, End: true, Run: uint16(len(texts)), Counts: true}
	p.Data.Push(b)
	p.Data.Len = n
	return p
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

	q.finish(io.EOF, false)
	q.finish(net.ErrClosed, false)
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
			if rng.IntN(5) == 0 {
				texts := make([][]byte, 2+rng.IntN(20))
				for i := range texts {
					texts[i] = make([]byte, 1+rng.IntN(100))
					for k := range texts[i] {
						texts[i][k] = byte(rng.Uint32())
					}
					want = append(want, texts[i]...)
				}
				p := run(texts...)
				in += p.Data.Held
				require.True(t, put(&q, p))
			} else if rng.IntN(2) == 0 {
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

// message reads at most n bytes of a message without waiting.
func message(q *inbox, n int) (text string, more bool, err error) {
	q.gate.Lock()
	defer func() { q.gate.Unlock(q.ready()) }()
	p := make([]byte, n)
	n, _, more, err = q.message(p, new(rx.Part))
	return string(p[:n]), more, err
}

func piece(begin, end bool, text string) *rx.Part {
	p := part([]byte(text))
	p.Begin, p.End = begin, end
	return p
}

// A message that is not whole waits for its end while messages are asked for, within limits.
func TestInboxMessages(t *testing.T) {
	live := pktbuf.Live()
	var q inbox
	ready := func() bool {
		defer func() { q.gate.Unlock(q.ready()) }()
		return q.gate.Lock()
	}
	q.expect(100, 1<<20)
	put(&q, piece(true, false, "one"))
	require.False(t, ready())
	put(&q, piece(false, true, " and more"))
	put(&q, piece(true, false, "two"))
	require.True(t, ready())
	text, more, err := message(&q, 5)
	require.Equal(t, []any{"one a", true, nil}, []any{text, more, err})
	text, more, err = message(&q, 100)
	require.Equal(t, []any{"nd more", false, nil}, []any{text, more, err})
	require.False(t, ready())
	q.expect(3, 1<<20)
	require.True(t, ready(), "as much as the reader takes")
	q.expect(100, 100)
	require.True(t, ready(), "more memory than a message may hold")
	q.expect(100, 1<<20)
	require.False(t, ready())
	q.press(true)
	require.True(t, ready(), "the window is full")
	text, more, err = message(&q, 100)
	require.Equal(t, []any{"two", true, nil}, []any{text, more, err})
	put(&q, piece(false, true, "!"))
	text, more, err = message(&q, 100)
	require.Equal(t, []any{"!", false, nil}, []any{text, more, err})
	q.press(false)
	put(&q, piece(true, false, "never whole"))
	require.False(t, ready())
	q.expect(0, 0)
	require.True(t, ready(), "bytes")
	q.finish(io.EOF, false)
	got, _ := take(&q, 100)
	require.Equal(t, "never whole", string(got))
	require.Equal(t, live, pktbuf.Live())
}

// A message that the peer gave up leaves no trace if nothing of it was read; else the reader is told, once.
func TestInboxBroken(t *testing.T) {
	live := pktbuf.Live()
	for _, before := range []bool{false, true} { // another message stands before it
		var q inbox
		if before {
			put(&q, piece(true, true, "first"))
		}
		lost := piece(true, false, "lost")
		held := lost.Data.Held
		put(&q, lost)
		taken, freed := q.put(&rx.Part{Broken: true})
		require.True(t, taken)
		require.Equal(t, held, freed)
		put(&q, piece(true, true, "next"))
		if before {
			text, more, err := message(&q, 100)
			require.Equal(t, []any{"first", false, nil}, []any{text, more, err})
		}
		text, more, err := message(&q, 100)
		require.Equal(t, []any{"next", false, nil}, []any{text, more, err})
		require.Zero(t, q.bytes)
		require.Zero(t, q.whole)
		require.Nil(t, q.tail)
	}
	for _, asBytes := range []bool{false, true} {
		for _, n := range []int{2, 4} { // a part of the first piece was read, or all of it
			var q inbox
			put(&q, piece(true, false, "half"))
			text, more, err := message(&q, n)
			require.Equal(t, []any{"half"[:n], true, nil}, []any{text, more, err})
			put(&q, &rx.Part{Broken: true})
			put(&q, piece(true, true, "next"))
			read := func() (string, error) {
				if !asBytes {
					text, _, err := message(&q, 100)
					return text, err
				}
				q.gate.Lock()
				defer func() { q.gate.Unlock(q.ready()) }()
				p := make([]byte, 100)
				n, _, err := q.read(p)
				return string(p[:n]), err
			}
			if n == 2 {
				text, err := read()
				require.Equal(t, []any{"lf", nil}, []any{text, err})
			}
			text, err = read()
			require.Equal(t, []any{"", ErrBroken}, []any{text, err})
			text, err = read()
			require.Equal(t, []any{"next", nil}, []any{text, err})
			require.Zero(t, q.bytes)
			require.Zero(t, q.whole)
		}
	}
	require.Equal(t, live, pktbuf.Live())
}

// Random messages in random pieces, some broken off, read as messages with memory of random size, against what they were.
func FuzzInboxMessages(f *testing.F) {
	f.Add(uint64(1), uint16(100))
	f.Add(uint64(5), uint16(900))
	f.Fuzz(func(t *testing.T, seed uint64, ops uint16) {
		live := pktbuf.Live()
		rng := rand.New(rand.NewPCG(seed, 8))
		var q inbox
		type msg struct {
			text   []byte
			broken bool
		}
		var sent []msg  // the last one may not be whole yet
		var part []byte // read of the message in turn
		next, open := 0, false
		in, back := 0, 0
		for range ops % 2000 {
			if !open && rng.IntN(4) == 0 {
				texts := make([][]byte, 2+rng.IntN(10))
				for i := range texts {
					texts[i] = make([]byte, 1+rng.IntN(200))
					for k := range texts[i] {
						texts[i][k] = byte(rng.Uint32())
					}
					sent = append(sent, msg{text: texts[i]})
				}
				p := run(texts...)
				in += p.Data.Held
				taken, _ := q.put(p)
				require.True(t, taken)
				continue
			}
			if rng.IntN(3) > 0 {
				p := &rx.Part{Begin: !open}
				if !open {
					sent = append(sent, msg{})
				}
				m := &sent[len(sent)-1]
				if open && rng.IntN(8) == 0 {
					p.Broken, m.broken = true, true
				} else {
					b := make([]byte, 1+rng.IntN(2000))
					for i := range b {
						b[i] = byte(rng.Uint32())
					}
					p.Data.Push(pktbuf.Copy(b))
					m.text = append(m.text, b...)
					p.End = rng.IntN(2) == 0
				}
				open = !p.End && !p.Broken
				in += p.Data.Held
				taken, freed := q.put(p)
				require.True(t, taken)
				back += freed
				continue
			}
			want := 1 + rng.IntN(3000)
			q.expect(want, 4000)
			if !q.gate.LockIfSet() {
				continue
			}
			buf := make([]byte, want)
			n, held, more, err := q.message(buf, new(rx.Part))
			q.gate.Unlock(q.ready())
			back += held
			for len(part) == 0 && sent[next].broken && (err != nil || len(sent[next].text) < n || !bytes.HasPrefix(sent[next].text, buf[:n])) {
				next++ // broken off before anything of it was read
			}
			m := sent[next]
			part = append(part, buf[:n]...)
			require.True(t, bytes.HasPrefix(m.text, part))
			switch {
			case err != nil:
				require.Equal(t, ErrBroken, err)
				require.True(t, m.broken)
				next, part = next+1, nil
			case !more:
				require.False(t, m.broken)
				require.Equal(t, len(m.text), len(part))
				next, part = next+1, nil
			}
		}
		held, _ := q.close()
		require.Equal(t, in, back+held)
		require.Equal(t, live, pktbuf.Live())
	})
}

// The messages of a run come one by one, each with its own numbers, also when a read takes only a piece of one.
func TestInboxRun(t *testing.T) {
	live := pktbuf.Live()
	var q inbox
	q.expect(100, 4000)
	p := run([]byte("one"), []byte("three"), []byte("four"))
	p.TSN, p.Seq, p.PPID, p.SID = 1<<32-2, 7, 9, 3
	held := p.Data.Held
	put(&q, p)
	require.Equal(t, 3, q.whole)
	require.Equal(t, 12, q.bytes)
	for i, c := range []struct {
		size int
		text string
		more bool
		tsn  uint32
		seq  uint32
		held int
	}{
		{100, "one", false, 1<<32 - 2, 7, 0}, {4, "thre", true, 1<<32 - 1, 8, 0}, {0, "", true, 1<<32 - 1, 8, 0}, {100, "e", false, 1<<32 - 1, 8, 0}, {4, "four", false, 0, 9, held},
	} {
		require.True(t, q.gate.LockIfSet())
		buf := make([]byte, c.size)
		var info rx.Part
		n, back, more, err := q.message(buf, &info)
		q.gate.Unlock(q.ready())
		require.NoError(t, err)
		require.Equal(t, []any{c.text, c.more, c.tsn, c.seq, c.held}, []any{string(buf[:n]), more, uint32(info.TSN), info.Seq, back}, i)
		require.EqualValues(t, 9, info.PPID)
		require.EqualValues(t, 3, info.SID)
	}
	require.Zero(t, q.whole)
	require.Zero(t, q.bytes)
	require.False(t, q.gate.LockIfSet())

	put(&q, run([]byte("not"), []byte("read"))) // closed in the middle
	text, _, _ := message(&q, 100)
	require.Equal(t, "not", text)
	back, _ := q.close()
	require.Positive(t, back)
	require.Zero(t, q.whole)
	require.Equal(t, live, pktbuf.Live())
}
