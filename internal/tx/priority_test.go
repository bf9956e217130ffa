package tx

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// low queues a message of n bytes that gives way to lower numbers than pri.
func (l *lab) low(sid uint16, n int, pri uint32) {
	m := NewMessage()
	m.SID, m.Priority, m.Context = sid, pri, pri
	m.Data.Write(make([]byte, n))
	require.NoError(l.t, l.s.Push(m))
}

func (l *lab) abandoned() (out []Abandoned) {
	for a, ok := l.s.NextAbandoned(); ok; a, ok = l.s.NextAbandoned() {
		out = append(out, a)
	}
	return out
}

// RFC 7496 section 3.2: what has a lower priority makes room, the lowest first and of equals the oldest; messages without one
// never do, and nothing that was begun.
func TestPriorityMakesRoom(t *testing.T) {
	l := newLabWith(t, Config{InitialTSN: 1, Streams: 10, PeerWindow: 1 << 20, Partial: true})
	l.low(1, 300, 9)
	require.Equal(t, []uint16{1}, l.singles(1), "it is on its way")
	l.low(1, 100, 5)
	l.low(2, 101, 7)
	l.push(3, 102)
	l.low(2, 103, 7)
	l.low(3, 104, 2)
	require.Zero(t, l.s.MakeRoom(7, 1000), "none is lower than 7")
	require.Equal(t, 204, l.s.MakeRoom(6, 102))
	require.Equal(t, 100+102+104, l.s.Queued())
	require.Equal(t, 204, l.s.MakeRoom(0, 1<<20), "reliable messages are above all")
	got := l.abandoned()
	require.Len(t, got, 4)
	for i, want := range []Abandoned{{SID: 2, Len: 101, Context: 7}, {SID: 2, Len: 103, Context: 7}, {SID: 1, Len: 100, Context: 5}, {SID: 3, Len: 104, Context: 2}} {
		want.Why = WhyPriority
		require.Equal(t, want, got[i])
	}
	require.Equal(t, Counts{WhyPriority: {Unsent: 4}}, l.s.GivenUp())
	require.Equal(t, Counts{WhyPriority: {Unsent: 2}}, l.s.StreamGivenUp(2))
	require.Zero(t, l.s.StreamGivenUp(9))
	require.Equal(t, []uint16{3}, l.singles(5))
	require.False(t, l.s.Forward(), "nothing of them had a TSN")
}

// Without partial reliability every message is reliable, whatever its priority.
func TestPriorityNeedsThePeer(t *testing.T) {
	l := newLab(t)
	l.low(1, 100, 5)
	require.Zero(t, l.s.MakeRoom(0, 100))
	require.Equal(t, 100, l.s.Queued())
}

// The three policies are counted apart, and whether a part was sent.
func TestGivenUpCounts(t *testing.T) {
	l := newLabWith(t, Config{InitialTSN: 1, Streams: 10, PeerWindow: 1 << 20, Partial: true})
	timed := func() {
		m := NewMessage()
		m.SID, m.Expires = 4, l.now+1
		m.Data.Write(make([]byte, 100))
		require.NoError(t, l.s.Push(m))
	}
	m := NewMessage()
	m.SID, m.LimitRtx = 5, true
	m.Data.Write(make([]byte, 100))
	require.NoError(t, l.s.Push(m))
	timed()
	l.singles(2)
	timed()
	l.at(1100)
	l.s.Retarget(0)
	l.resend(1)
	l.singles(1)
	want := Counts{WhyLifetime: {Unsent: 1, Sent: 1}, WhyResends: {Sent: 1}}
	require.Equal(t, want, l.s.GivenUp())
	require.Equal(t, Counts{WhyResends: {Sent: 1}}, l.s.StreamGivenUp(5))
	require.Len(t, l.abandoned(), 3)
}

// The heap against a plain search.
func TestPriorityAgainstModel(t *testing.T) {
	for i := range uint64(30) {
		n := seed(i)
		t.Logf("seed %d", n)
		r := rand.New(rand.NewPCG(n, 4))
		l := newLabWith(t, Config{InitialTSN: 1, Streams: 10, PeerWindow: 1 << 30, Partial: true})
		var list []*Message
		for range 1000 {
			switch r.IntN(4) {
			case 0, 1:
				m := NewMessage()
				m.SID, m.Priority = uint16(r.IntN(10)), uint32(r.IntN(6))
				m.Data.Write(make([]byte, 1+r.IntN(300)))
				require.NoError(t, l.s.Push(m))
				list = append(list, m)
			case 2:
				st := l.s.next
				if l.singles(1); l.s.next != st {
					sent := l.s.at(st).msg
					for k := range list {
						if list[k] == sent {
							list = append(list[:k], list[k+1:]...)
							break
						}
					}
				}
			case 3:
				worst := -1
				for k, m := range list {
					if m.Priority > 0 && (worst < 0 || m.Priority > list[worst].Priority) {
						worst = k
					}
				}
				pri := uint32(r.IntN(6))
				if worst < 0 || list[worst].Priority <= pri {
					require.Zero(t, l.s.MakeRoom(pri, 1))
					continue
				}
				size := list[worst].size
				require.Equal(t, size, l.s.MakeRoom(pri, 1))
				list = append(list[:worst], list[worst+1:]...)
			}
		}
	}
}
