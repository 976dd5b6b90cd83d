package application

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// told records what is published, in virtual time.
type told struct {
	mu    sync.Mutex
	begun time.Time
	all   []tale

	refused string // it fails to take this
}

type tale struct {
	at   time.Duration
	what string
}

func (b *told) Publish(_ context.Context, _ string, payload []byte) error {
	sig, _, err := readSignal(payload)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if string(sig.Bytes) == b.refused {
		return domain.ErrAlone
	}
	b.all = append(b.all, tale{time.Since(b.begun), string(sig.Bytes)})
	return nil
}

func (b *told) refuse(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused = what
}

func (b *told) Subscribe(string, func(ports.Signal)) (func(), error) { return func() {}, nil }

// stateEncoder writes of a hint who and what.
type stateEncoder struct{ ports.Encoder }

func (stateEncoder) Hint(h domain.Hint) ports.Frame {
	return ports.Frame{Bytes: []byte(string(h.User) + " " + h.State + string(rune('0'+h.Seq)))}
}

// tellHints runs a scenario in virtual time and returns what went out, and how much is remembered at the end.
func tellHints(t *testing.T, scenario func(tell func(kind domain.EventKind, user, state string, seq int64))) (all []tale, left int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		bus := &told{begun: time.Now()}
		h := NewHints(bus, stateEncoder{}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = h.Run(ctx) }()
		scenario(func(kind domain.EventKind, user, state string, seq int64) {
			h.Tell(ctx, domain.Hint{Kind: kind, User: domain.UserID(user), State: state, Seq: seq})
		})
		cancel()
		<-done
		all, left = bus.all, len(h.tells)
	})
	return all, left
}

func TestTypingStopsByItselfAfterSixSeconds(t *testing.T) {
	t.Parallel()
	got, left := tellHints(t, func(tell func(domain.EventKind, string, string, int64)) {
		tell(domain.HintTyping, "ann", domain.TypingStopped, 0) // of whom nobody has heard: nothing
		tell(domain.HintTyping, "ann", domain.TypingStarted, 0)
		time.Sleep(4 * time.Second)
		tell(domain.HintTyping, "ann", domain.TypingStarted, 0) // goes on
		time.Sleep(20 * time.Second)
	})
	if len(got) != 3 || got[0] != (tale{0, "ann start0"}) || got[1] != (tale{4 * time.Second, "ann start0"}) || got[2].what != "ann stop0" {
		t.Fatalf("told %v", got)
	}
	if at := got[2].at; at < 10*time.Second || at > 10*time.Second+2*hintTick {
		t.Errorf("stopped after %s, want 6 s after the last start", at)
	}
	if left != 0 {
		t.Errorf("%d are remembered", left)
	}
}

func TestHintsOfOneUserAndRoomGoOutOnceASecond(t *testing.T) {
	t.Parallel()
	got, left := tellHints(t, func(tell func(domain.EventKind, string, string, int64)) {
		for i := range 40 { // 4 s
			tell(domain.HintAcked, "ann", "", int64(i/5))
			tell(domain.HintRead, "ann", "", 1)
			tell(domain.HintAcked, "bob", "", 2)
			tell(domain.HintTyping, "ann", []string{domain.TypingStarted, domain.TypingStopped}[i%2], 0)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(20 * time.Second)
	})
	last := map[string]tale{}
	for _, told := range got {
		who := told.what[:len(told.what)-1]
		if before, ok := last[who]; ok && told.at-before.at < time.Second && who != "ann " {
			t.Errorf("%q at %s and again at %s", who, before.at, told.at)
		}
		last[who] = told
	}
	count := map[string]int{}
	for _, told := range got {
		count[told.what[:4]]++
	}
	if len(got) > 4*6 {
		t.Errorf("%d hints in 4 s of four kinds: %v", len(got), got)
	}
	if !slices.ContainsFunc(got, func(told tale) bool { return told.what == "ann 7" }) {
		t.Errorf("the latest receipt was never told: %v", got)
	}
	if typing := slices.DeleteFunc(slices.Clone(got), func(told tale) bool { return len(told.what) < len("ann stop0") }); len(typing) == 0 || typing[len(typing)-1].what != "ann stop0" {
		t.Errorf("typing ends as %v", typing)
	}
	if left != 0 {
		t.Errorf("%d are remembered", left)
	}
}

// TestReceiptsNeverSink: a device that lags behind the user's others tells nothing new.
func TestReceiptsNeverSink(t *testing.T) {
	t.Parallel()
	got, _ := tellHints(t, func(tell func(domain.EventKind, string, string, int64)) {
		for _, seq := range []int64{1, 9, 3} {
			tell(domain.HintAcked, "ann", "", seq)
		}
		time.Sleep(10 * time.Second)
	})
	if len(got) != 2 || got[0].what != "ann 1" || got[1].what != "ann 9" {
		t.Errorf("told %v", got)
	}
}
