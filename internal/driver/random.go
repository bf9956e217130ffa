package driver

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
)

// random hands out unpredictable bits to the pure core: tags, nonces, initial TSNs, ports. It reads ahead, since a single
// draw from the system costs more than the packet it is for.
type random struct {
	mu   sync.Mutex
	buf  [512]byte
	left int
}

// Uint64 returns 64 bits of the system's randomness.
func (r *random) Uint64() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left < 8 {
		rand.Read(r.buf[:]) // never fails: crypto/rand ends the program instead
		r.left = len(r.buf)
	}
	r.left -= 8
	b := r.buf[r.left : r.left+8]
	v := binary.LittleEndian.Uint64(b)
	clear(b) // what was handed out is not kept
	return v
}
