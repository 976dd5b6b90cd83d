package postgres

import "github.com/chatapi/chatapi/adapters/sqlrows"

// ForgetCounts has the store count what is unread anew.
func ForgetCounts(s *Store) { s.counts = sqlrows.NewCounts(countedMembers) }

// What changes the rows of several users: of those who lose a room, and of those who were seen.
const (
	CountLeavers = countLeavers
	SawUsers     = sawUsers
)
