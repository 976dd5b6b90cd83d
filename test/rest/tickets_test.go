package rest_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
)

func TestATicketStandsForItsUserOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, c := range f.as("alice") {
		made := c.post("/v1/ws/token", "").want(http.StatusOK)
		if made.header.Get("Cache-Control") != "no-store" || made.object()["expires_in"] != 60.0 {
			t.Errorf("%s: %v %s", name, made.header, made.body)
		}
		ticket := application.Credentials{Ticket: made.object()["token"].(string)}
		caller, err := f.deps.Identity.Authenticate(context.Background(), ticket)
		if err != nil || caller.User != "alice" || caller.Tenant.ID != domain.TenantID(f.tenant) {
			t.Errorf("%s: the ticket is %+v, %v", name, caller, err)
		}
		if _, err := f.deps.Identity.Authenticate(context.Background(), ticket); !errors.Is(err, domain.ErrUnauthenticated) {
			t.Errorf("%s: the second use is %v, want ErrUnauthenticated", name, err)
		}
	}
}

func TestTicketsAreForUsersAndSockets(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.backend().post("/ws/token", "").wantError(http.StatusUnauthorized, domain.CodeAuthentication, "X-User-Id")
	f.anonymous().post("/ws/token", "").wantError(http.StatusUnauthorized, domain.CodeAuthentication, "")
	f.user("alice").with("Idempotency-Key", "k").post("/ws/token", "").invalid("Idempotency-Key")
	ticket := f.user("alice").post("/ws/token", "{}").want(http.StatusOK).object()["token"].(string)
	f.bearer(ticket).get("/rooms").wantError(http.StatusUnauthorized, domain.CodeAuthentication, "")
	f.anonymous().get("/rooms?token="+ticket).wantError(http.StatusUnauthorized, domain.CodeAuthentication, "")
	if caller, err := f.deps.Identity.Authenticate(context.Background(), application.Credentials{Ticket: ticket}); err != nil || caller.User != "alice" {
		t.Errorf("a REST call has used the ticket up: %+v, %v", caller, err)
	}
}
