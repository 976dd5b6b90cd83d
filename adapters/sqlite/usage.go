package sqlite

import (
	"context"
	"encoding/json"

	"github.com/chatapi/chatapi/domain"
)

// AddUsage implements ports.Meters.
func (s *Store) AddUsage(ctx context.Context, used map[domain.TenantID]domain.Usage) error {
	list, err := usageList(used)
	if err != nil || list == "" {
		return err
	}
	return s.submit(ctx, operator, func(t *tx) error {
		return t.put(`INSERT INTO usage (tenant, month, messages, requests, rate_limited, sockets, tokens)
			SELECT t.number, j.value ->> 1, j.value ->> 2, j.value ->> 3, j.value ->> 4, j.value ->> 5, j.value ->> 6
			FROM json_each(?) j CROSS JOIN tenants t ON t.id = j.value ->> 0 AND t.deleted IS NULL WHERE true
			ON CONFLICT (tenant, month) DO UPDATE SET messages = messages + excluded.messages,
			requests = requests + excluded.requests, rate_limited = rate_limited + excluded.rate_limited,
			sockets = sockets + excluded.sockets, tokens = tokens + excluded.tokens`, list)
	})
}

// usageList is one parameter for any number of tenants, those that have used something; empty when none has.
func usageList(used map[domain.TenantID]domain.Usage) (string, error) {
	rows := make([][7]any, 0, len(used))
	for tenant, u := range used {
		if u != (domain.Usage{Month: u.Month}) {
			rows = append(rows, [7]any{tenant, u.Month, u.Messages, u.Requests, u.RateLimited, u.Sockets, u.Tokens})
		}
	}
	if len(rows) == 0 {
		return "", nil
	}
	list, err := json.Marshal(rows)
	return string(list), err
}

// Usage implements ports.Meters.
func (s *Store) Usage(ctx context.Context, tenant domain.TenantID, limit int) (months []domain.Usage, err error) {
	err = s.read(ctx, func(c *conn) error {
		number, err := findTenant(c, tenant)
		if err != nil || limit <= 0 {
			return err
		}
		return c.query(`SELECT month, messages, requests, rate_limited, sockets, tokens FROM usage WHERE tenant = ?
			ORDER BY month DESC LIMIT 0 + ?`, args(number, int64(limit)), func(r row) error {
			months = append(months, domain.Usage{
				Month: domain.Month(r.Text(0)), Messages: r.Int(1), Requests: r.Int(2), RateLimited: r.Int(3), Sockets: r.Int(4),
				Tokens: r.Int(5),
			})
			return nil
		})
	})
	return months, err
}
