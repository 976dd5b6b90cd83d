package sqlite_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// withRooms opens a store in which each of the users is alone in so many rooms with 4 KiB of metadata. The first user is
// number 1.
func withRooms(tb testing.TB, rooms int, users ...domain.UserID) *sqlite.Store {
	tb.Helper()
	s := withTenant(tb)
	err := s.Update(tb.Context(), tenant, func(tx ports.Tx) error {
		for _, u := range users {
			if err := tx.PutUser(domain.User{ID: u}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	err = s.OnWriter(tb.Context(), func(exec func(string) error) error {
		if err := exec(fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			INSERT INTO rooms (id, tenant, type, first_seq, last_seq, last_rev, changes, active, created, metadata, members)
			SELECT CAST(printf('%%08d%%08d', u.number, i) AS BLOB), 1, 'group', 1, 0, 1, 1, i * 7919 %% 100003, i, CAST('{"k":"%s"}' AS BLOB), 1
			FROM users u, n`, rooms, strings.Repeat("v", 4096))); err != nil {
			return err
		}
		return exec(`INSERT INTO members (room, user, role, state, joined_at, place, joined_seq, joined_rev, user_rev)
			SELECT r.number, CAST(substr(r.id, 1, 8) AS INTEGER), 'member', 1, 1, 0, 0, 0, 1 FROM rooms r`)
	})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// BenchmarkRoomListOfMany lists the first 50 of a user's many rooms.
func BenchmarkRoomListOfMany(b *testing.B) {
	for _, rooms := range []int{1_000, 10_000} {
		b.Run(fmt.Sprintf("rooms=%d", rooms), func(b *testing.B) {
			s := withRooms(b, rooms, "alice")
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				list, err := ports.View(b.Context(), s, tenant, func(r ports.Reader) ([]domain.RoomSummary, error) {
					return r.Rooms(domain.RoomQuery{User: "alice", Limit: 51})
				})
				if err != nil || len(list) != 51 {
					b.Fatalf("%d rooms, %v", len(list), err)
				}
			}
		})
	}
}

// BenchmarkMembersPage lists 50 members of a room at a far offset.
func BenchmarkMembersPage(b *testing.B) {
	const members = 10_000
	s := withTenant(b)
	room := makeRoom(b, s, "alice")
	err := s.OnWriter(b.Context(), func(exec func(string) error) error {
		if err := exec(fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			INSERT INTO users (tenant, id) SELECT 1, printf('user %%06d', i) FROM n`, members)); err != nil {
			return err
		}
		return exec(`INSERT INTO members (room, user, role, state, joined_at, place, joined_seq, joined_rev, user_rev)
			SELECT r.number, u.number, 'member', 1, 1, u.number, 0, 0, 1 FROM rooms r, users u WHERE u.id LIKE 'user %'`)
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		list, err := ports.View(b.Context(), s, tenant, func(r ports.Reader) ([]domain.Member, error) {
			return r.Members(room.ID, members-100, 51)
		})
		if err != nil || len(list) != 51 {
			b.Fatalf("%d members, %v", len(list), err)
		}
	}
}

func mates(tb testing.TB, s *sqlite.Store, user domain.UserID, others ...domain.UserID) []domain.User {
	tb.Helper()
	found, err := ports.View(tb.Context(), s, tenant, func(r ports.Reader) ([]domain.User, error) {
		return r.RoomMates(user, others)
	})
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// BenchmarkRoomMates asks for 100 users, each of whom is in so many rooms, as the caller is, and in none with the caller.
func BenchmarkRoomMates(b *testing.B) {
	for _, rooms := range []int{10, 100, 1_000} {
		b.Run(fmt.Sprintf("rooms=%d", rooms), func(b *testing.B) {
			users := []domain.UserID{"alice"}
			for i := range domain.MaxPresenceUsers {
				users = append(users, domain.UserID(fmt.Sprint("user ", i)))
			}
			s := withRooms(b, rooms, users...)
			b.ResetTimer()
			for range b.N {
				if found := mates(b, s, "alice", users[1:]...); len(found) != 0 {
					b.Fatalf("%d mates", len(found))
				}
			}
		})
	}
}

// BenchmarkUnreadBesideDeletions lists a room in which bob has sent 50,000 messages of his own, one of them deleted
// before each list.
func BenchmarkUnreadBesideDeletions(b *testing.B) {
	const own = 50_000
	cfg := sqlite.Config{DSN: filepath.Join(b.TempDir(), "chat.db")}
	s := openStore(b, cfg)
	makeTenant(b, s)
	room := makeRoom(b, s, "alice", "bob")
	err := s.OnWriter(b.Context(), func(exec func(string) error) error {
		if err := exec(fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			INSERT INTO messages (pos, id, sender, sender_type, first_rev, body, created)
			SELECT (SELECT number FROM rooms) << 36 | i, CAST(printf('%%016d', i) AS BLOB), 2, 1, 1 + i, x'%x', 1772366400000 + i
			FROM n`, own, domain.EncodeBody(nil, content, nil))); err != nil {
			return err
		}
		return exec(fmt.Sprintf("UPDATE rooms SET last_seq = %d, last_rev = %d", own, own+1))
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Close(); err != nil { // what the writer remembers of the room is not so any more
		b.Fatal(err)
	}
	s = openStore(b, cfg)
	b.ResetTimer()
	for i := range b.N {
		b.StopTimer()
		id := domain.MessageID(fmt.Appendf(nil, "%016d", i%own+1))
		err := s.Update(b.Context(), tenant, func(tx ports.Tx) error {
			_, err := tx.DeleteMessage(domain.Message{ID: id, Room: room.ID, DeletedAt: now})
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		list, err := ports.View(b.Context(), s, tenant, func(r ports.Reader) ([]domain.RoomSummary, error) {
			return r.Rooms(domain.RoomQuery{User: "bob", Limit: 51})
		})
		if err != nil || len(list) != 1 || list[0].Unread != 0 {
			b.Fatalf("%v, %v", list, err)
		}
	}
}

// BenchmarkLatestOfManyChanges reads a step of the log of a room in which one message was edited, or one member's role
// changed, 20,000 times.
func BenchmarkLatestOfManyChanges(b *testing.B) {
	const changes = 20_000
	for _, kind := range []string{"edits", "roles"} {
		s := withTenant(b)
		room := makeRoom(b, s, "alice", "bob")
		appendTo(b, s, room.ID, send("alice", content))
		number, target := 7, 1
		if kind == "roles" {
			number = 6
		}
		err := s.OnWriter(b.Context(), func(exec func(string) error) error {
			for _, query := range []string{
				fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
					INSERT INTO room_changes SELECT (SELECT number FROM rooms), 2 + i, 1 + i, 1, %d, %d, 1772366401000 FROM n`,
					changes, number, target),
				fmt.Sprintf("UPDATE rooms SET last_rev = %d", changes+2),
				fmt.Sprintf("UPDATE messages SET rev = %d WHERE 7 = %d", changes+2, number),
				fmt.Sprintf("UPDATE members SET rev = %d WHERE user = %d", changes+2, target),
			} {
				if err := exec(query); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(kind, func(b *testing.B) {
			for range b.N {
				events, err := ports.View(b.Context(), s, tenant, func(r ports.Reader) ([]domain.Event, error) {
					return r.Events(ports.EventQuery{Room: room.ID, After: 2, Latest: true, Limit: 256})
				})
				if err != nil || len(events) != 1 {
					b.Fatalf("%d events, %v", len(events), err)
				}
			}
		})
	}
}

// BenchmarkPurge takes steps of the purge of a room of texts of so many bytes.
func BenchmarkPurge(b *testing.B) {
	for _, size := range []int{200, 15_000} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) { benchmarkPurge(b, size) })
	}
}

func benchmarkPurge(b *testing.B, size int) {
	s := withTenant(b)
	room := makeRoom(b, s, "alice", "bob")
	err := s.OnWriter(b.Context(), func(exec func(string) error) error {
		return exec(fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			INSERT INTO messages (pos, id, sender, sender_type, first_rev, body, created)
			SELECT (SELECT number FROM rooms) << 36 | i, CAST(printf('%%016d', i) AS BLOB), 2, 1, 1 + i, zeroblob(%d), 1772366400000 + i
			FROM n`, b.N*480, size))
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Update(b.Context(), tenant, func(tx ports.Tx) error { return tx.RemoveRoom(room.ID, now) }); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		if _, err := s.Purge(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
