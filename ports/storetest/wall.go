package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var wallContracts = []contract{
	{"another tenant's ids are answered by every method as ids that do not exist", foreignIDsAreUnknown},
	{"the table of the wall names every method", wallNamesEveryMethod},
	{"a message is found in its own room alone", messageIsFoundInItsRoom},
	{"a send with another tenant's ids finds nothing", foreignSendFindsNothing},
	{"names two tenants share are two things", sharedNamesAreTwoThings},
	{"lists show only the own tenant", listsShowOwnTenant},
	{"another tenant's key cannot be revoked", foreignKeyCannotBeRevoked},
	{"an unknown tenant is not found and nothing runs", unknownTenantIsNotFound},
}

// aim is what a call of the wall is aimed at: things of another tenant, or things that do not exist.
type aim struct {
	room    domain.RoomID
	message domain.MessageID
	unique  string
	user    domain.UserID
	key     [32]byte
	letter  domain.DeadLetterID

	notification domain.NotificationID
	subscription domain.SubscriptionID

	bot    domain.BotID
	stream domain.MessageID
	hold   domain.Hold
}

// trespass is one method of ports.Tx, called with ids from outside the tenant. The answer is compared, never used.
type trespass struct {
	method string
	call   func(f *fixture, tx ports.Tx, to aim) (answer any, err error)
	found  bool // the method may answer without an error: it takes a position, or lists
}

var trespasses = []trespass{
	{"Access", func(_ *fixture, tx ports.Tx, to aim) (any, error) {
		room, member, err := tx.Access(to.room, to.user)
		return []any{room, member}, err
	}, false},
	{"RoomByKey", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.RoomByKey(to.unique) }, false},
	{"Rooms", func(_ *fixture, tx ports.Tx, to aim) (any, error) {
		return tx.Rooms(domain.RoomQuery{User: to.user, Limit: page})
	}, true},
	{"RoomsByKey", func(_ *fixture, tx ports.Tx, to aim) (any, error) {
		rooms, total, err := tx.RoomsByKey(ports.KeyQuery{Prefix: to.unique, Limit: page})
		return []any{rooms, total}, err
	}, true},
	{"Members", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.Members(to.room, 0, page) }, true},
	{"Member", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.Member(to.room, to.user) }, false},
	{"Succession", func(_ *fixture, tx ports.Tx, to aim) (any, error) {
		longest, admin, err := tx.Succession(to.room, to.user)
		return []any{longest, admin}, err
	}, true},
	{"Message", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.Message(to.room, to.message) }, false},
	{"MessagesAfter", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.MessagesAfter(to.room, 0, page) }, true},
	{"MessagesBefore", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.MessagesBefore(to.room, 9, page) }, true},
	{"Places", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.Places(to.user, "phone") }, true},
	{"Events", func(_ *fixture, tx ports.Tx, to aim) (any, error) {
		return tx.Events(ports.EventQuery{Room: to.room, Limit: page})
	}, true},
	{"SeqAt", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.SeqAt(to.room, 3) }, true},
	{"RemovedAt", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.RemovedAt(to.room) }, true},
	{"Positions", func(_ *fixture, tx ports.Tx, to aim) (any, error) {
		return tx.Positions([]domain.RoomID{to.room})
	}, true},
	{"Idempotency", func(f *fixture, tx ports.Tx, to aim) (any, error) {
		return tx.Idempotency(to.user, to.key, f.now())
	}, true},
	{"Recipients", func(_ *fixture, tx ports.Tx, to aim) (any, error) {
		users, through, err := tx.Recipients(to.room, domain.Message{ID: to.message, Seq: 3}, "", "", page)
		return []any{users, through}, err
	}, false},
	{"DeadLetters", func(_ *fixture, tx ports.Tx, _ aim) (any, error) { return tx.DeadLetters(false, page) }, true},
	{"TakeDeadLetter", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.TakeDeadLetter(to.letter) }, false},
	{"Notification", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.Notification(to.notification) }, false},
	{"KnownNotifications", func(_ *fixture, tx ports.Tx, to aim) (any, error) {
		return tx.KnownNotifications([]domain.NotificationID{to.notification})
	}, true},
	{"WaitingJobs", func(_ *fixture, tx ports.Tx, _ aim) (any, error) { return tx.WaitingJobs(domain.LaneWebhook, page) }, true},
	{"Notices", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.Notices(to.user, 0, page) }, true},
	{"LastNotice", func(_ *fixture, tx ports.Tx, _ aim) (any, error) { return tx.LastNotice() }, true},
	{"Expand", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.Expand(to.notification, page) }, true},
	{"AddRecipient", func(_ *fixture, tx ports.Tx, to aim) (any, error) {
		return nil, tx.AddRecipient(to.notification, "eve")
	}, false},
	{"SettleNotice", func(_ *fixture, tx ports.Tx, to aim) (any, error) {
		return tx.SettleNotice(to.user, to.notification)
	}, false},
	{"Subscription", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.Subscription(to.subscription) }, false},
	{"Subscriptions", func(_ *fixture, tx ports.Tx, to aim) (any, error) {
		return tx.Subscriptions(&to.user, 0, page)
	}, true},
	{"RemoveSubscription", func(_ *fixture, tx ports.Tx, to aim) (any, error) {
		return nil, tx.RemoveSubscription(to.subscription)
	}, false},
	{"Marks", func(_ *fixture, tx ports.Tx, to aim) (any, error) {
		return tx.Marks(to.room, []ports.UserDevice{{User: to.user, Device: "phone"}})
	}, false},
	{"AddMember", func(f *fixture, tx ports.Tx, to aim) (any, error) {
		return tx.AddMember(to.room, "eve", domain.RoleAdmin, f.now())
	}, false},
	{"RemoveMember", func(f *fixture, tx ports.Tx, to aim) (any, error) {
		return tx.RemoveMember(to.room, to.user, f.now())
	}, false},
	{"SetRole", func(f *fixture, tx ports.Tx, to aim) (any, error) {
		return tx.SetRole(to.room, to.user, domain.RoleMember, f.now())
	}, false},
	{"RaiseRead", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.RaiseRead(to.room, to.user, 2) }, false},
	{"UpdateRoom", func(f *fixture, tx ports.Tx, to aim) (any, error) {
		return tx.UpdateRoom(domain.Room{ID: to.room, Name: ptr("theirs")}, f.now())
	}, false},
	{"RemoveRoom", func(f *fixture, tx ports.Tx, to aim) (any, error) {
		return nil, tx.RemoveRoom(to.room, f.now())
	}, false},
	{"EditMessage", func(f *fixture, tx ports.Tx, to aim) (any, error) {
		return tx.EditMessage(domain.Message{ID: to.message, Room: to.room, Content: "theirs", EditedAt: f.now()})
	}, false},
	{"DeleteMessage", func(f *fixture, tx ports.Tx, to aim) (any, error) {
		return tx.DeleteMessage(domain.Message{ID: to.message, Room: to.room, DeletedAt: f.now()})
	}, false},
	{"User", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.User(to.user) }, false},
	{"RoomMates", func(_ *fixture, tx ports.Tx, to aim) (any, error) {
		all, err := tx.RoomMates("", []domain.UserID{to.user})
		mates, err2 := tx.RoomMates("zoe", []domain.UserID{to.user})
		own, err3 := tx.RoomMates(to.user, []domain.UserID{to.user, "zoe"})
		return [][]domain.User{all, mates, own}, errors.Join(err, err2, err3)
	}, true},
	{"SmallRooms", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.SmallRooms(to.user, page) }, true},
	{"SawUsers", func(f *fixture, tx ports.Tx, to aim) (any, error) {
		return nil, tx.SawUsers([]domain.UserID{to.user}, f.now().Add(time.Hour))
	}, true},
	{"SetHandoff", func(f *fixture, tx ports.Tx, to aim) (any, error) {
		return tx.SetHandoff(to.room, domain.Handoff{Mode: domain.HandoffHuman}, f.now())
	}, false},
	{"Bot", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.Bot(to.bot) }, false},
	{"Bots", func(_ *fixture, tx ports.Tx, _ aim) (any, error) { return tx.Bots(0, page) }, true},
	{"RoomBots", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.RoomBots(to.room) }, false},
	{"Stream", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.Stream(to.room, to.stream) }, false},
	{"StreamOf", func(_ *fixture, tx ports.Tx, to aim) (any, error) {
		s, ok, err := tx.StreamOf(to.room, to.bot)
		return []any{s, ok}, err
	}, false},
	{"BotReplies", func(_ *fixture, tx ports.Tx, to aim) (any, error) {
		return tx.BotReplies(to.room, time.Time{}, page)
	}, false},
	{"UpdateBot", func(_ *fixture, tx ports.Tx, to aim) (any, error) {
		return nil, tx.UpdateBot(domain.Bot{ID: to.bot, Name: "theirs"})
	}, false},
	{"RemoveBot", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return nil, tx.RemoveBot(to.bot) }, false},
	{"OpenStream", func(f *fixture, tx ports.Tx, to aim) (any, error) {
		return tx.OpenStream(to.hold, domain.Stream{Message: to.stream, Room: to.room, Bot: to.bot, Attempt: 9, Text: "theirs", StartedAt: f.now()})
	}, true},
	{"KeepStream", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return tx.KeepStream(to.hold, to.stream, "theirs") }, true},
	{"EndStream", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return nil, tx.EndStream(to.hold, to.stream) }, true},
	{"StopStream", func(_ *fixture, tx ports.Tx, to aim) (any, error) { return nil, tx.StopStream(to.room, to.stream) }, false},
	{"RaiseMark", func(_ *fixture, tx ports.Tx, to aim) (any, error) {
		return tx.RaiseMark(to.room, to.user, "phone", domain.Mark{DeliveredSeq: 2})
	}, false},
}

// nameless are the methods that name nothing of another tenant, or answer nothing of it; sharedNamesAreTwoThings has them,
// and roomOfAnotherTenant the room that AddNotification may name.
var nameless = []string{
	"CreateRoom", "SeeDevice", "PutUser", "Enqueue", "AddDeadLetter", "GrowDeadLetter", "KeepIdempotency",
	"AddNotification", "AddSubscription", "AddBot",
}

func wallNamesEveryMethod(f *fixture) {
	var named, have []string
	for _, x := range trespasses {
		named = append(named, x.method)
	}
	named = append(named, nameless...)
	tx := reflect.TypeFor[ports.Tx]()
	for i := range tx.NumMethod() {
		have = append(have, tx.Method(i).Name)
	}
	slices.Sort(named)
	equalList(f.t, "methods in the table, against those of ports.Tx", named, have)
}

// furnish gives a tenant one of everything, and returns what another tenant could aim at.
func (f *fixture) furnish() aim {
	f.t.Helper()
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 2)
	send := f.newSend("ann", domain.Draft{Content: "third", ClientID: "c1"})
	to := aim{room: room.ID, message: send.ID, user: "ann", key: everyKey, letter: everyLetter}
	to.notification, to.subscription = everyNotification, everySubscription
	if _, err := f.trySend(room.ID, send, &domain.Idempotency{User: "ann", Key: [32]byte{1}}); err != nil {
		f.t.Fatal(err)
	}
	dm, members := f.newDM("ann", "bob")
	to.unique = f.create(dm, members).UniqueKey
	f.raise(room.ID, "ann", "phone", domain.Mark{DeliveredSeq: 1})
	f.see("ann", "phone", 1)
	at := f.now()
	f.update(func(tx ports.Tx) error {
		_, err := tx.RaiseRead(room.ID, "ann", 1)
		return errors.Join(err, tx.PutUser(domain.User{ID: "ann", Name: ptr("Ann")}), tx.SawUsers([]domain.UserID{"bob"}, at),
			tx.KeepIdempotency(domain.Idempotency{User: "ann", Key: everyKey}, 201, "thing", at),
			tx.Enqueue(everyJob(room.ID, at)), tx.AddDeadLetter(domain.DeadLetter{ID: everyLetter, Job: everyJob(room.ID, at), At: at}),
			notifyEverything(tx, room.ID, at), tx.AddBot(everyBotValue(at)))
	})
	return f.withStream(to)
}

// nothing is an aim at things that do not exist.
func (f *fixture) nothing() aim {
	return aim{
		room: f.newRoomID(), message: f.newMessageID(), unique: "dm:no:body", user: "nobody", key: [32]byte{9}, letter: domain.DeadLetterID(f.newUUID()),
		notification: domain.NotificationID(f.newUUID()), subscription: domain.SubscriptionID(f.newUUID()),
		bot: domain.BotID(f.newUUID()), stream: f.newMessageID(), hold: domain.Hold{Job: domain.JobID(f.newUUID()), Fence: 1},
	}
}

func foreignIDsAreUnknown(f *fixture) {
	theirs := f.furnish()
	mine := f.newTenant("trespasser")
	own := mine.group("zoe")
	mine.send(own.ID, "zoe", "mine")
	before, beforeMine, told := f.dump("ann", "bob"), mine.dump("zoe", "ann"), f.commits.total()
	for _, x := range trespasses {
		mine.trespass(x, theirs)
	}
	equal(f.t, "events told", f.commits.total(), told)
	equalList(f.t, "the other tenant", f.dump("ann", "bob"), before)
	equalList(f.t, "the trespasser", mine.dump("zoe", "ann"), beforeMine)
	f.send(theirs.room, "ann", "still there")
	f.dense(theirs.room)
}

// trespass calls a method with foreign ids and with unknown ones, in committed updates and, where it can, in views.
func (f *fixture) trespass(x trespass, theirs aim) {
	f.t.Helper()
	aims := []aim{theirs, f.nothing()}
	var answers []string
	for _, to := range aims {
		f.update(func(tx ports.Tx) error {
			answer, err := x.call(f, tx, to)
			if !x.found {
				wantError(f.t, x.method+" with another tenant's id", err, domain.ErrRoomNotFound)
			}
			answers = append(answers, fmt.Sprintf("%s, error: %v", show(answer), err))
			return nil
		})
	}
	equal(f.t, x.method+" with a foreign id, against an unknown one", answers[0], answers[1])
}

// messageIsFoundInItsRoom asks in a room of the own for messages of another tenant and of another room.
func messageIsFoundInItsRoom(f *fixture) {
	theirs := f.furnish()
	mine := f.newTenant("trespasser")
	own, second := mine.group("ann"), mine.group("ann")
	here, there := mine.send(own.ID, "ann", "here"), mine.send(second.ID, "ann", "there")
	foreign := []domain.MessageID{theirs.message, there.ID, mine.newMessageID()}
	mine.view(func(r ports.Reader) error {
		for _, id := range foreign {
			got, err := r.Message(own.ID, id)
			wantError(f.t, "Message of another room: "+show(got), err, domain.ErrMessageNotFound)
		}
		got, err := r.Message(own.ID, here.ID)
		equal(f.t, "Message of this room", got, here)
		return err
	})
	mine.unchanged(own.ID, func() {
		for _, id := range foreign {
			mine.cannotChange(own.ID, id)
		}
	})
}

// cannotChange fails the case unless a message is not found by those that change messages.
func (f *fixture) cannotChange(room domain.RoomID, id domain.MessageID) {
	f.t.Helper()
	at := f.now()
	f.update(func(tx ports.Tx) error {
		_, err := tx.EditMessage(domain.Message{ID: id, Room: room, Content: "changed", EditedAt: at})
		wantError(f.t, "EditMessage of another room", err, domain.ErrMessageNotFound)
		_, err = tx.DeleteMessage(domain.Message{ID: id, Room: room, DeletedAt: at})
		wantError(f.t, "DeleteMessage of another room", err, domain.ErrMessageNotFound)
		return nil
	})
}

func foreignSendFindsNothing(f *fixture) {
	theirs := f.furnish()
	mine := f.newTenant("trespasser")
	own := mine.group("ann")
	for _, room := range []domain.RoomID{theirs.room, f.newRoomID()} {
		_, err := mine.db.Append(f.t.Context(), mine.tenant, domain.Intent{Room: room, Sender: "ann"},
			func(domain.Snapshot) (domain.Change, error) {
				f.t.Error("decide was called for another tenant's room")
				return domain.Change{}, errLooked
			})
		equal(f.t, "Append to another tenant's room", fmt.Sprint(err), domain.ErrRoomNotFound.Error())
	}
	ann := mine.memberNow(own.ID, "ann")
	want := domain.Snapshot{Room: own, Member: &ann}
	for _, in := range []domain.Intent{
		{Sender: "ann", ReplyTo: theirs.message},
		{Sender: "ann", ClientID: "c1"},
		{Sender: "ann", Idempotency: &domain.Idempotency{User: "ann", Key: [32]byte{1}, Request: [32]byte{7}}},
	} {
		in.Room = own.ID
		equal(f.t, "snapshot of a send with another tenant's ids", mine.snapshot(in), want)
	}
}

// sharedNamesAreTwoThings repeats in a second tenant, with the same names, what the first one has.
func sharedNamesAreTwoThings(f *fixture) {
	f.furnish()
	before := f.dump("ann", "bob")
	other := f.newTenant("second")
	theirs := other.furnish()
	equalList(f.t, "the first tenant", f.dump("ann", "bob"), before)
	kept := other.dump("ann", "bob")
	first := f.rooms(domain.RoomQuery{User: "ann", Type: domain.RoomGroup})[0]
	f.raise(first.ID, "ann", "phone", domain.Mark{DeliveredSeq: 3})
	f.see("ann", "phone", 2)
	f.removeMember(first.ID, "bob")
	at := f.now()
	f.update(func(tx ports.Tx) error {
		_, err := tx.RaiseRead(first.ID, "ann", 3)
		_, err2 := tx.RaiseRead(first.ID, "bob", 2)
		_, err3 := tx.TakeDeadLetter(everyLetter)
		return errors.Join(err, err2, err3, tx.PutUser(domain.User{ID: "ann"}), tx.SawUsers([]domain.UserID{"ann", "bob"}, at))
	})
	f.edit(first.ID, 1, "edited")
	f.delete(first.ID, 2)
	f.rename(first.ID, "renamed")
	f.removeRoom(first.ID)
	f.purge()
	equalList(f.t, "the second tenant", other.dump("ann", "bob"), kept)
	equal(f.t, "the mark in the second tenant", other.place(theirs.room, "ann", "phone").Mark.DeliveredSeq, int64(1))
}

func listsShowOwnTenant(f *fixture) {
	theirs := f.furnish()
	other := f.newTenant("second")
	own, members := other.newRoom(domain.RoomChannel, "ann")
	own = other.create(own, members)
	for _, q := range []domain.RoomQuery{{}, {User: "ann"}, {User: "zoe", Open: true}} {
		equal(f.t, "rooms listed for "+show(q), roomIDs(other.rooms(q)), []domain.RoomID{own.ID})
	}
	equal(f.t, "channels open to another tenant's user", len(f.rooms(domain.RoomQuery{User: "zoe", Open: true})), 0)
	other.view(func(r ports.Reader) error {
		got, err := r.Positions([]domain.RoomID{theirs.room, own.ID, f.newRoomID()})
		equal(f.t, "Positions", got, map[domain.RoomID]int64{own.ID: 1})
		return err
	})
}

func foreignKeyCannotBeRevoked(f *fixture) {
	key := f.addKey(domain.APIKey, 1)
	mine := f.newTenant("trespasser")
	for _, id := range []string{key.ID, "key_unknown"} {
		err := f.db.RevokeKey(f.t.Context(), mine.tenant, domain.APIKey, id, f.now())
		equal(f.t, "RevokeKey of "+id, fmt.Sprint(err), domain.ErrKeyNotFound.Error())
	}
	got, err := f.db.APIKey(f.t.Context(), key.Hash)
	if err != nil {
		f.t.Fatalf("APIKey after another tenant's RevokeKey: %v", err)
	}
	equal(f.t, "the key", got, key.Key)
	keys, err := f.db.KeysOf(f.t.Context(), mine.tenant)
	equal(f.t, "keys of a tenant without", len(keys), 0)
	equal(f.t, "KeysOf", err, nil)
}

func unknownTenantIsNotFound(f *fixture) {
	room := f.group("ann")
	f.isNoTenant("tenant_unknown", room.ID)
	f.isNoTenant("", room.ID)
}

// isNoTenant fails the case unless every call about a tenant answers that there is none, and runs nothing.
func (f *fixture) isNoTenant(id domain.TenantID, room domain.RoomID) {
	f.t.Helper()
	ctx, now := f.t.Context(), f.now()
	never := func(what string) { f.t.Errorf("%s ran its closure for an unknown tenant", what) }
	_, tenantErr := f.db.Tenant(ctx, id)
	in := domain.Intent{Room: room, Sender: "ann"}
	_, appendErr := f.db.Append(ctx, id, in, func(domain.Snapshot) (domain.Change, error) {
		never("Append")
		return domain.Change{}, errLooked
	})
	_, changeErr := f.db.UpdateTenant(ctx, id, func(t domain.Tenant) (domain.Tenant, error) {
		never("UpdateTenant")
		return t, nil
	})
	_, keysErr := f.db.KeysOf(ctx, id)
	_, usageErr := f.db.Usage(ctx, id, page)
	key := newKey(domain.APIKey, id, 77, now)
	for what, err := range map[string]error{
		"View":         f.db.View(ctx, id, func(ports.Reader) error { never("View"); return nil }),
		"Update":       f.db.Update(ctx, id, func(ports.Tx) error { never("Update"); return nil }),
		"Append":       appendErr,
		"Tenant":       tenantErr,
		"UpdateTenant": changeErr,
		"DeleteTenant": f.db.DeleteTenant(ctx, id, now),
		"AddKey":       f.db.AddKey(ctx, key),
		"KeysOf":       keysErr,
		"Usage":        usageErr,
		"RevokeKey":    f.db.RevokeKey(ctx, id, domain.APIKey, "key_1", now),
	} {
		equal(f.t, what+" of an unknown tenant", fmt.Sprint(err), domain.ErrTenantNotFound.Error())
	}
	if _, err := f.db.APIKey(ctx, key.Hash); err == nil {
		f.t.Error("AddKey of an unknown tenant has stored the key")
	}
}
