package simnet

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/go-multihome/multihome/internal/mono"
)

// ErrInUse is what Listen returns for an address and port that another socket has.
var ErrInUse = errors.New("simnet: address already in use")

// ErrNotLocal is what Listen returns for an address that no host has.
var ErrNotLocal = errors.New("simnet: cannot assign requested address")

// firstEphemeral is where the search for a free port begins when port 0 is asked for.
const firstEphemeral = 49152

// Lab runs a Network on the clock of a testing/synctest bubble, for whole-stack tests: sockets below, real goroutines
// above. Make and use it inside the bubble. It has no goroutine of its own, only one timer for the next arrival.
type Lab struct {
	start time.Time

	mu      sync.Mutex // guards everything below; taken before the lock of an inbox, never after
	net     *Network
	socks   map[netip.AddrPort]*inbox
	timer   *time.Timer
	armed   mono.Time
	unbound int
	closed  bool
}

// NewLab starts to run n, which is the lab's alone from here on, except inside Do.
func NewLab(n *Network) *Lab {
	return &Lab{start: time.Now(), net: n, socks: map[netip.AddrPort]*inbox{}}
}

// Do lets f look at the network or change it, at the present instant.
func (l *Lab) Do(f func(n *Network)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pumpLocked()
	f(l.net)
	l.pumpLocked()
}

// Set changes every direction that pattern names, as in Set("a1-b1", "down"), and panics when there is none or a word
// makes no sense: a test that cuts nothing proves nothing.
func (l *Lab) Set(pattern string, words ...string) {
	l.Do(func(n *Network) {
		if err := n.Set(pattern, words...); err != nil {
			panic(err)
		}
	})
}

// Unbound returns how many datagrams arrived where no socket was.
func (l *Lab) Unbound() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unbound
}

// Close closes every socket and lets what is on its way disappear.
func (l *Lab) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
	for ap, q := range l.socks {
		q.close()
		delete(l.socks, ap)
	}
}

// bind gives an inbox its address. Port 0 picks a free one.
func (l *Lab) bind(ap netip.AddrPort) (*inbox, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.net.names[ap.Addr()]; !ok {
		return nil, ErrNotLocal
	}
	if ap.Port() == 0 {
		for port := uint16(firstEphemeral); ; port++ {
			if port == 0 {
				return nil, ErrInUse
			}
			if _, used := l.socks[netip.AddrPortFrom(ap.Addr(), port)]; !used {
				ap = netip.AddrPortFrom(ap.Addr(), port)
				break
			}
		}
	}
	if _, used := l.socks[ap]; used {
		return nil, ErrInUse
	}
	q := newInbox(ap)
	l.socks[ap] = q
	return q, nil
}

func (l *Lab) unbind(q *inbox) {
	l.mu.Lock()
	if l.socks[q.local] == q {
		delete(l.socks, q.local)
	}
	l.mu.Unlock()
	q.close()
}

// send puts one datagram on its way.
func (l *Lab) send(d Datagram) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.net.Send(l.nowLocked(), d)
	l.pumpLocked()
	return err
}

func (l *Lab) nowLocked() mono.Time { return Epoch.Add(time.Since(l.start)) }

// pumpLocked hands out what has arrived and arms the timer for the next arrival.
func (l *Lab) pumpLocked() {
	if l.closed {
		return
	}
	now := l.nowLocked()
	for a := range l.net.Deliver(now) {
		if q := l.socks[a.To]; q != nil {
			q.put(a.Data, a.From)
		} else {
			l.unbound++
		}
	}
	next, ok := l.net.Next()
	switch {
	case !ok, next == l.armed && l.timer != nil:
	case l.timer == nil:
		l.armed = next
		l.timer = time.AfterFunc(next.Sub(now), l.fire)
	default:
		l.armed = next
		l.timer.Reset(next.Sub(now))
	}
}

func (l *Lab) fire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed = 0
	l.pumpLocked()
}
