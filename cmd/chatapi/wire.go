//go:build wireinject

package main

import (
	"context"
	"log/slog"

	"github.com/google/wire"

	"github.com/chatapi/chatapi/adapters/chats"
	"github.com/chatapi/chatapi/adapters/httpapi"
	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/adapters/llm"
	"github.com/chatapi/chatapi/adapters/observe"
	"github.com/chatapi/chatapi/adapters/outbound"
	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/adapters/redis"
	"github.com/chatapi/chatapi/adapters/secrets"
	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/adapters/token"
	"github.com/chatapi/chatapi/adapters/ws"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/ports"
)

// newSQLiteApp joins the server of one node on a SQLite file.
func newSQLiteApp(ctx context.Context, cfg *Config, log *slog.Logger) (*app, func(), error) {
	panic(wire.Build(sqliteSet, inprocSet, serverSet))
}

// newPostgresApp joins the server of one node on a Postgres database.
func newPostgresApp(ctx context.Context, cfg *Config, log *slog.Logger) (*app, func(), error) {
	panic(wire.Build(postgresSet, newPostgresMetrics, inprocSet, serverSet))
}

// newClusterApp joins a node of many on one Postgres database and Redis.
func newClusterApp(ctx context.Context, cfg *Config, log *slog.Logger) (*app, func(), error) {
	panic(wire.Build(postgresSet, redisSet, serverSet))
}

// One set for each adapter, and one for the core. Every topology picks from them.
var (
	systemSet = wire.NewSet(
		wire.Struct(new(system.Clock)), wire.Bind(new(ports.Clock), new(system.Clock)),
		wire.Struct(new(system.IDs)), wire.Bind(new(ports.IDs), new(system.IDs)),
	)
	sqliteSet = wire.NewSet(
		openSQLite, newSQLiteMetrics, wire.Bind(new(durableAppender), new(*sqlite.Store)),
		wire.Bind(new(ports.Store), new(*sqlite.Store)), wire.Bind(new(ports.CommitLog), new(*sqlite.Store)),
		wire.Bind(new(ports.Tenants), new(*sqlite.Store)), wire.Bind(new(ports.TenantWriter), new(*sqlite.Store)),
		wire.Bind(new(ports.Keys), new(*sqlite.Store)), wire.Bind(new(ports.KeyWriter), new(*sqlite.Store)),
		wire.Bind(new(ports.Prober), new(*sqlite.Store)), wire.Bind(new(ports.EpochReader), new(*sqlite.Store)),
		wire.Bind(new(ports.Proofs), new(*sqlite.Store)),
		wire.Bind(new(ports.Purger), new(*sqlite.Store)), wire.Bind(new(ports.Meters), new(*sqlite.Store)),
		wire.Bind(new(ports.Outbox), new(*sqlite.Store)), wire.Bind(new(ports.Notifications), new(*sqlite.Store)),
	)
	postgresSet = wire.NewSet(
		openPostgres, wire.Bind(new(durableAppender), new(*postgres.Store)),
		wire.Bind(new(ports.Store), new(*postgres.Store)), wire.Bind(new(ports.CommitLog), new(*postgres.Store)),
		wire.Bind(new(ports.Tenants), new(*postgres.Store)), wire.Bind(new(ports.TenantWriter), new(*postgres.Store)),
		wire.Bind(new(ports.Keys), new(*postgres.Store)), wire.Bind(new(ports.KeyWriter), new(*postgres.Store)),
		wire.Bind(new(ports.Prober), new(*postgres.Store)), wire.Bind(new(ports.EpochReader), new(*postgres.Store)),
		wire.Bind(new(ports.Proofs), new(*postgres.Store)),
		wire.Bind(new(ports.Purger), new(*postgres.Store)), wire.Bind(new(ports.Meters), new(*postgres.Store)),
		wire.Bind(new(ports.Outbox), new(*postgres.Store)), wire.Bind(new(ports.Notifications), new(*postgres.Store)),
	)
	redisSet = wire.NewSet(
		openRedis, missingRedis, newClusterMetrics,
		redis.NewBus, wire.Bind(new(ports.Bus), new(*redis.Bus)),
		redis.NewPresence, wire.Bind(new(ports.Presence), new(*redis.Presence)),
		redis.NewLimiter, wire.Bind(new(ports.Limiter), new(*redis.Limiter)),
		redis.NewTickets, wire.Bind(new(ports.Tickets), new(*redis.Tickets)),
	)
	inprocSet = wire.NewSet(
		nothingMissing,
		inproc.NewBus, wire.Bind(new(ports.Bus), new(*inproc.Bus)),
		inproc.NewPresence, wire.Bind(new(ports.Presence), new(*inproc.Presence)),
		inproc.NewLimiter, wire.Bind(new(ports.Limiter), new(*inproc.Limiter)),
		inproc.NewTickets, wire.Bind(new(ports.Tickets), new(*inproc.Tickets)),
	)
	secretsSet  = wire.NewSet(newSealer, wire.Bind(new(ports.Sealer), new(*secrets.Sealer)))
	tokenSet    = wire.NewSet(token.New, wire.Bind(new(ports.Tokens), new(*token.Tokens)))
	outboundSet = wire.NewSet(
		newOutbound, wire.Bind(new(ports.WebhookSender), new(*outbound.Client)), wire.Bind(new(ports.Endpoints), new(*outbound.Client)),
		wire.Bind(new(ports.StreamOpener), new(*outbound.Client)), llm.New, wire.Bind(new(ports.LLM), new(*llm.Client)),
	)
	serverSet = wire.NewSet(
		systemSet, outboundSet, secretsSet, tokenSet, observeSet, applicationSet, inboundSet, wire.Struct(new(app), "*"),
	)
	observeSet = wire.NewSet(newRegistry, newAppender, wire.Bind(new(ports.Appender), new(*observe.Appender)), newAdmin)

	applicationSet = wire.NewSet(
		newIdentityConfig, application.NewIdentity, application.NewTenancy, application.NewRooms, application.NewMessaging,
		application.NewDelivery, application.NewUpkeep, application.NewUsers, application.NewPresence, application.NewHints,
		application.NewUsage, application.NewRevocations, application.NewSlots, newLimitsConfig, application.NewLimits, newCourierConfig, application.NewCourier,
		application.NewDeadLetters, application.NewNotifications, application.NewSubscriptions, newFanout,
		newRunnerConfig, wire.Struct(new(application.RunnerDeps), "*"), application.NewRunner, application.NewBots, application.NewChats,
		wire.Bind(new(application.Sockets), new(*application.Fanout)), wire.Bind(new(application.CredentialCloser), new(*application.Fanout)),
		wire.Bind(new(application.CurrentTenants), new(*application.Identity)),
	)
	inboundSet = wire.NewSet(
		wire.Struct(new(ws.Encoder)), wire.Bind(new(ports.Encoder), new(ws.Encoder)),
		newSocketConfig, wire.Struct(new(ws.Deps), "*"), ws.New,
		newChatsConfig, wire.Struct(new(chats.Deps), "*"), chats.New,
		newRESTConfig, wire.Struct(new(httpapi.WebhookEncoder)), wire.Bind(new(ports.WebhookEncoder), new(httpapi.WebhookEncoder)),
		wire.Struct(new(httpapi.Deps), "Identity", "Messaging", "Rooms", "Users", "Presence", "Delivery", "Tenancy", "DeadLetters",
			"Notifications", "Subscriptions", "Bots", "Limits", "Prober", "IDs", "Logger", "Config"),
		wire.Struct(new(drainFlag)), wire.Struct(new(minter), "*"), newPublic, newOperator,
	)
)
