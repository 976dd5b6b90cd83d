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

// wedgedStore does something once, right after a run has read what it is about.
type wedgedStore struct {
	ports.Store
	wedge atomic.Pointer[func()]
}

type preparingReader struct {
	ports.Reader
	prepares *bool
}

func (r preparingReader) StreamOf(room domain.RoomID, bot domain.BotID) (domain.Stream, bool, error) {
	*r.prepares = true
	return r.Reader.StreamOf(room, bot)
}

func (s *wedgedStore) View(ctx context.Context, tenant domain.TenantID, fn func(ports.Reader) error) error {
	var prepares bool
	err := s.Store.View(ctx, tenant, func(r ports.Reader) error { return fn(preparingReader{r, &prepares}) })
	if prepares {
		if wedge := s.wedge.Swap(nil); wedge != nil {
			(*wedge)()
		}
	}
	return err
}

// hands hands a room off, on another node, whose order to be silent is lost.
func (p *theatre) hands(room domain.RoomID, modes ...domain.HandoffMode) {
	for _, mode := range modes {
		p.must(func(tx ports.Tx) error {
			_, err := tx.SetHandoff(room, domain.Handoff{Mode: mode}, time.Now())
			return err
		})
	}
}

func (p *theatre) must(write func(ports.Tx) error) {
	if err := p.store.Update(context.Background(), p.tenant, write); err != nil {
		p.t.Error(err)
	}
}

// TestWhatWasKeptBeforeAHandoffIsNoMessage, whatever whoever ends the answer finds, and though the room is handed back by then.
func TestWhatWasKeptBeforeAHandoffIsNoMessage(t *testing.T) {
	t.Parallel()
	for found, play := range map[string]func(p *theatre, room domain.RoomID, bot domain.BotID, wedge func(func())){
		"that people answer": func(p *theatre, room domain.RoomID, _ domain.BotID, wedge func(func())) {
			p.hands(room, domain.HandoffHuman)
			wedge(func() { p.hands(room, domain.HandoffBot) })
		},
		"that there is no such bot": func(p *theatre, room domain.RoomID, bot domain.BotID, _ func(func())) {
			p.hands(room, domain.HandoffHuman, domain.HandoffBot)
			p.must(func(tx ports.Tx) error { return tx.RemoveBot(bot) })
		},
	} {
		t.Run(found, func(t *testing.T) {
			t.Parallel()
			store := &wedgedStore{}
			inTheatreOver(t, func(s ports.Store) ports.Store { store.Store = s; return store }, func(p *theatre) {
				bot := p.bot()
				room := p.group("ann", bot.ID.String())
				p.dies(bot, room, "so far")
				play(p, room, bot.ID, func(do func()) { store.wedge.Store(&do) })
				p.openTheatre()
				time.Sleep(time.Minute)
				_, open, err := streamOf(p, room)
				if h := p.history(room); len(h) != 1 || open || err != nil || p.runner.Stats().Failed != 1 {
					t.Errorf("history %+v, open %v, %v, %+v", h, open, err, p.runner.Stats())
				}
			})
		})
	}
}

// TestAnAnswerThatPeopleHaveTakenOverSaysSo: its server stopped before a word.
func TestAnAnswerThatPeopleHaveTakenOverSaysSo(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		p.model.plays(says(20*time.Second, "late"))
		room := p.group("ann", p.bot().ID.String())
		ann := p.connect("ann", "d")
		p.say("ann", room, "Hi?")
		time.Sleep(3 * time.Second)
		p.closeTheatre()
		p.hands(room, domain.HandoffHuman)
		p.openTheatre()
		time.Sleep(32 * time.Second) // the lease
		if got, want := ann.shown(), []string{"message Hi?", `start 1 ""`, "handoff", `error HANDED_OFF ""`}; !slices.Equal(got, want) {
			t.Errorf("ann was shown %q, want %q", got, want)
		}
	})
}

// TestAHandoffBeforeAnAnswerBeginsDecidesByWhoAnswersThen: handed back the question is the bot's to answer, else nobody's.
func TestAHandoffBeforeAnAnswerBeginsDecidesByWhoAnswersThen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		modes []domain.HandoffMode
		want  []string
	}{
		{[]domain.HandoffMode{domain.HandoffHuman}, []string{"Hi?"}},
		{[]domain.HandoffMode{domain.HandoffHuman, domain.HandoffBot}, []string{"Hi?", "so far"}},
	} {
		store := &wedgedStore{}
		inTheatreOver(t, func(s ports.Store) ports.Store { store.Store = s; return store }, func(p *theatre) {
			p.model.plays(says(time.Second, "so", " far"))
			room := p.group("ann", p.bot().ID.String())
			ann := p.connect("ann", "d")
			wedge := func() { p.hands(room, c.modes...) }
			store.wedge.Store(&wedge)
			p.say("ann", room, "Hi?")
			time.Sleep(5 * time.Second)
			var said []string
			for _, m := range p.history(room) {
				said = append(said, m.Content)
			}
			if !slices.Equal(said, c.want) || len(p.model.questions()) != len(c.want)-1 {
				t.Errorf("after %q: %q, %d questions; ann was shown %q", c.modes, said, len(p.model.questions()), ann.shown())
			}
			stats, err := p.store.OutboxStats(context.Background())
			if _, open, _ := streamOf(p, room); open || err != nil || stats[domain.LaneBot].Waiting != 0 {
				t.Errorf("after %q: an answer is open: %v, %d runs are left, %v", c.modes, open, stats[domain.LaneBot].Waiting, err)
			}
		})
	}
}

// stumblingStore cannot store the second attempt of an answer, as often as it is told.
type stumblingStore struct {
	ports.Store
	fails atomic.Int32
	err   error
}

type stumblingTx struct {
	ports.Tx
	store *stumblingStore
}

func (t stumblingTx) OpenStream(hold domain.Hold, s domain.Stream) (ports.StreamNote, error) {
	if s.Attempt == 2 && t.store.fails.Add(-1) >= 0 {
		return ports.StreamNote{}, t.store.err
	}
	return t.Tx.OpenStream(hold, s)
}

func (s *stumblingStore) Update(ctx context.Context, tenant domain.TenantID, fn func(ports.Tx) error) error {
	return s.Store.Update(ctx, tenant, func(tx ports.Tx) error { return fn(stumblingTx{tx, s}) })
}

// TestAnAnswerIsTriedAgainThoughTheStoreIsBusyThen.
func TestAnAnswerIsTriedAgainThoughTheStoreIsBusyThen(t *testing.T) {
	t.Parallel()
	for _, err := range []error{domain.ErrBusy, domain.ErrUnavailable} {
		store := &stumblingStore{err: err}
		store.fails.Store(3)
		inTheatreOver(t, func(s ports.Store) ports.Store { store.Store = s; return store }, func(p *theatre) {
			p.model.plays(fails(&ports.ModelError{Code: domain.StreamRefused, Status: 500, Retryable: true}), says(0, "here"))
			room := p.group("ann", p.bot().ID.String())
			ann := p.connect("ann", "d")
			p.say("ann", room, "Hi?")
			time.Sleep(5 * time.Second)
			if got, want := ann.shown(), []string{"message Hi?", `start 1 ""`, `start 2 ""`, "delta 0+here", "end here"}; !slices.Equal(got, want) {
				t.Errorf("with %v ann was shown %q, want %q", err, got, want)
			}
		})
	}
}
