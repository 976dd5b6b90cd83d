package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type madeTenant struct {
	TenantID string `json:"tenant_id"`
	APIKey   string `json:"api_key"`
	Name     string `json:"name"`
}

type madeKey struct {
	KeyID  string `json:"key_id"`
	KID    string `json:"kid"`
	APIKey string `json:"api_key"`
	Secret string `json:"secret"`
}

// lifeOfATenant walks through all the operator's commands.
func lifeOfATenant(t *testing.T, m *machine) {
	t.Helper()
	made := decoded[madeTenant](m, "tenant", "create", "acme", "--config", `{"max_message_size":100}`)
	if made.Name != "acme" || !strings.HasPrefix(made.TenantID, "tenant_") || !strings.HasPrefix(made.APIKey, "sk_") {
		t.Errorf("tenant create: %+v", made)
	}
	listed := decoded[[]madeTenant](m, "tenant", "list")
	if diff := cmp.Diff([]madeTenant{{TenantID: made.TenantID, Name: "acme"}}, listed); diff != "" {
		t.Errorf("tenant list: %s", diff)
	}
	key := decoded[madeKey](m, "key", "create", made.TenantID, "--name", "ci")
	signing := decoded[madeKey](m, "key", "create", made.TenantID, "--signing")
	if !strings.HasPrefix(key.APIKey, "sk_") || !strings.HasPrefix(signing.KID, "kid_") || signing.Secret == "" {
		t.Errorf("key create: %+v, %+v", key, signing)
	}
	other := decoded[madeTenant](m, "tenant", "create", "other")
	m.must("key", "create", other.TenantID, "--signing")
	minted := decoded[mintAnswer](m, "token", "--user", "alice", "--tenant", made.TenantID, "--ttl", "1h")
	if minted.KeyID != signing.KID || minted.Tenant != made.TenantID || strings.Count(minted.Token, ".") != 2 {
		t.Errorf("token: %+v", minted)
	}
	m.must("key", "revoke", made.TenantID, key.KeyID)
	shown := m.must("tenant", "show", made.TenantID)
	for _, part := range []string{"acme", `"max_message_size":100`, key.KeyID, signing.KID, "revoked_at"} {
		if !strings.Contains(shown, part) {
			t.Errorf("tenant show lacks %s:\n%s", part, shown)
		}
	}
	m.must("key", "revoke", made.TenantID, signing.KID)
	refuses(t, m, "no signing key", "token", "--user", "alice", "--tenant", made.TenantID)
	refuses(t, m, "--yes", "tenant", "delete", made.TenantID)
	m.must("tenant", "delete", made.TenantID, "--yes")
	for _, args := range [][]string{
		{"tenant", "show"}, {"tenant", "delete", "--yes"}, {"key", "create"}, {"key", "create", "--signing"},
		{"token", "--user", "alice", "--tenant"},
	} {
		refuses(t, m, `no tenant "`+made.TenantID+`"`, append(args, made.TenantID)...)
	}
	refuses(t, m, `a live key "key_nope"`, "key", "revoke", made.TenantID, "key_nope")
	refuses(t, m, "--user: ids that begin with bot_", "token", "--user", "bot_x", "--tenant", other.TenantID)
	refuses(t, m, "256 characters", "tenant", "create", strings.Repeat("x", 257))
	refuses(t, m, "config", "tenant", "create", "x", "--config", `{"colour":1}`)
}

// refuses fails unless a command ends with code 1 and says why.
func refuses(t *testing.T, m *machine, why string, args ...string) {
	t.Helper()
	if out, complaint, code := m.run(args...); code != 1 || !strings.Contains(complaint, why) || out != "" {
		t.Errorf("chatapi %s: exit code %d, %q on stdout, %q on stderr, want %q", strings.Join(args, " "), code, out,
			complaint, why)
	}
}

func TestCommandsAboutAStoreThatIsNotThereMakeNone(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	store := filepath.Join(m.dir, "data", "chatapi.db")
	for _, args := range [][]string{
		{"tenant", "list"}, {"tenant", "show", "t"}, {"tenant", "delete", "t", "--yes"}, {"key", "create", "t"},
		{"key", "revoke", "t", "key_1"}, {"token", "--user", "a", "--tenant", "t"},
	} {
		refuses(t, m, "no store at "+store+": set DATABASE_DSN as the server has it", args...)
	}
	if entries, err := os.ReadDir(m.dir); err != nil || len(entries) != 0 {
		t.Errorf("they left files: %v, %v", entries, err)
	}
	if _, complaint, code := m.run("tenant", "create", "acme"); code != 0 || !strings.Contains(complaint, "a new store is made: "+store) {
		t.Errorf("tenant create: exit code %d, %s", code, complaint)
	}
	if _, complaint, code := m.run("tenant", "create", "b"); code != 0 || strings.Contains(complaint, "new store") {
		t.Errorf("tenant create in a store that is there: exit code %d, %s", code, complaint)
	}
}

// TestTheLoggedCommandReachesTheServersStore runs what the log says in a shell that lacks the server's environment.
func TestTheLoggedCommandReachesTheServersStore(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "DATABASE_DSN=file:it's%20at%2550?_journal_mode=WAL&_busy_timeout=5000")
	p := m.serve()
	var logged struct{ Command string }
	until(t, "the log says how to make a tenant", func() bool {
		for line := range strings.Lines(p.log.String()) {
			if strings.Contains(line, "there is no tenant yet") {
				return json.Unmarshal([]byte(line), &logged) == nil
			}
		}
		return false
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := strings.Replace(logged.Command, "go run ./cmd/chatapi", self, 1) // a test is built by go, too
	shell := exec.CommandContext(t.Context(), "sh", "-c", command+" --json")
	shell.Dir, shell.Env = t.TempDir(), []string{asServer + "=1"}
	out, err := shell.Output()
	var made madeTenant
	if err != nil || json.Unmarshal(out, &made) != nil {
		t.Fatalf("%s: %v, %s", logged.Command, err, out)
	}
	if got := p.status("/rooms", "X-API-Key", made.APIKey); got != http.StatusOK {
		t.Errorf("the key that %s printed: %d, want 200", logged.Command, got)
	}
}

func TestCommandsWorkWithoutAServer(t *testing.T) {
	t.Parallel()
	lifeOfATenant(t, newMachine(t))
}

func TestCommandsWorkBesideARunningServer(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := m.serve()
	lifeOfATenant(t, m)
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.log.String())
	}
}

func TestCommandsWorkAfterAServerWasKilled(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := m.serve()
	p.stop(os.Kill)
	if _, err := os.Lstat(filepath.Join(m.dir, "data", "chatapi.db.sock")); err != nil {
		t.Fatalf("the leftover this test is about: %v", err)
	}
	m.must("tenant", "create", "acme")
	again := m.serve()
	m.must("tenant", "create", "second")
	if listed := decoded[[]madeTenant](m, "tenant", "list"); len(listed) != 2 {
		t.Errorf("got %+v", listed)
	}
	again.stop(syscall.SIGTERM)
}

func TestARevokedKeyIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := m.serve()
	made := decoded[madeTenant](m, "tenant", "create", "acme")
	second := decoded[madeKey](m, "key", "create", made.TenantID)
	if got := p.status("/rooms", "X-API-Key", second.APIKey); got != http.StatusOK {
		t.Fatalf("a live key: %d", got)
	}
	m.must("key", "revoke", made.TenantID, second.KeyID)
	if got := p.status("/rooms", "X-API-Key", second.APIKey); got != http.StatusUnauthorized {
		t.Errorf("the revoked key: %d, want 401", got)
	}
	if got := p.status("/rooms", "X-API-Key", made.APIKey); got != http.StatusOK {
		t.Errorf("the other key: %d, want 200", got)
	}
}

func TestTheOperatorsSocketOpensNothingOnThePublicListener(t *testing.T) {
	t.Parallel()
	p := newMachine(t).serve()
	for _, path := range []string{"/admin/tenants", mintPath} {
		for _, key := range []string{"", "x", longSecret} {
			if got := p.status(path, "X-Master-Key", key); got != http.StatusUnauthorized && got != http.StatusNotFound {
				t.Errorf("%s with master key %q: %d", path, key, got)
			}
		}
	}
}

func TestTheDefaultTenantExistsWithJWTSecretAndTakesMintedTokens(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "JWT_SECRET="+longSecret)
	p := m.serve()
	token := strings.TrimSpace(m.must("token", "--user", "alice"))
	if got := p.status("/rooms", "Authorization", "Bearer "+token); got != http.StatusOK {
		t.Errorf("a minted token: %d", got)
	}
	for _, args := range [][]string{{"--user", "system"}, {"--user", "a", "--ttl", "721h"}, {"--user", "a", "--ttl=-1s"},
		{"--user", "a", "--kid", "kid_x"}} {
		if _, complaint, code := m.run(append([]string{"token"}, args...)...); code != 1 || complaint == "" {
			t.Errorf("token %v: exit code %d, %s", args, code, complaint)
		}
	}
	refuses(t, newMachine(t), "JWT_SECRET", "token", "--user", "alice")
}

func TestATokenOfATenantsOwnKeyIsItsUser(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := m.serve()
	made := decoded[madeTenant](m, "tenant", "create", "acme")
	other := decoded[madeTenant](m, "tenant", "create", "other")
	signing := decoded[madeKey](m, "key", "create", made.TenantID, "--signing")
	token := strings.TrimSpace(m.must("token", "--user", "alice", "--kid", signing.KID))
	if got := p.status("/rooms", "Authorization", "Bearer "+token); got != http.StatusOK {
		t.Errorf("a minted token: %d", got)
	}
	refuses(t, m, "no live signing key", "token", "--user", "alice", "--tenant", other.TenantID, "--kid", signing.KID)
}

func TestHealthTellsByItsExitCode(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := m.serve()
	if out := m.must("health", "--url", p.base); !strings.Contains(out, "ok") {
		t.Errorf("printed %s", out)
	}
	got := decoded[map[string]any](m, "health", "--url", p.base)
	if got["status"] != "ok" || got["db_writable"] != true {
		t.Errorf("got %v", got)
	}
	p.stop(syscall.SIGTERM)
	if _, complaint, code := m.run("health", "--url", p.base); code != 1 || complaint == "" {
		t.Errorf("a stopped server: exit code %d, %s", code, complaint)
	}
}

func TestTheDemoKeySurvivesRestarts(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	var keys []string
	for range 2 {
		p := m.serve("--dev")
		until(t, "the demo is printed", func() bool { return strings.Contains(p.out.String(), "Ctrl-C") })
		kept, err := os.ReadFile(filepath.Join(m.dir, "data", "chatapi.db.demo-key"))
		if err != nil {
			t.Fatal(err)
		}
		key := strings.TrimSpace(string(kept))
		if got := p.status("/rooms", "X-API-Key", key, "X-User-Id",
			"alice"); got != http.StatusOK || !strings.Contains(p.out.String(), key) {
			t.Errorf("the kept key: status %d, printed:\n%s", got, p.out.String())
		}
		if strings.Contains(p.log.String(), key) {
			t.Error("the log has the key")
		}
		keys = append(keys, key)
		if code := p.stop(syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
	if keys[0] != keys[1] {
		t.Error("the key changed")
	}
}

func TestConfigPrintsWithoutSecrets(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "MASTER_API_KEY="+longSecret, "SHUTDOWN_DRAIN_TIMEOUT=7s")
	values := map[string]Value{}
	for _, v := range decoded[[]Value](m, "config") {
		values[v.Name] = v
	}
	if got, want := values["SHUTDOWN_DRAIN_TIMEOUT"], (Value{Name: "SHUTDOWN_DRAIN_TIMEOUT", Value: "7s",
		Source: "environment"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if out := m.must("config"); strings.Contains(out, longSecret) || !strings.Contains(out, redacted) {
		t.Errorf("printed %s", out)
	}
}

func TestALongDataPathStillHasASocket(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	deep := filepath.Join(m.dir, strings.Repeat("deep/", 30))
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	m.dir = deep
	p := m.serve()
	m.must("tenant", "create", "acme")
	p.stop(syscall.SIGTERM)
}
