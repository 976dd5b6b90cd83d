package ports

import (
	"context"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// Ticket stands for a caller that has proven who it is, and for the credential it did that with.
type Ticket struct {
	domain.Actor
	Source string // where the credential is found again; opaque to all but the core
}

// Tickets keeps socket tickets under the SHA-256 of their text, for redemption on any node.
type Tickets interface {
	// Issue keeps a ticket for ttl. When more tickets wait than the store takes, domain.ErrBusy.
	Issue(ctx context.Context, hash [32]byte, t Ticket, ttl time.Duration) error
	// Redeem returns a ticket once: of any number of callers one gets it. A ticket that is unknown, used or expired is
	// domain.ErrUnauthenticated.
	Redeem(ctx context.Context, hash [32]byte) (Ticket, error)
}
