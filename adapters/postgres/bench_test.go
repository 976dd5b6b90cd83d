package postgres_test

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/test/harness"
)

// durableStore opens a store on a server of its own that syncs, with a tenant.
func durableStore(b *testing.B) *postgres.Store {
	b.Helper()
	own, err := harness.LaunchPG(true)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { harness.Check(b, own.Close()) })
	name, err := own.NewDatabase()
	if err != nil {
		b.Fatal(err)
	}
	s, err := postgres.Open(b.Context(), postgres.Config{DSN: own.URL(name), Alone: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { harness.Check(b, s.Close()) })
	makeTenant(b, s, tenant)
	return s
}

// BenchmarkAppend stores messages by so many senders at once into so many rooms, all with fsync.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ senders, rooms int }{{1, 1}, {64, 1}, {512, 1}, {64, 1000}, {512, 1000}} {
		b.Run(fmt.Sprintf("senders=%d/rooms=%d", c.senders, c.rooms), func(b *testing.B) { benchAppend(b, c.senders, c.rooms) })
	}
}

func benchAppend(b *testing.B, senders, count int) {
	s := durableStore(b)
	rooms := make([]domain.RoomID, count)
	for i := range rooms {
		rooms[i] = makeRoom(b, s, tenant, "ann").ID
	}
	took := hdrhistogram.New(1, time.Minute.Microseconds(), 3)
	var mu sync.Mutex
	var next atomic.Int64
	before := s.Stats()
	b.ResetTimer()
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			own := hdrhistogram.New(1, time.Minute.Microseconds(), 3)
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					break
				}
				send := newSend("ann", "a message of some forty characters, as usual")
				send.Draft.ClientID = send.ID.String()
				send.Fingerprint = send.Draft.Fingerprint()
				started := time.Now()
				if _, err := appendTo(b, s, tenant, rooms[i%int64(count)], send); err != nil {
					b.Error(err)
					return
				}
				_ = own.RecordValue(time.Since(started).Microseconds())
			}
			mu.Lock()
			defer mu.Unlock()
			took.Merge(own)
		})
	}
	all.Wait()
	b.StopTimer()
	after := s.Stats()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64(took.ValueAtQuantile(50))/1000, "p50-ms")
	b.ReportMetric(float64(took.ValueAtQuantile(99))/1000, "p99-ms")
	b.ReportMetric(float64(after.Appends-before.Appends)/float64(after.Batches-before.Batches), "msg/batch")
}

// BenchmarkPage reads 50 messages in the middle of a room of 10,000.
func BenchmarkPage(b *testing.B) {
	s := durableStore(b)
	room := makeRoom(b, s, tenant, "ann")
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			for range 100 {
				if _, err := appendTo(b, s, tenant, room.ID, newSend("ann", "a message of some forty characters, as usual")); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	for _, readers := range []int{1, 16} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			var next atomic.Int64
			var all sync.WaitGroup
			for range readers {
				all.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						page, err := ports.View(b.Context(), s, tenant, func(r ports.Reader) ([]domain.Message, error) {
							if _, _, err := r.Access(room.ID, "ann"); err != nil {
								return nil, err
							}
							return r.MessagesAfter(room.ID, i*37%9000, 50)
						})
						if err != nil || len(page) != 50 {
							b.Errorf("%d messages, %v", len(page), err)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pages/s")
		})
	}
}

// BenchmarkUpdate raises marks, as acknowledgements do, each in a transaction of its own.
func BenchmarkUpdate(b *testing.B) {
	s := durableStore(b)
	room := makeRoom(b, s, tenant, "ann")
	mustAppend(b, s, tenant, room.ID, "x")
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			var next atomic.Int64
			var all sync.WaitGroup
			for w := range writers {
				all.Go(func() {
					user := domain.UserID(fmt.Sprint("user ", w))
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						err := s.Update(b.Context(), tenant, func(tx ports.Tx) error {
							return tx.PutUser(domain.User{ID: user})
						})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}
