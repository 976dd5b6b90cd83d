package api

import "github.com/chatapi/chatapi/domain"

// AppendEvent appends one step of a room's log as an object, as sockets get it and /changes answers it: the kind in
// "type", then the message of a message's event, else the room's id and the step's rev with the room or the member it is
// about as they are now.
func AppendEvent(dst []byte, e *domain.Event) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, e.Kind...)
	dst = append(dst, `",`...)
	if e.Message != nil {
		return append(AppendMessageFields(dst, e.Message, e.Rev), '}')
	}
	dst = AppendRoomID(append(dst, `"room_id":`...), e.Room)
	dst = appendInt(append(dst, `,"rev":`...), e.Rev)
	if e.State != nil && e.Kind == domain.EventHandoff {
		dst = appendHandoff(append(dst, ','), e.State.Handoff)
	}
	if e.State != nil && e.Kind != domain.EventRoomRemoved { // of what is gone only that it is
		dst = AppendRoom(append(dst, `,"room":`...), e.State)
	}
	if e.Member != nil {
		dst = appendMembership(dst, e.Kind, e.Member)
	}
	return append(dst, '}')
}

// appendMembership appends what a membership has become: nothing but its user when it has ended.
func appendMembership(dst []byte, kind domain.EventKind, m *domain.Member) []byte {
	dst = AppendString(append(dst, `,"user_id":`...), m.User)
	if kind == domain.EventMemberRemoved {
		return dst
	}
	dst = AppendString(append(dst, `,"role":`...), m.Role)
	if kind == domain.EventMemberAdded {
		dst = AppendTime(append(dst, `,"joined_at":`...), m.JoinedAt)
	}
	return dst
}

// AppendNotificationFields appends the members of a notification as sockets get it, without its braces.
func AppendNotificationFields(dst []byte, n *domain.Notification) []byte {
	dst = AppendNotificationID(append(dst, `"notification_id":`...), n.ID)
	dst = AppendString(append(dst, `,"topic":`...), n.Topic)
	dst = appendObject(append(dst, `,"payload":`...), n.Payload)
	return AppendTime(append(dst, `,"created_at":`...), n.CreatedAt)
}
