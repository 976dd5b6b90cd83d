package ws

import "time"

// What a socket may do and hold. The figures are the contract's, or performance measurements.
const (
	maxMessage = 64 << 10 // bytes of a client's message; above it close 1009
	readBuffer = 512      // bytes a socket keeps for reading

	pushFrames    = 256       // frames that wait for a socket, before Push refuses
	pushBytes     = 256 << 10 // bytes of them
	hintFrames    = pushFrames / 2
	hintBytes     = pushBytes / 2 // beyond either, hints are dropped
	reserveFrames = 16            // on top for replies, errors and control frames; beyond it the socket is not read
	reserveBytes  = 64 << 10

	writeChunk    = 64 << 10 // the most that one write joins
	blockingChunk = 16 << 10 // the same where a write waits: one TLS record
	kernelBuffer  = 64 << 10 // the socket's send buffer in the kernel, which else grows to megabytes a slow reader

	framesPerSecond = 50 // a client's frames but those of the tenant's rate, and of these the refused ones; above it close 4429
	maxRequestID    = 64 // bytes
	maxDiscard      = 1 << 20
)

const (
	pingEvery     = 30 * time.Second
	maxSilence    = 60 * time.Second
	maxMessageGap = 10 * time.Second // from a message's first byte to its last
	resumeWait    = 5 * time.Second
	expiryNotice  = 60 * time.Second // from token.expiring to the end of the credential
	closeWait     = 5 * time.Second  // from our close frame to the peer's
	revokedWait   = 2 * time.Second  // the same when the credential has ended; the sweeper may add a second
	writeStall    = 10 * time.Second
	stallGrace    = time.Second // after a stall, for a client that wakes up to see the close code

	handshakes       = 256 // under way at a time
	handshakeWait    = 3 * time.Second
	handshakeTimeout = 10 * time.Second // writing the 101

	minReconnect = 500 * time.Millisecond
	maxReconnect = 5 * time.Second
)

// The close codes of the contract, RFC 6455 §7.4 and the 4000s of our own.
const (
	closeGoingAway  = 1001
	closeProtocol   = 1002
	closeNotText    = 1003
	closeNoStatus   = 1005 // never sent: the peer closed without a code
	closeAbnormal   = 1006 // never sent: the connection was lost
	closeNotUTF8    = 1007
	closePolicy     = 1008
	closeTooBig     = 1009
	closeInternal   = 1011
	closeTryLater   = 1013
	closeToken      = 4401
	closeNoProgress = 4408
	closeFlooding   = 4429
)
