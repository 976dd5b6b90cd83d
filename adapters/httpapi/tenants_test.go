package httpapi

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/domain"
)

func TestATenantIsShownWithoutWhatIsNobodysToSee(t *testing.T) {
	t.Parallel()
	url, secret, at := "https://example.com/hook", "a canary", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	h := &handler{}
	config := domain.TenantConfig{
		WebhookURL: &url, WebhookSecret: &secret, SecretBefore: &secret, SecretUntil: &at, WebhookDisabled: &at,
	}
	shape := h.shapeTenant(domain.Tenant{ID: "tenant_x", Name: "Acme", Config: config})
	got, err := json.Marshal(shape)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(got), secret) {
		t.Errorf("a secret is shown: %s", got)
	}
	var shown struct {
		Config     map[string]any
		DisabledAt string `json:"webhook_disabled_at"`
	}
	if err := json.Unmarshal(got, &shown); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"webhook_url": url}, shown.Config); diff != "" {
		t.Errorf("the config (-want +shown):\n%s", diff)
	}
	if shown.DisabledAt != "2026-01-02T03:04:05.000Z" {
		t.Errorf("disabled at %q", shown.DisabledAt)
	}
}
