package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

const tenantColumns = "id, name, config, created"

func scanTenant(r row) (t domain.Tenant, err error) {
	t = domain.Tenant{ID: domain.TenantID(r.Text(0)), Name: r.Text(1), CreatedAt: sqlrows.FromMillis(r.Int(3))}
	if err := json.Unmarshal(r.Blob(2), &t.Config); err != nil {
		return t, fmt.Errorf("read a tenant's config: %w", err)
	}
	return t, nil
}

const (
	tenantByID = "SELECT " + tenantColumns + " FROM tenants WHERE id = $1 AND deleted IS NULL"
	lockTenant = tenantByID + " FOR UPDATE"
)

// Tenant implements ports.Tenants.
func (s *Store) Tenant(ctx context.Context, id domain.TenantID) (t domain.Tenant, err error) {
	err = s.read(ctx, func(c *conn) error {
		t, err = tenantOf(c, tenantByID, id)
		return err
	})
	return t, err
}

func tenantOf(c *conn, query string, id domain.TenantID) (t domain.Tenant, err error) {
	var broken error
	found, err := c.first(query, args(string(id)), func(r row) { t, broken = scanTenant(r) })
	switch {
	case err != nil:
		return domain.Tenant{}, err
	case !found:
		return domain.Tenant{}, domain.ErrTenantNotFound
	}
	return t, broken
}

// Tenants implements ports.Tenants.
func (s *Store) Tenants(ctx context.Context, offset, limit int) (tenants []domain.Tenant, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = s.read(ctx, func(c *conn) error {
		tenants = nil
		return c.query("SELECT "+tenantColumns+" FROM tenants WHERE deleted IS NULL ORDER BY created, number LIMIT $1 OFFSET $2",
			args(int64(limit), int64(max(offset, 0))), func(r row) error {
				t, err := scanTenant(r)
				tenants = append(tenants, t)
				return err
			})
	})
	return tenants, err
}

// CreateTenant implements ports.Tenants.
func (s *Store) CreateTenant(ctx context.Context, t domain.Tenant, keys ...ports.NewKey) error {
	config, err := json.Marshal(t.Config)
	if err != nil {
		return fmt.Errorf("encode a tenant's config: %w", err)
	}
	return s.operate(ctx, func(tx *tx) error {
		var number int64
		made, err := tx.conn.first(`INSERT INTO tenants (id, name, config, created) VALUES ($1, $2, $3, $4)
			ON CONFLICT (id) DO NOTHING RETURNING number`, args(string(t.ID), t.Name, string(config), t.CreatedAt.UnixMilli()),
			func(r row) { number = r.Int(0) })
		if err != nil || !made {
			return err
		}
		for _, key := range keys {
			if err := tx.insertKey(number, key); err != nil {
				return err
			}
		}
		return nil
	})
}

// UpdateTenant implements ports.TenantWriter.
func (s *Store) UpdateTenant(ctx context.Context, id domain.TenantID,
	change func(domain.Tenant) (domain.Tenant, error),
) (domain.Tenant, error) {
	var out domain.Tenant
	err := s.operate(ctx, func(t *tx) error {
		stored, err := tenantOf(t.conn, lockTenant, id)
		if err != nil {
			return err
		}
		changed, err := change(stored)
		if err != nil {
			return err
		}
		config, err := json.Marshal(changed.Config)
		if err != nil {
			return fmt.Errorf("encode a tenant's config: %w", err)
		}
		stored.Name, stored.Config = changed.Name, changed.Config
		out = stored
		return t.put("UPDATE tenants SET name = $1, config = $2 WHERE id = $3 AND deleted IS NULL",
			out.Name, string(config), string(id))
	})
	if err != nil {
		return domain.Tenant{}, err
	}
	return out, nil
}

// DeleteTenant implements ports.TenantWriter.
func (s *Store) DeleteTenant(ctx context.Context, id domain.TenantID, now time.Time) error {
	return s.operate(ctx, func(t *tx) error {
		n, err := t.remove("UPDATE tenants SET deleted = $1, id = id || '~' || number WHERE id = $2 AND deleted IS NULL",
			now.UnixMilli(), string(id))
		if err == nil && n == 0 {
			err = domain.ErrTenantNotFound
		}
		return err
	})
}
