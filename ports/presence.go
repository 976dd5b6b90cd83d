package ports

import (
	"context"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// TenantUser names a user of a tenant, or something else that is somewhere, under a name that no user can have.
type TenantUser struct {
	Tenant domain.TenantID
	User   domain.UserID
}

// Presence knows which users have a socket anywhere. Each node says so of its own users, for as long as a lease; the
// lease of a node that has died passes. Every arrival and every departure is told to exactly one caller. Nothing of it
// is durable.
type Presence interface {
	// Arrive notes that users have sockets on a node until the lease has passed, and returns those who had none on any
	// node. Called again it renews the lease, or shortens it. Who returns after the lease has passed, and before that was
	// told, has neither left nor arrived.
	Arrive(ctx context.Context, node string, users []TenantUser, lease time.Duration) (arrived []TenantUser, err error)
	// Leave notes that users have no socket on a node any more, and returns those who have none on any node now. Of unknown
	// ones it knew no lease: it has forgotten them, they were told of as expired, or the answer to an earlier Leave was lost.
	Leave(ctx context.Context, node string, users []TenantUser) (left, unknown []TenantUser, err error)
	// Expire drops leases that have passed and returns the users who have none left.
	Expire(ctx context.Context) (left []TenantUser, err error)
	// Online returns those of a tenant's users that have a socket anywhere.
	Online(ctx context.Context, tenant domain.TenantID, users []domain.UserID) (map[domain.UserID]bool, error)
}
