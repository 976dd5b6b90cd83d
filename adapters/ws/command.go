package ws

import (
	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
)

// command is a client's frame. The fields stand beside type, or in data, which is preferred when it is there.
type command struct {
	Type      string `json:"type"`
	RequestID string `json:"request_id"`
	fields
	Data *fields `json:"data"`
}

// fields are those of all commands together.
type fields struct {
	RoomID   string     `json:"room_id"`
	Content  string     `json:"content"`
	Meta     api.Object `json:"meta"`
	ClientID api.Text   `json:"client_id"`
	ReplyTo  api.Text   `json:"reply_to"`
	Seq      *api.Int   `json:"seq"`
	Rev      *api.Int   `json:"rev"`
	AfterSeq *api.Int   `json:"after_seq"`
	Epoch    string     `json:"epoch"`
	Rooms    []standing `json:"rooms"`
	Cursor   string     `json:"cursor"`
	Token    string     `json:"token"`

	NotificationID  string   `json:"notification_id"`
	NotificationIDs []string `json:"notification_ids"`
}

// standing is where a returning client says it stands in a room.
type standing struct {
	RoomID string   `json:"room_id"`
	Rev    *api.Int `json:"rev"`
}

// isMetered reports whether a command is counted with the tenant's calls; all others count against their socket.
func (c *command) isMetered() bool {
	return c.Type == "send_message" || c.Type == "typing.start" || c.Type == "typing.stop"
}

// decode reads a command. When it is wrong, what could be read of type and request_id is still there, so that the
// error finds its request.
func decode(data []byte) (command, error) {
	var c command
	err := api.Decode(data, &c)
	if err != nil {
		c = command{}
		var head struct {
			Type      string `json:"type"`
			RequestID string `json:"request_id"`
		}
		if api.Decode(data, &head) == nil {
			c.Type, c.RequestID = head.Type, head.RequestID
		}
	}
	if len(c.RequestID) > maxRequestID {
		c.RequestID = ""
		return c, domain.Invalid("request_id", "a request_id has at most %d bytes", maxRequestID)
	}
	if c.Data != nil {
		c.fields = *c.Data
	}
	return c, err
}

// room is the room a command is about. An id that no room can have is answered as one that does not exist.
func (f *fields) room() (domain.RoomID, error) {
	if f.RoomID == "" {
		return domain.RoomID{}, domain.Invalid("room_id", "room_id is required")
	}
	id, ok := domain.ParseRoomID(f.RoomID)
	if !ok {
		return id, domain.ErrRoomNotFound
	}
	return id, nil
}

// notifications are those a command is about, one or several. An id that no notification can have is answered as one that
// does not exist.
func (f *fields) notifications() ([]domain.NotificationID, error) {
	named := f.NotificationIDs
	switch {
	case f.NotificationID != "" && len(named) > 0:
		return nil, domain.Invalid("notification_ids", "send notification_id or notification_ids, not both")
	case f.NotificationID != "":
		named = []string{f.NotificationID}
	case len(named) == 0:
		return nil, domain.Invalid("notification_id", "notification_id is required, or notification_ids")
	case len(named) > maxNotifications:
		return nil, domain.Invalid("notification_ids", "notification_ids has at most %d ids", maxNotifications)
	}
	ids := make([]domain.NotificationID, len(named))
	for i, text := range named {
		if text == "" {
			return nil, domain.Invalid("notification_ids", "an id is empty")
		}
		ids[i], _ = domain.ParseNotificationID(text)
	}
	return ids, nil
}

// maxNotifications is how many one notification.ack names.
const maxNotifications = 100

// receipt is the room and the message number up to which a client confirms something.
func (f *fields) receipt() (domain.RoomID, int64, error) {
	room, err := f.room()
	if err == nil && f.Seq == nil {
		err = domain.Invalid("seq", "seq is required")
	}
	return room, number(f.Seq), err
}

// resume is what the resume frame says. Ids that no room can have are of no use to anybody and left out.
func (f *fields) resume() (*application.Resume, error) {
	if len(f.Rooms) > domain.MaxResumeRooms {
		return nil, domain.Invalid("rooms", "rooms has at most %d entries", domain.MaxResumeRooms)
	}
	r := &application.Resume{Epoch: domain.Epoch(f.Epoch), Cursor: f.Cursor}
	if f.Cursor == "" && f.Epoch == "" {
		return nil, domain.Invalid("epoch", "epoch with rooms, or cursor, is required")
	}
	for _, at := range f.Rooms {
		if at.Rev == nil {
			return nil, domain.Invalid("rooms", "each of rooms has a room_id and a rev")
		}
		if id, ok := domain.ParseRoomID(at.RoomID); ok {
			r.Rooms = append(r.Rooms, domain.Position{Room: id, Rev: int64(*at.Rev)})
		}
	}
	return r, nil
}

func (f *fields) draft() domain.Draft {
	return domain.Draft{Content: f.Content, Meta: f.Meta, ClientID: string(f.ClientID), ReplyTo: string(f.ReplyTo)}
}

// number is an optional position; absent is 0.
func number(n *api.Int) int64 {
	if n == nil {
		return 0
	}
	return int64(*n)
}
