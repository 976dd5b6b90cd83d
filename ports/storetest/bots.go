package storetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var botContracts = []contract{
	{"a bot comes back whole after a restart", botComesBack},
	{"bots are listed oldest first, in pages", botsAreListed},
	{"an update stores a bot anew, and no other", botIsStoredAnew},
	{"a tenant has 50 bots, and a place is free when one is removed", botsAreBounded},
	{"a bot that was removed is not found, and its memberships and messages stay", removedBotIsGone},
	{"what a rolled back update does to bots is undone", rolledBackBots},
	{"a room's bots are its active members who are bots, in order of joining", botsOfARoom},
	{"a room's bots are five at most", fiveBotsOfARoom},
	{"a send is decided with the bots of the room as they are", sendSeesTheBots},
	{"a room's bots are right under 8 writers with a quarter rolled back", botsUnderWriters},
	{"the messages of bots are counted since a time, up to a limit", repliesAreCounted},
	{"a purge leaves nothing of a tenant's bots", purgeOfBots},
}

// everyBot is a bot of the same id in every tenant.
var everyBot = domain.BotID(everyLetter)

func everyBotValue(at time.Time) domain.Bot {
	return domain.Bot{ID: everyBot, Name: "every", Provider: domain.ProviderOpenAI, Key: []byte("sealed"), ContextMessages: 1, CreatedAt: at}
}

// botsOfEverything has each method that writes of bots write, but those that need a claim.
func botsOfEverything(tx ports.Tx, room domain.RoomID, at time.Time) error {
	b := everyBotValue(at)
	errs := []error{tx.AddBot(b)}
	b.Name = "another"
	errs = append(errs, tx.UpdateBot(b))
	_, err := tx.AddMember(room, everyBot.User(), domain.RoleMember, at)
	errs = append(errs, err, tx.Enqueue(domain.RunJob(everyBot, domain.Message{ID: domain.MessageID(everyLetter), Room: room, CreatedAt: at})))
	_, err = tx.SetHandoff(room, domain.Handoff{Mode: domain.HandoffHuman, Assignee: "ghost"}, at)
	return errors.Join(append(errs, err)...)
}

// withStream gives a tenant an answer of everyBot on its way.
func (f *fixture) withStream(to aim) aim {
	f.t.Helper()
	to.bot, to.stream = everyBot, f.newMessageID()
	job := domain.RunJob(everyBot, domain.Message{ID: to.message, Room: to.room, CreatedAt: f.times.Now()})
	f.enqueue(job)
	claims, _ := f.claimBy(ports.ClaimQuery{Lane: domain.LaneBot})
	i := slices.IndexFunc(claims, func(c ports.Claim) bool { return c.Tenant == f.tenant && c.ID == job.ID })
	if i < 0 {
		f.t.Fatalf("the run is not among %s", show(claims))
	}
	to.hold = holdOf(claims[i])
	at := f.now()
	f.update(func(tx ports.Tx) error {
		_, err := tx.OpenStream(to.hold, domain.Stream{
			Message: to.stream, Room: to.room, Bot: everyBot, ReplyTo: to.message, Attempt: 1, Text: "so far", StartedAt: at,
		})
		return err
	})
	return to
}

func (d *dumper) bots() {
	bots, err := d.r.Bots(0, page)
	d.errs = append(d.errs, err)
	for _, b := range bots {
		d.line("bot", b)
	}
}

func (d *dumper) botsOf(room domain.RoomID) {
	bots, err := d.r.RoomBots(room)
	s, ok, err2 := d.r.StreamOf(room, everyBot)
	replies, err3 := d.r.BotReplies(room, time.UnixMilli(0), page)
	d.errs = append(d.errs, err, err2, err3)
	d.line("bots, an answer and how many:", []any{bots, s, ok, replies})
}

// newBot has every value set.
func (f *fixture) newBot() domain.Bot {
	return domain.Bot{
		ID: domain.BotID(f.newUUID()), Name: "Ünï 🦊", Provider: domain.ProviderAnthropic, BaseURL: "https://model.example/v1",
		Model: "model-1", Key: []byte{0, 1, 0xff, 'k'}, KeyEnv: "NAME", WebhookURL: "https://hooks.example/x?y=1&z=<2>",
		SystemPrompt: "it's \"quoted\" 100%\n", ContextMessages: 20, MaxOutputTokens: 100_000, Temperature: ptr(0.1), CreatedAt: f.now(),
	}
}

func (f *fixture) addBot() domain.Bot {
	f.t.Helper()
	b := f.newBot()
	f.update(func(tx ports.Tx) error { return tx.AddBot(b) })
	return b
}

func (f *fixture) tryBot(id domain.BotID) (domain.Bot, error) {
	return ports.View(f.t.Context(), f.db, f.tenant, func(r ports.Reader) (domain.Bot, error) { return r.Bot(id) })
}

func (f *fixture) bots(offset, limit int) (list []domain.Bot) {
	f.t.Helper()
	f.view(func(r ports.Reader) (err error) {
		list, err = r.Bots(offset, limit)
		return err
	})
	return list
}

func botComesBack(f *fixture) {
	full, bare, zero := f.newBot(), domain.Bot{ID: domain.BotID(f.newUUID()), CreatedAt: f.now()}, f.newBot()
	zero.Temperature = ptr(0.0)
	f.update(func(tx ports.Tx) error {
		err := errors.Join(tx.AddBot(full), tx.AddBot(bare), tx.AddBot(zero))
		got, err2 := tx.Bot(full.ID)
		equal(f.t, "the bot within the update", got, full)
		return errors.Join(err, err2)
	})
	for range 2 {
		for _, want := range []domain.Bot{full, bare, zero} {
			got, err := f.tryBot(want.ID)
			equal(f.t, "the error of Bot", err, nil)
			equal(f.t, "the bot", got, want)
		}
		f.reopen()
	}
	_, err := f.tryBot(domain.BotID(f.newUUID()))
	wantError(f.t, "Bot of an unknown id", err, domain.ErrBotNotFound)
}

func botsAreListed(f *fixture) {
	first, second, third := f.newBot(), f.newBot(), f.newBot()
	f.update(func(tx ports.Tx) error { return errors.Join(tx.AddBot(third), tx.AddBot(first), tx.AddBot(second)) })
	f.newTenant("second").addBot()
	want := []domain.Bot{first, second, third}
	for range 2 {
		equalList(f.t, "all", f.bots(0, page), want)
		equalList(f.t, "a page", f.bots(1, 1), want[1:2])
		equalList(f.t, "the last page", f.bots(2, page), want[2:])
		equalList(f.t, "the page after that", f.bots(3, page), nil)
		equalList(f.t, "none", f.bots(0, 0), nil)
		f.reopen()
	}
}

func botIsStoredAnew(f *fixture) {
	b, beside := f.addBot(), f.addBot()
	other := f.newTenant("second")
	theirs := b
	other.update(func(tx ports.Tx) error { return tx.AddBot(theirs) })
	for _, now := range []domain.Bot{
		{ID: b.ID, Name: "n", Provider: domain.ProviderOpenAI, BaseURL: "http://b", Model: "m", ContextMessages: 1, CreatedAt: b.CreatedAt},
		{ID: b.ID, Key: []byte{7}, KeyEnv: "E", WebhookURL: "w", SystemPrompt: "s", MaxOutputTokens: 1, Temperature: ptr(2.0), CreatedAt: b.CreatedAt},
		{ID: b.ID, CreatedAt: b.CreatedAt},
		b,
	} {
		f.update(func(tx ports.Tx) error { return tx.UpdateBot(now) })
		equalList(f.t, "bots", f.bots(0, page), []domain.Bot{now, beside})
	}
	f.update(func(tx ports.Tx) error {
		wantError(f.t, "UpdateBot of an unknown id", tx.UpdateBot(f.newBot()), domain.ErrBotNotFound)
		return nil
	})
	f.reopen()
	equalList(f.t, "bots in the end", f.bots(0, page), []domain.Bot{b, beside})
	equalList(f.t, "the other tenant's", other.bots(0, page), []domain.Bot{theirs})
}

func botsAreBounded(f *fixture) {
	var list []domain.Bot
	for range domain.MaxBots {
		list = append(list, f.addBot())
	}
	f.newTenant("second").addBot()
	more := f.newBot()
	f.update(func(tx ports.Tx) error {
		wantError(f.t, "AddBot of one too many", tx.AddBot(more), domain.ErrTooManyBots)
		return errors.Join(tx.UpdateBot(list[7]), tx.RemoveBot(list[3].ID), tx.AddBot(more))
	})
	f.update(func(tx ports.Tx) error {
		wantError(f.t, "AddBot of one too many again", tx.AddBot(f.newBot()), domain.ErrTooManyBots)
		return nil
	})
	equalList(f.t, "bots", f.bots(0, page), append(slices.Delete(list, 3, 4), more))
}

func removedBotIsGone(f *fixture) {
	b := f.addBot()
	room := f.botRoom(b.ID)
	f.ask(room.ID, "ann")
	said := f.answer(room.ID, f.theRun(), "the answer")
	f.update(func(tx ports.Tx) error { return tx.RemoveBot(b.ID) })
	for range 2 {
		_, err := f.tryBot(b.ID)
		wantError(f.t, "Bot of one that was removed", err, domain.ErrBotNotFound)
		f.update(func(tx ports.Tx) error {
			wantError(f.t, "RemoveBot again", tx.RemoveBot(b.ID), domain.ErrBotNotFound)
			wantError(f.t, "UpdateBot of one that was removed", tx.UpdateBot(b), domain.ErrBotNotFound)
			return nil
		})
		equalList(f.t, "bots", f.bots(0, page), nil)
		equal(f.t, "the message", f.messageNow(room.ID, said.ID), said)
		equal(f.t, "the membership's state", f.memberNow(room.ID, b.ID.User()).State, domain.Active)
		f.reopen()
	}
}

func rolledBackBots(f *fixture) {
	b := f.addBot()
	room := f.botRoom(b.ID)
	other := f.newBot()
	changed := b
	changed.Name, changed.Key = "changed", nil
	for _, x := range failures {
		at := f.now()
		f.unchanged(room.ID, func() {
			got := endingOf(func() error {
				return f.tryUpdate(func(tx ports.Tx) error {
					_, err := tx.RemoveMember(room.ID, b.ID.User(), at)
					_, err2 := tx.AddMember(room.ID, other.ID.User(), domain.RoleMember, at)
					bots, err3 := tx.RoomBots(room.ID)
					equalList(f.t, "bots within the update", bots, []domain.BotID{other.ID})
					return errors.Join(tx.AddBot(other), tx.UpdateBot(changed), tx.RemoveBot(b.ID), err, err2, err3, x.fail())
				})
			})
			if err := x.check(got); err != nil {
				f.t.Error(err)
			}
		})
	}
	equalList(f.t, "bots", f.bots(0, page), []domain.Bot{b})
}

// botRoom is a group of ann, bob and bots.
func (f *fixture) botRoom(bots ...domain.BotID) domain.Room {
	f.t.Helper()
	room := f.group("ann", "bob")
	for _, bot := range bots {
		f.addMember(room.ID, bot.User(), domain.RoleMember)
	}
	return f.roomNow(room.ID)
}

func (f *fixture) newBotID() domain.BotID { return domain.BotID(f.newUUID()) }

// inRoom fails the case unless these bots are in a room, whoever asks.
func (f *fixture) inRoom(what string, room domain.RoomID, want ...domain.BotID) {
	f.t.Helper()
	f.view(func(r ports.Reader) error {
		got, err := r.RoomBots(room)
		equalList(f.t, "bots "+what, got, want)
		return err
	})
	f.update(func(tx ports.Tx) error {
		got, err := tx.RoomBots(room)
		equalList(f.t, "bots within an update "+what, got, want)
		return err
	})
	equalList(f.t, "bots in a send's snapshot "+what, f.snapshot(domain.Intent{Room: room, Sender: "ann"}).Bots, want)
}

func botsOfARoom(f *fixture) {
	a, b, c := f.newBotID(), f.newBotID(), f.newBotID()
	room, empty := f.create(f.newRoom(domain.RoomGroup, "ann", b.User(), "bob", a.User())), f.group("ann")
	f.inRoom("at first", room.ID, b, a)
	f.inRoom("of another room", empty.ID)
	f.addMember(room.ID, c.User(), domain.RoleMember)
	f.addMember(room.ID, "bot_helper", domain.RoleMember)
	f.addMember(room.ID, domain.UserID("bot_"+b.String()), domain.RoleMember)
	f.inRoom("after one has joined", room.ID, b, a, c)
	f.reopen()
	f.inRoom("after a restart", room.ID, b, a, c)
	f.removeMember(room.ID, b.User())
	f.inRoom("after one has left", room.ID, a, c)
	f.setRole(room.ID, a.User(), domain.RoleAdmin)
	f.addMember(room.ID, a.User(), domain.RoleMember)
	f.inRoom("after one has another role", room.ID, a, c)
	at := f.times.Now().Add(-time.Hour) // whatever the clock says
	f.member("AddMember", func(tx ports.Tx) (domain.Member, error) {
		return tx.AddMember(room.ID, b.User(), domain.RoleMember, at)
	})
	f.inRoom("after one has come back", room.ID, a, c, b)
	f.removeMember(room.ID, "ann")
	f.send(room.ID, "bob", "hello")
	f.inRoom("after a user has left", room.ID, a, c, b)
	for _, bot := range []domain.BotID{a, b, c} {
		f.removeMember(room.ID, bot.User())
	}
	f.inRoom("after all have left", room.ID)
	f.addMember(room.ID, c.User(), domain.RoleMember)
	f.removeRoom(room.ID)
	f.view(func(r ports.Reader) error {
		_, err := r.RoomBots(room.ID)
		wantError(f.t, "RoomBots of a removed room", err, domain.ErrRoomNotFound)
		return nil
	})
}

func fiveBotsOfARoom(f *fixture) {
	room := f.group("ann")
	var all []domain.BotID
	for range domain.MaxBotsPerRoom + 2 {
		bot := f.newBotID()
		f.addMember(room.ID, bot.User(), domain.RoleMember)
		all = append(all, bot)
	}
	f.inRoom("of seven", room.ID, all[:5]...)
	f.removeMember(room.ID, all[1].User())
	f.inRoom("of six", room.ID, slices.Concat(all[:1], all[2:6])...)
}

func sendSeesTheBots(f *fixture) {
	bot := f.newBotID()
	room := f.botRoom(bot)
	f.ask(room.ID, "ann")
	run := f.theRun()
	in := domain.Intent{Room: room.ID, Sender: bot.User(), Hold: ptr(holdOf(run))}
	equalList(f.t, "bots for a bot's answer", f.snapshot(in).Bots, nil)
	f.snapshot(domain.Intent{Room: room.ID, Sender: "ann"}).Bots[0] = domain.BotID{} // theirs to spoil
	f.inRoom("after a decision that spoils what it is given", room.ID, bot)
	second, at := f.newBotID(), f.now()
	f.update(func(tx ports.Tx) error {
		_, err := tx.AddMember(room.ID, second.User(), domain.RoleMember, at)
		_, err2 := tx.RemoveMember(room.ID, bot.User(), at)
		bots, err3 := tx.RoomBots(room.ID)
		equalList(f.t, "bots within the update", bots, []domain.BotID{second})
		return errors.Join(err, err2, err3)
	})
	f.inRoom("in the end", room.ID, second)
}

func botsUnderWriters(f *fixture) {
	room := f.group("ann", "bob")
	bots := make([]domain.BotID, writers)
	for i := range bots {
		bots[i] = f.newBotID()
	}
	parallel(f.t, writers, func(w int) error {
		user := bots[w].User()
		for step := range 9 {
			at := f.now()
			err := f.tryUpdate(func(tx ports.Tx) error {
				if step%2 == 0 {
					_, err := tx.AddMember(room.ID, user, domain.RoleMember, at)
					return err
				}
				_, err := tx.RemoveMember(room.ID, user, at)
				return err
			})
			if err != nil {
				return err
			}
			if err := f.failSomehow(room.ID, w+step); err != nil {
				return err
			}
			in := domain.Intent{Room: room.ID, Sender: "ann"}
			_, err = f.db.Append(f.t.Context(), f.tenant, in, func(s domain.Snapshot) (domain.Change, error) {
				if stays := slices.Contains(s.Bots, bots[w]); stays != (step%2 == 0) && len(s.Bots) < domain.MaxBotsPerRoom {
					return domain.Change{}, fmt.Errorf("after step %d a bot is among the room's: %t", step, stays)
				}
				return domain.Change{}, errLooked
			})
			if !errors.Is(err, errLooked) {
				return err
			}
		}
		return nil
	})
	var want []domain.BotID
	for _, m := range f.membersNow(room.ID) {
		if bot, ok := m.User.Bot(); ok {
			want = append(want, bot)
		}
	}
	equal(f.t, "bots who are members", len(want), writers)
	slices.SortFunc(want, func(a, b domain.BotID) int {
		return int(f.memberNow(room.ID, a.User()).JoinedRev - f.memberNow(room.ID, b.User()).JoinedRev)
	})
	for range 2 {
		f.inRoom("in the end", room.ID, want[:domain.MaxBotsPerRoom]...)
		f.reopen()
	}
}

// sayAs stores a message of any sender, at a time.
func (f *fixture) sayAs(room domain.RoomID, sender domain.UserID, kind domain.SenderType, at time.Time) domain.Message {
	f.t.Helper()
	s := f.newSend(sender, domain.Draft{Content: "said"})
	s.SenderType, s.Now = kind, at
	out, err := f.trySend(room, s, nil)
	if err != nil {
		f.t.Fatalf("Append: %v", err)
	}
	return out.Message
}

func repliesAreCounted(f *fixture) {
	a, b := f.newBotID(), f.newBotID()
	room, other := f.botRoom(a, b), f.botRoom(a)
	start := f.times.Now()
	for i := range 6 {
		at := start.Add(time.Duration(i) * time.Second)
		f.sayAs(room.ID, []domain.BotID{a, b}[i%2].User(), domain.SenderBot, at)
		f.sayAs(room.ID, "ann", domain.SenderUser, at)
		f.sayAs(room.ID, "bob", domain.SenderSystem, at)
	}
	f.sayAs(other.ID, a.User(), domain.SenderBot, start)
	f.sayAs(room.ID, a.User(), domain.SenderBot, start.Add(-time.Hour)) // a clock that was wrong
	f.delete(room.ID, 1)
	for range 2 {
		f.view(func(r ports.Reader) error {
			var errs []error
			for _, c := range []struct {
				since time.Duration
				limit int
				want  int
			}{
				{-2 * time.Hour, page, 7}, {-time.Minute, page, 6}, {0, page, 6}, {1, page, 5}, {time.Second, page, 5}, {5 * time.Second, page, 1},
				{5001 * time.Millisecond, page, 0}, {0, 6, 6}, {0, 5, 5}, {0, 1, 1}, {0, 0, 0},
			} {
				n, err := r.BotReplies(room.ID, start.Add(c.since), c.limit)
				equal(f.t, fmt.Sprintf("replies since %v, up to %d", c.since, c.limit), n, c.want)
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		})
		f.reopen()
	}
}

func purgeOfBots(f *fixture) {
	gone := f.newTenant("gone")
	to := gone.furnish()
	gone.addBot()
	f.furnish()
	before := f.dump("ann", "bob")
	equal(f.t, "DeleteTenant", f.db.DeleteTenant(f.t.Context(), gone.tenant, f.now()), nil)
	f.purge()
	again := domain.Tenant{ID: gone.tenant, Name: "again", CreatedAt: f.now()}
	equal(f.t, "CreateTenant", f.db.CreateTenant(f.t.Context(), again), nil)
	equalList(f.t, "bots of a new tenant of the same id", gone.bots(0, page), nil)
	gone.update(func(tx ports.Tx) error {
		wantError(f.t, "KeepStream by a hold of before", noteError(tx.KeepStream(to.hold, to.stream, "x")), domain.ErrLeaseLost)
		return nil
	})
	equalList(f.t, "the tenant beside it", f.dump("ann", "bob"), before)
}
