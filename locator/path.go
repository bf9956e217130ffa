package locator

// Pair is one local and one peer locator: what a packet travels between.
type Pair struct {
	Local, Peer Locator
}

// String prints the pair as "local>peer".
func (p Pair) String() string { return p.Local.String() + ">" + p.Peer.String() }

// PathID names a path within its association. IDs are small, dense and never reused while the association lives.
type PathID uint8

// MaxPaths is the largest number of paths (pairs) one association keeps.
const MaxPaths = 16

// Path is the name of a path: what everything else about it hangs on.
type Path struct {
	ID PathID
	Pair
}
