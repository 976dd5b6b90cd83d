package postgres

import (
	"context"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// CountWaiting is OutboxStats as it is counted anew.
func (s *Store) CountWaiting(ctx context.Context) (map[domain.Lane]ports.OutboxStats, error) {
	return s.countWaiting(ctx)
}

// LifeEnds is the look at the jobs of resting tenants.
const LifeEnds = lifeEnds
