package main

import (
	"database/sql"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/migrations"
)

// storeFile is where a machine's store is, and what lies beside it begins with.
func (m *machine) storeFile() string { return filepath.Join(m.dir, "data", "chatapi.db") }

// query runs a statement on a machine's store, as an operator might with a tool of SQLite's.
func (m *machine) query(statement string) {
	m.t.Helper()
	db, err := sql.Open("sqlite", "file:"+m.storeFile())
	if err != nil {
		m.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(m.t.Context(), statement); err != nil {
		m.t.Fatalf("%s: %v", statement, err)
	}
}

// wantSteps fails unless the steps are those of the binary: all of them applied a moment ago, or all pending.
func wantSteps(t *testing.T, got []schemaStep, state string) {
	t.Helper()
	files, err := fs.Glob(migrations.SQLite(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	var want []schemaStep
	for i, file := range files {
		_, name, _ := strings.Cut(strings.TrimSuffix(file, ".sql"), "_")
		step := schemaStep{Version: int64(i + 1), Name: name, State: state}
		if state == stepApplied && i < len(got) {
			step.AppliedAt = got[i].AppliedAt
			at, err := time.Parse(time.RFC3339, step.AppliedAt)
			if err != nil || time.Since(at).Abs() > time.Hour {
				t.Errorf("step %d was applied at %q: %v", i+1, step.AppliedAt, err)
			}
		}
		want = append(want, step)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps: %s", diff)
	}
}

func TestMigrateUpMakesAStoreAndSaysWhatItDid(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	refuses(t, m, "no store at "+m.storeFile(), "migrate", "status")
	refuses(t, m, "no store at "+m.storeFile(), "migrate", "status", "--json")
	if entries, err := os.ReadDir(m.dir); err != nil || len(entries) != 0 {
		t.Errorf("status left files: %v, %v", entries, err)
	}
	out, complaint, code := m.run("migrate", "up")
	if code != 0 || !strings.Contains(complaint, "a new store is made: "+m.storeFile()) || !strings.Contains(out, "spine") {
		t.Errorf("exit code %d, printed %s%s", code, out, complaint)
	}
	wantSteps(t, decoded[[]schemaStep](m, "migrate", "status"), stepApplied)
	out, complaint, code = m.run("migrate", "up")
	if code != 0 || out != "" || !strings.Contains(complaint, "nothing to apply") || strings.Contains(complaint, "new store") {
		t.Errorf("again: exit code %d, printed %s%s", code, out, complaint)
	}
	if again := m.must("migrate", "up", "--json"); again != "[]\n" {
		t.Errorf("again with --json: %s", again)
	}
	table := m.must("migrate", "status")
	for _, part := range []string{"VERSION", "NAME", "STATE", "APPLIED_AT", "spine", "applied", "Z"} {
		if !strings.Contains(table, part) {
			t.Errorf("status lacks %s:\n%s", part, table)
		}
	}
	p := m.serve()
	m.must("tenant", "create", "acme")
	p.stop(syscall.SIGTERM)
}

func TestMigrateUpPrintsTheStepsItAppliedAsJSON(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	wantSteps(t, decoded[[]schemaStep](m, "migrate", "up"), stepApplied)
}

// TestMigrateSeesPendingSteps has an empty database, as a crash before the first step leaves it.
func TestMigrateSeesPendingSteps(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	if err := os.Mkdir(filepath.Dir(m.storeFile()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.storeFile(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantSteps(t, decoded[[]schemaStep](m, "migrate", "status"), stepPending)
	if table := m.must("migrate", "status"); !strings.Contains(table, "pending") {
		t.Errorf("printed %s", table)
	}
	if info, err := os.Stat(m.storeFile()); err != nil || info.Size() != 0 {
		t.Errorf("status has written: %v, %v", info, err)
	}
	wantSteps(t, decoded[[]schemaStep](m, "migrate", "up"), stepApplied)
}

func TestMigrateBesideARunningServer(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := m.serve()
	made := decoded[madeTenant](m, "tenant", "create", "acme")
	wantSteps(t, decoded[[]schemaStep](m, "migrate", "status"), stepApplied)
	refuses(t, m, "a server has the store open: "+m.storeFile(), "migrate", "up")
	if got := p.status("/rooms", "X-API-Key", made.APIKey); got != 200 {
		t.Errorf("the server answers with %d afterwards", got)
	}
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.log.String())
	}
	m.must("migrate", "up")
}

// TestMigrateUpIsRefusedByTheStoresLock has a server that cannot be asked: only the lock tells of it.
func TestMigrateUpIsRefusedByTheStoresLock(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := m.serve()
	until(t, "the operator's socket is there", func() bool { _, err := os.Lstat(m.storeFile() + ".sock"); return err == nil })
	if err := os.Remove(m.storeFile() + ".sock"); err != nil {
		t.Fatal(err)
	}
	refuses(t, m, "a server has the store open", "migrate", "up")
	wantSteps(t, decoded[[]schemaStep](m, "migrate", "status"), stepApplied)
	p.stop(syscall.SIGTERM)
}

func TestMigrateAfterAServerWasKilled(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := m.serve()
	m.must("tenant", "create", "acme")
	p.stop(os.Kill)
	wantSteps(t, decoded[[]schemaStep](m, "migrate", "status"), stepApplied)
	m.must("migrate", "up")
	if listed := decoded[[]madeTenant](m, "tenant", "list"); len(listed) != 1 {
		t.Errorf("got %+v, want the tenant that was there", listed)
	}
}

func TestMigrateRefusesANewerSchema(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("migrate", "up")
	m.query("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)")
	for _, verb := range []string{"status", "up"} {
		refuses(t, m, "written by a newer release", "migrate", verb)
	}
}

func TestMigrateRefusesWhatIsNoDatabase(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "DATABASE_DSN=file:notes.txt")
	notes := strings.Repeat("not a database\n", 100)
	if err := os.WriteFile(filepath.Join(m.dir, "notes.txt"), []byte(notes), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"status", "up"} {
		refuses(t, m, "DATABASE_DSN: ", "migrate", verb)
	}
	if left, err := os.ReadFile(filepath.Join(m.dir, "notes.txt")); err != nil || string(left) != notes {
		t.Errorf("the file was changed: %v", err)
	}
}

func TestMigrateHasHelp(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for _, words := range []string{"migrate", "migrate up", "migrate status"} {
		out := m.must(append(strings.Fields(words), "--help")...)
		if !strings.Contains(out, "Usage: chatapi "+words) {
			t.Errorf("%s --help printed %s", words, out)
		}
	}
}
