package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// operator is the share of the queue that the server's own writes take, like a tenant's.
const operator domain.TenantID = ""

const tenantColumns = "id, name, config, created"

func scanTenant(r row) (t domain.Tenant, err error) {
	t = domain.Tenant{ID: domain.TenantID(r.Text(0)), Name: r.Text(1), CreatedAt: sqlrows.FromMillis(r.Int(3))}
	if err := json.Unmarshal([]byte(r.Text(2)), &t.Config); err != nil {
		return t, fmt.Errorf("read a tenant's config: %w", err)
	}
	return t, nil
}

// Tenant implements ports.Tenants.
func (s *Store) Tenant(ctx context.Context, id domain.TenantID) (t domain.Tenant, err error) {
	err = s.read(ctx, func(c *conn) error {
		t, err = tenantOf(c, id)
		return err
	})
	return t, err
}

func tenantOf(c *conn, id domain.TenantID) (t domain.Tenant, err error) {
	var broken error
	found, err := c.first("SELECT "+tenantColumns+" FROM tenants WHERE id = ? AND deleted IS NULL", args(string(id)),
		func(r row) { t, broken = scanTenant(r) })
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
		return c.query("SELECT "+tenantColumns+" FROM tenants WHERE deleted IS NULL ORDER BY created, number LIMIT 0 + ? OFFSET ?",
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
	return s.submit(ctx, operator, func(tx *tx) error {
		made, err := tx.remove("INSERT INTO tenants (id, name, config, created) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
			string(t.ID), t.Name, string(config), t.CreatedAt.UnixMilli())
		if err != nil || made == 0 {
			return err
		}
		number, err := findTenant(tx.conn, t.ID)
		if err != nil {
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
	err := s.submit(ctx, operator, func(t *tx) error {
		stored, err := tenantOf(t.conn, id)
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
		return t.put("UPDATE tenants SET name = ?, config = ? WHERE id = ? AND deleted IS NULL",
			out.Name, string(config), string(id))
	})
	if err != nil {
		return domain.Tenant{}, err
	}
	return out, nil
}

// DeleteTenant implements ports.TenantWriter.
func (s *Store) DeleteTenant(ctx context.Context, id domain.TenantID, now time.Time) error {
	return s.submit(ctx, operator, func(t *tx) error {
		n, err := t.remove("UPDATE tenants SET deleted = ?, id = id || '~' || number WHERE id = ? AND deleted IS NULL", now.UnixMilli(), string(id))
		if err == nil && n == 0 {
			err = domain.ErrTenantNotFound
		}
		if err == nil {
			t.w.cache.tenants.put(id, nil)
		}
		return err
	})
}
