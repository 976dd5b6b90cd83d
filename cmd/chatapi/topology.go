package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/chatapi/chatapi/adapters/observe"
	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/adapters/redis"
	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/ports"
)

// What differs between the ways to run: one node on a SQLite file, one on a Postgres database, many on one with Redis.

type (
	// durableAppender is the store's own, under what measures it.
	durableAppender ports.Appender
	// topologyMetrics adds what the store, and the bus when there is one between nodes, count.
	topologyMetrics func(*observe.Registry)
	// missing names what the server goes on without now, for /health.
	missing func() []string
)

// lockPatience is how long a start waits for another process to let go of the file: a command at work, or the server
// that this one replaces. Postgres' adapter has as much of its own.
const lockPatience = 3 * time.Second

// patiently tries until the file is not in use any more, or for lockPatience. An open may take longer: it ends with ctx alone.
func patiently(ctx context.Context, open func(context.Context) (*sqlite.Store, error)) (store *sqlite.Store, err error) {
	waiting, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		store, err = open(ctx)
		if !errors.Is(err, sqlite.ErrInUse) || waiting.Err() != nil {
			return store, err
		}
		select {
		case <-poll.C:
		case <-waiting.Done():
		}
	}
}

func closeStore(store interface{ Close() error }, log *slog.Logger) {
	if err := store.Close(); err != nil {
		log.Error("store not closed cleanly", "error", err)
	}
}

// openSQLite opens and migrates the file; the cleanup closes it.
func openSQLite(ctx context.Context, cfg *Config, clock ports.Clock, log *slog.Logger) (*sqlite.Store, func(), error) {
	store, err := patiently(ctx, func(ctx context.Context) (*sqlite.Store, error) {
		return sqlite.Open(ctx, sqlite.Config{
			DSN: cfg.DatabaseDSN, UnsafeDurability: cfg.UnsafeDurability, Clock: clock, Logger: log,
		})
	})
	if err != nil {
		return nil, nil, fmt.Errorf("DATABASE_DSN: %w", err)
	}
	return store, func() { closeStore(store, log) }, nil
}

// openPostgres opens and migrates the database; the cleanup closes it. Without Redis a server holds it alone; a command
// works beside.
func openPostgres(ctx context.Context, cfg *Config, clock ports.Clock, log *slog.Logger) (*postgres.Store, func(), error) {
	store, err := postgres.Open(ctx, postgres.Config{
		DSN: cfg.DatabaseDSN, Alone: cfg.RedisURL == "" && !cfg.Command, Beside: cfg.Command,
		UnsafeDurability: cfg.UnsafeDurability || cfg.Command, // whether it keeps what it confirms, the servers have asked
		Clock:            clock, Logger: log,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("DATABASE_DSN: %w", err)
	}
	return store, func() { closeStore(store, log) }, nil
}

// openRedis connects to what joins the nodes. The store's epoch keeps installations apart that share a server.
func openRedis(cfg *Config, epoch ports.EpochReader, log *slog.Logger) (*redis.Conn, func(), error) {
	conn, err := redis.Open(redis.Config{URL: cfg.RedisURL, Epoch: epoch.Epoch(), Logger: log})
	if err != nil {
		return nil, nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	return conn, func() {
		if err := conn.Close(); err != nil {
			log.Warn("redis not left cleanly", "error", err)
		}
	}, nil
}

func nothingMissing() missing { return func() []string { return nil } }

func missingRedis(conn *redis.Conn) missing {
	return func() []string {
		if ok, _ := conn.Healthy(); !ok {
			return []string{"redis"}
		}
		return nil
	}
}

func newSQLiteMetrics(store *sqlite.Store) topologyMetrics {
	return func(r *observe.Registry) { observe.Stats(r, store.Stats, sqliteMetrics...) }
}

func newPostgresMetrics(store *postgres.Store) topologyMetrics {
	return func(r *observe.Registry) { observe.Stats(r, store.Stats, postgresMetrics...) }
}
