package sqlrows

import "github.com/chatapi/chatapi/domain"

// The stages of an expansion, in their order, as they are stored.
const (
	StageUsers = 1 + iota
	StageRoom
	StageSubscribers
	StageDone
)

// SetOf is for looking users up.
func SetOf(users []domain.UserID) map[domain.UserID]struct{} {
	set := make(map[domain.UserID]struct{}, len(users))
	for _, user := range users {
		set[user] = struct{}{}
	}
	return set
}
