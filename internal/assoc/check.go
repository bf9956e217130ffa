package assoc

import "fmt"

// check panics when an invariant is broken. Tests turn it on with Config.Check.
func (a *Assoc) check() {
	if a.state < Established {
		return
	}
	total := 0
	for _, p := range a.paths.All() {
		f := a.tx.InFlight(p.ID)
		if f < 0 {
			panic(fmt.Sprintf("assoc: %d bytes in flight on path %d", f, p.ID))
		}
		if f > 0 && p.T3() == 0 {
			panic(fmt.Sprintf("assoc: %d bytes in flight on path %d without T3-rtx", f, p.ID))
		}
		total += f
	}
	if n := a.tx.Outstanding(); n < 0 || a.tx.Held() < n {
		panic(fmt.Sprintf("assoc: %d bytes outstanding of %d held", n, a.tx.Held()))
	}
	if a.paths.Len() > a.cfg.MaxPaths {
		panic("assoc: too many paths")
	}
}
