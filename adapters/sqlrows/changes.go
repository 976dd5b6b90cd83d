package sqlrows

import (
	"fmt"
	"slices"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// The numbers of a room's changes in a store; they are never given another meaning.
var changeKinds = [...]domain.EventKind{
	1: domain.EventRoomCreated,
	2: domain.EventRoomUpdated,
	3: domain.EventRoomRemoved,
	4: domain.EventMemberAdded,
	5: domain.EventMemberRemoved,
	6: domain.EventMemberUpdated,
	7: domain.EventMessageEdited,
	8: domain.EventMessageDeleted,
	9: domain.EventHandoff,
}

// ChangeNumber is the number of a kind of changes.
func ChangeNumber(kind domain.EventKind) (int64, error) {
	if i := slices.Index(changeKinds[:], kind); i > 0 {
		return int64(i), nil
	}
	return 0, fmt.Errorf("%q is no kind of change", kind)
}

// Change is a row of room_changes with the membership it names, if it names one. At is in Unix milliseconds.
type Change struct {
	Rev, Kind, Target, At int64
	Member                *domain.Member
}

// IsOfMessage reports whether the target is a message's seq.
func (c Change) IsOfMessage() bool { return c.Kind == 7 || c.Kind == 8 }

// Event tells a change of a room with its target as it is now: the room, the membership, or, of the messages that were
// changed, by seq, the one it names.
func (c Change) Event(tenant domain.TenantID, room domain.Room, changed map[int64]domain.Message) (domain.Event, error) {
	if c.Kind < 1 || c.Kind >= int64(len(changeKinds)) {
		return domain.Event{}, fmt.Errorf("unknown kind of change %d", c.Kind)
	}
	e := domain.Event{
		Tenant: tenant, Room: room.ID, Rev: c.Rev, Kind: changeKinds[c.Kind], At: time.UnixMilli(c.At).UTC(),
	}
	switch e.Kind {
	case domain.EventMemberAdded, domain.EventMemberRemoved, domain.EventMemberUpdated:
		if e.Member, e.Members = c.Member, room.Members; c.Member == nil {
			return e, fmt.Errorf("change %d names a membership that does not exist", c.Rev)
		}
	case domain.EventMessageEdited, domain.EventMessageDeleted:
		m, ok := changed[c.Target]
		if !ok {
			return e, fmt.Errorf("change %d names a message that does not exist", c.Rev)
		}
		e.Message = &m
	case domain.EventRoomCreated:
		e.State, e.Members = &room, room.Members
	default:
		e.State = &room
	}
	return e, nil
}
