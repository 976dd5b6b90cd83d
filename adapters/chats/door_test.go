package chats

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// unguessed is a limiter that has seen no wrong credential.
type unguessed struct{ ports.Limiter }

func (unguessed) Peek(context.Context, string, domain.Rate) domain.Allowance {
	return domain.Allowance{OK: true}
}

// oneID names every request alike.
type oneID struct{ ports.IDs }

func (oneID) NewUUID() domain.UUID { return domain.UUID{1} }

// TestAnUpgradeThatHasNoPlaceIsRefusedOverHTTP: while the server stops, and while as many sockets are being opened as may be.
func TestAnUpgradeThatHasNoPlaceIsRefusedOverHTTP(t *testing.T) {
	t.Parallel()
	for name, occupy := range map[string]func(*Handler){
		"the server stops": func(h *Handler) { h.Drain(t.Context(), 0) },
		"all places are taken": func(h *Handler) {
			for range cap(h.slots) {
				h.slots <- struct{}{}
			}
		},
	} {
		limits := application.NewLimits(unguessed{}, nil, nil, application.LimitsConfig{})
		h := New(Deps{Limits: limits, IDs: oneID{}, Clock: wallClock{}, Logger: slog.New(slog.DiscardHandler)})
		occupy(h)
		r := httptest.NewRequest(http.MethodGet, api.ChatSocketPath, nil)
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		if got := answer.Body.String(); answer.Code != http.StatusServiceUnavailable || !strings.HasPrefix(got, `{"error":503,"message":"`) {
			t.Errorf("%s: %d %s, want 503", name, answer.Code, got)
		}
		if answer.Header().Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", name)
		}
	}
}
