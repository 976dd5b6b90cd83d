package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

type proberFunc func(context.Context) error

func (p proberFunc) Probe(ctx context.Context) error { return p(ctx) }

func TestTheStoreIsProbedAtMostOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probes := 0
		p := newProbe(proberFunc(func(context.Context) error { probes++; return nil }), slog.New(slog.DiscardHandler))
		for second := 1; second <= 3; second++ {
			for range 10 {
				if err := p.check(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if probes != second {
				t.Errorf("%d probes in second %d, want one a second", probes, second)
			}
			time.Sleep(probeMemory)
		}
	})
}

func TestAFailureIsToldForASecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("disk full")
		err := broken
		p := newProbe(proberFunc(func(context.Context) error { return err }), slog.New(slog.DiscardHandler))
		if got := p.check(t.Context()); got != broken {
			t.Errorf("%v, want %v", got, broken)
		}
		err = nil
		time.Sleep(probeMemory)
		if got := p.check(t.Context()); got != nil {
			t.Errorf("%v after the repair, want nil", got)
		}
	})
}

func TestAStoreThatStandsStillIsUnhealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := newProbe(proberFunc(func(context.Context) error { <-release; return nil }), slog.New(slog.DiscardHandler))
		start := time.Now()
		if err := p.check(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want DeadlineExceeded", err)
		}
		if took := time.Since(start); took != probeTimeout {
			t.Errorf("told after %v, want %v", took, probeTimeout)
		}
		close(release)
		synctest.Wait()
		if err := p.check(t.Context()); err != nil {
			t.Errorf("%v once the store moves again, want nil", err)
		}
	})
}
