package blackbox

import (
	"net/http"
	"regexp"
	"testing"

	"github.com/chatapi/chatapi/test/harness"
)

func TestHealthAnswersOnAFreshInstall(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	var got struct {
		Status, Service, Version, Uptime string
		DBWritable                       *bool `json:"db_writable"`
	}
	res := harness.Must(s.Anonymous().Call(http.MethodGet, "/health", nil, 200, &got))(t)
	if got.Status != "ok" || got.Service != "chatapi" || got.Version == "" || got.DBWritable == nil || !*got.DBWritable {
		t.Errorf("GET /health: %s", res.Body)
	}
	if !regexp.MustCompile(`^(\d+h)?(\d+m)?\d+(\.\d+)?(s|ms|µs)$`).MatchString(got.Uptime) {
		t.Errorf("uptime %q does not look like 2h30m45s", got.Uptime)
	}
	for _, path := range []string{"/health/live", "/health/ready", "/v1/health"} {
		harness.Must(s.Anonymous().Call(http.MethodGet, path, nil, 200, nil))(t)
	}
}

func TestAFirstMessageGoesFromSocketToSocket(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("dm", "alice", "bob"))(t)
	a, b := connect(t, alice), connect(t, bob, "device_id", "phone")

	hello := harness.Must(b.AwaitType("connected"))(t)
	if hello.UserID != "bob" || hello.DeviceID != "phone" || hello.Protocol != 1 || hello.Epoch == "" || hello.HeartbeatMS <= 0 {
		t.Errorf("connected: %s", hello.Raw)
	}
	stored, duplicate, err := a.Send(room.RoomID, harness.Body("over the socket"), "c-1")
	if err != nil || duplicate {
		t.Fatalf("send_message: %v, duplicate %v", err, duplicate)
	}
	for name, c := range map[string]*harness.Conn{"the sender": a, "the other": b} {
		live := harness.Must(c.AwaitMessage(room.RoomID, 1))(t).Message
		if live.MessageID != stored.MessageID || live.Seq != 1 || live.Rev != stored.Rev || live.Content != stored.Content ||
			live.SenderID != "alice" || live.SenderType != "user" || live.ClientID != "c-1" || live.CreatedAt != stored.CreatedAt {
			t.Errorf("%s got %+v, the reply said %+v", name, live, stored)
		}
	}
	if rest := harness.Must(bob.Page(room.RoomID, 0, 10))(t); len(rest) != 1 || rest[0].MessageID != stored.MessageID {
		t.Errorf("the history over REST: %+v", rest)
	}
	ack := map[string]any{"type": "ack", "room_id": room.RoomID, "seq": 1}
	if answer := harness.Must(b.Request(ack))(t); answer.Type != "reply" {
		t.Errorf("ack: %s", answer.Raw)
	}
}

func TestATokenOfTheDefaultTenantIsAUser(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	token := harness.Must(s.Token("alice"))(t)
	alice := s.Anonymous().With("Authorization", "Bearer "+token)
	room := harness.Must(alice.CreateRoom("group", "bob"))(t)
	sent := harness.Must(alice.Send(room.RoomID, harness.Body("by token")))(t)
	if sent.SenderID != "alice" {
		t.Errorf("sender: got %q, want alice", sent.SenderID)
	}
	c := harness.Must(harness.Dial(s.Base, harness.DialOptions{Query: map[string][]string{"token": {token}}}))(t)
	t.Cleanup(c.Drop)
	harness.Must(c.AwaitMessage(room.RoomID, 1))(t)
}
