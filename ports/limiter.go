package ports

import (
	"context"

	"github.com/chatapi/chatapi/domain"
)

// Limiter keeps token buckets by name, full at first sight. It is asked on every call: it does not wait for a network,
// and answers from what this node knows when others cannot be asked.
type Limiter interface {
	// Take takes one call from the bucket. A rate other than before is in force from this call on. The answer of an
	// unlimited rate is OK with Limit 0. Over any span of time a bucket allows at most Burst calls more than the rate;
	// on many nodes at most a tenth more.
	Take(ctx context.Context, bucket string, rate domain.Rate) domain.Allowance
	// Peek is Take without taking: what the next call would be told.
	Peek(ctx context.Context, bucket string, rate domain.Rate) domain.Allowance
}
