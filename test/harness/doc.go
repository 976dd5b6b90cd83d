// Package harness runs the real chatapi binary and speaks to it as a client does: over HTTP and WebSocket only. It
// builds the binary once a process, starts it on a free loopback port with its own data directory, ends it politely or
// not, starts it again on the same data, and reads what it logged. Nothing here imports the server's packages, so that
// a test says what a client sees and nothing else.
//
// Every wait has an end: requests time out, polls have deadlines.
package harness
