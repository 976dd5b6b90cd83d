package ws

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/test/frames"
)

func spec(t *testing.T) *frames.Spec {
	t.Helper()
	return must(frames.Load())
}

// TestFramesAreAsSpecified makes every frame there is: none is missing here that is specified.
func TestFramesAreAsSpecified(t *testing.T) {
	t.Parallel()
	now := wallClock{}.Now()
	name := "general"
	message := &domain.Message{
		Sender: "bob", SenderType: domain.SenderUser, Seq: 3, Rev: 9, Content: "hi", Meta: []byte(`{"k":1}`), ClientID: "c",
		ReplyTo: domain.MessageID{1}, CreatedAt: now, EditedAt: now,
	}
	deleted := message.Tombstone(now)
	member := &domain.Member{User: "eve", Role: domain.RoleAdmin, JoinedAt: now}
	group := &domain.Room{Type: domain.RoomGroup, Name: &name, Metadata: []byte(`{}`)}
	handedOff := &domain.Room{Type: domain.RoomGroup, Handoff: domain.Handoff{Mode: domain.HandoffHuman, Assignee: "carol"}}
	part := domain.StreamPart{Room: knownRoom, Bot: knownBot.User(), Attempt: 1}
	notice := domain.Notification{ID: knownNotice, Topic: "orders", Payload: []byte(`{"n":1}`), CreatedAt: now}
	gaps := []domain.Gap{{FromSeq: 1, ToSeq: 2}}
	made := map[string]bool{}
	for _, frame := range []ports.Frame{
		Encoder{}.Event(domain.Event{Kind: domain.EventMessage, Rev: 9, Message: message}),
		Encoder{}.Event(domain.Event{Kind: domain.EventMessage, Rev: 9, Message: &deleted}),
		Encoder{}.Event(domain.Event{Kind: domain.EventMessageEdited, Rev: 9, Message: message}),
		Encoder{}.Event(domain.Event{Kind: domain.EventMessageDeleted, Rev: 9, Message: &deleted}),
		Encoder{}.Event(domain.Event{Kind: domain.EventRoomCreated, State: &domain.Room{Type: domain.RoomDM, UniqueKey: "dm:a:b"}}),
		Encoder{}.Event(domain.Event{Kind: domain.EventRoomCreated, State: group}),
		Encoder{}.Event(domain.Event{Kind: domain.EventRoomUpdated, State: group}),
		Encoder{}.Event(domain.Event{Kind: domain.EventMemberAdded, Member: member}),
		Encoder{}.Event(domain.Event{Kind: domain.EventMemberRemoved, Member: member}),
		Encoder{}.Event(domain.Event{Kind: domain.EventMemberUpdated, Member: member}),
		Encoder{}.Event(domain.Event{Kind: domain.EventRoomRemoved}),
		Encoder{}.Event(domain.Event{Kind: domain.EventHandoff, State: handedOff}),
		Encoder{}.Event(domain.Event{Kind: domain.EventHandoff, State: group}),
		Encoder{}.StreamStart(part),
		Encoder{}.StreamStart(soFar(part, "some text")),
		Encoder{}.StreamDelta(part, 3, "é"),
		Encoder{}.StreamEnd(answered(`{"finish_reason":"stop"}`)),
		Encoder{}.StreamEnd(answered(`{"finish_reason":"error","error":"TIMEOUT"}`)),
		Encoder{}.StreamError(domain.StreamPart{Room: knownRoom, Failed: domain.StreamEmpty}),
		Encoder{}.Again(*message),
		Encoder{}.Again(deleted),
		Encoder{}.Notice(notice, false),
		Encoder{}.Notice(notice, true),
		Encoder{}.Hint(domain.Hint{Kind: domain.HintAcked, Room: knownRoom, User: "bob", Seq: 7}),
		Encoder{}.Hint(domain.Hint{Kind: domain.HintRead, Room: knownRoom, User: "bob", Seq: 7}),
		Encoder{}.Hint(domain.Hint{Kind: domain.HintTyping, Room: knownRoom, User: "bob", State: domain.TypingStarted}),
		Encoder{}.Hint(domain.Hint{Kind: domain.HintTyping, Room: knownRoom, User: "bob", State: domain.TypingStopped}),
		Encoder{}.Hint(domain.Hint{Kind: domain.HintPresence, User: "bob", State: domain.PresenceOnline, At: now}),
		Encoder{}.Hint(domain.Hint{Kind: domain.HintPresence, User: "bob", State: domain.PresenceOffline, At: now}),
		Encoder{}.SyncComplete(ports.SyncReport{Rooms: 1, Messages: 2, Cursor: "c", Truncated: gaps}),
		Encoder{}.ResyncRequired("e", []domain.RoomID{knownRoom}),
		{Bytes: connectedFrame("conn_1", "alice", "", "e", now)},
		{Bytes: replyFrame("r", func(dst []byte) []byte { return appendSent(dst, &ports.Appended{Message: *message, Duplicate: true}) })},
		{Bytes: replyFrame("r", succeeded)},
		{Bytes: errorFrame(domain.Invalid("field", "wrong"), "r")},
		{Bytes: errorFrame(api.ErrInternal, "")},
		{Bytes: errorFrameAfter(domain.ErrRateLimited, "r", time.Millisecond)},
		{Bytes: expiringFrame(now)},
		{Bytes: pongFrame("")},
		{Bytes: pongFrame("r")},
		{Bytes: shutdownFrame(maxReconnect)},
	} {
		raw := []byte(payload(t, frame.Bytes))
		if err := frames.Check(raw); err != nil {
			t.Error(err)
		}
		var head struct{ Type string }
		_ = json.Unmarshal(raw, &head)
		made[head.Type] = true
	}
	want := slices.Sorted(maps.Keys(spec(t).FromServer))
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(made))); diff != "" {
		t.Errorf("specified types (-) and those made here (+):\n%s", diff)
	}
}

// TestCommandsAreAsSpecified: every field of the client's frames is read, and none that is not specified; every type is
// known, and named to those who send another.
func TestCommandsAreAsSpecified(t *testing.T) {
	t.Parallel()
	specified, types := map[string]bool{}, []string{}
	for kind, schema := range spec(t).FromClient {
		types = append(types, kind)
		for name := range schema.Properties {
			specified[name] = true
		}
	}
	read := map[string]bool{}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[command]()) {
		if tag := field.Tag.Get("json"); tag != "" && tag != "data" {
			read[tag] = true
		}
	}
	if diff := cmp.Diff(specified, read); diff != "" {
		t.Errorf("specified (-) and read (+) fields:\n%s", diff)
	}
	_, err := (&Session{}).do(t.Context(), &command{Type: "dance"})
	_, named, _ := strings.Cut(fmt.Sprint(err), "known are ")
	known := strings.Split(strings.TrimSuffix(named, " (type)"), ", ")
	slices.Sort(types)
	slices.Sort(known)
	if diff := cmp.Diff(types, known); diff != "" {
		t.Errorf("specified (-) and known (+) types:\n%s", diff)
	}
}

func TestCloseCodesAreSpecified(t *testing.T) {
	t.Parallel()
	for _, code := range []int{
		closeGoingAway, closeProtocol, closeNotText, closeNotUTF8, closePolicy, closeTooBig, closeInternal, closeTryLater,
		closeToken, closeNoProgress, closeFlooding,
	} {
		if !strings.Contains(string(api.AsyncAPI), fmt.Sprintf("\n    | %d | ", code)) {
			t.Errorf("close code %d is not specified", code)
		}
	}
}
