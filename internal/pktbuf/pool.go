package pktbuf

import "sync"

// Pool recycles records of one type across goroutines, for the few the steady state would otherwise allocate.
// Records come back as they were put; the user resets them.
type Pool[T any] struct{ p sync.Pool }

// Get returns a record: a recycled one or a new zero value.
func (p *Pool[T]) Get() *T {
	if v, _ := p.p.Get().(*T); v != nil {
		return v
	}
	return new(T)
}

// Put gives a record back.
func (p *Pool[T]) Put(v *T) { p.p.Put(v) }
