package main

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/chatapi/chatapi/adapters/chats"
	"github.com/chatapi/chatapi/adapters/observe"
	"github.com/chatapi/chatapi/adapters/outbound"
	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/adapters/redis"
	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/adapters/ws"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

func newRegistry() *observe.Registry { return observe.NewRegistry(version()) }

// newAppender puts the measurement of sends in front of the store's.
func newAppender(store durableAppender, r *observe.Registry) *observe.Appender {
	return observe.NewAppender(ports.Appender(store), r)
}

// newAdmin adds the counters of the store, the fan-out and the sockets, and serves them all.
func newAdmin(r *observe.Registry, own topologyMetrics, outbox ports.Outbox, fanout *application.Fanout, sockets *ws.Handler,
	chatSockets *chats.Handler, limits *application.Limits, courier *application.Courier, runner *application.Runner, way *outbound.Client, log *slog.Logger) adminHandler {
	own(r)
	observe.Stats(r, fanout.Stats, fanoutMetrics...)
	observe.Stats(r, sockets.Stats, socketMetrics...)
	observe.Stats(r, chatSockets.Stats, chatMetrics...)
	observe.Stats(r, limits.Stats, limitMetrics...)
	observe.Stats(r, courier.Stats, slices.Concat(courierMetrics(domain.LaneWebhook, "webhook"), courierMetrics(domain.LaneNotification, "notification"))...)
	observe.Stats(r, way.Stats, outboundMetrics...)
	observe.Stats(r, runner.Stats, botMetrics...)
	observe.Stats(r, func() map[domain.Lane]ports.OutboxStats { return waiting(outbox, log) },
		slices.Concat(outboxMetrics(domain.LaneWebhook, "webhook"), outboxMetrics(domain.LaneNotification, "notification"),
			outboxMetrics(domain.LaneBot, "bot"))...)
	return adminHandler{observe.Admin(r, log)}
}

func counter[S any](name, help string, value func(S) float64) observe.Metric[S] {
	return observe.Metric[S]{Name: name, Help: help, Kind: observe.Counter, Value: value}
}

func gauge[S any](name, help string, value func(S) float64) observe.Metric[S] {
	return observe.Metric[S]{Name: name, Help: help, Kind: observe.Gauge, Value: value}
}

var sqliteMetrics = []observe.Metric[sqlite.Stats]{
	gauge("store_queued_jobs", "Writes that wait for the writer.",
		func(s sqlite.Stats) float64 { return float64(s.Queued) }),
	counter("store_batches_total", "Transactions tried.", func(s sqlite.Stats) float64 { return float64(s.Batches) }),
	counter("store_jobs_total", "Writes in those transactions.", func(s sqlite.Stats) float64 { return float64(s.Jobs) }),
	counter("store_commit_seconds_total", "Time in COMMIT, fsync included.",
		func(s sqlite.Stats) float64 { return s.CommitSeconds }),
	counter("store_checkpoints_total", "Checkpoints of the write-ahead log.",
		func(s sqlite.Stats) float64 { return float64(s.Checkpoints) }),
	counter("store_checkpoint_seconds_total", "Time in checkpoints.",
		func(s sqlite.Stats) float64 { return s.CheckpointSeconds }),
	gauge("store_longest_closure_seconds", "The longest that one write has held up its batch.",
		func(s sqlite.Stats) float64 { return s.LongestClosure.Seconds() }),
	counter("store_slow_closures_total", "Writes that held up their batch for more than 5 ms.",
		func(s sqlite.Stats) float64 { return float64(s.SlowClosures) }),
	gauge("store_wal_bytes", "Size of the write-ahead log.", func(s sqlite.Stats) float64 { return float64(s.WALBytes) }),
}

var postgresMetrics = []observe.Metric[postgres.Stats]{
	gauge("store_queued_jobs", "Sends that wait for the batcher.", func(s postgres.Stats) float64 { return float64(s.Queued) }),
	counter("store_batches_total", "Batches of sends tried.", func(s postgres.Stats) float64 { return float64(s.Batches) }),
	counter("store_jobs_total", "Sends in those batches.", func(s postgres.Stats) float64 { return float64(s.Appends) }),
	counter("store_commits_total", "Transactions tried.", func(s postgres.Stats) float64 { return float64(s.Commits) }),
	counter("store_commit_seconds_total", "Time in COMMIT, fsync included.", func(s postgres.Stats) float64 { return s.CommitSeconds }),
	counter("store_retries_total", "Transactions made again because they had lost against another.",
		func(s postgres.Stats) float64 { return float64(s.Retries) }),
	gauge("store_longest_closure_seconds", "The longest that one write has held its locks.",
		func(s postgres.Stats) float64 { return s.LongestClosure.Seconds() }),
	counter("store_slow_closures_total", "Writes that held their locks for more than 50 ms.",
		func(s postgres.Stats) float64 { return float64(s.SlowClosures) }),
	gauge("store_connections_used", "Connections at work, of those for tenants.", func(s postgres.Stats) float64 { return float64(s.InUse) }),
	gauge("store_connections_idle", "Connections open and idle, of those for tenants.", func(s postgres.Stats) float64 { return float64(s.Idle) }),
	gauge("store_connections_max", "Connections for tenants there can be.", func(s postgres.Stats) float64 { return float64(s.MaxConns) }),
	gauge("store_operator_connections_used", "Connections at work across tenants.",
		func(s postgres.Stats) float64 { return float64(s.OperatorInUse) }),
	counter("store_connection_waits_total", "Times that a connection, or a place at one, had to be waited for.",
		func(s postgres.Stats) float64 { return float64(s.Waits) }),
	counter("store_connection_wait_seconds_total", "Time in those waits.", func(s postgres.Stats) float64 { return s.WaitSeconds }),
}

// newClusterMetrics are those of the store and of what joins the nodes.
func newClusterMetrics(store *postgres.Store, conn *redis.Conn, bus *redis.Bus, limiter *redis.Limiter) topologyMetrics {
	return func(r *observe.Registry) {
		newPostgresMetrics(store)(r)
		observe.Stats(r, func() *redis.Conn { return conn }, redisMetrics...)
		observe.Stats(r, bus.Stats, busMetrics...)
		observe.Stats(r, limiter.Stats, sharedLimitMetrics...)
	}
}

var redisMetrics = []observe.Metric[*redis.Conn]{
	gauge("redis_up", "Whether Redis answers.", func(c *redis.Conn) float64 {
		if ok, _ := c.Healthy(); ok {
			return 1
		}
		return 0
	}),
	gauge("redis_nodes", "Nodes that use this Redis, as last known.", func(c *redis.Conn) float64 { return float64(c.Nodes()) }),
}

var busMetrics = []observe.Metric[redis.BusStats]{
	counter("bus_published_total", "Hints for other nodes.", func(s redis.BusStats) float64 { return float64(s.Published) }),
	counter("bus_frames_total", "Messages that Redis took, several hints in each.", func(s redis.BusStats) float64 { return float64(s.Frames) }),
	counter("bus_dropped_total", "Hints that did not go out.", func(s redis.BusStats) float64 { return float64(s.Dropped) }),
	counter("bus_received_total", "Hints of other nodes.", func(s redis.BusStats) float64 { return float64(s.Received) }),
	counter("bus_gaps_total", "Messages of other nodes that were found missing.", func(s redis.BusStats) float64 { return float64(s.Gaps) }),
	counter("bus_overflows_total", "Times that a subscription's queue was full.", func(s redis.BusStats) float64 { return float64(s.Overflows) }),
	counter("bus_lost_total", "Times that a subscription was told of a loss.", func(s redis.BusStats) float64 { return float64(s.Lost) }),
	counter("bus_reconnects_total", "Connections that broke.", func(s redis.BusStats) float64 { return float64(s.Reconnects) }),
	gauge("bus_queued", "Hints that wait to go out.", func(s redis.BusStats) float64 { return float64(s.Queued) }),
	gauge("bus_connected", "Whether all is heard that this node has subscribed to.", func(s redis.BusStats) float64 {
		if s.Connected {
			return 1
		}
		return 0
	}),
}

var sharedLimitMetrics = []observe.Metric[redis.LimiterStats]{
	counter("limits_slices_total", "Slices of rates asked for.", func(s redis.LimiterStats) float64 { return float64(s.Asked) }),
	counter("limits_waited_total", "Calls that waited for a slice.", func(s redis.LimiterStats) float64 { return float64(s.Waited) }),
	counter("limits_alone_total", "Calls within this node's share, as Redis was away.", func(s redis.LimiterStats) float64 { return float64(s.Alone) }),
}

var fanoutMetrics = []observe.Metric[application.FanoutStats]{
	counter("fanout_dispatched_total", "Committed events taken up for delivery.",
		func(s application.FanoutStats) float64 { return float64(s.Dispatched) }),
	counter("fanout_received_total", "Events received from the bus.",
		func(s application.FanoutStats) float64 { return float64(s.Received) }),
	counter("fanout_pushed_total", "Frames handed to sockets.",
		func(s application.FanoutStats) float64 { return float64(s.Pushed) }),
	counter("fanout_hints_total", "Frames of typing, receipts and presence offered to sockets.",
		func(s application.FanoutStats) float64 { return float64(s.Hints) }),
	counter("fanout_overflows_total", "Frames that a full socket queue refused.",
		func(s application.FanoutStats) float64 { return float64(s.Overflows) }),
	counter("fanout_catchups_total", "Stretches of a room's log read from the store.",
		func(s application.FanoutStats) float64 { return float64(s.CatchUps) }),
	counter("fanout_repairs_total", "Rooms found behind by a sweep or a gap.",
		func(s application.FanoutStats) float64 { return float64(s.Repairs) }),
	counter("fanout_redelivered_total", "Messages and notifications pushed again because they were not acknowledged.",
		func(s application.FanoutStats) float64 { return float64(s.Redelivered) }),
	counter("fanout_dead_letters_total", "Dead letters of what was not acknowledged.",
		func(s application.FanoutStats) float64 { return float64(s.Unacknowledged) }),
	gauge("fanout_rooms", "Rooms with a socket on this node.",
		func(s application.FanoutStats) float64 { return float64(s.Rooms) }),
	gauge("fanout_tail_bytes", "Frames of active rooms kept in memory.",
		func(s application.FanoutStats) float64 { return float64(s.TailBytes) }),
}

var limitMetrics = []observe.Metric[application.LimitsStats]{
	counter("limits_taken_total", "Calls and frames within their tenant's rate.",
		func(s application.LimitsStats) float64 { return float64(s.Taken) }),
	counter("limits_refused_total", "Calls and frames over their tenant's rate.",
		func(s application.LimitsStats) float64 { return float64(s.Refused) }),
	counter("limits_addresses_barred_total", "Times that a client address was found to have shown too many wrong credentials.",
		func(s application.LimitsStats) float64 { return float64(s.Addresses) }),
}

// waiting is what waits in the outbox; nil when the store cannot be asked in a moment.
func waiting(outbox ports.Outbox, log *slog.Logger) map[domain.Lane]ports.OutboxStats {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	stats, err := outbox.OutboxStats(ctx)
	if err != nil {
		log.Warn("outbox not counted", "error", err)
		return nil
	}
	return stats
}

// counted is a value of the outbox, or NaN when it could not be counted: an alert must not see a zero then.
func counted(s map[domain.Lane]ports.OutboxStats, value float64) float64 {
	if s == nil {
		return math.NaN()
	}
	return value
}

func outboxMetrics(lane domain.Lane, name string) []observe.Metric[map[domain.Lane]ports.OutboxStats] {
	type stats = map[domain.Lane]ports.OutboxStats
	return []observe.Metric[stats]{
		gauge("outbox_"+name+"_jobs", "Jobs of the "+name+" lane that wait, those under way included.",
			func(s stats) float64 { return counted(s, float64(s[lane].Waiting)) }),
		gauge("outbox_"+name+"_age_seconds", "How long the oldest job of the "+name+" lane has been due.",
			func(s stats) float64 { return counted(s, s[lane].Oldest.Seconds()) }),
	}
}

func courierMetrics(lane domain.Lane, name string) []observe.Metric[map[domain.Lane]application.CourierStats] {
	type stats = map[domain.Lane]application.CourierStats
	count := func(metric, help string, value func(application.CourierStats) int64) observe.Metric[stats] {
		return counter(name+metric, "Calls of the "+name+" lane "+help, func(s stats) float64 { return float64(value(s[lane])) })
	}
	return []observe.Metric[stats]{
		count("_attempts_total", "made.", func(s application.CourierStats) int64 { return s.Attempts }),
		count("_delivered_total", "that were answered 2xx.", func(s application.CourierStats) int64 { return s.Delivered }),
		count("_failed_total", "that failed.", func(s application.CourierStats) int64 { return s.Failed }),
		count("_deferred_total", "put off because the endpoint takes none now.", func(s application.CourierStats) int64 { return s.Deferred }),
		count("_dead_letters_total", "given up.", func(s application.CourierStats) int64 { return s.Dead }),
		count("_lost_leases_total", "whose outcome came after the lease.", func(s application.CourierStats) int64 { return s.Lost }),
	}
}

var botMetrics = []observe.Metric[application.RunnerStats]{
	gauge("bots_running", "Answers of bots under way.", func(s application.RunnerStats) float64 { return float64(s.Running) }),
	counter("bots_streams_total", "Answers begun.", func(s application.RunnerStats) float64 { return float64(s.Started) }),
	counter("bots_answered_total", "Answers that ended well.", func(s application.RunnerStats) float64 { return float64(s.Answered) }),
	counter("bots_failed_total", "Answers that ended with an error.", func(s application.RunnerStats) float64 { return float64(s.Failed) }),
	counter("bots_skipped_total", "Messages that a webhook, or its failure, has left without an answer.",
		func(s application.RunnerStats) float64 { return float64(s.Skipped) }),
	counter("bots_contexts_total", "Webhooks asked for a context.", func(s application.RunnerStats) float64 { return float64(s.Contexts) }),
	counter("bots_contexts_failed_total", "Webhooks that did not answer with one.", func(s application.RunnerStats) float64 { return float64(s.Refused) }),
	counter("bots_taken_over_total", "Answers whose run had died.", func(s application.RunnerStats) float64 { return float64(s.TakenOver) }),
	counter("bots_lost_leases_total", "Runs that found out that they had been taken over.", func(s application.RunnerStats) float64 { return float64(s.Lost) }),
}

var outboundMetrics = []observe.Metric[outbound.Stats]{
	counter("outbound_refused_addresses_total", "Webhook connections that were not opened because their address is out of reach.",
		func(s outbound.Stats) float64 { return float64(s.Webhook.RefusedAddresses) }),
	counter("outbound_circuits_tripped_total", "Times that a webhook's circuit opened.",
		func(s outbound.Stats) float64 { return float64(s.Webhook.CircuitsTripped) }),
	gauge("outbound_circuits_open", "Circuits of webhooks that are open or half-open now.",
		func(s outbound.Stats) float64 { return float64(s.Webhook.OpenCircuits) }),
	gauge("outbound_calls", "Calls of webhooks under way.", func(s outbound.Stats) float64 { return float64(s.Webhook.InFlight) }),
	counter("outbound_llm_refused_addresses_total", "Connections to models that were not opened because their address is out of reach.",
		func(s outbound.Stats) float64 { return float64(s.LLM.RefusedAddresses) }),
	counter("outbound_llm_circuits_tripped_total", "Times that a model's circuit opened.",
		func(s outbound.Stats) float64 { return float64(s.LLM.CircuitsTripped) }),
	gauge("outbound_llm_circuits_open", "Circuits of models that are open or half-open now.",
		func(s outbound.Stats) float64 { return float64(s.LLM.OpenCircuits) }),
	gauge("outbound_llm_calls", "Calls of models under way.", func(s outbound.Stats) float64 { return float64(s.LLM.InFlight) }),
	gauge("outbound_connections", "Outbound connections open, idle ones included.",
		func(s outbound.Stats) float64 { return float64(s.Connections) }),
}

var socketMetrics = []observe.Metric[ws.Stats]{
	gauge("sockets_open", "Sockets open now.", func(s ws.Stats) float64 { return float64(s.Open) }),
	counter("sockets_accepted_total", "Upgrades.", func(s ws.Stats) float64 { return float64(s.Accepted) }),
	counter("sockets_refused_total", "Upgrades refused because too many were under way.",
		func(s ws.Stats) float64 { return float64(s.Refused) }),
	counter("sockets_received_total", "Frames from clients.", func(s ws.Stats) float64 { return float64(s.Received) }),
	counter("sockets_frames_total", "Frames written.", func(s ws.Stats) float64 { return float64(s.Frames) }),
	counter("sockets_written_bytes_total", "Bytes written.", func(s ws.Stats) float64 { return float64(s.Bytes) }),
	counter("sockets_writes_total", "Writes that took those frames.",
		func(s ws.Stats) float64 { return float64(s.Writes) }),
	counter("sockets_slow_total", "Times a socket did not take at once what there was.",
		func(s ws.Stats) float64 { return float64(s.Slow) }),
	counter("sockets_hints_dropped_total", "Frames of typing, receipts and presence that slow sockets went without.",
		func(s ws.Stats) float64 { return float64(s.Dropped) }),
	counter("sockets_closed_lost_total", "Sockets that were lost without a close frame.", closes(1006)),
	counter("sockets_closed_slow_total", "Sockets closed because their writes stood still (4408).", closes(4408)),
	counter("sockets_closed_flooding_total", "Sockets closed because their client flooded (4429).", closes(4429)),
	counter("sockets_closed_credential_total", "Sockets closed because their credential ended (4401).", closes(4401)),
}

func closes(code int) func(ws.Stats) float64 {
	return func(s ws.Stats) float64 { return float64(s.Closes[code]) }
}

var chatMetrics = []observe.Metric[chats.Stats]{
	gauge("chat_sockets_open", "Chat sockets open now.", func(s chats.Stats) float64 { return float64(s.Open) }),
	counter("chat_sockets_accepted_total", "Upgrades of chat sockets.", func(s chats.Stats) float64 { return float64(s.Accepted) }),
	counter("chat_sockets_refused_total", "Chat sockets that were told why not, and closed.",
		func(s chats.Stats) float64 { return float64(s.Refused) }),
	counter("chat_sockets_received_total", "Frames from clients of chats.", func(s chats.Stats) float64 { return float64(s.Received) }),
	counter("chat_sockets_events_total", "Events written to chat sockets.", func(s chats.Stats) float64 { return float64(s.Events) }),
}
