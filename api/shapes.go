package api

import "github.com/chatapi/chatapi/domain"

// AppendMessage appends the Message object. rev is the position to show: the message's own Rev, or the position of
// the event that carries it.
func AppendMessage(dst []byte, m *domain.Message, rev int64) []byte {
	return append(AppendMessageFields(append(dst, '{'), m, rev), '}')
}

// AppendMessageFields appends the members of the Message object without its braces, for frames that have more. A
// tombstone has content "" and meta null, whatever the value still holds.
func AppendMessageFields(dst []byte, m *domain.Message, rev int64) []byte {
	content, meta := m.Content, m.Meta
	if !m.DeletedAt.IsZero() {
		content, meta = "", nil
	}
	dst = AppendMessageID(append(dst, `"message_id":`...), m.ID)
	dst = AppendRoomID(append(dst, `,"room_id":`...), m.Room)
	dst = AppendString(append(dst, `,"sender_id":`...), m.Sender)
	dst = AppendString(append(dst, `,"sender_type":`...), m.SenderType)
	dst = appendInt(append(dst, `,"seq":`...), m.Seq)
	dst = appendInt(append(dst, `,"rev":`...), rev)
	dst = AppendString(append(dst, `,"content":`...), content)
	dst = appendObject(append(dst, `,"meta":`...), meta)
	if m.ClientID != "" {
		dst = AppendString(append(dst, `,"client_id":`...), m.ClientID)
	}
	if !m.ReplyTo.IsZero() {
		dst = AppendMessageID(append(dst, `,"reply_to":`...), m.ReplyTo)
	}
	dst = AppendTime(append(dst, `,"created_at":`...), m.CreatedAt)
	if !m.EditedAt.IsZero() {
		dst = AppendTime(append(dst, `,"edited_at":`...), m.EditedAt)
	}
	if !m.DeletedAt.IsZero() {
		dst = AppendTime(append(dst, `,"deleted_at":`...), m.DeletedAt)
	}
	return dst
}

// AppendRoom appends the Room object.
func AppendRoom(dst []byte, r *domain.Room) []byte {
	return append(AppendRoomFields(append(dst, '{'), r), '}')
}

// AppendRoomFields appends the members of the Room object without its braces. The unique key is told of direct messages
// alone: that of a chat is the store's.
func AppendRoomFields(dst []byte, r *domain.Room) []byte {
	dst = AppendRoomID(append(dst, `"room_id":`...), r.ID)
	dst = AppendString(append(dst, `,"type":`...), r.Type)
	if r.Type == domain.RoomDM && r.UniqueKey != "" {
		dst = AppendString(append(dst, `,"unique_key":`...), r.UniqueKey)
	}
	dst = appendText(append(dst, `,"name":`...), r.Name)
	dst = appendObject(append(dst, `,"metadata":`...), r.Metadata)
	dst = appendInt(append(dst, `,"last_seq":`...), r.LastSeq)
	dst = appendInt(append(dst, `,"last_rev":`...), r.LastRev)
	dst = appendInt(append(dst, `,"first_seq":`...), r.FirstSeq)
	if r.Handoff.IsHuman() {
		dst = append(appendHandoff(append(dst, `,"handoff":{`...), r.Handoff), '}')
	}
	return AppendTime(append(dst, `,"created_at":`...), r.CreatedAt)
}

// appendHandoff appends who answers in a room: the members of an object without its braces.
func appendHandoff(dst []byte, h domain.Handoff) []byte {
	mode := domain.HandoffBot
	if h.IsHuman() {
		mode = domain.HandoffHuman
	}
	dst = AppendString(append(dst, `"mode":`...), mode)
	if h.Assignee != "" {
		dst = AppendString(append(dst, `,"assignee":`...), h.Assignee)
	}
	return dst
}

// AppendRoomSummary appends a room as a list shows it: the Room object with last_message (null in an empty room),
// unread_count and last_ack.
func AppendRoomSummary(dst []byte, s *domain.RoomSummary) []byte {
	dst = AppendRoomFields(append(dst, '{'), &s.Room)
	dst = append(dst, `,"last_message":`...)
	if s.LastMessage == nil {
		dst = append(dst, "null"...)
	} else {
		dst = AppendMessage(dst, s.LastMessage, s.LastMessage.Rev)
	}
	dst = appendInt(append(dst, `,"unread_count":`...), s.Unread)
	return append(appendInt(append(dst, `,"last_ack":`...), s.LastAck), '}')
}

// AppendMember appends a member as a list shows it.
func AppendMember(dst []byte, m *domain.Member) []byte {
	dst = AppendString(append(dst, `{"user_id":`...), m.User)
	dst = AppendString(append(dst, `,"role":`...), m.Role)
	return append(AppendTime(append(dst, `,"joined_at":`...), m.JoinedAt), '}')
}

// AppendUser appends a user's profile. last_seen_at is null for one who never had a socket.
func AppendUser(dst []byte, u *domain.User) []byte {
	dst = AppendString(append(dst, `{"user_id":`...), u.ID)
	dst = appendText(append(dst, `,"name":`...), u.Name)
	dst = appendText(append(dst, `,"avatar_url":`...), u.AvatarURL)
	dst = appendObject(append(dst, `,"metadata":`...), u.Metadata)
	return append(appendMoment(append(dst, `,"last_seen_at":`...), u.LastSeen), '}')
}

// AppendStatus appends whether a user is online. last_seen_at is null for one who never had a socket.
func AppendStatus(dst []byte, s *domain.Status) []byte {
	status := domain.PresenceOffline
	if s.Online {
		status = domain.PresenceOnline
	}
	dst = AppendString(append(dst, `{"user_id":`...), s.User)
	dst = AppendString(append(dst, `,"status":`...), status)
	return append(appendMoment(append(dst, `,"last_seen_at":`...), s.LastSeen), '}')
}

// AppendNotified appends the answer to a notification: how many it is for, users and endpoints together.
func AppendNotified(dst []byte, n *domain.Notification, recipients int) []byte {
	dst = AppendNotificationID(append(dst, `{"notification_id":`...), n.ID)
	dst = AppendTime(append(dst, `,"created_at":`...), n.CreatedAt)
	return append(appendInt(append(dst, `,"recipients":`...), int64(recipients)), '}')
}

// AppendSubscriptionFields appends the members of the Subscription object without its braces. user_id is null for one
// of the tenant's backend.
func AppendSubscriptionFields(dst []byte, s *domain.Subscription) []byte {
	dst = appendID(append(dst, `"id":`...), `"sub_`, domain.UUID(s.ID))
	dst = appendUser(append(dst, `,"user_id":`...), s.User)
	dst = AppendString(append(dst, `,"topic":`...), s.Topic)
	if s.Endpoint != "" {
		dst = AppendString(append(dst, `,"endpoint":`...), s.Endpoint)
	}
	dst = appendObject(append(dst, `,"metadata":`...), s.Metadata)
	return AppendTime(append(dst, `,"created_at":`...), s.CreatedAt)
}

// AppendNotificationCall appends the body of a notification to the endpoint of a subscription; user_id is null when that
// is the tenant's backend's own.
func AppendNotificationCall(dst []byte, tenant domain.TenantID, n *domain.Notification, user domain.UserID) []byte {
	dst = AppendString(append(dst, `{"type":"notification","tenant_id":`...), tenant)
	dst = AppendNotificationID(append(dst, `,"notification_id":`...), n.ID)
	dst = AppendString(append(dst, `,"topic":`...), n.Topic)
	dst = appendObject(append(dst, `,"payload":`...), n.Payload)
	dst = appendUser(append(dst, `,"user_id":`...), user)
	return append(AppendTime(append(dst, `,"created_at":`...), n.CreatedAt), '}')
}

// appendUser appends a user's id; null is the tenant's backend.
func appendUser(dst []byte, id domain.UserID) []byte {
	if id == "" {
		return append(dst, "null"...)
	}
	return AppendString(dst, id)
}

// AppendError appends the error body every REST answer and refused upgrade has. requestID is that of X-Request-Id.
func AppendError(dst []byte, e *domain.Error, requestID string) []byte {
	dst = append(dst, `{"success":false,"data":null,"error":{"code":`...)
	dst = AppendString(dst, e.Code)
	dst = AppendString(append(dst, `,"message":`...), e.Message)
	if e.Field != "" {
		dst = AppendString(append(dst, `,"field":`...), e.Field)
	}
	if e.Room != nil {
		dst = append(AppendRoom(append(dst, `,"details":{"room":`...), e.Room), '}')
	}
	return append(AppendString(append(dst, `,"request_id":`...), requestID), '}', '}')
}
