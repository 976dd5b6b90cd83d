package blackbox

import (
	"strings"
	"syscall"
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

// TestTheDrainEndsInTimeWhateverClientsDo: a request that never comes to its end, and a socket that never reads.
func TestTheDrainEndsInTimeWhateverClientsDo(t *testing.T) {
	t.Parallel()
	const patience = 5 * time.Second
	tenant := tenantOf(t, harness.Options{Env: map[string]string{"SHUTDOWN_DRAIN_TIMEOUT": patience.String()}})
	s, alice := tenant.Server(), tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	stalled := harness.Must(tenant.User("bob").DialWith(harness.DialOptions{Stalled: true, ReadBuffer: 4096}))(t)
	t.Cleanup(stalled.Drop)
	large := harness.Body("%s", strings.Repeat("x", 12_000))
	const messages = 100 // more than the kernel and the server keep for a socket
	for range messages {
		harness.Must(alice.Send(room, large))(t)
	}
	held := harness.Must(alice.Unfinished("/rooms"))(t)
	t.Cleanup(func() { _ = held.Close() })

	began := time.Now()
	harness.Check(t, s.Signal(syscall.SIGTERM))
	code, err := s.WaitExit(patience + 30*time.Second)
	if took := time.Since(began); err != nil || code != 0 {
		t.Errorf("after %s: exit code %d, %v", took, code, err)
	}
	if !strings.Contains(s.Log(), "requests cut at the end of the drain") {
		t.Errorf("the log does not say that a request was cut:\n%s", s.LogTail(5))
	}
	harness.Check(t, s.Start())
	wantDense(t, harness.Must(alice.History(room, 0, messages))(t), 1, messages)
}

// TestAMarkAcknowledgedJustBeforeSIGTERMIsKept, though it had half a second to be written in.
func TestAMarkAcknowledgedJustBeforeSIGTERMIsKept(t *testing.T) {
	t.Parallel()
	const messages = 20
	tenant := tenantOf(t, harness.Options{})
	s, alice, bob := tenant.Server(), tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	fill(t, alice, room, messages)
	for last := int64(1); last <= messages; last += 6 {
		c := connect(t, bob, "device_id", "phone")
		requested(t, c, ackFrame(room, last))
		harness.Check(t, s.Signal(syscall.SIGTERM))
		if code, err := s.WaitExit(30 * time.Second); err != nil || code != 0 {
			t.Fatalf("SIGTERM: exit code %d, %v", code, err)
		}
		harness.Check(t, s.Start())
		if got := lastAck(t, bob, room, "phone"); got != last {
			t.Errorf("the mark is %d after the restart, %d was acknowledged before", got, last)
		}
	}
}
