// Package postgres is the store on PostgreSQL, for one node or many: every port that SQLite serves, over pgx and SQL by hand.
//
// All work is done by two roles that own nothing, chatapi_tenant and chatapi_operator. A unit of work names its tenant in a
// setting of its transaction, and row-level security shows it that tenant's rows: the second wall behind the conditions of
// each statement. Who writes into a room holds the lock of the room's row, from before anything else of it is read until the
// commit: that is what makes its numbers dense and its order one. Locks are taken rooms first, then users, then the tenant.
package postgres
