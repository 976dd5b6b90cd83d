package faults

import (
	"database/sql"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// TestAStopEndsInTimeThoughTheStoreIsHeld: a stranger, such as a shell that somebody has left open, holds the database's
// write lock, and the store cannot be closed. The process ends all the same, says why, and what was acknowledged is there.
func TestAStopEndsInTimeThoughTheStoreIsHeld(t *testing.T) {
	t.Parallel()
	const messages, patience = 20, time.Second // less than the store waits for a stranger
	s := harness.Start(t, harness.Options{Env: map[string]string{"SHUTDOWN_DRAIN_TIMEOUT": patience.String()}})
	alice := harness.Must(s.NewTenant("held"))(t).User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	for n := range messages {
		harness.Must(alice.Send(room, harness.Body("%d", n+1)))(t)
	}
	stranger := harness.Must(sql.Open("sqlite", "file:"+filepath.Join(s.Dir, "chatapi.db")+"?_txlock=immediate&_pragma=busy_timeout(20000)"))(t)
	defer stranger.Close()
	held := harness.Must(stranger.Begin())(t)
	sent := make(chan error, 1)
	go func() {
		_, err := alice.Send(room, harness.Body("%d", messages+1))
		sent <- err
	}()

	began := time.Now()
	harness.Check(t, syscall.Kill(s.PID(), syscall.SIGTERM))
	code, err := s.WaitExit(patience + 30*time.Second)
	if took := time.Since(began); err != nil || code != 1 || took < patience {
		t.Errorf("after %s: exit code %d, %v, want 1 after %s", took, code, err, patience)
	}
	if !strings.Contains(s.Log(), "not stopped within SHUTDOWN_DRAIN_TIMEOUT") {
		t.Errorf("the log does not say why:\n%s", s.LogTail(5))
	}
	if <-sent == nil {
		t.Error("a message was acknowledged that could not be stored")
	}
	harness.Check(t, held.Rollback())
	harness.Check(t, s.Start())
	history := harness.Must(alice.History(room, 0, 100))(t)
	if len(history) != messages {
		t.Errorf("%d messages are kept, %d were acknowledged", len(history), messages)
	}
	for i, m := range history {
		if m.Seq != int64(i+1) || m.Content != harness.Body("%d", i+1) {
			t.Errorf("message %d is %+v", i+1, m)
		}
	}
}
