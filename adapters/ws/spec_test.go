package ws

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// schemas are those of the AsyncAPI file, its last section: JSON schemas of the kind OpenAPI has.
func schemas(t *testing.T) openapi3.Schemas {
	t.Helper()
	_, section, found := bytes.Cut(api.AsyncAPI, []byte("\n  schemas:\n"))
	if !found {
		t.Fatal("the file has no schemas")
	}
	doc, err := openapi3.NewLoader().LoadFromData(append([]byte("openapi: 3.1.0\ncomponents:\n  schemas:\n"), section...))
	if err != nil {
		t.Fatal(err)
	}
	return doc.Components.Schemas
}

// checkFrame holds a frame against the schema of its type, and looks for fields that the schema does not have.
func checkFrame(t *testing.T, all openapi3.Schemas, raw []byte) {
	t.Helper()
	var frame map[string]any
	if err := json.Unmarshal(raw, &frame); err != nil {
		t.Fatal(err)
	}
	kind, _ := frame["type"].(string)
	schema := all[kind]
	if schema == nil {
		t.Errorf("frames of type %q are not specified: %s", kind, raw)
		return
	}
	if err := schema.Value.VisitJSON(frame, openapi3.EnableJSONSchema2020()); err != nil {
		t.Errorf("%s: %v", raw, err)
	}
	known := slices.Collect(maps.Keys(schema.Value.Properties))
	for _, part := range schema.Value.AllOf {
		known = slices.AppendSeq(known, maps.Keys(part.Value.Properties))
	}
	for name := range frame {
		if !slices.Contains(known, name) {
			t.Errorf("%s: field %q is not specified", raw, name)
		}
	}
}

func TestFramesAreAsSpecified(t *testing.T) {
	t.Parallel()
	all := schemas(t)
	name := "general"
	message := &domain.Message{
		Sender: "bob", SenderType: domain.SenderUser, Seq: 3, Rev: 9, Content: "hi", Meta: []byte(`{"k":1}`), ClientID: "c",
		ReplyTo: domain.MessageID{1}, CreatedAt: wallClock{}.Now(), EditedAt: wallClock{}.Now(), DeletedAt: wallClock{}.Now(),
	}
	member := &domain.Member{User: "eve", Role: domain.RoleAdmin, JoinedAt: wallClock{}.Now()}
	gaps := []domain.Gap{{FromSeq: 1, ToSeq: 2}}
	for _, frame := range []ports.Frame{
		Encoder{}.Event(domain.Event{Kind: domain.EventMessage, Rev: 9, Message: message}),
		Encoder{}.Event(domain.Event{Kind: domain.EventRoomCreated, State: &domain.Room{Type: domain.RoomDM, UniqueKey: "dm:a:b"}}),
		Encoder{}.Event(domain.Event{Kind: domain.EventRoomCreated, State: &domain.Room{Type: domain.RoomGroup, Name: &name, Metadata: []byte(`{}`)}}),
		Encoder{}.Event(domain.Event{Kind: domain.EventMemberAdded, Member: member}),
		Encoder{}.Event(domain.Event{Kind: domain.EventMemberRemoved, Member: member}),
		Encoder{}.Event(domain.Event{Kind: domain.EventMemberUpdated, Member: member}),
		Encoder{}.Event(domain.Event{Kind: domain.EventRoomRemoved}),
		Encoder{}.SyncComplete(ports.SyncReport{Rooms: 1, Messages: 2, Cursor: "c", Truncated: gaps}),
		Encoder{}.ResyncRequired("e", []domain.RoomID{knownRoom}),
		{Bytes: connectedFrame("conn_1", "alice", "", "e", wallClock{}.Now())},
		{Bytes: replyFrame("r", func(dst []byte) []byte { return appendSent(dst, &ports.Appended{Message: *message, Duplicate: true}) })},
		{Bytes: errorFrame(domain.Invalid("field", "wrong"), "r")},
		{Bytes: errorFrame(errInternal, "")},
		{Bytes: pongFrame("")},
		{Bytes: pongFrame("r")},
		{Bytes: shutdownFrame(maxReconnect)},
	} {
		checkFrame(t, all, []byte(payload(t, frame.Bytes)))
	}
}

// TestCommandsAreAsSpecified: every field of the client's frames is read, and none that is not specified.
func TestCommandsAreAsSpecified(t *testing.T) {
	t.Parallel()
	all := schemas(t)
	specified := map[string]bool{}
	for _, kind := range commandTypes {
		for name := range all[kind].Value.Properties {
			specified[name] = true
		}
	}
	read := []string{
		"type", "request_id", "room_id", "content", "meta", "client_id", "reply_to", "seq", "rev", "after_seq", "epoch", "rooms", "cursor",
	}
	for _, name := range read {
		if !specified[name] {
			t.Errorf("%s is read and not specified", name)
		}
		delete(specified, name)
	}
	if len(specified) > 0 {
		t.Errorf("specified and not read: %v", specified)
	}
}

var commandTypes = []string{"resume", "send_message", "ack", "subscribe", "ping"}
