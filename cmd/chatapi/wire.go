//go:build wireinject

package main

import (
	"context"
	"log/slog"

	"github.com/google/wire"

	"github.com/chatapi/chatapi/adapters/httpapi"
	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/adapters/llm"
	"github.com/chatapi/chatapi/adapters/observe"
	"github.com/chatapi/chatapi/adapters/outbound"
	"github.com/chatapi/chatapi/adapters/secrets"
	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/adapters/token"
	"github.com/chatapi/chatapi/adapters/ws"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/ports"
)

// newApp joins the server of one node on SQLite.
func newApp(ctx context.Context, cfg *Config, log *slog.Logger) (*app, func(), error) {
	panic(wire.Build(
		systemSet, sqliteSet, inprocSet, outboundSet, secretsSet, tokenSet, observeSet, applicationSet, inboundSet,
		wire.Struct(new(app), "*"),
	))
}

// One set for each adapter, and one for the core. Every topology picks from them.
var (
	systemSet = wire.NewSet(
		wire.Struct(new(system.Clock)), wire.Bind(new(ports.Clock), new(system.Clock)),
		wire.Struct(new(system.IDs)), wire.Bind(new(ports.IDs), new(system.IDs)),
	)
	sqliteSet = wire.NewSet(
		openStore,
		wire.Bind(new(ports.Store), new(*sqlite.Store)), wire.Bind(new(ports.CommitLog), new(*sqlite.Store)),
		wire.Bind(new(ports.Tenants), new(*sqlite.Store)), wire.Bind(new(ports.TenantWriter), new(*sqlite.Store)),
		wire.Bind(new(ports.Keys), new(*sqlite.Store)), wire.Bind(new(ports.KeyWriter), new(*sqlite.Store)),
		wire.Bind(new(ports.Prober), new(*sqlite.Store)), wire.Bind(new(ports.EpochReader), new(*sqlite.Store)),
		wire.Bind(new(ports.Proofs), new(*sqlite.Store)),
		wire.Bind(new(ports.Purger), new(*sqlite.Store)), wire.Bind(new(ports.Meters), new(*sqlite.Store)),
		wire.Bind(new(ports.Outbox), new(*sqlite.Store)), wire.Bind(new(ports.Notifications), new(*sqlite.Store)),
	)
	inprocSet = wire.NewSet(
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
	observeSet = wire.NewSet(newRegistry, newAppender, wire.Bind(new(ports.Appender), new(*observe.Appender)), newAdmin)

	applicationSet = wire.NewSet(
		newIdentityConfig, application.NewIdentity, application.NewTenancy, application.NewRooms, application.NewMessaging,
		application.NewDelivery, application.NewUpkeep, application.NewUsers, application.NewPresence, application.NewHints,
		application.NewUsage, newLimitsConfig, application.NewLimits, newCourierConfig, application.NewCourier,
		application.NewDeadLetters, application.NewNotifications, application.NewSubscriptions, newFanout,
		newRunnerConfig, wire.Struct(new(application.RunnerDeps), "*"), application.NewRunner, application.NewBots,
		wire.Bind(new(application.Sockets), new(*application.Fanout)),
		wire.Bind(new(application.CurrentTenants), new(*application.Identity)),
	)
	inboundSet = wire.NewSet(
		wire.Struct(new(ws.Encoder)), wire.Bind(new(ports.Encoder), new(ws.Encoder)),
		newSocketConfig, wire.Struct(new(ws.Deps), "*"), ws.New,
		newRESTConfig, wire.Struct(new(httpapi.WebhookEncoder)), wire.Bind(new(ports.WebhookEncoder), new(httpapi.WebhookEncoder)),
		wire.Struct(new(httpapi.Deps), "Identity", "Messaging", "Rooms", "Users", "Presence", "Delivery", "Tenancy", "DeadLetters",
			"Notifications", "Subscriptions", "Bots", "Limits", "Prober", "IDs", "Logger", "Config"),
		wire.Struct(new(drainFlag)), wire.Struct(new(minter), "*"), newPublic, newOperator,
	)
)
