package faults

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// echo is a receiver that fails, and says in its answer all that it was sent.
func echo(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what has come of it
		w.Header().Set("X-Was", r.Header.Get("webhook-signature"))
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, "%s %v %s", r.URL, r.Header, body)
	}))
	t.Cleanup(s.Close)
	return s
}

// TestNothingSecretIsSeenWhenDeliveryFails makes every kind of dead letter, with the most that is ever logged, and receivers
// that throw back what they were told. The harness searches, at the end, all that the server has let be seen.
func TestNothingSecretIsSeenWhenDeliveryFails(t *testing.T) {
	t.Parallel()
	receiver := echo(t)
	s := harness.Start(t, harness.Options{Env: map[string]string{
		"OUTBOUND_ALLOW": "webhook=127.0.0.1", "RETRY_INTERVAL": "1s", "RETRY_MAX_ATTEMPTS": "1", "LOG_LEVEL": "debug", "TRUSTED_PROXIES": "127.0.0.1",
		"WEBHOOK_SECRET": harness.Body("secret of the operator"),
	}})
	tenant := harness.Must(s.NewTenantWith("leaks", map[string]any{
		"rate_limit": 0, "webhook_url": receiver.URL + "/hook?token=token-in-a-url", "webhook_secret": harness.Body("secret"),
	}))(t)
	s.Secret("token-in-a-url")
	backend, ann := tenant.Backend(), tenant.User("ann")
	subscription := map[string]any{"topic": noticeTopic, "endpoint": receiver.URL + "/backend?token=token-in-a-url"}
	harness.Must(backend.Call(http.MethodPost, "/subscriptions", subscription, http.StatusCreated, nil))(t)
	room := harness.Must(ann.CreateRoom("group", "bob", "cat"))(t).RoomID
	bob := harness.Must(tenant.User("bob").Dial())(t) // acknowledges nothing; cat is away
	t.Cleanup(bob.Drop)
	harness.Must(bob.AwaitType("sync.complete"))(t)

	harness.Must(ann.Send(room, harness.Body("to nobody who hears it")))(t)
	notification := map[string]any{
		"topic": noticeTopic, "payload": harness.Payload("for all"),
		"targets": map[string]any{"user_ids": []string{"bob"}, "topic_subscribers": true},
	}
	harness.Must(backend.Call(http.MethodPost, "/notify", notification, http.StatusAccepted, nil))(t)
	var letters struct {
		Messages      []struct{ Error string } `json:"failed_messages"`
		Notifications []struct{ Error string } `json:"failed_notifications"`
	}
	harness.Eventually(t, 40*time.Second, "dead letters of both kinds, of sockets and of calls", func() bool {
		harness.Must(backend.Call(http.MethodGet, "/admin/dead-letters", nil, http.StatusOK, &letters))(t)
		return len(letters.Messages) == 2 && len(letters.Notifications) == 2
	})
	misplace(t, s, tenant)
}

// misplace shows credentials and texts where they do not belong: each is refused, and no refusal repeats one.
func misplace(t *testing.T, s *harness.Server, tenant *harness.Tenant) {
	t.Helper()
	ticket := harness.Must(s.Ticket(tenant.User("ann").Client))(t)
	token := harness.Must(s.Token("ann"))(t)
	text := url.QueryEscape(harness.Body("in a query"))
	for i, secret := range []string{tenant.Key, s.MasterKey, ticket, token} {
		nobody := s.Anonymous().With("X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i+1)) // each has its own bound of guesses
		for _, path := range []string{"/rooms/" + secret, "/rooms?api_key=" + secret + "&q=" + text, "/admin/tenants/" + secret, "/" + secret} {
			for _, c := range []*harness.Client{
				nobody, nobody.With("X-API-Key", secret+"x"), nobody.With("Authorization", "Bearer "+secret+".x"),
				nobody.With("X-Master-Key", "not "+secret), nobody.With("Authorization", secret), tenant.User("ann").Client,
			} {
				res := harness.Must(c.Do(t.Context(), http.MethodGet, path, nil))(t)
				if res.Status < 400 && !strings.HasPrefix(path, "/rooms?") {
					t.Errorf("GET %.20s…: %d", path, res.Status)
				}
			}
		}
		body := fmt.Sprintf(`{"content":%q,"meta":%q}`, harness.Body("refused"), secret)
		harness.Must(tenant.User("ann").Call(http.MethodPost, "/rooms/room_"+secret+"/messages", body, http.StatusBadRequest, nil))(t)
	}
	for range 2 { // the second time it is used up
		c, err := harness.Dial(s.Base, harness.DialOptions{Query: url.Values{"token": {ticket}}})
		if err == nil {
			_, err = c.Request(map[string]any{"type": "send_message", "room_id": ticket, "content": harness.Body("to a ticket")})
			harness.Check(t, err)
			c.Drop()
		}
	}
}
