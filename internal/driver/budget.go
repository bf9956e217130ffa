package driver

import "sync/atomic"

// budget is the memory that all associations of a node may hold together: received bytes that nobody has read yet, and
// sent bytes that no peer has acknowledged.
//
// Each association may hold a share of what is free, so the shares shrink together as memory fills and no list of
// associations has to be walked. With share s, n greedy associations settle at s*limit/(1+s*n) each: equal among
// themselves, and a part of the budget always stays free for those that come later.
type budget struct {
	limit int64
	used  atomic.Int64
}

// shareShift makes the share an eighth of the free memory. Nobody can be made to give back what has arrived, so those that
// come first may keep their shares; the smaller these are, the more is left for the last.
const shareShift = 3

// leastShare is what an association may hold while the budget is not exhausted, leastSend what it may always send:
// a writer is woken by its own acknowledgements only, so it must be able to go on when others hold everything.
const (
	leastShare = 4 << 10
	leastSend  = 16 << 10
)

// window returns how much an association that asks for want bytes of receive window may hold. It is zero once the budget
// is used up; what is read then opens windows again.
func (b *budget) window(want int) int {
	free := b.limit - b.used.Load()
	if free <= 0 {
		return 0
	}
	return min(want, max(int(free>>shareShift), leastShare))
}

// send returns how many bytes an association with the given limit may have queued or outstanding.
func (b *budget) send(limit int) int {
	free := b.limit - b.used.Load()
	return min(limit, max(int(free>>shareShift), leastSend))
}

// charge books the difference since an association was last looked at.
func (b *budget) charge(delta int) { b.used.Add(int64(delta)) }

// sendRoom is how many bytes the association may have queued or outstanding now: its send buffer, or what its path turns out
// to need, within the budget.
func (c *Conn) sendRoom() int {
	return c.node.budget.send(max(c.limit, min(c.a.SendWanted(), c.most)))
}
