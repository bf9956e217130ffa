package driver

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/mono"
	"github.com/go-multihome/multihome/internal/needs"
)

// Alarms are kept in order whatever is set, brought forward and dropped, and every association knows its place.
func TestAlarmsAgainstMap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(needs.Seed(t), 0))
		n := &Node{clock: newClock()}
		a := &n.alarms
		model := map[*Conn]mono.Time{}
		conns := make([]*Conn, 100)
		for i := range conns {
			conns[i] = new(Conn)
		}
		for range 5000 {
			c := conns[rnd.IntN(len(conns))]
			if rnd.IntN(3) == 0 {
				n.dropAlarm(c)
				delete(model, c)
			} else {
				d := time.Hour + time.Duration(rnd.IntN(1000))
				n.setAlarm(n.clock.now(), d, c)
				model[c] = n.clock.now().Add(d)
			}
			require.Len(t, a.heap, len(model))
			var first mono.Time
			for _, at := range model {
				first = mono.Min(first, at)
			}
			for i, x := range a.heap {
				require.Equal(t, i+1, int(x.c.alarm))
				require.Equal(t, model[x.c], x.at)
				require.False(t, x.at.Before(a.heap[max(0, i-1)/4].at))
			}
			if len(a.heap) > 0 {
				require.Equal(t, first, a.heap[0].at)
				require.False(t, first.Before(a.armed), "the timer fires no later than the first of them")
			}
		}
		for _, c := range conns {
			n.dropAlarm(c)
			require.Zero(t, c.alarm)
		}
		require.Empty(t, a.heap)
		n.close()
	})
}
