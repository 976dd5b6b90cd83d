package domain

// HandoffMode says who answers in a room.
type HandoffMode string

// The modes of a room.
const (
	HandoffBot   HandoffMode = "bot"   // its bots, as at first
	HandoffHuman HandoffMode = "human" // people: its bots are silent
)

// Handoff is who answers in a room: its bots, or people, one of whom may be named.
type Handoff struct {
	Mode     HandoffMode
	Assignee UserID // a member, when there is one; empty with HandoffBot
}

// IsHuman reports whether bots are to be silent.
func (h Handoff) IsHuman() bool { return h.Mode == HandoffHuman }

// CheckHandoff validates who is to answer.
func CheckHandoff(mode, assignee string) (Handoff, error) {
	h := Handoff{Mode: HandoffMode(mode)}
	switch {
	case h.Mode != HandoffBot && h.Mode != HandoffHuman:
		return h, Invalid("mode", "mode is human or bot")
	case assignee == "":
		return h, nil
	case h.Mode == HandoffBot:
		return h, Invalid("assignee", "an assignee goes with mode human")
	}
	user, err := CheckUserID("assignee", assignee)
	h.Assignee = user
	return h, err
}
