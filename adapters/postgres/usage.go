package postgres

import (
	"cmp"
	"context"
	"slices"

	"github.com/chatapi/chatapi/domain"
)

// addUsage adds up in order of the tenants, so that two nodes do not wait for each other in a circle.
const addUsage = `INSERT INTO usage (tenant, month, messages, requests, rate_limited, sockets, tokens)
	SELECT t.number, u.month, u.messages, u.requests, u.rate_limited, u.sockets, u.tokens
	FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
		AS u (id, month, messages, requests, rate_limited, sockets, tokens)
	JOIN tenants t ON t.id = u.id AND t.deleted IS NULL ORDER BY t.number, u.month
	ON CONFLICT (tenant, month) DO UPDATE SET messages = usage.messages + excluded.messages,
		requests = usage.requests + excluded.requests, rate_limited = usage.rate_limited + excluded.rate_limited,
		sockets = usage.sockets + excluded.sockets, tokens = usage.tokens + excluded.tokens`

// AddUsage implements ports.Meters.
func (s *Store) AddUsage(ctx context.Context, used map[domain.TenantID]domain.Usage) error {
	ids := make([]domain.TenantID, 0, len(used))
	for id, u := range used {
		if u != (domain.Usage{Month: u.Month}) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	slices.SortFunc(ids, cmp.Compare)
	var list struct {
		ids, months                                  []string
		messages, requests, limited, sockets, tokens []int64
	}
	for _, id := range ids {
		u := used[id]
		list.ids, list.months = append(list.ids, string(id)), append(list.months, string(u.Month))
		list.messages, list.requests = append(list.messages, u.Messages), append(list.requests, u.Requests)
		list.limited, list.sockets = append(list.limited, u.RateLimited), append(list.sockets, u.Sockets)
		list.tokens = append(list.tokens, u.Tokens)
	}
	return s.operate(ctx, func(t *tx) error {
		return t.put(addUsage, list.ids, list.months, list.messages, list.requests, list.limited, list.sockets, list.tokens)
	})
}

// Usage implements ports.Meters.
func (s *Store) Usage(ctx context.Context, tenant domain.TenantID, limit int) (months []domain.Usage, err error) {
	err = s.read(ctx, func(c *conn) error {
		months = nil
		number, err := findTenant(c, tenant)
		if err != nil || limit <= 0 {
			return err
		}
		return c.query(`SELECT month, messages, requests, rate_limited, sockets, tokens FROM usage WHERE tenant = $1
			ORDER BY month DESC LIMIT $2`, args(number, int64(limit)), func(r row) error {
			months = append(months, domain.Usage{
				Month: domain.Month(r.Text(0)), Messages: r.Int(1), Requests: r.Int(2), RateLimited: r.Int(3), Sockets: r.Int(4),
				Tokens: r.Int(5),
			})
			return nil
		})
	})
	return months, err
}
