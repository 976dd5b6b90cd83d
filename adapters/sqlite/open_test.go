package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

func TestDSNNamesAFileAndNothingElse(t *testing.T) {
	t.Parallel()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for dsn, want := range map[string]string{
		"file:chatapi.db?_journal_mode=WAL&_busy_timeout=5000": filepath.Join(wd, "chatapi.db"),
		"chatapi.db?_synchronous=OFF&_foreign_keys=0":          filepath.Join(wd, "chatapi.db"),
		"file:./data/chatapi.db":                               filepath.Join(wd, "data/chatapi.db"),
		"file:///srv/a%20b.db":                                 "/srv/a b.db",
		"file://localhost/srv/a.db":                            "/srv/a.db",
		"/srv/100%.db":                                         "/srv/100%.db",
	} {
		if got, err := sqlite.PathOf(dsn); err != nil || got != want {
			t.Errorf("PathOf(%q) = %q, %v, want %q", dsn, got, err, want)
		}
	}
	for _, dsn := range []string{
		"", "file:", ":memory:", "file::memory:?cache=shared", "file:x?mode=memory", "file:%zz", "a\x00b",
		"mysql://db/chat", "postgres:chat", "sqlite://chat.db", "file:chat.db?mode=ro", "chat.db?immutable=1",
	} {
		if got, err := sqlite.PathOf(dsn); !errors.Is(err, sqlite.ErrDSN) {
			t.Errorf("PathOf(%q) = %q, %v, want ErrDSN", dsn, got, err)
		}
	}
}

func TestSeedDSNCannotWeakenTheStore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "chat.db")
	s := openStore(t, sqlite.Config{DSN: "file:" + path + "?_journal_mode=DELETE&_synchronous=OFF&_pragma=synchronous(0)"})
	if err := s.VerifyAllPragmas(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestConnectionWithAWrongPragmaIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "chat.db")
	for _, reader := range []bool{false, true} {
		if err := sqlite.VerifyPragmas(path, reader); err != nil {
			t.Errorf("untouched, reader %v: %v", reader, err)
		}
		for _, pragma := range []string{
			"synchronous = NORMAL", "busy_timeout = 1", "foreign_keys = OFF", "temp_store = FILE", "cache_size = 10",
			"journal_size_limit = -1", "wal_autocheckpoint = 1000", "trusted_schema = ON", "fullfsync = 0",
			"checkpoint_fullfsync = 0",
		} {
			err := sqlite.VerifyPragmas(path, reader, "PRAGMA "+pragma)
			if name, _, _ := strings.Cut(pragma, " "); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s, reader %v: got %v, want an error that names it", pragma, reader, err)
			}
		}
	}
	for _, pragma := range []string{"secure_delete = FAST", "secure_delete = OFF"} {
		if err := sqlite.VerifyPragmas(path, false, "PRAGMA "+pragma); err == nil {
			t.Errorf("%s was accepted for the writer", pragma)
		}
	}
	for _, pragma := range []string{"mmap_size = 0", "query_only = 0"} {
		if err := sqlite.VerifyPragmas(path, true, "PRAGMA "+pragma); err == nil {
			t.Errorf("%s was accepted for a reader", pragma)
		}
	}
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data", "deep")
	s := openStore(t, sqlite.Config{DSN: filepath.Join(dir, "chat.db")})
	if err := s.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{
		"": 0o700 | os.ModeDir, "chat.db": 0o600, "chat.db-wal": 0o600, "chat.db-shm": 0o600, "chat.db.lock": 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%q has mode %v, want %v", name, info.Mode(), want)
		}
	}
}

func TestSecondOpenIsToldWhoHasTheStore(t *testing.T) {
	t.Parallel()
	dsn := filepath.Join(t.TempDir(), "chat.db")
	first, err := sqlite.Open(t.Context(), sqlite.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	_, err = sqlite.Open(t.Context(), sqlite.Config{DSN: dsn})
	if !errors.Is(err, sqlite.ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("got %v, want ErrInUse with the process id", err)
	}
	epoch := first.Epoch()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if again := openStore(t, sqlite.Config{DSN: dsn}); again.Epoch() != epoch || epoch == "" {
		t.Errorf("epoch %q after reopening, want %q", again.Epoch(), epoch)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	dsn := filepath.Join(t.TempDir(), "chat.db")
	if err := sqlite.Migrate(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+dsn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err := sqlite.Open(t.Context(), sqlite.Config{DSN: dsn}); !errors.Is(err, sqlite.ErrNewerSchema) {
		t.Errorf("Open: %v, %v, want ErrNewerSchema", s, err)
	}
	if err := sqlite.Migrate(t.Context(), dsn); !errors.Is(err, sqlite.ErrNewerSchema) {
		t.Errorf("Migrate: %v, want ErrNewerSchema", err)
	}
}

// migrateDSN tells a child process of the test which database to migrate.
const migrateDSN = "CHATAPI_TEST_MIGRATE"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(migrateDSN); dsn != "" {
		if err := sqlite.Migrate(context.Background(), dsn); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestProcessesThatMigrateAtOnceApplyEachStepOnce(t *testing.T) {
	t.Parallel()
	dsn := filepath.Join(t.TempDir(), "chat.db")
	const processes, goroutines = 4, 4
	results := make(chan error, processes+goroutines)
	for range processes {
		go func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), migrateDSN+"="+dsn)
			if out, err := cmd.CombinedOutput(); err != nil {
				results <- fmt.Errorf("%w: %s", err, out)
				return
			}
			results <- nil
		}()
	}
	for range goroutines {
		go func() { results <- sqlite.Migrate(t.Context(), dsn) }()
	}
	for range processes + goroutines {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	db, err := sql.Open("sqlite", "file:"+dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var rows, versions int
	err = db.QueryRow("SELECT count(*), count(DISTINCT version_id) FROM goose_db_version").Scan(&rows, &versions)
	if err != nil || rows != versions {
		t.Errorf("%d rows for %d versions, %v", rows, versions, err)
	}
}

func TestRoomNumbersNeverOutgrowTheirBits(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	makeRoom(t, s, "alice")
	err := s.OnWriter(t.Context(), func(exec func(string) error) error {
		return exec("UPDATE sqlite_sequence SET seq = (1 << 27) - 2 WHERE name = 'rooms'")
	})
	if err != nil {
		t.Fatal(err)
	}
	last := makeRoom(t, s, "alice")
	fill(t, s, last.ID, "alice", 3)
	if got := lastSeq(t, s, last.ID); got.LastSeq != 3 {
		t.Errorf("last seq %d in the last room there can be, want 3", got.LastSeq)
	}
	err = s.Update(t.Context(), tenant, func(tx ports.Tx) error {
		_, err := tx.CreateRoom(domain.Room{ID: domain.RoomID(uuid()), Type: domain.RoomGroup, CreatedAt: now}, nil)
		return err
	})
	if !errors.Is(err, domain.ErrUnavailable) {
		t.Errorf("a room beyond the last number: %v, want ErrUnavailable", err)
	}
}
