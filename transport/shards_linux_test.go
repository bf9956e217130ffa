package transport_test

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/go-multihome/multihome/transport"
)

// BenchmarkShards compares a listener with one socket with one that has as many as there are processors, in turn and in the same
// process as those who dial: the ratio is the time that one socket takes for what takes the others one. Buffers are larger than
// usual, or losses would be all that is measured: what shards gain by having a buffer each is another matter.
func BenchmarkShards(b *testing.B) {
	for _, n := range []int{64, 1000} {
		for _, w := range []struct {
			name        string
			size, count int
			echo        bool
		}{
			{"messages of 64 bytes", 64, 32_000 / n, false},
			{"64 bytes there and back", 64, 8000 / n, true},
			{"bulk", 32 << 10, 2000 / n, false},
		} {
			b.Run(fmt.Sprintf("%d associations/%s", n, w.name), func(b *testing.B) {
				compareShards(b, n, max(2, runtime.GOMAXPROCS(0)), func(c *crowd) { c.round(b, w.size, w.count, w.echo) })
			})
		}
	}
}

func compareShards(b *testing.B, n, shards int, round func(c *crowd)) {
	var crowds [2]*crowd
	var took, worked [2]time.Duration
	for i := range crowds {
		crowds[i] = newCrowd(b, n, &transport.Config{Shards: []int{1, shards}[i], Memory: 1 << 30, SocketReadBuffer: 64 << 20})
		defer crowds[i].close()
		round(crowds[i]) // congestion windows and path MTUs are found
	}
	b.ResetTimer()
	for i := range 2 * b.N {
		k := (i ^ i>>1) & 1 // a, b, b, a: neither always comes first
		start, before := time.Now(), processorTime()
		round(crowds[k])
		took[k] += time.Since(start)
		worked[k] += processorTime() - before
	}
	b.StopTimer()
	b.ReportMetric(float64(took[0])/float64(took[1]), "time-ratio")
	b.ReportMetric(float64(worked[0])/float64(worked[1]), "cpu-ratio")
	b.ReportMetric(float64(took[0].Milliseconds())/float64(b.N), "ms/round-of-one")
	for i, c := range crowds {
		st := c.l.SocketStats()
		b.ReportMetric(float64(st.Overflows)/float64(b.N), []string{"lost/round-of-one", "lost/round"}[i])
	}
}

// processorTime is what the process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
