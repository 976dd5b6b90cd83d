package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// waitingJobs are jobs of the lane of webhooks, by so many tenants of which the newest has most, due after a wait: the
// time of a new store begins as the server's.
func waitingJobs(tenants, jobs int, wait time.Duration) []string {
	due := time.Now().Add(wait).UnixMilli()
	return []string{
		fmt.Sprintf("INSERT INTO tenants (id, name, config, created) SELECT 't' || i, 't', '{}', i FROM generate_series(2, %d) i", tenants),
		fmt.Sprintf(`INSERT INTO outbox (tenant, id, event, lane, room, message, created, due, ready, step, after, through, attempts, last_error, once)
			SELECT (SELECT max(number) FROM tenants) - CASE WHEN i < %[1]d THEN i ELSE 0 END, gen_random_uuid(), gen_random_uuid(), 'webhook', gen_random_uuid(),
			gen_random_uuid(), %[3]d, %[3]d, %[3]d, 0, '', '', 0, '', 0 FROM generate_series(1, %[2]d) i`, tenants, jobs, due),
	}
}

// BenchmarkClaimOfNothing is what a worker asks after every message: jobs wait, and none is due.
func BenchmarkClaimOfNothing(b *testing.B) {
	for _, c := range []struct{ tenants, jobs int }{{1, 10_000}, {100, 10_000}, {5000, 10_000}} {
		b.Run(fmt.Sprintf("tenants=%d/jobs=%d", c.tenants, c.jobs), func(b *testing.B) {
			s := filled(b, waitingJobs(c.tenants, c.jobs, time.Hour)...).stores[0]
			commits := s.Stats().Commits
			for b.Loop() {
				if claims, next, err := s.Claim(b.Context(), claimsOf(8, 8)); err != nil || len(claims) > 0 || next == 0 {
					b.Fatalf("%d claims, %v, %v", len(claims), next, err)
				}
			}
			if s.Stats().Commits != commits {
				b.Error("a claim of nothing has opened a transaction")
			}
		})
	}
}

// BenchmarkOutboxStats is what a scrape asks, without what is told again for a while.
func BenchmarkOutboxStats(b *testing.B) {
	for _, jobs := range []int{10_000, 500_000} {
		b.Run(fmt.Sprintf("jobs=%d", jobs), func(b *testing.B) {
			s := filled(b, waitingJobs(100, jobs, time.Hour)...).stores[0]
			for b.Loop() {
				stats, err := s.CountWaiting(b.Context())
				if err != nil || stats[domain.LaneWebhook].Waiting != int64(jobs) {
					b.Fatalf("%+v, %v", stats, err)
				}
			}
		})
	}
}

// BenchmarkClaimAndSettle claims 8 jobs and settles each on its own, as workers do, with fsync.
func BenchmarkClaimAndSettle(b *testing.B) {
	for _, waiting := range []int{1000, 20_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			s := durableStore(b)
			enqueueMany(b, s, waiting)
			var claimed, settled time.Duration
			for b.Loop() {
				started := time.Now()
				claims, _, err := s.Claim(b.Context(), claimsOf(8, 8))
				if err != nil || len(claims) != 8 {
					b.Fatalf("%d claims, %v", len(claims), err)
				}
				claimed += time.Since(started)
				started = time.Now()
				for i, c := range claims {
					again := []ports.Settlement{{Claim: c, Again: &claims[i].Job}} // so that none is used up
					if lost, err := s.Settle(b.Context(), again); err != nil || len(lost) > 0 {
						b.Fatalf("lost %v, %v", lost, err)
					}
				}
				settled += time.Since(started)
			}
			b.ReportMetric(float64(claimed.Microseconds())/float64(b.N), "µs/claim")
			b.ReportMetric(float64(settled.Microseconds())/float64(8*b.N), "µs/settle")
		})
	}
}

// BenchmarkEnqueue adds a job in a unit of work of its own, with fsync.
func BenchmarkEnqueue(b *testing.B) {
	s := durableStore(b)
	for b.Loop() {
		enqueueMany(b, s, 1)
	}
}

func enqueueMany(b *testing.B, s *postgres.Store, jobs int) {
	b.Helper()
	due := time.Now().Add(-time.Minute)
	err := s.Update(b.Context(), tenant, func(tx ports.Tx) error {
		for range jobs {
			id := domain.JobID(fresh())
			job := domain.Job{ID: id, Event: id, Lane: domain.LaneWebhook, Room: domain.RoomID(fresh()), Due: due, CreatedAt: due}
			if err := tx.Enqueue(job); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkKeepStream keeps a text of 8 KiB of an answer on its way, with fsync.
func BenchmarkKeepStream(b *testing.B) {
	s := durableStore(b)
	bot := domain.BotID(fresh())
	room := makeRoom(b, s, tenant, "ann", bot.User())
	mustAppend(b, s, tenant, room.ID, "hello")
	claims, _, err := s.Claim(b.Context(), runsOf(1))
	if err != nil || len(claims) != 1 {
		b.Fatalf("%d claims, %v", len(claims), err)
	}
	c := claims[0]
	begun := domain.Stream{Message: domain.MessageID(fresh()), Room: c.Room, Bot: c.Bot, ReplyTo: c.Message, Attempt: 1, StartedAt: now}
	text := string(make([]byte, 0, 8<<10))
	for len(text) < 8<<10 {
		text += fmt.Sprint("token ", len(text))
	}
	keep := func(fn func(ports.Tx) (ports.StreamNote, error)) {
		err := s.Update(b.Context(), tenant, func(tx ports.Tx) error {
			_, err := fn(tx)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	keep(func(tx ports.Tx) (ports.StreamNote, error) { return tx.OpenStream(held(c), begun) })
	for b.Loop() {
		keep(func(tx ports.Tx) (ports.StreamNote, error) { return tx.KeepStream(held(c), begun.Message, text) })
	}
}

// BenchmarkClaimOfNothingWhileManyRest is a look at the jobs of tenants whose endpoints all take no calls.
func BenchmarkClaimOfNothingWhileManyRest(b *testing.B) {
	for _, tenants := range []int{10, 1000} {
		b.Run(fmt.Sprintf("tenants=%d", tenants), func(b *testing.B) {
			s := filled(b, waitingJobs(tenants, 10*tenants, -time.Hour)...).stores[0]
			q := claimsOf(8, 8)
			q.Life = domain.JobLife
			resting, err := s.Tenants(b.Context(), 0, tenants)
			if err != nil {
				b.Fatal(err)
			}
			for _, t := range resting {
				q.Except = append(q.Except, t.ID)
			}
			for b.Loop() {
				if claims, next, err := s.Claim(b.Context(), q); err != nil || len(claims) > 0 || next == 0 {
					b.Fatalf("%d claims, %v, %v", len(claims), next, err)
				}
			}
		})
	}
}
