package application_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/adapters/secrets"
	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/adapters/token"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// openDoors are sockets of a node, each with the credential it stands on.
type openDoors struct {
	mu   sync.Mutex
	open []application.Caller
}

func (o *openDoors) CloseCredential(tenant domain.TenantID, credential string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open = slices.DeleteFunc(o.open, func(c application.Caller) bool {
		return c.Tenant.ID == tenant && (credential == "" || c.Credential == credential)
	})
}

func (o *openDoors) Credentials() []application.Caller {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.open)
}

func (o *openDoors) OpenSockets(domain.TenantID) int { return len(o.Credentials()) }

// swallowingBus loses every hint, and says so when it is told to.
type swallowingBus struct {
	mu      sync.Mutex
	deliver []func(ports.Signal)
}

func (b *swallowingBus) Publish(context.Context, string, []byte) error { return nil }

func (b *swallowingBus) Subscribe(_ string, deliver func(ports.Signal)) (func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deliver = append(b.deliver, deliver)
	return func() {}, nil
}

func (b *swallowingBus) lose() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, deliver := range b.deliver {
		deliver(ports.Signal{Lost: true})
	}
}

// clusterNode is what a node knows of tenants and credentials.
type clusterNode struct {
	*application.Tenancy
	identity *application.Identity
	sockets  *openDoors
}

// nodeOn is a node over a store and a bus that it shares with others.
func nodeOn(t *testing.T, store *sqlite.Store, bus ports.Bus) *clusterNode {
	t.Helper()
	sealer, err := secrets.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	ids, clock, log := system.IDs{}, system.Clock{}, slog.New(slog.DiscardHandler)
	n := &clusterNode{sockets: &openDoors{}}
	n.identity = application.NewIdentity(store, store, token.New(), inproc.NewTickets(), sealer, ids, clock, application.IdentityConfig{})
	upkeep := application.NewUpkeep(store, store, n.identity, log)
	news := application.NewRevocations(bus, n.identity, n.sockets, noPlaces{}, log)
	n.Tenancy = application.NewTenancy(store, store, store, sealer, ids, clock, news, application.NewUsage(store, clock, log), upkeep,
		n.sockets, noPlaces{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- news.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return n
}

// enter has a caller with a key stand at the node, with a socket.
func (n *clusterNode) enter(t *testing.T, key string) application.Caller {
	t.Helper()
	caller, err := n.identity.Authenticate(t.Context(), application.Credentials{APIKey: key, UserID: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	n.sockets.mu.Lock()
	defer n.sockets.mu.Unlock()
	n.sockets.open = append(n.sockets.open, caller)
	return caller
}

func (n *clusterNode) wantGone(t *testing.T, when, key string) {
	t.Helper()
	if _, err := n.identity.Authenticate(t.Context(), application.Credentials{APIKey: key}); !errors.Is(err, domain.ErrUnauthenticated) {
		t.Errorf("%s: a revoked key is answered %v", when, err)
	}
	if open := n.sockets.Credentials(); len(open) != 0 {
		t.Errorf("%s: %d sockets of it are open", when, len(open))
	}
}

// twoNodes runs a scenario on two nodes of one store in virtual time.
func twoNodes(t *testing.T, bus ports.Bus, scenario func(t *testing.T, a, b *clusterNode)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := openStore(t)
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		scenario(t, nodeOn(t, store, bus), nodeOn(t, store, bus))
	})
}

func TestWhatOneNodeRevokesIsGoneOnAll(t *testing.T) {
	t.Parallel()
	twoNodes(t, inproc.NewBus(), func(t *testing.T, a, b *clusterNode) {
		made, err := a.Create(t.Context(), "acme", nil)
		if err != nil {
			t.Fatal(err)
		}
		second, err := a.AddAPIKey(t.Context(), made.ID, "second")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // until both listen
		b.enter(t, second.Secret)
		if err := a.Revoke(t.Context(), made.ID, domain.APIKey, second.ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.wantGone(t, "after a revocation elsewhere", second.Secret)

		caller := b.enter(t, made.APIKey)
		if _, err := a.Update(t.Context(), made.ID, nil, []byte(`{"max_message_size":7}`)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if now, err := b.identity.Tenant(t.Context(), caller.Tenant.ID); err != nil || now.Config.MaxMessage() != 7 {
			t.Errorf("after a change elsewhere: got %d %v, want 7", now.Config.MaxMessage(), err)
		}
		if open := b.sockets.Credentials(); len(open) != 1 {
			t.Errorf("a change of the tenant left %d sockets, want the one that was open", len(open))
		}
		if err := a.Delete(t.Context(), made.ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.wantGone(t, "after the tenant's end elsewhere", made.APIKey)
	})
}

// TestARevocationNeedsNoHint: without one it takes ten seconds.
func TestARevocationNeedsNoHint(t *testing.T) {
	t.Parallel()
	twoNodes(t, &swallowingBus{}, func(t *testing.T, a, b *clusterNode) {
		made, err := a.Create(t.Context(), "acme", nil)
		if err != nil {
			t.Fatal(err)
		}
		b.enter(t, made.APIKey)
		if err := a.Delete(t.Context(), made.ID); err != nil {
			t.Fatal(err)
		}
		<-time.After(10*time.Second + time.Millisecond)
		synctest.Wait()
		b.wantGone(t, "ten seconds later", made.APIKey)
	})
}

func TestWhoHasMissedHintsAsksAnew(t *testing.T) {
	t.Parallel()
	bus := &swallowingBus{}
	twoNodes(t, bus, func(t *testing.T, a, b *clusterNode) {
		made, err := a.Create(t.Context(), "acme", nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.enter(t, made.APIKey)
		if err := a.Delete(t.Context(), made.ID); err != nil {
			t.Fatal(err)
		}
		bus.lose()
		synctest.Wait()
		b.wantGone(t, "once it knows that hints were lost", made.APIKey)
	})
}
