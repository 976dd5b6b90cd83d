// Package onefile tests what only a server on a SQLite file has: somebody's very first start, at which nothing is set, and the
// operator's socket beside the file. What holds on every store is in package blackbox.
package onefile

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// seedDSN is the spelling of the first documentation of this API; it is another driver's dialect.
const seedDSN = "file:chatapi.db?_journal_mode=WAL&_busy_timeout=5000"

func TestAFreshInstallSaysHowToMakeATenantAndCarriesItsFirstMessage(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Bare: true, Args: []string{}, Env: map[string]string{"DATABASE_DSN": seedDSN}})
	if log := s.Log(); !strings.Contains(log, "tenant create") {
		t.Errorf("the log of a start with no secret set does not say how to make a tenant:\n%s", log)
	}

	ctx, cancel := harness.WithTimeout()
	defer cancel()
	var made struct {
		TenantID  string `json:"tenant_id"`
		APIKey    string `json:"api_key"`
		Name      string `json:"name"`
		CreatedAt string `json:"created_at"`
	}
	out := harness.Must(s.Command(ctx, "tenant", "create", "acme", "--json"))(t)
	harness.Check(t, json.Unmarshal([]byte(out), &made))
	s.Secret(made.APIKey)
	if made.Name != "acme" || !strings.HasPrefix(made.TenantID, "tenant_") || made.CreatedAt == "" {
		t.Errorf("tenant create printed %+v", made)
	}

	alice := s.Anonymous().With("X-API-Key", made.APIKey).With("X-User-Id", "alice")
	room := harness.Must(alice.CreateRoom("dm", "alice", "bob"))(t)
	sent := harness.Must(alice.Send(room.RoomID, harness.Body("first")))(t)
	if sent.Seq != 1 || sent.SenderID != "alice" || sent.Content != harness.Body("first") {
		t.Errorf("the first message came back as %+v", sent)
	}
}

func TestWithoutSecretsNobodyIsAnOperator(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Bare: true, Env: map[string]string{"DATABASE_DSN": seedDSN}})
	for _, key := range []string{"", "x", s.MasterKey} {
		claimant := s.Anonymous().With("X-Master-Key", key)
		res := harness.Must(claimant.Call(http.MethodPost, "/admin/tenants", `{"name":"x"}`, http.StatusUnauthorized, nil))(t)
		if problem := harness.Must(res.Problem())(t); problem.Error.Code != "AUTHENTICATION_ERROR" {
			t.Errorf("an operator with key %q: %s", key, res.Body)
		}
	}
}
