package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/chatapi/chatapi/adapters/observe"
	"github.com/chatapi/chatapi/adapters/outbound"
	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/adapters/ws"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

func newRegistry() *observe.Registry { return observe.NewRegistry(version()) }

// newAppender puts the measurement of sends in front of the store's.
func newAppender(store *sqlite.Store, r *observe.Registry) *observe.Appender {
	return observe.NewAppender(ports.Appender(store), r)
}

// newAdmin adds the counters of the store, the fan-out and the sockets, and serves them all.
func newAdmin(r *observe.Registry, store *sqlite.Store, fanout *application.Fanout, sockets *ws.Handler,
	limits *application.Limits, courier *application.Courier, way *outbound.Client, log *slog.Logger) adminHandler {
	observe.Stats(r, store.Stats, storeMetrics...)
	observe.Stats(r, fanout.Stats, fanoutMetrics...)
	observe.Stats(r, sockets.Stats, socketMetrics...)
	observe.Stats(r, limits.Stats, limitMetrics...)
	observe.Stats(r, courier.Stats, courierMetrics...)
	observe.Stats(r, way.Stats, outboundMetrics...)
	observe.Stats(r, func() ports.OutboxStats { return waiting(store, log) }, outboxMetrics...)
	return adminHandler{observe.Admin(r, log)}
}

func counter[S any](name, help string, value func(S) float64) observe.Metric[S] {
	return observe.Metric[S]{Name: name, Help: help, Kind: observe.Counter, Value: value}
}

func gauge[S any](name, help string, value func(S) float64) observe.Metric[S] {
	return observe.Metric[S]{Name: name, Help: help, Kind: observe.Gauge, Value: value}
}

var storeMetrics = []observe.Metric[sqlite.Stats]{
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

// waiting is what waits in the outbox for webhooks; nothing when the store cannot be asked in a moment.
func waiting(outbox ports.Outbox, log *slog.Logger) ports.OutboxStats {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	stats, err := outbox.OutboxStats(ctx)
	if err != nil {
		log.Warn("outbox not counted", "error", err)
	}
	return stats[domain.LaneWebhook]
}

var outboxMetrics = []observe.Metric[ports.OutboxStats]{
	gauge("outbox_webhook_jobs", "Webhook jobs that wait, those under way included.",
		func(s ports.OutboxStats) float64 { return float64(s.Waiting) }),
	gauge("outbox_webhook_age_seconds", "How long the oldest webhook job has been due.",
		func(s ports.OutboxStats) float64 { return s.Oldest.Seconds() }),
}

var courierMetrics = []observe.Metric[application.CourierStats]{
	counter("webhook_attempts_total", "Webhook calls made.", func(s application.CourierStats) float64 { return float64(s.Attempts) }),
	counter("webhook_delivered_total", "Webhook calls that were answered 2xx.",
		func(s application.CourierStats) float64 { return float64(s.Delivered) }),
	counter("webhook_failed_total", "Webhook calls that failed.", func(s application.CourierStats) float64 { return float64(s.Failed) }),
	counter("webhook_deferred_total", "Webhook calls put off because the endpoint takes none now.",
		func(s application.CourierStats) float64 { return float64(s.Deferred) }),
	counter("webhook_dead_letters_total", "Webhook calls given up.", func(s application.CourierStats) float64 { return float64(s.Dead) }),
	counter("webhook_lost_leases_total", "Outcomes of webhook calls that came after their lease.",
		func(s application.CourierStats) float64 { return float64(s.Lost) }),
}

var outboundMetrics = []observe.Metric[outbound.Stats]{
	counter("outbound_refused_addresses_total", "Webhook connections that were not opened because their address is out of reach.",
		func(s outbound.Stats) float64 { return float64(s.Webhook.RefusedAddresses) }),
	counter("outbound_circuits_tripped_total", "Times that a webhook's circuit opened.",
		func(s outbound.Stats) float64 { return float64(s.Webhook.CircuitsTripped) }),
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
