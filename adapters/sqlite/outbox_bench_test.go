package sqlite_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// addTenants makes n tenants with so many jobs each, all due.
func addTenants(tb testing.TB, s *sqlite.Store, name string, n, jobs int) (ids []domain.TenantID) {
	tb.Helper()
	for i := range n {
		id := domain.TenantID(fmt.Sprint("tenant_", name, i))
		if err := s.CreateTenant(tb.Context(), domain.Tenant{ID: id, Name: name, CreatedAt: now}); err != nil {
			tb.Fatal(err)
		}
		addJobs(tb, s, id, jobs, now)
		ids = append(ids, id)
	}
	return ids
}

func addJobs(tb testing.TB, s *sqlite.Store, of domain.TenantID, n int, due time.Time) {
	tb.Helper()
	for left := n; left > 0; left -= 10_000 {
		err := s.Update(tb.Context(), of, func(tx ports.Tx) error {
			for range min(left, 10_000) {
				id := domain.JobID(uuid())
				job := domain.Job{ID: id, Event: id, Lane: domain.LaneWebhook, Room: domain.RoomID(uuid()), Due: due, CreatedAt: now}
				if err := tx.Enqueue(job); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkClaimAndSettle is a claim of 8 jobs and their settling, beside 100,000 waiting jobs of one tenant. The other
// tenant's 10 must be in the first claims, whatever waits.
func BenchmarkClaimAndSettle(b *testing.B) {
	for _, waiting := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			s := openStore(b, sqlite.Config{})
			addTenants(b, s, "many", 1, waiting)
			few := addTenants(b, s, "few", 1, 10)[0]
			served, calls := 0, 0
			b.ResetTimer()
			started, before := time.Now(), cpu()
			for b.Loop() {
				claims, _, err := s.Claim(b.Context(), webhooks(8))
				if err != nil || len(claims) != 8 {
					b.Fatalf("%d claims, %v", len(claims), err)
				}
				calls++
				settlements := make([]ports.Settlement, len(claims))
				for i, c := range claims {
					settlements[i] = ports.Settlement{Claim: c, Again: &claims[i].Job} // so that none is used up
					if c.Tenant == few && served < 10 {
						settlements[i].Again = nil
						if served++; served == 10 {
							b.ReportMetric(float64(calls), "calls-until-few")
						}
					}
				}
				if lost, err := s.Settle(b.Context(), settlements); err != nil || len(lost) > 0 {
					b.Fatalf("lost %v, %v", lost, err)
				}
			}
			b.StopTimer()
			reportPer(b, started, before, "claim+settle")
		})
	}
}

// BenchmarkClaimOfNothing is what a worker asks after every message: tenants have jobs, and none is due.
func BenchmarkClaimOfNothing(b *testing.B) {
	for _, tenants := range []int{1, 100, 5000} {
		b.Run(fmt.Sprintf("tenants=%d", tenants), func(b *testing.B) {
			s := openStore(b, sqlite.Config{Clock: &clock{now}})
			for _, id := range addTenants(b, s, "t", tenants, 0) {
				addJobs(b, s, id, 2, now.Add(time.Hour))
			}
			batches := s.Stats().Batches
			for b.Loop() {
				if claims, next, err := s.Claim(b.Context(), webhooks(8)); err != nil || len(claims) > 0 || next == 0 {
					b.Fatalf("%d claims, %v, %v", len(claims), next, err)
				}
			}
			if s.Stats().Batches != batches {
				b.Error("a claim of nothing has kept the writer from its work")
			}
		})
	}
}

// BenchmarkClaimBesideOneThatRests is what workers ask while the endpoint of a tenant with 10,000 jobs takes none: young
// ones are nobody's, and old ones are given up.
func BenchmarkClaimBesideOneThatRests(b *testing.B) {
	const waiting = 10_000
	for _, c := range []struct {
		name    string
		expired int
		others  int // jobs of another tenant
		want    int
	}{{"nothing", 0, 0, 0}, {"another's", 0, 8, 8}, {"8 expired", 8, 0, 8}, {"all expired", waiting, 0, 8}, {"all expired and another's", waiting, 8, 8}} {
		b.Run(c.name, func(b *testing.B) {
			s := openStore(b, sqlite.Config{Clock: &clock{now.Add(domain.JobLife)}})
			resting := addTenants(b, s, "resting", 1, c.expired)[0]
			addAged(b, s, resting, waiting-c.expired)
			addTenants(b, s, "other", 1, c.others)
			q := webhooks(8)
			q.Except, q.Life = []domain.TenantID{resting}, domain.JobLife
			b.ResetTimer()
			started, before := time.Now(), cpu()
			for b.Loop() {
				claims, _, err := s.Claim(b.Context(), q)
				if err != nil || len(claims) != c.want {
					b.Fatalf("%d claims, %v", len(claims), err)
				}
				settlements := make([]ports.Settlement, len(claims))
				for i, claim := range claims {
					settlements[i] = ports.Settlement{Claim: claim, Again: &claims[i].Job} // so that none is used up
				}
				if lost, err := s.Settle(b.Context(), settlements); err != nil || len(lost) > 0 {
					b.Fatalf("lost %v, %v", lost, err)
				}
			}
			b.StopTimer()
			reportPer(b, started, before, "claim+settle")
		})
	}
}

// addAged adds jobs that are young when the clock stands at the end of the others' life.
func addAged(tb testing.TB, s *sqlite.Store, of domain.TenantID, n int) {
	tb.Helper()
	err := s.Update(tb.Context(), of, func(tx ports.Tx) error {
		for range n {
			id := domain.JobID(uuid())
			job := domain.Job{ID: id, Event: id, Lane: domain.LaneWebhook, Room: domain.RoomID(uuid()), Due: now, CreatedAt: now.Add(time.Hour)}
			if err := tx.Enqueue(job); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkDeadLetter keeps one more, when there are few and when one is displaced each time.
func BenchmarkDeadLetter(b *testing.B) {
	for _, kept := range []int{0, domain.DeadLettersKept} {
		b.Run(fmt.Sprintf("kept=%d", kept), func(b *testing.B) {
			s := openStore(b, sqlite.Config{})
			id := addTenants(b, s, "t", 1, 0)[0]
			add := func(n int) {
				err := s.Update(b.Context(), id, func(tx ports.Tx) error {
					for range n {
						if err := tx.AddDeadLetter(newLetter(domain.Job{Lane: domain.LaneWebhook, Room: domain.RoomID(uuid())})); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			add(kept)
			b.ResetTimer()
			for b.Loop() {
				add(100)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/100, "µs/letter")
		})
	}
}
