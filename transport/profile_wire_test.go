package transport_test

import (
	"context"
	"encoding/binary"
	"io"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/wire"
	"github.com/go-multihome/multihome/transport"
)

// Under the profile RFC9260 nothing leaves that RFC 9260 does not have, whatever happens to the association: no chunk type, no
// parameter, no flag. The same association without the profile sends them, so the test would see them.
func TestLabProfileOnTheWire(t *testing.T) {
	for _, profile := range []bool{true, false} {
		inLab(t, []string{"delay=10ms", "loss=0.02"}, func(t *testing.T, x *lab) {
			var seen memory
			cfg := transport.Config{}
			if profile {
				cfg = *transport.RFC9260()
			}
			cfg.Capture = &seen
			x.Set("a1-b1", "down") // for the dial
			a, b := x.dial(cfg)
			x.Set("a1-b1", "up")
			time.Sleep(time.Minute)
			go func() {
				_, _ = io.Copy(b, b)
			}()
			data := text(400_000, 3)
			go func() {
				_, _ = a.Write(data)
				time.Sleep(2 * time.Second)
				x.Set("a2-b2", "down")
				x.Set("a1-b1", "up")
				_, _ = a.Write(data)
			}()
			_, err := io.CopyN(io.Discard, a, int64(2*len(data)))
			require.NoError(t, err)
			require.NoError(t, a.Flush(context.Background()))
			time.Sleep(2 * time.Minute)
			require.NoError(t, a.Shutdown(context.Background()))
			_ = b.Close()

			strange := strangers(t, &seen)
			if profile {
				require.Empty(t, strange)
			} else {
				for _, what := range []string{"chunk 132", "parameter 32776", "parameter 32773", "parameter 49152", "I bit"} {
					require.Positive(t, strange[what], what)
				}
			}
		})
	}
}

// strangers counts what RFC 9260 does not have in what was sent.
func strangers(t *testing.T, seen *memory) map[string]int {
	seen.mu.Lock()
	defer seen.mu.Unlock()
	out := map[string]int{}
	require.Greater(t, len(seen.sent), 1000)
	for _, p := range seen.sent {
		it := wire.Chunks([]byte(p.data))
		for c, ok := it.Next(); ok; c, ok = it.Next() {
			if c.Type > wire.TypeShutdownComplete {
				out["chunk "+c.Type.String()]++
				if c.Type == wire.TypePad {
					out["chunk 132"]++
				}
			}
			if c.Type == wire.TypeData && c.Flags&8 != 0 {
				out["I bit"]++
			}
			if c.Type == wire.TypeInit || c.Type == wire.TypeInitAck {
				for rest := c.Value[16:]; len(rest) >= 4; {
					kind, n := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
					if kind > 12 {
						out["parameter "+strconv.Itoa(int(kind))]++
					}
					rest = rest[min(len(rest), (n+3)&^3):]
				}
			}
		}
		require.NoError(t, it.Err())
	}
	return out
}
