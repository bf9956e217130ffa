// Package locator says where an endpoint can be reached, and by which pairs of places two endpoints can reach each other.
//
// A [Locator] is an IP address with a UDP encapsulation port (RFC 6951). An endpoint has a [Pool] of them. Two pools make
// candidate paths: [Pairs] of one local and one peer locator, most disjoint ones first. Which of several paths should carry
// the traffic is a question of [Quality] and [Policy].
//
//	ours, err := locator.System(locator.Filter{Port: 5000}) // the addresses of this machine
//	theirs, err := locator.Parse("192.0.2.1:5000,198.51.100.1:5000")
//	for _, pair := range locator.Pairs(ours, theirs, 4) {
//		...
//	}
//
// Everything here is a plain value or a pure function. The one exception is [System], which asks the operating system for
// its interfaces, or whatever Filter.Source is set to. There are no sockets, clocks or goroutines, and nothing but the
// standard library is imported, so the package can be used without the rest of the module.
//
// # Scopes
//
// An address is meaningful within its [Scope]: a machine, a link, a private network, the internet. [ScopeOf] tells it,
// [Listable] keeps addresses from peers that could do nothing with them, [Reachable] says whether a pair may work at all.
//
// # Who carries the traffic
//
// [Policy.Primary] chooses by health first, then by the user's priority, then by round trip and losses, and changes its mind
// only for a gain worth the change: a challenger must be better by a margin and must have been steady for a while.
// [Policy.Backup] chooses the alternate that shares least with the primary. Both say why.
package locator
