//go:build !race

package needs

// Race says that the race detector is on. Pools then lose some of what they are given, on purpose, so that allocations
// cannot be counted.
const Race = false
