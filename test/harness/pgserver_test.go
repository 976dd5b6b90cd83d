package harness

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestAPostgresThatCrashesComesBackWithWhatWasCommitted(t *testing.T) {
	t.Parallel()
	p := Must(LaunchPG(true))(t)
	t.Cleanup(func() { Check(t, p.Close()) })
	database := Must(p.NewDatabase())(t)
	open := func() *pgx.Conn {
		c := Must(pgx.Connect(t.Context(), p.URL(database)))(t)
		t.Cleanup(func() { _ = c.Close(t.Context()) }) // the server may be gone
		return c
	}
	first := open()
	Must(first.Exec(t.Context(), "CREATE TABLE kept (n int)"))(t)
	Must(first.Exec(t.Context(), "INSERT INTO kept VALUES (1)"))(t)
	tx := Must(first.Begin(t.Context()))(t)
	Must(tx.Exec(t.Context(), "INSERT INTO kept VALUES (2)"))(t)
	Check(t, p.Stop())
	if err := tx.Commit(t.Context()); err == nil {
		t.Error("a commit succeeds on a server that is gone")
	}
	Check(t, p.Start())
	var kept int
	Check(t, open().QueryRow(t.Context(), "SELECT sum(n) FROM kept").Scan(&kept))
	if kept != 1 {
		t.Errorf("kept: %d, want what was committed", kept)
	}
	var fsync, super string
	Check(t, open().QueryRow(t.Context(), "SELECT current_setting('fsync'), current_setting('is_superuser')").Scan(&fsync, &super))
	if fsync != "on" || super != "off" {
		t.Errorf("fsync is %s and the role is a superuser: %s", fsync, super)
	}
	Check(t, p.Drop(database))
	if _, err := pgx.Connect(t.Context(), p.URL(database)); err == nil {
		t.Error("a database that was dropped is there")
	}
}
