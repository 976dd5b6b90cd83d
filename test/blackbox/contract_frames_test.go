package blackbox

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/test/harness"
)

// The answers to a frame; anything else in the table is the code of an error.
const (
	reply    = "reply"
	pong     = "pong"
	invalid  = "VALIDATION_ERROR"
	unproven = "AUTHENTICATION_ERROR"
	denied   = "AUTHORIZATION_ERROR"
	unknown  = "NOT_FOUND"
)

// frameLine is one line of the table of frames.
type frameLine struct {
	does  string
	frame string             // flat; walked nested too
	want  [actors - 1]string // for each actor that can have a socket; empty = not walked
	event string             // what the room's log gains when the frame succeeds
	hint  string             // what carol is told then, without a place in the log
	field string             // which is at fault, in errors of validation
}

// frames is what sockets understand: who may send what, and what becomes of it.
//
//	admin, member, stranger, foreign
var frames = []frameLine{
	{"send", `{"type":"send_message","room_id":"{group}","content":"some text","meta":{"a":1}}`, all(reply, reply, denied, unknown), "message", "", ""},
	{"send to a channel", `{"type":"send_message","room_id":"{channel}","content":"some text"}`, all(reply, reply, denied, unknown), "message", "", ""},
	{"answer", `{"type":"send_message","room_id":"{group}","content":"some text","reply_to":"{of_bob}"}`, all(reply, reply, denied, unknown), "message", "", ""},
	{"answer nothing", `{"type":"send_message","room_id":"{group}","content":"some text","reply_to":"{no_message}"}`, all(invalid, invalid, "", ""), "", "", "reply_to"},
	{"send nothing", `{"type":"send_message","room_id":"{group}"}`, all(invalid, invalid, "", ""), "", "", "content"},
	{"send nowhere", `{"type":"send_message","content":"some text"}`, all(invalid, invalid, invalid, invalid), "", "", "room_id"},
	{"send to no room", `{"type":"send_message","room_id":"{no_room}","content":"some text"}`, all(unknown, unknown, unknown, unknown), "", "", ""},

	{"ack", `{"type":"ack","room_id":"{group}","seq":1,"x":"{of_bob}"}`, all(reply, reply, denied, unknown), "", "ack.received", ""},
	{"ack a position too", `{"type":"ack","room_id":"{group}","seq":1,"rev":2,"x":"{of_bob}"}`, all(reply, reply, denied, unknown), "", "ack.received", ""},
	{"ack what is not there", `{"type":"ack","room_id":"{group}","seq":99}`, all(invalid, invalid, denied, unknown), "", "", "seq"},
	{"ack nothing", `{"type":"ack","room_id":"{group}"}`, all(invalid, invalid, "", ""), "", "", "seq"},
	{"ack no room", `{"type":"ack","room_id":"{no_room}","seq":1}`, all(unknown, unknown, unknown, unknown), "", "", ""},
	{"mark as read", `{"type":"read","room_id":"{group}","seq":1,"x":"{of_bob}"}`, all(reply, reply, denied, unknown), "", "read.received", ""},
	{"mark what is not there", `{"type":"read","room_id":"{group}","seq":99}`, all(invalid, invalid, denied, unknown), "", "", "seq"},
	{"mark nothing", `{"type":"read","room_id":"{group}"}`, all(invalid, invalid, "", ""), "", "", "seq"},
	{"mark no room", `{"type":"read","room_id":"{no_room}","seq":1}`, all(unknown, unknown, unknown, unknown), "", "", ""},

	{"ack a notification", `{"type":"notification.ack","notification_id":"{notice}"}`, all(reply, reply, reply, unknown), "", "", ""},
	{"ack no notification", `{"type":"notification.ack","notification_id":"{no_notice}"}`, all(unknown, unknown, unknown, unknown), "", "", ""},
	{"ack what is no notification", `{"type":"notification.ack","notification_id":"{of_bob}","room_id":"{group}"}`, all(unknown, unknown, unknown, unknown), "", "", ""},
	{"ack a notification of nothing", `{"type":"notification.ack"}`, all(invalid, invalid, invalid, invalid), "", "", "notification_id"},

	{"type", `{"type":"typing.start","room_id":"{group}"}`, all(reply, reply, denied, unknown), "", "typing", ""},
	{"stop typing", `{"type":"typing.stop","room_id":"{group}"}`, all(reply, reply, denied, unknown), "", "", ""},
	{"type nowhere", `{"type":"typing.start"}`, all(invalid, invalid, invalid, invalid), "", "", "room_id"},
	{"type in no room", `{"type":"typing.start","room_id":"{no_room}"}`, all(unknown, unknown, unknown, unknown), "", "", ""},

	{"subscribe", `{"type":"subscribe","room_id":"{group}"}`, all(reply, reply, denied, unknown), "", "", ""},
	{"subscribe from a message on", `{"type":"subscribe","room_id":"{group}","after_seq":0}`, all(reply, reply, denied, unknown), "", "", ""},
	{"subscribe from above", `{"type":"subscribe","room_id":"{group}","after_seq":99}`, all(invalid, invalid, denied, unknown), "", "", "after_seq"},
	{"subscribe to no room", `{"type":"subscribe","room_id":"{no_room}"}`, all(unknown, unknown, unknown, unknown), "", "", ""},

	{"renew by nonsense", `{"type":"auth","token":"x"}`, all(unproven, unproven, unproven, unproven), "", "", ""},
	{"renew by a used ticket", `{"type":"auth","token":"wst_` + "0123456789012345678901234567890123456789012" + `"}`, all(unproven, unproven, unproven, unproven), "", "", ""},
	{"renew by nothing", `{"type":"auth"}`, all(invalid, invalid, invalid, invalid), "", "", "token"},
	{"ping", `{"type":"ping"}`, all(pong, pong, pong, pong), "", "", ""},
	{"resume, but late", `{"type":"resume","epoch":"e","rooms":[]}`, all(invalid, invalid, invalid, invalid), "", "", "type"},
	{"do what nobody knows", `{"type":"dance"}`, all(invalid, invalid, invalid, invalid), "", "", "type"},
	{"do nothing", `{}`, all(invalid, invalid, invalid, invalid), "", "", "type"},
}

func all(admin, member, stranger, foreign string) [actors - 1]string {
	return [actors - 1]string{admin, member, stranger, foreign}
}

func TestEveryFrameIsAnsweredAsTheContractSays(t *testing.T) {
	t.Parallel()
	// Sockets of one user follow each other faster than the server notices that the one before is gone.
	s := harness.Start(t, harness.Options{Env: map[string]string{"WS_MAX_CONNECTIONS_PER_USER": "50"}})
	t.Run("frames", func(t *testing.T) {
		for _, line := range frames {
			t.Run(line.does, func(t *testing.T) {
				t.Parallel()
				g := stageOn(t, s)
				for i, want := range line.want {
					if want == "" {
						continue
					}
					g.inEachWay(t, i+1, func(name string, u *harness.User) {
						g.walkFrame(t, line, name+", flat", u, want, line.frame)
						if strings.Contains(line.frame, `"type"`) {
							g.walkFrame(t, line, name+", nested", u, want, nestedFrame(t, line.frame))
						}
					})
				}
			})
		}
	})
}

// walkFrame sends the frame of a line as one actor, and wants its answer and what becomes of it.
func (g *stage) walkFrame(t *testing.T, line frameLine, name string, u *harness.User, want, frame string) {
	t.Helper()
	ids := g.set(t, line.frame)
	g.notify(t, line.frame, ids)
	room, before := roomOf(ids), int64(0)
	if room != "" {
		before = g.position(t, room)
	}
	c := connect(t, u)
	defer c.Close()
	seen := len(g.witness.Frames())
	var fields map[string]any
	harness.Check(t, json.Unmarshal([]byte(filled(frame, ids)), &fields))
	answer := harness.Must(c.Request(fields))(t)
	if !isAnswer(answer, want, line.field) {
		t.Errorf("%s: got %s, want %s %s", name, answer.Raw, want, line.field)
		return
	}
	if room == "" {
		return
	}
	var events []string
	if want == reply && line.event != "" {
		events = append(events, line.event)
	}
	g.wantLog(t, name, room, before, events)
	if want == reply && line.hint != "" {
		g.wantHint(t, name, line.hint, room, u.ID, seen)
	}
}

const noNotice = "notif_0190a1b2-c3d4-7e5f-8a6b-0c1d2e3f4a5b"

// notify makes the notification that a line names: one to bob.
func (g *stage) notify(t *testing.T, line string, ids map[string]string) {
	t.Helper()
	ids["{no_notice}"] = noNotice
	if strings.Contains(line, "{notice}") {
		ids["{notice}"] = notified(t, g.tenant, "about {notice}", map[string]any{"user_ids": []string{"bob"}}).ID
	}
}

func isAnswer(f harness.Frame, want, field string) bool {
	switch want {
	case reply, pong:
		return f.Type == want
	case invalid:
		return f.Type == "error" && f.Code == want && f.Text != "" && names(f.Field, field)
	}
	return f.Type == "error" && f.Code == want && f.Text != ""
}

// wantHint fails unless carol is told something of a user in a room, later than what she had seen.
func (g *stage) wantHint(t *testing.T, name, kind, room, user string, seen int) {
	t.Helper()
	count := 0
	_, err := g.witness.Await(kind+" of "+user, func(f harness.Frame) bool {
		count++
		return count > seen && f.Type == kind && f.RoomID == room && f.UserID == user
	})
	if err != nil {
		t.Errorf("%s: carol was not told: %v", name, err)
	}
}
