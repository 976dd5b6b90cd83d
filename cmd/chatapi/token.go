package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/adapters/token"
	"github.com/chatapi/chatapi/domain"
)

type tokenCommand struct {
	User   string        `required:"" help:"The user's id: the token's sub."`
	Tenant string        `help:"The tenant, by its id; it must have a signing key. Without it: the default tenant, with JWT_SECRET."`
	Kid    string        `help:"Which signing key; default the newest of the tenant."`
	TTL    time.Duration `name:"ttl" default:"24h" help:"How long it is valid, at most 720h."`
	printing
}

// Run implements the command.
func (t *tokenCommand) Run(ctx context.Context, c console) error {
	in := mintRequest{Tenant: domain.TenantID(t.Tenant), KeyID: t.Kid, User: t.User, TTL: t.TTL}
	minted, err := t.mint(ctx, c, in)
	if err != nil {
		return err
	}
	if t.JSON {
		return writeJSON(c.out, minted)
	}
	_, err = fmt.Fprintln(c.out, minted.Token)
	return err
}

func (t *tokenCommand) mint(ctx context.Context, c console, in mintRequest) (minted mintAnswer, err error) {
	if in.Tenant != "" || in.KeyID != "" {
		answer, err := operate(ctx, c, http.MethodPost, mintPath, in)
		if err != nil {
			return minted, err
		}
		return minted, json.Unmarshal(answer, &minted)
	}
	cfg, err := commandConfig(c)
	if err != nil {
		return minted, err
	}
	if !cfg.JWTSecret.IsSet() {
		return minted, errors.New("JWT_SECRET is not set: set it, or name a tenant with --tenant")
	}
	in.Tenant = domain.DefaultTenant
	return sign(token.New(), system.Clock{}.Now(), in, []byte(cfg.JWTSecret.Reveal()))
}
