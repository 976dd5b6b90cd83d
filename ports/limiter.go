package ports

import (
	"context"

	"github.com/chatapi/chatapi/domain"
)

// Limiter keeps token buckets by name, full at first sight. It is asked on every call: it answers from memory, but where a
// bucket that nodes share is new or what this node may give of it is spent; then it waits for an answer, 100 ms at most.
// While others cannot be asked it answers at once, from what this node knows.
type Limiter interface {
	// Take takes one call from the bucket. A rate other than before is in force from this call on. The answer of an
	// unlimited rate is OK with Limit 0. Over any span of time a bucket allows at most Burst calls more than the rate;
	// on many nodes at most a tenth more.
	Take(ctx context.Context, bucket string, rate domain.Rate) domain.Allowance
	// Peek is Take without taking: what the next call would be told.
	Peek(ctx context.Context, bucket string, rate domain.Rate) domain.Allowance
}
