package driver

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/internal/netlab"
	"github.com/go-multihome/multihome/internal/udp"
)

// BenchmarkCorridor moves 16 KiB blocks one way over one association and says what they cost in processor time, both ends
// and the kernel together: that figure suffers least from what else the machine does.
func BenchmarkCorridor(b *testing.B) {
	plain := buffers
	plain.NoOffload = true
	for _, tc := range []struct {
		name string
		opts [2]udp.Options
		most int // size of packets
	}{
		{"loopback", [2]udp.Options{buffers, buffers}, 0},
		{"small packets", [2]udp.Options{buffers, buffers}, small},
		{"small packets without offload", [2]udp.Options{plain, plain}, small},
		{"small packets from a sender without offload", [2]udp.Options{plain, buffers}, small},
	} {
		b.Run(tc.name, func(b *testing.B) {
			corridorCost(b, tc.most, func(host int) (udp.Socket, error) { return loopback(tc.opts[host])(host) })
		})
	}
	b.Run("ethernet", func(b *testing.B) {
		needs.Netns(b)
		lab := netlab.ForTest(b, netlab.Options{Paths: 1})
		hosts := []*netlab.Host{lab.A, lab.B}
		corridorCost(b, 0, func(host int) (s udp.Socket, err error) {
			h := hosts[host]
			err = h.Do(func() (err error) {
				s, err = udp.Listen(context.Background(), netip.AddrPortFrom(h.Addr4(0), 0), buffers)
				return err
			})
			return s, err
		})
	})
}

func corridorCost(b *testing.B, most int, open openFunc) {
	x := newCorridor(b, open, most)
	defer x.close()
	out, in := x.c.Zero(), x.s.Zero()
	const block = 16 << 10
	p, q := make([]byte, block), make([]byte, 4*block)
	done := make(chan error, 1)
	b.SetBytes(block)
	b.ReportAllocs()
	b.ResetTimer()
	before := processorTime()
	go func() {
		for left := b.N * block; left > 0; {
			n, err := in.Read(q)
			if err != nil {
				done <- err
				return
			}
			left -= n
		}
		done <- nil
	}()
	for range b.N {
		if _, err := out.Write(p, block, nil); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, <-done)
	b.StopTimer()
	b.ReportMetric(float64(processorTime()-before)/float64(b.N*block), "cpu-s/GB")
	sent, answered := x.stats()
	b.ReportMetric(float64(sent.PacketsOut)/float64(answered.PacketsOut), "packets/SACK")
	b.ReportMetric(float64(sent.PacketsOut)/float64(max(sent.BatchesOut, 1)), "packets/call")
}

// processorTime is what the process has used.
func processorTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
