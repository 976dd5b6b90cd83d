package postgres_test

import (
	"testing"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/ports/storetest"
)

// contractBackend is a store on a database, to be opened again.
type contractBackend struct {
	*postgres.Store
	cfg postgres.Config
}

// Reopen implements storetest.Backend.
func (b contractBackend) Reopen(t *testing.T) storetest.Backend {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatalf("close the store: %v", err)
	}
	return openBackend(t, b.cfg)
}

func TestContractOfTheStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, times *storetest.Times) storetest.Backend {
		return openBackend(t, postgres.Config{DSN: newDatabase(t), Alone: true, MaxConns: 8, Clock: times, Elapsed: times.Elapsed})
	})
}

func openBackend(t *testing.T, cfg postgres.Config) contractBackend {
	t.Helper()
	return contractBackend{Store: openStore(t, cfg), cfg: cfg}
}
