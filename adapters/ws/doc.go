// Package ws is the native WebSocket interface: it authenticates upgrades, turns client frames into calls of use cases,
// and writes what the fan-out pushes.
//
// A socket that is idle costs one goroutine that waits to read, a read buffer of 512 bytes and the Session; it holds no
// write buffer, no timer and no *http.Request. gorilla/websocket does the handshake and the reading. Everything that is
// written, its own control frames too, goes through the bounded queue of the Session, and a few flushers join what
// waits for one socket into one write. A flusher never waits for a socket: one that does not take its frames is handed
// to a goroutine with deadlines.
package ws
