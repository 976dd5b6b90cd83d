package postgres

import "github.com/chatapi/chatapi/adapters/sqlrows"

// ForgetCounts has the store count what is unread anew.
func ForgetCounts(s *Store) { s.counts = sqlrows.NewCounts(countedMembers) }

// CountLeavers is what a purge asks about the members of a removed room.
const CountLeavers = countLeavers
