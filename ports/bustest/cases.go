package bustest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chatapi/chatapi/ports"
)

func reachesEverySubscription(t *testing.T, bus ports.Bus) {
	first, second := listen(t, bus, "c"), listen(t, bus, "c")
	publish(t, bus, "c", "hello")
	for _, l := range []*listener{first, second} {
		if got, lost := l.await("hello"); !lost && !slices.Equal(got, []string{"hello"}) {
			t.Errorf("got %q, want one hello", got)
		}
	}
}

func reachesNoOtherChannel(t *testing.T, bus ports.Bus) {
	other := []*listener{listen(t, bus, "b"), listen(t, bus, "c."), listen(t, bus, "C"), listen(t, bus, "*")}
	publish(t, bus, "c", "hello")
	for i, channel := range []string{"b", "c.", "C", "*"} {
		settle(t, bus, channel)
		if got := other[i].payloads(); slices.Contains(got, "hello") {
			t.Errorf("channel %q got what was published to c: %q", channel, got)
		}
	}
}

// publishingToNobody says nothing of what a subscription made right after it gets: from another node it may be on its way.
func publishingToNobody(t *testing.T, bus ports.Bus) {
	publish(t, bus, "nobody", "hello")
	late := listen(t, bus, "nobody")
	publish(t, bus, "nobody", "again")
	if got, lost := late.await("again"); !lost && got[len(got)-1] != "again" {
		t.Errorf("got %q, want what was published after subscribing to be the last", got)
	}
}

func payloadsComeAsTheyWere(t *testing.T, bus ports.Bus) {
	l := listen(t, bus, "c")
	want := []string{"\x00\xff\r\n", "größer 🙂", strings.Repeat("x", 64<<10), "end"}
	publish(t, bus, "c", want...)
	if got, lost := l.await("end"); !lost && !slices.Equal(got, want) {
		t.Errorf("got %.200q, want %.200q", got, want)
	}
}

// comeInOrder has four publishers: each one's signals come in its order, none twice, and none missing unless a Lost
// signal says so.
func comeInOrder(t *testing.T, bus ports.Bus) {
	const publishers, each = 4, 250
	l := listen(t, bus, "c")
	var running sync.WaitGroup
	for p := range publishers {
		running.Go(func() {
			for n := range each {
				publish(t, bus, "c", fmt.Sprintf("%d %d", p, n))
			}
		})
	}
	running.Wait()
	settle(t, bus, "c")
	got, lost := l.await("settled")
	next := [publishers]int{}
	for _, payload := range got[:len(got)-1] {
		var p, n int
		if _, err := fmt.Sscanf(payload, "%d %d", &p, &n); err != nil {
			t.Fatalf("%q came and was not published", payload)
		}
		if n < next[p] || n > next[p] && !lost {
			t.Fatalf("signal %d of publisher %d came when %d was next; lost: %v", n, p, next[p], lost)
		}
		next[p] = n + 1
	}
	for p, n := range next {
		if n != each && !lost {
			t.Errorf("%d signals of publisher %d came, want %d, and no Lost signal", n, p, each)
		}
	}
}

func callsDoNotOverlap(t *testing.T, bus ports.Bus) {
	const publishers, each = 4, 100
	var inside, overlaps atomic.Int64
	cancel, err := bus.Subscribe("c", func(ports.Signal) {
		if inside.Add(1) != 1 {
			overlaps.Add(1)
		}
		inside.Add(-1)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	var running sync.WaitGroup
	for range publishers {
		running.Go(func() { publish(t, bus, "c", slices.Repeat([]string{"x"}, each)...) })
	}
	running.Wait()
	settle(t, bus, "c")
	if n := overlaps.Load(); n != 0 {
		t.Errorf("%d calls began while another was running", n)
	}
}

// nothingAfterCancel cancels in the middle of a stream: from the return of cancel on the subscriber is left alone.
func nothingAfterCancel(t *testing.T, bus ports.Bus) {
	var over atomic.Bool
	var late atomic.Int64
	cancel, err := bus.Subscribe("c", func(ports.Signal) {
		if over.Load() {
			late.Add(1)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() { publish(t, bus, "c", slices.Repeat([]string{"x"}, 200)...) })
	}
	cancel()
	over.Store(true)
	running.Wait()
	settle(t, bus, "c")
	if n := late.Load(); n != 0 {
		t.Errorf("%d signals came after cancel had returned", n)
	}
}

func cancelLeavesOthers(t *testing.T, bus ports.Bus) {
	before, gone, after := listen(t, bus, "c"), listen(t, bus, "c"), listen(t, bus, "c")
	gone.cancel()
	publish(t, bus, "c", "hello")
	before.await("hello")
	after.await("hello")
	if got := gone.payloads(); len(got) != 0 {
		t.Errorf("the cancelled one got %q", got)
	}
}

func cancelTwice(t *testing.T, bus ports.Bus) {
	first, second := listen(t, bus, "c"), listen(t, bus, "c")
	first.cancel()
	first.cancel()
	publish(t, bus, "c", "hello")
	second.await("hello")
}

func subscribingBesidePublishers(t *testing.T, bus ports.Bus) {
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() { publish(t, bus, "c", slices.Repeat([]string{"x"}, 200)...) })
	}
	for range 4 {
		running.Go(func() {
			for range 50 {
				cancel, err := bus.Subscribe("c", func(ports.Signal) {})
				if err != nil {
					t.Errorf("Subscribe: %v", err)
					return
				}
				cancel()
			}
		})
	}
	running.Wait()
	settle(t, bus, "c")
}
