// Package sqlite keeps everything in one SQLite file, for a server of one process.
//
// One goroutine owns the one connection that writes. It takes whatever jobs are queued, runs each in a savepoint of
// one transaction, commits with an fsync, and only then answers all of them: many messages share one fsync, and an
// answer is never ahead of the disk. Reads run beside it on a small pool of read-only connections, each unit of work
// on its own snapshot.
//
// Rows of tenants, users and rooms have small integer numbers that join tables; they never leave this package.
package sqlite
