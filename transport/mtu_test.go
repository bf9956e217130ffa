package transport_test

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/transport"
)

// The size of packets and the search for larger ones are a matter of each path (RFC 6458 section 8.1.12), while the association lives.
func TestLabPathMTU(t *testing.T) {
	inLab(t, []string{"delay=10ms", "mtu=1500"}, func(t *testing.T, x *lab) {
		a, b := x.dial(transport.Config{})
		defer func() {
			_ = a.Abort("")
			_ = b.Abort("")
		}()
		go func() { _, _ = io.Copy(io.Discard, b) }()
		time.Sleep(time.Second)
		sizes := func() (now, most []int) {
			for _, p := range a.Paths() {
				if !p.Gone && p.RTT > 0 {
					now, most = append(now, p.Payload), append(most, p.MaxPayload)
				}
			}
			return now, most
		}
		bulk := func() {
			t.Helper()
			_, err := a.Write(make([]byte, 200_000))
			require.NoError(t, err)
			time.Sleep(10 * time.Second)
		}
		now, most := sizes()
		require.Equal(t, [][]int{{1200, 1200}, {8972, 8972}}, [][]int{now, most})
		fit := a.Stats().FragmentSize

		for _, bad := range []transport.PathMTU{{Payload: 511}, {Payload: 65505}, {MaxPayload: 65505}, {Payload: 1400, MaxPayload: 1300}} {
			require.ErrorIs(t, a.SetPathMTU(bad), transport.ErrConfig, "%+v", bad)
		}
		require.Error(t, a.SetPathMTU(transport.PathMTU{Payload: 600}, 99))
		first := a.Paths()[0].Path.ID
		require.NoError(t, a.SetPathMTU(transport.PathMTU{Payload: 600, MaxPayload: -1}, first))
		now, most = sizes()
		require.Equal(t, [][]int{{600, 1200}, {600, 8972}}, [][]int{now, most})
		require.Equal(t, fit-600, a.Stats().FragmentSize, "DATA is cut to the smallest")
		bulk()
		now, _ = sizes()
		require.Equal(t, []int{600, 1472}, now, "no search on the first path, and one on the second")

		require.NoError(t, a.SetPathMTU(transport.PathMTU{MaxPayload: 1300}, first))
		bulk()
		now, most = sizes()
		require.Equal(t, [][]int{{1300, 1472}, {1300, 8972}}, [][]int{now, most}, "switched on up to a bound")

		require.NoError(t, a.SetPathMTU(transport.PathMTU{Payload: 1000, MaxPayload: -1}))
		bulk()
		now, most = sizes()
		require.Equal(t, [][]int{{1000, 1000}, {1000, 1000}}, [][]int{now, most})
		require.NoError(t, a.Abort("done"))
		require.Error(t, a.SetPathMTU(transport.PathMTU{Payload: 1000}))
	})
}

// TestLoopbackSize searches further on the loopback, unless the bound is the user's.
func TestLoopbackSize(t *testing.T) {
	for _, c := range []struct{ set, want int }{{0, 16432}, {4304, 4304}, {-1, 1200}} {
		l, err := transport.Listen("127.0.0.1:0", &transport.Config{MaxPayload: c.set})
		require.NoError(t, err)
		a, err := transport.Dial(t.Context(), l.Addr().String(), &transport.Config{MaxPayload: c.set})
		require.NoError(t, err)
		b, err := l.AcceptAssociation(t.Context())
		require.NoError(t, err)
		require.Equal(t, c.want, a.Paths()[0].MaxPayload)
		read := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, b)
			read <- err
		}()
		block := make([]byte, 1<<20)
		require.Eventually(t, func() bool {
			if _, err := a.Write(block); err != nil {
				t.Error(err)
				return true
			}
			return a.Paths()[0].Payload == c.want
		}, 20*time.Second, time.Millisecond, "%+v", a.Paths()[0])
		require.NoError(t, a.Close())
		require.NoError(t, <-read)
		require.NoError(t, b.Close())
		require.NoError(t, l.Close())
	}
}
