package storetest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var keyContracts = []contract{
	{"a key is found as it was stored, also after a restart", keyIsFoundAsStored},
	{"an unknown key is not found", unknownKeyIsNotFound},
	{"a sixth live key of a kind is refused", sixthKeyIsRefused},
	{"parallel keys never become six", parallelKeysAreFive},
	{"a revoked key is not found, at once and after a restart", revokedKeyIsNotFound},
	{"a key that is not live cannot be revoked", onlyLiveKeysAreRevoked},
	{"KeysOf lists both kinds oldest first with revoked ones", keysAreListed},
	{"TouchKeys notes the last use and leaves the rest", touchNotesLastUse},
}

// newKey is a key value with a secret of its own, different for every n.
func newKey(kind domain.KeyKind, tenant domain.TenantID, n int, now time.Time) ports.NewKey {
	key := ports.NewKey{Key: domain.Key{
		ID: fmt.Sprintf("key_%s_%d", tenant, n), Kind: kind, Tenant: tenant, Name: fmt.Sprintf("key %d", n), CreatedAt: now,
	}}
	if kind == domain.APIKey {
		key.Hash = sha256.Sum256([]byte(key.ID))
		return key
	}
	key.ID = fmt.Sprintf("kid_%s_%d", tenant, n)
	key.Secret = domain.Sealed("sealed\x00\xff " + key.ID)
	return key
}

func (f *fixture) addKey(kind domain.KeyKind, n int) ports.NewKey {
	f.t.Helper()
	key := newKey(kind, f.tenant, n, f.now())
	if err := f.db.AddKey(f.t.Context(), key); err != nil {
		f.t.Fatalf("AddKey %d: %v", n, err)
	}
	return key
}

// findsKey fails the case unless a key is found as want.
func (f *fixture) findsKey(want ports.NewKey) {
	f.t.Helper()
	if want.Kind == domain.APIKey {
		got, err := f.db.APIKey(f.t.Context(), want.Hash)
		equal(f.t, "the error of APIKey", err, nil)
		equal(f.t, "APIKey", got, want.Key)
		return
	}
	got, secret, err := f.db.SigningKey(f.t.Context(), want.ID)
	equal(f.t, "the error of SigningKey", err, nil)
	equal(f.t, "SigningKey", got, want.Key)
	equal(f.t, "the sealed secret", secret, want.Secret)
}

// missesKey fails the case unless a key is not found.
func (f *fixture) missesKey(key ports.NewKey) {
	f.t.Helper()
	if key.Kind == domain.APIKey {
		_, err := f.db.APIKey(f.t.Context(), key.Hash)
		wantError(f.t, "APIKey of "+key.ID, err, domain.ErrKeyNotFound)
		return
	}
	_, secret, err := f.db.SigningKey(f.t.Context(), key.ID)
	wantError(f.t, "SigningKey of "+key.ID, err, domain.ErrKeyNotFound)
	equal(f.t, "the secret of a key that is not found", len(secret), 0)
}

var bothKinds = []domain.KeyKind{domain.APIKey, domain.SigningKey}

func keyIsFoundAsStored(f *fixture) {
	for _, kind := range bothKinds {
		key := f.addKey(kind, 1)
		f.findsKey(key)
		f.reopen()
		f.findsKey(key)
	}
}

func unknownKeyIsNotFound(f *fixture) {
	api, signing := f.addKey(domain.APIKey, 1), f.addKey(domain.SigningKey, 1)
	f.missesKey(newKey(domain.APIKey, f.tenant, 2, f.now()))
	f.missesKey(newKey(domain.SigningKey, f.tenant, 2, f.now()))
	_, _, err := f.db.SigningKey(f.t.Context(), api.ID)
	wantError(f.t, "SigningKey with the id of an API key", err, domain.ErrKeyNotFound)
	_, err = f.db.APIKey(f.t.Context(), signing.Hash)
	wantError(f.t, "APIKey with an empty hash", err, domain.ErrKeyNotFound)
}

func sixthKeyIsRefused(f *fixture) {
	ctx := f.t.Context()
	for _, kind := range bothKinds {
		for n := range domain.MaxLiveKeys {
			f.addKey(kind, n)
		}
		sixth := newKey(kind, f.tenant, 6, f.now())
		wantError(f.t, "AddKey of a sixth key", f.db.AddKey(ctx, sixth), domain.ErrTooManyKeys)
		f.missesKey(sixth)
		first := newKey(kind, f.tenant, 0, f.now())
		equal(f.t, "RevokeKey", f.db.RevokeKey(ctx, f.tenant, kind, first.ID, f.now()), nil)
		equal(f.t, "AddKey after a revocation", f.db.AddKey(ctx, sixth), nil)
		f.findsKey(sixth)
	}
	other := f.newTenant("second")
	other.findsKey(other.addKey(domain.APIKey, 1))
}

func parallelKeysAreFive(f *fixture) {
	var stored atomic.Int64
	parallel(f.t, 12, func(n int) error {
		err := f.db.AddKey(f.t.Context(), newKey(domain.APIKey, f.tenant, n, f.now()))
		switch {
		case err == nil:
			stored.Add(1)
		case !errors.Is(err, domain.ErrTooManyKeys):
			return err
		}
		return nil
	})
	equal(f.t, "keys stored", stored.Load(), int64(domain.MaxLiveKeys))
	keys, err := f.db.KeysOf(f.t.Context(), f.tenant)
	equal(f.t, "KeysOf", err, nil)
	equal(f.t, "keys listed", len(keys), domain.MaxLiveKeys)
}

func revokedKeyIsNotFound(f *fixture) {
	for _, kind := range bothKinds {
		gone, stays := f.addKey(kind, 1), f.addKey(kind, 2)
		f.findsKey(gone)
		equal(f.t, "RevokeKey", f.db.RevokeKey(f.t.Context(), f.tenant, kind, gone.ID, f.now()), nil)
		f.missesKey(gone)
		f.findsKey(stays)
		f.reopen()
		f.missesKey(gone)
		f.findsKey(stays)
	}
}

func onlyLiveKeysAreRevoked(f *fixture) {
	key := f.addKey(domain.APIKey, 1)
	revoke := func(kind domain.KeyKind, id string) error {
		return f.db.RevokeKey(f.t.Context(), f.tenant, kind, id, f.now())
	}
	wantError(f.t, "RevokeKey of an unknown key", revoke(domain.APIKey, "key_unknown"), domain.ErrKeyNotFound)
	wantError(f.t, "RevokeKey as the other kind", revoke(domain.SigningKey, key.ID), domain.ErrKeyNotFound)
	f.findsKey(key)
	equal(f.t, "RevokeKey", revoke(domain.APIKey, key.ID), nil)
	before := f.keys()
	wantError(f.t, "RevokeKey once more", revoke(domain.APIKey, key.ID), domain.ErrKeyNotFound)
	equalList(f.t, "keys after a second RevokeKey", f.keys(), before)
}

func (f *fixture) keys() []domain.Key {
	f.t.Helper()
	keys, err := f.db.KeysOf(f.t.Context(), f.tenant)
	if err != nil {
		f.t.Fatalf("KeysOf: %v", err)
	}
	return keys
}

func keysAreListed(f *fixture) {
	var want []domain.Key
	for n := range 3 {
		for _, kind := range bothKinds {
			want = append(want, f.addKey(kind, n).Key)
		}
	}
	f.newTenant("second").addKey(domain.APIKey, 1)
	revoked := f.now()
	equal(f.t, "RevokeKey", f.db.RevokeKey(f.t.Context(), f.tenant, want[2].Kind, want[2].ID, revoked), nil)
	want[2].RevokedAt = revoked
	equalList(f.t, "KeysOf", f.keys(), want)
	f.reopen()
	equalList(f.t, "KeysOf after a restart", f.keys(), want)
}

func touchNotesLastUse(f *fixture) {
	api, signing, idle := f.addKey(domain.APIKey, 1), f.addKey(domain.SigningKey, 2), f.addKey(domain.APIKey, 3)
	api.LastUsed = time.Date(2026, time.March, 1, 12, 30, 0, 0, time.UTC)
	signing.LastUsed = api.LastUsed.Add(time.Minute)
	used := map[string]time.Time{api.ID: api.LastUsed, signing.ID: signing.LastUsed, "key_unknown": api.LastUsed}
	equal(f.t, "TouchKeys", f.db.TouchKeys(f.t.Context(), used), nil)
	equal(f.t, "TouchKeys of none", f.db.TouchKeys(f.t.Context(), nil), nil)
	f.reopen()
	equalList(f.t, "KeysOf", f.keys(), []domain.Key{api.Key, signing.Key, idle.Key})
}
