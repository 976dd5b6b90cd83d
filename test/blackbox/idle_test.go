package blackbox

import (
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

func TestAnIdleSocketThatAnswersPingsLivesPastSeventySeconds(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "idle"))(t)
	idle := connect(t, tenant.User("idle"))
	select {
	case <-idle.Finished():
		code, _ := idle.CloseCode(time.Second)
		t.Fatalf("an idle socket was closed with %d", code)
	case <-time.After(72 * time.Second):
	}
	if pong := harness.Must(idle.Request(map[string]any{"type": "ping"}))(t); pong.Type != "pong" {
		t.Errorf("ping: %s", pong.Raw)
	}
	harness.Must(alice.Send(room.RoomID, harness.Body("are you there")))(t)
	harness.Must(idle.AwaitMessage(room.RoomID, 1))(t)
}

func TestASilentSocketIsClosed(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	silent := harness.Must(tenant.User("silent").DialWith(harness.DialOptions{Silent: true}))(t)
	t.Cleanup(silent.Drop)
	began := time.Now()
	select {
	case <-silent.Finished():
	case <-time.After(110 * time.Second):
		t.Fatal("a socket that answers no ping lived for 110 s, want about 60")
	}
	if lived := time.Since(began); lived < 50*time.Second {
		t.Errorf("a silent socket was closed after %s, want 60 s", lived)
	}
}
