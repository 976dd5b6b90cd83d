package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/api"
)

// Config is what an operator sets, checked. The settings table says where each value comes from.
type Config struct {
	Dev              bool // --dev
	UnsafeDurability bool // --unsafe-durability

	ListenAddr  string
	AdminAddr   string // empty is off
	DatabaseDSN string
	DataPath    string // the SQLite file that DatabaseDSN names, absolute; empty on Postgres
	RedisURL    string
	Command     bool // this is a command beside the server, which may have the store open

	MasterAPIKey  Secret
	JWTSecret     Secret
	SecretsKey    Secret
	WebhookSecret Secret

	AllowedOrigins []string
	TrustedProxies []netip.Prefix
	WebhookURL     string
	OutboundAllow  []string
	BotKeyEnvs     []string          // NAME=origin
	BotKeys        map[string]Secret // by those names

	DefaultRateLimit     int
	RetryMaxAttempts     int
	RetryInterval        time.Duration
	WorkerInterval       time.Duration
	MaxSocketsPerUser    int
	ShutdownDrainTimeout time.Duration

	LogLevel  slog.Level
	LogFormat string // text, json, or empty: text on a terminal

	Values []Value // what each setting is and where it came from, in the order of the table
}

// Flags are the settings that are flags and no variables: both must be asked for at every start.
type Flags struct {
	Dev              bool `help:"For trying things out: loopback only, a demo tenant, browsers welcome."`
	UnsafeDurability bool `help:"Do not fsync. A power cut loses or damages the store: for throw-away data only."`
}

// minSecret is the shortest operator's secret outside --dev, in bytes: what HS256 needs (RFC 7518 §3.2).
const minSecret = 32

// loadConfig reads and checks the configuration; its error names the setting at fault and never quotes a secret.
func loadConfig(environ []string, flags Flags) (*Config, error) {
	layers, err := readLayers(environ)
	if err != nil {
		return nil, err
	}
	cfg := &Config{Dev: flags.Dev, UnsafeDurability: flags.UnsafeDurability}
	for _, s := range settings {
		if err := cfg.apply(s, layers); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if err := cfg.findBotKeys(layers); err != nil {
		return nil, fmt.Errorf("BOT_KEY_ENVS: %w", err)
	}
	return cfg, cfg.check()
}

// findBotKeys reads the keys that bots may use. The server's own settings are none of them: a model's server would be sent
// its secrets.
func (cfg *Config) findBotKeys(layers []layer) error {
	for _, entry := range cfg.BotKeyEnvs {
		name, _, _ := strings.Cut(entry, "=")
		if slices.ContainsFunc(settings, func(s setting) bool { return s.name == name }) {
			return fmt.Errorf("%s is a setting of the server and no key for bots", name)
		}
		text, _, err := find(layers, setting{name: name, secret: true})
		if err != nil {
			return err
		}
		if text == "" {
			return fmt.Errorf("%s is not set", name)
		}
		if cfg.BotKeys == nil {
			cfg.BotKeys = map[string]Secret{}
		}
		cfg.BotKeys[name] = Secret{text}
	}
	return nil
}

// commandConfig is the configuration of the commands beside the server. Whether secrets are long enough to serve with is
// for the server to say.
func commandConfig(c console) (*Config, error) {
	cfg, err := loadConfig(c.environ, Flags{Dev: true})
	if err == nil {
		cfg.Command = true
	}
	return cfg, err
}

// onPostgres reports whether the store is on Postgres, else it is a SQLite file.
func (cfg *Config) onPostgres() bool {
	scheme, _, ok := strings.Cut(cfg.DatabaseDSN, "://")
	return ok && (strings.EqualFold(scheme, "postgres") || strings.EqualFold(scheme, "postgresql"))
}

// storeName says where the store is, without a password.
func (cfg *Config) storeName() string {
	if !cfg.onPostgres() {
		return cfg.DataPath
	}
	u, err := url.Parse(cfg.DatabaseDSN)
	if err != nil {
		return "postgres" // setDSN has parsed it
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

func (cfg *Config) apply(s setting, layers []layer) error {
	v := Value{Name: s.name, Value: s.defaultFor(cfg.Dev), Source: sourceDefault, Secret: s.secret}
	text, source, err := find(layers, s)
	if err != nil {
		return err
	}
	if text != "" {
		v.Value, v.Source = text, source
	}
	if v.Value != "" {
		if err := s.set(cfg, v.Value); err != nil {
			return err
		}
	}
	cfg.Values = append(cfg.Values, v.masked(s))
	return nil
}

// check holds the rules that need more than one setting.
func (cfg *Config) check() error {
	if !cfg.onPostgres() {
		path, err := sqlite.PathOf(cfg.DatabaseDSN)
		if err != nil {
			return fmt.Errorf("DATABASE_DSN: %w", err)
		}
		cfg.DataPath = path
	}
	if cfg.Dev {
		return nil
	}
	if cfg.onPostgres() && !cfg.SecretsKey.IsSet() {
		return fmt.Errorf("SECRETS_KEY: %w", errNoSecretsKey)
	}
	for name, secret := range map[string]Secret{"JWT_SECRET": cfg.JWTSecret, "MASTER_API_KEY": cfg.MasterAPIKey} {
		if n := len(secret.Reveal()); secret.IsSet() && n < minSecret {
			return fmt.Errorf("%s: it has %d bytes, and must have at least %d (openssl rand -base64 48 makes one)",
				name, n, minSecret)
		}
	}
	for _, origin := range cfg.AllowedOrigins {
		if origin == api.AnyOrigin {
			return fmt.Errorf("ALLOWED_ORIGINS: %q needs --dev; list the exact origins of your pages", origin)
		}
	}
	return nil
}

var errNoSecretsKey = errors.New("with Postgres it must be set, to the same on every node (openssl rand -hex 32 makes one)")

// secrets are the values that must never be printed.
func (cfg *Config) secrets() [][]byte {
	const tooShortToBeUnique = 8
	var found [][]byte
	own := []Secret{cfg.MasterAPIKey, cfg.JWTSecret, cfg.SecretsKey, cfg.WebhookSecret}
	own = append(append(own, passwordsOf(cfg.DatabaseDSN)...), passwordsOf(cfg.RedisURL)...)
	for _, s := range slices.AppendSeq(own, maps.Values(cfg.BotKeys)) {
		if len(s.Reveal()) >= tooShortToBeUnique {
			found = append(found, []byte(s.Reveal()))
		}
	}
	return found
}

// passwordParameter is a password among a URL's parameters, as Postgres's drivers take it.
var passwordParameter = regexp.MustCompile(`[?&](?:ssl)?password=([^&#]+)`)

// passwordsOf are the passwords in a URL, as they stand there; also in one that lists several hosts, which is no URL to a library.
func passwordsOf(text string) []Secret {
	var found []Secret
	for _, parameter := range passwordParameter.FindAllStringSubmatch(text, -1) {
		found = append(found, Secret{parameter[1]})
	}
	_, rest, ok := strings.Cut(text, "://")
	authority, _, _ := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(authority, '@'); ok && at >= 0 {
		if _, password, _ := strings.Cut(authority[:at], ":"); password != "" {
			found = append(found, Secret{password})
		}
	}
	return found
}

// isExposed reports whether plain HTTP may leave the machine: the listener is not on loopback, and no proxy that could
// end TLS is named.
func (cfg *Config) isExposed() bool {
	host, _, err := net.SplitHostPort(cfg.ListenAddr)
	if err != nil || len(cfg.TrustedProxies) > 0 {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return !strings.EqualFold(host, "localhost") && (err != nil || !addr.IsLoopback())
}

// Beside the SQLite file lie the sealing key, the operator's socket and the demo tenant's key; on Postgres there is only the
// last, in the working directory.
func (cfg *Config) keyPath() string    { return cfg.DataPath + ".key" }
func (cfg *Config) socketPath() string { return cfg.DataPath + ".sock" }
func (cfg *Config) demoPath() string {
	if cfg.onPostgres() {
		return filepath.Join("data", "postgres.demo-key")
	}
	return cfg.DataPath + ".demo-key"
}
