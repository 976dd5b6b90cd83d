package application_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// TestAThousandHandoffsAgainstAnswers: whatever the moment, no message of a bot stands above the handoff, and no socket, on
// whatever node and however slow, is shown more of an answer behind it; each start has one end; and handed back the bot
// answers again.
func TestAThousandHandoffsAgainstAnswers(t *testing.T) {
	t.Parallel()
	const theatres, races = 20, 50
	for i := range theatres {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			inTheatre(t, func(p *theatre) {
				near, far := p.annex(p.bus), p.annex(heldBus{p.bus, 30 * time.Millisecond})
				if i%2 == 1 {
					p.closeTheatre()
					p.bus = deafBus{p.bus}
					p.openTheatre()
				}
				fresh := p.annex(p.bus) // has nobody until the handoff
				defer fresh.stopHall()
				defer near.stopHall()
				defer far.stopHall()
				bot := p.bot()
				for n := 0; n < races && !t.Failed(); n++ {
					p.raceHandoff(n, near, far, fresh, bot)
				}
			})
		})
	}
}

func (p *theatre) raceHandoff(n int, near, far, fresh *hall, bot domain.Bot) {
	t, seed := p.t, rand.Uint64()
	t.Helper()
	ann, bob, cat := fmt.Sprint("ann", n), fmt.Sprint("bob", n), fmt.Sprint("cat", n)
	chance := rand.New(rand.NewPCG(seed, 1))
	p.model.plays(improvises(chance, 15, 60*time.Millisecond))
	room := p.group(ann, bob, cat, bot.ID.String())
	watchers := []*watcher{
		near.watch(ann, "fast", 1000, 0), far.watch(ann, "far", 1000, 0), near.watch(bob, "slow", 1+chance.IntN(4), 100*time.Millisecond),
		far.watch(bob, "slow and far", 1+chance.IntN(4), 200*time.Millisecond),
	}
	time.Sleep(time.Second)
	p.say(ann, room, "Sing")
	time.Sleep(time.Duration(chance.Int64N(int64(700 * time.Millisecond))))
	watchers = append(watchers, near.watch(cat, "late", 1000, 0), far.watch(cat, "late and far", 1000, 0))
	time.Sleep(time.Duration(chance.Int64N(int64(100 * time.Millisecond))))
	handed, err := p.bots.HandOff(context.Background(), p.backend(), room, "human", bob)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Duration(chance.Int64N(int64(100 * time.Millisecond))))
	watchers = append(watchers, near.watch(cat, "later", 1000, 0), fresh.watch(cat, "fresh", 1000, 0))
	time.Sleep(time.Second)
	for _, m := range p.history(room) {
		if m.SenderType == domain.SenderBot && m.Rev > handed.LastRev {
			t.Errorf("seed %d: a bot's message at %d, handed off at %d", seed, m.Rev, handed.LastRev)
		}
	}
	p.model.plays(says(10*time.Millisecond, "back", " again"))
	if _, err := p.bots.HandOff(context.Background(), p.backend(), room, "bot", ""); err != nil {
		t.Fatal(err)
	}
	asked := p.say(ann, room, "And now?")
	time.Sleep(time.Second)
	history := p.history(room)
	if answer := history[len(history)-1]; answer.ReplyTo != asked.ID || answer.Content != "back again" {
		t.Errorf("seed %d: handed back, the last message is %q", seed, answer.Content)
	}
	closeAll(watchers)
	for _, w := range watchers {
		if shown, told, last := w.judge(t, room, history); last != history[len(history)-1].Rev || shown+told < 2 {
			t.Errorf("%s was shown %d answers and told %d messages up to %d", w.name, shown, told, last)
		}
	}
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}
