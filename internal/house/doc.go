// Package house holds the rules of the house as tests: which room may import which, what the pure rooms must not use, how
// long files and functions may grow, and which words do not belong into the tree. It has no code of its own; a rule that
// docs/ARCHITECTURE.md states in prose is checked here over the sources.
package house
