package chats

import "time"

// What a socket may do and hold. Where the native socket has the same term it is the same.
const (
	maxMessage = 64 << 10 // bytes of a client's frame; above it close 1009

	pushFrames    = 256       // frames that wait for a socket, before Push refuses
	pushBytes     = 256 << 10 // bytes of them
	hintFrames    = pushFrames / 2
	hintBytes     = pushBytes / 2 // beyond either, parts of an answer wait for the next
	reserveFrames = 16            // on top for errors; beyond it the socket is not read
	kernelBuffer  = 64 << 10

	refusalPause = 20 * time.Millisecond // until the next frame is read: a flood costs its sender, and nobody else

	pingEvery  = 30 * time.Second
	maxSilence = 60 * time.Second
	writeStall = 10 * time.Second
	closeWait  = 5 * time.Second // from our close frame to the peer's
	endTimeout = 10 * time.Second

	handshakes       = 256 // sockets that are being opened at a time, and those that are refused
	handshakeTimeout = 10 * time.Second
)

// The close codes, RFC 6455 §7.4.
const (
	closeGoingAway = 1001
	closePolicy    = 1008
	closeTooBig    = 1009
	closeInternal  = 1011
)

// closeToken is the fan-out's code for a credential that has ended.
const closeToken = 4401
