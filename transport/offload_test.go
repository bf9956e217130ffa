package transport_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/transport"
)

// Ends with and without offload understand each other in every combination.
func TestNoOffload(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	for _, tc := range []struct{ listener, dialler bool }{{false, true}, {true, false}, {true, true}} {
		l, err := transport.Listen(loop, &transport.Config{NoOffload: tc.listener})
		require.NoError(t, err)
		s, c := connect(t, l, &transport.Config{NoOffload: tc.dialler})
		for _, dir := range [][2]*transport.Association{{c, s}, {s, c}} {
			done := make(chan error, 1)
			go func() {
				_, err := dir[0].Write(data)
				done <- err
			}()
			got := make([]byte, len(data))
			_, err := io.ReadFull(dir[1], got)
			require.NoError(t, err)
			require.NoError(t, <-done)
			require.True(t, bytes.Equal(data, got))
		}
		closeAll(c, s)
		require.NoError(t, l.Close())
	}
}
