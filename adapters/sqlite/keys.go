package sqlite

import (
	"context"
	"fmt"
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
	return "", fmt.Errorf("sqlite: unknown kind of key %d", kind)
}

// APIKey implements ports.Keys.
func (s *Store) APIKey(ctx context.Context, hash [32]byte) (key domain.Key, err error) {
	err = s.read(ctx, func(c *conn) error {
		found, err := c.first("SELECT "+sqlrows.KeyColumns+` FROM api_keys k JOIN tenants t ON t.number = k.tenant AND t.deleted IS NULL
			WHERE k.hash = ? AND k.revoked IS NULL`, args(hash[:]), func(r row) { key = sqlrows.ScanKey(r, domain.APIKey) })
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
			JOIN tenants t ON t.number = k.tenant AND t.deleted IS NULL WHERE k.id = ? AND k.revoked IS NULL`, args(kid),
			func(r row) { key, secret = sqlrows.ScanKey(r, domain.SigningKey), r.Blob(sqlrows.KeyWidth) })
		if err == nil && !found {
			err = domain.ErrKeyNotFound
		}
		return err
	})
	return key, secret, err
}

// AddKey implements ports.KeyWriter.
func (s *Store) AddKey(ctx context.Context, key ports.NewKey) error {
	table, err := keyTable(key.Kind)
	if err != nil {
		return err
	}
	return s.submit(ctx, key.Tenant, func(t *tx) error {
		if err := t.bind(key.Tenant); err != nil {
			return err
		}
		live := 0
		_, err := t.conn.first("SELECT count(*) FROM "+table+" WHERE tenant = ? AND revoked IS NULL", args(t.tenant),
			func(r row) { live = int(r.Int(0)) })
		if err != nil {
			return err
		}
		if err := domain.CheckNewKey(live); err != nil {
			return err
		}
		return t.insertKey(t.tenant, key)
	})
}

func (t *tx) insertKey(tenant int64, key ports.NewKey) error {
	if key.Kind == domain.APIKey {
		return t.put(`INSERT INTO api_keys (id, tenant, name, hash, created, last_used, revoked)
			VALUES (?, ?, ?, ?, ?, ?, ?)`,
			key.ID, tenant, key.Name, key.Hash[:], key.CreatedAt.UnixMilli(), sqlrows.TimeOrNull(key.LastUsed), sqlrows.TimeOrNull(key.RevokedAt))
	}
	secret := key.Secret
	if secret == nil {
		secret = domain.Sealed{}
	}
	return t.put(`INSERT INTO signing_keys (id, tenant, name, secret, created, last_used, revoked)
		VALUES (?, ?, ?, ?, ?, ?, ?)`,
		key.ID, tenant, key.Name, []byte(secret), key.CreatedAt.UnixMilli(), sqlrows.TimeOrNull(key.LastUsed), sqlrows.TimeOrNull(key.RevokedAt))
}

// RevokeKey implements ports.KeyWriter.
func (s *Store) RevokeKey(ctx context.Context, tenant domain.TenantID, kind domain.KeyKind, id string, now time.Time) error {
	table, err := keyTable(kind)
	if err != nil {
		return err
	}
	return s.submit(ctx, tenant, func(t *tx) error {
		if err := t.bind(tenant); err != nil {
			return err
		}
		n, err := t.remove("UPDATE "+table+" SET revoked = ? WHERE id = ? AND tenant = ? AND revoked IS NULL",
			now.UnixMilli(), id, t.tenant)
		if err == nil && n == 0 {
			err = domain.ErrKeyNotFound
		}
		return err
	})
}

// keysOf joins both kinds, in order of creation.
const keysOf = "SELECT " + sqlrows.KeyColumns + ", 1 FROM api_keys k JOIN tenants t ON t.number = k.tenant WHERE k.tenant = ?1" +
	" UNION ALL SELECT " + sqlrows.KeyColumns + ", 2 FROM signing_keys k JOIN tenants t ON t.number = k.tenant WHERE k.tenant = ?1" +
	" ORDER BY 4, 1"

// KeysOf implements ports.KeyWriter.
func (s *Store) KeysOf(ctx context.Context, tenant domain.TenantID) (keys []domain.Key, err error) {
	err = s.read(ctx, func(c *conn) error {
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

// TouchKeys implements ports.KeyWriter.
func (s *Store) TouchKeys(ctx context.Context, used map[string]time.Time) error {
	if len(used) == 0 {
		return nil
	}
	return s.submit(ctx, operator, func(t *tx) error {
		for id, at := range used {
			for _, table := range []string{"api_keys", "signing_keys"} {
				err := t.put("UPDATE "+table+" SET last_used = max(coalesce(last_used, 0), ?) WHERE id = ?", at.UnixMilli(), id)
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}
