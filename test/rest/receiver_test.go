package rest_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// settling is a store that tells when outcomes of webhook calls are stored.
type settling struct {
	store
	done chan<- struct{}
}

// Settle implements ports.Outbox.
func (s settling) Settle(ctx context.Context, settlements []ports.Settlement) ([]domain.JobID, error) {
	lost, err := s.store.Settle(ctx, settlements)
	s.done <- struct{}{}
	return lost, err
}

// deliver makes the calls of the outbox until the test is over.
func (f *fixture) deliver() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := f.courier.Run(ctx); err != nil {
			f.t.Errorf("the courier: %v", err)
		}
	})
	f.t.Cleanup(func() { cancel(); running.Wait() })
}

// wantSettled waits until the outcome of one call is stored.
func (f *fixture) wantSettled() {
	f.t.Helper()
	select {
	case <-f.settled:
	case <-time.After(30 * time.Second):
		f.t.Fatal("no call was settled within 10 s")
	}
}

// receiver is a tenant's backend as the webhook sees it.
type receiver struct {
	url    string
	status atomic.Int64 // of its answers
	calls  chan received
}

type received struct {
	header http.Header
	body   []byte
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{calls: make(chan received, 100)}
	r.status.Store(http.StatusNoContent)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			t.Errorf("read a webhook call: %v", err)
		}
		r.calls <- received{request.Header, body}
		w.WriteHeader(int(r.status.Load()))
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

// setWebhook points the fixture's tenant at a receiver.
func (f *fixture) setWebhook(r *receiver) {
	f.t.Helper()
	f.operator().patch("/admin/tenants/"+f.tenant, `{"config":{"webhook_url":"`+r.url+`","webhook_secret":"`+webhookSecret+`"}}`).want(http.StatusOK)
}

const webhookSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// newLetter makes a dead letter of a message, for one user or, with "", for several, and returns its id.
func (f *fixture) newLetter(tenant, room, message string, user domain.UserID) string {
	f.t.Helper()
	roomID, ok := domain.ParseRoomID(room)
	messageID, ok2 := domain.ParseMessageID(message)
	if !ok || !ok2 {
		f.t.Fatalf("%s, %s: no ids", room, message)
	}
	at := time.Now().UTC().Truncate(time.Millisecond)
	ids := system.IDs{}
	letter := domain.DeadLetter{
		ID: domain.DeadLetterID(ids.NewUUID()),
		Job: domain.Job{
			ID: domain.JobID(messageID), Event: domain.JobID(messageID), Lane: domain.LaneWebhook, Room: roomID, Message: messageID, Due: at, CreatedAt: at,
		},
		User: user, FromSeq: 1, ToSeq: 1, Attempts: 5, LastAttemptAt: at, Error: string(ports.CauseTimeout),
	}
	err := f.store.Update(f.t.Context(), domain.TenantID(tenant), func(tx ports.Tx) error { return tx.AddDeadLetter(letter) })
	if err != nil {
		f.t.Fatal(err)
	}
	return letter.ID.String()
}
