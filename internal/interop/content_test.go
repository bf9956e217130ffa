package interop

import (
	"encoding/binary"
	"fmt"
	"io"
)

// content is an endless sequence of bytes that depends on a seed and a stream alone. testdata/peer.c makes the same.
type content struct {
	key  uint64
	off  uint64
	word [8]byte
}

func newContent(seed uint64, stream int) *content {
	return &content{key: mix(seed ^ mix(uint64(stream)+1))}
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// next returns the next byte.
func (c *content) next() byte {
	if c.off%8 == 0 {
		binary.LittleEndian.PutUint64(c.word[:], mix(c.key+c.off/8))
	}
	b := c.word[c.off%8]
	c.off++
	return b
}

// Read fills p. It is an io.Reader without end.
func (c *content) Read(p []byte) (int, error) {
	i := 0
	for ; i < len(p) && c.off%8 != 0; i++ {
		p[i] = c.next()
	}
	for ; len(p)-i >= 8; i += 8 {
		binary.LittleEndian.PutUint64(p[i:], mix(c.key+c.off/8))
		c.off += 8
	}
	for ; i < len(p); i++ {
		p[i] = c.next()
	}
	return len(p), nil
}

// check compares what has arrived with what should.
func (c *content) check(p []byte) error {
	i := 0
	for ; i < len(p) && c.off%8 != 0; i++ {
		if p[i] != c.next() {
			return fmt.Errorf("byte %d differs", c.off-1)
		}
	}
	for ; len(p)-i >= 8; i += 8 {
		if binary.LittleEndian.Uint64(p[i:]) != mix(c.key+c.off/8) {
			return fmt.Errorf("one of the bytes %d to %d differs", c.off, c.off+7)
		}
		c.off += 8
	}
	for ; i < len(p); i++ {
		if p[i] != c.next() {
			return fmt.Errorf("byte %d differs", c.off-1)
		}
	}
	return nil
}

// send writes n bytes of content in writes of a size.
func send(w io.Writer, seed uint64, stream int, n int64, size int) error {
	c := newContent(seed, stream)
	buf := make([]byte, size)
	for sent := int64(0); sent < n; {
		p := buf[:min(int64(size), n-sent)]
		c.Read(p)
		k, err := w.Write(p)
		sent += int64(k)
		if err != nil {
			return fmt.Errorf("writing to stream %d after %d of %d bytes: %w", stream, sent, n, err)
		}
	}
	return nil
}

// receive reads n bytes and compares each. progress, if there is one, is told how many have come.
func receive(r io.Reader, seed uint64, stream int, n int64, progress func(int64)) error {
	c := newContent(seed, stream)
	buf := make([]byte, 64<<10)
	for got := int64(0); got < n; {
		k, err := r.Read(buf)
		if got += int64(k); got > n {
			return fmt.Errorf("stream %d brings more than %d bytes", stream, n)
		}
		if wrong := c.check(buf[:k]); wrong != nil {
			return fmt.Errorf("stream %d: %w", stream, wrong)
		}
		if progress != nil {
			progress(got)
		}
		if err != nil && got < n {
			return fmt.Errorf("reading from stream %d after %d of %d bytes: %w", stream, got, n, err)
		}
	}
	return nil
}
