package storetest

import (
	"fmt"
	"sync"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var lifeContracts = []contract{
	{"everything is there after a restart", everythingSurvives},
	{"the epoch is set, kept by a restart, and another in another store", epochIsKept},
	{"a probe writes and leaves nothing", probeLeavesNothing},
	{"the first proof is kept, whoever brings another", firstProofIsKept},
	{"a closed store answers that it is closing", closedStoreIsClosing},
}

func everythingSurvives(f *fixture) {
	other := f.newTenant("second")
	f.furnish()
	f.story()
	other.furnish()
	before, beforeOther := f.dump("ann", "bob", "cid"), other.dump("ann", "bob")
	for range 3 {
		f.reopen()
		equalList(f.t, "the first tenant", f.dump("ann", "bob", "cid"), before)
		equalList(f.t, "the second tenant", other.dump("ann", "bob"), beforeOther)
	}
}

// epochs are those of all fresh backends that newFixture was given.
var epochs sync.Map

func epochIsKept(f *fixture) {
	first := f.db.Epoch()
	if first == "" {
		f.t.Fatal("the epoch is empty")
	}
	f.send(f.group("ann").ID, "ann", "x")
	equal(f.t, "the epoch after a write", f.db.Epoch(), first)
	for range 2 {
		f.reopen()
		equal(f.t, "the epoch after a restart", f.db.Epoch(), first)
	}
}

func probeLeavesNothing(f *fixture) {
	room := f.furnish().room
	f.unchanged(room, func() {
		parallel(f.t, 4, func(int) error { return f.db.Probe(f.t.Context()) })
	})
}

func firstProofIsKept(f *fixture) {
	first := domain.Sealed{0, 1, 0xff, 'x'}
	for _, fresh := range []domain.Sealed{first, {2}, first} {
		kept, err := f.db.KeepProof(f.t.Context(), fresh)
		equal(f.t, "the error of KeepProof", err, nil)
		equal(f.t, "the proof", kept, first)
		f.reopen()
	}
}

func closedStoreIsClosing(f *fixture) {
	room := f.group("ann")
	closed := f.db
	f.reopen()
	ctx := f.t.Context()
	wantError(f.t, "View of a closed store", closed.View(ctx, f.tenant, func(ports.Reader) error {
		return fmt.Errorf("a closed store runs its closure")
	}), domain.ErrClosing)
	wantError(f.t, "Update of a closed store", closed.Update(ctx, f.tenant, func(ports.Tx) error {
		return fmt.Errorf("a closed store runs its closure")
	}), domain.ErrClosing)
	send := f.newSend("ann", domain.Draft{Content: "never"})
	_, err := closed.Append(ctx, f.tenant, domain.Intent{Room: room.ID, Sender: "ann"}, send.Decide)
	wantError(f.t, "Append to a closed store", err, domain.ErrClosing)
	_, err = closed.Purge(ctx)
	wantError(f.t, "Purge of a closed store", err, domain.ErrClosing)
	_, err = closed.Usage(ctx, f.tenant, page)
	wantError(f.t, "Usage of a closed store", err, domain.ErrClosing)
	err = closed.AddUsage(ctx, map[domain.TenantID]domain.Usage{f.tenant: {Month: "2026-01", Messages: 1}})
	wantError(f.t, "AddUsage to a closed store", err, domain.ErrClosing)
	if err := closed.Probe(ctx); err == nil {
		f.t.Error("Probe of a closed store has no error")
	}
	f.send(room.ID, "ann", "to the open one")
	f.dense(room.ID)
}
