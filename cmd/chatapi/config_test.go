package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const longSecret = "0123456789abcdef0123456789abcdef"

func TestDefaultsAreTheContracts(t *testing.T) {
	t.Chdir(t.TempDir())
	cfg, err := loadConfig(nil, Flags{})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Values = nil
	want := &Config{
		ListenAddr: ":8080", AdminAddr: "127.0.0.1:9080", DatabaseDSN: "file:./data/chatapi.db",
		DataPath:         filepath.Join(dir, "data", "chatapi.db"),
		DefaultRateLimit: 100, RetryMaxAttempts: 5, RetryInterval: 30 * time.Second, WorkerInterval: 30 * time.Second,
		MaxSocketsPerUser:    5,
		ShutdownDrainTimeout: 10 * time.Second,
	}
	if diff := cmp.Diff(want, cfg, cmp.AllowUnexported(Secret{})); diff != "" {
		t.Error(diff)
	}
	if cfg, err = loadConfig(nil, Flags{Dev: true}); err != nil || cfg.ListenAddr != "127.0.0.1:8080" {
		t.Errorf("with --dev: %v, %v", cfg.ListenAddr, err)
	}
}

func TestSettingsAreRead(t *testing.T) {
	t.Chdir(t.TempDir())
	cfg, err := loadConfig([]string{
		"LISTEN_ADDR=127.0.0.1:1", "ADMIN_ADDR=off", "DATABASE_DSN=file:x.db?_journal_mode=WAL&_busy_timeout=5000",
		"MASTER_API_KEY=" + longSecret,
		"ALLOWED_ORIGINS=https://a.example, http://localhost:3000,", "TRUSTED_PROXIES=10.0.0.0/8, ::1", "LOG_LEVEL=Debug",
		"LOG_FORMAT=json",
		"SHUTDOWN_DRAIN_TIMEOUT=3s", "JWT_SECRET=", "UNRELATED=x",
	}, Flags{UnsafeDurability: true})
	if err != nil {
		t.Fatal(err)
	}
	got := []any{
		cfg.ListenAddr, cfg.AdminAddr, filepath.Base(cfg.DataPath), cfg.MasterAPIKey.Reveal(), cfg.AllowedOrigins,
		cfg.LogLevel, cfg.LogFormat,
		cfg.ShutdownDrainTimeout, cfg.JWTSecret.IsSet(), cfg.UnsafeDurability, fmt.Sprint(cfg.TrustedProxies),
	}
	want := []any{
		"127.0.0.1:1", "", "x.db", longSecret, []string{"https://a.example", "http://localhost:3000"}, slog.LevelDebug,
		"json", 3 * time.Second, false, true,
		fmt.Sprint([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAMalformedSettingIsRefusedByItsName(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, entry := range []string{
		"LISTEN_ADDR=8080", "LISTEN_ADDR=:http", "LISTEN_ADDR=:70000", "LISTEN_ADDR=localhost", "ADMIN_ADDR=on",
		"DATABASE_DSN=postgres://db", "DATABASE_DSN=postgresql://u:p@db:port/chat", "DATABASE_DSN=:memory:", "DATABASE_DSN=file:x?mode=memory",
		"DATABASE_DSN=host=db user=u password=hunter2 dbname=chat", "DATABASE_DSN=mysql://db/chat", "WEBHOOK_SECRET=whsec_!!",
		"REDIS_URL=localhost:6379", "REDIS_URL=http://x", "REDIS_URL=redis://cache:port",
		"MASTER_API_KEY=short", "JWT_SECRET=short", "SECRETS_KEY=" + longSecret + "x", "ALLOWED_ORIGINS=*",
		"ALLOWED_ORIGINS=https://a.example/",
		"ALLOWED_ORIGINS=a.example", "TRUSTED_PROXIES=proxy.local", "WEBHOOK_URL=x", "OUTBOUND_ALLOW=10.0.0.1",
		"OUTBOUND_ALLOW=smtp=10.0.0.1",
		"BOT_KEY_ENVS=OPENAI", "BOT_KEY_ENVS=OPENAI=api.openai.com", "DEFAULT_RATE_LIMIT=-1", "DEFAULT_RATE_LIMIT=1.5",
		"RETRY_MAX_ATTEMPTS=0",
		"RETRY_INTERVAL=30", "RETRY_INTERVAL=-1s", "WORKER_INTERVAL=x", "WS_MAX_CONNECTIONS_PER_USER=0",
		"SHUTDOWN_DRAIN_TIMEOUT=0", "LOG_LEVEL=loud",
		"LOG_FORMAT=xml", "JWT_SECRET_FILE=/nonexistent/file",
	} {
		name, value, _ := strings.Cut(entry, "=")
		if file := strings.TrimSuffix(name, "_FILE"); file != name {
			name, value = file, "a secret that is in no file"
		}
		_, err := loadConfig([]string{entry}, Flags{})
		if err == nil || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s: got %v, want an error that begins with the name", entry, err)
		}
		if isSecret(name) && err != nil && strings.Contains(err.Error(), " "+value) {
			t.Errorf("%s: the error quotes the secret: %v", name, err)
		}
	}
}

func isSecret(name string) bool {
	for _, s := range settings {
		if s.name == name {
			return s.secret
		}
	}
	return false
}

func TestShortSecretsAndEveryOriginNeedDev(t *testing.T) {
	t.Chdir(t.TempDir())
	cfg, err := loadConfig([]string{"MASTER_API_KEY=short", "JWT_SECRET=short", "ALLOWED_ORIGINS=*"}, Flags{Dev: true})
	if err != nil || cfg.MasterAPIKey.Reveal() != "short" || cfg.JWTSecret.Reveal() != "short" {
		t.Errorf("got %v", err)
	}
}

func TestSecretsComeFromFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("jwt", []byte(longSecret+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("empty", []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"JWT_SECRET": longSecret, "DATABASE_DSN": "postgres://chatapi:canary@db.example/chat", "REDIS_URL": "rediss://:canary@redis.example",
	} {
		if err := os.WriteFile("held", []byte(value+"\r\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := loadConfig([]string{name + "_FILE=held", "SECRETS_KEY=" + strings.Repeat("0a", 32)}, Flags{})
		if err != nil {
			t.Errorf("%s_FILE: %v", name, err)
			continue
		}
		if got := map[string]string{"JWT_SECRET": cfg.JWTSecret.Reveal(), "DATABASE_DSN": cfg.DatabaseDSN, "REDIS_URL": cfg.RedisURL}[name]; got != value {
			t.Errorf("%s_FILE: got %q, want %q", name, got, value)
		}
	}
	for _, environ := range [][]string{{"JWT_SECRET_FILE=jwt", "JWT_SECRET=" + longSecret}, {"JWT_SECRET_FILE=empty"},
		{"JWT_SECRET_FILE=missing"}} {
		if _, err := loadConfig(environ, Flags{}); err == nil || !strings.Contains(err.Error(), "JWT_SECRET_FILE") {
			t.Errorf("%v: got %v", environ, err)
		}
	}
}

func TestTheEnvironmentWinsOverDotenv(t *testing.T) {
	t.Chdir(t.TempDir())
	text := "LISTEN_ADDR=:1 # a comment\nJWT_SECRET='" + longSecret + "'\nLOG_LEVEL=warn\n"
	if err := os.WriteFile(dotenvFile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadConfig([]string{"LOG_LEVEL=error"}, Flags{})
	if err != nil || cfg.ListenAddr != ":1" || cfg.JWTSecret.Reveal() != longSecret || cfg.LogLevel != slog.LevelError {
		t.Fatalf("got %+v, %v", cfg, err)
	}
	sources := map[string]string{}
	for _, v := range cfg.Values {
		sources[v.Name] = v.Value + " from " + v.Source
	}
	for name, want := range map[string]string{
		"LISTEN_ADDR": ":1 from .env", "JWT_SECRET": "[redacted] from .env", "LOG_LEVEL": "error from environment",
		"MASTER_API_KEY": " from default",
	} {
		if sources[name] != want {
			t.Errorf("%s: got %q, want %q", name, sources[name], want)
		}
	}
}

func TestASecretInTheWrongSettingIsNotQuoted(t *testing.T) {
	t.Chdir(t.TempDir())
	const pasted = "sk-proj-4f9aQ"
	for _, name := range []string{
		"LISTEN_ADDR", "ADMIN_ADDR", "REDIS_URL", "SECRETS_KEY", "ALLOWED_ORIGINS", "TRUSTED_PROXIES", "WEBHOOK_URL",
		"OUTBOUND_ALLOW", "BOT_KEY_ENVS", "DEFAULT_RATE_LIMIT", "RETRY_MAX_ATTEMPTS", "RETRY_INTERVAL", "WORKER_INTERVAL",
		"WS_MAX_CONNECTIONS_PER_USER", "SHUTDOWN_DRAIN_TIMEOUT", "LOG_LEVEL", "LOG_FORMAT", "JWT_SECRET", "JWT_SECRET_FILE",
		"MASTER_API_KEY", "WEBHOOK_SECRET_FILE",
	} {
		for _, value := range []string{pasted, "OPENAI=" + pasted, pasted + "=", "https://user:" + pasted + "@host.example/x"} {
			if _, err := loadConfig([]string{name + "=" + value}, Flags{}); err != nil && strings.Contains(err.Error(), pasted) {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
	}
	_, err := loadConfig([]string{"BOT_KEY_ENVS=A=https://a.example,OPENAI=" + pasted}, Flags{})
	if err == nil || !strings.Contains(err.Error(), "OPENAI") {
		t.Errorf("%v, want the name of the entry", err)
	}
	if _, err = loadConfig([]string{"LOG_LEVEL=loud"}, Flags{}); err == nil || !strings.Contains(err.Error(), `"loud"`) {
		t.Errorf("%v, want the harmless value quoted", err)
	}
}

func TestABrokenDotenvIsRefusedWithoutQuotingIt(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile(dotenvFile, []byte("LOG_LEVEL=info\nMOTD=\"two\nlines\"\nJWT SECRET hunter2hunter2\nLOG_FORMAT=json\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadConfig(nil, Flags{}); err == nil || err.Error() != ".env: line 4 is not NAME=value" {
		t.Errorf("got %v", err)
	}
}

func TestPasswordsInURLsAreMasked(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, entry := range []string{
		"REDIS_URL=redis://user:hunter2-hunter2@cache:6379/0", "REDIS_URL=redis+cluster://:hunter2-hunter2@cache:6379,cache2:6380",
		"DATABASE_DSN=postgres://user:hunter2-hunter2@cache:6379/chat?sslmode=disable",
		"DATABASE_DSN=Postgres://user@cache:6379/chat?sslpassword=hunter2-hunter2&password=hunter2-hunter2-too",
	} {
		cfg, err := loadConfig([]string{entry, "SECRETS_KEY=" + strings.Repeat("0", 64)}, Flags{})
		if err != nil {
			t.Fatal(err)
		}
		if printed := fmt.Sprint(cfg.Values, cfg.storeName()); strings.Contains(printed, "hunter2") || !strings.Contains(printed, "cache:6379") {
			t.Error(printed)
		}
		if kept := string(bytes.Join(cfg.secrets(), nil)); !strings.Contains(kept, "hunter2-hunter2") {
			t.Errorf("%s: its password is not among what logs leave out", entry)
		}
	}
}

func TestAPostgresStoreIsNamedWithoutItsPassword(t *testing.T) {
	t.Chdir(t.TempDir())
	const entry = "DATABASE_DSN=postgres://u:hunter2@db:5432/chat?sslmode=verify-full"
	if _, err := loadConfig([]string{entry}, Flags{}); err == nil || !strings.HasPrefix(err.Error(), "SECRETS_KEY: ") {
		t.Errorf("without the key of its secrets: %v", err)
	}
	cfg, err := loadConfig([]string{entry, "SECRETS_KEY=" + strings.Repeat("0", 64)}, Flags{})
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.storeName(); !cfg.onPostgres() || cfg.DataPath != "" || got != "postgres://db:5432/chat" {
		t.Errorf("got %q, a SQLite file %q", got, cfg.DataPath)
	}
	if got := cfg.command("tenant list"); strings.Contains(got, "hunter2") {
		t.Error(got)
	}
}

func TestPlainHTTPThatLeavesTheMachineIsNoticed(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		":8080": true, "0.0.0.0:80": true, "[::]:80": true, "192.168.1.5:80": true, "chat.example:80": true,
		"127.0.0.1:80": false, "localhost:80": false, "[::1]:80": false, "127.8.8.8:1": false,
	} {
		if got := (&Config{ListenAddr: address}).isExposed(); got != want {
			t.Errorf("%s: got %v, want %v", address, got, want)
		}
		if (&Config{ListenAddr: address, TrustedProxies: []netip.Prefix{{}}}).isExposed() {
			t.Errorf("%s behind a proxy counts as exposed", address)
		}
	}
}

func TestEverySettingSaysWhatItIs(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range settings {
		if s.help == "" || s.set == nil || seen[s.name] {
			t.Errorf("%s: help %q, twice: %v", s.name, s.help, seen[s.name])
		}
		seen[s.name] = true
	}
}

func FuzzAConfigurationIsReadOrRefused(f *testing.F) {
	f.Add("LISTEN_ADDR", ":8080")
	f.Add("DATABASE_DSN", "file:%zz?a=%")
	f.Add("ALLOWED_ORIGINS", "https://a,,")
	f.Fuzz(func(t *testing.T, name, value string) {
		cfg, err := loadConfig([]string{name + "=" + value}, Flags{})
		if err == nil && (cfg.DataPath == "" && !cfg.onPostgres() || cfg.ListenAddr == "") {
			t.Errorf("%s=%q gave %+v", name, value, cfg)
		}
	})
}

// TestKeysForBotsAreReadAndAreNoSettings: what names the server's own secrets would have them sent to a model.
func TestKeysForBotsAreReadAndAreNoSettings(t *testing.T) {
	t.Parallel()
	const names = "BOT_KEY_ENVS=MODEL_KEY=https://models.example.com"
	cfg, err := loadConfig([]string{names, "MODEL_KEY=sk-model-key"}, Flags{Dev: true})
	if err != nil || cfg.BotKeys["MODEL_KEY"].Reveal() != "sk-model-key" {
		t.Errorf("keys %v, %v", cfg.BotKeys, err)
	}
	if _, err := loadConfig([]string{names}, Flags{Dev: true}); err == nil || !strings.Contains(err.Error(), "MODEL_KEY is not set") {
		t.Errorf("a key that is not there: %v", err)
	}
	secret := []string{"BOT_KEY_ENVS=JWT_SECRET=https://models.example.com", "JWT_SECRET=" + strings.Repeat("s", 40)}
	if _, err := loadConfig(secret, Flags{Dev: true}); err == nil || !strings.Contains(err.Error(), "JWT_SECRET is a setting") ||
		strings.Contains(err.Error(), "ssss") {
		t.Errorf("a setting as a key: %v", err)
	}
}
