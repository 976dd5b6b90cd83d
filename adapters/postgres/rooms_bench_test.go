package postgres_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// filled opens a store of one tenant over rows that SQL has made.
func filled(b *testing.B, fill ...string) *nodes {
	b.Helper()
	of := &nodes{TB: b, clock: &passing{}, tenant: "tenant_bench"}
	dsn := newDatabase(b)
	cfg := postgres.Config{DSN: dsn, Clock: of.clock, Elapsed: of.clock.Elapsed}
	of.stores = append(of.stores, openStore(b, cfg))
	of.addTenant(of.tenant)
	db, err := pgx.Connect(b.Context(), dsn)
	if err != nil {
		b.Fatal(err)
	}
	for _, query := range slices.Concat([]string{"SET ROLE chatapi_operator"}, fill, []string{"RESET ROLE", "ANALYZE"}) {
		if _, err := db.Exec(b.Context(), query); err != nil {
			b.Fatalf("%s: %v", query, err)
		}
	}
	if err := db.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	return of
}

// Rows that stand for rooms of some users, of whom ann and bob are in each, and for messages of bob's, one room after the
// other within each round, as they come in a busy tenant.
const (
	someUsers = `INSERT INTO users (tenant, id) SELECT t.number, CASE i WHEN 1 THEN 'ann' WHEN 2 THEN 'bob' ELSE 'user ' || i END
		FROM tenants t, generate_series(1, 1000) i`
	roomsWith = `INSERT INTO rooms (id, tenant, type, first_seq, last_seq, last_rev, changes, active, created, members)
		SELECT gen_random_uuid(), t.number, 'group', 1, %[2]d, %[2]d + 1, 1, i * 7919 %% 100003, i, 2
		FROM tenants t, generate_series(1, %[1]d) i`
	bothIn = `INSERT INTO members (tenant, room, user_no, role, state, joined_at, place, joined_seq, joined_rev, user_rev)
		SELECT r.tenant, r.number, u.number, 'member', 1, 1, u.number, 0, 0, 1 FROM rooms r, users u WHERE u.id IN ('ann', 'bob')`
	messagesIn = `INSERT INTO messages (tenant, room, seq, id, sender, sender_type, first_rev, body, created)
		SELECT r.tenant, r.number, s, gen_random_uuid(), u.number, 1, s + 1, %[2]s, s
		FROM generate_series(1, %[1]d) s, rooms r, users u WHERE u.id = 'bob' ORDER BY s`
)

func roomsOf(rooms, messages int) []string {
	body := fmt.Sprintf(`'\x%x'::bytea`, domain.EncodeBody(nil, strings.Repeat("text ", 20), nil))
	return []string{
		someUsers, fmt.Sprintf(roomsWith, rooms, messages), bothIn, fmt.Sprintf(messagesIn, messages, body),
	}
}

// BenchmarkRoomList lists 50 rooms with 1,000 unread messages each: counted for the first time, and again.
func BenchmarkRoomList(b *testing.B) {
	of := filled(b, roomsOf(200, 1000)...)
	for _, first := range []bool{true, false} {
		b.Run(fmt.Sprintf("first=%v", first), func(b *testing.B) {
			for range b.N {
				if first {
					postgres.ForgetCounts(of.stores[0])
				}
				of.view(0, func(r ports.Reader) error {
					list, err := r.Rooms(domain.RoomQuery{User: "ann", Limit: 50})
					if err == nil && (len(list) != 50 || list[49].Unread != 1000) {
						b.Fatalf("%d rooms", len(list))
					}
					return err
				})
			}
		})
	}
}

// BenchmarkHistoryPage reads 50 messages amid a room.
func BenchmarkHistoryPage(b *testing.B) {
	for _, messages := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("messages=%d", messages), func(b *testing.B) {
			of := filled(b, roomsOf(1, messages)...)
			room := of.positions("ann", "").Rooms[0].Room
			b.ResetTimer()
			for i := range b.N {
				of.view(0, func(r ports.Reader) error {
					page, err := r.MessagesBefore(room, int64(100+i*7919%(messages-100)), 50)
					if err == nil && len(page) != 50 {
						b.Fatalf("%d messages", len(page))
					}
					return err
				})
			}
		})
	}
}

// BenchmarkPlaces finds where a device stands in 100 rooms.
func BenchmarkPlaces(b *testing.B) {
	of := filled(b, append(roomsOf(100, 10),
		"INSERT INTO devices SELECT tenant, number, 'phone', 1, 1 FROM users WHERE id = 'ann'",
		"INSERT INTO marks SELECT u.tenant, u.number, r.number, 'phone', 5, 6 FROM rooms r, users u WHERE u.id = 'ann'")...)
	b.ResetTimer()
	for range b.N {
		if places := of.positions("ann", "phone"); len(places.Rooms) != 100 {
			b.Fatalf("%d rooms", len(places.Rooms))
		}
	}
}

// BenchmarkRaiseMark raises the marks of one device, so many in one unit of work.
func BenchmarkRaiseMark(b *testing.B) {
	for _, together := range []int{1, 100} {
		b.Run(fmt.Sprintf("together=%d", together), func(b *testing.B) {
			of := filled(b, roomsOf(100, 10)...)
			places := of.positions("ann", "phone").Rooms
			of.update(0, func(tx ports.Tx) error { return tx.SeeDevice("ann", "phone", 0, of.clock.Now()) })
			b.ResetTimer()
			for i := range b.N {
				of.update(0, func(tx ports.Tx) error {
					for j := range together {
						mark := domain.Mark{DeliveredSeq: 1, DeliveredRev: int64(i*together + j)}
						if _, err := tx.RaiseMark(places[(i+j)%100].Room, "ann", "phone", mark); err != nil {
							return err
						}
					}
					return nil
				})
			}
		})
	}
}
