// Package sqlrows is what the stores on SQL have in common whatever their dialect: the numbers that stand for kinds in rows,
// columns with what reads them, values that may be NULL, how far a step of a purge goes, the telling of a room's changes, how
// dead letters grow, and the counting on of what is unread. It is the one package that adapters share, and speaks to nobody:
// statements, locks and transactions are each store's own.
package sqlrows
