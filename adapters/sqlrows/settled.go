package sqlrows

import (
	"slices"

	"github.com/chatapi/chatapi/domain"
)

// Settled is a notification of a tenant's for which somebody has ceased to wait.
type Settled struct {
	Tenant int64
	ID     domain.NotificationID
}

// AddSettled adds a notification to those of a unit of work, once; without an id there is none.
func AddSettled(all []Settled, tenant int64, id domain.NotificationID) []Settled {
	if of := (Settled{tenant, id}); !id.IsZero() && !slices.Contains(all, of) {
		all = append(all, of)
	}
	return all
}
