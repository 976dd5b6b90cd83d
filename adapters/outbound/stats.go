package outbound

import (
	"sync/atomic"

	"github.com/chatapi/chatapi/ports"
)

// Stats is a snapshot of what a client has done since its start, and does now.
type Stats struct {
	Webhook, LLM KindStats
	Connections  int64 // open, idle ones included
}

// KindStats are the numbers of one kind of calls. All but the last three only rise. A stream counts when its status is known.
type KindStats struct {
	Delivered, Retryable, Permanent, Gone, Refused, Deferred, Interrupted int64 // calls, by how they ended

	Timeouts         int64 // of Retryable, those that took too long
	RefusedAddresses int64 // connections that were asked for and not opened: their address is out of reach
	CircuitsTripped  int64

	InFlight     int64
	Endpoints    int64
	OpenCircuits int64 // half-open ones included
}

// Attempts returns how many calls went out and came to an end.
func (s KindStats) Attempts() int64 { return s.Delivered + s.Retryable + s.Gone }

// tally counts the calls of one kind.
type tally struct {
	results          [ports.Interrupted + 1]atomic.Int64
	timeouts         atomic.Int64
	refusedAddresses atomic.Int64
	tripped          atomic.Int64
	inFlight         atomic.Int64
}

func (t *tally) count(out ports.Outcome) {
	t.results[out.Result].Add(1)
	if out.Cause == ports.CauseTimeout {
		t.timeouts.Add(1)
	}
}

// Stats returns the numbers of now. It looks at every endpoint once.
func (c *Client) Stats() Stats {
	return Stats{Webhook: c.kindStats(ports.OutboundWebhook), LLM: c.kindStats(ports.OutboundLLM), Connections: c.open.Load()}
}

func (c *Client) kindStats(kind ports.OutboundKind) KindStats {
	t := &c.lanes[kind].tally
	known, open := c.endpoints.count(kind)
	return KindStats{
		Delivered: t.results[ports.Delivered].Load(), Retryable: t.results[ports.Retryable].Load(),
		Permanent: t.results[ports.Permanent].Load(), Gone: t.results[ports.Gone].Load(),
		Refused: t.results[ports.Refused].Load(), Deferred: t.results[ports.Deferred].Load(),
		Interrupted: t.results[ports.Interrupted].Load(),
		Timeouts:    t.timeouts.Load(), RefusedAddresses: t.refusedAddresses.Load(), CircuitsTripped: t.tripped.Load(),
		InFlight: t.inFlight.Load(), Endpoints: known, OpenCircuits: open,
	}
}
