package domain

import "time"

// ActorKind is how a caller proved who it is.
type ActorKind int

// The kinds of actors within a tenant.
const (
	ActorBackend     ActorKind = iota + 1 // an API key alone: the tenant's backend
	ActorBackendUser                      // an API key with X-User-Id: that user's rights, and rooms between others
	ActorUser                             // a JWT: an end user
)

// Actor is an authenticated caller. The tenant comes from the credential and from nothing else.
type Actor struct {
	Tenant     TenantID
	Kind       ActorKind
	User       UserID // empty for ActorBackend
	Credential string // the id of the API key or signing key, never its secret
	Expires    time.Time
}

// Action is something a caller may be allowed to do in a room.
type Action int

// The actions of the rights table.
const (
	ActRead          Action = iota + 1 // messages, changes, the room itself
	ActSend                            // messages, and that one is typing
	ActAck                             // delivery and read marks
	ActListMembers                     //
	ActLeave                           // take oneself out of the room
	ActManageMembers                   // add, remove, change roles
	ActUpdateRoom                      // name and metadata
	ActRemoveRoom                      //
	ActEditOwn                         // a message one has sent
	ActEditOthers                      // a message somebody else has sent
	ActDeleteOwn                       //
	ActDeleteOthers                    //
	ActStop                            // an answer of a bot
	ActHandOff                         // the room, to people and back
)

// Standing is where an actor stands towards a room.
type Standing int

// The standings, from none to all.
const (
	StandingStranger Standing = iota
	StandingMember
	StandingAdmin
	StandingBackend
)

// rights is the whole permission matrix: who may do what in a room of the own tenant. Who is not named may not; a
// stranger may nothing, and joins a channel by CheckJoin.
var rights = map[Action]map[Standing]bool{
	ActRead:          {StandingMember: true, StandingAdmin: true, StandingBackend: true},
	ActSend:          {StandingMember: true, StandingAdmin: true},
	ActAck:           {StandingMember: true, StandingAdmin: true},
	ActListMembers:   {StandingMember: true, StandingAdmin: true, StandingBackend: true},
	ActLeave:         {StandingMember: true, StandingAdmin: true},
	ActManageMembers: {StandingAdmin: true, StandingBackend: true},
	ActUpdateRoom:    {StandingAdmin: true, StandingBackend: true},
	ActRemoveRoom:    {StandingAdmin: true, StandingBackend: true},
	ActEditOwn:       {StandingMember: true, StandingAdmin: true},
	ActEditOthers:    {},
	ActDeleteOwn:     {StandingMember: true, StandingAdmin: true},
	ActDeleteOthers:  {StandingAdmin: true, StandingBackend: true},
	ActStop:          {StandingMember: true, StandingAdmin: true, StandingBackend: true},
	ActHandOff:       {StandingAdmin: true, StandingBackend: true},
}

// userActions are done as somebody: the backend must say as whom.
var userActions = map[Action]bool{ActSend: true, ActAck: true, ActEditOwn: true, ActEditOthers: true}

// Standing is the actor's standing towards a room it has the given membership of; nil is none.
func (a Actor) Standing(m *Member) Standing {
	switch {
	case a.Kind == ActorBackend:
		return StandingBackend
	case !m.IsActive():
		return StandingStranger
	case m.Role == RoleAdmin:
		return StandingAdmin
	}
	return StandingMember
}

// Authorize answers nil when the actor may do act in a room it has membership m of, ErrUserRequired when a backend
// must name a user, ErrNotMember to strangers and ErrForbidden to members without the right.
func Authorize(a Actor, act Action, m *Member) error {
	if a.User == "" && userActions[act] {
		return ErrUserRequired
	}
	s := a.Standing(m)
	switch {
	case rights[act][s]:
		return nil
	case s == StandingStranger:
		return ErrNotMember
	}
	return ErrForbidden
}

// CheckUser refuses to change a user's profile to everybody but the user and the backend.
func (a Actor) CheckUser(user UserID) error {
	if a.Kind == ActorBackend || a.User == user {
		return nil
	}
	return ErrForbidden
}
