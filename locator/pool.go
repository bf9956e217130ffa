package locator

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Pool is an ordered set of locators: the places at which one endpoint can be reached, the preferred ones first. The zero
// Pool is empty and ready to use. It is not safe for concurrent use.
type Pool struct {
	list    []Locator
	version uint64
}

// NewPool returns a pool of the given locators, in this order; repeated and invalid ones are left out.
func NewPool(list ...Locator) *Pool {
	p := new(Pool)
	for _, l := range list {
		p.Add(l)
	}
	return p
}

// Add puts a locator at the end. It reports whether the pool changed: not when it was there already or is invalid.
func (p *Pool) Add(l Locator) bool {
	if !l.IsValid() || p.Contains(l) {
		return false
	}
	p.list = append(p.list, l)
	p.version++
	return true
}

// Remove takes a locator out, keeping the order of the others. It reports whether it was there.
func (p *Pool) Remove(l Locator) bool {
	i := slices.Index(p.list, l)
	if i < 0 {
		return false
	}
	p.list = slices.Delete(p.list, i, i+1)
	p.version++
	return true
}

// Contains reports whether l is in the pool.
func (p *Pool) Contains(l Locator) bool { return slices.Contains(p.list, l) }

// Len returns the number of locators.
func (p *Pool) Len() int { return len(p.list) }

// At returns the i-th locator, 0 <= i < Len.
func (p *Pool) At(i int) Locator { return p.list[i] }

// All returns the locators in order. The pool must not change during the iteration.
func (p *Pool) All() iter.Seq[Locator] { return slices.Values(p.list) }

// AppendTo appends the locators in order to dst and returns it.
func (p *Pool) AppendTo(dst []Locator) []Locator { return append(dst, p.list...) }

// Version counts the changes: as long as it is the same, so is the pool.
func (p *Pool) Version() uint64 { return p.version }

// Diff returns what must be added to p and what removed from it to have the locators of q, each in the order of its pool.
func (p *Pool) Diff(q *Pool) (added, removed []Locator) {
	for _, l := range q.list {
		if !p.Contains(l) {
			added = append(added, l)
		}
	}
	for _, l := range p.list {
		if !q.Contains(l) {
			removed = append(removed, l)
		}
	}
	return added, removed
}

// Clone returns an independent copy with the same version.
func (p *Pool) Clone() *Pool { return &Pool{list: slices.Clone(p.list), version: p.version} }

// String prints the locators separated by commas, as Parse reads them.
func (p *Pool) String() string {
	var b strings.Builder
	for i, l := range p.list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(l.String())
	}
	return b.String()
}

// MaxList is how many items Parse and SplitList take.
const MaxList = 64

// ListError says which item of a list is wrong and why.
type ListError struct {
	List   string // the whole text
	Index  int    // of the item, from 0
	Item   string // the item
	Reason string // what is wrong with it
}

// Error names the item and the reason.
func (e *ListError) Error() string {
	return fmt.Sprintf("locator: item %d (%q) of %q: %s", e.Index+1, e.Item, e.List, e.Reason)
}

// SplitList takes a list of the form "host:port,host:port,..." apart into its hosts, which may be names or addresses, and
// the port they share. Spaces around items are skipped; an IPv6 address stands in brackets and loses them. The port may be
// missing, but then from all items: hasPort tells. An empty list, an empty or repeated item and different ports are
// errors of type *ListError. A single item without a host (":5000") gives one empty host.
func SplitList(list string) (hosts []string, port uint16, hasPort bool, err error) {
	for i, raw := range strings.Split(list, ",") {
		item := strings.TrimSpace(raw)
		fail := func(reason string) ([]string, uint16, bool, error) {
			return nil, 0, false, &ListError{List: list, Index: i, Item: item, Reason: reason}
		}
		if i == MaxList {
			return fail("more than " + strconv.Itoa(MaxList) + " items")
		}
		if item == "" {
			return fail("it is empty")
		}
		host, text, with, reason := splitItem(item)
		if reason != "" {
			return fail(reason)
		}
		var n uint16
		if with {
			v, err := strconv.ParseUint(text, 10, 16)
			if err != nil {
				return fail("the port is not a number from 0 to 65535")
			}
			n = uint16(v)
		}
		switch {
		case i == 0:
			port, hasPort = n, with
		case with != hasPort:
			return fail("either all items have a port or none")
		case n != port:
			return fail(fmt.Sprintf("the port differs from %d; all locators of an endpoint share one", port))
		case host == "" || hosts[0] == "":
			return fail("an item without a host must stand alone")
		case slices.Contains(hosts, host):
			return fail("it is repeated")
		}
		hosts = append(hosts, host)
	}
	return hosts, port, hasPort, nil
}

// splitItem takes one item apart. reason is empty or says what is wrong.
func splitItem(item string) (host, port string, hasPort bool, reason string) {
	if strings.HasPrefix(item, "[") {
		end := strings.IndexByte(item, ']')
		switch {
		case end < 0:
			return "", "", false, "the bracket is not closed"
		case end == 1:
			return "", "", false, "the brackets are empty"
		}
		host, item = item[1:end], item[end+1:]
		if item == "" {
			return host, "", false, ""
		}
		if item[0] != ':' {
			return "", "", false, "only a port may follow the bracket"
		}
		return host, item[1:], true, ""
	}
	switch strings.Count(item, ":") {
	case 0:
		return item, "", false, ""
	case 1:
		host, port, _ = strings.Cut(item, ":")
		return host, port, true, ""
	}
	return "", "", false, "an IPv6 address must stand in brackets"
}

// Parse reads a list of literal addresses such as "10.0.0.1:5000,10.0.1.1:5000,[2001:db8::1]:5000". It knows no names; who
// wants them resolves what SplitList gives. Without ports the locators have port 0. A zone is kept ("[fe80::1%eth0]:5000"),
// IPv4-mapped addresses become IPv4. The unspecified address is accepted for the caller to replace; multicast and broadcast
// addresses, the same address twice and everything SplitList refuses are errors of type *ListError.
func Parse(list string) ([]Locator, error) {
	hosts, port, _, err := SplitList(list)
	if err != nil {
		return nil, err
	}
	locators := make([]Locator, 0, len(hosts))
	for i, host := range hosts {
		fail := func(reason string) ([]Locator, error) {
			return nil, &ListError{List: list, Index: i, Item: host, Reason: reason}
		}
		addr, err := netip.ParseAddr(host)
		if err != nil {
			return fail("it is not an IP address")
		}
		l := Locator{Addr: addr.Unmap(), Port: port}
		if ScopeOf(l.Addr) == NoScope && !l.Addr.IsUnspecified() {
			return fail("it is not the address of a host")
		}
		if slices.Contains(locators, l) {
			return fail("it is repeated")
		}
		locators = append(locators, l)
	}
	return locators, nil
}
