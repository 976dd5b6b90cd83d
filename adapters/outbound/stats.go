package outbound

import (
	"sync/atomic"

	"github.com/chatapi/chatapi/ports"
)

// Stats is a snapshot of what a client has done since its start, and does now. How calls have ended is counted by those
// who make them.
type Stats struct {
	Webhook, LLM KindStats
	Connections  int64 // open, idle ones included
}

// KindStats are the numbers of one kind of calls.
type KindStats struct {
	RefusedAddresses int64 // connections that were asked for and not opened: their address is out of reach; only rises
	CircuitsTripped  int64 // only rises
	OpenCircuits     int64 // half-open ones included
	InFlight         int64
}

// tally counts the calls of one kind.
type tally struct {
	refusedAddresses atomic.Int64
	tripped          atomic.Int64
	inFlight         atomic.Int64
}

// Stats returns the numbers of now. It looks at every endpoint once.
func (c *Client) Stats() Stats {
	return Stats{Webhook: c.kindStats(ports.OutboundWebhook), LLM: c.kindStats(ports.OutboundLLM), Connections: c.open.Load()}
}

func (c *Client) kindStats(kind ports.OutboundKind) KindStats {
	t := &c.lanes[kind].tally
	return KindStats{
		RefusedAddresses: t.refusedAddresses.Load(), CircuitsTripped: t.tripped.Load(),
		OpenCircuits: c.endpoints.open(kind), InFlight: t.inFlight.Load(),
	}
}
