package locator_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/go-multihome/multihome/locator"
)

func ExampleParse() {
	list, err := locator.Parse("10.0.0.1:5000, [2001:db8::1]:5000")
	fmt.Println(list, err)
	_, err = locator.Parse("10.0.0.1:5000,10.0.1.1:5001")
	fmt.Println(err)
	// Output:
	// [10.0.0.1:5000 [2001:db8::1]:5000] <nil>
	// locator: item 2 ("10.0.1.1:5001") of "10.0.0.1:5000,10.0.1.1:5001": the port differs from 5000; all locators of an endpoint share one
}

// Two machines with two uplinks each: the disjoint pairs come first.
func ExamplePairs() {
	ours, _ := locator.Parse("10.0.0.1:5000,10.1.0.1:5000")
	theirs, _ := locator.Parse("10.1.0.2:5000,10.0.0.2:5000")
	for _, p := range locator.Pairs(ours, theirs, 4) {
		fmt.Println(p)
	}
	// Output:
	// 10.0.0.1:5000>10.0.0.2:5000
	// 10.1.0.1:5000>10.1.0.2:5000
	// 10.0.0.1:5000>10.1.0.2:5000
	// 10.1.0.1:5000>10.0.0.2:5000
}

// A peer on the internet learns nothing of our private addresses.
func ExampleListable() {
	ours, _ := locator.Parse("127.0.0.1:5000,10.0.0.1:5000,192.0.2.1:5000")
	fmt.Println(locator.Listable(ours, netip.MustParseAddr("198.51.100.1")))
	fmt.Println(locator.Listable(ours, netip.MustParseAddr("10.9.9.9")))
	// Output:
	// [192.0.2.1:5000]
	// [10.0.0.1:5000 192.0.2.1:5000]
}

func ExamplePool() {
	var p locator.Pool
	list, _ := locator.Parse("10.0.0.1:5000,10.1.0.1:5000")
	p.Add(list[0])
	before := p.Clone()
	p.Add(list[1])
	p.Remove(list[0])
	added, removed := before.Diff(&p)
	fmt.Println("added", added, "removed", removed, "version", p.Version())
	// Output: added [10.1.0.1:5000] removed [10.0.0.1:5000] version 3
}

// Traffic moves at once from a path that fails, and back to a better one only when that has been steady for a while.
func ExamplePolicy_Primary() {
	policy := locator.DefaultPolicy()
	paths := []locator.Candidate{
		{Path: locator.Path{ID: 0}, Quality: locator.Quality{Confirmed: true, RTT: 10 * time.Millisecond, Steady: time.Hour}},
		{Path: locator.Path{ID: 1}, Quality: locator.Quality{Confirmed: true, RTT: 80 * time.Millisecond, Steady: time.Hour}},
	}
	current := locator.PathID(0)
	choose := func(what string) {
		i, why := policy.Primary(current, true, paths)
		current = paths[i].ID
		fmt.Printf("%s: path %d (%v)\n", what, current, why)
	}
	choose("all is well")
	paths[0].Grade, paths[0].Steady = 1, 0
	choose("path 0 is in doubt")
	paths[0].Grade, paths[0].Flaps = 0, 1
	choose("path 0 answers")
	paths[0].Steady = 20 * time.Second
	choose("path 0 has been steady")
	// Output:
	// all is well: path 0 (kept)
	// path 0 is in doubt: path 1 (grade)
	// path 0 answers: path 1 (kept)
	// path 0 has been steady: path 0 (rtt)
}
