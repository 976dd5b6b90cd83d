package blackbox

import (
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

func TestSIGTERMTellsClientsAndEndsWithZero(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	conns := []*harness.Conn{connect(t, alice), connect(t, tenant.User("bob"))}
	harness.Must(alice.Send(room, harness.Body("before the end")))(t)

	began := time.Now()
	code, err := tenant.Server().Terminate(30 * time.Second)
	if err != nil || code != 0 {
		t.Errorf("SIGTERM: exit code %d, %v", code, err)
	}
	t.Logf("the drain took %s", time.Since(began))
	for i, c := range conns {
		goodbye := harness.Must(c.AwaitType("server.shutdown"))(t)
		if goodbye.ReconnectMS < 500 || goodbye.ReconnectMS > 5000 {
			t.Errorf("socket %d: reconnect_after_ms %d, want 500 to 5000", i, goodbye.ReconnectMS)
		}
		if code := harness.Must(c.CloseCode(30 * time.Second))(t); code != 1001 {
			t.Errorf("socket %d: close code %d, want 1001", i, code)
		}
		wantDense(t, c.Messages(room), 1, 1)
	}

	harness.Check(t, tenant.Server().Start())
	wantDense(t, harness.Must(alice.History(room, 0, 100))(t), 1, 1)
}
