// Package netmon watches the system's links and addresses and tells which local addresses can no longer be used, and which
// can again: the link was switched off or lost its carrier, the address was removed or is still being checked for a
// duplicate.
//
// On Linux the kernel tells by netlink, within a millisecond of the change. It may hold the loss of a carrier back for up to
// a second when another link changed shortly before, so that a loose plug is no storm; who has cause to suspect that can
// ask (Watch.Look). Elsewhere the interfaces are looked at once a second.
//
// One watcher serves all users of a network namespace. It begins with the first of them and ends with the last.
package netmon

import (
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
)

// Cause says why an address cannot be used.
type Cause uint8

// The causes.
const (
	None      Cause = iota // it can be used
	LinkDown               // its link is switched off
	NoCarrier              // its link has no carrier, or its lower layer is not ready
	Tentative              // it is being checked for a duplicate, or one was found (IPv6, RFC 4862 section 5.4)
	Gone                   // no link has it any more
)

var causeNames = [...]string{"usable", "link down", "carrier lost", "address not yet usable", "address removed"}

// String says it in words.
func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return "Cause(" + strconv.Itoa(int(c)) + ")"
}

// Subject is an address to watch.
type Subject struct {
	Addr netip.Addr // an IPv6 link-local address carries its zone

	// Raw is the kernel's socket bound to the address. Its network namespace is the one that counts. It is used before Start
	// returns and not after. Nil: the namespace of the thread that calls Start.
	Raw syscall.RawConn
}

// Change tells what became of a subject.
type Change struct {
	Index int    // into the subjects given to Start
	Cause Cause  // None: usable again
	Link  string // name of the link that has the address, or had it; may be empty
}

// Down reports whether the address cannot be used.
func (c Change) Down() bool { return c.Cause != None }

// Watch is one user's subjects.
type Watch struct {
	tell    func(Change)
	on      []*watcher // one per network namespace
	stopped atomic.Bool
}

// Start begins to watch. Changes are told one after the other, on a goroutine of the watcher, which other users share: tell
// should not wait for long. It may be called before Start has returned. What cannot be used from the start is returned.
//
// An address that no link has shown yet is not judged: sockets may be bound to addresses that only a route knows.
func Start(subjects []Subject, tell func(Change)) (*Watch, []Change, error) {
	w := &Watch{tell: tell}
	var down []Change
	for i, s := range subjects {
		on, err := w.join(s.Raw)
		if err != nil {
			w.Stop()
			return nil, nil, err
		}
		if c := on.add(w, i, s.Addr.Unmap()); c.Down() {
			down = append(down, c)
		}
	}
	return w, down, nil
}

// Stop ends the watch. It waits for nobody and may be called from within tell; one call of tell may still be under way when
// it returns. Stopping again does nothing.
func (w *Watch) Stop() {
	if w.stopped.Swap(true) {
		return
	}
	registry.mu.Lock()
	defer registry.mu.Unlock()
	for _, on := range w.on {
		on.remove(w)
		if on.users--; on.users == 0 {
			delete(registry.watchers, on.key)
			on.source.close()
		}
	}
}

// Look asks for a look at what the system knows now, for who has cause to think that there are news which have not been
// told. It does not wait: what is found is told. Questions in quick succession are one.
func (w *Watch) Look() {
	for _, on := range w.on {
		on.source.ask()
	}
}

// registry is the watchers of this process, by network namespace.
var registry struct {
	mu       sync.Mutex
	watchers map[any]*watcher
}

// join makes the watch a user of the watcher of a socket's namespace, which begins with its first user.
func (w *Watch) join(raw syscall.RawConn) (*watcher, error) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	key := namespace(raw, w)
	on := registry.watchers[key]
	if on == nil {
		on = &watcher{key: key}
		src, err := open(raw, on)
		if err != nil {
			return nil, err
		}
		on.source = src
		if registry.watchers == nil {
			registry.watchers = make(map[any]*watcher)
		}
		registry.watchers[key] = on
	}
	for _, x := range w.on {
		if x == on {
			return on, nil
		}
	}
	on.users++
	w.on = append(w.on, on)
	return on, nil
}

// watcher is what is known about one network namespace, and who wants to know.
type watcher struct {
	key    any
	source source
	users  int // guarded by registry.mu

	turn sync.Mutex // held while something is learned and told, so that news do not overtake each other

	mu       sync.Mutex
	table    table
	subjects []subject
}

// source is where the news come from. It fills the watcher's table before it is returned and tells changes by
// watcher.update, one at a time.
type source interface {
	ask()   // to look now; waits for nobody
	close() // waits for nobody
}

// subject is an address that a watch asks about.
type subject struct {
	watch *Watch
	index int
	addr  netip.Addr
	seen  bool   // some link had it: its absence means something from then on
	cause Cause  // as told last
	link  string // that has it, or had it last
}

// add takes a subject in and returns what is known about it.
func (on *watcher) add(w *Watch, index int, addr netip.Addr) Change {
	on.mu.Lock()
	defer on.mu.Unlock()
	s := subject{watch: w, index: index, addr: addr}
	s.judge(&on.table)
	on.subjects = append(on.subjects, s)
	return Change{Index: index, Cause: s.cause, Link: s.link}
}

func (on *watcher) remove(w *Watch) {
	on.mu.Lock()
	defer on.mu.Unlock()
	kept := on.subjects[:0]
	for _, s := range on.subjects {
		if s.watch != w {
			kept = append(kept, s)
		}
	}
	clear(on.subjects[len(kept):])
	on.subjects = kept
}

// update lets f change the table and tells everybody whom that concerns. The caller has the turn.
func (on *watcher) update(f func(t *table)) {
	type news struct {
		watch *Watch
		Change
	}
	var all []news
	on.mu.Lock()
	f(&on.table)
	for i := range on.subjects {
		if s := &on.subjects[i]; s.judge(&on.table) {
			all = append(all, news{s.watch, Change{s.index, s.cause, s.link}})
		}
	}
	on.mu.Unlock()
	for _, n := range all {
		if !n.watch.stopped.Load() {
			n.watch.tell(n.Change)
		}
	}
}

// judge looks the subject up and reports whether there is something to tell.
func (s *subject) judge(t *table) bool {
	link, cause, present := t.find(s.addr)
	switch {
	case present:
		s.seen, s.link = true, link
	case !s.seen:
		return false
	default:
		cause = Gone
	}
	changed := cause != s.cause
	s.cause = cause
	return changed
}
