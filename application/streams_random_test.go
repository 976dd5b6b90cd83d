package application_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// TestWhateverHappensAStartHasOneEnd plays what can happen to a room whose bot speaks, in any order, and holds every socket
// against what it may rely on.
func TestWhateverHappensAStartHasOneEnd(t *testing.T) {
	t.Parallel()
	const theatres, plays = 10, 20
	for i := range theatres {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			inTheatre(t, func(p *theatre) {
				near, far := p.annex(p.bus), p.annex(heldBus{p.bus, 30 * time.Millisecond})
				defer near.stopHall()
				defer far.stopHall()
				bot := p.bot()
				for n := 0; n < plays && !t.Failed(); n++ {
					(&play{theatre: p, nodes: []*hall{near, far}, bot: bot, ann: fmt.Sprint("ann", n), bob: fmt.Sprint("bob", n)}).perform()
				}
			})
		})
	}
}

// play is one room in which things happen by chance.
type play struct {
	*theatre
	nodes    []*hall
	bot      domain.Bot
	ann, bob string
	chance   *rand.Rand
	room     domain.RoomID
	watchers []*watcher
	done     []string
	ids      map[int64]domain.Message // by seq: all messages that were ever seen
}

func (y *play) perform() {
	t, seed := y.t, rand.Uint64()
	t.Helper()
	y.chance, y.ids = rand.New(rand.NewPCG(seed, 2)), map[int64]domain.Message{}
	const scripts, steps = 30, 15
	var script []func(func(ports.Piece, error) bool)
	for range scripts {
		script = append(script, improvises(y.chance, 20, 80*time.Millisecond))
	}
	y.model.plays(script...)
	y.room = y.group(y.ann, y.bob, y.bot.ID.String())
	y.join(y.ann, 1000, 0)
	y.join(y.bob, 1+y.chance.IntN(4), 150*time.Millisecond)
	time.Sleep(time.Second)
	y.say(y.ann, y.room, "Sing")
	removed := false
	for n := 0; n < steps && !removed; n++ {
		time.Sleep(time.Duration(y.chance.Int64N(int64(400 * time.Millisecond))))
		y.note()
		if removed = n > steps/2 && y.chance.IntN(20) == 0; removed {
			y.must("remove the room", y.rooms.Remove(context.Background(), y.as(y.ann), y.room))
			break
		}
		y.happen()
	}
	if !removed {
		y.must("hand back", y.handOff("bot"))
		y.must("add the bot", y.add(y.bot.ID.String()))
		time.Sleep(20 * time.Second) // until every answer has ended
		y.note()
	}
	closeAll(y.watchers)
	var history []domain.Message
	for _, m := range y.ids {
		history = append(history, m)
	}
	streams := 0
	for _, w := range y.watchers {
		shown, _, last := w.judge(t, y.room, history)
		if streams += shown; !removed && !w.gone && last != y.rev() {
			t.Errorf("%s came to %d, the room is at %d", w.name, last, y.rev())
		}
	}
	if _, open, err := streamOf(y.theatre, y.room); !removed && (open || err != nil) {
		t.Errorf("an answer is open in the end: %v", err)
	}
	if stats, err := y.store.OutboxStats(context.Background()); err != nil || stats[domain.LaneBot].Waiting > 0 {
		t.Errorf("%d runs are left, %v", stats[domain.LaneBot].Waiting, err)
	}
	if t.Failed() {
		t.Logf("seed %d: %q", seed, y.done)
	}
}

// happen does one thing.
func (y *play) happen() {
	ctx, at := context.Background(), y.chance.IntN(len(y.watchers))
	switch y.chance.IntN(13) {
	case 0, 1:
		y.did("send")
		y.say(y.ann, y.room, "And?")
	case 2:
		y.did("send twice")
		y.say(y.ann, y.room, "And?")
		y.say(y.bob, y.room, "And then?")
	case 3, 4:
		y.must("hand off", y.handOff("human"))
	case 5, 6:
		y.must("hand back", y.handOff("bot"))
		y.say(y.ann, y.room, "And now?")
	case 7:
		if s, open, err := streamOf(y.theatre, y.room); open && err == nil {
			y.must("stop", y.bots.Stop(ctx, y.as(y.ann), y.room, s.Message))
		}
	case 8:
		y.must("remove the bot", y.rooms.RemoveMember(ctx, y.as(y.ann), y.room, y.bot.ID.User()))
		if y.chance.IntN(2) == 0 {
			y.must("add the bot", y.add(y.bot.ID.String()))
		}
	case 9:
		y.did("add the bot")
		y.must("add the bot", y.add(y.bot.ID.String()))
	case 10:
		y.must("remove bob", y.rooms.RemoveMember(ctx, y.as(y.ann), y.room, domain.UserID(y.bob)))
		time.Sleep(time.Duration(y.chance.Int64N(int64(200 * time.Millisecond))))
		y.must("add bob", y.add(y.bob))
	case 11:
		y.did("join")
		if y.join(y.bob, 1000, 0); y.chance.IntN(2) == 0 {
			y.join(y.bob, 1+y.chance.IntN(6), 200*time.Millisecond)
		}
	default:
		if w := y.watchers[at]; !w.gone {
			y.did("leave " + w.name)
			w.close()
		}
	}
}

func (y *play) join(user string, capacity int, every time.Duration) {
	device := domain.DeviceID(fmt.Sprint("d", y.chance.IntN(5)))
	y.watchers = append(y.watchers, y.nodes[y.chance.IntN(len(y.nodes))].watch(user, device, capacity, every))
}

func (y *play) did(what string) { y.done = append(y.done, what) }

func (y *play) must(what string, err error) {
	y.did(what)
	if err != nil && !errors.Is(err, domain.ErrMemberNotFound) { // the bot that is to go is not there
		y.t.Errorf("%s: %v", what, err)
	}
}

func (y *play) handOff(mode string) error {
	_, err := y.bots.HandOff(context.Background(), y.backend(), y.room, mode, "")
	return err
}

func (y *play) add(user string) error {
	_, err := y.rooms.AddMembers(context.Background(), y.as(y.ann), y.room, application.NewMembers{UserIDs: []string{user}}, nil)
	return err
}

// note remembers the messages there are: the room may go.
func (y *play) note() {
	for _, m := range y.history(y.room) {
		y.ids[m.Seq] = m
	}
}

func (y *play) rev() int64 {
	room, err := ports.View(context.Background(), y.store, y.tenant, func(r ports.Reader) (domain.Room, error) {
		room, _, err := r.Access(y.room, "")
		return room, err
	})
	if err != nil {
		y.t.Fatal(err)
	}
	return room.LastRev
}
