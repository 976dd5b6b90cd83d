package outbound

import "time"

// Time. A whole attempt has one deadline besides these.
const (
	dialTimeout    = 5 * time.Second        // name lookup and connection
	tlsTimeout     = 5 * time.Second        // handshake
	headStart      = 250 * time.Millisecond // an address has before the next is tried beside it (RFC 8305, section 5)
	defaultTimeout = 15 * time.Second       // of an attempt
	maxTimeout     = 60 * time.Second
	// Under the five seconds after which the most impatient of the common servers close theirs, so that a call seldom
	// meets a connection that is just being closed.
	idleConnTimeout = 4 * time.Second
)

// Size.
const (
	maxHeaderBytes = 32 << 10  // of an answer, its 1xx forerunners included
	maxAnswerBytes = 256 << 10 // of a webhook's answer
	maxIDBytes     = 256       // of a webhook-id
	maxDetailBytes = 300       // of an error in the operator's log
	maxAddresses   = 6         // of a name, tried in one attempt; all are judged
)

// Streams.
const (
	defaultHeaderTimeout = 60 * time.Second
	defaultReadTimeout   = 30 * time.Second
	defaultStreamBytes   = 16 << 20
	maxErrorBytes        = 64 << 10 // of an answer other than 2xx
)

// Places. A kind's places are apart, so that hanging models do not keep webhooks waiting.
const (
	webhookPlaces         = 256 // at once, in all
	webhookEndpointPlaces = 4   // at one endpoint
	llmPlaces             = 256
	llmEndpointPlaces     = 16
)

// Memory. An endpoint is about two kilobytes; one that is in use is never dropped.
const (
	maxEndpoints   = 10_000
	maxWarm        = 64 // endpoints that may keep idle connections
	idlePerWarm    = 2  // each
	circuitTrips   = 5  // failures in a row
	circuitOpenFor = 30 * time.Second
)

// Waiting.
const (
	maxRetryAfter = 24 * time.Hour  // of an answer, for the event it answers
	maxRest       = time.Hour       // of an answer, for all else that waits for the endpoint
	busyDelay     = time.Second     // until asking again for a place
	probeDelay    = 5 * time.Second // until asking again while one call tries a circuit
	leastDelay    = time.Second
)
