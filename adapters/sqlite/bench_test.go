package sqlite_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	driversqlite "modernc.org/sqlite"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var content = strings.Repeat("0123456789", 20)

// cpu is the processor time that the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reportPer reports rate and CPU per operation since started.
func reportPer(b *testing.B, started time.Time, before time.Duration, unit string) {
	b.ReportMetric(float64(b.N)/time.Since(started).Seconds(), unit+"/s")
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/"+unit)
}

// BenchmarkAppend stores messages of 200 bytes in 32 rooms with 1 to 512 senders, each waiting for its answer.
func BenchmarkAppend(b *testing.B) {
	for _, senders := range []int{1, 16, 64, 512} {
		b.Run(fmt.Sprintf("senders=%d", senders), func(b *testing.B) { benchmarkAppend(b, senders, false, false) })
	}
	b.Run("senders=64/client_id", func(b *testing.B) { benchmarkAppend(b, 64, true, false) })
	b.Run("senders=64/job", func(b *testing.B) { benchmarkAppend(b, 64, false, true) })
}

func benchmarkAppend(b *testing.B, senders int, clientIDs, jobs bool) {
	s := withTenant(b)
	rooms := make([]domain.Room, 32)
	for i := range rooms {
		rooms[i] = makeRoom(b, s, "alice", "bob")
	}
	var next atomic.Int64
	done := make(chan error, senders)
	waits := make([]time.Duration, b.N)
	b.ResetTimer()
	started, before := time.Now(), cpu()
	for range senders {
		go func() {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					done <- nil
					return
				}
				m := send("alice", content)
				m.Webhook = jobs
				if clientIDs {
					m.Draft.ClientID = fmt.Sprintf("client-%d", n)
				}
				in := domain.Intent{Room: rooms[n%32].ID, Sender: "alice", ClientID: m.Draft.ClientID}
				sent := time.Now()
				if _, err := s.Append(context.Background(), tenant, in, m.Decide); err != nil {
					done <- err
					return
				}
				waits[n-1] = time.Since(sent)
			}
		}()
	}
	for range senders {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	reportPer(b, started, before, "msg")
	slices.Sort(waits)
	b.ReportMetric(waits[b.N/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(waits[b.N*99/100].Seconds()*1000, "p99-ms")
	stats := s.Stats()
	b.ReportMetric(float64(stats.Jobs)/float64(stats.Batches), "jobs/batch")
}

// floor is one connection with the schema's messages table alone.
func floor(b *testing.B) (exec func(string, ...driver.NamedValue)) {
	b.Helper()
	c, err := (&driversqlite.Driver{}).Open("file:" + filepath.Join(b.TempDir(), "floor.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	stmts := map[string]driver.StmtExecContext{}
	exec = func(query string, args ...driver.NamedValue) {
		if stmts[query] == nil {
			s, err := c.Prepare(query)
			if err != nil {
				b.Fatal(err)
			}
			stmts[query] = s.(driver.StmtExecContext)
			b.Cleanup(func() { _ = s.Close() })
		}
		if _, err := stmts[query].ExecContext(context.Background(), args); err != nil {
			b.Fatal(err)
		}
	}
	for _, q := range []string{
		"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA cache_size = -16384", "PRAGMA wal_autocheckpoint = 4000",
		"CREATE TABLE messages (pos INTEGER PRIMARY KEY, id BLOB NOT NULL, sender INTEGER, first_rev INTEGER, rev INTEGER, " +
			"body BLOB NOT NULL, created INTEGER) STRICT",
		"CREATE UNIQUE INDEX messages_id ON messages (id)",
	} {
		exec(q)
	}
	return exec
}

// BenchmarkFloorGroupCommit is the least a durable message costs here: the same row in the same table, n at a time,
// and nothing else. n is half of BenchmarkAppend's senders, which is where its batches settle.
func BenchmarkFloorGroupCommit(b *testing.B) {
	for _, n := range []int{1, 8, 32, 256} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			exec := floor(b)
			body := domain.EncodeBody(nil, content, nil)
			seqs := make([]int64, 33)
			b.ResetTimer()
			started, before := time.Now(), cpu()
			for i := 0; i < b.N; i += n {
				exec("BEGIN IMMEDIATE")
				for j := i; j < min(i+n, b.N); j++ {
					room := int64(j%32 + 1)
					seqs[room]++
					id := uuid()
					exec("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)", named(room<<36|seqs[room], id[:], int64(1),
						seqs[room], seqs[room], body, int64(1_772_366_400_000))...)
				}
				exec("COMMIT")
			}
			b.StopTimer()
			reportPer(b, started, before, "msg")
		})
	}
}

func named(values ...driver.Value) []driver.NamedValue {
	out := make([]driver.NamedValue, len(values))
	for i, v := range values {
		out[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return out
}

// BenchmarkHistoryPage reads pages of 50 at random places of a room, as the use case does: a view with the caller's
// access and one page.
func BenchmarkHistoryPage(b *testing.B) {
	for _, messages := range []int64{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("messages=%d", messages), func(b *testing.B) {
			s, room := withHistory(b, messages)
			b.ReportAllocs()
			b.ResetTimer()
			started, before := time.Now(), cpu()
			for range b.N {
				page(b, s, room, rand.Int64N(messages-50))
			}
			b.StopTimer()
			reportPer(b, started, before, "page")
		})
	}
}

func page(b *testing.B, s *sqlite.Store, room domain.RoomID, after int64) {
	found, err := ports.View(b.Context(), s, tenant, func(r ports.Reader) ([]domain.Message, error) {
		if _, _, err := r.Access(room, "alice"); err != nil {
			return nil, err
		}
		return r.MessagesAfter(room, after, 51)
	})
	if err != nil || len(found) < 50 {
		b.Fatalf("%d messages, %v", len(found), err)
	}
}

// withHistory opens a store with one room of n messages, written by SQL in one statement.
func withHistory(b *testing.B, n int64) (*sqlite.Store, domain.RoomID) {
	b.Helper()
	dsn := filepath.Join(b.TempDir(), "chat.db")
	s, err := sqlite.Open(b.Context(), sqlite.Config{DSN: dsn})
	if err != nil {
		b.Fatal(err)
	}
	makeTenant(b, s)
	room := makeRoom(b, s, "alice", "bob")
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+dsn)
	if err != nil {
		b.Fatal(err)
	}
	_, err = db.Exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
		INSERT INTO messages (pos, id, sender, sender_type, first_rev, body, created)
		SELECT (SELECT number FROM rooms) << 36 | i, CAST(printf('%016d', i) AS BLOB), 1 + i % 2, 1, 1 + i, ?2, 1772366400000 + i
		FROM n`, n, domain.EncodeBody(nil, content, nil))
	if err == nil {
		_, err = db.Exec("UPDATE rooms SET last_seq = ?1, last_rev = 1 + ?1", n)
	}
	if err != nil {
		b.Fatal(err)
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	return openStore(b, sqlite.Config{DSN: dsn}), room.ID
}
