package transport_test

import (
	"context"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/transport"
)

// BenchmarkPingPong is one small message there and back over the loopback.
func BenchmarkPingPong(b *testing.B) {
	c, s, l := pair(b, loop, nil)
	defer l.Close()
	defer closeAll(c, s)
	go io.Copy(s, struct{ io.Reader }{s})
	p := make([]byte, 64)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if _, err := c.Write(p); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, p); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFlow is one direction of one association in writes of 64 KiB.
func BenchmarkFlow(b *testing.B) {
	c, s, l := pair(b, loop, nil)
	defer l.Close()
	defer closeAll(c, s)
	const size = 64 << 10
	p := make([]byte, size)
	done := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.Discard, struct{ io.Reader }{s}, int64(b.N)*size)
		done <- err
	}()
	b.SetBytes(size)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if _, err := c.Write(p); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, <-done)
}

// BenchmarkDial is a handshake and an orderly end.
func BenchmarkDial(b *testing.B) {
	l, err := transport.Listen(loop, nil)
	require.NoError(b, err)
	defer l.Close()
	go func() {
		for {
			a, err := l.AcceptAssociation(context.Background())
			if err != nil {
				return
			}
			go func() {
				a.Read(make([]byte, 1))
				a.Close()
			}()
		}
	}()
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		a, err := transport.Dial(context.Background(), l.Addr().String(), nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := a.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// idle returns the memory one end of an idle association holds, measured over n associations, and how many goroutines
// they added.
func idle(t testing.TB, n int) (bytes float64, goroutines int) {
	l, err := transport.Listen(loop, nil)
	require.NoError(t, err)
	held := make([]*transport.Association, 0, 2*n+2)
	add := func() {
		accepted, dialled := connect(t, l, nil)
		held = append(held, accepted, dialled)
	}
	measure := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	add()
	before, routines := measure(), runtime.NumGoroutine()
	for range n {
		add()
	}
	after := measure()
	// Timers run on goroutines of their own, of which a busy machine has some at any time; none stays.
	goroutines = runtime.NumGoroutine() - routines
	for end := time.Now().Add(10 * time.Second); goroutines > 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		goroutines = min(goroutines, runtime.NumGoroutine()-routines)
	}
	for _, a := range held {
		a.Abort("")
	}
	require.NoError(t, l.Close())
	return (float64(after) - float64(before)) / float64(2*n), goroutines
}

func BenchmarkIdle(b *testing.B) {
	for b.Loop() {
		bytes, goroutines := idle(b, 2000)
		b.ReportMetric(bytes, "B/end")
		b.ReportMetric(float64(goroutines), "goroutines")
	}
}

// An idle association costs a few kilobytes and no goroutine.
func TestIdleMemory(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector's own memory counts, too: goroutines only")
	}
	bytes, goroutines := idle(t, 500)
	require.LessOrEqual(t, goroutines, 0)
	t.Logf("%.0f bytes per end", bytes)
	if !raceEnabled {
		require.Less(t, bytes, 8192.0)
	}
}

// Once a flow runs, a message there and back allocates nothing in the whole process.
func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Log("under the race detector sync.Pool drops what it is given at random: nothing to measure")
		return
	}
	c, s, l := pair(t, loop, nil)
	defer l.Close()
	defer closeAll(c, s)
	go io.Copy(s, struct{ io.Reader }{s})
	p := make([]byte, 4096)
	turn := func() {
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, p); err != nil {
			t.Fatal(err)
		}
	}
	for range 2000 {
		turn()
	}
	// Now and then a garbage collection empties the pools.
	require.Less(t, testing.AllocsPerRun(5000, turn), 1.0)
}
