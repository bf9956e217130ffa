package interop

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"

	"github.com/pion/logging"
	"github.com/pion/sctp"
	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/capture"
	"github.com/go-multihome/multihome/transport"
)

// The bulk benchmarks move the same bytes over one association and stream on the loopback, ours and the peer library's
// beside each other. Report the ratio of one run: go test ./internal/interop -run - -bench Bulk -count 5 -cpu 2
func BenchmarkBulk(b *testing.B) {
	b.Run("multihome", func(b *testing.B) { bulkOurs(b, nil) })
	b.Run("multihome, captured at one end", func(b *testing.B) {
		c, err := capture.Rotate(filepath.Join(b.TempDir(), "bulk.pcapng"), nil)
		require.NoError(b, err)
		bulkOurs(b, &transport.Config{Capture: c})
		require.NoError(b, c.Close())
		b.ReportMetric(float64(c.Stats().Dropped)/float64(c.Stats().Dropped+c.Stats().Packets)*100, "%left-out")
	})
	b.Run("pion", func(b *testing.B) {
		cs, ss := pionStreams(b)
		bulk(b, limited{cs}, ss)
	})
}

// pionStreams is a stream between two ends of the peer library.
func pionStreams(b *testing.B) (cs, ss *sctp.Stream) {
	x, y := udpPair(b)
	logger := logging.NewDefaultLoggerFactory()
	type made struct {
		a   *sctp.Association
		err error
	}
	ch := make(chan made)
	go func() {
		a, err := sctp.ServerWithOptions(sctp.WithNetConn(y), sctp.WithLoggerFactory(logger))
		ch <- made{a, err}
	}()
	ca, err := sctp.ClientWithOptions(sctp.WithNetConn(x), sctp.WithLoggerFactory(logger))
	require.NoError(b, err)
	m := <-ch
	require.NoError(b, m.err)
	cs, err = ca.OpenStream(0, sctp.PayloadTypeWebRTCBinary)
	require.NoError(b, err)
	_, err = cs.Write([]byte("hello"))
	require.NoError(b, err)
	ss, err = m.a.AcceptStream()
	require.NoError(b, err)
	buf := make([]byte, 1<<16)
	_, err = ss.Read(buf)
	require.NoError(b, err)
	b.Cleanup(func() {
		ca.Close()
		m.a.Close()
	})
	return cs, ss
}

// The message benchmarks send messages of 64 bytes over one association and stream, as many as go.
// go test ./internal/interop -run - -bench Small -count 5 -cpu 2
func BenchmarkSmall(b *testing.B) {
	b.Run("multihome", func(b *testing.B) {
		l, err := transport.Listen("127.0.0.1:0", nil)
		require.NoError(b, err)
		defer l.Close()
		c, err := transport.Dial(context.Background(), l.Addr().String(), nil)
		require.NoError(b, err)
		s, err := l.AcceptAssociation(context.Background())
		require.NoError(b, err)
		small(b, func(p []byte) error {
			return c.WriteMessage(p, nil)
		}, func(p []byte) error {
			_, _, err := s.ReadMessage(p)
			return err
		})
	})
	b.Run("pion", func(b *testing.B) {
		cs, ss := pionStreams(b)
		w := limited{cs}
		small(b, func(p []byte) error {
			_, err := w.Write(p)
			return err
		}, func(p []byte) error {
			_, err := ss.Read(p)
			return err
		})
	})
}

// small sends b.N messages.
func small(b *testing.B, write, read func(p []byte) error) {
	b.ReportAllocs()
	p, done := make([]byte, 64), make(chan error, 1)
	b.ResetTimer()
	go func() {
		in := make([]byte, 2048)
		for range b.N {
			if err := read(in); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range b.N {
		if err := write(p); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, <-done)
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e3, "kmsg/s")
}

// bulkOurs moves bytes between two ends of ours; cfg is that of the one who dials.
func bulkOurs(b *testing.B, cfg *transport.Config) {
	l, err := transport.Listen("127.0.0.1:0", nil)
	require.NoError(b, err)
	defer l.Close()
	c, err := transport.Dial(context.Background(), l.Addr().String(), cfg)
	require.NoError(b, err)
	s, err := l.Accept()
	require.NoError(b, err)
	bulk(b, c, s)
}

// limited keeps pion's unbounded send buffer at a size like ours: its Write never waits.
type limited struct{ s *sctp.Stream }

func (l limited) Write(p []byte) (int, error) {
	for l.s.BufferedAmount() > 1<<20 {
		ch := make(chan struct{}, 1)
		l.s.SetBufferedAmountLowThreshold(1 << 19)
		l.s.OnBufferedAmountLow(func() {
			select {
			case ch <- struct{}{}:
			default:
			}
		})
		if l.s.BufferedAmount() > 1<<20 {
			<-ch
		}
	}
	return l.s.Write(p)
}

func udpPair(b *testing.B) (net.Conn, net.Conn) {
	x, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(b, err)
	y, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(b, err)
	xa, ya := x.LocalAddr().(*net.UDPAddr), y.LocalAddr().(*net.UDPAddr)
	x.Close()
	y.Close()
	c, err := net.DialUDP("udp", xa, ya)
	require.NoError(b, err)
	d, err := net.DialUDP("udp", ya, xa)
	require.NoError(b, err)
	for _, u := range []*net.UDPConn{c, d} {
		u.SetReadBuffer(2 << 20)
		u.SetWriteBuffer(2 << 20)
	}
	return c, d
}

// bulk moves b.N blocks of 16 KiB.
func bulk(b *testing.B, w io.Writer, r io.Reader) {
	const block = 16 << 10
	b.SetBytes(block)
	b.ReportAllocs()
	buf := make([]byte, block)
	done := make(chan error, 1)
	b.ResetTimer()
	go func() {
		in := make([]byte, 64<<10)
		left := b.N * block
		for left > 0 {
			n, err := r.Read(in)
			if err != nil {
				done <- err
				return
			}
			left -= n
		}
		done <- nil
	}()
	for range b.N {
		if _, err := w.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, <-done)
	b.StopTimer()
}
