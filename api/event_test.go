package api_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

// TestAppendEventTellsTheStepAndWhatItIsAbout: rev is the step's, whatever the target's own is.
func TestAppendEventTellsTheStepAndWhatItIsAbout(t *testing.T) {
	t.Parallel()
	id := domain.RoomID(roomUUID)
	message := fullMessage()
	room := &domain.Room{ID: id, Type: domain.RoomChannel, FirstSeq: 1, LastRev: 9, CreatedAt: noon}
	human, bots := *room, *room
	human.Handoff = domain.Handoff{Mode: domain.HandoffHuman, Assignee: `c"arol`}
	bots.Handoff = domain.Handoff{Mode: domain.HandoffBot}
	eve := &domain.Member{User: "eve", Role: domain.RoleAdmin, JoinedAt: noon}
	head := func(kind string) string { return `{"type":"` + kind + `","room_id":"` + id.String() + `","rev":7` }
	for _, c := range []struct {
		event domain.Event
		want  string
	}{
		{domain.Event{Kind: domain.EventMessageEdited, Message: message}, `{"type":"message.edited",` + string(api.AppendMessageFields(nil, message, 7)) + `}`},
		{domain.Event{Kind: domain.EventRoomUpdated, State: room}, head("room.updated") + `,"room":` + string(api.AppendRoom(nil, room)) + `}`},
		{domain.Event{Kind: domain.EventHandoff, State: &human}, head("room.handoff") + `,"mode":"human","assignee":"c\"arol","room":` +
			string(api.AppendRoom(nil, &human)) + `}`},
		{domain.Event{Kind: domain.EventHandoff, State: &bots}, head("room.handoff") + `,"mode":"bot","room":` + string(api.AppendRoom(nil, room)) + `}`},
		{domain.Event{Kind: domain.EventMemberAdded, Member: eve}, head("member.added") + `,"user_id":"eve","role":"admin","joined_at":"2026-11-21T12:05:09.007Z"}`},
		{domain.Event{Kind: domain.EventMemberUpdated, Member: eve}, head("member.updated") + `,"user_id":"eve","role":"admin"}`},
		{domain.Event{Kind: domain.EventMemberRemoved, Member: eve}, head("member.removed") + `,"user_id":"eve"}`},
		{domain.Event{Kind: domain.EventRoomRemoved}, head("room.removed") + `}`},
	} {
		c.event.Room, c.event.Rev = id, 7
		if diff := cmp.Diff(c.want, string(api.AppendEvent(nil, &c.event))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.event.Kind, diff)
		}
	}
}

// TestARoomShowsThatPeopleAnswer: and nothing while its bots do.
func TestARoomShowsThatPeopleAnswer(t *testing.T) {
	t.Parallel()
	for want, h := range map[string]domain.Handoff{
		`"handoff":{"mode":"human"},`:                    {Mode: domain.HandoffHuman},
		`"handoff":{"mode":"human","assignee":"carol"},`: {Mode: domain.HandoffHuman, Assignee: "carol"},
		``: {Mode: domain.HandoffBot},
	} {
		room := &domain.Room{ID: domain.RoomID(roomUUID), Type: domain.RoomChannel, FirstSeq: 1, LastRev: 9, CreatedAt: noon, Handoff: h}
		want = `{"room_id":"` + room.ID.String() + `","type":"channel","name":null,"metadata":null,"last_seq":0,"last_rev":9,"first_seq":1,` + want +
			`"created_at":"2026-11-21T12:05:09.007Z"}`
		if diff := cmp.Diff(want, string(api.AppendRoom(nil, room))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
