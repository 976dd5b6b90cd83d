package application

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Revocations have every node forget what it remembers of a tenant and its credentials when that changes on one, and close
// the sockets that stand on a credential that is gone. The node of the change does so at once, others when they hear of
// it; a hint that is lost costs a delay: what is remembered, Identity asks for anew within identityMemory, and what sockets
// stand on is asked for every recheckEvery.
type Revocations struct {
	bus      ports.Bus
	identity *Identity
	sockets  CredentialCloser
	places   ports.Endpoints
	log      *slog.Logger

	missed atomic.Bool
	look   chan struct{}
}

// tenantsChannel carries what has changed of tenants and their credentials.
const tenantsChannel = "tenants"

// What it carries.
const (
	hintTenant  domain.EventKind = "tenant.changed"
	hintConfig  domain.EventKind = "tenant.configured" // its endpoints may be others
	hintRevoked domain.EventKind = "access.revoked"    // User is the id of a credential; empty: all of the tenant's
)

const recheckEvery = 5 * time.Second

// NewRevocations wires the component; Run it.
func NewRevocations(bus ports.Bus, identity *Identity, sockets CredentialCloser, places ports.Endpoints, log *slog.Logger) *Revocations {
	return &Revocations{bus: bus, identity: identity, sockets: sockets, places: places, log: log, look: make(chan struct{}, 1)}
}

// changed says that what is known of a tenant is not true any more.
func (r *Revocations) changed(ctx context.Context, tenant domain.TenantID) {
	r.tell(ctx, hintTenant, tenant, "")
}

// configured is changed for a tenant whose endpoints may be others, with nothing known against them.
func (r *Revocations) configured(ctx context.Context, tenant domain.TenantID) {
	r.tell(ctx, hintConfig, tenant, "")
}

// revoked says that a credential is gone; with credential empty the tenant is.
func (r *Revocations) revoked(ctx context.Context, tenant domain.TenantID, credential string) {
	r.tell(ctx, hintRevoked, tenant, credential)
}

func (r *Revocations) tell(ctx context.Context, kind domain.EventKind, tenant domain.TenantID, credential string) {
	s := signal{tenant: tenant}
	s.Kind, s.User = kind, domain.UserID(credential)
	r.apply(s) // before its caller is answered, whatever becomes of the hint
	if err := r.bus.Publish(context.WithoutCancel(ctx), tenantsChannel, appendSignal(nil, s)); err != nil {
		r.log.Warn("other nodes were not told of a tenant's change", "error", err)
	}
}

func (r *Revocations) apply(s signal) {
	r.identity.Forget(s.tenant)
	switch s.Kind {
	case hintConfig:
		r.places.Forget(ports.OutboundWebhook, WebhookEndpoint(s.tenant))
		r.places.Forget(ports.OutboundWebhook, contextEndpoint(s.tenant))
	case hintRevoked:
		r.sockets.CloseCredential(s.tenant, string(s.User))
	}
}

// Run listens, and rechecks what sockets stand on, until ctx ends.
func (r *Revocations) Run(ctx context.Context) error {
	cancel, err := r.bus.Subscribe(tenantsChannel, r.receive)
	if err != nil {
		return err
	}
	defer cancel()
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-r.look:
		}
		if r.missed.Swap(false) {
			r.identity.ForgetAll()
		}
		r.recheck(ctx)
	}
}

func (r *Revocations) receive(sig ports.Signal) {
	if sig.Lost {
		r.missed.Store(true)
		select {
		case r.look <- struct{}{}:
		default:
		}
	}
	for rest := sig.Payload; len(rest) > 0; {
		s, more, err := readSignal(rest)
		if err != nil {
			r.log.Error("signal not understood", "error", err, "channel", tenantsChannel)
			return
		}
		rest = more
		r.apply(s)
	}
}

// recheck closes the sockets whose credential is gone. Whether a token has expired is for the socket itself to see.
func (r *Revocations) recheck(ctx context.Context) {
	for _, caller := range r.sockets.Credentials() {
		caller.Expires = time.Time{}
		if err := r.identity.Confirm(ctx, caller); errors.Is(err, domain.ErrUnauthenticated) {
			r.sockets.CloseCredential(caller.Tenant.ID, caller.Credential)
		}
	}
}
