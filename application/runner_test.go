package application_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/adapters/secrets"
	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// theatre is a hall with bots, whose model plays what the test says.
type theatre struct {
	*hall
	runner       *application.Runner
	bots         *application.Bots
	model        *model
	closeTheatre func()
}

// model is a model that plays a script, one for each question; the last goes on.
type model struct {
	mu     sync.Mutex
	script []func(yield func(ports.Piece, error) bool)
	asked  []ports.Question
}

func (m *model) plays(script ...func(yield func(ports.Piece, error) bool)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.script = script
}

func (m *model) questions() []ports.Question {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.asked)
}

func (m *model) Answer(ctx context.Context, q ports.Question) iter.Seq2[ports.Piece, error] {
	m.mu.Lock()
	m.asked = append(m.asked, q)
	play := m.script[0]
	if len(m.script) > 1 {
		m.script = m.script[1:]
	}
	m.mu.Unlock()
	return func(yield func(ports.Piece, error) bool) {
		play(func(p ports.Piece, err error) bool {
			if ctx.Err() != nil {
				yield(ports.Piece{}, &ports.ModelError{Code: domain.StreamInterrupted, Cause: ports.CauseInterrupted})
				return false
			}
			return yield(p, err)
		})
	}
}

// says plays words, one every interval, and a finish.
func says(interval time.Duration, words ...string) func(func(ports.Piece, error) bool) {
	return func(yield func(ports.Piece, error) bool) {
		for _, w := range words {
			time.Sleep(interval)
			if !yield(ports.Piece{Text: w}, nil) {
				return
			}
		}
		yield(ports.Piece{Finish: domain.FinishStop, Usage: &ports.TokenUsage{Input: 5, Output: int64(len(words))}}, nil)
	}
}

// fails plays words and then an error.
func fails(err *ports.ModelError, words ...string) func(func(ports.Piece, error) bool) {
	return func(yield func(ports.Piece, error) bool) {
		for _, w := range words {
			if !yield(ports.Piece{Text: w}, nil) {
				return
			}
		}
		yield(ports.Piece{}, err)
	}
}

func inTheatre(t *testing.T, scenario func(p *theatre)) {
	t.Helper()
	inTheatreOver(t, nil, scenario)
}

// inTheatreOver plays where the node works through a store of the test's.
func inTheatreOver(t *testing.T, over func(ports.Store) ports.Store, scenario func(p *theatre)) {
	t.Helper()
	inHallOver(t, over, func(h *hall) {
		p := &theatre{hall: h, model: &model{}}
		p.answers(func(int, ports.Attempt) ports.Outcome {
			return ports.Outcome{Result: ports.Delivered, Status: 200, Answer: []byte(`{"system_prompt":"Be kind."}`)}
		})
		p.openTheatre()
		scenario(p)
		p.closeTheatre()
	})
}

func (p *theatre) openTheatre() {
	p.openTheatreOf(nil)
	time.Sleep(time.Second)
}

// openTheatreOf opens the stage of one node of several, whose runs are counted in slots.
func (p *theatre) openTheatreOf(slots *application.Slots) {
	sealer, err := secrets.New(make([]byte, 32))
	if err != nil {
		p.t.Fatal(err)
	}
	ids, clock, log := system.IDs{}, system.Clock{}, slog.New(slog.DiscardHandler)
	p.runner = application.NewRunner(application.RunnerDeps{
		Outbox: p.store, Log: p.store, Store: p.through, Tenants: p.identity, LLM: p.model, Courier: p.courier, Encoder: jsonEncoder{},
		Sealer: sealer, Bus: p.bus, IDs: ids, Clock: clock, Usage: application.NewUsage(p.store, clock, log), Logger: log, Slots: slots,
		Config: application.RunnerConfig{Idle: 30 * time.Second},
	})
	p.bots = application.NewBots(p.store, noPlaces{}, sealer, ids, clock, p.runner)
	p.messaging = application.NewMessaging(p.store, p.store, p.identity, ids, clock, p.courier, p.runner)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	runner := p.runner // of several the last one is asked
	go func() { defer close(done); _ = runner.Run(ctx) }()
	p.closeTheatre = func() {
		cancel()
		<-done
	}
}

func (p *theatre) bot() domain.Bot {
	bot, _, err := p.bots.Add(context.Background(), p.backend(), domain.BotPatch{
		Name: setTo("Ada"), BaseURL: setTo("https://models.example.com/v1"), Model: setTo("small"), Key: setTo("sk-1"), SystemPrompt: setTo("Be kind."),
	}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return bot
}

func setTo[T any](v T) domain.Setting[T] { return domain.Setting[T]{Set: true, To: &v} }

// dies has a process claim the run of a question, open its answer, keep some of it unless that is empty, and die.
func (p *theatre) dies(bot domain.Bot, room domain.RoomID, kept string) (domain.Hold, domain.Stream) {
	p.t.Helper()
	p.closeTheatre() // whoever claims now is the test
	p.say("ann", room, "Hi?")
	claims, _, err := p.store.Claim(context.Background(), ports.ClaimQuery{Lane: domain.LaneBot, Limit: 1, Lease: 10 * time.Second})
	if err != nil || len(claims) != 1 {
		p.t.Fatalf("%d claims, %v", len(claims), err)
	}
	hold := domain.Hold{Job: claims[0].ID, Fence: claims[0].Fence, Trigger: claims[0].Message}
	stream := domain.Stream{Message: domain.MessageID{7}, Room: room, Bot: bot.ID, ReplyTo: claims[0].Message, Attempt: 1, StartedAt: time.Now()}
	err = p.store.Update(context.Background(), p.tenant, func(tx ports.Tx) error {
		_, err := tx.OpenStream(hold, stream)
		if err == nil && kept != "" {
			_, err = tx.KeepStream(hold, stream.Message, kept)
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return hold, stream
}

func (p *theatre) say(user string, room domain.RoomID, text string) domain.Message {
	sent, err := p.messaging.Send(context.Background(), p.as(user), room, domain.Draft{Content: text}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return sent.Message
}

func (p *theatre) history(room domain.RoomID) []domain.Message {
	found, err := ports.View(context.Background(), p.store, p.tenant, func(r ports.Reader) ([]domain.Message, error) {
		return r.MessagesAfter(room, 0, 100)
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return found
}

// shown is what a client got of streams, messages and handoffs.
func (c *client) shown() (shown []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.got {
		switch {
		case f.Kind == "message.stream.start", f.Kind == "message.stream.delta", f.Kind == "message.stream.error", f.Stream != domain.MessageID{}:
			shown = append(shown, string(f.Bytes))
		case f.Kind == domain.EventMessage && f.Rev > 0: // not again
			shown = append(shown, "message "+string(f.Bytes))
		case f.Kind == domain.EventHandoff:
			shown = append(shown, "handoff")
		}
	}
	return shown
}

func meta(m domain.Message) (meta struct {
	Finish string `json:"finish_reason"`
	Error  string `json:"error"`
}) {
	_ = json.Unmarshal(m.Meta, &meta)
	return meta
}

func TestABotAnswersAUserAndEverybodySeesItComing(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		p.model.plays(says(time.Second, "Hé", "llo", " you"))
		bot := p.bot()
		room := p.group("ann", "bob", bot.ID.String())
		ann := p.connect("ann", "d")
		asked := p.say("ann", room, "Hi?")
		time.Sleep(2500 * time.Millisecond)
		bob := p.connect("bob", "d") // in the middle
		time.Sleep(5 * time.Second)
		if got, want := ann.shown(), []string{
			"message Hi?", `start 1 ""`, "delta 0+Hé", "delta 2+llo", "delta 5+ you", "end Héllo you",
		}; !slices.Equal(got, want) {
			t.Errorf("ann saw %q, want %q", got, want)
		}
		if got, want := bob.shown(), []string{"message Hi?", `start 1 "Héllo"`, "delta 5+ you", "end Héllo you"}; !slices.Equal(got, want) {
			t.Errorf("bob saw %q, want %q", got, want)
		}
		history := p.history(room)
		if len(history) != 2 || history[1].Sender != bot.ID.User() || history[1].SenderType != domain.SenderBot || history[1].Content != "Héllo you" ||
			history[1].ReplyTo != asked.ID || meta(history[1]).Finish != "stop" {
			t.Errorf("history %+v", history)
		}
		q := p.model.questions()
		if len(q) != 1 || q[0].Key.Reveal() != "sk-1" || q[0].System != "Be kind." || !slices.Equal(q[0].Turns, []ports.Turn{{Role: "user", Text: "Hi?"}}) {
			t.Errorf("asked %+v", q)
		}
		if got := p.connect("bob", "other").shown(); len(got) != 0 && got[len(got)-1] != "message Héllo you" {
			t.Errorf("who comes later sees %q", got)
		}
	})
}

// TestWhatComesMeanwhileIsAnsweredTogether by one further run, and bots answer no bots.
func TestWhatComesMeanwhileIsAnsweredTogether(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		p.model.plays(says(2*time.Second, "one"), says(time.Second, "two"))
		room := p.group("ann", p.bot().ID.String(), p.bot().ID.String())
		p.say("ann", room, "1")
		time.Sleep(time.Second)
		p.say("ann", room, "2")
		p.say("ann", room, "3")
		time.Sleep(30 * time.Second)
		var texts []string
		for _, m := range p.history(room) {
			texts = append(texts, m.Content)
		}
		if len(texts) != 7 || len(p.model.questions()) != 4 {
			t.Errorf("%q, %d questions", texts, len(p.model.questions()))
		}
	})
}

// TestEveryWayAnAnswerEnds: one end or one error for everybody who saw the start, and what was said is kept.
func TestEveryWayAnAnswerEnds(t *testing.T) {
	t.Parallel()
	busy := &ports.ModelError{Code: domain.StreamRateLimited, Status: 429, RetryAfter: 3 * time.Second, Retryable: true}
	broken := &ports.ModelError{Code: domain.StreamRefused, Status: 500, Retryable: true}
	denied := &ports.ModelError{Code: domain.StreamRefused, Status: 401}
	cut := &ports.ModelError{Code: domain.StreamInterrupted, Retryable: true}
	endless := func(yield func(ports.Piece, error) bool) {
		for yield(ports.Piece{Text: strings.Repeat("x", 999) + "ü"}, nil) {
			time.Sleep(time.Millisecond)
		}
	}
	for _, c := range []struct {
		name          string
		script        []func(func(ports.Piece, error) bool)
		last          string // frame
		stored        string // "-" for none
		finish, error string
		questions     int
	}{
		{"it is refused, twice", []func(func(ports.Piece, error) bool){fails(busy), fails(broken), says(0, "late")}, "end late", "late", "stop", "", 3},
		{"it is refused for good", []func(func(ports.Piece, error) bool){fails(broken)}, `error MODEL_ERROR ""`, "-", "", "", 3},
		{"nobody may ask", []func(func(ports.Piece, error) bool){fails(denied)}, `error MODEL_ERROR ""`, "-", "", "", 1},
		{"it is cut", []func(func(ports.Piece, error) bool){fails(cut, "half")}, "error half", "half", "error", "INTERRUPTED", 1},
		{"it says nothing", []func(func(ports.Piece, error) bool){says(0)}, `error EMPTY ""`, "-", "", "", 1},
		{"it says blanks", []func(func(ports.Piece, error) bool){says(0, " ", "\n")}, "error EMPTY", "-", "", "", 1},
		{"it never ends", []func(func(ports.Piece, error) bool){endless}, "end xxx", "x", "length", "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inTheatre(t, func(p *theatre) {
				p.model.plays(c.script...)
				room := p.group("ann", p.bot().ID.String())
				ann := p.connect("ann", "d")
				p.say("ann", room, "Hi?")
				time.Sleep(2 * time.Minute)
				got := ann.shown()
				ends := 0
				for _, s := range got {
					if strings.HasPrefix(s, "end ") || strings.HasPrefix(s, "error ") {
						ends++
					}
				}
				if ends != 1 || !strings.HasPrefix(got[len(got)-1], c.last) {
					t.Errorf("saw %d ends, the last %.60q, want %q", ends, got[len(got)-1], c.last)
				}
				history := p.history(room)
				switch {
				case c.stored == "-" && len(history) != 1:
					t.Errorf("stored %+v", history[1:])
				case c.stored != "-" && (len(history) != 2 || !strings.HasPrefix(history[1].Content, c.stored) ||
					len(history[1].Content) > domain.MaxAnswer || meta(history[1]).Finish != c.finish || meta(history[1]).Error != c.error):
					t.Errorf("stored %.200v", history)
				}
				if n := len(p.model.questions()); n != c.questions {
					t.Errorf("asked %d times, want %d", n, c.questions)
				}
			})
		})
	}
}

func TestAnAnswerIsStopped(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		p.model.plays(says(time.Second, slices.Repeat([]string{"la "}, 100)...))
		room := p.group("ann", p.bot().ID.String())
		ann := p.connect("ann", "d")
		p.say("ann", room, "Sing")
		time.Sleep(3500 * time.Millisecond)
		id := func() domain.MessageID {
			s, ok, err := streamOf(p, room)
			if err != nil || !ok {
				t.Fatalf("no stream: %v", err)
			}
			return s.Message
		}()
		stopped := time.Since(ann.begun)
		if err := p.bots.Stop(context.Background(), p.as("ann"), room, id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		history := p.history(room)
		last := ann.got[len(ann.got)-1]
		if len(history) != 2 || meta(history[1]).Finish != "stopped" || last.Stream != id || last.at-stopped > 1100*time.Millisecond {
			t.Errorf("history %+v; the end came %s later: %q", history, last.at-stopped, ann.shown())
		}
		if err := p.bots.Stop(context.Background(), p.as("ann"), room, id); err != nil {
			t.Errorf("stopped once more: %v", err)
		}
		if err := p.bots.Stop(context.Background(), p.as("eve"), room, id); !errors.Is(err, domain.ErrNotMember) {
			t.Errorf("stopped by a stranger: %v", err)
		}
		if err := p.bots.Stop(context.Background(), p.as("ann"), room, domain.MessageID{9}); !errors.Is(err, domain.ErrMessageNotFound) {
			t.Errorf("stopped what is not there: %v", err)
		}
	})
}

func streamOf(p *theatre, room domain.RoomID) (s domain.Stream, ok bool, err error) {
	err = p.store.View(context.Background(), p.tenant, func(r ports.Reader) error {
		bots, err := r.RoomBots(room)
		if err != nil || len(bots) == 0 {
			return err
		}
		s, ok, err = r.StreamOf(room, bots[0])
		return err
	})
	return s, ok, err
}

// TestNothingOfABotComesAfterAHandoff: no message above its rev, and no delta on any socket behind it.
func TestNothingOfABotComesAfterAHandoff(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		p.model.plays(says(300*time.Millisecond, slices.Repeat([]string{"la "}, 20)...))
		bot := p.bot()
		room := p.group("ann", bot.ID.String())
		ann := p.connect("ann", "d")
		p.say("ann", room, "Sing")
		time.Sleep(2 * time.Second)
		handed, err := p.bots.HandOff(context.Background(), p.backend(), room, "human", "sam")
		if err != nil || handed.Handoff.Assignee != "sam" {
			t.Fatalf("%+v, %v", handed, err)
		}
		p.say("ann", room, "Hello?")
		time.Sleep(30 * time.Second)
		shown := ann.shown()
		at := slices.Index(shown, "handoff")
		if at < 0 || slices.ContainsFunc(shown[at:], func(s string) bool { return strings.HasPrefix(s, "delta ") || strings.HasPrefix(s, "end ") }) ||
			!slices.ContainsFunc(shown, func(s string) bool { return strings.HasPrefix(s, "error HANDED_OFF") }) {
			t.Errorf("ann saw %q", shown)
		}
		for _, m := range p.history(room) {
			if m.SenderType == domain.SenderBot {
				t.Errorf("a bot's message at rev %d, handoff at %d", m.Rev, handed.LastRev)
			}
		}
		p.model.plays(says(0, "back"))
		if _, err := p.bots.HandOff(context.Background(), p.backend(), room, "bot", ""); err != nil {
			t.Fatal(err)
		}
		p.say("ann", room, "And now?")
		time.Sleep(5 * time.Second)
		history := p.history(room)
		if last := history[len(history)-1]; last.Content != "back" {
			t.Errorf("after it was handed back: %q", last.Content)
		}
	})
}

// TestARunThatDiesIsEndedByTheNext: what was kept is the message, and it is answered no second time.
func TestARunThatDiesIsEndedByTheNext(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		bot := p.bot()
		room := p.group("ann", bot.ID.String())
		hold, stream := p.dies(bot, room, "so far")
		p.openTheatre()
		time.Sleep(time.Minute)
		history := p.history(room)
		if len(history) != 2 || history[1].ID != stream.Message || history[1].Content != "so far" || meta(history[1]).Error != "INTERRUPTED" ||
			len(p.model.questions()) != 0 {
			t.Errorf("history %+v, %d questions", history, len(p.model.questions()))
		}
		err := p.store.Update(context.Background(), p.tenant, func(tx ports.Tx) error {
			_, err := tx.KeepStream(hold, stream.Message, "a ghost")
			return err
		})
		if !errors.Is(err, domain.ErrLeaseLost) {
			t.Errorf("the dead one writes: %v", err)
		}
	})
}

// TestAContextDecides what the bot is told, and whether it speaks at all.
func TestAContextDecides(t *testing.T) {
	t.Parallel()
	answered := func(body string) ports.Outcome {
		return ports.Outcome{Result: ports.Delivered, Status: 200, Answer: []byte(body)}
	}
	for _, c := range []struct {
		name    string
		outcome ports.Outcome
		onError string
		system  string // "-" for silence
	}{
		{"a prompt", answered(`{"system_prompt":"Be brief."}`), "skip", "Be brief."},
		{"an empty prompt", answered(`{"system_prompt":""}`), "skip", ""},
		{"skip", answered(`{"skip":true}`), "answer", "-"},
		{"both", answered(`{"skip":true,"system_prompt":"x"}`), "answer", "-"},
		{"neither", answered(`{}`), "skip", "-"},
		{"neither, but answer", answered(`{}`), "answer", "Be kind."},
		{"nonsense", answered(`no`), "skip", "-"},
		{"a list", answered(`[]`), "skip", "-"},
		{"500", ports.Outcome{Result: ports.Retryable, Status: 500, Cause: ports.StatusCause(500)}, "skip", "-"},
		{"a timeout, but answer", ports.Outcome{Result: ports.Retryable, Cause: ports.CauseTimeout}, "answer", "Be kind."},
		{"a circuit that is open", ports.Outcome{Result: ports.Deferred, Cause: ports.CauseCircuit}, "skip", "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inTheatre(t, func(p *theatre) {
				p.model.plays(says(0, "ok"))
				p.answers(func(int, ports.Attempt) ports.Outcome { return c.outcome })
				if _, err := p.tenancy.Update(context.Background(), p.tenant, nil, fmt.Appendf(nil, `{"on_webhook_error":%q}`, c.onError)); err != nil {
					t.Fatal(err)
				}
				room := p.group("ann", p.bot().ID.String())
				p.say("ann", room, "Hi?")
				time.Sleep(4 * time.Second)
				q := p.model.questions()
				switch {
				case c.system == "-" && (len(q) != 0 || len(p.history(room)) != 1):
					t.Errorf("asked %+v", q)
				case c.system != "-" && (len(q) != 1 || q[0].System != c.system):
					t.Errorf("asked %+v, want %q", q, c.system)
				}
			})
		})
	}
}

// TestABudgetIsKept: so many replies a minute in a room, with an event that says so, and so many runs at a time, one after
// the other.
func TestABudgetIsKept(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		if _, err := p.tenancy.Update(context.Background(), p.tenant, nil, []byte(`{"bot_limits":{"replies_per_minute":2,"concurrent_runs":1}}`)); err != nil {
			t.Fatal(err)
		}
		p.model.plays(says(2*time.Second, "ok"))
		bot := p.bot().ID.String()
		room, other := p.group("ann", bot), p.group("ann", bot)
		ann := p.connect("ann", "d")
		p.say("ann", room, "1")
		p.say("ann", other, "1")
		time.Sleep(1500 * time.Millisecond)
		if n := len(p.model.questions()); n != 1 {
			t.Errorf("%d runs at a time", n)
		}
		time.Sleep(5 * time.Second)
		if n := len(p.model.questions()); n != 2 {
			t.Errorf("%d runs in all", n)
		}
		p.say("ann", room, "2")
		time.Sleep(5 * time.Second)
		p.say("ann", room, "3")
		time.Sleep(5 * time.Second)
		shown := ann.shown()
		if last := shown[len(shown)-1]; last != `error BUDGET_EXCEEDED ""` || len(p.model.questions()) != 3 {
			t.Errorf("%d questions, the last event %q", len(p.model.questions()), last)
		}
		time.Sleep(2 * time.Minute)
		p.say("ann", room, "4")
		time.Sleep(5 * time.Second)
		if n := len(p.model.questions()); n != 4 {
			t.Errorf("%d questions two minutes later", n)
		}
	})
}

// TestABudgetOfRunsIsKeptOnAllNodes: three of them have two runs each to make, and together they make two at a time.
func TestABudgetOfRunsIsKeptOnAllNodes(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		if _, err := p.tenancy.Update(context.Background(), p.tenant, nil, []byte(`{"bot_limits":{"concurrent_runs":2}}`)); err != nil {
			t.Fatal(err)
		}
		var now, most, made atomic.Int64
		p.model.plays(func(yield func(ports.Piece, error) bool) {
			for n := now.Add(1); ; {
				if most.Load() >= n || most.CompareAndSwap(n-1, n) {
					break
				}
			}
			time.Sleep(3 * time.Second)
			now.Add(-1)
			made.Add(1)
			yield(ports.Piece{Text: "ok", Finish: domain.FinishStop}, nil)
		})
		port := inproc.NewPresence()
		var runners []*application.Runner
		var stops []func()
		p.closeTheatre()
		for range 3 {
			slots, stop := slotsOn(p.t, port)
			p.openTheatreOf(slots)
			runners = append(runners, p.runner)
			stops = append(stops, p.closeTheatre, stop)
		}
		bot := p.bot().ID.String()
		over, cancel := context.WithCancel(context.Background())
		cancel()
		for i, r := range slices.Backward(runners) {
			p.say("ann", p.group("ann", bot), "Hi?")
			p.say("ann", p.group("ann", bot), "Hi?")
			r.Wake()
			time.Sleep(500 * time.Millisecond)
			if i > 0 {
				r.Drain(over) // it claims no more, and the next one does
			}
		}
		time.Sleep(time.Minute)
		if most.Load() != 2 || made.Load() != 6 {
			t.Errorf("%d runs, %d at a time; want 6, 2 at a time", made.Load(), most.Load())
		}
		for _, stop := range stops {
			stop()
		}
		p.closeTheatre = func() {}
	})
}

func TestTheTokensOfAMonthAreCounted(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		if _, err := p.tenancy.Update(context.Background(), p.tenant, nil, []byte(`{"bot_limits":{"tokens_per_month":10}}`)); err != nil {
			t.Fatal(err)
		}
		p.model.plays(says(0, "a", "b")) // 7 tokens, in and out
		room := p.group("ann", p.bot().ID.String())
		ann := p.connect("ann", "d")
		for range 3 {
			p.say("ann", room, "?")
			time.Sleep(5 * time.Second)
		}
		shown := ann.shown()
		if last := shown[len(shown)-1]; last != `error BUDGET_EXCEEDED ""` || len(p.model.questions()) != 2 {
			t.Errorf("%d questions, the last event %q", len(p.model.questions()), last)
		}
	})
}

// TestAQuestionIsAskedWhole: the trigger is always in it, an answer stands behind what it answers, and a deleted trigger
// takes no other question with it.
func TestAQuestionIsAskedWhole(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		p.model.plays(says(2*time.Second, "a1"), says(2*time.Second, "a2"), says(2*time.Second, "a3"))
		bot := p.bot()
		room := p.group("ann", "bob", bot.ID.String())
		p.say("ann", room, "q1")
		time.Sleep(time.Second)
		p.say("ann", room, "q2")
		oops := p.say("bob", room, "oops")
		if err := p.messaging.Delete(context.Background(), p.as("bob"), room, oops.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if _, err := p.bots.Update(context.Background(), p.backend(), bot.ID, domain.BotPatch{ContextMessages: setTo(1)}); err != nil {
			t.Fatal(err)
		}
		p.say("ann", room, "q3")
		p.say("ann", room, "q4")
		time.Sleep(20 * time.Second)
		var asked [][]string
		for _, q := range p.model.questions() {
			var turns []string
			for _, turn := range q.Turns {
				turns = append(turns, turn.Role[:1]+" "+turn.Text)
			}
			asked = append(asked, turns)
		}
		if want := [][]string{{"u q1"}, {"u q1", "a a1", "u q2"}, {"u q3"}, {"u q4"}}; !slices.EqualFunc(asked[:2], want[:2], slices.Equal) ||
			!slices.Equal(asked[len(asked)-1], want[3]) {
			t.Errorf("asked %q, want %q", asked, want)
		}
	})
}

// TestAStopOfTheServerLosesNoQuestion: neither while its webhook is asked nor before the first word.
func TestAStopOfTheServerLosesNoQuestion(t *testing.T) {
	t.Parallel()
	for _, while := range []string{"webhook", "first word"} {
		t.Run(while, func(t *testing.T) {
			t.Parallel()
			inTheatre(t, func(p *theatre) {
				given := ports.Outcome{Result: ports.Delivered, Status: 200, Answer: []byte(`{"system_prompt":""}`)}
				p.model.plays(says(10*time.Second, "answer"))
				if while == "webhook" {
					p.answers(func(int, ports.Attempt) ports.Outcome {
						p.mu.Unlock()
						time.Sleep(5 * time.Second)
						p.mu.Lock()
						return given
					})
				}
				room := p.group("ann", p.bot().ID.String())
				p.say("ann", room, "q")
				time.Sleep(2 * time.Second)
				p.closeTheatre()
				p.answers(func(int, ports.Attempt) ports.Outcome { return given })
				p.model.plays(says(0, "answer"))
				time.Sleep(time.Minute) // beyond the lease
				p.openTheatre()
				time.Sleep(time.Minute)
				history := p.history(room)
				if len(history) != 2 || history[1].Content != "answer" || meta(history[1]).Finish != "stop" {
					t.Errorf("after the restart %+v", history)
				}
			})
		})
	}
}

// TestAnAnswerThatMayNotGoOnEndsAtOnce: between a stop of the server, which comes when its start was shown, and its next
// attempt people have taken over, or the bot was removed.
func TestAnAnswerThatMayNotGoOnEndsAtOnce(t *testing.T) {
	t.Parallel()
	for code, change := range map[string]func(p *theatre, room domain.RoomID, bot domain.UserID) error{
		"HANDED_OFF": func(p *theatre, room domain.RoomID, _ domain.UserID) error {
			_, err := p.bots.HandOff(context.Background(), p.backend(), room, "human", "")
			return err
		},
		"REMOVED": func(p *theatre, room domain.RoomID, bot domain.UserID) error {
			return p.rooms.RemoveMember(context.Background(), p.backend(), room, bot)
		},
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			inTheatre(t, func(p *theatre) {
				p.model.plays(says(10*time.Second, "answer"))
				bot := p.bot().ID.User()
				room := p.group("ann", string(bot))
				ann := p.connect("ann", "d")
				p.say("ann", room, "q")
				time.Sleep(2 * time.Second)
				p.closeTheatre()
				p.answers(func(int, ports.Attempt) ports.Outcome { // while the next attempt asks for its context
					p.mu.Unlock()
					defer p.mu.Lock()
					if err := change(p, room, bot); err != nil {
						t.Error(err)
					}
					return ports.Outcome{Result: ports.Delivered, Status: 200, Answer: []byte(`{"system_prompt":""}`)}
				})
				p.openTheatre()
				time.Sleep(32 * time.Second) // the lease
				var starts, ends int
				for _, s := range ann.shown() {
					if strings.HasPrefix(s, "start ") {
						starts++
					}
					if strings.HasPrefix(s, "error "+code) {
						ends++
					}
				}
				if _, ok, err := streamOf(p, room); starts != 1 || ends != 1 || ok || err != nil {
					t.Errorf("ann saw %q; stored %v, %v", ann.shown(), ok, err)
				}
			})
		})
	}
}

// TestABotIsNobodysAdmin: neither when the last admin leaves nor when it is alone with who comes.
func TestABotIsNobodysAdmin(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		bot := p.bot().ID.User()
		room := p.group("ann", string(bot), "bob")
		role := func(user domain.UserID) domain.Role {
			m, err := ports.View(context.Background(), p.store, p.tenant, func(r ports.Reader) (domain.Member, error) { return r.Member(room, user) })
			if err != nil {
				t.Fatal(err)
			}
			return m.Role
		}
		leave := func(user string) {
			if err := p.rooms.RemoveMember(context.Background(), p.as(user), room, domain.UserID(user)); err != nil {
				t.Fatal(err)
			}
		}
		leave("ann")
		if role(bot) != domain.RoleMember || role("bob") != domain.RoleAdmin {
			t.Errorf("the bot is %s, bob %s", role(bot), role("bob"))
		}
		leave("bob")
		if _, err := p.rooms.AddMembers(context.Background(), p.backend(), room, application.NewMembers{UserID: "cat"}, nil); err != nil {
			t.Fatal(err)
		}
		if role(bot) != domain.RoleMember || role("cat") != domain.RoleAdmin {
			t.Errorf("the bot is %s, cat %s", role(bot), role("cat"))
		}
	})
}
