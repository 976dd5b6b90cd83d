package ws

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// TestMemoryPerIdleSocket prints what an idle socket costs; WS_TEST_IDLE sets how many are opened. The bound is
// generous: the figure depends on when the runtime gives stacks back.
func TestMemoryPerIdleSocket(t *testing.T) {
	sockets := 2000
	if n, err := strconv.Atoi(os.Getenv("WS_TEST_IDLE")); err == nil {
		sockets = n
	}
	f := newFixture(t)
	address := strings.TrimPrefix(f.listen(t), "ws://")
	startReaders(t, address, 10) // what the first sockets bring is not theirs
	eventually(t, "the first open", func() bool { return f.stats.frames.Load() >= 20 })
	before := settled()
	startReaders(t, address, sockets)
	eventually(t, "all open", func() bool { return f.stats.frames.Load() >= 2*int64(sockets+10) }) // connected, pong
	after := settled()
	per := func(a, b uint64) float64 { return (float64(a) - float64(b)) / float64(sockets) / 1024 }
	heap, stack, rss := per(after.heap, before.heap), per(after.stack, before.stack), per(after.rss, before.rss)
	t.Logf("%d idle sockets: %.1f KiB each (heap %.1f, stacks %.1f); resident %.1f KiB each", sockets, heap+stack, heap, stack, rss)
	if heap+stack > 16 {
		t.Errorf("an idle socket costs %.1f KiB, want at most 16", heap+stack)
	}
}

type footprint struct{ heap, stack, rss uint64 }

// settled is what the process holds once garbage is collected and stacks have shrunk.
func settled() footprint {
	for range 5 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	statm, _ := os.ReadFile("/proc/self/statm")
	var pages uint64
	if fields := strings.Fields(string(statm)); len(fields) > 1 {
		pages, _ = strconv.ParseUint(fields[1], 10, 64)
	}
	return footprint{m.HeapAlloc, m.StackInuse, pages * uint64(os.Getpagesize())}
}
