package sqlite_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// BenchmarkChangeMessage edits, or deletes, messages of 200 bytes in 32 rooms, 64 at a time.
func BenchmarkChangeMessage(b *testing.B) {
	for _, kind := range []string{"edit", "delete"} {
		b.Run(kind, func(b *testing.B) { benchmarkChange(b, kind == "delete") })
	}
}

func benchmarkChange(b *testing.B, deleting bool) {
	const senders = 64
	s := withTenant(b)
	rooms := make([]domain.Room, 32)
	for i := range rooms {
		rooms[i] = makeRoom(b, s, "alice", "bob")
	}
	stored := make([]domain.Message, b.N)
	inParallel(b, senders, b.N, func(i int) error {
		m := send("alice", content)
		out, err := s.Append(context.Background(), tenant, domain.Intent{Room: rooms[i%32].ID, Sender: "alice"}, m.Decide)
		stored[i] = out.Message
		return err
	})
	b.ReportAllocs()
	b.ResetTimer()
	started, before := time.Now(), cpu()
	inParallel(b, senders, b.N, func(i int) error {
		m := stored[i]
		m.Content, m.EditedAt = "edited "+content[:100], now
		return s.Update(context.Background(), tenant, func(tx ports.Tx) (err error) {
			if deleting {
				_, err = tx.DeleteMessage(m.Tombstone(now))
				return err
			}
			_, err = tx.EditMessage(m)
			return err
		})
	})
	b.StopTimer()
	reportPer(b, started, before, "msg")
}

// inParallel runs fn for 0 to n-1, so many at a time.
func inParallel(b *testing.B, workers, n int, fn func(i int) error) {
	b.Helper()
	var next atomic.Int64
	done := make(chan error, workers)
	for range workers {
		go func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(n) {
					done <- nil
					return
				}
				if err := fn(int(i)); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for range workers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRoomList lists 50 rooms of a user with so many unread messages each.
func BenchmarkRoomList(b *testing.B) {
	for _, unread := range []int64{0, 20, 10_000} {
		b.Run(fmt.Sprintf("unread=%d", unread), func(b *testing.B) {
			s := withUnread(b, 50, unread)
			b.ReportAllocs()
			b.ResetTimer()
			started, before := time.Now(), cpu()
			for range b.N {
				list, err := ports.View(b.Context(), s, tenant, func(r ports.Reader) ([]domain.RoomSummary, error) {
					return r.Rooms(domain.RoomQuery{User: "bob", Limit: 51})
				})
				if err != nil || len(list) != 50 {
					b.Fatalf("%d rooms, %v", len(list), err)
				}
			}
			b.StopTimer()
			reportPer(b, started, before, "list")
		})
	}
}

// withUnread opens a store with so many rooms, in each of which alice has sent so many messages and one that bob has read.
func withUnread(b *testing.B, rooms int, unread int64) *sqlite.Store {
	b.Helper()
	s := withTenant(b)
	for range rooms {
		makeRoom(b, s, "alice", "bob")
	}
	err := s.OnWriter(b.Context(), func(exec func(string) error) error {
		if err := exec(fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <= %d)
			INSERT INTO messages (pos, id, sender, sender_type, first_rev, body, created)
			SELECT r.number << 36 | i, CAST(printf('%%04d%%012d', r.number, i) AS BLOB), 1, 1, 1 + i, x'%x', 1772366400000 + i
			FROM rooms r, n`, unread, domain.EncodeBody(nil, content, nil))); err != nil {
			return err
		}
		if err := exec("UPDATE members SET read_seq = 1"); err != nil {
			return err
		}
		return exec(fmt.Sprintf("UPDATE rooms SET last_seq = %d, last_rev = %d", unread+1, unread+2))
	})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkAppendBesidePurge measures how long a send of another tenant waits: alone, and while a room of 100,000
// messages is purged with a pause of 10 ms between its steps. It goes on as long as the purge does.
func BenchmarkAppendBesidePurge(b *testing.B) {
	for _, purging := range []bool{false, true} {
		b.Run(fmt.Sprintf("purging=%v", purging), func(b *testing.B) { benchmarkBesidePurge(b, purging) })
	}
}

func benchmarkBesidePurge(b *testing.B, purging bool) {
	for range b.N {
		b.StopTimer()
		s, room := withHistory(b, 100_000)
		if err := s.CreateTenant(b.Context(), domain.Tenant{ID: "tenant_b", Name: "B", CreatedAt: now}); err != nil {
			b.Fatal(err)
		}
		removed := makeRoomOf(b, s, "tenant_b")
		if purging {
			err := s.Update(b.Context(), tenant, func(tx ports.Tx) error { return tx.RemoveRoom(room, now) })
			if err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		waits, steps := sendBeside(b, s, removed, purging)
		slices.Sort(waits)
		b.ReportMetric(waits[len(waits)/2].Seconds()*1000, "p50-ms")
		b.ReportMetric(waits[len(waits)*99/100].Seconds()*1000, "p99-ms")
		b.ReportMetric(waits[len(waits)-1].Seconds()*1000, "max-ms")
		b.ReportMetric(float64(len(waits)), "sends")
		slices.Sort(steps)
		if len(steps) > 0 {
			b.ReportMetric(steps[len(steps)/2].Seconds()*1000, "step-p50-ms")
			b.ReportMetric(float64(len(steps)), "steps")
		}
	}
}

func makeRoomOf(b *testing.B, s *sqlite.Store, of domain.TenantID) domain.RoomID {
	b.Helper()
	room := domain.Room{ID: domain.RoomID(uuid()), Type: domain.RoomGroup, FirstSeq: 1, CreatedAt: now}
	err := s.Update(b.Context(), of, func(tx ports.Tx) error {
		_, err := tx.CreateRoom(room, []domain.Member{{User: "alice", State: domain.Active, JoinedAt: now}})
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return room.ID
}

// sendBeside sends one message after another, a millisecond apart, until the purge has ended, or 2,000.
func sendBeside(b *testing.B, s *sqlite.Store, room domain.RoomID, purging bool) (waits, steps []time.Duration) {
	ended := make(chan error, 1)
	go func() {
		for more := purging; more; {
			started := time.Now()
			var err error
			if more, err = s.Purge(b.Context()); err != nil {
				ended <- err
				return
			}
			steps = append(steps, time.Since(started))
			time.Sleep(10 * time.Millisecond)
		}
		if purging {
			close(ended)
		}
	}()
	for len(waits) < 2000 || purging {
		select {
		case err := <-ended:
			if err != nil {
				b.Fatal(err)
			}
			return waits, steps
		case <-time.After(time.Millisecond):
		}
		m := send("alice", content)
		started := time.Now()
		if _, err := s.Append(b.Context(), "tenant_b", domain.Intent{Room: room, Sender: "alice"}, m.Decide); err != nil {
			b.Fatal(err)
		}
		waits = append(waits, time.Since(started))
	}
	return waits, nil
}
