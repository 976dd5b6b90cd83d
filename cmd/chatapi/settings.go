package main

import "strings"

// setting is one variable: where it goes, and what to tell about it. The table below is the only list of them: reading,
// `chatapi config` and the documentation's table come from it.
type setting struct {
	name   string
	value  string // the default, as an operator would write it; empty is unset
	dev    string // the default with --dev, when it is another
	help   string
	secret bool // never printed; also read from the file that NAME_FILE names
	file   bool // also read from the file that NAME_FILE names, as secrets are: it may hold a password
	set    func(*Config, string) error
}

// defaultDSN is relative: it names another store in another working directory.
const defaultDSN = "file:./data/chatapi.db"

var settings = []setting{
	{name: "LISTEN_ADDR", value: ":8080", dev: "127.0.0.1:8080", help: "address of REST and WebSocket",
		set: address(func(c *Config) *string { return &c.ListenAddr })},
	{name: "ADMIN_ADDR", value: "127.0.0.1:9080", help: "address of /metrics and /debug/pprof, or off",
		set: addressOrOff(func(c *Config) *string { return &c.AdminAddr })},
	{name: "DATABASE_DSN", value: defaultDSN, help: "the SQLite file, whose directory is made when missing; or a Postgres database, as postgres://user@host:5432/database", file: true,
		set: setDSN},
	{name: "REDIS_URL", help: "joins the nodes on one Postgres database; unset = one node, in which all is in process", file: true,
		set: setRedis},
	{name: "MASTER_API_KEY", help: "the operator's key for /admin over HTTP, 32 bytes or more; unset closes that way",
		secret: true, set: secret(func(c *Config) *Secret { return &c.MasterAPIKey })},
	{name: "JWT_SECRET", help: "verifies tokens without kid, for the default tenant, 32 bytes or more", secret: true,
		set: secret(func(c *Config) *Secret { return &c.JWTSecret })},
	{name: "SECRETS_KEY", help: "seals secrets in the store: 64 hex digits or base64 of 32 bytes; unset = a 0600 file beside the SQLite file; required with Postgres", secret: true,
		set: setSecretsKey},
	{name: "ALLOWED_ORIGINS", dev: "*", help: "exact origins of browser pages, comma-separated", set: setOrigins},
	{name: "TRUSTED_PROXIES", help: "addresses or networks of the proxies in front, comma-separated: TLS ends there, and X-Forwarded-For is believed", set: setProxies},
	{name: "WEBHOOK_URL", help: "the webhook of tenants that have no webhook_url of their own",
		set: urlOf(func(c *Config) *string { return &c.WebhookURL }, "https", "http")},
	{name: "WEBHOOK_SECRET", help: "signs webhooks", secret: true,
		set: setWebhookSecret},
	{name: "OUTBOUND_ALLOW", help: "private addresses that may be called: llm=host-or-cidr[:port] or webhook=…, comma-separated",
		set: setOutboundAllow},
	{name: "BOT_KEY_ENVS", help: "variables with provider keys that bots may use: NAME=https://host, comma-separated",
		set: setBotKeyEnvs},
	{name: "DEFAULT_RATE_LIMIT", value: "100", help: "calls a second for each tenant that has no rate_limit of its own, 0 = unlimited",
		set: integer(func(c *Config) *int { return &c.DefaultRateLimit }, 0, 1_000_000)},
	{name: "RETRY_MAX_ATTEMPTS", value: "5", help: "attempts of a delivery, the first included",
		set: integer(func(c *Config) *int { return &c.RetryMaxAttempts }, 1, 100)},
	{name: "RETRY_INTERVAL", value: "30s", help: "wait before the second attempt", set: duration(retryInterval)},
	{name: "WORKER_INTERVAL", value: "30s", help: "the longest a worker sleeps", set: duration(workerInterval)},
	{name: "WS_MAX_CONNECTIONS_PER_USER", value: "5", help: "sockets of one user at a time",
		set: integer(func(c *Config) *int { return &c.MaxSocketsPerUser }, 1, 1000)},
	{name: "SHUTDOWN_DRAIN_TIMEOUT", value: "10s", help: "the longest a stop takes", set: duration(drainTimeout)},
	{name: "LOG_LEVEL", value: "info", help: "debug, info, warn or error", set: setLogLevel},
	{name: "LOG_FORMAT", help: "text or json; unset = text on a terminal, else json",
		set: oneOf(func(c *Config) *string { return &c.LogFormat }, "text", "json")},
}

func (s setting) defaultFor(dev bool) string {
	if dev && s.dev != "" {
		return s.dev
	}
	return s.value
}

// Value is a setting as `chatapi config` prints it: secrets masked.
type Value struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
	Secret bool   `json:"secret,omitempty"`
}

func (v Value) masked(s setting) Value {
	if s.secret && v.Value != "" {
		v.Value = redacted
	}
	for _, password := range passwordsOf(v.Value) {
		v.Value = strings.Replace(v.Value, ":"+password.Reveal()+"@", ":"+redacted+"@", 1)
		v.Value = strings.Replace(v.Value, "password="+password.Reveal(), "password="+redacted, 1)
	}
	return v
}
