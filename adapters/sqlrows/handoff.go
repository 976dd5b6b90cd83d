package sqlrows

import "github.com/chatapi/chatapi/domain"

// The numbers of handoff modes in a store; they are never given another meaning.
const (
	HandoffBot int64 = iota
	HandoffHuman
)

// ScanHandoff is a room's mode with the id of its assignee.
func ScanHandoff(mode int64, assignee string) domain.Handoff {
	if mode == HandoffHuman {
		return domain.Handoff{Mode: domain.HandoffHuman, Assignee: domain.UserID(assignee)}
	}
	return domain.Handoff{Mode: domain.HandoffBot}
}
