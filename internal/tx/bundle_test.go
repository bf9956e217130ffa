package tx

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// small pushes a small message, alike in all but what change does.
func (l *lab) small(sid uint16, text string, change func(*Message)) {
	m := l.s.NewMessage()
	m.SID, m.PPID = sid, 7
	if change != nil {
		change(m)
	}
	require.NoError(l.t, l.s.PushSmall(m, []byte(text)))
}

// records returns how many messages each record in the queue of a stream stands for.
func (l *lab) records(sid uint16) (out []int) {
	for m := l.s.used(sid).head; m != nil; m = m.next {
		out = append(out, max(1, int(m.bundled)))
	}
	return out
}

func TestBundle(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Message) // of the fourth message
		want   []int
	}{
		{"alike", nil, []int{1, 5}},
		{"PPID", func(m *Message) { m.PPID = 8 }, []int{1, 2, 1, 2}},
		{"context", func(m *Message) { m.Context = 8 }, []int{1, 2, 1, 2}},
		{"unordered", func(m *Message) { m.Unordered = true }, []int{1, 2, 1, 2}},
		{"wish", func(m *Message) { m.Wish = 1 }, []int{1, 2, 1, 2}},
		{"lifetime", func(m *Message) { m.Expires = 1e18 }, []int{1, 2, 1, 2}},
		{"retransmissions", func(m *Message) { m.LimitRtx = true }, []int{1, 2, 1, 2}},
		{"priority", func(m *Message) { m.Priority = 1 }, []int{1, 2, 1, 2}},
		{"I bit", func(m *Message) { m.Immediate = true }, []int{1, 2, 1, 2}},
		{"copies", func(m *Message) { m.Redundant = true }, []int{1, 2, 1, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLabWith(t, Config{InitialTSN: 1, Streams: 10, PeerWindow: 1 << 20, Partial: true})
			for i := range 6 {
				if i == 3 {
					l.small(1, "dddd", c.change)
				} else {
					l.small(1, string("abcdef"[i]), nil)
				}
			}
			require.Equal(t, c.want, l.records(1))
			require.Equal(t, 9, l.s.Queued())
			require.Equal(t, 9, l.s.StreamHeld(1))
			require.Equal(t, 9, l.s.Drop())
		})
	}
	t.Run("another stream comes between", func(t *testing.T) {
		l := newLab(t)
		for i := range 4 {
			l.small(1, "x", nil)
			l.small(1, "y", nil)
			l.small(2, fmt.Sprint(i), nil)
		}
		require.Equal(t, []int{1, 1, 2, 2, 2}, l.records(1), "the order of arrival across streams stays")
		l.s.Drop()
	})
	t.Run("sizes", func(t *testing.T) {
		l := newLab(t)
		for range 1 + smallBundle/65 + largeBundle/65 + 1 {
			l.small(1, string(make([]byte, 64)), nil)
		}
		require.Equal(t, []int{1, smallBundle / 65, largeBundle / 65, 1}, l.records(1))
		l.s.Drop()
	})
	t.Run("empty", func(t *testing.T) {
		l := newLab(t)
		l.small(1, "x", nil)
		m := l.s.NewMessage()
		m.SID = 1
		require.Equal(t, ErrEmpty, l.s.PushSmall(m, nil))
		m.Free()
		l.s.Drop()
	})
}

// Undelivered names each message of a bundle, with what of them was sent.
func TestBundleUndelivered(t *testing.T) {
	l := newLabWith(t, Config{InitialTSN: 1, Streams: 10, PeerWindow: 1 << 20, KeepAbandoned: true})
	for _, text := range []string{"one", "two", "three", "four", "five"} {
		l.small(1, text, func(m *Message) { m.Context = 9 })
	}
	require.Equal(t, []int{1, 4}, l.records(1))
	g := l.grant(0)
	g.Budget = 4 // bytes: the second chunk goes since the first left some
	require.Len(t, l.packet(1200, g, l.s.AppendNew), 2)
	l.sack(1)
	var got []string
	for _, a := range l.s.Undelivered() {
		require.Equal(t, WhyEnd, a.Why)
		require.EqualValues(t, 7, a.PPID)
		require.EqualValues(t, 9, a.Context)
		require.EqualValues(t, 1, a.SID)
		require.Equal(t, len(a.Data), a.Len)
		got = append(got, fmt.Sprint(string(a.Data), " ", a.Sent))
	}
	require.Equal(t, []string{"two true", "three false", "four false", "five false"}, got)
	l.s.Drop()
}

// A message that was not needed because its bytes joined another is used for the next, empty.
func TestBundleSpare(t *testing.T) {
	l := newLab(t)
	l.small(1, "a", nil)
	l.small(1, "b", nil)
	m := l.s.NewMessage()
	m.SID, m.PPID, m.Unordered, m.Context, m.Wish = 1, 7, false, 0, 0
	require.NoError(t, l.s.PushSmall(m, []byte("c")))
	require.Equal(t, []int{1, 2}, l.records(1))
	again := l.s.NewMessage()
	require.True(t, m == again)
	require.Equal(t, Message{}, *again)
	again.Free()
	l.s.Drop()
}
