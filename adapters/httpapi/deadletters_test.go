package httpapi

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/domain"
)

func TestADeadLetterShowsWhatIsMissingAsNull(t *testing.T) {
	t.Parallel()
	letter := domain.DeadLetter{
		ID: domain.DeadLetterID(uuid(4)), Job: domain.Job{Room: domain.RoomID(uuid(1)), Message: domain.MessageID(uuid(2)), Attempts: 3},
		FromSeq: 7, ToSeq: 9, Error: "circuit open",
	}
	const ids = `{"id":"dead_0190d5b2-7c1e-7a3b-9f00-012345678904","message_id":"msg_0190d5b2-7c1e-7a3b-9f00-012345678902",`
	const room = `"room_id":"room_0190d5b2-7c1e-7a3b-9f00-012345678901","from_seq":7,"to_seq":9,`
	tried := letter
	tried.User, tried.Attempts, tried.LastAttemptAt = "bob", 5, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for want, l := range map[string]domain.DeadLetter{
		ids + `"user_id":null,` + room + `"attempts":0,"last_attempt_at":null,"error":"circuit open"}`:                        letter,
		ids + `"user_id":"bob",` + room + `"attempts":5,"last_attempt_at":"2026-01-02T03:04:05.000Z","error":"circuit open"}`: tried,
	} {
		got, err := json.Marshal(shapeFailedMessage(l))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestAFailedNotificationShowsWhatIsMissingAsNull(t *testing.T) {
	t.Parallel()
	letter := domain.DeadLetter{
		ID: domain.DeadLetterID(uuid(4)), Job: domain.Job{Notification: domain.NotificationID(uuid(5)), Attempts: 3}, Topic: `a "topic"`, Error: "http 500",
	}
	const ids = `{"id":"dead_0190d5b2-7c1e-7a3b-9f00-012345678904","notification_id":"notif_0190d5b2-7c1e-7a3b-9f00-012345678905",` +
		`"topic":"a \"topic\"",`
	tried := letter
	tried.User, tried.Attempts, tried.LastAttemptAt = "bob", 5, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for want, l := range map[string]domain.DeadLetter{
		ids + `"user_id":null,"attempts":0,"last_attempt_at":null,"error":"http 500"}`:                        letter,
		ids + `"user_id":"bob","attempts":5,"last_attempt_at":"2026-01-02T03:04:05.000Z","error":"http 500"}`: tried,
	} {
		got, err := json.Marshal(shapeFailedNotification(l))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
