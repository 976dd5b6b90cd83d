// Package harness runs the real chatapi binary and speaks to it as a client does: over HTTP and WebSocket only. It
// builds the binary once a process, starts it on free loopback ports with a place for its data, ends it politely or
// not, starts it again on the same data, and reads what it logged. Nothing here imports the server's packages, so that
// a test says what a client sees and nothing else.
//
// A server is one node on a SQLite file, one on Postgres, or several on Postgres and Redis behind a balancer: Topology.
// Tests that do not choose hold on each, and CHATAPI_TEST_TOPOLOGY says on which they run. Postgres and Redis are private
// processes, shared by the servers of one test process, each with a database of its own; a test that breaks them starts its
// own. What lies between a node and its backends can be a Proxy, which cuts, swallows or delays.
//
// Every wait has an end: requests time out, polls have deadlines.
package harness
