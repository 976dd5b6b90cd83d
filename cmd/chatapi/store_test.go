package main

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

type copied struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
}

// TestACopyIsAStoreOfItsOwn that opens with the sealing key, and that nobody but its owner reads.
func TestACopyIsAStoreOfItsOwn(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := m.serve()
	made := decoded[madeTenant](m, "tenant", "create", "acme")
	out, complaint, code := m.run("store", "backup", "copy.db")
	if code != 0 || !strings.Contains(out, "copy.db") || !strings.Contains(complaint, m.storeFile()+".key") {
		t.Errorf("exit code %d, printed %s%s", code, out, complaint)
	}
	if info, err := os.Stat(filepath.Join(m.dir, "copy.db")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy is %v, %v; want it for its owner alone", info, err)
	}
	p.stop(syscall.SIGTERM)
	again := decoded[copied](m, "store", "backup", "again.db") // with no server
	if info, err := os.Stat(again.File); err != nil || info.Size() != again.Bytes || again.Bytes == 0 {
		t.Errorf("told %+v of a copy that is %v, %v", again, info, err)
	}
	for name := range beside(m.t, m.dir) {
		if strings.Contains(name, ".part") {
			t.Errorf("left %s", name)
		}
	}
	key, err := os.ReadFile(m.storeFile() + ".key")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"copy.db", "again.db"} {
		if err := os.WriteFile(filepath.Join(m.dir, file+".key"), key, 0o600); err != nil {
			t.Fatal(err)
		}
		other := newMachine(t, "DATABASE_DSN=file:"+filepath.Join(m.dir, file))
		served := other.serve()
		if got := served.status("/rooms", "X-API-Key", made.APIKey); got != 200 {
			t.Errorf("a server on %s answers a key of the store with %d", file, got)
		}
		served.stop(syscall.SIGTERM)
	}
}

func beside(t *testing.T, dir string) map[string]fs.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]fs.DirEntry{}
	for _, e := range entries {
		names[e.Name()] = e
	}
	return names
}

func TestABackupThatCannotBeMadeLeavesNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	refuses(t, m, "no store at "+m.storeFile(), "store", "backup", "copy.db")
	m.must("migrate", "up")
	m.must("store", "backup", "copy.db")
	refuses(t, m, "already exists", "store", "backup", "copy.db")
	refuses(t, m, "no such file or directory", "store", "backup", "nowhere/copy.db")
	notes := newMachine(t, "DATABASE_DSN=file:notes.txt")
	if err := os.WriteFile(filepath.Join(notes.dir, "notes.txt"), []byte(strings.Repeat("no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, notes, "not a database", "store", "backup", "copy.db")
	if left := beside(t, notes.dir); len(left) != 1 {
		t.Errorf("left %v", left)
	}
	refuses(t, m, "not as a DSN", "store", "backup", "file:copy.db")
	refuses(t, newMachine(t, "DATABASE_DSN=postgres://127.0.0.1/chatapi", "SECRETS_KEY="+strings.Repeat("0a", 32)), "pg_dump", "store", "backup", "copy.db")
}

// TestABackupThatIsInterruptedLeavesNothing, however far it was.
func TestABackupThatIsInterruptedLeavesNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("migrate", "up")
	m.query("CREATE TABLE ballast (x BLOB); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) " +
		"INSERT INTO ballast SELECT zeroblob(1000) FROM n")
	cmd := m.command("store", "backup", "copy.db")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	begun := func() bool {
		parts, err := filepath.Glob(filepath.Join(m.dir, "copy.db.part-*", "copy"))
		return err == nil && len(parts) > 0
	}
	until(t, "the copy is begun", begun)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("a backup that was interrupted ends well")
	}
	for name := range beside(t, m.dir) {
		if strings.HasPrefix(name, "copy") {
			t.Errorf("left %s", name)
		}
	}
}

type restored struct{ Store, Kept string }

// TestARestoreKeepsWhatWasThere, is refused beside a server, and may be made again; also over a server that was killed.
func TestARestoreKeepsWhatWasThere(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := m.serve()
	first := decoded[madeTenant](m, "tenant", "create", "first")
	m.must("store", "backup", "copy.db")
	second := decoded[madeTenant](m, "tenant", "create", "second")
	refuses(t, m, "has the store open: stop it first", "store", "restore", "copy.db")
	p.stop(os.Kill) // what it had confirmed last is in the write-ahead log
	const nobody = 65534
	if os.Geteuid() == 0 { // the server may well be somebody else
		if err := os.Chown(filepath.Dir(m.storeFile()), nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		got := decoded[restored](m, "store", "restore", "copy.db")
		if got.Store != m.storeFile() || !strings.HasPrefix(got.Kept, m.storeFile()+".old-") {
			t.Errorf("told %+v", got)
		}
		if is, want := ownerOf(t, m.storeFile()), ownerOf(t, filepath.Dir(m.storeFile())); is != want {
			t.Errorf("the restored store is %d's, and its directory %d's", is, want)
		}
		p = m.serve()
		if one, two := p.status("/rooms", "X-API-Key", first.APIKey), p.status("/rooms", "X-API-Key", second.APIKey); one != 200 || two != 401 {
			t.Errorf("after the restore the keys of before and after the copy are answered %d and %d", one, two)
		}
		p.stop(syscall.SIGTERM)
		if err := os.Rename(got.Kept, m.storeFile()); err != nil { // for the next time
			t.Fatal(err)
		}
		p = m.serve()
		if two := p.status("/rooms", "X-API-Key", second.APIKey); two != 200 {
			t.Errorf("what was there before the restore answers %d", two)
		}
		p.stop(syscall.SIGTERM)
	}
	for name := range beside(t, filepath.Dir(m.storeFile())) {
		if strings.Contains(name, ".part") {
			t.Errorf("left %s", name)
		}
	}
}

// TestARestoreTakesNoLogOfAnother: the store is gone, and its write-ahead log is not.
func TestARestoreTakesNoLogOfAnother(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := m.serve()
	made := decoded[madeTenant](m, "tenant", "create", "acme")
	p.stop(syscall.SIGTERM)
	m.must("store", "backup", "copy.db")
	db, err := sql.Open("sqlite", "file:"+m.storeFile()+"?_pragma=wal_autocheckpoint(0)")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "INSERT INTO store_meta (name, value) VALUES ('stray', '')"); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(m.storeFile() + "-wal")
	if err != nil || len(log) == 0 {
		t.Fatalf("the log has %d bytes, %v", len(log), err)
	}
	if err := errors.Join(db.Close(), os.Remove(m.storeFile()), os.WriteFile(m.storeFile()+"-wal", log, 0o600)); err != nil {
		t.Fatal(err)
	}
	got := decoded[restored](m, "store", "restore", "copy.db")
	if left, err := os.ReadFile(got.Kept + "-wal"); err != nil || len(left) != len(log) {
		t.Errorf("of the log %d bytes are kept, %v", len(left), err)
	}
	if db, err = sql.Open("sqlite", "file:"+m.storeFile()); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var stray int
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM store_meta WHERE name = 'stray'").Scan(&stray); err != nil || stray != 0 {
		t.Errorf("what the copy never had is there %d times, %v", stray, err)
	}
	p = m.serve()
	if got := p.status("/rooms", "X-API-Key", made.APIKey); got != 200 {
		t.Errorf("a key of the copy is answered %d", got)
	}
	p.stop(syscall.SIGTERM)
}

func ownerOf(t *testing.T, path string) uint32 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Uid
}

func TestARestoreThatCannotBeMadeTouchesNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := m.serve()
	made := decoded[madeTenant](m, "tenant", "create", "acme")
	p.stop(syscall.SIGTERM)
	notes, empty := filepath.Join(m.dir, "notes.txt"), filepath.Join(m.dir, "empty.db")
	if err := os.WriteFile(notes, []byte(strings.Repeat("no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := beside(t, filepath.Dir(m.storeFile()))
	refuses(t, m, "no such file or directory", "store", "restore", "nothing.db")
	refuses(t, m, "not a database", "store", "restore", notes)
	refuses(t, m, "this is no store", "store", "restore", empty)
	if after := beside(t, filepath.Dir(m.storeFile())); len(after) != len(before) {
		t.Errorf("left %v, before there were %v", after, before)
	}
	p = m.serve()
	if got := p.status("/rooms", "X-API-Key", made.APIKey); got != 200 {
		t.Errorf("a key of the store is answered %d", got)
	}
	p.stop(syscall.SIGTERM)
	refuses(t, newMachine(t, "DATABASE_DSN=postgres://127.0.0.1/chatapi", "SECRETS_KEY="+strings.Repeat("0a", 32)), "new-epoch", "store", "restore", notes)
}

// TestANewEpochIsOnlyForAStoreThatNobodyServes, and changes nothing else.
func TestANewEpochIsOnlyForAStoreThatNobodyServes(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	refuses(t, m, "no store at "+m.storeFile(), "store", "new-epoch")
	p := m.serve()
	m.must("tenant", "create", "acme")
	refuses(t, m, "has the store open: stop it first", "store", "new-epoch")
	p.stop(syscall.SIGTERM)
	type renewed struct {
		Epoch string `json:"epoch"`
	}
	first, second := decoded[renewed](m, "store", "new-epoch"), decoded[renewed](m, "store", "new-epoch")
	if len(first.Epoch) != 32 || first == second {
		t.Errorf("two new epochs are %+v and %+v", first, second)
	}
	if listed := decoded[[]madeTenant](m, "tenant", "list"); len(listed) != 1 {
		t.Errorf("got %+v, want the tenant that was there", listed)
	}
	empty := newMachine(t, "DATABASE_DSN=file:empty.db")
	if err := os.WriteFile(filepath.Join(empty.dir, "empty.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, empty, "this is no store", "store", "new-epoch")
	if info, err := os.Stat(filepath.Join(empty.dir, "empty.db")); err != nil || info.Size() != 0 {
		t.Errorf("what is no store has become %v, %v", info, err)
	}
}
