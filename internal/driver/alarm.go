package driver

import (
	"runtime"
	"sync"
	"time"

	"github.com/go-multihome/multihome/internal/mono"
)

// alarms is when the associations of a node want to be looked at. They share one timer of the runtime: one each would cost
// more memory than an idle association can have, and a goroutine with a stack for each of thousands that fire together.
//
// Associations set an alarm only for an earlier instant than the one they have (Conn.rearm), so the heap is touched once
// per round trip or so and not by packets. mu comes after every other lock.
type alarms struct {
	mu    sync.Mutex
	heap  []alarm // earliest first; alarm i is before 4i+1 to 4i+4
	timer *time.Timer
	armed mono.Time // when timer fires; 0: it does not
	busy  int       // goroutines that serve alarms
}

type alarm struct {
	at mono.Time
	c  *Conn // its alarm is the place here, plus one
}

// set lets the alarm of c go off d from now, in place of an earlier setting.
func (n *Node) setAlarm(now mono.Time, d time.Duration, c *Conn) {
	a, at := &n.alarms, now.Add(d)
	a.mu.Lock()
	defer a.mu.Unlock()
	i := int(c.alarm) - 1
	if i < 0 {
		i = len(a.heap)
		a.heap = append(a.heap, alarm{})
	}
	a.settle(i, alarm{at, c})
	if a.armed == 0 || at.Before(a.armed) {
		n.wind(d, at)
	}
}

// wind sets the timer. The caller holds the lock.
func (n *Node) wind(d time.Duration, at mono.Time) {
	a := &n.alarms
	a.armed = at
	if a.timer == nil {
		a.timer = time.AfterFunc(d, n.routineAlarms)
	} else {
		a.timer.Reset(d)
	}
}

// dropAlarm forgets the alarm of c.
func (n *Node) dropAlarm(c *Conn) {
	a := &n.alarms
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.alarm != 0 {
		a.remove(int(c.alarm) - 1)
	}
}

// routineAlarms runs when the timer fires. While more alarms have come than one goroutine takes at a time others help.
func (n *Node) routineAlarms() {
	a := &n.alarms
	var due [16]*Conn
	a.mu.Lock()
	a.armed = 0
	a.busy++
	for {
		now, k := n.clock.now(), 0
		for ; k < len(due) && len(a.heap) > 0 && !now.Before(a.heap[0].at); k++ {
			due[k] = a.heap[0].c
			a.remove(0)
		}
		if k == 0 {
			a.busy--
		}
		if len(a.heap) > 0 && a.armed == 0 {
			if d := a.heap[0].at.Sub(now); d > 0 || a.busy < runtime.GOMAXPROCS(0) {
				n.wind(max(d, 0), a.heap[0].at)
			}
		}
		a.mu.Unlock()
		if k == 0 {
			return
		}
		for i, c := range due[:k] {
			c.routineTimer()
			due[i] = nil
		}
		a.mu.Lock()
	}
}

// remove takes alarm i out.
func (a *alarms) remove(i int) {
	a.heap[i].c.alarm = 0
	last := len(a.heap) - 1
	moved := a.heap[last]
	a.heap[last] = alarm{}
	a.heap = a.heap[:last]
	if i < last {
		a.settle(i, moved)
	}
}

// settle puts an alarm into the free place i, or where order wants it.
func (a *alarms) settle(i int, x alarm) {
	for i > 0 {
		up := (i - 1) / 4
		if !x.at.Before(a.heap[up].at) {
			break
		}
		a.put(i, a.heap[up])
		i = up
	}
	for {
		first := 4*i + 1
		if first >= len(a.heap) {
			break
		}
		least := first
		for k := first + 1; k < min(first+4, len(a.heap)); k++ {
			if a.heap[k].at.Before(a.heap[least].at) {
				least = k
			}
		}
		if !a.heap[least].at.Before(x.at) {
			break
		}
		a.put(i, a.heap[least])
		i = least
	}
	a.put(i, x)
}

func (a *alarms) put(i int, x alarm) {
	a.heap[i] = x
	x.c.alarm = int32(i) + 1
}
