package bustest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/ports"
)

// patience is how long a signal may take: far above what any bus needs, since a loaded machine is no failure.
const patience = 10 * time.Second

// listener is a subscription that keeps what it was given.
type listener struct {
	t      *testing.T
	cancel func()

	mu      sync.Mutex
	signals []ports.Signal
	changed chan struct{} // closed and replaced at every signal
}

func listen(t *testing.T, bus ports.Bus, channel string) *listener {
	t.Helper()
	l := &listener{t: t, changed: make(chan struct{})}
	cancel, err := bus.Subscribe(channel, l.deliver)
	if err != nil {
		t.Fatalf("Subscribe(%q): %v", channel, err)
	}
	l.cancel = cancel
	return l
}

func (l *listener) deliver(s ports.Signal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.signals = append(l.signals, s)
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *listener) snapshot() (signals []ports.Signal, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.signals), l.changed
}

// payloads are what has come so far, without signals that only say that something was lost.
func (l *listener) payloads() []string {
	signals, _ := l.snapshot()
	return payloadsOf(signals)
}

func payloadsOf(signals []ports.Signal) []string {
	var texts []string
	for _, s := range signals {
		if s.Payload != nil {
			texts = append(texts, string(s.Payload))
		}
	}
	return texts
}

// await waits until last has come, or a Lost signal after which it need not come, and returns what came.
func (l *listener) await(last string) (payloads []string, lost bool) {
	l.t.Helper()
	deadline := time.After(patience)
	for {
		signals, changed := l.snapshot()
		lost = slices.ContainsFunc(signals, func(s ports.Signal) bool { return s.Lost })
		if payloads = payloadsOf(signals); lost || slices.Contains(payloads, last) {
			return payloads, lost
		}
		select {
		case <-changed:
		case <-deadline:
			l.t.Fatalf("%q has not come within %s, nor a Lost signal; came: %.500q", last, patience, payloads)
		}
	}
}

func publish(t *testing.T, bus ports.Bus, channel string, payloads ...string) {
	t.Helper()
	for _, p := range payloads {
		if err := bus.Publish(t.Context(), channel, []byte(p)); err != nil {
			t.Errorf("Publish(%q): %v", channel, err)
		}
	}
}

// settle waits until everything published before it has been handed out: signals of one publisher keep their order.
func settle(t *testing.T, bus ports.Bus, channel string) {
	t.Helper()
	witness := listen(t, bus, channel)
	defer witness.cancel()
	publish(t, bus, channel, "settled")
	witness.await("settled")
}
