package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// mintPath is on the operator's socket alone: it is no part of the API.
const mintPath = "/operator/tokens"

// minter signs tokens with a tenant's own signing key, which only the server can open.
type minter struct {
	Tenancy *application.Tenancy
	Keys    ports.Keys
	Sealer  ports.Sealer
	Tokens  ports.Tokens
	Clock   ports.Clock
}

type mintRequest struct {
	Tenant domain.TenantID `json:"tenant_id,omitempty"`
	KeyID  string          `json:"kid,omitempty"`
	User   string          `json:"user_id"`
	TTL    time.Duration   `json:"ttl"`
}

type mintAnswer struct {
	Token     string    `json:"token"`
	Tenant    string    `json:"tenant_id"`
	KeyID     string    `json:"kid,omitempty"`
	User      string    `json:"user_id"`
	ExpiresAt time.Time `json:"expires_at"`
}

// ServeHTTP implements http.Handler.
func (m *minter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in mintRequest
	status, answer := http.StatusCreated, any(nil)
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&in)
	if err == nil {
		answer, err = m.mint(r.Context(), in)
	}
	if err != nil {
		status, answer = http.StatusBadRequest, failure{Error: failureDetail{Message: clientMessage(err)}}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // an error here is a command that has gone
}

func (m *minter) mint(ctx context.Context, in mintRequest) (mintAnswer, error) {
	if in.KeyID == "" {
		kid, err := m.newestKey(ctx, in.Tenant)
		if err != nil {
			return mintAnswer{}, err
		}
		in.KeyID = kid
	}
	key, sealed, err := m.Keys.SigningKey(ctx, in.KeyID)
	if errors.Is(err, domain.ErrKeyNotFound) || err == nil && in.Tenant != "" && key.Tenant != in.Tenant {
		return mintAnswer{}, errors.New("the tenant has no live signing key with this kid")
	}
	if err != nil {
		return mintAnswer{}, err
	}
	secret, err := m.Sealer.Open(sealed, application.SigningKeyContext(key.Tenant, in.KeyID))
	if err != nil {
		return mintAnswer{}, err
	}
	in.Tenant = key.Tenant
	return sign(m.Tokens, m.Clock.Now(), in, secret)
}

// newestKey is the live signing key that was made last.
func (m *minter) newestKey(ctx context.Context, tenant domain.TenantID) (kid string, err error) {
	found, err := m.Tenancy.Get(ctx, tenant)
	if errors.Is(err, domain.ErrTenantNotFound) {
		return "", fmt.Errorf(noTenant, tenant)
	}
	if err != nil {
		return "", err
	}
	for _, key := range found.Keys { // oldest first
		if key.Kind == domain.SigningKey && key.RevokedAt.IsZero() {
			kid = key.ID
		}
	}
	if kid == "" {
		return "", errors.New("the tenant has no signing key yet: make one with `chatapi key create TENANT --signing`")
	}
	return kid, nil
}

// sign makes the token that the server itself would accept now.
func sign(tokens ports.Tokens, now time.Time, in mintRequest, secret []byte) (mintAnswer, error) {
	user, err := domain.CheckUserID("user", in.User)
	if err != nil {
		return mintAnswer{}, fmt.Errorf("--user: %s", clientMessage(err))
	}
	if in.TTL < time.Second || in.TTL > domain.TokenMaxLife {
		return mintAnswer{}, errors.New("a token lives from 1s to 720h")
	}
	claims := domain.Claims{Subject: string(user), ExpiresAt: now.Add(in.TTL).Truncate(time.Second)}
	signed, err := tokens.Sign(claims, in.KeyID, secret)
	return mintAnswer{Token: signed, Tenant: string(in.Tenant), KeyID: in.KeyID, User: in.User, ExpiresAt: claims.ExpiresAt}, err
}

// clientMessage is what a command prints of an error.
func clientMessage(err error) string {
	if refusal, ok := errors.AsType[*domain.Error](err); ok {
		return refusal.Message
	}
	return err.Error()
}
