package domain

import "time"

// Role is what a member may do in a room.
type Role string

// The roles of a room.
const (
	RoleMember Role = "member"
	RoleAdmin  Role = "admin"
)

// MemberState says whether a membership row stands; it is never deleted, so that an absent device learns of a removal.
type MemberState int

// The states of a membership.
const (
	Active MemberState = iota + 1
	Left
)

// Member is one user's membership of one room. JoinedRev is the room's position just before the change that brought
// the user in, so that a replay from there shows it. LeftRev is the position of the removal: nothing above it is
// ever the user's to see.
type Member struct {
	User      UserID
	Role      Role
	State     MemberState
	JoinedAt  time.Time
	JoinedSeq int64
	JoinedRev int64
	LeftSeq   int64
	LeftRev   int64
	ReadSeq   int64 // the user's read mark: everything up to it is read; only rises, also over a return
}

// IsActive reports whether the user is in the room now.
func (m *Member) IsActive() bool { return m != nil && m.State == Active }

// IsAdmin reports whether the membership stands and is an admin's.
func (m Member) IsAdmin() bool { return m.State == Active && m.Role == RoleAdmin }

// CheckRole accepts no role (a member), member or admin.
func CheckRole(s string) (Role, error) {
	switch r := Role(s); r {
	case "":
		return RoleMember, nil
	case RoleMember, RoleAdmin:
		return r, nil
	}
	return "", Invalid("role", "Invalid role. Must be one of: admin, member")
}

// CheckNewMembers validates who is to be added: user_id or user_ids, 1–100 of them, to a room that is not a DM.
func CheckNewMembers(room Room, one string, many []string) ([]UserID, error) {
	if room.Type == RoomDM {
		return nil, ErrDMFixed
	}
	if one != "" && len(many) > 0 {
		return nil, Invalid("user_ids", "send user_id or user_ids, not both")
	}
	if one != "" {
		return checkUsers("user_id", []string{one}, CheckMemberID)
	}
	if len(many) == 0 {
		return nil, Invalid("user_id", "user_id or user_ids is required")
	}
	return checkUsers("user_ids", many, CheckMemberID)
}

// CheckNewRole validates a member's new role.
func CheckNewRole(s string) (Role, error) {
	if s == "" {
		return "", Invalid("role", "role is required: admin or member")
	}
	return CheckRole(s)
}

// CheckLeave is the rule of taking a member out of a room that has no fixed members: a chat keeps its owner.
func CheckLeave(room Room, user UserID) error {
	if room.Type == RoomChat && user == room.ChatOwner() {
		return ErrChatOwner
	}
	return nil
}

// CheckJoin is the rule of joining a room by oneself: channels are open to every user of the tenant.
func CheckJoin(room Room, m *Member) error {
	switch {
	case room.Type == RoomChannel:
		return nil
	case m.IsActive():
		return ErrNotChannel
	}
	return ErrNotMember
}
