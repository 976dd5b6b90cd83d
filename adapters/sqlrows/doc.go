// Package sqlrows is what the stores on SQL have in common whatever their dialect: the numbers that stand for kinds in rows,
// the telling of a room's changes, how dead letters grow, and the counting on of what is unread.
package sqlrows
