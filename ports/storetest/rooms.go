package storetest

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var roomContracts = []contract{
	{"a room is made with its members as rev 1", roomIsMadeWhole},
	{"a unique key raced by 50 creates makes one room", keyRaceMakesOneRoom},
	{"a unique key that exists is refused and the room is found by it", keyThatExists},
	{"rooms without a key are never the same", roomsWithoutKey},
	{"a create that fails in the middle leaves no half-made room", noHalfMadeRoom},
	{"a room that does not exist is not found by any method", unknownRoomIsNotFound},
	{"a room and its first message may share a commit", roomAndMessagesTogether},
}

func (f *fixture) newDM(a, b domain.UserID) (domain.Room, []domain.Member) {
	room, members := f.newRoom(domain.RoomDM, a, b)
	room.UniqueKey = domain.DMKey(a, b)
	return room, members
}

func (f *fixture) roomByKey(key string) domain.Room {
	f.t.Helper()
	var room domain.Room
	f.view(func(r ports.Reader) (err error) {
		room, err = r.RoomByKey(key)
		return err
	})
	return room
}

func roomIsMadeWhole(f *fixture) {
	room, members := f.newRoom(domain.RoomGroup, "zoe", "ann", "bob")
	made := f.create(room, members)
	room.LastRev = 1
	equal(f.t, "CreateRoom", made, room)
	want := domain.Event{
		Tenant: f.tenant, Room: room.ID, Rev: 1, Kind: domain.EventRoomCreated, At: room.CreatedAt, State: &room,
		Members: 3,
	}
	told := want
	told.Users = []domain.UserID{"zoe", "ann", "bob"}
	for range 2 {
		equal(f.t, "Access", f.roomNow(room.ID), room)
		equalList(f.t, "Members", f.membersNow(room.ID), members)
		equalList(f.t, "the log", f.log(room.ID), []domain.Event{want})
		equalList(f.t, "the events told", f.commits.of(room.ID), []domain.Event{told})
		f.reopen()
	}
	f.access(room.ID, "ann", &members[1])
	f.access(room.ID, "eve", nil)
	f.access(room.ID, "", nil)
}

// access fails the case unless Access tells this membership.
func (f *fixture) access(room domain.RoomID, user domain.UserID, want *domain.Member) {
	f.t.Helper()
	f.view(func(r ports.Reader) error {
		_, got, err := r.Access(room, user)
		equal(f.t, fmt.Sprintf("the membership of %q", user), got, want)
		return err
	})
}

func keyRaceMakesOneRoom(f *fixture) {
	const n = 50
	var made, refused atomic.Int64
	ids := make([]domain.RoomID, n)
	parallel(f.t, n, func(i int) error {
		room, members := f.newDM("ann", "bob")
		ids[i] = room.ID
		_, err := f.tryCreate(room, members)
		switch {
		case err == nil:
			made.Add(1)
		case errors.Is(err, domain.ErrDMExists):
			refused.Add(1)
		default:
			return err
		}
		return nil
	})
	equal(f.t, "rooms made and refused", [2]int64{made.Load(), refused.Load()}, [2]int64{1, n - 1})
	list := f.rooms(domain.RoomQuery{})
	equal(f.t, "rooms listed", len(list), 1)
	equal(f.t, "the room by its key", f.roomByKey(domain.DMKey("ann", "bob")), list[0].Room)
	equal(f.t, "events told", f.commits.total(), 1)
	f.onlyRoom(ids, list[0].ID)
}

// onlyRoom fails the case when any of ids but one can be found.
func (f *fixture) onlyRoom(ids []domain.RoomID, only domain.RoomID) {
	f.t.Helper()
	f.view(func(r ports.Reader) error {
		got, err := r.Positions(ids)
		equal(f.t, "rooms that exist", got, map[domain.RoomID]int64{only: 1})
		return err
	})
}

func keyThatExists(f *fixture) {
	room, members := f.newDM("ann", "bob")
	first := f.create(room, members)
	again, members := f.newDM("bob", "ann")
	_, err := f.tryCreate(again, members)
	wantError(f.t, "CreateRoom with a key that exists", err, domain.ErrDMExists)
	f.update(func(tx ports.Tx) error {
		_, err := tx.CreateRoom(again, members)
		wantError(f.t, "CreateRoom within an update", err, domain.ErrDMExists)
		got, err := tx.RoomByKey(room.UniqueKey)
		equal(f.t, "RoomByKey after the conflict", got, first)
		return err
	})
	f.reopen()
	_, err = f.tryCreate(again, members)
	wantError(f.t, "CreateRoom with a key that exists, after a restart", err, domain.ErrDMExists)
	f.onlyRoom([]domain.RoomID{first.ID, again.ID}, first.ID)
	third, members := f.newDM("ann", "cid")
	f.create(third, members)
}

func roomsWithoutKey(f *fixture) {
	f.group("ann", "bob")
	f.group("ann", "bob")
	equal(f.t, "rooms made", len(f.rooms(domain.RoomQuery{})), 2)
	f.view(func(r ports.Reader) error {
		_, err := r.RoomByKey("")
		wantError(f.t, "RoomByKey of no key", err, domain.ErrRoomNotFound)
		_, err = r.RoomByKey("dm:nobody:else")
		wantError(f.t, "RoomByKey of an unknown key", err, domain.ErrRoomNotFound)
		return nil
	})
}

// noHalfMadeRoom fails in the middle: an update after its room, and a second room after the first.
func noHalfMadeRoom(f *fixture) {
	kept := f.group("ann", "bob")
	dm, dmMembers := f.newDM("ann", "bob")
	f.create(dm, dmMembers)
	f.unchanged(kept.ID, func() {
		first, firstMembers := f.newRoom(domain.RoomGroup, "ann", "bob")
		second, secondMembers := f.newDM("ann", "bob")
		err := f.tryUpdate(func(tx ports.Tx) error {
			if _, err := tx.CreateRoom(first, firstMembers); err != nil {
				return err
			}
			_, err := tx.CreateRoom(second, secondMembers)
			return err
		})
		wantError(f.t, "the update", err, domain.ErrDMExists)
		f.onlyRoom([]domain.RoomID{first.ID, second.ID, kept.ID}, kept.ID)
	})
}

func unknownRoomIsNotFound(f *fixture) {
	room := f.group("ann")
	nothing := f.nothing()
	for _, x := range trespasses {
		if x.found {
			continue
		}
		f.update(func(tx ports.Tx) error {
			_, err := x.call(f, tx, nothing)
			wantError(f.t, x.method+" of a room that does not exist", err, domain.ErrRoomNotFound)
			return nil
		})
	}
	equal(f.t, "the room beside it", f.roomNow(room.ID), room)
}

// roomAndMessagesTogether makes rooms and sends to them at once, so that a store that batches meets both.
func roomAndMessagesTogether(f *fixture) {
	rooms := make([]domain.RoomID, writers)
	parallel(f.t, writers, func(w int) error {
		room, members := f.newRoom(domain.RoomGroup, "ann")
		rooms[w] = room.ID
		if _, err := f.tryCreate(room, members); err != nil {
			return err
		}
		for i := range 4 {
			if err := f.sendAnswered(room.ID, fmt.Sprint(i)); err != nil {
				return err
			}
		}
		return nil
	})
	for _, id := range rooms {
		messages, _ := f.dense(id)
		equal(f.t, "messages stored", len(messages), 4)
	}
}
