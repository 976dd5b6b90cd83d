package httpapi

import (
	"net/http"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

type newAck struct {
	RoomID   string   `json:"room_id"`
	Seq      *api.Int `json:"seq"`
	DeviceID string   `json:"device_id"`
}

// ack confirms delivery up to seq; it is durable when answered.
func (h *handler) ack(x *exchange) (reply, error) {
	var in newAck
	if _, err := x.decode(&in); err != nil {
		return reply{}, err
	}
	device, err := domain.CheckDeviceID(in.DeviceID)
	switch {
	case err != nil:
		return reply{}, err
	case in.RoomID == "":
		return reply{}, domain.Invalid("room_id", "room_id is required")
	case in.Seq == nil:
		return reply{}, errNoSeq
	}
	room, _ := domain.ParseRoomID(in.RoomID) // a malformed id is one that does not exist
	return done(h.Delivery.Ack(x.r.Context(), x.caller, room, device, int64(*in.Seq), 0))
}

type newRead struct {
	Seq *api.Int `json:"seq"`
}

// readRoom raises the caller's read mark; it is durable when answered.
func (h *handler) readRoom(x *exchange) (reply, error) {
	var in newRead
	if _, err := x.decode(&in); err != nil {
		return reply{}, err
	}
	if in.Seq == nil {
		return reply{}, errNoSeq
	}
	return done(h.Delivery.Read(x.r.Context(), x.caller, x.roomID(), int64(*in.Seq)))
}

var errNoSeq = domain.Invalid("seq", "seq is required")

// successBody is the answer of calls that have nothing to show. It is not to be changed.
var successBody = []byte(`{"success":true}`)

func done(err error) (reply, error) { return reply{http.StatusOK, successBody}, err }
