package storetest

import (
	"fmt"

	"github.com/chatapi/chatapi/domain"
)

var usageContracts = []contract{
	{"usage adds up by tenant and month, newest first", usageAddsUp},
	{"months without anything are not kept", emptyMonthsAreNotKept},
	{"parallel additions lose nothing", parallelUsage},
	{"unknown and deleted tenants are left out", unknownTenantsUseNothing},
}

func (f *fixture) use(used map[domain.TenantID]domain.Usage) {
	f.t.Helper()
	if err := f.db.AddUsage(f.t.Context(), used); err != nil {
		f.t.Fatalf("AddUsage: %v", err)
	}
}

func (f *fixture) usage(limit int) []domain.Usage {
	f.t.Helper()
	months, err := f.db.Usage(f.t.Context(), f.tenant, limit)
	if err != nil {
		f.t.Fatalf("Usage: %v", err)
	}
	return months
}

func usageAddsUp(f *fixture) {
	other := f.newTenant("second")
	equalList(f.t, "usage at first", f.usage(page), nil)
	jan := domain.Usage{Month: "2026-01", Messages: 1, Requests: 20, RateLimited: 300, Sockets: 4000, Tokens: 50_000}
	dec := domain.Usage{Month: "2025-12", Messages: 1 << 40, Requests: 1, Tokens: 1 << 41}
	feb := domain.Usage{Month: "2026-02", Sockets: 1, Tokens: 1}
	for range 3 {
		f.use(map[domain.TenantID]domain.Usage{f.tenant: jan, other.tenant: feb})
	}
	f.use(map[domain.TenantID]domain.Usage{f.tenant: dec})
	f.use(map[domain.TenantID]domain.Usage{f.tenant: feb})
	f.use(nil)
	want := []domain.Usage{feb, jan.Add(jan).Add(jan), dec}
	for range 2 {
		equalList(f.t, "usage", f.usage(page), want)
		equalList(f.t, "the newest two", f.usage(2), want[:2])
		equalList(f.t, "none asked for", f.usage(0), nil)
		equalList(f.t, "the other tenant's", other.usage(page), []domain.Usage{feb.Add(feb).Add(feb)})
		f.reopen()
	}
}

func emptyMonthsAreNotKept(f *fixture) {
	f.use(map[domain.TenantID]domain.Usage{f.tenant: {Month: "2026-01"}})
	equalList(f.t, "usage", f.usage(page), nil)
	f.use(map[domain.TenantID]domain.Usage{f.tenant: {Month: "2026-01", RateLimited: 1}})
	f.use(map[domain.TenantID]domain.Usage{f.tenant: {Month: "2026-01"}})
	equalList(f.t, "usage", f.usage(page), []domain.Usage{{Month: "2026-01", RateLimited: 1}})
}

func parallelUsage(f *fixture) {
	var sides []*fixture
	used := map[domain.TenantID]domain.Usage{}
	for i := range 20 {
		side := f.newTenant(fmt.Sprint("tenant ", i))
		sides = append(sides, side)
		used[side.tenant] = domain.Usage{Month: "2026-01", Messages: int64(i), Requests: 1}
	}
	parallel(f.t, writers, func(int) error {
		for range 5 {
			if err := f.db.AddUsage(f.t.Context(), used); err != nil {
				return err
			}
		}
		return nil
	})
	for i, side := range sides {
		want := []domain.Usage{{Month: "2026-01", Messages: int64(i) * writers * 5, Requests: writers * 5}}
		equalList(f.t, "usage", side.usage(page), want)
	}
}

func unknownTenantsUseNothing(f *fixture) {
	gone := f.newTenant("gone")
	jan := domain.Usage{Month: "2026-01", Messages: 1}
	used := map[domain.TenantID]domain.Usage{f.tenant: jan, gone.tenant: jan, "tenant_unknown": jan, "": jan}
	f.use(used)
	equal(f.t, "DeleteTenant", f.db.DeleteTenant(f.t.Context(), gone.tenant, f.now()), nil)
	f.use(used)
	_, err := f.db.Usage(f.t.Context(), gone.tenant, page)
	wantError(f.t, "Usage of a deleted tenant", err, domain.ErrTenantNotFound)
	again := domain.Tenant{ID: gone.tenant, Name: "again", CreatedAt: f.now()}
	equal(f.t, "CreateTenant", f.db.CreateTenant(f.t.Context(), again), nil)
	for range 2 {
		equalList(f.t, "usage of the new tenant under a deleted one's id", gone.usage(page), nil)
		equalList(f.t, "usage of the tenant beside it", f.usage(page), []domain.Usage{jan.Add(jan)})
		f.purge()
	}
}
