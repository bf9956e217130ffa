// Package gate holds the one thing blocking calls wait on: a lock with one condition bit and a deadline.
//
// A Read waits for "there is data, or the end", a Write for "there is room, or the end". The state behind the bit is
// guarded by the gate's own lock, and whoever unlocks says whether the condition holds now:
//
//	if err := g.WaitAndLock(); err != nil {
//		return 0, err // os.ErrDeadlineExceeded, the gate is not locked
//	}
//	n := take(p)
//	g.Unlock(len(queue) > 0 || closed)
//
// The idea is golang/net's quic gate; deadlines are added, in the sense of net.Conn: they belong to the gate and not to
// the call, a past one wins over a set condition, and a change frees or re-times the calls already blocked.
package gate

import (
	"context"
	"os"
	"sync"
	"time"
)

// Gate is a mutex, one bit of condition, and a deadline. The zero value is unlocked, unset and without deadline.
// Any number of goroutines may wait. It must not be copied after first use.
//
// Closing is the caller's matter: keep the end as state under the lock, count it as "condition holds", and leave the
// bit set for ever; every waiter then passes, one after the other. After WaitAndLock has failed with
// os.ErrDeadlineExceeded the caller may Lock and look whether net.ErrClosed is the better answer.
//
// Hold the lock for short work only: no blocking call, no other gate. It blocks as a sync.Mutex does, so a goroutine
// waiting for a held lock does not count as idle under testing/synctest, while one in WaitAndLock does.
//
// It is 48 bytes; what waiting needs is made at the first wait, and a runtime timer runs only while somebody waits with
// a deadline.
type Gate struct {
	mu       sync.Mutex
	deadline time.Time // zero: none. Guarded by mu, as everything below.
	room     *room     // nil until somebody had to wait
	set      bool
	bells    uint8 // not zero: who waits may wait for a bell when it has been calm for one time less
	calm     uint8 // how often in a row who had waited left nothing behind
	waited   bool  // who holds the lock has waited
}

// room is the waiting room of one gate. Guarded by Gate.mu.
type room struct {
	cond    sync.Cond
	waiters int
	bell    *bell       // of one of the waiters
	timer   *time.Timer // runs wake; nil until somebody waited with a deadline
	armed   bool        // timer is running for the present deadline
}

// AllowQuiet lets those who wait be woken quietly, see UnlockFor, once that many in a row have found, after waiting, just
// what they could take. It is for those who wait for a real socket's packets, and must be called before the first use.
func (g *Gate) AllowQuiet(after uint8) { g.bells = after + 1 }

// Lock locks the gate whether the condition holds or not, and reports whether it does.
func (g *Gate) Lock() (set bool) {
	g.mu.Lock()
	return g.set
}

// LockIfSet locks the gate if the condition holds. It looks at no deadline and does not wait for the condition.
func (g *Gate) LockIfSet() bool {
	g.mu.Lock()
	if g.set {
		return true
	}
	g.mu.Unlock()
	return false
}

// WaitAndLock waits until the condition holds and returns with the gate locked.
//
// It fails with os.ErrDeadlineExceeded, the gate not locked, when the deadline lies in the past or passes while
// waiting, even if the condition holds.
func (g *Gate) WaitAndLock() error {
	g.mu.Lock()
	return g.Wait(g.set)
}

// Wait is WaitAndLock for who holds the lock; set says whether the condition holds now. With an error the lock is given up.
func (g *Gate) Wait(set bool) error {
	g.set = set
	for {
		if g.expired() {
			g.waited = false
			g.pass(false)
			g.mu.Unlock()
			return os.ErrDeadlineExceeded
		}
		if g.set {
			return nil
		}
		g.wait()
	}
}

// WaitContext is WaitAndLock that also ends, with ctx.Err() and the gate not locked, when ctx does. A ctx that has
// ended wins over the deadline, and both over a set condition.
func (g *Gate) WaitContext(ctx context.Context) error {
	if ctx.Done() == nil {
		return g.WaitAndLock()
	}
	g.mu.Lock()
	var stop func() bool
	for {
		err := ctx.Err()
		if err == nil && g.expired() {
			err = os.ErrDeadlineExceeded
		}
		if err == nil && !g.set {
			if stop == nil {
				stop = context.AfterFunc(ctx, g.wake)
			}
			g.wait()
			continue
		}
		if stop != nil {
			stop()
		}
		if err != nil {
			g.waited = false
			g.pass(false)
			g.mu.Unlock()
		}
		return err
	}
}

// Unlock records whether the condition holds now and unlocks the gate. One waiter is woken if it does; that one's own
// Unlock wakes the next, as long as the condition holds.
func (g *Gate) Unlock(set bool) { g.UnlockFor(set, false) }

// UnlockFor is Unlock. When quiet, the caller waits for the next packet right away, as a reader of sockets does: then a
// waiter may be woken in a way that costs much less and takes effect when the caller waits.
func (g *Gate) UnlockFor(set, quiet bool) {
	if g.waited {
		g.waited = false
		if set {
			g.calm = 0
		} else if g.calm < 255 {
			g.calm++
		}
	}
	g.set = set
	g.pass(quiet)
	g.mu.Unlock()
}

// SetDeadline sets the instant from which waiting fails, also for calls that are waiting already. The zero time means
// none. It locks the gate itself and must not be called by its holder.
func (g *Gate) SetDeadline(t time.Time) {
	g.mu.Lock()
	g.deadline = t
	if r := g.room; r != nil {
		r.disarm()
		r.wakeAll() // each looks at its deadline and the condition anew, and the first to wait again arms
	}
	g.mu.Unlock()
}

// Deadline returns the deadline set, or the zero time.
func (g *Gate) Deadline() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.deadline
}

// expired reports whether the deadline has passed. Without one it reads no clock.
func (g *Gate) expired() bool {
	return !g.deadline.IsZero() && !time.Now().Before(g.deadline)
}

// pass hands a set condition on to one waiter. A waiter that was woken for the condition and leaves with an error
// must pass it on too, or the next would sleep on although the condition holds. (A passed deadline needs no passing:
// it is every waiter's, and the timer or SetDeadline wakes them all.)
func (g *Gate) pass(quiet bool) {
	r := g.room
	switch {
	case !g.set || r == nil || r.waiters == 0:
	case r.bell != nil && r.bell.rung.Load() == silent:
		r.bell.ring(quiet)
	default:
		r.cond.Signal()
	}
}

// wait gives the lock up until somebody wakes this waiter, and takes it again. The caller looks at everything anew.
func (g *Gate) wait() {
	r := g.room
	if r == nil {
		r = &room{}
		r.cond.L = &g.mu
		g.room = r
	}
	if !g.deadline.IsZero() && !r.armed {
		r.armed = true
		d := time.Until(g.deadline)
		if r.timer == nil {
			r.timer = time.AfterFunc(d, g.wake)
		} else {
			r.timer.Reset(d)
		}
	}
	r.waiters++
	g.waited = false
	if b := g.takeBell(); b != nil {
		g.mu.Unlock()
		b.wait()
		g.mu.Lock()
		r.bell = nil
		giveBell(b)
		if !g.set { // it was taken away, or this is not the gate for it
			if g.calm = 0; g.bells == 1 {
				g.bells = 0
			}
		}
	} else {
		r.cond.Wait()
	}
	g.waited = true
	r.waiters--
	if r.waiters == 0 {
		r.disarm()
	}
}

// takeBell gets a bell for who is about to wait, nil if it is to wait without.
func (g *Gate) takeBell() *bell {
	if g.bells == 0 || g.calm < g.bells-1 || g.room.bell != nil {
		return nil
	}
	b := takeBell()
	g.room.bell = b
	return b
}

// wake lets every waiter look again. It runs when the timer fires or a context ends. A timer that fires late, after a
// new deadline was armed, costs only that look: armed is false then, so the first to wait again arms the same timer.
func (g *Gate) wake() {
	g.mu.Lock()
	if r := g.room; r != nil {
		r.disarm()
		r.wakeAll()
	}
	g.mu.Unlock()
}

func (r *room) disarm() {
	if r.armed {
		r.armed = false
		r.timer.Stop()
	}
}

func (r *room) wakeAll() {
	if r.bell != nil {
		r.bell.ring(false)
	}
	r.cond.Broadcast()
}
