package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var tenantContracts = []contract{
	{"a tenant is stored whole with its first keys", tenantIsStoredWhole},
	{"creating a tenant again changes nothing", creatingAgainChangesNothing},
	{"tenants are listed oldest first, in pages", tenantsAreListed},
	{"an update replaces name and config and nothing else", updateReplacesNameAndConfig},
	{"an update that fails changes nothing", failedTenantUpdate},
	{"parallel updates of a tenant lose nothing", parallelTenantUpdates},
	{"a deleted tenant is invisible at once, and after a restart", deletedTenantIsInvisible},
	{"a deleted tenant's id may be given again, to a tenant that has nothing of it", deletedIDIsFree},
	{"a deleted tenant is purged in steps beside the others", purgeInSteps},
	{"there is nothing to purge in a store without deleted tenants", nothingToPurge},
}

func ptr[T any](v T) *T { return &v }

// fullConfig has every value set.
func fullConfig() domain.TenantConfig {
	return domain.TenantConfig{
		RateLimit: ptr(0), MaxMessageSize: ptr(49152), AllowedOrigins: []string{"https://a.example", "http://b:8080"},
		AllowBrowserKeys: ptr(false), UserTopics: []string{"topic ✓", "it's \"quoted\" 100%"},
		WebhookURL: ptr("https://hooks.example/x?y=1&z=<2>"), WebhookSecret: ptr("c2VhbGVk"), OnWebhookError: ptr("skip"),
		RetryLimit: ptr(7), ChatBotID: ptr(""), ChatLimits: &domain.ChatLimits{RequestsPerMinute: ptr(0), Sockets: ptr(3)},
	}
}

func (f *fixture) newTenantValue(name string) domain.Tenant {
	id := domain.TenantID("tenant_" + f.newUUID().String())
	return domain.Tenant{ID: id, Name: name, Config: fullConfig(), CreatedAt: f.now()}
}

// findsTenant fails the case unless a tenant is stored as want.
func (f *fixture) findsTenant(want domain.Tenant) {
	f.t.Helper()
	got, err := f.db.Tenant(f.t.Context(), want.ID)
	equal(f.t, "the error of Tenant", err, nil)
	equal(f.t, "Tenant", got, want)
}

func tenantIsStoredWhole(f *fixture) {
	want := f.newTenantValue("Ærø's \"100%\" 🦊\u2028")
	keys := []ports.NewKey{newKey(domain.APIKey, want.ID, 1, f.now()), newKey(domain.SigningKey, want.ID, 2, f.now())}
	if err := f.db.CreateTenant(f.t.Context(), want, keys...); err != nil {
		f.t.Fatal(err)
	}
	bare := domain.Tenant{ID: domain.DefaultTenant, Name: "x", CreatedAt: f.now()}
	if err := f.db.CreateTenant(f.t.Context(), bare); err != nil {
		f.t.Fatal(err)
	}
	for range 2 {
		f.findsTenant(want)
		f.findsTenant(bare)
		f.findsKey(keys[0])
		f.findsKey(keys[1])
		f.reopen()
	}
}

func creatingAgainChangesNothing(f *fixture) {
	want := f.newTenantValue("first name")
	first, second := newKey(domain.APIKey, want.ID, 1, f.now()), newKey(domain.APIKey, want.ID, 2, f.now())
	equal(f.t, "CreateTenant", f.db.CreateTenant(f.t.Context(), want, first), nil)
	side := &fixture{world: f.world, tenant: want.ID}
	room := side.group("ann")
	again := domain.Tenant{ID: want.ID, Name: "second name", CreatedAt: f.now()}
	equal(f.t, "CreateTenant once more", f.db.CreateTenant(f.t.Context(), again, second), nil)
	f.findsTenant(want)
	f.findsKey(first)
	f.missesKey(second)
	equal(f.t, "the room made between", side.roomNow(room.ID), room)
	parallel(f.t, writers, func(int) error { return f.db.CreateTenant(f.t.Context(), again) })
	f.findsTenant(want)
}

func tenantsAreListed(f *fixture) {
	first, err := f.db.Tenant(f.t.Context(), f.tenant)
	if err != nil {
		f.t.Fatal(err)
	}
	want := []domain.Tenant{first}
	same := f.now()
	for i := range 6 {
		made := f.newTenantValue(fmt.Sprint("tenant ", i))
		if made.CreatedAt = same; i > 2 {
			made.CreatedAt = f.now()
		}
		equal(f.t, "CreateTenant", f.db.CreateTenant(f.t.Context(), made), nil)
		want = append(want, made)
	}
	equalList(f.t, "all tenants", f.tenants(0, page), want)
	equalList(f.t, "the second page", f.tenants(3, 3), want[3:6])
	equalList(f.t, "the last page", f.tenants(6, 3), want[6:])
	equalList(f.t, "a page behind the end", f.tenants(7, 3), nil)
	equal(f.t, "DeleteTenant", f.db.DeleteTenant(f.t.Context(), want[2].ID, f.now()), nil)
	equalList(f.t, "those that live", f.tenants(0, page), slices.Delete(want, 2, 3))
}

func (f *fixture) tenants(offset, limit int) []domain.Tenant {
	f.t.Helper()
	list, err := f.db.Tenants(f.t.Context(), offset, limit)
	if err != nil {
		f.t.Fatalf("Tenants: %v", err)
	}
	return list
}

func updateReplacesNameAndConfig(f *fixture) {
	before := f.newTenantValue("old")
	equal(f.t, "CreateTenant", f.db.CreateTenant(f.t.Context(), before), nil)
	want := before
	want.Name, want.Config = "new", domain.TenantConfig{RateLimit: ptr(5)}
	got, err := f.db.UpdateTenant(f.t.Context(), before.ID, func(t domain.Tenant) (domain.Tenant, error) {
		equal(f.t, "the tenant given", t, before)
		t.Name, t.Config = want.Name, want.Config
		t.CreatedAt = t.CreatedAt.Add(time.Hour)
		return t, nil
	})
	equal(f.t, "the error of UpdateTenant", err, nil)
	equal(f.t, "UpdateTenant", got, want)
	f.findsTenant(want)
	f.reopen()
	f.findsTenant(want)
}

func failedTenantUpdate(f *fixture) {
	want := f.newTenantValue("kept")
	equal(f.t, "CreateTenant", f.db.CreateTenant(f.t.Context(), want), nil)
	for _, x := range failures {
		got := endingOf(func() error {
			_, err := f.db.UpdateTenant(f.t.Context(), want.ID, func(t domain.Tenant) (domain.Tenant, error) {
				t.Name = "lost"
				return t, x.fail()
			})
			return err
		})
		if err := x.check(got); err != nil {
			f.t.Errorf("UpdateTenant: %v", err)
		}
		f.findsTenant(want)
	}
}

func parallelTenantUpdates(f *fixture) {
	parallel(f.t, writers, func(int) error {
		_, err := f.db.UpdateTenant(f.t.Context(), f.tenant, func(t domain.Tenant) (domain.Tenant, error) {
			n := 0
			if t.Config.RateLimit != nil {
				n = *t.Config.RateLimit
			}
			t.Config.RateLimit = ptr(n + 1)
			return t, nil
		})
		return err
	})
	got, err := f.db.Tenant(f.t.Context(), f.tenant)
	equal(f.t, "the error of Tenant", err, nil)
	equal(f.t, "increments", got.Config, domain.TenantConfig{RateLimit: ptr(writers)})
}

func deletedTenantIsInvisible(f *fixture) {
	gone := f.newTenant("gone")
	to := gone.furnish()
	keys := []ports.NewKey{gone.addKey(domain.APIKey, 1), gone.addKey(domain.SigningKey, 2)}
	f.findsKey(keys[0])
	stays := f.furnish()
	gone.dump("ann", "bob") // whatever a store remembers of a tenant, it does now
	before := f.dump("ann", "bob")
	equal(f.t, "DeleteTenant", f.db.DeleteTenant(f.t.Context(), gone.tenant, f.now()), nil)
	for range 2 {
		f.isNoTenant(gone.tenant, to.room)
		f.missesKey(keys[0])
		f.missesKey(keys[1])
		equal(f.t, "tenants that live", len(f.tenants(0, page)), 1)
		equalList(f.t, "the tenant beside it", f.dump("ann", "bob"), before)
		f.reopen()
	}
	f.send(stays.room, "ann", "and all goes on")
}

func deletedIDIsFree(f *fixture) {
	gone := f.newTenant("gone")
	to := gone.furnish()
	equal(f.t, "DeleteTenant", f.db.DeleteTenant(f.t.Context(), gone.tenant, f.now()), nil)
	again := domain.Tenant{ID: gone.tenant, Name: "again", CreatedAt: f.now()}
	equal(f.t, "CreateTenant", f.db.CreateTenant(f.t.Context(), again), nil)
	for range 2 {
		got, err := f.db.Tenant(f.t.Context(), gone.tenant)
		equal(f.t, "the error of Tenant", err, nil)
		equal(f.t, "the new tenant", got, again)
		err = f.db.View(f.t.Context(), gone.tenant, func(r ports.Reader) error {
			_, _, err := r.Access(to.room, "ann")
			return err
		})
		equal(f.t, "a room of the old one", err, error(domain.ErrRoomNotFound))
		f.purge()
		f.reopen()
	}
}

func purgeInSteps(f *fixture) {
	gone := f.newTenant("gone")
	room := gone.furnish().room
	parallel(f.t, 16, func(w int) error {
		for i := range 40 {
			if err := gone.sendAnswered(room, fmt.Sprint(w, i)); err != nil {
				return err
			}
		}
		return nil
	})
	own := f.furnish()
	before := f.dump("ann", "bob")
	equal(f.t, "DeleteTenant", f.db.DeleteTenant(f.t.Context(), gone.tenant, f.now()), nil)
	steps := f.purge()
	if steps < 2 {
		f.t.Errorf("more than 640 rows were purged in %d steps of at most 500", steps)
	}
	equalList(f.t, "the tenant beside it", f.dump("ann", "bob"), before)
	f.isNoTenant(gone.tenant, room)
	f.send(own.room, "ann", "and all goes on")
	f.dense(own.room)
	equal(f.t, "steps of a second purge", f.purge(), 1)
}

// purge runs steps, writing beside each, until there is no more, and counts them.
func (f *fixture) purge() int {
	f.t.Helper()
	other := f.newTenant("beside the purge")
	room := other.group("ann")
	for steps := 1; steps < 1000; steps++ {
		more, err := f.db.Purge(f.t.Context())
		if err != nil {
			f.t.Fatalf("Purge: %v", err)
		}
		other.send(room.ID, "ann", "beside the purge")
		if !more {
			other.dense(room.ID)
			return steps
		}
	}
	f.t.Fatal("Purge does not come to an end")
	return 0
}

func nothingToPurge(f *fixture) {
	f.furnish()
	before := f.dump("ann", "bob")
	more, err := f.db.Purge(f.t.Context())
	equal(f.t, "the error of Purge", err, nil)
	equal(f.t, "more to purge", more, false)
	equalList(f.t, "the live tenant", f.dump("ann", "bob"), before)
}
