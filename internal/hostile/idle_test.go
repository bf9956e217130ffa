package hostile

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/needs"
	"github.com/go-multihome/multihome/transport"
)

// mostIdle is what one end of an idle association may hold, in bytes.
const mostIdle = 4096

// memory is what the process holds after the collector has run: heap in use and stacks.
func memory() uint64 {
	for range 3 { // pools are emptied by the second run
		runtime.GC()
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// Two thousand idle associations with two locators on each side, dialled and accepted in one process, cost at most 4 KiB
// per end, the sockets included, no goroutine and no descriptor each. The heap profile goes where MULTIHOME_HEAP says.
func TestIdleAssociations(t *testing.T) {
	n, most := 2000, mostIdle
	if needs.Race { // which has pools lose batches, and makes everything slow
		n, most = 150, 8*mostIdle
	}
	before := memory()
	routines, files := runtime.NumGoroutine(), descriptors(t)
	// An association counts as idle, and its heartbeats become rare, a while after its last use. Before that thousands of
	// paths ask each second, which is a load with memory of its own; so here the while is short.
	watch := heartbeat.DefaultConfig()
	watch.IdleAfter = 100 * time.Millisecond
	l, err := transport.Listen("127.0.0.1:0,127.0.0.2:0", &transport.Config{Backlog: n, Heartbeat: &watch})
	require.NoError(t, err)
	cfg := &transport.Config{Local: "127.0.0.1,127.0.0.2", Heartbeat: &watch}
	dialled, accepted := make([]*transport.Association, n), make([]*transport.Association, n)
	var work sync.WaitGroup
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	for range 16 {
		work.Go(func() {
			for i := range next {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				dialled[i], _ = transport.Dial(ctx, l.Addr().String(), cfg)
				cancel()
			}
		})
	}
	for i := range accepted {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		accepted[i], err = l.AcceptAssociation(ctx)
		cancel()
		require.NoError(t, err)
	}
	work.Wait()
	ends := append(accepted, dialled...)
	for _, a := range ends {
		require.NotNil(t, a)
		require.Eventually(t, func() bool { return measured(a) == 4 }, time.Minute, 10*time.Millisecond, "%+v", a.Paths())
	}
	routines, files = runtime.NumGoroutine()-routines, descriptors(t)-files
	after, each := uint64(0), 0
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(time.Second) {
		// What served the crowd of setups is given up after a while.
		after = memory()
		each = int(after-before) / len(ends)
		if each <= most || time.Now().After(until) {
			break
		}
	}
	if name := os.Getenv("MULTIHOME_HEAP"); name != "" {
		f, err := os.Create(name)
		require.NoError(t, err)
		require.NoError(t, pprof.Lookup("heap").WriteTo(f, 0))
		require.NoError(t, f.Close())
	}
	t.Logf("%d bytes per end, %d goroutines and %d descriptors for %d ends", each, routines, files, len(ends))
	require.LessOrEqual(t, each, most)
	require.Less(t, routines, 20, "readers of four sockets, and what the tests themselves need")
	require.Less(t, files, 20)
	for _, a := range ends {
		require.NoError(t, a.Err())
	}
	for _, a := range dialled {
		require.NoError(t, a.Abort(""))
	}
	for _, a := range accepted {
		a.Abort("")
	}
	require.NoError(t, l.Close())
}

// active counts the paths that are.
func active(a *transport.Association) (n int) {
	for _, p := range a.Paths() {
		if p.State == heartbeat.Active {
			n++
		}
	}
	return n
}

// measured counts the paths that answered a heartbeat, or the handshake, at least once. On a busy machine some may have
// failed to since.
func measured(a *transport.Association) (n int) {
	for _, p := range a.Paths() {
		if p.State != heartbeat.Unconfirmed && p.PacketsReceived > 0 {
			n++
		}
	}
	return n
}

// descriptors counts the open files of the process, where the system shows them.
func descriptors(t *testing.T) int {
	fs, err := os.ReadDir("/proc/self/fd")
	if runtime.GOOS == "linux" {
		require.NoError(t, err)
	}
	return len(fs)
}
