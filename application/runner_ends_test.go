package application_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// TestAHandoffThatWasTakenBackAtOnceEndsTheAnswerAllTheSame, when the order to be silent was lost and the run finds neither
// before it looks at the room again.
func TestAHandoffThatWasTakenBackAtOnceEndsTheAnswerAllTheSame(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Duration{2550 * time.Millisecond, 9900 * time.Millisecond} { // in its midst, and when the run looks no more
		inTheatre(t, func(p *theatre) {
			room := p.sings()
			ann := p.connect("ann", "d")
			p.say("ann", room, "Sing")
			time.Sleep(at)
			for _, h := range []domain.Handoff{{Mode: domain.HandoffHuman}, {Mode: domain.HandoffBot}} { // on another node
				err := p.store.Update(context.Background(), p.tenant, func(tx ports.Tx) error {
					_, err := tx.SetHandoff(room, h, time.Now())
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Millisecond)
			}
			p.connect("bob", "late") // has the run tell all of it
			time.Sleep(20 * time.Second)
			if h := p.history(room); len(h) != 1 {
				t.Errorf("history %+v", h)
			}
			shown := ann.shown()
			behind := shown[slices.Index(shown, "handoff"):]
			if len(behind) != 3 || behind[1] != "handoff" || behind[2][:16] != "error HANDED_OFF" {
				t.Errorf("behind the handoff ann was shown %q", behind)
			}
		})
	}
}

// forgetfulStore does what it is asked and does not say so, where that ends an answer, as often as it is told to.
type forgetfulStore struct {
	ports.Store
	forgets atomic.Int32
}

type endingTx struct {
	ports.Tx
	ended bool
}

func (t *endingTx) EndStream(hold domain.Hold, id domain.MessageID) error {
	t.ended = true
	return t.Tx.EndStream(hold, id)
}

func (s *forgetfulStore) Update(ctx context.Context, tenant domain.TenantID, fn func(ports.Tx) error) error {
	var ended bool
	err := s.Store.Update(ctx, tenant, func(tx ports.Tx) error {
		spied := &endingTx{Tx: tx}
		err := fn(spied)
		ended = spied.ended
		return err
	})
	if err == nil && ended && s.forgets.Add(-1) >= 0 {
		return domain.ErrUnavailable
	}
	return err
}

// TestAnAnswerThatFailedIsToldAtOnce, also when the store has ended it and its word of that was lost.
func TestAnAnswerThatFailedIsToldAtOnce(t *testing.T) {
	t.Parallel()
	for lost := range int32(2) {
		store := &forgetfulStore{}
		store.forgets.Store(lost)
		inTheatreOver(t, func(s ports.Store) ports.Store { store.Store = s; return store }, func(p *theatre) {
			p.model.plays(fails(&ports.ModelError{Code: domain.StreamRefused, Status: 401}))
			room := p.group("ann", p.bot().ID.String())
			ann := p.connect("ann", "d")
			p.say("ann", room, "Hi?")
			time.Sleep(time.Second)
			if got, want := ann.shown(), []string{"message Hi?", `start 1 ""`, `error MODEL_ERROR ""`}; !slices.Equal(got, want) {
				t.Errorf("with %d words lost ann was shown %q, want %q", lost, got, want)
			}
			if stats := p.runner.Stats(); stats.Failed != 1 || stats.Lost != 0 {
				t.Errorf("with %d words lost %+v", lost, stats)
			}
		})
	}
}
