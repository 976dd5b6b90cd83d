package ws

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
)

// waitingIdentity answers no sooner than its call is ended.
type waitingIdentity struct{ authenticator }

func (waitingIdentity) Authenticate(ctx context.Context, _ application.Credentials) (application.Caller, error) {
	<-ctx.Done()
	return application.Caller{}, ctx.Err()
}

// TestAnUpgradeThatIsEndedInTheMiddleIsNoFaultOfTheServers: its client has gone, or has waited for too long.
func TestAnUpgradeThatIsEndedInTheMiddleIsNoFaultOfTheServers(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := newHandler(&Handler{
		identity: waitingIdentity{}, limits: &fakeLimits{}, clock: wallClock{}, ids: randomIDs{}, log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	for name, end := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"the client has gone": context.WithCancel,
		"the time is over": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 0)
		},
	} {
		ctx, cancel := end(t.Context())
		cancel()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/ws?token=good", nil))
		var got struct{ Error struct{ Code domain.Code } }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if w.Code != http.StatusServiceUnavailable || got.Error.Code != domain.CodeUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d %v %s, want 503", name, w.Code, w.Header(), w.Body)
		}
	}
	if log.Len() > 0 {
		t.Errorf("logged %s", &log)
	}
}
