package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// keyTable is the table of a kind of keys.
func keyTable(kind domain.KeyKind) (string, error) {
	switch kind {
	case domain.APIKey:
		return "api_keys", nil
	case domain.SigningKey:
		return "signing_keys", nil
	}
	return "", fmt.Errorf("postgres: unknown kind of key %d", kind)
}

// APIKey implements ports.Keys.
func (s *Store) APIKey(ctx context.Context, hash [32]byte) (key domain.Key, err error) {
	err = s.read(ctx, func(c *conn) error {
		found, err := c.first("SELECT "+sqlrows.KeyColumns+` FROM api_keys k JOIN tenants t ON t.number = k.tenant AND t.deleted IS NULL
			WHERE k.hash = $1 AND k.revoked IS NULL`, args(hash[:]), func(r row) { key = sqlrows.ScanKey(r, domain.APIKey) })
		if err == nil && !found {
			err = domain.ErrKeyNotFound
		}
		return err
	})
	return key, err
}

// SigningKey implements ports.Keys.
func (s *Store) SigningKey(ctx context.Context, kid string) (key domain.Key, secret domain.Sealed, err error) {
	err = s.read(ctx, func(c *conn) error {
		found, err := c.first("SELECT "+sqlrows.KeyColumns+`, k.secret FROM signing_keys k
			JOIN tenants t ON t.number = k.tenant AND t.deleted IS NULL WHERE k.id = $1 AND k.revoked IS NULL`, args(kid),
			func(r row) { key, secret = sqlrows.ScanKey(r, domain.SigningKey), r.Bytes(sqlrows.KeyWidth) })
		if err == nil && !found {
			err = domain.ErrKeyNotFound
		}
		return err
	})
	return key, secret, err
}

// tenantsKeys locks a tenant for a change of its keys: they are counted.
const tenantsKeys = "SELECT number FROM tenants WHERE id = $1 AND deleted IS NULL FOR NO KEY UPDATE"

func (t *tx) lockTenant(id domain.TenantID) (number int64, err error) {
	found, err := t.conn.first(tenantsKeys, args(string(id)), func(r row) { number = r.Int(0) })
	if err == nil && !found {
		err = domain.ErrTenantNotFound
	}
	return number, err
}

// AddKey implements ports.KeyWriter.
func (s *Store) AddKey(ctx context.Context, key ports.NewKey) error {
	table, err := keyTable(key.Kind)
	if err != nil {
		return err
	}
	return s.operate(ctx, func(t *tx) error {
		tenant, err := t.lockTenant(key.Tenant)
		if err != nil {
			return err
		}
		live := 0
		_, err = t.conn.first("SELECT count(*) FROM "+table+" WHERE tenant = $1 AND revoked IS NULL", args(tenant),
			func(r row) { live = int(r.Int(0)) })
		if err != nil {
			return err
		}
		if err := domain.CheckNewKey(live); err != nil {
			return err
		}
		return t.insertKey(tenant, key)
	})
}

func (t *tx) insertKey(tenant int64, key ports.NewKey) error {
	if key.Kind == domain.APIKey {
		return t.put(`INSERT INTO api_keys (id, tenant, name, hash, created, last_used, revoked)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			key.ID, tenant, key.Name, key.Hash[:], key.CreatedAt.UnixMilli(), sqlrows.TimeOrNull(key.LastUsed), sqlrows.TimeOrNull(key.RevokedAt))
	}
	secret := key.Secret
	if secret == nil {
		secret = domain.Sealed{}
	}
	return t.put(`INSERT INTO signing_keys (id, tenant, name, secret, created, last_used, revoked)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		key.ID, tenant, key.Name, []byte(secret), key.CreatedAt.UnixMilli(), sqlrows.TimeOrNull(key.LastUsed), sqlrows.TimeOrNull(key.RevokedAt))
}

// RevokeKey implements ports.KeyWriter.
func (s *Store) RevokeKey(ctx context.Context, tenant domain.TenantID, kind domain.KeyKind, id string, now time.Time) error {
	table, err := keyTable(kind)
	if err != nil {
		return err
	}
	return s.operate(ctx, func(t *tx) error {
		number, err := t.lockTenant(tenant)
		if err != nil {
			return err
		}
		n, err := t.remove("UPDATE "+table+" SET revoked = $1 WHERE id = $2 AND tenant = $3 AND revoked IS NULL",
			now.UnixMilli(), id, number)
		if err == nil && n == 0 {
			err = domain.ErrKeyNotFound
		}
		return err
	})
}

// keysOf joins both kinds, in order of creation.
const keysOf = "SELECT " + sqlrows.KeyColumns + ", 1::bigint FROM api_keys k JOIN tenants t ON t.number = k.tenant WHERE k.tenant = $1" +
	" UNION ALL SELECT " + sqlrows.KeyColumns + ", 2::bigint FROM signing_keys k JOIN tenants t ON t.number = k.tenant WHERE k.tenant = $1" +
	" ORDER BY 4, 1"

// KeysOf implements ports.KeyWriter.
func (s *Store) KeysOf(ctx context.Context, tenant domain.TenantID) (keys []domain.Key, err error) {
	err = s.read(ctx, func(c *conn) error {
		keys = nil
		number, err := findTenant(c, tenant)
		if err != nil {
			return err
		}
		return c.query(keysOf, args(number), func(r row) error {
			keys = append(keys, sqlrows.ScanKey(r, domain.KeyKind(r.Int(sqlrows.KeyWidth))))
			return nil
		})
	})
	return keys, err
}

// TouchKeys implements ports.KeyWriter. Keys are touched in order of their ids, so that two nodes do not wait for each
// other in a circle.
func (s *Store) TouchKeys(ctx context.Context, used map[string]time.Time) error {
	if len(used) == 0 {
		return nil
	}
	ids := make([]string, 0, len(used))
	for id := range used {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	times := make([]int64, len(ids))
	for i, id := range ids {
		times[i] = used[id].UnixMilli()
	}
	return s.operate(ctx, func(t *tx) error {
		for _, table := range []string{"api_keys", "signing_keys"} {
			if err := t.put(touchKeys(table), ids, times); err != nil {
				return err
			}
		}
		return nil
	})
}

func touchKeys(table string) string {
	return `WITH used AS (SELECT * FROM unnest($1::text[], $2::bigint[]) AS u (id, at)),
		locked AS MATERIALIZED (SELECT k.id FROM ` + table + ` k WHERE k.id = ANY ($1::text[]) ORDER BY k.id FOR NO KEY UPDATE)
		UPDATE ` + table + ` k SET last_used = greatest(coalesce(k.last_used, 0), used.at) FROM used, locked
		WHERE k.id = used.id AND locked.id = k.id`
}
