package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/chatapi/chatapi/adapters/chats"
	"github.com/chatapi/chatapi/adapters/httpapi"
	"github.com/chatapi/chatapi/adapters/observe"
	"github.com/chatapi/chatapi/adapters/outbound"
	"github.com/chatapi/chatapi/adapters/secrets"
	"github.com/chatapi/chatapi/adapters/ws"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/web"
)

// app is the server with everything it needs, joined and not started.
type app struct {
	cfg           *Config
	log           *slog.Logger
	identity      *application.Identity
	tenancy       *application.Tenancy
	delivery      *application.Delivery
	fanout        *application.Fanout
	presence      *application.Presence
	hints         *application.Hints
	usage         *application.Usage
	revocations   *application.Revocations
	slots         *application.Slots
	courier       *application.Courier
	notifications *application.Notifications
	runner        *application.Runner
	upkeep        *application.Upkeep
	sockets       *ws.Handler
	chats         *application.Chats
	chatSockets   *chats.Handler
	draining      *drainFlag
	public        publicHandler
	operator      operatorHandler
	admin         adminHandler
}

// newApp joins the server in the topology that is configured; the returned function closes what was opened.
func newApp(ctx context.Context, cfg *Config, log *slog.Logger) (*app, func(), error) {
	switch {
	case !cfg.onPostgres():
		return newSQLiteApp(ctx, cfg, log)
	case cfg.RedisURL == "":
		return newPostgresApp(ctx, cfg, log)
	}
	return newClusterApp(ctx, cfg, log)
}

// newSealer takes the configured key, or the one kept beside the store.
func newSealer(ctx context.Context, cfg *Config, proofs ports.Proofs) (*secrets.Sealer, error) {
	var key []byte
	var err error
	switch {
	case cfg.SecretsKey.IsSet():
		key, err = secrets.ParseKey(cfg.SecretsKey.Reveal())
	case cfg.onPostgres():
		err = errNoSecretsKey
	default:
		key, err = secrets.KeyFile(cfg.keyPath())
	}
	if err != nil {
		return nil, fmt.Errorf("SECRETS_KEY: %w", err)
	}
	sealer, err := secrets.New(key)
	if err != nil {
		return nil, fmt.Errorf("SECRETS_KEY: %w", err)
	}
	if err := application.CheckSealer(ctx, proofs, sealer); err != nil {
		return nil, fmt.Errorf("SECRETS_KEY: %w", err)
	}
	return sealer, nil
}

func newIdentityConfig(cfg *Config) application.IdentityConfig {
	return application.IdentityConfig{MasterKey: cfg.MasterAPIKey.Reveal(), JWTSecret: cfg.JWTSecret.Reveal()}
}

// newFanout joins the fan-out, and the count of messages, to the commit log before anything can be written.
func newFanout(cfg *Config, store ports.Store, commits ports.CommitLog, epoch ports.EpochReader, bus ports.Bus, enc ports.Encoder,
	delivery *application.Delivery, presence *application.Presence, hints *application.Hints, usage *application.Usage, slots *application.Slots,
	tenants application.CurrentTenants, ids ports.IDs, clock ports.Clock, log *slog.Logger) *application.Fanout {
	f := application.NewFanout(store, epoch, bus, enc, delivery, presence, hints, usage, tenants, ids, clock, log,
		application.FanoutConfig{MaxPerUser: cfg.MaxSocketsPerUser, Slots: slots, Retry: retryOf(cfg)})
	commits.OnCommit(func(events []domain.Event) {
		usage.Committed(events)
		f.Committed(events)
	})
	return f
}

// newOutbound makes the one way out; the cleanup ends its calls.
func newOutbound(cfg *Config, log *slog.Logger) (*outbound.Client, func(), error) {
	allow, err := outbound.ParseAllow(cfg.OutboundAllow)
	if err != nil {
		return nil, nil, fmt.Errorf("OUTBOUND_ALLOW: %w", err)
	}
	client := outbound.New(outbound.Config{Allow: allow, UserAgent: "chatapi/" + version(), Log: log})
	return client, func() { client.Close() }, nil
}

func newCourierConfig(cfg *Config, places ports.Endpoints) (application.CourierConfig, error) {
	if cfg.WebhookURL != "" {
		if err := places.CheckURL(ports.OutboundWebhook, "WEBHOOK_URL", cfg.WebhookURL); err != nil {
			if invalid := (*domain.Error)(nil); errors.As(err, &invalid) {
				err = errors.New(invalid.Message)
			}
			return application.CourierConfig{}, fmt.Errorf("WEBHOOK_URL: %w", err)
		}
	}
	return application.CourierConfig{
		Retry: retryOf(cfg), URL: cfg.WebhookURL, Secret: cfg.WebhookSecret.Reveal(), Idle: cfg.WorkerInterval,
	}, nil
}

func newRunnerConfig(cfg *Config) application.RunnerConfig {
	keys := make(map[string]application.OperatorKey, len(cfg.BotKeyEnvs))
	for _, entry := range cfg.BotKeyEnvs {
		name, origin, _ := strings.Cut(entry, "=")
		keys[name] = application.OperatorKey{Origin: origin, Key: ports.NewSecret(cfg.BotKeys[name].Reveal())}
	}
	return application.RunnerConfig{Keys: keys, Idle: cfg.WorkerInterval}
}

func retryOf(cfg *Config) domain.Retry {
	return domain.Retry{Max: cfg.RetryMaxAttempts, Interval: cfg.RetryInterval}
}

func newLimitsConfig(cfg *Config) application.LimitsConfig {
	return application.LimitsConfig{PerSecond: cfg.DefaultRateLimit}
}

func newSocketConfig(cfg *Config) ws.Config {
	return ws.Config{AllowedOrigins: cfg.AllowedOrigins, TrustedProxies: cfg.TrustedProxies, Dev: cfg.Dev}
}

func newChatsConfig(cfg *Config) chats.Config {
	return chats.Config{AllowedOrigins: cfg.AllowedOrigins, TrustedProxies: cfg.TrustedProxies, Dev: cfg.Dev}
}

func newRESTConfig(cfg *Config) httpapi.Config {
	return httpapi.Config{
		Version: version(), AllowedOrigins: cfg.AllowedOrigins, Dev: cfg.Dev, TrustedProxies: cfg.TrustedProxies,
		DefaultRateLimit: cfg.DefaultRateLimit,
	}
}

// drainFlag says whether the server is stopping.
type drainFlag struct{ set atomic.Bool }

// publicHandler, operatorHandler and adminHandler serve LISTEN_ADDR, the socket beside the store and ADMIN_ADDR.
type (
	publicHandler   struct{ http.Handler }
	operatorHandler struct{ http.Handler }
	adminHandler    struct{ http.Handler }
)

func newPublic(d httpapi.Deps, draining *drainFlag, sockets *ws.Handler, chatSockets *chats.Handler, missing missing, r *observe.Registry) publicHandler {
	d.Draining, d.Missing, d.WebSocket, d.Chats, d.Docs = draining.set.Load, missing, sockets, chatSockets, web.Docs()
	return publicHandler{observe.Requests(httpapi.New(d), r)}
}

// newOperator serves the operator's routes to whoever may open the socket. The routes ask for a master key as always;
// theirs is made here, known to nobody, and put on every request.
func newOperator(d httpapi.Deps, draining *drainFlag, mint *minter, keys ports.Keys, tenants ports.Tenants, tokens ports.Tokens,
	tickets ports.Tickets, sealer ports.Sealer, ids ports.IDs, clock ports.Clock) operatorHandler {
	random := make([]byte, minSecret)
	_, _ = rand.Read(random) // never fails: the runtime ends the process instead
	key := hex.EncodeToString(random)
	d.Draining, d.Missing, d.Docs = draining.set.Load, nothingMissing(), http.NotFoundHandler()
	d.Identity = application.NewIdentity(keys, tenants, tokens, tickets, sealer, ids, clock,
		application.IdentityConfig{MasterKey: key})
	rest := httpapi.New(d)
	mux := http.NewServeMux()
	mux.Handle("POST "+mintPath, mint)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("X-Master-Key", key)
		rest.ServeHTTP(w, r)
	})
	return operatorHandler{mux}
}
