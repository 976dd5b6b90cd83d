package application_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/adapters/secrets"
	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/adapters/token"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
)

// tenancy is the operator's side of the core over a real store, with one tenant.
type tenancy struct {
	*application.Tenancy
	identity  *application.Identity
	messaging *application.Messaging
	rooms     *application.Rooms
	made      application.NewTenant
	lookups   atomic.Int64 // of tenants in the store
}

type countedTenants struct {
	*sqlite.Store
	n *atomic.Int64
}

func (c countedTenants) Tenant(ctx context.Context, id domain.TenantID) (domain.Tenant, error) {
	c.n.Add(1)
	return c.Store.Tenant(ctx, id)
}

type noSockets struct{}

func (noSockets) CloseCredential(domain.TenantID, string) {}

func (noSockets) OpenSockets(domain.TenantID) int { return 0 }

func (noSockets) Credentials() []application.Caller { return nil }

func startTenancy(t *testing.T) *tenancy {
	t.Helper()
	store := openStore(t)
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	sealer, err := secrets.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	ids, clock, f := system.IDs{}, system.Clock{}, &tenancy{}
	log := slog.New(slog.DiscardHandler)
	f.identity = application.NewIdentity(store, countedTenants{store, &f.lookups}, token.New(), inproc.NewTickets(), sealer, ids, clock,
		application.IdentityConfig{})
	upkeep := application.NewUpkeep(store, store, f.identity, log)
	f.Tenancy = application.NewTenancy(store, store, store, sealer, ids, clock,
		application.NewRevocations(inproc.NewBus(), f.identity, noSockets{}, noPlaces{}, log), application.NewUsage(store, clock, log), upkeep, noSockets{}, noPlaces{})
	f.messaging = application.NewMessaging(store, store, f.identity, ids, clock, &application.Courier{}, nil)
	f.rooms = application.NewRooms(store, ids, clock, upkeep)
	if f.made, err = f.Create(t.Context(), "test", nil); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestCallersOfLongAgoGoByTheirTenantAsItIsNow: a socket keeps its caller for days.
func TestCallersOfLongAgoGoByTheirTenantAsItIsNow(t *testing.T) {
	t.Parallel()
	f := startTenancy(t)
	caller, err := f.identity.Authenticate(t.Context(), application.Credentials{APIKey: f.made.APIKey, UserID: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	room, err := f.rooms.Create(t.Context(), caller, domain.RoomDraft{Type: "group"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	send := func(size int) error {
		_, err := f.messaging.Send(t.Context(), caller, room.Room.ID, domain.Draft{Content: strings.Repeat("x", size)}, nil)
		return err
	}
	for _, step := range []struct {
		config string
		fits   int
	}{{`{}`, domain.DefaultMaxMessage}, {`{"max_message_size":10}`, 10}, {`{"max_message_size":20000}`, 20_000}} {
		if _, err := f.Update(t.Context(), f.made.ID, nil, []byte(step.config)); err != nil {
			t.Fatal(err)
		}
		if err := send(step.fits); err != nil {
			t.Errorf("%s: %d bytes: %v", step.config, step.fits, err)
		}
		var known *domain.Error
		if err := send(step.fits + 1); !errors.As(err, &known) || known.Field != "content" {
			t.Errorf("%s: %d bytes: got %v, want a validation error of content", step.config, step.fits+1, err)
		}
	}
	if err := f.Delete(t.Context(), f.made.ID); err != nil {
		t.Fatal(err)
	}
	if err := send(1); !errors.Is(err, domain.ErrUnauthenticated) {
		t.Errorf("after the tenant's end: got %v, want what a revoked key gets", err)
	}
}

func TestTenantIsAnsweredFromMemoryWithoutAllocating(t *testing.T) {
	f := startTenancy(t)
	ask := func() {
		if got, err := f.identity.Tenant(t.Context(), f.made.ID); err != nil || got.ID != f.made.ID {
			t.Errorf("got %v %v, want the tenant", got.ID, err)
		}
	}
	ask()
	before := f.lookups.Load()
	if allocs := testing.AllocsPerRun(100, ask); allocs != 0 {
		t.Errorf("%v allocations a call, want none", allocs)
	}
	if got := f.lookups.Load() - before; got != 0 {
		t.Errorf("the store was asked %d times, want from memory", got)
	}
	if _, err := f.Update(t.Context(), f.made.ID, nil, []byte(`{"max_message_size":7}`)); err != nil {
		t.Fatal(err)
	}
	if got, err := f.identity.Tenant(t.Context(), f.made.ID); err != nil || got.Config.MaxMessage() != 7 {
		t.Errorf("after a change: got %d %v, want 7", got.Config.MaxMessage(), err)
	}
}

// TestATicketStandsOnItsCredential: it is good once, and ends with the key or token that made it.
func TestATicketStandsOnItsCredential(t *testing.T) {
	t.Parallel()
	f := startTenancy(t)
	key, err := f.AddAPIKey(t.Context(), f.made.ID, "second")
	if err != nil {
		t.Fatal(err)
	}
	backend := authenticate(t, f.identity, application.Credentials{APIKey: key.Secret})
	if _, _, err := f.identity.IssueTicket(t.Context(), backend); !errors.Is(err, domain.ErrUserRequired) {
		t.Errorf("a ticket for nobody: %v", err)
	}
	ann := authenticate(t, f.identity, application.Credentials{APIKey: key.Secret, UserID: "ann"})
	ticket, ttl, err := f.identity.IssueTicket(t.Context(), ann)
	if err != nil || ttl != time.Minute || len(ticket) != len("wst_")+43 || !strings.HasPrefix(ticket, "wst_") {
		t.Fatalf("ticket %q for %s: %v", ticket, ttl, err)
	}
	again := authenticate(t, f.identity, application.Credentials{Ticket: ticket})
	if again.Actor != ann.Actor || again.Tenant.ID != ann.Tenant.ID {
		t.Errorf("redeemed as %+v, want %+v", again.Actor, ann.Actor)
	}
	if _, err := f.identity.Authenticate(t.Context(), application.Credentials{Ticket: ticket}); !errors.Is(err, domain.ErrUnauthenticated) {
		t.Errorf("redeemed twice: %v", err)
	}
	unused, _, err := f.identity.IssueTicket(t.Context(), ann)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.identity.Authenticate(t.Context(), application.Credentials{Ticket: unused, APIKey: key.Secret}); !errors.Is(err, domain.ErrUnauthenticated) {
		t.Errorf("a ticket beside a key: %v", err)
	}
	if err := f.identity.Confirm(t.Context(), again); err != nil {
		t.Errorf("a live credential is not confirmed: %v", err)
	}
	if err := f.Revoke(t.Context(), f.made.ID, domain.APIKey, key.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := f.identity.Authenticate(t.Context(), application.Credentials{Ticket: unused}); !errors.Is(err, domain.ErrUnauthenticated) {
		t.Errorf("redeemed after its key was revoked: %v", err)
	}
	if err := f.identity.Confirm(t.Context(), again); !errors.Is(err, domain.ErrUnauthenticated) {
		t.Errorf("a revoked credential is confirmed: %v", err)
	}
}

func TestATicketOfATokenEndsWithIt(t *testing.T) {
	t.Parallel()
	f := startTenancy(t)
	signing, err := f.AddSigningKey(t.Context(), f.made.ID)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(in time.Duration) string {
		jwt, err := token.New().Sign(domain.Claims{Subject: "ann", ExpiresAt: time.Now().Add(in)}, signing.ID, []byte(signing.Secret))
		if err != nil {
			t.Fatal(err)
		}
		return jwt
	}
	ann := authenticate(t, f.identity, application.Credentials{Bearer: sign(time.Hour)})
	ticket, _, err := f.identity.IssueTicket(t.Context(), ann)
	if err != nil {
		t.Fatal(err)
	}
	if got := authenticate(t, f.identity, application.Credentials{Ticket: ticket}); !got.Expires.Equal(ann.Expires) || got.Expires.IsZero() {
		t.Errorf("expires %s, want %s", got.Expires, ann.Expires)
	}
	old := ann
	old.Expires = time.Now().Add(-time.Minute)
	if ticket, _, err = f.identity.IssueTicket(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if _, err := f.identity.Authenticate(t.Context(), application.Credentials{Ticket: ticket}); !errors.Is(err, domain.ErrTokenExpired) {
		t.Errorf("redeemed after its token's end: %v", err)
	}
}

func authenticate(t *testing.T, i *application.Identity, c application.Credentials) application.Caller {
	t.Helper()
	caller, err := i.Authenticate(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return caller
}
