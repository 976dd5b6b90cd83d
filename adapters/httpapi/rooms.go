package httpapi

import (
	"errors"
	"net/http"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

type newRoom struct {
	Type     string     `json:"type"`
	Members  []string   `json:"members"`
	Name     *string    `json:"name"`
	Metadata api.Object `json:"metadata"`
}

// createRoom makes a room. With ?if_exists=return a direct message that exists is the answer instead of a conflict.
func (h *handler) createRoom(x *exchange) (reply, error) {
	returnExisting, err := x.ifExists()
	if err != nil {
		return reply{}, err
	}
	var in newRoom
	body, err := x.decode(&in)
	if err != nil {
		return reply{}, err
	}
	key, err := x.idempotency(body)
	if err != nil {
		return reply{}, err
	}
	draft := domain.RoomDraft{Type: in.Type, Members: in.Members, Name: in.Name, Metadata: in.Metadata}
	created, err := h.Rooms.Create(x.r.Context(), x.caller, draft, key)
	var conflict *domain.Error
	if returnExisting && errors.As(err, &conflict) && conflict.Room != nil {
		return x.room(http.StatusOK, conflict.Room), nil
	}
	if err != nil {
		return reply{}, err
	}
	x.markReplayed(created.Replayed)
	return x.room(http.StatusCreated, &created.Room), nil
}

func (x *exchange) ifExists() (returnExisting bool, err error) {
	q := x.query()
	value := q.text("if_exists")
	if q.has("if_exists") && value != "return" {
		q.fail(domain.Invalid("if_exists", "if_exists is return, or left out"))
	}
	return value == "return", q.err
}

func (x *exchange) room(status int, r *domain.Room) reply {
	x.Header().Set("Location", x.roomPath(r.ID))
	return reply{status, api.AppendRoom(nil, r)}
}

func (h *handler) getRoom(x *exchange) (reply, error) {
	room, err := h.Rooms.Get(x.r.Context(), x.caller, x.roomID())
	return reply{http.StatusOK, api.AppendRoom(nil, &room)}, err
}

type roomPatch struct {
	Name     api.Field[*string]    `json:"name"`
	Metadata api.Field[api.Object] `json:"metadata"`
}

// updateRoom changes what the body names; absent stays, null clears.
func (h *handler) updateRoom(x *exchange) (reply, error) {
	var in roomPatch
	if _, err := x.decode(&in); err != nil {
		return reply{}, err
	}
	room, err := h.Rooms.Update(x.r.Context(), x.caller, x.roomID(), domain.RoomPatch{
		Name: in.Name.Value, SetName: in.Name.Set, Metadata: in.Metadata.Value, SetMetadata: in.Metadata.Set,
	})
	return reply{http.StatusOK, api.AppendRoom(nil, &room)}, err
}

func (h *handler) deleteRoom(x *exchange) (reply, error) {
	return noContent(), h.Rooms.Remove(x.r.Context(), x.caller, x.roomID())
}

func (h *handler) joinRoom(x *exchange) (reply, error) {
	return noContent(), h.Rooms.Join(x.r.Context(), x.caller, x.roomID())
}

func (h *handler) listRooms(x *exchange) (reply, error) {
	q := x.query()
	ask := domain.RoomQuery{Limit: q.limit(), Offset: q.offset(), Open: q.scopeOpen()}
	var err error
	if ask.Type, err = domain.CheckRoomType(q.text("type")); err != nil {
		q.fail(err)
	}
	device, err := domain.CheckDeviceID(q.text("device_id"))
	if err != nil {
		q.fail(err)
	}
	if q.has("device_id") {
		ask.Device = &device
	}
	if q.err != nil {
		return reply{}, q.err
	}
	rooms, more, err := h.Rooms.List(x.r.Context(), x.caller, ask)
	if err != nil {
		return reply{}, err
	}
	if more {
		x.linkNext(q, "offset", int64(ask.Offset+ask.Limit))
	}
	return reply{http.StatusOK, appendList(rooms, api.AppendRoomSummary)}, nil
}

func (q *query) scopeOpen() bool {
	scope := q.text("scope")
	if q.has("scope") && scope != "open" {
		q.fail(domain.Invalid("scope", "scope is open, or left out"))
	}
	return scope == "open"
}

// roomID is the room of the path. A malformed id becomes the zero id, which no room has: it takes the way of an id
// that does not exist, to the same answer.
func (x *exchange) roomID() domain.RoomID {
	id, _ := domain.ParseRoomID(x.r.PathValue("room_id"))
	return id
}

// appendList writes a bare array; an empty one is [].
func appendList[T any](items []T, appendItem func([]byte, *T) []byte) []byte {
	out := make([]byte, 0, 64+512*len(items)) // a message of 200 bytes takes about 450
	out = append(out, '[')
	for i := range items {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendItem(out, &items[i])
	}
	return append(out, ']')
}
