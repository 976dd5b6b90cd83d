package storetest

import (
	"fmt"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// page is how many rows the suite asks for at once; histories it reads whole are longer.
const page = 200

// roomNow returns a room as a fresh view shows it.
func (f *fixture) roomNow(id domain.RoomID) domain.Room {
	f.t.Helper()
	var room domain.Room
	f.view(func(r ports.Reader) (err error) {
		room, _, err = r.Access(id, "")
		return err
	})
	return room
}

// memberNow returns a membership as a fresh view shows it.
func (f *fixture) memberNow(room domain.RoomID, user domain.UserID) domain.Member {
	f.t.Helper()
	var m domain.Member
	f.view(func(r ports.Reader) (err error) {
		m, err = r.Member(room, user)
		return err
	})
	return m
}

// membersNow returns the active members of a room.
func (f *fixture) membersNow(room domain.RoomID) []domain.Member {
	f.t.Helper()
	var found []domain.Member
	f.view(func(r ports.Reader) (err error) {
		found, err = r.Members(room, 0, page)
		return err
	})
	return found
}

// messageNow returns a message as a fresh view shows it.
func (f *fixture) messageNow(room domain.RoomID, id domain.MessageID) domain.Message {
	f.t.Helper()
	var m domain.Message
	f.view(func(r ports.Reader) (err error) {
		m, err = r.Message(room, id)
		return err
	})
	return m
}

// history returns all messages of a room.
func (f *fixture) history(room domain.RoomID) []domain.Message {
	f.t.Helper()
	var all []domain.Message
	f.view(func(r ports.Reader) (err error) {
		all, err = readHistory(r, room)
		return err
	})
	return all
}

func readHistory(r ports.Reader, room domain.RoomID) ([]domain.Message, error) {
	var all []domain.Message
	for after := int64(0); ; after = all[len(all)-1].Seq {
		found, err := r.MessagesAfter(room, after, page)
		if err != nil {
			return nil, fmt.Errorf("MessagesAfter %d: %w", after, err)
		}
		all = append(all, found...)
		if len(found) < page {
			return all, nil
		}
	}
}

// log returns all events of a room, as a replay tells them.
func (f *fixture) log(room domain.RoomID) []domain.Event {
	f.t.Helper()
	var all []domain.Event
	f.view(func(r ports.Reader) (err error) {
		all, err = readLog(r, room)
		return err
	})
	return all
}

func readLog(r ports.Reader, room domain.RoomID) ([]domain.Event, error) {
	var all []domain.Event
	for after := int64(0); ; after = all[len(all)-1].Rev {
		found, err := r.Events(ports.EventQuery{Room: room, After: after, Limit: page})
		if err != nil {
			return nil, fmt.Errorf("events after %d: %w", after, err)
		}
		all = append(all, found...)
		if len(found) < page {
			return all, nil
		}
	}
}

// places returns where a device stands.
func (f *fixture) places(user domain.UserID, device domain.DeviceID) ports.Places {
	f.t.Helper()
	var p ports.Places
	f.view(func(r ports.Reader) (err error) {
		p, err = r.Places(user, device)
		return err
	})
	return p
}

// place returns where a device stands in one room.
func (f *fixture) place(room domain.RoomID, user domain.UserID, device domain.DeviceID) ports.Place {
	f.t.Helper()
	for _, p := range f.places(user, device).Rooms {
		if p.Room == room {
			return p
		}
	}
	f.t.Fatalf("Places of %s has no room %s", user, room)
	return ports.Place{}
}

// rooms lists rooms.
func (f *fixture) rooms(q domain.RoomQuery) []domain.RoomSummary {
	f.t.Helper()
	if q.Limit == 0 {
		q.Limit = page
	}
	var found []domain.RoomSummary
	f.view(func(r ports.Reader) (err error) {
		found, err = r.Rooms(q)
		return err
	})
	return found
}

// roomIDs are the ids of a list.
func roomIDs(list []domain.RoomSummary) []domain.RoomID {
	ids := make([]domain.RoomID, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	return ids
}

// raise raises a mark in a transaction of its own.
func (f *fixture) raise(room domain.RoomID, user domain.UserID, device domain.DeviceID, m domain.Mark) domain.Mark {
	f.t.Helper()
	var out domain.Mark
	f.update(func(tx ports.Tx) (err error) {
		out, err = tx.RaiseMark(room, user, device, m)
		return err
	})
	return out
}

// see notes that a device was seen, in a transaction of its own.
func (f *fixture) see(user domain.UserID, device domain.DeviceID, userRev int64) {
	f.t.Helper()
	at := f.now()
	f.update(func(tx ports.Tx) error { return tx.SeeDevice(user, device, userRev, at) })
}

// dense fails the case unless a room's history and log are whole: seq 1..n and rev 1..m without a gap or a repeat,
// and the room row, the log and the told events say the same.
func (f *fixture) dense(room domain.RoomID) (messages []domain.Message, events []domain.Event) {
	f.t.Helper()
	row, messages, events := f.roomNow(room), f.history(room), f.log(room)
	for i, m := range messages {
		if m.Seq != int64(i)+1 {
			f.t.Fatalf("message %d of %s has seq %d, want %d", i, room, m.Seq, i+1)
		}
	}
	for i, e := range events {
		if e.Rev != int64(i)+1 {
			f.t.Fatalf("event %d of %s has rev %d, want %d", i, room, e.Rev, i+1)
		}
	}
	equal(f.t, "the room's last_seq", row.LastSeq, int64(len(messages)))
	equal(f.t, "the room's last_rev", row.LastRev, int64(len(events)))
	f.sameAsTold(room, events)
	return messages, events
}

// sameAsTold compares a log as it is replayed with what was told live, by position, kind and target, and by where
// those who follow the one or the other end.
func (f *fixture) sameAsTold(room domain.RoomID, log []domain.Event) {
	f.t.Helper()
	told := f.commits.of(room)
	equalList(f.t, "events told, against the log", outline(told), outline(log))
	equal(f.t, "where the events told end, against the log", followed(told), followed(log))
}

// follower is what a client knows of a room from its events alone.
type follower struct {
	Messages map[domain.MessageID]domain.Message
	Members  map[domain.UserID]domain.Member
	Name     *string
	Metadata string
	Handoff  domain.Handoff
	Count    int64
}

func followed(events []domain.Event) follower {
	f := follower{Messages: map[domain.MessageID]domain.Message{}, Members: map[domain.UserID]domain.Member{}}
	for _, e := range events {
		f.apply(e)
	}
	return f
}

// apply knows no read marks: they are no step of the log.
func (f *follower) apply(e domain.Event) {
	switch {
	case e.Message != nil:
		f.Messages[e.Message.ID] = *e.Message
	case e.Member != nil:
		m := *e.Member
		m.ReadSeq = 0
		f.Members[m.User], f.Count = m, e.Members
	case e.State != nil:
		f.Name, f.Metadata, f.Handoff = e.State.Name, string(e.State.Metadata), e.State.Handoff
		if e.Kind == domain.EventRoomCreated {
			f.Count = e.Members
		}
	}
}

// outline is an event without the parts that a replay tells as they are now.
func outline(events []domain.Event) []string {
	lines := make([]string, len(events))
	for i, e := range events {
		lines[i] = fmt.Sprintf("%d %s %s %s", e.Rev, e.Kind, e.Tenant, subject(e))
	}
	return lines
}

func subject(e domain.Event) string {
	switch {
	case e.Message != nil:
		return fmt.Sprint(e.Message.Seq, " ", e.Message.ID)
	case e.Member != nil:
		return string(e.Member.User)
	case e.State != nil:
		return e.State.ID.String()
	}
	return "nothing"
}
