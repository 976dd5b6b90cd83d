package harness

import (
	"fmt"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Signer mints tokens for the users of one tenant with a signing key of its own.
type Signer struct {
	Kid    string `json:"kid"`
	Secret string `json:"secret"`
	tenant *Tenant
}

// NewSigner makes a signing key of the tenant.
func (t *Tenant) NewSigner() (*Signer, error) {
	s := &Signer{tenant: t}
	_, err := t.server.Operator().Call(http.MethodPost, "/admin/tenants/"+t.ID+"/signing-keys", nil, http.StatusCreated, s)
	return s, err
}

// Revoke ends the signing key, and with it every token it has signed.
func (s *Signer) Revoke() error {
	path := fmt.Sprintf("/admin/tenants/%s/signing-keys/%s", s.tenant.ID, s.Kid)
	_, err := s.tenant.server.Operator().Call(http.MethodDelete, path, nil, http.StatusNoContent, nil)
	return err
}

// Token mints a token for a user; life is cut to whole seconds, as tokens have no smaller ones.
func (s *Signer) Token(user string, life time.Duration) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": user, "exp": time.Now().Add(life).Unix()})
	token.Header["kid"] = s.Kid
	signed, err := token.SignedString([]byte(s.Secret))
	s.tenant.server.canary.Secret(signed)
	return signed, err
}

// User is a user of the tenant who shows a token that is valid for an hour.
func (s *Signer) User(id string) (*User, error) {
	token, err := s.Token(id, time.Hour)
	client := s.tenant.server.Anonymous().With("Authorization", "Bearer "+token)
	return &User{Client: client, ID: id, tenant: s.tenant}, err
}

// NewKey makes one more API key of the tenant, and returns its id and the tenant as seen with it.
func (t *Tenant) NewKey(name string) (id string, with *Tenant, err error) {
	var key struct {
		KeyID  string `json:"key_id"`
		APIKey string `json:"api_key"`
	}
	body := map[string]any{"name": name}
	_, err = t.server.Operator().Call(http.MethodPost, "/admin/tenants/"+t.ID+"/keys", body, http.StatusCreated, &key)
	return key.KeyID, &Tenant{ID: t.ID, Key: key.APIKey, Name: t.Name, server: t.server}, err
}

// RevokeKey ends an API key of the tenant.
func (t *Tenant) RevokeKey(id string) error {
	path := fmt.Sprintf("/admin/tenants/%s/keys/%s", t.ID, id)
	_, err := t.server.Operator().Call(http.MethodDelete, path, nil, http.StatusNoContent, nil)
	return err
}

// Configure merges into the tenant's config.
func (t *Tenant) Configure(config map[string]any) error {
	body := map[string]any{"config": config}
	_, err := t.server.Operator().Call(http.MethodPatch, "/admin/tenants/"+t.ID, body, http.StatusOK, nil)
	return err
}
