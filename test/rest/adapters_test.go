package rest_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/adapters/redis"
	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// store is what a database is to the server.
type store interface {
	ports.Store
	ports.Appender
	ports.CommitLog
	ports.EpochReader
	ports.Outbox
	ports.Notifications
	ports.Meters
	ports.Prober
	ports.Purger
	ports.Tenants
	ports.TenantWriter
	ports.Keys
	ports.KeyWriter
	Close() error
}

// adapters are what the server stands on: the same tests hold on each topology.
type adapters struct {
	store    store
	bus      ports.Bus
	presence ports.Presence
	limiter  ports.Limiter
	tickets  ports.Tickets
}

func newAdapters(t *testing.T, log *slog.Logger) (a adapters) {
	t.Helper()
	topology := harness.DefaultTopology()
	if topology == harness.OnSQLite {
		s, err := sqlite.Open(t.Context(), sqlite.Config{DSN: filepath.Join(t.TempDir(), "chat.db"), Logger: log})
		return onOneNode(t, s, err)
	}
	backends := harness.Must(harness.SharedBackends())(t)
	database := harness.Must(backends.Postgres.NewMigrated(func(url string) error {
		return postgres.Migrate(t.Context(), postgres.Config{DSN: url, UnsafeDurability: true, Logger: log})
	}))(t)
	t.Cleanup(func() { harness.Check(t, backends.Postgres.Reuse(database)) })
	s, err := postgres.Open(t.Context(), postgres.Config{
		DSN: backends.Postgres.URL(database), Alone: topology == harness.OnPostgres, UnsafeDurability: true, MaxConns: 4, Logger: log,
	})
	if topology == harness.OnPostgres {
		return onOneNode(t, s, err)
	}
	a = onOneNode(t, s, err)
	conn := harness.Must(redis.Open(redis.Config{URL: backends.Redis.URL(), Epoch: s.Epoch(), Logger: log}))(t)
	t.Cleanup(func() { harness.Check(t, conn.Close()) })
	a.bus, a.presence, a.limiter, a.tickets = redis.NewBus(conn), redis.NewPresence(conn), redis.NewLimiter(conn), redis.NewTickets(conn)
	return a
}

// onOneNode is a store with all else in the process.
func onOneNode(t *testing.T, s store, err error) adapters {
	t.Helper()
	harness.Check(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return adapters{s, inproc.NewBus(), inproc.NewPresence(), inproc.NewLimiter(), inproc.NewTickets()}
}
