package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/ports/storetest"
)

// contractBackend is a store on a file, to be opened again.
type contractBackend struct {
	*sqlite.Store
	cfg sqlite.Config
}

// Reopen implements storetest.Backend.
func (b contractBackend) Reopen(t *testing.T) storetest.Backend {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatalf("close the store: %v", err)
	}
	return openBackend(t, b.cfg)
}

func openBackend(t *testing.T, cfg sqlite.Config) contractBackend {
	t.Helper()
	store, err := sqlite.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil { // of one that was opened again: what its first Close has said
			t.Errorf("close the store: %v", err)
		}
	})
	return contractBackend{Store: store, cfg: cfg}
}

func TestContractOfTheStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, times *storetest.Times) storetest.Backend {
		return openBackend(t, sqlite.Config{
			DSN:     filepath.Join(t.TempDir(), "chatapi.db"),
			Clock:   times,
			Elapsed: times.Elapsed,
			OnFatal: func(err error) {
				panic("durability is unknown: " + err.Error())
			},
		})
	})
}
