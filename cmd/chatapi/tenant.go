package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

type tenantCommand struct {
	Create tenantCreate `cmd:"" help:"Make a tenant and its first API key, which is shown once."`
	List   tenantList   `cmd:"" help:"List tenants."`
	Show   tenantShow   `cmd:"" help:"Show a tenant, its settings and its keys."`
	Delete tenantDelete `cmd:"" help:"Delete a tenant with everything it has."`
}

// printing is how a command that prints data prints it.
type printing struct {
	JSON bool `name:"json" help:"Print JSON."`
}

type tenantCreate struct {
	Name   string `arg:"" help:"What to call it, 1 to 256 characters."`
	Config string `placeholder:"JSON" help:"Its settings, a JSON object such as {\"max_message_size\":4096}."`
	printing
}

// Run implements the command.
func (t *tenantCreate) Run(ctx context.Context, c console) error {
	body := map[string]any{"name": t.Name}
	if t.Config != "" {
		if !json.Valid([]byte(t.Config)) {
			return errors.New("--config: it is not JSON")
		}
		body["config"] = json.RawMessage(t.Config)
	}
	var answer json.RawMessage
	err := withOperator(ctx, c, newStore, func(op *operatorClient) (err error) {
		answer, _, err = op.call(ctx, http.MethodPost, "/admin/tenants", body)
		return err
	})
	if err != nil {
		return err
	}
	return t.print(c, answer, "tenant_id", "name", "api_key", "created_at")
}

type tenantList struct{ printing }

// Run implements the command.
func (t *tenantList) Run(ctx context.Context, c console) error {
	tenants := []json.RawMessage{}
	err := withOperator(ctx, c, noStore, func(op *operatorClient) error {
		for path := "/admin/tenants?limit=100"; path != ""; {
			answer, next, err := op.call(ctx, http.MethodGet, path, nil)
			if err != nil {
				return err
			}
			var page []json.RawMessage
			if err := json.Unmarshal(answer, &page); err != nil {
				return err
			}
			tenants, path = append(tenants, page...), next
		}
		return nil
	})
	if err != nil {
		return err
	}
	if t.JSON {
		return writeJSON(c.out, tenants)
	}
	return printTable(c.out, tenants, "tenant_id", "name", "created_at")
}

type tenantShow struct {
	Tenant string `arg:"" help:"The tenant's id."`
	printing
}

// Run implements the command.
func (t *tenantShow) Run(ctx context.Context, c console) error {
	answer, err := operate(ctx, c, http.MethodGet, tenantPath(t.Tenant), nil)
	if err != nil {
		return orMissing(err, noTenant, t.Tenant)
	}
	return t.print(c, answer, "tenant_id", "name", "created_at", "config", "limits", "usage", "api_keys", "signing_keys")
}

type tenantDelete struct {
	Tenant string `arg:"" help:"The tenant's id."`
	Yes    bool   `help:"Confirm: its rooms, messages and keys are gone for good."`
}

// Run implements the command.
func (t *tenantDelete) Run(ctx context.Context, c console) error {
	if !t.Yes {
		return errors.New("this deletes the tenant with all its rooms and messages: say so with --yes")
	}
	if _, err := operate(ctx, c, http.MethodDelete, tenantPath(t.Tenant), nil); err != nil {
		return orMissing(err, noTenant, t.Tenant)
	}
	_, err := fmt.Fprintln(c.err, "deleted")
	return err
}

type keyCommand struct {
	Create keyCreate `cmd:"" help:"Make an API key or a signing key; its secret is shown once."`
	Revoke keyRevoke `cmd:"" help:"Revoke a key: it is refused at once, its sockets are closed."`
}

type keyCreate struct {
	Tenant  string `arg:"" help:"The tenant's id."`
	Name    string `help:"What to call an API key."`
	Signing bool   `help:"Make a signing key, which verifies the JWTs of the tenant's users."`
	printing
}

// Run implements the command.
func (k *keyCreate) Run(ctx context.Context, c console) error {
	if k.Signing && k.Name != "" {
		return errors.New("--name: signing keys have none")
	}
	path, body := tenantPath(k.Tenant)+"/keys", map[string]string{"name": k.Name}
	fields := []string{"key_id", "name", "api_key", "created_at"}
	if k.Signing {
		path, body = tenantPath(k.Tenant)+"/signing-keys", map[string]string{}
		fields = []string{"kid", "secret", "created_at"}
	}
	answer, err := operate(ctx, c, http.MethodPost, path, body)
	if err != nil {
		return orMissing(err, noTenant, k.Tenant)
	}
	return k.print(c, answer, fields...)
}

type keyRevoke struct {
	Tenant string `arg:"" help:"The tenant's id."`
	Key    string `arg:"" help:"The key's id, key_… or kid_…"`
}

// Run implements the command.
func (k *keyRevoke) Run(ctx context.Context, c console) error {
	kind := "/keys/"
	if strings.HasPrefix(k.Key, "kid_") {
		kind = "/signing-keys/"
	}
	if _, err := operate(ctx, c, http.MethodDelete, tenantPath(k.Tenant)+kind+url.PathEscape(k.Key), nil); err != nil {
		return orMissing(err, "there is no tenant %q with a live key %q (`chatapi tenant show TENANT` lists the keys)", k.Tenant, k.Key)
	}
	_, err := fmt.Fprintln(c.err, "revoked")
	return err
}

func tenantPath(id string) string { return "/admin/tenants/" + url.PathEscape(id) }

// noTenant says which tenant there is not.
const noTenant = "there is no tenant %q (`chatapi tenant list` lists them)"

// operate makes one call as the operator, about what is in the store.
func operate(ctx context.Context, c console, method, path string, body any) (answer json.RawMessage, err error) {
	err = withOperator(ctx, c, noStore, func(op *operatorClient) (err error) {
		answer, _, err = op.call(ctx, method, path, body)
		return err
	})
	return answer, err
}

func withOperator(ctx context.Context, c console, absent absence, use func(*operatorClient) error) error {
	cfg, err := commandConfig(c)
	if err != nil {
		return err
	}
	op, err := openOperator(ctx, c, cfg, absent)
	if err != nil {
		return err
	}
	defer op.close()
	return use(op)
}
