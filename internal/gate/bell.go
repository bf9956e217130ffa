package gate

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A bell is another way to wake a waiter: through the poller, as if a packet had come for it.
//
// The runtime wakes a goroutine by making it runnable, and an idle thread with it, in case the one at hand goes on for long.
// For who wakes the only waiter and waits for the next packet right away that thread comes in vain: it costs more than all
// the rest of the turn, takes the poller over, and from then on packets and goroutines move from one processor to the other.
// A goroutine that waits for a file in the poller wakes nobody beside itself. It runs when the one that rang waits.
//
// So bells are for who waits again at once after ringing: he rings quietly. All others wake a bell's waiter as they would
// any other.
//
// There are few bells in a process, as each is a descriptor. Whoever has one keeps it while it waits; when all are taken and
// one has been for long, its waiter goes on waiting without.
type bell struct {
	file *os.File
	raw  syscall.RawConn
	fd   int
	rung atomic.Uint32
	look func(fd uintptr) bool // whether it has been rung; bound once
	turn uint64                // when it was taken; guarded by bells.mu
}

// States of a bell.
const (
	silent = iota
	quietly
	loudly // the deadline of the file has passed: that wakes its waiter as a goroutine wakes another
)

const (
	mostBells = 8
	longAgo   = 1024 // bells taken since
)

var bells struct {
	rings atomic.Uint64 // quiet ones

	mu    sync.Mutex
	free  []*bell
	taken [mostBells]*bell
	turn  uint64
	made  int
	off   bool // the system has none
}

// takeBell returns a bell to wait for, nil when there is none, or others are at it: a bell is no more than a help, and those who
// wait on many processors must not stand in line for it.
func takeBell() *bell {
	s := &bells
	if !s.mu.TryLock() {
		return nil
	}
	defer s.mu.Unlock()
	if s.off {
		return nil
	}
	s.turn++
	var b *bell
	if k := len(s.free) - 1; k >= 0 {
		b, s.free = s.free[k], s.free[:k]
	} else if s.made < mostBells {
		if b = newBell(); b == nil {
			s.off = true
			return nil
		}
		s.made++
	} else {
		for _, old := range s.taken {
			if old != nil && s.turn-old.turn > longAgo {
				old.ring(false) // its waiter finds that it was for nothing, and takes none again
				old.turn = s.turn
				break
			}
		}
		return nil
	}
	b.turn = s.turn
	for i, t := range s.taken {
		if t == nil {
			s.taken[i] = b
			break
		}
	}
	return b
}

// giveBell ends what takeBell began.
func giveBell(b *bell) {
	s := &bells
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.rung.Load() == loudly && b.file.SetReadDeadline(time.Time{}) != nil {
		s.off = true
		return
	}
	b.rung.Store(silent)
	for i, t := range s.taken {
		if t == b {
			s.taken[i] = nil
			break
		}
	}
	s.free = append(s.free, b)
}

// wait returns when the bell has been rung.
func (b *bell) wait() {
	for b.rung.Load() == silent {
		if err := b.raw.Read(b.look); err != nil {
			return // the deadline: it was rung, or is no good
		}
	}
}

// ring wakes the waiter, if no one has yet.
func (b *bell) ring(quiet bool) {
	if quiet {
		if b.rung.CompareAndSwap(silent, quietly) {
			bells.rings.Add(1)
			b.strike()
		}
	} else if b.rung.Swap(loudly) != loudly {
		b.file.SetReadDeadline(time.Unix(1, 0))
	}
}

// Rings returns how often bells were rung quietly. Whoever rang, and goes on with something else, should let them run.
func Rings() uint64 { return bells.rings.Load() }
