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
	eve := &domain.Member{User: "eve", Role: domain.RoleAdmin, JoinedAt: noon}
	head := func(kind string) string { return `{"type":"` + kind + `","room_id":"` + id.String() + `","rev":7` }
	for _, c := range []struct {
		event domain.Event
		want  string
	}{
		{domain.Event{Kind: domain.EventMessageEdited, Message: message}, `{"type":"message.edited",` + string(api.AppendMessageFields(nil, message, 7)) + `}`},
		{domain.Event{Kind: domain.EventRoomUpdated, State: room}, head("room.updated") + `,"room":` + string(api.AppendRoom(nil, room)) + `}`},
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
