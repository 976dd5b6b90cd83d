package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/migrations"
	"github.com/chatapi/chatapi/ports"
)

// spine fills a database as the first release made it: alice and bob in a room of three messages that carol has left,
// alice made its admin after that.
const spine = `
	INSERT INTO tenants (number, id, name, config, created) VALUES (1, 'tenant_a', 'A', '{}', 1);
	INSERT INTO users (number, tenant, id, user_rev) VALUES (1, 1, 'alice', 1), (2, 1, 'bob', 1), (3, 1, 'carol', 2);
	INSERT INTO rooms (number, id, tenant, type, first_seq, last_seq, last_rev, changes, active, created)
		VALUES (7, x'00000000000070008000000000000007', 1, 'group', 1, 3, 6, 3, 10, 1), (8, x'00000000000070008000000000000008', 1, 'group', 1, 0, 1, 1, 1, 1);
	INSERT INTO members (room, user, role, state, joined_at, place, joined_seq, joined_rev, left_seq, left_rev, user_rev)
		VALUES (7, 1, 'admin', 1, 1, 0, 0, 0, 0, 0, 1), (7, 2, 'member', 1, 1, 1, 0, 0, 0, 0, 1), (7, 3, 'member', 2, 1, 2, 0, 0, 3, 5, 2);
	INSERT INTO messages (pos, id, sender, sender_type, first_rev, body, created)
		VALUES (7 << 36 | 1, x'0000000000007000800000000000000a', 1, 1, 2, x'01000178', 5),
			(7 << 36 | 2, x'0000000000007000800000000000000b', 1, 1, 3, x'01000178', 6),
			(7 << 36 | 3, x'0000000000007000800000000000000c', 1, 1, 4, x'01000178', 7);
	INSERT INTO room_changes (room, rev, n, seq_then, kind, target, at) VALUES (7, 1, 1, 0, 1, NULL, 1), (7, 5, 2, 3, 5, 3, 8), (7, 6, 3, 3, 6, 1, 9);
	INSERT INTO devices (user, device, seen, user_rev) VALUES (2, 'phone', 9, 1), (2, 'laptop', 9, 1);
	INSERT INTO marks (user, room, device, delivered_seq, delivered_rev, read_seq)
		VALUES (2, 7, 'phone', 3, 4, 1), (2, 7, 'laptop', 1, 2, 2), (3, 7, '', 3, 4, 3);`

// migrateTo takes the database of path to a version of the schema, up or down.
func migrateTo(t *testing.T, path string, version int64, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, migrations.SQLite(), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	_, errUp := provider.UpTo(t.Context(), max(version, 1))
	_, errDown := provider.DownTo(t.Context(), version)
	if err := firstError(errUp, errDown); err != nil {
		t.Fatal(err)
	}
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDatabaseOfTheFirstReleaseMigratesWithItsData(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "chat.db")
	migrateTo(t, path, 1, spine)
	for range 2 { // up, and once more after having gone down
		s := openStore(t, sqlite.Config{DSN: path})
		err := s.View(t.Context(), tenant, func(r ports.Reader) error {
			checkMigrated(t, r)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		migrateTo(t, path, 1)
	}
	migrateTo(t, path, 1, "UPDATE marks SET read_seq = read_seq", // the schema is the first one's again
		"INSERT INTO rooms (id, tenant, type, first_seq, last_seq, last_rev, changes, active, created) VALUES (x'01', 1, 'dm', 1, 0, 0, 0, 1, 1)")
	migrateTo(t, path, 0)
}

func checkMigrated(t *testing.T, r ports.Reader) {
	t.Helper()
	room, empty := domain.RoomID{6: 0x70, 8: 0x80, 15: 7}, domain.RoomID{6: 0x70, 8: 0x80, 15: 8}
	full, carol, err := r.Access(room, "carol")
	bare, _, err2 := r.Access(empty, "")
	places, err3 := r.Places("bob", "phone")
	laptop, err4 := r.Places("bob", "laptop")
	list, err5 := r.Rooms(domain.RoomQuery{User: "bob", Limit: 10})
	latest, err6 := r.Events(ports.EventQuery{Room: room, After: 4, Latest: true, Limit: 10})
	if err := firstError(err, err2, err3, err4, err5, err6); err != nil {
		t.Fatal(err)
	}
	if len(latest) != 2 || latest[0].Kind != domain.EventMemberRemoved || latest[1].Kind != domain.EventMemberUpdated {
		t.Errorf("the latest changes are %+v, want carol's leaving and alice's role", latest)
	}
	if full.Members != 2 || bare.Members != 0 || places.Rooms[0].Members != 2 {
		t.Errorf("%d, %d and %d members, want 2, 0 and 2", full.Members, bare.Members, places.Rooms[0].Members)
	}
	if carol.ReadSeq != 3 || carol.State != domain.Left || places.Rooms[0].Member.ReadSeq != 2 {
		t.Errorf("carol %+v, bob %+v: want read marks of 3 and 2", carol, places.Rooms[0].Member)
	}
	phone, want := places.Rooms[0].Mark, domain.Mark{DeliveredSeq: 3, DeliveredRev: 4}
	if other := laptop.Rooms[0].Mark; phone != want || other != (domain.Mark{DeliveredSeq: 1, DeliveredRev: 2}) {
		t.Errorf("marks %+v and %+v are not what they were", phone, other)
	}
	if len(list) != 1 || list[0].Unread != 1 || list[0].LastAck != 3 || list[0].LastMessage.Content != "x" {
		t.Errorf("the list is %+v", list)
	}
	if bob, err := r.User("bob"); err != nil || !bob.LastSeen.IsZero() {
		t.Errorf("bob is %+v, %v", bob, err)
	}
}
