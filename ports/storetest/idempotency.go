package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var idempotencyContracts = []contract{
	{"a kept key is found as it was kept, also after a restart", keptKeyIsFound},
	{"a kept key is forgotten after 24 hours and can be used anew", keptKeyExpires},
	{"a key is per user and per tenant", keptKeyIsPerUserAndTenant},
	{"a key of a rolled back update is not kept", rolledBackKeyIsNotKept},
	{"a send repeated under its key answers the stored message", keyedSendIsReplayed},
	{"parallel sends under one key make one message", parallelKeyedSends},
	{"a key used for another request is refused", keyReused},
	{"a key that a client_id's duplicate answered is kept", duplicateKeepsKey},
	{"the key of a send is per user and per tenant", keyedSendIsPerUserAndTenant},
	{"a key of a failed send is free", failedKeyIsFree},
	{"a key kept a day ago does not hold a send back", expiredKeyIsFree},
	{"sends and updates share their keys", sendsAndUpdatesShareKeys},
}

// hash is a value that fills a hash, by a number.
func hash(n byte) (h [32]byte) {
	for i := range h {
		h[i] = n ^ byte(i)
	}
	return h
}

func (f *fixture) keep(k domain.Idempotency, status int, resource string, at time.Time) {
	f.t.Helper()
	f.update(func(tx ports.Tx) error { return tx.KeepIdempotency(k, status, resource, at) })
}

func (f *fixture) kept(user domain.UserID, key [32]byte, at time.Time) *domain.IdempotencyRecord {
	f.t.Helper()
	var got *domain.IdempotencyRecord
	f.view(func(r ports.Reader) (err error) {
		got, err = r.Idempotency(user, key, at)
		return err
	})
	return got
}

func keptKeyIsFound(f *fixture) {
	at := f.now()
	want := domain.IdempotencyRecord{Request: hash(2), Status: 201, Resource: "room_'\"%🦊"}
	f.keep(domain.Idempotency{User: "ann", Key: hash(1), Request: hash(2)}, want.Status, want.Resource, at)
	f.keep(domain.Idempotency{Key: hash(1), Request: hash(3)}, 204, "", at)
	for range 2 {
		equal(f.t, "the key kept", f.kept("ann", hash(1), at), &want)
		equal(f.t, "the backend's key", f.kept("", hash(1), at), &domain.IdempotencyRecord{Request: hash(3), Status: 204})
		equal(f.t, "a key never kept", f.kept("ann", hash(9), at), nil)
		f.reopen()
	}
}

func keptKeyExpires(f *fixture) {
	at := f.now()
	key := domain.Idempotency{User: "ann", Key: hash(1), Request: hash(2)}
	f.keep(key, 201, "first", at)
	almost, after := at.Add(domain.IdempotencyMemory-time.Second), at.Add(domain.IdempotencyMemory+time.Second)
	equal(f.t, "the key a second before its end", f.kept("ann", hash(1), almost) != nil, true)
	equal(f.t, "the key a second after its end", f.kept("ann", hash(1), after), nil)
	key.Request = hash(3)
	f.keep(key, 202, "second", after)
	equal(f.t, "the key used anew", f.kept("ann", hash(1), after),
		&domain.IdempotencyRecord{Request: hash(3), Status: 202, Resource: "second"})
	equal(f.t, "the key used anew, a day later", f.kept("ann", hash(1), almost.Add(domain.IdempotencyMemory)) != nil, true)
}

func keptKeyIsPerUserAndTenant(f *fixture) {
	at := f.now()
	other := f.newTenant("second")
	f.keep(domain.Idempotency{User: "ann", Key: hash(1), Request: hash(2)}, 201, "ann's", at)
	for _, x := range []struct {
		f    *fixture
		user domain.UserID
	}{{f, "bob"}, {f, ""}, {f, "Ann"}, {other, "ann"}} {
		equal(f.t, fmt.Sprintf("the key of %q", x.user), x.f.kept(x.user, hash(1), at), nil)
	}
	other.keep(domain.Idempotency{User: "ann", Key: hash(1), Request: hash(3)}, 202, "theirs", at)
	equal(f.t, "the first tenant's key", f.kept("ann", hash(1), at),
		&domain.IdempotencyRecord{Request: hash(2), Status: 201, Resource: "ann's"})
}

func rolledBackKeyIsNotKept(f *fixture) {
	at := f.now()
	err := f.tryUpdate(func(tx ports.Tx) error {
		key := domain.Idempotency{User: "ann", Key: hash(1), Request: hash(2)}
		if err := tx.KeepIdempotency(key, 201, "lost", at); err != nil {
			return err
		}
		got, err := tx.Idempotency("ann", hash(1), at)
		equal(f.t, "the key within the update", got != nil, true)
		return errors.Join(err, errSentinel)
	})
	wantError(f.t, "Update", err, errSentinel)
	equal(f.t, "the key after it", f.kept("ann", hash(1), at), nil)
}

func keyedSendIsReplayed(f *fixture) {
	room := f.group("ann")
	key := &domain.Idempotency{User: "ann", Key: hash(1), Request: hash(2)}
	first, err := f.trySend(room.ID, f.newSend("ann", domain.Draft{Content: "once"}), key)
	equal(f.t, "the error of a send under a key", err, nil)
	equal(f.t, "duplicate", first.Duplicate, false)
	for range 2 {
		got, err := f.trySend(room.ID, f.newSend("ann", domain.Draft{Content: "once"}), key)
		equal(f.t, "the error of the repeated send", err, nil)
		equal(f.t, "the repeated send", got, ports.Appended{Message: first.Message, Duplicate: true})
		snap := f.snapshot(domain.Intent{Room: room.ID, Sender: "ann", Idempotency: key})
		if snap.Replayed == nil || snap.KeyReused {
			f.t.Fatalf("the snapshot of the repeated send is %s", show(snap))
		}
		equal(f.t, "the replayed message", snap.Replayed.Message, first.Message)
		f.reopen()
	}
	f.dense(room.ID)
}

func parallelKeyedSends(f *fixture) {
	room := f.group("ann")
	const rounds, n = 4, 16
	for round := range rounds {
		key := &domain.Idempotency{User: "ann", Key: hash(byte(round)), Request: hash(99)}
		answers, originals := make([]domain.Message, n), make([]bool, n)
		parallel(f.t, n, func(i int) error {
			out, err := f.trySend(room.ID, f.newSend("ann", domain.Draft{Content: "once"}), key)
			answers[i], originals[i] = out.Message, !out.Duplicate
			return err
		})
		f.oneMessage(room.ID, int64(round)+1, answers, originals)
	}
	f.dense(room.ID)
}

func keyReused(f *fixture) {
	room := f.group("ann", "bob")
	key := domain.Idempotency{User: "ann", Key: hash(1), Request: hash(2)}
	_, err := f.trySend(room.ID, f.newSend("ann", domain.Draft{Content: "once"}), &key)
	equal(f.t, "the error of the first send", err, nil)
	key.Request = hash(3)
	f.unchanged(room.ID, func() {
		_, err := f.trySend(room.ID, f.newSend("ann", domain.Draft{Content: "another"}), &key)
		wantError(f.t, "another send under the key", err, domain.ErrIdempotency)
	})
	snap := f.snapshot(domain.Intent{Room: room.ID, Sender: "ann", Idempotency: &key})
	equal(f.t, "KeyReused and Replayed", []bool{snap.KeyReused, snap.Replayed != nil}, []bool{true, false})
}

func duplicateKeepsKey(f *fixture) {
	room := f.group("ann")
	d := domain.Draft{Content: "once", ClientID: "c1"}
	first := f.sendDraft(room.ID, "ann", d)
	key := domain.Idempotency{User: "ann", Key: hash(1), Request: hash(2)}
	f.unchanged(room.ID, func() {
		for range 2 {
			got, err := f.trySend(room.ID, f.newSend("ann", d), &key)
			equal(f.t, "the error of a repeated send under a key", err, nil)
			equal(f.t, "the repeated send", got, ports.Appended{Message: first, Duplicate: true})
		}
		key.Request = hash(3)
		_, err := f.trySend(room.ID, f.newSend("ann", domain.Draft{Content: "another"}), &key)
		wantError(f.t, "another send under the key", err, domain.ErrIdempotency)
	})
	got := f.kept("ann", hash(1), f.now())
	equal(f.t, "the key", got, &domain.IdempotencyRecord{Request: hash(2), Status: 201, Resource: first.ID.String()})
}

func keyedSendIsPerUserAndTenant(f *fixture) {
	other := f.newTenant("second")
	room, foreign := f.group("ann", "bob"), other.group("ann")
	for _, x := range []struct {
		f    *fixture
		room domain.RoomID
		user domain.UserID
	}{{f, room.ID, "ann"}, {f, room.ID, "bob"}, {other, foreign.ID, "ann"}} {
		key := &domain.Idempotency{User: x.user, Key: hash(1), Request: hash(2)}
		out, err := x.f.trySend(x.room, x.f.newSend(x.user, domain.Draft{Content: "text"}), key)
		equal(f.t, "the error of a send", err, nil)
		equal(f.t, "duplicate", out.Duplicate, false)
	}
	f.dense(room.ID)
}

func failedKeyIsFree(f *fixture) {
	room := f.group("ann")
	key := &domain.Idempotency{User: "eve", Key: hash(1), Request: hash(2)}
	_, err := f.trySend(room.ID, f.newSend("eve", domain.Draft{Content: "refused"}), key)
	wantError(f.t, "the send of a stranger", err, domain.ErrNotMember)
	f.addMember(room.ID, "eve", domain.RoleMember)
	key.Request = hash(3)
	out, err := f.trySend(room.ID, f.newSend("eve", domain.Draft{Content: "accepted"}), key)
	equal(f.t, "the error of the next send under the key", err, nil)
	equal(f.t, "duplicate", out.Duplicate, false)
}

func expiredKeyIsFree(f *fixture) {
	room := f.group("ann")
	now := Clock.Now()
	old := domain.Idempotency{User: "ann", Key: hash(1), Request: hash(2)}
	f.keep(old, 201, "room_1", now.Add(-domain.IdempotencyMemory-time.Hour))
	young := domain.Idempotency{User: "ann", Key: hash(3), Request: hash(2)}
	f.keep(young, 201, "room_2", now.Add(-domain.IdempotencyMemory+time.Hour))
	for _, x := range []struct {
		key  [32]byte
		want error
	}{{old.Key, nil}, {young.Key, domain.ErrIdempotency}} {
		key := &domain.Idempotency{User: "ann", Key: x.key, Request: hash(9)}
		_, err := f.trySend(room.ID, f.newSend("ann", domain.Draft{Content: "text"}), key)
		if !errors.Is(err, x.want) {
			f.t.Errorf("a send under a key kept before: error %v, want %v", err, x.want)
		}
	}
	f.dense(room.ID)
}

func sendsAndUpdatesShareKeys(f *fixture) {
	room := f.group("ann")
	send := f.newSend("ann", domain.Draft{Content: "text"})
	byUpdate := domain.Idempotency{User: "ann", Key: hash(1), Request: hash(2)}
	f.keep(byUpdate, 201, "room_1", send.Now)
	byUpdate.Request = hash(3)
	_, err := f.trySend(room.ID, send, &byUpdate)
	wantError(f.t, "a send under an update's key", err, domain.ErrIdempotency)
	bySend := domain.Idempotency{User: "ann", Key: hash(4), Request: hash(5)}
	_, err = f.trySend(room.ID, send, &bySend)
	equal(f.t, "the error of a send under a fresh key", err, nil)
	got := f.kept("ann", hash(4), send.Now.Add(time.Minute))
	if got == nil || got.Request != hash(5) {
		f.t.Errorf("the key of a send is kept as %s, want request %x", show(got), hash(5))
	}
}
