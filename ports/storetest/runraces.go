package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var runRaceContracts = []contract{
	{"hundreds of random interleavings of runs, handoffs, stops, lost leases and restarts end where a simple model does", runRaces},
}

const (
	raceRounds = 6
	raceRooms  = 50 // of a round, side by side
	raceSteps  = 24 // of a room
)

// race is a room with one bot and what must be known of it.
type race struct {
	*fixture
	rand    *rand.Rand
	room    domain.RoomID
	bot     domain.BotID
	human   bool
	trigger domain.MessageID // that the job has; zero when there is none
	holder  *ports.Claim     // whose claim stands
	claims  []ports.Claim    // all that there ever were
	stream  *domain.Stream   // on its way
	stopped bool
	streams []domain.MessageID        // all that there ever were
	said    []domain.MessageID        // messages of the bot's
	open    map[domain.MessageID]bool // triggers that no answer and no run that has ended covers
	asked   []domain.MessageID        // in order
}

func runRaces(f *fixture) {
	seed := rand.Uint64()
	if given, err := strconv.ParseUint(os.Getenv(seedVariable), 10, 64); err == nil {
		seed = given
	}
	f.t.Logf("to repeat these races: %s=%d", seedVariable, seed)
	for round := range raceRounds {
		races := make([]*race, raceRooms)
		for i := range races {
			bot := f.newBotID()
			races[i] = &race{
				fixture: f, rand: rand.New(rand.NewPCG(seed, uint64(round*raceRooms+i))), bot: bot, open: map[domain.MessageID]bool{},
			}
		}
		parallel(f.t, raceRooms, func(i int) error { return races[i].begin() })
		f.raceOn(races, rand.New(rand.NewPCG(seed, 1<<32+uint64(round))))
		f.settleAll(races)
		for _, r := range races {
			r.compare()
		}
		f.noRuns("at the end of a round")
		if f.t.Failed() {
			f.t.Fatalf("in round %d", round)
		}
	}
}

func (r *race) begin() error {
	room, members := r.newRoom(domain.RoomGroup, "ann", r.bot.User())
	made, err := r.tryCreate(room, members)
	r.room = made.ID
	return err
}

// raceOn lets all rooms take their steps together, and in between gives out claims, lets leases end and restarts.
func (f *fixture) raceOn(races []*race, chance *rand.Rand) {
	f.t.Helper()
	for range raceSteps {
		switch n := chance.IntN(20); {
		case n < 2:
			f.times.pass(lease)
		case n == 2:
			f.reopen()
			f.times.pass(lease) // for stores that leave leases to other processes
			for _, r := range races {
				r.holder = nil
			}
		}
		f.giveOut(races, 1+chance.IntN(2*len(races)))
		parallel(f.t, len(races), func(i int) error { return races[i].step() })
	}
}

// giveOut claims runs and tells the rooms, which must have one to be claimed.
func (f *fixture) giveOut(races []*race, limit int) {
	f.t.Helper()
	claims, _ := f.claimBy(ports.ClaimQuery{Lane: domain.LaneBot, Limit: limit})
	for _, c := range claims {
		i := slices.IndexFunc(races, func(r *race) bool { return r.room == c.Room })
		if i < 0 {
			f.t.Fatalf("a run of no room was claimed: %s", show(c))
		}
		r := races[i]
		equal(f.t, "the trigger of a run", c.Message, r.trigger)
		equal(f.t, "whose run it is", c.Bot, r.bot)
		if c.Message.IsZero() {
			f.t.Error("a run without a trigger was claimed")
		}
		r.holder = &c
		r.claims = append(r.claims, c)
	}
}

// step does one thing that a user, a worker or one that is no more may do.
func (r *race) step() error {
	switch n := r.rand.IntN(100); {
	case n < 30:
		return r.user()
	case n < 40:
		return r.handOffOrBack()
	case n < 45:
		return r.stop()
	}
	if len(r.claims) == 0 {
		return r.user()
	}
	back := 0
	if r.rand.IntN(3) == 0 {
		back = r.rand.IntN(len(r.claims))
	}
	c := r.claims[len(r.claims)-1-back]
	switch r.rand.IntN(5) {
	case 0, 1:
		return r.keepOn(c)
	case 2, 3:
		return r.finish(c)
	}
	return r.giveUp(c)
}

func (r *race) stands(c ports.Claim) bool { return r.holder != nil && r.holder.Fence == c.Fence }

func (r *race) user() error {
	s := r.newAsk("ann")
	out, err := r.trySend(r.room, s, nil)
	if err == nil && !r.human {
		r.trigger, r.open[out.Message.ID] = out.Message.ID, true
		r.asked = append(r.asked, out.Message.ID)
	}
	return err
}

func (r *race) handOffOrBack() error {
	h, at := byHuman(""), r.now()
	if r.human {
		h = byBots
	}
	_, err := ports.Update(r.t.Context(), r.db, r.tenant, func(tx ports.Tx) (domain.Room, error) { return tx.SetHandoff(r.room, h, at) })
	r.human = !r.human
	return err
}

func (r *race) stop() error {
	message, want := r.newMessageID(), error(domain.ErrMessageNotFound)
	if len(r.streams) > 0 {
		message = r.streams[len(r.streams)-1]
	}
	if r.stream != nil && r.stream.Message == message {
		r.stopped, want = true, nil
	}
	return r.expect("StopStream", r.tryStop(r.room, message), want)
}

// expect is an error unless a call ended as it was to.
func (r *race) expect(what string, err, want error) error {
	if !errors.Is(err, want) || want == nil && err != nil {
		return fmt.Errorf("%s of %s: error %w, want %v", what, r.room, err, want)
	}
	return nil
}

// hold is that of a claim for what the bot has on its way, as workers find it.
func (r *race) hold(c ports.Claim) (domain.Hold, domain.Stream) {
	hold := holdOf(c)
	if r.stream == nil {
		return hold, r.newStream(c)
	}
	hold.Trigger = r.stream.ReplyTo
	return hold, *r.stream
}

// keepOn begins an answer, begins it anew, or keeps it.
func (r *race) keepOn(c ports.Claim) error {
	hold, s := r.hold(c)
	s.Text = fmt.Sprint("text ", r.rand.IntN(1000))
	begins := r.stream == nil || r.rand.IntN(4) == 0
	var note ports.StreamNote
	var err error
	if begins {
		s.Attempt++
		note, err = r.tryOpen(hold, s)
	} else {
		note, err = r.tryKeep(hold, s.Message, s.Text)
	}
	if !r.stands(c) {
		return r.expect("a keep of a stale holder", err, domain.ErrLeaseLost)
	}
	if r.stream == nil {
		r.stopped, r.streams = false, append(r.streams, s.Message)
	}
	r.stream = &s
	if want := (ports.StreamNote{Stopped: r.stopped, Human: r.human}); err == nil && note != want {
		return fmt.Errorf("the note is %s, want %s", show(note), show(want))
	}
	return r.expect("a keep", err, nil)
}

// finish stores the answer.
func (r *race) finish(c ports.Claim) error {
	hold, s := r.hold(c)
	_, err := r.answerTo(r.room, hold, r.newAnswer(s, s.Text))
	switch {
	case !r.stands(c):
		return r.expect("an answer of a stale holder", err, domain.ErrLeaseLost)
	case r.human:
		return r.expect("an answer after a handoff", err, domain.ErrHandedOff)
	}
	r.said = append(r.said, s.Message)
	r.ended(hold)
	return r.expect("an answer", err, nil)
}

// giveUp ends the run without a message.
func (r *race) giveUp(c ports.Claim) error {
	hold, s := r.hold(c)
	err := r.tryEnd(hold, s.Message)
	if !r.stands(c) {
		return r.expect("an end of a stale holder", err, domain.ErrLeaseLost)
	}
	r.ended(hold)
	return r.expect("an end", err, nil)
}

// ended covers the triggers up to that of the run, and leaves the job to a newer one.
func (r *race) ended(hold domain.Hold) {
	r.holder, r.stream = nil, nil
	for _, id := range r.asked[:slices.Index(r.asked, hold.Trigger)+1] {
		delete(r.open, id)
	}
	if r.trigger == hold.Trigger {
		r.trigger = domain.MessageID{}
	}
}

// settleAll works off what is left of all rooms, as workers do who take over.
func (f *fixture) settleAll(races []*race) {
	f.t.Helper()
	for _, r := range races {
		if r.human {
			equal(f.t, "the error of a handoff", r.handOffOrBack(), nil)
		}
	}
	for range 3 { // what is left of an answer, then the newest trigger
		f.times.pass(lease)
		f.giveOut(races, len(races))
		parallel(f.t, len(races), func(i int) error {
			if r := races[i]; r.holder != nil {
				return r.finish(*r.holder)
			}
			return nil
		})
	}
}

// compare holds a room in which all is done against the model.
func (r *race) compare() {
	r.t.Helper()
	equal(r.t, "triggers that nothing covers", len(r.open), 0)
	r.onItsWay("at the end of a round", r.room, r.bot, nil)
	messages, _ := r.dense(r.room)
	var said []domain.MessageID
	for _, m := range messages {
		if m.SenderType == domain.SenderBot {
			said = append(said, m.ID)
		}
	}
	equalList(r.t, "the bot's messages", said, r.said)
	r.noneAboveAHandoff(r.room)
}
