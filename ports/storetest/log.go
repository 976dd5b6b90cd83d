package storetest

import (
	"fmt"
	"slices"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var logContracts = []contract{
	{"the log merges messages and changes in order of rev", logMergesInOrder},
	{"a change tells its target as it is now", changeTellsPresentTarget},
	{"every stretch of the log is what lies within it", everyStretchOfTheLog},
	{"messages below MinSeq are left out, and changes of those alone that were not told before", minSeqLeavesOutMessages},
	{"who comes back learns of a change of a message told long before", changeOfToldMessageIsTold},
	{"of a target's changes the latest alone is told to who asks for that", latestAreToldAlone},
	{"SeqAt is right at every position", seqAtEveryPosition},
	{"every page of the history is what lies within it", everyPageOfTheHistory},
	{"Positions tells the rooms that exist", positionsOfRooms},
}

// story makes a room with messages and changes in between, in an order that has all neighbours.
func (f *fixture) story() domain.Room {
	f.t.Helper()
	room := f.group("ann", "bob")
	f.addMember(room.ID, "cid", domain.RoleMember)
	f.sendMany(room.ID, "ann", 3)
	f.setRole(room.ID, "cid", domain.RoleAdmin)
	f.edit(room.ID, 2, "edited early")
	f.removeMember(room.ID, "bob")
	f.send(room.ID, "cid", "from cid")
	f.addMember(room.ID, "bob", domain.RoleMember)
	f.addMember(room.ID, "dan", domain.RoleMember)
	f.sendMany(room.ID, "bob", 2)
	f.removeMember(room.ID, "dan")
	f.edit(room.ID, 6, "edited")
	f.delete(room.ID, 4)
	f.send(room.ID, "ann", "after the changes")
	f.edit(room.ID, 7, "edited once")
	f.edit(room.ID, 1, "edited, too")
	f.delete(room.ID, 6)
	f.edit(room.ID, 7, "edited twice")
	f.handOver(room.ID, "cid")
	f.handBack(room.ID)
	return f.rename(room.ID, "the end")
}

// storyKinds are the kinds of the story's events, in order.
var storyKinds = []domain.EventKind{
	domain.EventRoomCreated, domain.EventMemberAdded, domain.EventMessage, domain.EventMessage, domain.EventMessage,
	domain.EventMemberUpdated, domain.EventMessageEdited, domain.EventMemberRemoved, domain.EventMessage,
	domain.EventMemberAdded, domain.EventMemberAdded, domain.EventMessage, domain.EventMessage,
	domain.EventMemberRemoved, domain.EventMessageEdited, domain.EventMessageDeleted, domain.EventMessage,
	domain.EventMessageEdited, domain.EventMessageEdited, domain.EventMessageDeleted, domain.EventMessageEdited,
	domain.EventHandoff, domain.EventHandoff, domain.EventRoomUpdated,
}

func logMergesInOrder(f *fixture) {
	room := f.story()
	for range 2 {
		_, events := f.dense(room.ID)
		kinds := make([]domain.EventKind, len(events))
		for i, e := range events {
			kinds[i] = e.Kind
			equal(f.t, "the room of an event", e.Room, room.ID)
		}
		equalList(f.t, "kinds", kinds, storyKinds)
		f.reopen()
	}
	for i, e := range f.log(room.ID) {
		equal(f.t, "the time of an event", e.At, f.commits.of(room.ID)[i].At)
	}
}

func changeTellsPresentTarget(f *fixture) {
	room := f.story()
	for _, e := range f.log(room.ID) {
		switch {
		case e.Message != nil:
			equal(f.t, fmt.Sprintf("the message of rev %d", e.Rev), *e.Message, f.messageNow(room.ID, e.Message.ID))
		case e.Member != nil:
			equal(f.t, fmt.Sprintf("the member of rev %d", e.Rev), *e.Member, f.memberNow(room.ID, e.Member.User))
		case e.State != nil:
			equal(f.t, fmt.Sprintf("the room of rev %d", e.Rev), *e.State, room)
		}
	}
}

func everyStretchOfTheLog(f *fixture) {
	room := f.story()
	f.story()
	all := f.log(room.ID)
	f.view(func(r ports.Reader) error {
		for after := range room.LastRev + 2 {
			for through := range room.LastRev + 3 {
				limit := []int{1, 3, page}[(after+through)%3]
				q := ports.EventQuery{Room: room.ID, After: after, Through: through, Limit: limit}
				if err := f.stretch(r, q, all); err != nil {
					return err
				}
				q.Latest = true
				if err := f.stretch(r, q, all); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// stretch compares one query with the same choice from all events.
func (f *fixture) stretch(r ports.Reader, q ports.EventQuery, all []domain.Event) error {
	f.t.Helper()
	var want []domain.Event
	told := int64(0)
	for _, e := range all {
		if e.Kind == domain.EventMessage && e.Rev <= q.After {
			told = e.Message.Seq
		}
		within := e.Rev > q.After && (q.Through == 0 || e.Rev <= q.Through) && !(q.Latest && isOutdated(e, all))
		if within && !leftOut(e, told, q.MinSeq) && len(want) < q.Limit {
			want = append(want, e)
		}
	}
	got, err := r.Events(q)
	equalList(f.t, "events of "+show(q), got, want)
	return err
}

func minSeqLeavesOutMessages(f *fixture) {
	room := f.story()
	all := f.log(room.ID)
	f.view(func(r ports.Reader) error {
		for minSeq := range room.LastSeq + 3 {
			for after := minSeq % 2; after < room.LastRev; after += 2 {
				q := ports.EventQuery{Room: room.ID, After: after, MinSeq: minSeq, Limit: 4, Latest: minSeq%3 == 0}
				if err := f.stretch(r, q, all); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// isOutdated reports whether an event is a change whose target tells nothing of it any more; all is the room's whole log.
func isOutdated(e domain.Event, all []domain.Event) bool {
	superseded := slices.ContainsFunc(all, func(later domain.Event) bool {
		return later.Rev > e.Rev && (e.Member != nil && later.Member != nil && later.Member.User == e.Member.User ||
			e.State != nil && later.Kind == e.Kind)
	})
	switch e.Kind {
	case domain.EventMessageEdited, domain.EventMessageDeleted:
		return e.Message.Rev != e.Rev
	case domain.EventMemberAdded:
		return !e.Member.IsActive() || e.Member.JoinedRev != e.Rev-1
	case domain.EventMemberRemoved:
		return e.Member.IsActive() || e.Member.LeftRev != e.Rev
	case domain.EventMemberUpdated, domain.EventRoomUpdated, domain.EventHandoff:
		return superseded
	}
	return false
}

// latestAreToldAlone spells out what the others choose by a rule.
func latestAreToldAlone(f *fixture) {
	room := f.group("ann", "bob")
	sent := f.sendMany(room.ID, "ann", 2)
	f.addMember(room.ID, "cid", domain.RoleMember) // 4
	f.addMember(room.ID, "dan", domain.RoleMember) // 5
	f.edit(room.ID, 1, "once")                     // 6
	f.rename(room.ID, "once")                      // 7
	f.setRole(room.ID, "cid", domain.RoleAdmin)    // 8
	f.removeMember(room.ID, "dan")                 // 9
	f.edit(room.ID, 1, "twice")                    // 10
	f.edit(room.ID, 2, "once")                     // 11
	f.addMember(room.ID, "dan", domain.RoleMember) // 12
	f.setRole(room.ID, "bob", domain.RoleAdmin)    // 13
	f.removeMember(room.ID, "bob")                 // 14
	f.rename(room.ID, "twice")                     // 15
	f.delete(room.ID, 2)                           // 16
	f.setRole(room.ID, "cid", domain.RoleMember)   // 17
	f.send(room.ID, "ann", "the last")             // 18
	want := []string{
		"1 room.created", "2 message 1", "3 message 2", "4 member.added", "10 message.edited 1", "12 member.added",
		"14 member.removed", "15 room.updated", "16 message.deleted 2", "17 member.updated", "18 message 3",
	}
	ask := func(q ports.EventQuery) []string {
		f.t.Helper()
		var events []domain.Event
		q.Room, q.Latest = room.ID, true
		f.view(func(r ports.Reader) (err error) {
			events, err = r.Events(q)
			return err
		})
		return outlineOf(events)
	}
	for range 2 {
		equalList(f.t, "all", ask(ports.EventQuery{Limit: page}), want)
		equalList(f.t, "as many as were asked for", ask(ports.EventQuery{After: 3, Limit: 3}), want[3:6])
		equalList(f.t, "those up to a position", ask(ports.EventQuery{After: 5, Through: 14, Limit: page}), want[4:7])
		equalList(f.t, "nothing but what is outdated", ask(ports.EventQuery{After: 5, Through: 9, Limit: page}), nil)
		f.reopen()
	}
	at := f.now()
	f.update(func(tx ports.Tx) error {
		m, err := tx.Message(room.ID, sent[0].ID)
		if err != nil {
			return err
		}
		if _, err := tx.DeleteMessage(m.Tombstone(at)); err != nil {
			return err
		}
		events, err := tx.Events(ports.EventQuery{Room: room.ID, After: 9, Latest: true, Limit: 1})
		equalList(f.t, "within an update", outlineOf(events), want[5:6])
		return err
	})
}

// leftOut reports whether an event is of a message that was not told before and lies below the least seq asked for.
func leftOut(e domain.Event, told, minSeq int64) bool {
	return e.Message != nil && e.Message.Seq > told && e.Message.Seq < minSeq
}

func changeOfToldMessageIsTold(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 3)
	f.edit(room.ID, 2, "before the break")
	place := f.roomNow(room.ID).LastRev
	f.sendMany(room.ID, "ann", 6)
	f.edit(room.ID, 1, "told before, changed after")
	f.edit(room.ID, 5, "neither told before nor asked for")
	f.delete(room.ID, 3)
	f.edit(room.ID, 8, "asked for")
	f.view(func(r ports.Reader) error {
		events, err := r.Events(ports.EventQuery{Room: room.ID, After: place, MinSeq: 8, Limit: page})
		equalList(f.t, "what the one who comes back is told", outlineOf(events), []string{
			"10 message 8", "11 message 9", "12 message.edited 1", "14 message.deleted 3", "15 message.edited 8",
		})
		return err
	})
}

func outlineOf(events []domain.Event) []string {
	lines := make([]string, len(events))
	for i, e := range events {
		lines[i] = fmt.Sprint(e.Rev, " ", e.Kind)
		if e.Message != nil {
			lines[i] += fmt.Sprint(" ", e.Message.Seq)
		}
	}
	return lines
}

func seqAtEveryPosition(f *fixture) {
	room, empty := f.story(), f.group("ann")
	want := []int64{0}
	for _, e := range f.log(room.ID) {
		seq := want[len(want)-1]
		if e.Kind == domain.EventMessage {
			seq = e.Message.Seq
		}
		want = append(want, seq)
	}
	f.view(func(r ports.Reader) error {
		for rev, seq := range append(want, room.LastSeq) {
			got, err := r.SeqAt(room.ID, int64(rev))
			if err != nil {
				return err
			}
			equal(f.t, fmt.Sprintf("SeqAt %d", rev), got, seq)
		}
		got, err := r.SeqAt(empty.ID, 1)
		equal(f.t, "SeqAt in a room without messages", got, int64(0))
		return err
	})
}

func everyPageOfTheHistory(f *fixture) {
	room := f.story()
	f.story()
	all := f.history(room.ID)
	f.view(func(r ports.Reader) error {
		for seq := range room.LastSeq + 3 {
			for _, limit := range []int{1, 2, page} {
				after, err := r.MessagesAfter(room.ID, seq, limit)
				if err != nil {
					return err
				}
				before, err := r.MessagesBefore(room.ID, seq, limit)
				if err != nil {
					return err
				}
				above := all[min(seq, room.LastSeq):]
				below := all[:min(max(seq-1, 0), room.LastSeq)]
				equalList(f.t, fmt.Sprintf("%d messages after %d", limit, seq), after, above[:min(limit, len(above))])
				equalList(f.t, fmt.Sprintf("%d messages before %d", limit, seq), before, below[max(0, len(below)-limit):])
			}
		}
		return nil
	})
}

func positionsOfRooms(f *fixture) {
	room := f.story()
	want := map[domain.RoomID]int64{room.ID: room.LastRev}
	ask := []domain.RoomID{f.newRoomID(), room.ID, f.newRoomID(), room.ID}
	for range 20 {
		made := f.group("ann")
		want[made.ID] = 1
		ask = append(ask, made.ID)
	}
	for len(ask) < 500 {
		ask = append(ask, f.newRoomID())
	}
	slices.Reverse(ask)
	f.view(func(r ports.Reader) error {
		got, err := r.Positions(ask)
		equal(f.t, "Positions", got, want)
		none, err2 := r.Positions(nil)
		equal(f.t, "Positions of no rooms", len(none), 0)
		if err == nil {
			err = err2
		}
		return err
	})
}
