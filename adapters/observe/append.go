package observe

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Appender measures another Appender: how long a send waits for its commit, and how it ends.
type Appender struct {
	next     ports.Appender
	seconds  prometheus.Histogram
	outcomes map[string]prometheus.Counter
}

// The outcomes of an append.
const (
	outcomeStored      = "stored"
	outcomeDuplicate   = "duplicate"
	outcomeRefused     = "refused"     // by a rule of the domain
	outcomeBusy        = "busy"        // the write queue was full
	outcomeUnavailable = "unavailable" // the store could not be written, or is closing
	outcomeCancelled   = "cancelled"   // the caller left before the work had begun
	outcomeFailed      = "failed"      // a fault of the server
)

var outcomes = []string{
	outcomeStored, outcomeDuplicate, outcomeRefused, outcomeBusy, outcomeUnavailable, outcomeCancelled, outcomeFailed,
}

// NewAppender wraps next and adds chatapi_append_seconds and chatapi_appends_total to the registry.
func NewAppender(next ports.Appender, r *Registry) *Appender {
	a := &Appender{next: next, outcomes: map[string]prometheus.Counter{}}
	a.seconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: "append_seconds", Help: "Time from handing a message to the store to its durable commit.",
		Buckets:                     []float64{.0005, .001, .002, .004, .008, .016, .032, .064, .128, .256, .512, 1, 2, 5, 10},
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160,
	})
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "appends_total", Help: "Messages handed to the store, by how that ended.",
	}, []string{"outcome"})
	for _, name := range outcomes {
		a.outcomes[name] = total.WithLabelValues(name)
	}
	r.prometheus.MustRegister(a.seconds, total)
	return a
}

// Append implements ports.Appender. Time is measured for messages that were stored: refusals would only hide it.
func (a *Appender) Append(ctx context.Context, tenant domain.TenantID, in domain.Intent,
	decide func(domain.Snapshot) (domain.Change, error)) (ports.Appended, error) {
	start := time.Now()
	done, err := a.next.Append(ctx, tenant, in, decide)
	outcome := outcomeOf(done, err)
	if outcome == outcomeStored {
		a.seconds.Observe(time.Since(start).Seconds())
	}
	a.outcomes[outcome].Inc()
	return done, err
}

func outcomeOf(done ports.Appended, err error) string {
	var refusal *domain.Error
	switch {
	case err == nil && done.Duplicate:
		return outcomeDuplicate
	case err == nil:
		return outcomeStored
	case errors.Is(err, domain.ErrBusy):
		return outcomeBusy
	case errors.Is(err, domain.ErrUnavailable), errors.Is(err, domain.ErrClosing):
		return outcomeUnavailable
	case errors.As(err, &refusal) && refusal.Code != domain.CodeInternal:
		return outcomeRefused
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return outcomeCancelled
	}
	return outcomeFailed
}
